//! Verification of received files against what the server announced.

use std::fs::File;
use std::io;
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::server::Announced;
use crate::error::HubFailure;

/// Compares a file with its announced size and hash, and deletes it if it differs, so that no
/// damaged file is ever used.
///
/// A tag of 64 digits is the SHA-256 of a file in large file storage, one of 40 digits the SHA-1
/// that git computes for a file of its own. Other tags, which mirrors may use, are not checked.
pub(super) fn check(path: &Path, file: &str, announced: &Announced) -> Result<(), HubFailure> {
    let Some(reason) = difference(path, announced).map_err(HubFailure::Io)? else {
        return Ok(());
    };
    std::fs::remove_file(path).map_err(HubFailure::Io)?;
    Err(HubFailure::Damaged {
        file: file.to_owned(),
        reason,
    })
}

fn difference(path: &Path, announced: &Announced) -> io::Result<Option<String>> {
    let Announced { tag, size, .. } = announced;
    let mut file = File::open(path)?;
    let actual = file.metadata()?.len();
    if actual != *size {
        return Ok(Some(format!("{actual} bytes instead of {size}")));
    }
    let is_hash = tag.chars().all(|c| c.is_ascii_hexdigit());
    let (name, hash) = match tag.len() {
        64 if is_hash => ("SHA-256", hash(Sha256::new(), &mut file)?),
        40 if is_hash => {
            let hasher = Sha1::new_with_prefix(format!("blob {size}\0"));
            ("git SHA-1", hash(hasher, &mut file)?)
        }
        _ => return Ok(None),
    };
    let differs = hash != tag.to_ascii_lowercase();
    Ok(differs.then(|| format!("{name} {hash} instead of {tag}")))
}

fn hash(mut hasher: impl Digest + io::Write, file: &mut File) -> io::Result<String> {
    io::copy(file, &mut hasher)?;
    let digest = hasher.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_hello(tag: &str, size: u64) -> (Result<(), HubFailure>, bool) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "hello\n").unwrap();
        let announced = Announced {
            tag: tag.to_owned(),
            size,
            url: String::new(),
        };
        let checked = check(&path, "file", &announced);
        (checked, path.exists())
    }

    #[test]
    fn hashes_are_those_of_git_and_sha256sum() {
        // Output of `git hash-object` and `sha256sum`.
        for tag in [
            "ce013625030ba8dba906f756967f9e9ca394464a",
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
            "some-other-tag",
        ] {
            let (checked, exists) = check_hello(tag, 6);
            assert!(checked.is_ok() && exists, "{tag}");
        }
    }

    #[test]
    fn what_differs_is_deleted() {
        for (tag, size, reason) in [
            ("ce013625030ba8dba906f756967f9e9ca394464b", 6, "git SHA-1"),
            (&"0".repeat(64), 6, "SHA-256"),
            ("some-other-tag", 7, "6 bytes instead of 7"),
        ] {
            let (checked, exists) = check_hello(tag, size);
            let error = checked.unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
            assert!(!exists);
        }
    }
}
