//! PEFT's configuration of an adapter, which determines the factor of a file's updates.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{iter, mem};

use serde::Deserialize;
use serde_json::Value;

use crate::error::{LoraError, OvisImageError, Result};
use crate::tensor_file::{TensorSource, is_named, read_small};

/// Fields of `LoraConfig` that change what an adapter adds.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct PeftConfig {
    lora_alpha: f64,
    #[serde(default)]
    pub(super) use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    /// Alphas of single modules, by their names after [`START`] or the ends of their names.
    #[serde(default)]
    alpha_pattern: BTreeMap<String, f64>,
}

/// Metadata name under which diffusers stores the configuration in the file.
pub(super) const METADATA: &str = "lora_adapter_metadata";
/// File in which PEFT stores the configuration, beside the weights.
const CONFIG_FILE: &str = "adapter_config.json";
/// Beginning of PEFT's name of the weights file.
const PEFT_FILE: &str = "adapter_model.";
/// Largest size that is read. PEFT writes a kilobyte, and some more for patterns. JSON takes a
/// hundred times its size when parsed.
const MAX_CONFIG_BYTES: usize = 1 << 20;

impl PeftConfig {
    /// Reads PEFT's configuration from the file's metadata or from a file beside it.
    pub(super) fn read(path: &Path, source: &TensorSource) -> Result<Option<Self>> {
        let beside = match path.file_name().and_then(|name| name.to_str()) {
            _ if path.is_dir() => path.join(CONFIG_FILE),
            // Only for PEFT's own file name: a configuration beside another file may not belong to it.
            Some(name) if name.starts_with(PEFT_FILE) => path.with_file_name(CONFIG_FILE),
            _ => PathBuf::new(),
        };
        let config = match source.metadata(METADATA) {
            Some(json) => Self::parse(path, json.as_bytes())?,
            None if is_named(&beside) => {
                // One byte more than the limit, which the parser reports.
                let json = read_small(&beside, "LoRA", MAX_CONFIG_BYTES as u64 + 1)?;
                Self::parse(&beside, &json)?
            }
            None => None,
        };
        if config.as_ref().is_some_and(|config| config.use_dora) {
            return Err(LoraError::UnsupportedAdapter {
                path: path.to_owned(),
                tensor: "use_dora in its configuration".into(),
                method: "DoRA",
            }
            .into());
        }
        Ok(config)
    }

    /// Parses the JSON, in which a pipeline puts the model's name before each field; `None` if it
    /// does not describe the transformer.
    fn parse(path: &Path, json: &[u8]) -> Result<Option<Self>> {
        let invalid = |reason: String| {
            let reason = format!("its PEFT configuration: {reason}");
            OvisImageError::invalid_file(path, "LoRA", reason)
        };
        let unparsable = |error: serde_json::Error| {
            let reason = "its PEFT configuration cannot be parsed";
            OvisImageError::invalid_file_because(path, "LoRA", reason, error)
        };
        if json.len() > MAX_CONFIG_BYTES {
            return Err(invalid(format!(
                "it is longer than {MAX_CONFIG_BYTES} bytes"
            )));
        }
        let fields: serde_json::Map<String, Value> =
            serde_json::from_slice(json).map_err(unparsable)?;
        let fields: serde_json::Map<String, Value> = fields
            .into_iter()
            // `null` is the same as an absent field.
            .filter(|(_, value)| !value.is_null())
            .filter_map(|(name, value)| {
                let name = name.strip_prefix("transformer.").unwrap_or(&name);
                (!name.contains('.')).then(|| (name.to_owned(), value))
            })
            .collect();
        if fields.is_empty() {
            return Ok(None);
        }
        if let Some(kind) = fields.get("peft_type").and_then(Value::as_str)
            && kind != "LORA"
        {
            return Err(LoraError::UnsupportedAdapter {
                path: path.to_owned(),
                tensor: "peft_type in its configuration".into(),
                method: method(kind),
            }
            .into());
        }
        let mut config: Self = serde_json::from_value(Value::Object(fields)).map_err(unparsable)?;
        let pattern = config
            .alpha_pattern
            .keys()
            .find(|pattern| !is_plain(pattern));
        match pattern {
            Some(pattern) => Err(invalid(format!(
                "`{pattern}` in alpha_pattern is a regular expression; only names are supported"
            ))),
            None => {
                config.alpha_pattern = mem::take(&mut config.alpha_pattern)
                    .into_iter()
                    .map(|(pattern, alpha)| (pattern.trim_end_matches('$').to_owned(), alpha))
                    .collect();
                Ok(Some(config))
            }
        }
    }

    /// Returns the alpha of a module.
    pub(super) fn alpha(&self, module: &str) -> f64 {
        // Whole names come first, and then ends, the longest first. They are looked up: there may be
        // as many patterns as modules.
        let whole = self.alpha_pattern.get(&format!("{START}{module}"));
        if let Some(alpha) = whole {
            return *alpha;
        }
        let ends = module.match_indices('.').map(|(dot, _)| &module[dot + 1..]);
        iter::once(module)
            .chain(ends)
            .find_map(|end| self.alpha_pattern.get(end).copied())
            .unwrap_or(self.lora_alpha)
    }
}

/// Returns the factor of a module's update: alpha over the rank, or over its root.
pub(crate) fn scaling(alpha: f64, rank: usize, rank_stabilized: bool) -> f32 {
    let factor = if rank_stabilized {
        alpha / (rank as f64).sqrt()
    } else {
        alpha / rank as f64
    };
    factor as f32
}

/// Describes a PEFT method by its name.
fn method(kind: &str) -> &'static str {
    match kind {
        "LOKR" => "LoKr",
        "LOHA" => "LoHa",
        "ADALORA" => "AdaLoRA",
        "OFT" => "OFT",
        "BOFT" => "BOFT",
        _ => "another method of PEFT",
    }
}

/// Beginning of a pattern that is a whole name.
const START: char = '^';

/// Returns a pattern without its anchors.
fn bare(pattern: &str) -> &str {
    pattern.trim_start_matches(START).trim_end_matches('$')
}

/// Returns whether a pattern is a name or the end of one, optionally anchored.
fn is_plain(pattern: &str) -> bool {
    bare(pattern)
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> PeftConfig {
        let path = Path::new("adapter_config.json");
        PeftConfig::parse(path, json.as_bytes()).unwrap().unwrap()
    }

    impl PeftConfig {
        fn scaling(&self, module: &str, rank: usize) -> f32 {
            super::scaling(self.alpha(module), rank, self.use_rslora)
        }
    }

    #[test]
    fn alpha_is_taken_over_the_rank_or_its_root() {
        let plain = config(r#"{"lora_alpha": 8, "r": 4}"#);
        assert_eq!(plain.scaling("proj_out", 4), 2.0);
        let root = config(r#"{"lora_alpha": 8, "use_rslora": true}"#);
        assert_eq!(root.scaling("proj_out", 4), 4.0);
    }

    #[test]
    fn a_pattern_is_the_end_of_a_name() {
        let config = config(
            r#"{"transformer.lora_alpha": 1, "transformer.alpha_pattern": {"attn.to_q": 6.0}}"#,
        );
        assert_eq!(config.scaling("transformer_blocks.0.attn.to_q", 2), 3.0);
        assert_eq!(config.scaling("transformer_blocks.0.xattn.to_q", 2), 0.5);
        assert_eq!(config.scaling("transformer_blocks.0.attn.to_k", 2), 0.5);
    }

    #[test]
    fn of_several_patterns_the_longest_counts() {
        let config = self::config(
            r#"{"lora_alpha": 1, "alpha_pattern": {"to_q": 2, "^1.attn.to_q$": 3, "attn.to_q$": 4}}"#,
        );
        assert_eq!(config.scaling("0.attn.to_q", 1), 4.0);
        assert_eq!(config.scaling("1.attn.to_q", 1), 3.0);
        assert_eq!(config.scaling("to_q", 1), 2.0);
        assert_eq!(config.scaling("", 1), 1.0);
    }

    #[test]
    fn a_pattern_with_a_start_is_a_whole_name() {
        let config = config(r#"{"lora_alpha": 1, "alpha_pattern": {"^proj_out$": 2}}"#);
        assert_eq!(config.scaling("proj_out", 1), 2.0);
        let block = "single_transformer_blocks.0.proj_out";
        assert_eq!(config.scaling(block, 1), 1.0);
    }

    #[test]
    fn other_methods_are_refused_by_name() {
        let error = PeftConfig::parse(Path::new("a"), br#"{"peft_type": "LOKR", "r": 4}"#);
        assert!(matches!(
            error.unwrap_err(),
            OvisImageError::Lora(LoraError::UnsupportedAdapter { method: "LoKr", .. })
        ));
    }

    #[test]
    fn regular_expressions_are_refused() {
        let json = br#"{"lora_alpha": 1, "alpha_pattern": {".*to_q": 2}}"#;
        let error = PeftConfig::parse(Path::new("x"), json).unwrap_err();
        assert!(error.to_string().contains(".*to_q"), "{error}");
    }
}
