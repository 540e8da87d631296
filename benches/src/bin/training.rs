//! Times steps of training on flex, with the sizes and flags of `train/torch_step.py`, and prints
//! one JSON object; `benches/train/run` compares the two.

#![allow(
    clippy::print_stdout,
    reason = "the report is what this program is for"
)]

use std::time::Instant;

use anyhow::{Result, bail};
use burn::backend::Autodiff;
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use clap::Parser;
use ovis_image::WeightDtype;
use ovis_image::config::TransformerConfig;
use ovis_image::kernels::InstructionSet;
use ovis_image::sampling::NoiseGenerator;
use ovis_image::training::{
    FlowMatching, FlowMatchingConfig, ImageBatch, ImageModels, LearningRate, PromptBatch,
    Recomputation, TimestepDistribution, Trainer, TrainerConfig,
};
use ovis_image_benches as sizes;
use serde_json::{Value, json};

/// Times steps of training on flex.
#[derive(Debug, Parser)]
struct Arguments {
    /// Model: nano (256 wide) or middle (768 wide)
    #[arg(long, default_value = "nano")]
    size: String,
    #[arg(long, default_value_t = 64)]
    batch: usize,
    #[arg(long, default_value = "f32")]
    dtype: WeightDtype,
    /// Number of timed steps
    #[arg(long, default_value_t = 5)]
    steps: usize,
    /// Keep each block's input only
    #[arg(long)]
    blocks: bool,
    /// Instruction set [default: the CPU's best]
    #[arg(long)]
    instruction_set: Option<InstructionSet>,
}

/// Trainer that is timed.
type FlexTrainer = Trainer<Autodiff<Flex>, FlowMatching>;

/// Sizes of a batch.
struct Sizes {
    config: TransformerConfig,
    /// Rows and columns of image tokens.
    grid: [usize; 2],
    text_tokens: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(set) = arguments.instruction_set {
        set.use_everywhere()?;
    }
    let (config, grid, text_tokens) = match arguments.size.as_str() {
        "nano" => (nano(), [8, 8], 64),
        "middle" => (sizes::middle_transformer(), [16, 16], 256),
        other => bail!("`{other}` is neither nano nor middle"),
    };
    let sizes = Sizes {
        config,
        grid,
        text_tokens,
    };
    let mut trainer = trainer(&arguments, &sizes.config)?;
    let report = time(&arguments, &sizes, &mut trainer)?;
    println!("{report}");
    Ok(())
}

fn trainer(arguments: &Arguments, config: &TransformerConfig) -> Result<FlexTrainer> {
    let transformer = config.init::<Flex>(&FlexDevice);
    let transformer = transformer.map(&mut Cast(arguments.dtype.to_burn()));
    let models = ImageModels {
        transformer,
        text_encoder: None,
        auxiliary: None,
    };
    let objective = FlowMatching::new(FlowMatchingConfig {
        recomputation: if arguments.blocks {
            Recomputation::Blocks
        } else {
            Recomputation::None
        },
        ..FlowMatchingConfig::default()
    });
    let settings = TrainerConfig {
        learning_rate: LearningRate::constant(1e-3),
        ..TrainerConfig::default()
    };
    Ok(Trainer::new(objective, models, settings)?)
}

/// Times steps after one that is not timed.
fn time(arguments: &Arguments, sizes: &Sizes, trainer: &mut FlexTrainer) -> Result<Value> {
    let Sizes { config, grid, .. } = sizes;
    let mut generator = NoiseGenerator::from_seed(0);
    let batch = arguments.batch;
    let tokens = grid[0] * grid[1];
    let mut random = |shape: [usize; 3]| {
        let values = generator.randn(shape.iter().product());
        Tensor::<Flex, 3>::from_data(TensorData::new(values, shape), (&FlexDevice, DType::F32))
    };
    let latents = random([batch, tokens, config.in_channels]);
    let embeds = random([batch, sizes.text_tokens, config.joint_attention_dim]);
    let (mut seconds, mut losses) = (Vec::new(), Vec::new());
    for step in 0..=arguments.steps {
        let start = Instant::now();
        let mut generator = NoiseGenerator::from_seed(step as u64 + 1);
        let timesteps = TimestepDistribution::Uniform.draw(batch, tokens, &mut generator);
        let values = generator.randn(batch * tokens * config.in_channels);
        let noise = TensorData::new(values, latents.dims());
        let report = trainer.micro_step(ImageBatch {
            latents: latents.clone(),
            noise: Tensor::from_data(noise, (&FlexDevice, DType::F32)),
            timesteps,
            grid: *grid,
            prompts: PromptBatch::Encoded(embeds.clone()),
            token_weights: None,
            image_weights: Vec::new(),
            characters: None,
        })?;
        losses.push(report.map(|report| report.terms.loss()));
        if step > 0 {
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    Ok(json!({
        "instruction_set": InstructionSet::in_use().to_string(),
        "seconds": seconds,
        "peak_memory": sizes::peak_memory(),
        "losses": losses,
    }))
}

fn nano() -> TransformerConfig {
    let mut config = TransformerConfig::tiny();
    config.in_channels = 64;
    config.num_layers = 2;
    config.num_single_layers = 4;
    config.attention_head_dim = 64;
    config.num_attention_heads = 4;
    config.joint_attention_dim = 256;
    config.axes_dims_rope = [8, 28, 28];
    config
}

/// Casts every parameter.
struct Cast(DType);

impl ModuleMapper<Flex> for Cast {
    fn map_float<const D: usize>(
        &mut self,
        param: Param<Tensor<Flex, D>>,
    ) -> Param<Tensor<Flex, D>> {
        param.map(|tensor| tensor.cast(self.0))
    }
}
