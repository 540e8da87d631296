//! Tests that each kind of error keeps its cause, and does not report it twice.

use std::error::Error;
use std::fs;

use ovis_image::device::DeviceSpec;
use ovis_image::error::{
    CheckpointError, DeviceError, HubFailure, LoraError, MemoryError, RequestError, RuntimeError,
};
use ovis_image::hub::HubRepo;
use ovis_image::text_encoder::PromptTokenizer;
use ovis_image::{
    Checkpoint, LoadOptions, LoraFile, OvisImageError, OvisImagePipeline, Phase, WeightDtype,
};

use crate::support::{damaged, load, pipeline, request};
use ovis_image_tests::error_chain::chain;
use ovis_image_tests::golden::golden_folder;

/// Returns the cause, which the message leaves to the error chain.
#[track_caller]
fn source_of<E: Error + 'static>(error: &OvisImageError) -> &E {
    let source = error.source().expect("a source");
    let text = source.to_string();
    assert!(!error.to_string().contains(&text), "{error}");
    assert_eq!(chain(error).matches(&text).count(), 1, "{}", chain(error));
    source.downcast_ref().expect("the source's type")
}

#[track_caller]
fn has_no_source(error: &OvisImageError) {
    assert!(error.source().is_none(), "{}", chain(error));
}

#[test]
fn a_checkpoint_keeps_the_parsers_error() {
    for file in [
        "transformer/config.json",
        "scheduler/scheduler_config.json",
        "transformer/diffusion_pytorch_model.safetensors.index.json",
    ] {
        let folder = damaged(|folder| fs::write(folder.join(file), "{").unwrap());
        let error = load(folder.path().to_owned()).unwrap_err();
        assert!(
            matches!(
                &error,
                OvisImageError::Checkpoint(CheckpointError::InvalidFile { path, .. }) if path.ends_with(file)
            ),
            "{error}"
        );
        assert!(source_of::<serde_json::Error>(&error).is_eof());
    }
    let error = PromptTokenizer::from_bytes(b"{", "tokenizer.json".into()).unwrap_err();
    assert!(source_of::<serde_json::Error>(&error).is_eof());
    let error = Checkpoint::open("/nowhere").unwrap_err();
    has_no_source(&error);
}

#[test]
fn a_file_keeps_the_systems_error() {
    let folder = damaged(|folder| {
        let tokenizer = folder.join("tokenizer/tokenizer.json");
        fs::write(tokenizer.with_file_name("other.json"), "").unwrap();
    });
    let below_a_file = folder.path().join("tokenizer/other.json/tokenizer.json");
    let error = PromptTokenizer::from_file(&below_a_file).unwrap_err();
    assert!(
        matches!(&error, OvisImageError::Checkpoint(CheckpointError::Io { path, .. }) if *path == below_a_file),
        "{error}"
    );
    assert_eq!(
        source_of::<std::io::Error>(&error).kind(),
        std::io::ErrorKind::NotADirectory
    );
}

#[test]
fn a_lora_keeps_the_parsers_error_of_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden_folder().join("lora/attention/adapter_model.safetensors");
    fs::copy(golden, folder.path().join("adapter_model.safetensors")).unwrap();
    let config = folder.path().join("adapter_config.json");
    fs::write(&config, "{").unwrap();
    let error = LoraFile::open(folder.path()).unwrap_err();
    assert!(source_of::<serde_json::Error>(&error).is_eof());
    fs::write(&config, r#"{"peft_type": "LOKR"}"#).unwrap();
    let error = LoraFile::open(folder.path()).unwrap_err();
    assert!(matches!(
        error,
        OvisImageError::Lora(LoraError::UnsupportedAdapter { method: "LoKr", .. })
    ));
    has_no_source(&error);
}

#[test]
fn what_is_found_here_has_no_source() {
    let error = pipeline()
        .generate(&request().with_size(17, 16))
        .unwrap_err();
    assert!(matches!(
        error,
        OvisImageError::Request(RequestError::InvalidSize { .. })
    ));
    has_no_source(&error);

    let error = "gpu".parse::<DeviceSpec>().unwrap_err();
    assert!(matches!(
        error,
        OvisImageError::Device(DeviceError::Unknown { .. })
    ));
    has_no_source(&error);

    let options = LoadOptions::new()
        .with_dtype(WeightDtype::F32)
        .with_memory_limit(1 << 20);
    let base = golden_folder().join("base/model");
    let small = OvisImagePipeline::<burn_flex::Flex>::from_pretrained(
        base,
        options,
        &burn_flex::FlexDevice,
    );
    let error = small
        .unwrap()
        .generate(&request().with_size(512, 512))
        .unwrap_err();
    assert!(matches!(
        error,
        OvisImageError::Memory(MemoryError::TooLargeForMemory { .. })
    ));
    has_no_source(&error);
}

#[test]
fn a_failure_of_the_hub_keeps_what_was_missing() {
    let cache = tempfile::tempdir().unwrap();
    let repo = HubRepo::new("owner/name")
        .unwrap()
        .with_cache(cache.path())
        .with_attempts(1);
    // Nothing listens on this port.
    let error = repo
        .with_endpoint("http://127.0.0.1:9")
        .download()
        .unwrap_err();
    let failure = source_of::<HubFailure>(&error);
    assert!(
        matches!(failure, HubFailure::Unreachable { .. }),
        "{failure}"
    );
    assert!(failure.source().is_some(), "the client's error");
    assert!(error.to_string().contains("owner/name"), "{error}");
}

#[test]
fn a_failure_of_the_backend_keeps_its_error() {
    let lost = std::io::Error::other("device lost");
    let error = OvisImageError::from(RuntimeError::Backend {
        phase: Phase::Denoising,
        source: Box::new(lost),
    });
    assert_eq!(
        source_of::<std::io::Error>(&error).to_string(),
        "device lost"
    );
    assert_eq!(
        chain(&error),
        "the backend failed during denoising: device lost"
    );
}
