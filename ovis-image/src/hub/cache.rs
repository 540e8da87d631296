//! Download cache, in the layout of Python's `huggingface_hub`.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{OvisImageError, Result};

/// Folder of one repository in the cache: `blobs/TAG` are file contents, `snapshots/COMMIT/FILE`
/// link to them, `refs/REVISION` contains the commit of a branch or tag.
#[derive(Debug)]
pub(super) struct RepoCache {
    folder: PathBuf,
}

impl RepoCache {
    /// Names the folder of a repository in the cache's folder, by default in the user's home.
    pub(super) fn new(root: Option<&Path>, id: &str) -> Result<Self> {
        let in_home = || Some(env::home_dir()?.join(".cache/huggingface/hub"));
        let root = root.map(Path::to_owned).or_else(in_home).ok_or_else(|| {
            OvisImageError::argument(
                "cache",
                "no home folder was found: set the folder of the cache",
            )
        })?;
        let name = format!("models--{}", id.replace('/', "--"));
        Ok(Self {
            folder: root.join(name),
        })
    }

    /// Path of the contents that have this tag.
    pub(super) fn blob(&self, tag: &str) -> PathBuf {
        self.folder.join("blobs").join(tag)
    }

    /// Folder of a commit's files.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// Finds the folder of a revision's files, if the cache has it.
    pub(super) fn find(&self, revision: &str) -> Option<PathBuf> {
        // A commit names its folder; the commit of a branch or tag is stored in a file.
        let by_commit = self.snapshot(revision);
        if by_commit.is_dir() {
            return Some(by_commit);
        }
        let commit = std::fs::read_to_string(self.reference(revision)).ok()?;
        let by_reference = self.snapshot(commit.trim());
        by_reference.is_dir().then_some(by_reference)
    }

    /// Stores the commit of a revision, for later use without a network.
    pub(super) fn remember(&self, revision: &str, commit: &str) -> Result<()> {
        if revision == commit {
            return Ok(());
        }
        let path = self.reference(revision);
        // A revision may contain slashes.
        let folder = path.parent().unwrap_or(&self.folder);
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&path, commit))
            .map_err(|error| OvisImageError::io(&path, error))
    }

    fn reference(&self, revision: &str) -> PathBuf {
        self.folder.join("refs").join(revision)
    }

    /// Links contents to a file of a commit, and returns the file's path.
    pub(super) fn link(&self, blob: &Path, commit: &str, file: &str) -> io::Result<PathBuf> {
        let path = self.snapshot(commit).join(file);
        if path.exists() {
            return Ok(path);
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // Remove a link whose contents were deleted.
        if path.symlink_metadata().is_ok() {
            std::fs::remove_file(&path)?;
        }
        #[cfg(unix)]
        {
            // The link from snapshots/COMMIT/FILE to blobs/TAG is relative, so that the cache can
            // be moved.
            let depth = 1 + Path::new(file).components().count();
            let mut target: PathBuf = std::iter::repeat_n("..", depth).collect();
            target.push("blobs");
            target.extend(blob.file_name());
            std::os::unix::fs::symlink(target, &path)?;
        }
        #[cfg(not(unix))]
        std::fs::hard_link(blob, &path)?;
        Ok(path)
    }
}
