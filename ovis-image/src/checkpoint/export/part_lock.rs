//! Lock by which an unfinished export shows that its process is alive.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Name of the locked file in the folder of an unfinished export.
const LOCK_FILE: &str = ".lock";

/// A lock on a folder, which the system releases when the process ends in whatever way.
#[derive(Debug)]
pub(super) struct PartLock {
    path: PathBuf,
    file: File,
}

impl PartLock {
    /// Locks a new folder.
    pub(super) fn hold(folder: &Path) -> std::io::Result<Self> {
        let path = folder.join(LOCK_FILE);
        let mut file = File::create_new(&path)?;
        // On file systems without locks, nobody can take the folder for abandoned either.
        let _ = file.lock();
        // Only a file with content counts as locked: one without may be about to be.
        file.write_all(b"locked")?;
        Ok(Self { path, file })
    }

    /// Removes the lock from the folder, which is complete.
    pub(super) fn release(self) -> std::io::Result<()> {
        // The file goes before the lock, so that nobody finds it unlocked.
        let removed = fs::remove_file(&self.path);
        drop(self.file);
        removed
    }

    /// Returns whether the process that locked a folder has ended. A folder without a lock is not
    /// known to be abandoned.
    pub(super) fn is_abandoned(folder: &Path) -> bool {
        let path = folder.join(LOCK_FILE);
        let Ok(file) = File::open(&path) else {
            return false;
        };
        // The file may have been removed between opening and locking: its folder is complete then.
        file.try_lock().is_ok()
            && file.metadata().is_ok_and(|metadata| metadata.len() > 0)
            && path.exists()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_abandoned_when_its_lock_is_free() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!PartLock::is_abandoned(folder.path()));
        let lock = PartLock::hold(folder.path()).unwrap();
        assert!(!PartLock::is_abandoned(folder.path()));
        // As when a process ends: the file is closed and stays.
        drop(lock.file);
        assert!(PartLock::is_abandoned(folder.path()));
        fs::write(folder.path().join(LOCK_FILE), "").unwrap();
        assert!(!PartLock::is_abandoned(folder.path()));
    }

    #[test]
    fn a_released_lock_leaves_an_empty_folder() {
        let folder = tempfile::tempdir().unwrap();
        PartLock::hold(folder.path()).unwrap().release().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
