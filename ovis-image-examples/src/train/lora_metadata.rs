//! Metadata of a trained adapter: the run's settings, its trigger word and a hash of its data.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::replay::ReplayFile;
use super::resolved::Resolved;

/// Settings that determine which images are drawn, and what was read instead.
const DRAWING: [&str; 7] = [
    "batch-size",
    "curriculum",
    "data-hash",
    "fonts",
    "preset",
    "seed",
    "sizes",
];

/// Returns the metadata of the adapters of a run.
pub(super) fn metadata(
    resolved: &Resolved,
    replay: Option<&ReplayFile>,
) -> Result<BTreeMap<String, String>> {
    let settings = resolved.deciding()?;
    let data = match replay {
        Some(file) => sha256(file.bytes()),
        None => sha256(drawing(&settings).to_string().as_bytes()),
    };
    let mut metadata = BTreeMap::from([
        (
            "ovis-image.version".to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
        ),
        ("ovis-image.settings".to_owned(), settings.to_string()),
        ("ovis-image.data_sha256".to_owned(), data),
    ]);
    let trigger = resolved.lora.as_ref().and_then(|lora| lora.trigger.clone());
    if let Some(trigger) = trigger {
        metadata.insert("modelspec.trigger_phrase".to_owned(), trigger);
    }
    Ok(metadata)
}

fn drawing(settings: &Value) -> Value {
    json!(DRAWING.map(|key| [json!(key), settings[key].clone()]))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::LoraSettings;

    #[test]
    fn metadata_name_the_trigger_and_change_with_the_data_only() {
        let of = |seed, steps, trigger: &str| {
            let resolved = Resolved {
                seed,
                steps,
                output: "secret".into(),
                lora: Some(LoraSettings {
                    trigger: Some(trigger.to_owned()),
                    ..LoraSettings::default()
                }),
                ..Resolved::default()
            };
            metadata(&resolved, None).unwrap()
        };
        let (a, b, c) = (of(1, 2, "ovsstyle"), of(1, 3, "x"), of(2, 2, "x"));
        assert_eq!(a["modelspec.trigger_phrase"], "ovsstyle");
        let hash = "ovis-image.data_sha256";
        assert_eq!((a[hash].len(), &a[hash]), (64, &b[hash]));
        assert_ne!(a[hash], c[hash]);
        let settings = &a["ovis-image.settings"];
        assert!(settings.contains(r#""steps":2"#), "{settings}");
        assert!(!settings.contains("secret"), "{settings}");
    }
}
