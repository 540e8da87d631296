//! Conversion of a LoRA from one key format to another.

use std::process::ExitCode;

use anyhow::{Result, bail};
use ovis_image::LoraFormat;
use ovis_image::config::TransformerConfig;
use ovis_image::lora::LoraUpdates;

use super::{Arguments, check_output};
use crate::shared::lora;
use crate::shared::program::print;
use crate::shared::terminal::shown;
use crate::shared::usage::UsageError;

/// Writes the LoRA of the arguments in a format.
pub(super) fn convert(arguments: &Arguments, format: LoraFormat) -> Result<ExitCode> {
    let [given] = &arguments.lora[..] else {
        bail!(UsageError::new("--format takes one --lora"));
    };
    if given.scale != 1.0 {
        bail!(UsageError::new(
            "--format does not change the strength of a LoRA: leave out the scale"
        ));
    }
    let output = &arguments.output;
    check_output(output)?;
    let files = lora::open(&arguments.lora, &arguments.model.hub)?;
    let config = if arguments.model.is_given() {
        let checkpoint = arguments.model.resolve()?.open()?;
        checkpoint.transformer_config().clone()
    } else {
        TransformerConfig::ovis_image_7b()
    };
    for file in &files {
        let updates = LoraUpdates::read(file, &config)?;
        updates.save(output, format, &file.metadata())?;
        let count = updates.modules().len();
        print(format!("{}  {count} modules\n", shown(output)).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}
