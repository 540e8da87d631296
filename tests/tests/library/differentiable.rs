//! Tests that gradients flow through the models, for future training.

use burn::backend::Autodiff;
use burn::tensor::{DType, Distribution, Tensor};
use burn_flex::{Flex, FlexDevice};
use ovis_image::config::TransformerConfig;
use ovis_image::lora::attach_lora;
use ovis_image::transformer::TransformerInput;
use ovis_image::{LoraFile, WeightDtype};

use crate::support::write_tensors;

type B = Autodiff<Flex>;

#[test]
fn every_parameter_of_the_transformer_gets_a_gradient() {
    use burn::module::{Module, ModuleVisitor, Param};

    struct Gradients<'a>(&'a burn::backend::autodiff::grads::Gradients, Vec<bool>);
    impl ModuleVisitor<B> for Gradients<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            self.1.push(param.val().grad(self.0).is_some());
        }
    }

    let mut config = TransformerConfig::tiny();
    config.num_layers = 1;
    config.num_single_layers = 1;
    let device = FlexDevice;
    let mut model = config.init::<B>(&device);
    // A single adapter: down and up are two more parameters.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    write_tensors(
        &path,
        [("A", [2, 32]), ("B", [32, 2])].map(|(matrix, shape)| {
            let name = format!("single_transformer_blocks.0.attn.to_k.lora_{matrix}.weight");
            (name, shape.to_vec(), vec![0.1; 64])
        }),
    );
    let lora = LoraFile::open(&path).unwrap();
    attach_lora(&mut model, &lora, "trained", 1.0, WeightDtype::F32, &device).unwrap();
    let random = |shape: [usize; 3]| {
        Tensor::<B, 3>::random(shape, Distribution::Normal(0.0, 1.0), (&device, DType::F32))
    };
    let input = TransformerInput {
        latents: random([2, 4, 16]),
        prompt_embeds: random([2, 8, 24]),
        rope: &model.rope(8, [2, 2], &device),
    };
    let prediction = model.forward(input, &[0.3, 0.8]);
    let gradients = prediction.powi_scalar(2).mean().backward();
    let mut visitor = Gradients(&gradients, Vec::new());
    model.visit(&mut visitor);
    assert_eq!(
        visitor.1.len(),
        49 + 2,
        "the model has this many parameters"
    );
    assert!(visitor.1.iter().all(|has| *has), "{:?}", visitor.1);
}
