//! LoRAs from the command line.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Result;
use burn::tensor::backend::Backend;
use ovis_image::{LoraFile, LoraReport, OvisImagePipeline};
use serde::Serialize;

use super::hub::HubArguments;

/// A LoRA to apply, written as `FILE` or `FILE:SCALE`.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraArgument {
    /// File or folder.
    pub path: PathBuf,
    /// Strength.
    pub scale: f32,
}

/// A LoRA that was applied, in the summary of a run.
#[derive(Debug, Clone, Serialize)]
pub struct AppliedLora {
    /// File or folder.
    pub file: String,
    /// Strength.
    pub scale: f32,
    /// Modules that were applied and skipped.
    #[serde(flatten)]
    pub report: LoraReport,
}

impl FromStr for LoraArgument {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        // Text after the last colon that is not a number is part of the path, as in `C:\\lora`.
        let (path, scale) = match text.rsplit_once(':') {
            Some((path, scale)) => match scale.parse() {
                Ok(scale) => (path, scale),
                Err(_) => (text, 1.0),
            },
            None => (text, 1.0),
        };
        Ok(Self {
            path: path.into(),
            scale,
        })
    }
}

impl fmt::Display for LoraArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.scale)
    }
}

/// Opens the files, after downloading those of the Hub. Reads only headers.
///
/// # Errors
/// Returns the errors of [`LoraFile::open`] and of downloads.
pub fn open(arguments: &[LoraArgument], hub: &HubArguments) -> Result<Vec<LoraFile>> {
    let files = arguments
        .iter()
        .map(|lora| Ok(LoraFile::open(hub.lora(&lora.path)?)?));
    files.collect()
}

/// Loads LoRAs into a pipeline, each named by its path.
///
/// # Errors
/// Returns the errors of [`OvisImagePipeline::load_lora`].
pub fn load<B: Backend>(
    pipeline: &mut OvisImagePipeline<B>,
    arguments: &[LoraArgument],
    files: &[LoraFile],
) -> Result<Vec<AppliedLora>> {
    let mut applied = Vec::with_capacity(files.len());
    for (argument, file) in arguments.iter().zip(files) {
        let name = argument.path.display().to_string();
        let report = pipeline.load_lora(&name, file, argument.scale)?;
        applied.push(AppliedLora {
            file: name,
            scale: argument.scale,
            report,
        });
    }
    Ok(applied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_scale_is_part_of_the_path() {
        for (text, path, scale) in [
            ("a.safetensors", "a.safetensors", 1.0),
            ("a.safetensors:0.7", "a.safetensors", 0.7),
            ("a.safetensors:-1", "a.safetensors", -1.0),
            ("C:\\a.safetensors", "C:\\a.safetensors", 1.0),
            ("C:\\a.safetensors:2", "C:\\a.safetensors", 2.0),
        ] {
            let Ok(lora) = text.parse::<LoraArgument>();
            assert_eq!((lora.path, lora.scale), (path.into(), scale));
        }
    }
}
