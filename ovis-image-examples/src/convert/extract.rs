//! Extraction of a LoRA from the difference of two checkpoints.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use ovis_image::{Checkpoint, LoraFormat};

use super::interruptible::interruptible;
use super::{Arguments, check_output};
use crate::shared::interrupt;
use crate::shared::program::print;
use crate::shared::terminal::{printable_lines, shown};

/// Rank unless said.
const RANK: usize = 16;

/// Number of tensors that a note names.
const NAMED: usize = 3;

/// Writes the difference of the model's transformer from a base's as a LoRA.
pub(super) fn extract(arguments: &Arguments, base: &Path) -> Result<ExitCode> {
    let output = &arguments.output;
    check_output(output)?;
    let tuned = arguments.model.resolve()?.open()?;
    let base = Checkpoint::open(arguments.model.hub.folder(base)?)?;
    let rank = arguments.rank.map_or(RANK, usize::from);
    let extracted = interruptible("comparing", |on_progress| {
        tuned.extract_lora(&base, rank, on_progress)
    })?;
    let Some(extracted) = extracted else {
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    };
    let format = arguments.format.unwrap_or(LoraFormat::Peft);
    let metadata = [
        ("extracted_rank", rank.to_string()),
        ("extracted_share", format!("{:.6}", extracted.kept)),
    ];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value));
    extracted
        .updates
        .save(output, format, &BTreeMap::from(metadata))?;
    let mut text = format!(
        "{}  {} modules, {:.2} % of the squared difference\n",
        shown(output),
        extracted.updates.modules().len(),
        100.0 * extracted.kept
    );
    let left_out = &extracted.left_out;
    if !left_out.is_empty() {
        let named: Vec<&str> = left_out.iter().take(NAMED).map(String::as_str).collect();
        let more = if left_out.len() > NAMED { ", …" } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "note: {} biases and norms differ, too, which a LoRA cannot express: {}{more}",
            left_out.len(),
            named.join(", ")
        );
    }
    print(printable_lines(&text).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
