//! Tests that a LoRA finds every linear layer of the model.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn_flex::{Flex, FlexDevice};
use ovis_image::config::TransformerConfig;
use ovis_image::lora::attach_lora;
use ovis_image::{LoraFile, WeightDtype};

use crate::support::{pipeline, write_tensors};

/// Width of the release.
const H: usize = 3072;

/// Returns the names and shapes of an adapter of rank 1 for each module of the release.
fn release_adapter() -> Vec<(String, Vec<usize>)> {
    let mut tensors = Vec::new();
    let mut add = |module: String, out: usize, input: usize| {
        let module = format!("transformer.{module}");
        tensors.push((format!("{module}.lora_A.weight"), vec![1, input]));
        tensors.push((format!("{module}.lora_B.weight"), vec![out, 1]));
    };
    for (name, out, input) in [
        ("x_embedder", H, 64),
        ("context_embedder", H, 2048),
        ("timestep_embedder.linear_1", H, 256),
        ("timestep_embedder.linear_2", H, H),
        ("norm_out.linear", 2 * H, H),
        ("proj_out", 64, H),
    ] {
        add(name.to_owned(), out, input);
    }
    for block in 0..6 {
        let block = format!("transformer_blocks.{block}");
        for name in ["norm1.linear", "norm1_context.linear"] {
            add(format!("{block}.{name}"), 6 * H, H);
        }
        for name in [
            "to_q",
            "to_k",
            "to_v",
            "to_out.0",
            "add_q_proj",
            "add_k_proj",
            "add_v_proj",
            "to_add_out",
        ] {
            add(format!("{block}.attn.{name}"), H, H);
        }
        for stream in ["ff", "ff_context"] {
            add(format!("{block}.{stream}.net.0.proj"), 8 * H, H);
            add(format!("{block}.{stream}.net.2"), H, 4 * H);
        }
    }
    for block in 0..27 {
        let block = format!("single_transformer_blocks.{block}");
        add(format!("{block}.norm.linear"), 3 * H, H);
        for name in ["to_q", "to_k", "to_v"] {
            add(format!("{block}.attn.{name}"), H, H);
        }
        add(format!("{block}.proj_mlp"), 8 * H, H);
        add(format!("{block}.proj_out"), H, 5 * H);
    }
    tensors
}

#[test]
fn all_252_modules_of_the_release_are_found() {
    let config: TransformerConfig = serde_json::from_value(serde_json::json!({
        "patch_size": 1, "in_channels": 64, "num_layers": 6, "num_single_layers": 27,
        "attention_head_dim": 128, "num_attention_heads": 24, "joint_attention_dim": 2048,
        "axes_dims_rope": [16, 56, 56],
    }))
    .unwrap();
    let tensors = release_adapter();
    // 14 modules of each double block, 6 of each single block, and 6 outside of them, which is the
    // number that PEFT finds with `target_modules="all-linear"`.
    assert_eq!(tensors.len(), 2 * (6 * 14 + 27 * 6 + 6));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("release.safetensors");
    let ones = tensors.into_iter().map(|(name, shape)| {
        let count = shape.iter().product();
        (name, shape, vec![1.0; count])
    });
    write_tensors(&path, ones);
    let mut transformer = config.init::<Flex>(&FlexDevice);
    let file = LoraFile::open(&path).unwrap();
    let report = attach_lora(
        &mut transformer,
        &file,
        "x",
        1.0,
        WeightDtype::BF16,
        &FlexDevice,
    )
    .unwrap();
    assert_eq!(report.to_string(), "applied 252 of 252 modules");
    assert!(report.unmatched.is_empty());
    // Fused rows: query, key and value, then the MLP.
    let rows: Vec<_> = transformer.single_blocks[26]
        .qkv_mlp
        .adapters
        .iter()
        .map(|adapter| adapter.rows())
        .collect();
    assert_eq!(rows, [0..H, H..2 * H, 2 * H..3 * H, 3 * H..11 * H]);
    // No weight was created for it.
    assert!(
        !transformer.single_blocks[26]
            .qkv_mlp
            .weight
            .is_initialized()
    );
}

#[test]
fn every_matrix_of_the_transformer_can_have_an_adapter() {
    #[derive(Default)]
    struct Matrices(Vec<String>, Vec<String>);
    impl ModuleVisitor<Flex> for Matrices {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.0.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.pop();
        }
        fn visit_float<const D: usize>(&mut self, _: &Param<Tensor<Flex, D>>) {
            if D == 2 {
                self.1.push(self.0[..self.0.len() - 1].join("."));
            }
        }
    }
    let mut transformer = pipeline().transformer().clone();
    let mut matrices = Matrices::default();
    transformer.visit(&mut matrices);
    let mut layers: Vec<String> = transformer
        .linear_layers_mut()
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    layers.sort();
    matrices.1.sort();
    assert_eq!(layers, matrices.1);
}
