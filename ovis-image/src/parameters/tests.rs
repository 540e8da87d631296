//! Tests of each list of parameters against the module that it describes.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn_flex::{Flex, FlexDevice};

use super::{BlockIndex, Parameter, ParameterRole};
use crate::config::{TextEncoderConfig, TransformerConfig, VaeConfig};

#[derive(Default)]
struct Shapes {
    path: Vec<String>,
    shapes: BTreeMap<String, Vec<usize>>,
}

impl ModuleVisitor<Flex> for Shapes {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Flex, D>>) {
        self.shapes
            .insert(self.path.join("."), param.lazy_shape().to_vec());
    }
}

fn assert_listed(module: impl Module<Flex>, parameters: Vec<Parameter>) {
    let mut visited = Shapes::default();
    module.visit(&mut visited);
    let count = parameters.len();
    let listed: BTreeMap<_, _> = parameters
        .into_iter()
        .map(|parameter| (parameter.path, parameter.shape))
        .collect();
    assert_eq!(listed.len(), count, "a path is listed twice");
    assert_eq!(listed, visited.shapes);
}

#[test]
fn the_lists_are_the_parameters_of_the_release() {
    let transformer = TransformerConfig::ovis_image_7b();
    assert_listed(transformer.init(&FlexDevice), transformer.parameters());
    let text_encoder = TextEncoderConfig::ovis_image_7b();
    assert_listed(text_encoder.init(&FlexDevice), text_encoder.parameters());
    let vae = VaeConfig::ovis_image_7b();
    assert_listed(vae.init(&FlexDevice), vae.parameters());
}

#[test]
fn the_lists_follow_other_configurations() {
    let transformer = TransformerConfig {
        num_layers: 0,
        num_single_layers: 1,
        num_attention_heads: 2,
        joint_attention_dim: 96,
        out_channels: Some(32),
        ..TransformerConfig::ovis_image_7b()
    };
    assert_listed(transformer.init(&FlexDevice), transformer.parameters());
    let vae = VaeConfig {
        block_out_channels: vec![32, 32, 64],
        layers_per_block: 1,
        ..VaeConfig::ovis_image_7b()
    };
    assert_listed(vae.init(&FlexDevice), vae.parameters());
}

#[test]
fn a_model_tells_the_configuration_that_built_it() {
    let transformer = TransformerConfig {
        num_layers: 0,
        num_single_layers: 1,
        out_channels: Some(64),
        ..TransformerConfig::ovis_image_7b()
    };
    assert_eq!(transformer.init::<Flex>(&FlexDevice).config(), transformer);
    let text_encoder = TextEncoderConfig::ovis_image_7b();
    assert_eq!(
        text_encoder.init::<Flex>(&FlexDevice).config(),
        text_encoder
    );
    let vae = VaeConfig::ovis_image_7b();
    assert_eq!(vae.init::<Flex>(&FlexDevice).config(), vae);
}

#[test]
fn the_release_has_the_published_number_of_parameters() {
    let parameters = TransformerConfig::ovis_image_7b().parameters();
    let elements: u64 = parameters.iter().map(Parameter::elements).sum();
    assert_eq!(elements, 7_370_449_728);
}

#[test]
fn roles_tell_matrices_vectors_and_modulation_apart() {
    let parameters = TransformerConfig::ovis_image_7b().parameters();
    let role = |path: &str| {
        let found = parameters.iter().find(|parameter| parameter.path == path);
        found.unwrap().role
    };
    let double = BlockIndex::Double(3);
    let single = BlockIndex::Single(26);
    assert_eq!(
        role("double_blocks.3.image_attention.qkv.weight"),
        ParameterRole::BlockMatrix(double)
    );
    assert_eq!(
        role("double_blocks.3.text_feed_forward.down.bias"),
        ParameterRole::BlockVector(double)
    );
    assert_eq!(
        role("single_blocks.26.qk_norm.query.weight"),
        ParameterRole::BlockVector(single)
    );
    for modulation in [
        "double_blocks.3.text_modulation.linear.weight",
        "single_blocks.26.modulation.linear.bias",
        "final_layer.modulation.weight",
    ] {
        assert_eq!(role(modulation), ParameterRole::Modulation);
    }
    assert_eq!(role("image_embedder.weight"), ParameterRole::Other);
}
