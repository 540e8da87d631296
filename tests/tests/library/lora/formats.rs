//! Tests that an adapter acts the same in every key format, and comes back as it was.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;
use burn_flex::{Flex, FlexDevice};
use ovis_image::error::LoraError;
use ovis_image::lora::LoraUpdates;
use ovis_image::training::{LoraAdapters, LoraConfig, LoraOverride};
use ovis_image::{Checkpoint, LoraFile, LoraFormat, OvisImageError};
use ovis_image_tests::compare::relative_error;
use safetensors::SafeTensors;

use super::{is_the_reference, latents, lora};
use crate::support::{base_model, pipeline, values, write_tensors};

const FORMATS: [LoraFormat; 3] = [LoraFormat::Peft, LoraFormat::Kohya, LoraFormat::ComfyUi];

fn updates(file: &LoraFile) -> Result<LoraUpdates, OvisImageError> {
    let checkpoint = Checkpoint::open(base_model()).unwrap();
    LoraUpdates::read(file, checkpoint.transformer_config())
}

fn converted(file: &LoraFile, format: LoraFormat, path: &Path) -> LoraFile {
    let updates = updates(file).unwrap();
    updates.save(path, format, &BTreeMap::new()).unwrap();
    LoraFile::open(path).unwrap()
}

#[test]
fn adapters_in_every_format_give_the_images_of_peft() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    for format in FORMATS {
        for (name, modules) in [("all", 46), ("modulation", 7)] {
            let file = converted(&lora(name), format, &path);
            let mut pipeline = pipeline();
            let report = pipeline.load_lora(name, &file, 1.0).unwrap();
            assert_eq!(report.applied, report.modules, "{format}");
            // Fused modules are fewer.
            let fused = format != LoraFormat::Peft && name == "all";
            assert_eq!(report.modules, if fused { 36 } else { modules }, "{format}");
            is_the_reference(&pipeline, name);
        }
    }
}

#[test]
fn adapters_of_any_format_become_those_of_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    for name in ["attention", "kohya.safetensors", "fused.safetensors"] {
        let original = lora(name);
        let mut expected = pipeline();
        expected.load_lora("x", &original, 0.8).unwrap();
        let expected = latents(&expected);
        for format in FORMATS {
            let file = converted(&original, format, &path);
            let mut found = pipeline();
            found.load_lora("x", &file, 0.8).unwrap();
            let error = relative_error(&latents(&found), &expected);
            assert!(error < 1e-5, "{name} as {format}: {error:e}");
        }
    }
}

/// Adapter with two ranks and two alphas, one of which is of a module whose name is the end of
/// others, and with values in both matrices.
fn trained() -> LoraAdapters<Flex> {
    let of = |modules: &str, rank, alpha| LoraOverride {
        modules: modules.to_owned(),
        rank: Some(rank),
        alpha: Some(alpha),
    };
    let config = LoraConfig {
        modules: [
            "attn.*",
            "ff.*",
            "proj_mlp",
            "x_embedder",
            "context_embedder",
        ]
        .map(str::to_owned)
        .to_vec(),
        rank: 2,
        alpha: 3.0,
        overrides: vec![of("to_k", 3, 5.0), of("ff.*", 4, 4.0)],
        ..LoraConfig::default()
    };
    let pipeline = pipeline();
    let adapters = LoraAdapters::new(&config, pipeline.transformer(), 1, &FlexDevice).unwrap();
    adapters.map(&mut Shift)
}

struct Shift;

impl ModuleMapper<Flex> for Shift {
    fn map_float<const D: usize>(
        &mut self,
        parameter: Param<Tensor<Flex, D>>,
    ) -> Param<Tensor<Flex, D>> {
        parameter.map(|values| values.add_scalar(0.02))
    }
}

#[test]
fn an_adapter_comes_back_from_every_format_with_its_ranks_and_values() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let original = trained();
    original
        .save(&at("original.safetensors"), &BTreeMap::new())
        .unwrap();
    for format in FORMATS {
        let path = at("there.safetensors");
        original.save_as(&path, format, &BTreeMap::new()).unwrap();
        let there = LoraFile::open(&path).unwrap();
        let back = converted(&there, LoraFormat::Peft, &at("back.safetensors"));
        let back = LoraAdapters::<Flex>::read(&back, pipeline().transformer(), &FlexDevice);
        let back = back.unwrap();
        assert_eq!(back.modules().len(), original.modules().len());
        for (back, original) in back.modules().iter().zip(original.modules()) {
            assert_eq!(back.name, original.name);
            let same = values(back.down.val()) == values(original.down.val());
            assert!(same, "{format}: {}", back.name);
            // Of joined modules with several factors, one is a factor of the up projection.
            let [found, expected] =
                [back, original].map(|module| values(module.up.val().mul_scalar(module.scaling())));
            let error = relative_error(&found, &expected);
            assert!(error < 1e-6, "{format}: {}: {error:e}", back.name);
        }
    }
}

#[test]
fn rank_and_alpha_are_stated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    for (name, rank) in [("all", "4"), ("attention", "Dynamic")] {
        converted(&lora(name), LoraFormat::Peft, &path);
        let bytes = std::fs::read(&path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = header.metadata().clone().unwrap();
        assert_eq!(metadata["ss_network_dim"], rank);
    }
    converted(&lora("all"), LoraFormat::Kohya, &path);
    let bytes = std::fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let names = tensors.names();
    let alphas = names.iter().filter(|name| name.ends_with(".alpha"));
    assert_eq!(3 * alphas.count(), names.len());
    assert!(names.iter().all(|name| name.starts_with("lora_unet_")));
}

#[test]
fn metadata_are_kept_without_the_configuration_of_peft() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    let trigger = ("modelspec.trigger_phrase".to_owned(), "ovsstyle".to_owned());
    let updates = updates(&lora("all")).unwrap();
    let metadata = BTreeMap::from([trigger.clone()]);
    updates.save(&path, LoraFormat::Peft, &metadata).unwrap();
    let found = LoraFile::open(&path).unwrap().metadata();
    assert_eq!(found[&trigger.0], trigger.1);
    assert_eq!(found["ss_network_alpha"], "6");
    assert!(!found.contains_key("lora_adapter_metadata"));
}

#[test]
fn modules_that_the_model_lacks_are_not_converted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    let tensor = |name: &str, shape: [usize; 2]| {
        (
            name.to_owned(),
            shape.to_vec(),
            vec![0.1; shape[0] * shape[1]],
        )
    };
    write_tensors(
        &path,
        [
            tensor("transformer.x_embedder.lora_A.weight", [1, 16]),
            tensor("transformer.x_embedder.lora_B.weight", [32, 1]),
            tensor("text_encoder.q.lora_A.weight", [1, 32]),
            tensor("text_encoder.q.lora_B.weight", [32, 1]),
        ],
    );
    let error = updates(&LoraFile::open(&path).unwrap()).unwrap_err();
    assert!(
        matches!(&error, OvisImageError::Lora(LoraError::UnknownModule { module, .. }) if module == "text_encoder.q"),
        "{error}"
    );
}
