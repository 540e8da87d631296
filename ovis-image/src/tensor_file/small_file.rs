//! Reading of small files, such as configurations, from checkpoints that are not trusted.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::error::{OvisImageError, Result};

/// Largest configuration that is read, in bytes. The release's have a few kilobytes, the index of
/// its shards less than 100.
pub(crate) const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Returns whether anything has this name, also what cannot be read: a folder, a link to nothing or
/// a loop of links. Reading reports those.
pub(crate) fn is_named(path: &Path) -> bool {
    !matches!(path.symlink_metadata(), Err(error) if error.kind() == ErrorKind::NotFound)
}

/// Reads a regular file of at most `limit` bytes; errors call its content `format`.
///
/// # Errors
/// Returns [`CheckpointError::InvalidFile`](crate::error::CheckpointError::InvalidFile) for a
/// folder, a device, a pipe or a longer file, or
/// [`CheckpointError::Io`](crate::error::CheckpointError::Io) if it cannot be read.
pub(crate) fn read_small(path: &Path, format: &'static str, limit: u64) -> Result<Vec<u8>> {
    let io = |error| OvisImageError::io(path, error);
    let invalid = |reason: String| OvisImageError::invalid_file(path, format, reason);
    // Checked before opening, because opening a pipe waits for its other end.
    let metadata = std::fs::metadata(path).map_err(io)?;
    if let Some(kind) = other_than_file(&metadata) {
        return Err(invalid(format!("it is a {kind}")));
    }
    let mut bytes = Vec::new();
    // Reads one byte more than the limit, which shows that the file is too long. Its length may be
    // wrong: some files of the system have none.
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(invalid(format!("it is longer than {limit} bytes")));
    }
    Ok(bytes)
}

/// Like [`read_small`], for text. Text that is not UTF-8 is an
/// [`Io`](crate::error::CheckpointError::Io) error.
pub(crate) fn read_small_text(path: &Path, format: &'static str, limit: u64) -> Result<String> {
    String::from_utf8(read_small(path, format, limit)?).map_err(|error| {
        OvisImageError::io(path, std::io::Error::new(ErrorKind::InvalidData, error))
    })
}

/// Names what a path leads to, unless it is a regular file.
pub(crate) fn other_than_file(metadata: &std::fs::Metadata) -> Option<&'static str> {
    if metadata.is_file() {
        None
    } else if metadata.is_dir() {
        Some("folder")
    } else {
        Some("device or a pipe")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_within_the_limit_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        assert!(!is_named(&path));
        std::fs::write(&path, "{}").unwrap();
        assert_eq!(read_small(&path, "JSON", 2).unwrap(), b"{}");
        assert!(is_named(&path));
        let refused = |path: &Path| read_small(path, "JSON", 1).unwrap_err().to_string();
        assert!(refused(&path).contains("longer than 1 bytes"));
        assert!(refused(folder.path()).contains("it is a folder"));
        assert!(refused(&folder.path().join("none")).contains("cannot access"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn devices_pipes_and_loops_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let loops = folder.path().join("loop");
        std::os::unix::fs::symlink(&loops, &loops).unwrap();
        assert!(is_named(&loops));
        assert!(read_small(&loops, "JSON", 1).is_err());
        let refused = read_small(Path::new("/dev/zero"), "JSON", 1).unwrap_err();
        assert!(refused.to_string().contains("device"), "{refused}");
    }
}
