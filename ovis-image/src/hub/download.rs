//! Downloading: what is missing, file by file, into the cache.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use super::cache::RepoCache;
use super::repository::HubRepo;
use super::server::{Announced, Listing, Server};
use super::{select, verify};
use crate::error::{HubError, HubFailure, OvisImageError, Result};

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubProgress<'a> {
    /// Name of the file being downloaded.
    pub file: &'a str,
    /// Index of this file, from 0.
    pub index: usize,
    /// Number of files to download.
    pub files: usize,
    /// Bytes of this file received so far, those of earlier attempts included.
    pub received: u64,
    /// Size of this file in bytes.
    pub total: u64,
}

/// The wait before the second attempt; each further one waits twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// What ends the names of a file that is not complete and of the one that is locked meanwhile, as in
/// the crate `hf-hub`.
const PART_EXTENSION: &str = "part";
const LOCK_EXTENSION: &str = "lock";
/// How often, and how many seconds apart, a file is tried to be locked.
const LOCK_ATTEMPTS: u32 = 6;
const LOCK_WAIT: Duration = Duration::from_secs(1);
const BUFFER_BYTES: usize = 1 << 16;

impl HubRepo {
    /// Downloads the checkpoint and returns its folder, for
    /// [`Checkpoint::open`](crate::Checkpoint::open).
    ///
    /// Of a diffusers checkpoint and of the authors' files, what is needed is downloaded, and
    /// nothing else that the repository has. When the server does not answer, what is in the cache
    /// is used.
    ///
    /// # Errors
    /// [`HubError`]; its [`HubFailure`] says why. Files that are complete stay in the
    /// cache; the others are resumed the next time.
    pub fn download(&self) -> Result<PathBuf> {
        self.download_with(|_| {})
    }

    /// Like [`download`](Self::download), with a callback that follows the progress.
    ///
    /// # Errors
    /// Those of [`download`](Self::download).
    pub fn download_with(&self, mut on_progress: impl FnMut(HubProgress<'_>)) -> Result<PathBuf> {
        if self.offline {
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
        run.cache.remember(&self.revision, &commit)?;
        Ok(run.cache.snapshot(&commit))
    }

    /// Downloads one file, for example a GGUF transformer or a LoRA, and returns its path.
    ///
    /// # Errors
    /// Those of [`download`](Self::download), and
    /// [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) if the name leaves
    /// the repository.
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
        if self.offline {
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
        run.cache.remember(&self.revision, &commit)?;
        Ok(path)
    }
}

/// What is cached, when the server does not answer; else the error.
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
            tracing::warn!(error = cause, path = %path.display(), "using what is in the cache");
            Ok(path)
        }
        _ => Err(error),
    }
}

/// A repository with its server and its cache.
struct Download<'a> {
    repo: &'a HubRepo,
    server: Server,
    cache: RepoCache,
}

impl<'a> Download<'a> {
    fn of(repo: &'a HubRepo) -> Result<Self> {
        Ok(Self {
            repo,
            server: Server::of(repo)?,
            cache: RepoCache::of(repo)?,
        })
    }

    fn list(&self) -> Result<Listing> {
        let listing = self.server.list(&self.repo.revision);
        listing.map_err(|failure| self.repo.error(failure))
    }

    /// A file of a commit, from the cache or else from the server.
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
            if attempt >= self.repo.attempts || !is_temporary(&failure) {
                return Err(self.repo.error(failure));
            }
            let cause = &failure as &dyn std::error::Error;
            tracing::warn!(file, attempt, error = cause, "resuming the download");
            sleep(wait);
            wait = wait.saturating_mul(2);
            attempt += 1;
        }
    }

    /// One attempt; what was received stays for the next. Contents get their own name only when they
    /// are complete and were compared.
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
            // Another program may have been faster.
            if !is_complete() {
                let part = blob.with_extension(PART_EXTENSION);
                // A run may have been killed before it compared.
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

    /// Receives what is missing of a file.
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
        // More than was announced is not read to its end.
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

/// Whether trying again can help.
fn is_temporary(failure: &HubFailure) -> bool {
    use HubFailure::{Interrupted, Refused, Stalled, Unreachable};
    match failure {
        Interrupted { .. } | Stalled { .. } | Unreachable { .. } => true,
        Refused { status } => *status == 429 || *status >= 500,
        _ => false,
    }
}

/// Locks the contents that are to be downloaded, until the file is dropped.
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
            // Some file systems of a network have no locks.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                return Ok(file);
            }
            Err(TryLockError::Error(error)) => return Err(HubFailure::Io(error)),
        }
    }
    Err(HubFailure::Busy)
}
