//! Errors as one line.

use super::usage;

/// Writes an error and its causes. Leaves out a cause that the line already ends with.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(usage::shown) {
        if line.is_empty() {
            line = cause;
        } else if !line.ends_with(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use ovis_image::error::{CheckpointError, OvisImageError};

    use super::*;

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
