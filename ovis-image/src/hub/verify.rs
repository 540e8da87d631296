//! Whether what came is what the server announced.

use std::fs::File;
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::HubFailure;

/// The ending of a file that says that the one beside it was not compared yet.
const UNCHECKED: &str = "unchecked";

/// Says of a file of the cache that it is to be compared before it is used, whatever happens until
/// then.
pub(super) fn mark_unchecked(blob: &Path) -> io::Result<()> {
    if let Some(folder) = blob.parent() {
        std::fs::create_dir_all(folder)?;
    }
    File::create(blob.with_extension(UNCHECKED)).map(drop)
}

/// Whether a file, or what it links to, was never compared.
pub(super) fn is_unchecked(path: &Path) -> bool {
    path.canonicalize()
        .is_ok_and(|blob| blob.with_extension(UNCHECKED).exists())
}

/// Compares a file with its announced size and, where its tag is one, its SHA-256; deletes it when
/// it differs, so that nothing half-written is ever used.
pub(super) fn check(path: &Path, size: u64, tag: &str) -> Result<(), HubFailure> {
    // The cache has a link to the contents.
    let contents = path.canonicalize().map_err(HubFailure::Io)?;
    let reason = difference(path, size, tag).map_err(HubFailure::Io)?;
    if reason.is_some() {
        std::fs::remove_file(&contents).map_err(HubFailure::Io)?;
    }
    // Gone already when another program compared it, too.
    let _ = std::fs::remove_file(contents.with_extension(UNCHECKED));
    let Some(reason) = reason else {
        return Ok(());
    };
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
