use std::collections::BTreeMap;

use super::*;
use crate::config::TransformerConfig;
use crate::error::{LoraError, OvisImageError};
use crate::lora::LoraFile;
use crate::testing::{TestBackend, values};
use crate::training::ParameterMap;
use crate::transformer::OvisImageTransformer;

fn model() -> OvisImageTransformer<TestBackend> {
    TransformerConfig::tiny().init(&Default::default())
}

fn adapters(config: &LoraConfig, seed: u64) -> Result<LoraAdapters<TestBackend>, OvisImageError> {
    LoraAdapters::new(config, &model(), seed, &Default::default())
}

fn error_of(config: &LoraConfig) -> LoraError {
    match adapters(config, 0).unwrap_err() {
        OvisImageError::Lora(error) => error,
        other => panic!("{other}"),
    }
}

#[test]
fn rank_0_is_refused() {
    let config = LoraConfig {
        rank: 0,
        ..LoraConfig::default()
    };
    assert!(matches!(error_of(&config), LoraError::ZeroRank { .. }));
    let one = LoraOverride {
        modules: "to_q".to_owned(),
        rank: Some(0),
        alpha: None,
    };
    let config = LoraConfig {
        overrides: vec![one],
        ..LoraConfig::default()
    };
    assert!(
        matches!(error_of(&config), LoraError::ZeroRank { module } if module.ends_with("to_q"))
    );
}

#[test]
fn an_alpha_that_is_not_a_number_is_refused() {
    let config = LoraConfig {
        alpha: f64::NAN,
        ..LoraConfig::default()
    };
    assert!(matches!(error_of(&config), LoraError::InvalidAlpha { .. }));
}

#[test]
fn a_pattern_that_matches_nothing_is_refused() {
    let config = LoraConfig {
        modules: vec!["to_q".to_owned(), "to_qq".to_owned()],
        ..LoraConfig::default()
    };
    let error = error_of(&config);
    assert!(
        matches!(&error, LoraError::PatternMatchesNothing { pattern } if pattern == "to_qq"),
        "{error}"
    );
    let config = LoraConfig {
        modules: Vec::new(),
        ..LoraConfig::default()
    };
    assert!(matches!(
        error_of(&config),
        LoraError::PatternMatchesNothing { .. }
    ));
}

#[test]
fn new_adapters_add_nothing_and_follow_from_the_seed() {
    let config = LoraConfig::default();
    let all = |seed| -> Vec<(String, Vec<f32>)> {
        let map = ParameterMap::of_module(&adapters(&config, seed).unwrap());
        map.into_iter()
            .map(|(path, tensor)| (path, values(tensor)))
            .collect()
    };
    let first = all(1);
    assert_eq!(first, all(1));
    assert_ne!(first, all(2));
    let tiny = TransformerConfig::tiny();
    let modules = 12 * tiny.num_layers + 5 * tiny.num_single_layers;
    assert_eq!(first.len(), 2 * modules);
    for module in adapters(&config, 1).unwrap().modules() {
        let [_, input] = module.down.dims();
        let bound = 1.0 / (input as f32).sqrt();
        let down = values(module.down.val());
        let largest = down
            .iter()
            .fold(0.0f32, |largest, value| largest.max(value.abs()));
        assert!(
            largest <= bound && largest > 0.8 * bound,
            "{largest} of {bound}"
        );
        assert!(values(module.up.val()).iter().all(|value| *value == 0.0));
    }
}

#[test]
fn an_export_has_the_ranks_and_alphas_and_can_be_trained_further() {
    for rank_stabilized in [false, true] {
        let config = LoraConfig {
            modules: vec!["proj_out".to_owned(), "attn.*".to_owned()],
            rank: 3,
            alpha: 2.5,
            rank_stabilized,
            overrides: vec![
                LoraOverride {
                    modules: "transformer_blocks.*.to_q".to_owned(),
                    rank: Some(5),
                    alpha: None,
                },
                LoraOverride {
                    modules: "proj_out".to_owned(),
                    rank: Some(2),
                    alpha: Some(0.1),
                },
            ],
        };
        let adapters = adapters(&config, 3).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lora.safetensors");
        let note = BTreeMap::from([("trigger".to_owned(), "ovsstyle".to_owned())]);
        adapters.save(&path, &note).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let file = LoraFile::open(&path).unwrap();
        let again = LoraAdapters::read(&file, &model(), &Default::default()).unwrap();
        let describe = |adapters: &LoraAdapters<TestBackend>| -> Vec<_> {
            let modules = adapters.modules().iter();
            modules
                .map(|module| {
                    let matrices = [&module.down, &module.up].map(|matrix| values(matrix.val()));
                    (
                        module.name.clone(),
                        module.rank(),
                        module.scaling(),
                        matrices,
                    )
                })
                .collect()
        };
        assert_eq!(describe(&adapters), describe(&again));
    }
}
