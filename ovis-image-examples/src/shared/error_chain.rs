//! Errors as one line.

use std::error::Error;

use ovis_image::OvisImageError;
use ovis_image::error::{CheckpointError, Printable};

use super::terminal::printable_lines;
use super::usage;

/// Writes an error and its causes. Leaves out a cause that the line already ends with. What comes
/// from files is escaped.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(text) {
        if line.is_empty() {
            line = cause;
        } else if !line.ends_with(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

fn text(error: &(dyn Error + 'static)) -> String {
    let text = usage::shown(error);
    match error.downcast_ref() {
        // Has a line for each tensor, with names that are escaped.
        Some(OvisImageError::Checkpoint(CheckpointError::Weights(_))) => printable_lines(&text),
        _ => Printable(&text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use ovis_image::error::WeightsReport;

    use super::*;

    #[test]
    fn names_cannot_write_lines_or_commands() {
        let error = OvisImageError::from(CheckpointError::InvalidFile {
            path: "a\nb".into(),
            format: "safetensors",
            reason: "tensor `\u{1b}[2J`".to_owned(),
            source: None,
        });
        let line = one_line(&anyhow::Error::from(error).context("c\rd"));
        assert_eq!(
            line,
            r"c\rd: a\nb is not a usable safetensors file: tensor `\u{1b}[2J`"
        );
    }

    #[test]
    fn a_report_of_tensors_keeps_its_lines() {
        let mut report = WeightsReport::default();
        report.source = "a".into();
        report.part = "transformer";
        report.missing = vec!["x\ny\u{202e}".to_owned()];
        let error = OvisImageError::from(CheckpointError::Weights(Box::new(report)));
        let lines = one_line(&error.into());
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1], r"  missing     x\ny\u{202e}");
    }

    #[test]
    fn a_cause_is_said_once() {
        let error = OvisImageError::from(CheckpointError::Io {
            path: "model.gguf".into(),
            source: std::io::Error::other("the disk is gone"),
        });
        assert_eq!(
            one_line(&error.into()),
            "cannot access model.gguf: the disk is gone"
        );
    }
}
