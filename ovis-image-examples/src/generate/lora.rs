//! LoRAs from the command line.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Result;
use burn::tensor::backend::Backend;
use ovis_image::{LoraFile, LoraReport, OvisImagePipeline};
use serde::Serialize;

use crate::shared::hub::HubArguments;

/// `FILE` or `FILE:SCALE`.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraArgument {
    /// The file or folder.
    pub path: PathBuf,
    /// How strongly it acts.
    pub scale: f32,
}

/// A LoRA in the summary of a run.
#[derive(Debug, Clone, Serialize)]
pub struct AppliedLora {
    /// The file or folder.
    pub file: String,
    /// How strongly it acts.
    pub scale: f32,
    /// What became of its modules.
    #[serde(flatten)]
    pub report: LoraReport,
}

impl FromStr for LoraArgument {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        // What is no number after the last colon is part of the path, as in `C:\\lora`.
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

/// Opens the files, downloaded if they are the Hub's; nothing of them is read but headers.
///
/// # Errors
/// Those of [`LoraFile::open`] and of downloads.
pub fn open(arguments: &[LoraArgument], hub: &HubArguments) -> Result<Vec<LoraFile>> {
    let files = arguments
        .iter()
        .map(|lora| Ok(LoraFile::open(hub.lora(&lora.path)?)?));
    files.collect()
}

/// Puts LoRAs on a pipeline, each under its path.
///
/// # Errors
/// Those of [`OvisImagePipeline::load_lora`].
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
    fn what_is_no_scale_is_part_of_the_path() {
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
