//! Whether what came is what the server announced.

use std::fs::File;
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::failure::HubFailure;

/// Compares a file with its announced size and, where its tag is one, its SHA-256; deletes it when
/// it differs, so that nothing half-written is ever used.
pub(super) fn check(path: &Path, size: u64, tag: &str) -> Result<(), HubFailure> {
    let reason = match difference(path, size, tag) {
        Ok(None) => return Ok(()),
        Ok(Some(reason)) => reason,
        Err(error) => return Err(HubFailure::Io(error)),
    };
    // The cache has a link to the contents.
    if let Ok(contents) = path.canonicalize() {
        std::fs::remove_file(contents).map_err(HubFailure::Io)?;
    }
    // Gone already where there are no links.
    let _ = std::fs::remove_file(path);
    Err(HubFailure::Damaged {
        file: path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy()
            .into_owned(),
        reason,
    })
}

fn difference(path: &Path, size: u64, tag: &str) -> io::Result<Option<String>> {
    let mut file = File::open(path)?;
    let actual = file.metadata()?.len();
    if actual != size {
        return Ok(Some(format!("{actual} bytes in place of {size}")));
    }
    // Files of the large file storage are tagged with it; others with a checksum of git's.
    if tag.len() != 64 || !tag.chars().all(|c| c.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let mut hasher = Sha256::new();
    io::copy(&mut file, &mut hasher)?;
    let hash: String = hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok((hash != tag.to_ascii_lowercase()).then(|| format!("SHA-256 {hash} in place of {tag}")))
}
