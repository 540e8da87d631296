//! Extraction of a LoRA from the difference of two checkpoints.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::Result;
use ovis_image::error::{OvisImageError, RuntimeError};
use ovis_image::{Checkpoint, LoraFormat};

use super::{Arguments, check_output};
use crate::shared::interrupt;
use crate::shared::program::{print, say};
use crate::shared::progress::BytesBar;
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
    let interrupted = interrupt::flag()?;
    let bar = BytesBar::new();
    let extracted = tuned.extract_lora(&base, rank, |progress| {
        bar.show("comparing", progress.written, progress.total);
        if interrupted.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    drop(bar);
    let extracted = match extracted {
        Err(OvisImageError::Runtime(RuntimeError::ExportCanceled { .. })) => {
            say("error: interrupted: nothing was written");
            return Ok(ExitCode::from(interrupt::EXIT_CODE));
        }
        extracted => extracted?,
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
