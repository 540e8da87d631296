//! Download of missing files into the cache, one after another.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use super::cache::RepoCache;
use super::repository::HubRepo;
use super::server::{Announced, Listing, Server};
use super::{select, verify};
use crate::checkpoint::CheckpointPaths;
use crate::error::{HubError, HubFailure, OvisImageError, Result};

/// Progress of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubProgress<'a> {
    /// Name of the file being downloaded.
    pub file: &'a str,
    /// Index of this file, from 0.
    pub index: usize,
    /// Number of files to download.
    pub files: usize,
    /// Number of bytes of this file received so far, including those of earlier attempts.
    pub received: u64,
    /// Size of this file in bytes.
    pub total: u64,
}

/// Wait before the second attempt. The wait doubles for each further attempt.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Extensions of an incomplete file and of its lock file, as in the crate `hf-hub`.
const PART_EXTENSION: &str = "part";
const LOCK_EXTENSION: &str = "lock";
/// Number of attempts to lock a file, and the wait between them.
const LOCK_ATTEMPTS: u32 = 6;
const LOCK_WAIT: Duration = Duration::from_secs(1);
const BUFFER_BYTES: usize = 1 << 16;

impl HubRepo {
    /// Downloads the checkpoint and returns its folder, for
    /// [`Checkpoint::open`](crate::Checkpoint::open).
    ///
    /// Downloads only the files of a diffusers checkpoint or of the authors' checkpoint that are
    /// needed, and nothing else in the repository. If the server does not answer, the cached files
    /// are used.
    ///
    /// # Errors
    /// Returns a [`HubError`], whose [`HubFailure`] gives the reason. Complete files stay in the
    /// cache, and the next download resumes the others.
    pub fn download(&self) -> Result<PathBuf> {
        self.download_with(|_| {})
    }

    /// Like [`download`](Self::download), with a progress callback.
    ///
    /// # Errors
    /// Returns the errors of [`download`](Self::download).
    pub fn download_with(&self, mut on_progress: impl FnMut(HubProgress<'_>)) -> Result<PathBuf> {
        if self.is_offline() {
            return self.cached_checkpoint();
        }
        let run = Download::of(self)?;
        let Listing { commit, files } = match run.list() {
            Ok(listed) => listed,
            Err(error) => return cached_instead(error, self.cached_checkpoint()),
        };
        let needed = select::checkpoint_files(&files).map_err(|failure| self.error(failure))?;
        for (index, file) in needed.iter().enumerate() {
            run.file(&commit, file, |received, total| {
                on_progress(HubProgress {
                    file,
                    index,
                    files: needed.len(),
                    received,
                    total,
                });
            })?;
        }
        run.cache.remember(self.revision(), &commit)?;
        Ok(run.cache.snapshot(&commit))
    }

    /// Downloads one file, for example a GGUF transformer or a LoRA, and returns its path.
    ///
    /// # Errors
    /// Returns the errors of [`download`](Self::download), and
    /// [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) if the name
    /// points outside the repository.
    pub fn download_file(
        &self,
        file: &str,
        mut on_progress: impl FnMut(HubProgress<'_>),
    ) -> Result<PathBuf> {
        if !select::is_inside(file) {
            return Err(OvisImageError::argument(
                "file",
                format!("`{file}` is not a path within a repository"),
            ));
        }
        if self.is_offline() {
            return self.cached_file(file);
        }
        let run = Download::of(self)?;
        let Listing { commit, files } = match run.list() {
            Ok(listed) => listed,
            Err(error) => return cached_instead(error, self.cached_file(file)),
        };
        if !files.iter().any(|name| name == file) {
            return Err(self.error(HubFailure::NoSuchFile {
                file: file.to_owned(),
            }));
        }
        let path = run.file(&commit, file, |received, total| {
            on_progress(HubProgress {
                file,
                index: 0,
                files: 1,
                received,
                total,
            });
        })?;
        run.cache.remember(self.revision(), &commit)?;
        Ok(path)
    }

    /// Finds the folder of the checkpoint in the cache.
    fn cached_checkpoint(&self) -> Result<PathBuf> {
        let folder = self.repo_cache()?.find(self.revision());
        let folder = folder.ok_or_else(|| self.error(HubFailure::NotCached))?;
        match CheckpointPaths::discover(&folder) {
            Ok(_) => Ok(folder),
            Err(error) => Err(self.error(HubFailure::PartlyCached {
                source: Box::new(error),
            })),
        }
    }

    /// Finds the path of a file in the cache.
    fn cached_file(&self, file: &str) -> Result<PathBuf> {
        let folder = self.repo_cache()?.find(self.revision());
        let path = folder.map(|folder| folder.join(file));
        path.filter(|path| path.is_file())
            .ok_or_else(|| self.error(HubFailure::NotCached))
    }
}

/// Returns the cached path if the error is that the server does not answer, and else the error.
fn cached_instead(error: OvisImageError, cached: Result<PathBuf>) -> Result<PathBuf> {
    let is_silent = matches!(
        error,
        OvisImageError::Hub(HubError {
            failure: HubFailure::Unreachable { .. } | HubFailure::Stalled { .. },
            ..
        })
    );
    match cached {
        Ok(path) if is_silent => {
            let cause = &error as &dyn std::error::Error;
            tracing::warn!(error = cause, path = %path.display(), "the server does not answer: using the cached files");
            Ok(path)
        }
        _ => Err(error),
    }
}

/// Download of a repository's files from its server into its cache.
struct Download<'a> {
    repo: &'a HubRepo,
    server: Server,
    cache: RepoCache,
}

impl<'a> Download<'a> {
    fn of(repo: &'a HubRepo) -> Result<Self> {
        Ok(Self {
            repo,
            server: repo.server()?,
            cache: repo.repo_cache()?,
        })
    }

    fn list(&self) -> Result<Listing> {
        let listing = self.server.list(self.repo.revision());
        listing.map_err(|failure| self.repo.error(failure))
    }

    /// Returns the path of a commit's file, which is downloaded if it is not cached.
    fn file(
        &self,
        commit: &str,
        file: &str,
        mut on_progress: impl FnMut(u64, u64),
    ) -> Result<PathBuf> {
        let path = self.cache.snapshot(commit).join(file);
        if path.exists() {
            return Ok(path);
        }
        let mut attempt = 1;
        let mut wait = FIRST_WAIT;
        loop {
            let failure = match self.attempt(commit, file, &mut on_progress) {
                Ok(path) => return Ok(path),
                Err(failure) => failure,
            };
            if attempt >= self.repo.attempts() || !is_temporary(&failure) {
                return Err(self.repo.error(failure));
            }
            let cause = &failure as &dyn std::error::Error;
            tracing::warn!(file, attempt, error = cause, "resuming the download");
            sleep(wait);
            wait = wait.saturating_mul(2);
            attempt += 1;
        }
    }

    /// Makes one attempt at a file. Received bytes are kept for the next attempt, and the contents
    /// get their final name only after they are complete and verified.
    fn attempt(
        &self,
        commit: &str,
        file: &str,
        on_progress: &mut impl FnMut(u64, u64),
    ) -> Result<PathBuf, HubFailure> {
        let announced = self.server.announced(commit, file)?;
        let blob = self.cache.blob(&announced.tag);
        let is_complete =
            || std::fs::metadata(&blob).is_ok_and(|blob| blob.len() == announced.size);
        // Another commit may have the same contents.
        if !is_complete() {
            let _lock = lock(&blob)?;
            // Another program may have downloaded it meanwhile.
            if !is_complete() {
                let part = blob.with_extension(PART_EXTENSION);
                // A run may have been killed before verifying the file.
                let is_full =
                    std::fs::metadata(&part).is_ok_and(|part| part.len() >= announced.size);
                if !is_full || verify::check(&part, file, &announced).is_err() {
                    self.receive(&announced, &part, on_progress)?;
                    verify::check(&part, file, &announced)?;
                }
                std::fs::rename(&part, &blob).map_err(HubFailure::Io)?;
            }
        }
        self.cache.link(&blob, commit, file).map_err(HubFailure::Io)
    }

    /// Receives the missing part of a file.
    fn receive(
        &self,
        announced: &Announced,
        part: &Path,
        on_progress: &mut impl FnMut(u64, u64),
    ) -> Result<(), HubFailure> {
        let open = OpenOptions::new().create(true).append(true).open(part);
        let mut target = open.map_err(HubFailure::Io)?;
        let mut received = target.metadata().map_err(HubFailure::Io)?.len();
        let size = announced.size;
        if size == 0 {
            return Ok(());
        }
        let mut contents = self.server.contents(announced, received)?;
        if contents.start != received {
            target.set_len(contents.start).map_err(HubFailure::Io)?;
            received = contents.start;
        }
        on_progress(received, size);
        let mut buffer = vec![0; BUFFER_BYTES];
        // Stop if the server sends more than it announced.
        while received <= size {
            let bytes = contents.read(&mut buffer)?;
            if bytes == 0 {
                break;
            }
            target.write_all(&buffer[..bytes]).map_err(HubFailure::Io)?;
            received += bytes as u64;
            on_progress(received, size);
        }
        Ok(())
    }
}

/// Whether another attempt may succeed.
fn is_temporary(failure: &HubFailure) -> bool {
    use HubFailure::{Interrupted, Refused, Stalled, Unreachable};
    match failure {
        Interrupted { .. } | Stalled { .. } | Unreachable { .. } => true,
        Refused { status } => *status == 429 || *status >= 500,
        _ => false,
    }
}

/// Locks the contents to be downloaded until the returned file is dropped.
fn lock(blob: &Path) -> Result<File, HubFailure> {
    if let Some(folder) = blob.parent() {
        std::fs::create_dir_all(folder).map_err(HubFailure::Io)?;
    }
    let file = File::create(blob.with_extension(LOCK_EXTENSION)).map_err(HubFailure::Io)?;
    for attempt in 0..LOCK_ATTEMPTS {
        if attempt > 0 {
            sleep(LOCK_WAIT);
        }
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {}
            // Some network file systems do not support locks.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                return Ok(file);
            }
            Err(TryLockError::Error(error)) => return Err(HubFailure::Io(error)),
        }
    }
    Err(HubFailure::Busy)
}
