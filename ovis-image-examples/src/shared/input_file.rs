//! Input files: regular ones of a bounded size only. A device may be endless, and opening a pipe
//! waits for its other end.

use std::fs::{self, File};
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

/// Opens a regular file.
///
/// # Errors
/// Returns the errors of [`check`] or of the system.
pub fn open(path: &Path) -> Result<File> {
    check(path)?;
    File::open(path)
}

/// Checks that a path leads to a regular file.
///
/// # Errors
/// Returns the system's error, or one of the kind [`ErrorKind::InvalidInput`] that says what is
/// there and what to do.
pub fn check(path: &Path) -> Result<()> {
    let metadata = fs::metadata(path)?;
    if metadata.is_file() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidInput,
        if metadata.is_dir() {
            "it is a folder: name a file in it"
        } else {
            "it is a device or a pipe: write its content to a file and name that"
        },
    ))
}

/// Reads a regular file of at most `most` bytes.
///
/// # Errors
/// Returns the errors of [`open`], or one that says how long a file may be.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more shows that the file is too long; the length in its metadata may be wrong.
    open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 <= most {
        return Ok(bytes);
    }
    Err(Error::new(
        ErrorKind::InvalidInput,
        format!("it is longer than {most} bytes, the most that is read"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_up_to_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "abc").unwrap();
        assert_eq!(read(&path, 3).unwrap(), b"abc");
        assert!(read(&path, 2).unwrap_err().to_string().contains("2 bytes"));
    }

    #[test]
    fn what_is_not_a_file_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |path: &Path| open(path).unwrap_err().to_string();
        assert!(refused(folder.path()).contains("it is a folder"));
        if cfg!(unix) {
            assert!(refused(Path::new("/dev/zero")).contains("it is a device or a pipe"));
        }
    }
}
