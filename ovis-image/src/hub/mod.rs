//! Checkpoints from the Hugging Face Hub, into the cache that its own programs use, so that nothing
//! is downloaded twice. All files come from one commit; interrupted downloads go on where they
//! stopped; what has a SHA-256 is compared with it.

mod failure;
mod select;
mod verify;

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use hf_hub::api::sync::{Api, ApiBuilder, ApiRepo};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};

use self::failure::{from_api, is_temporary};
use crate::checkpoint::CheckpointPaths;
use crate::error::{HubError, HubFailure, OvisImageError, Result};

/// A repository of the Hub, and how it is reached.
///
/// ```no_run
/// # fn main() -> ovis_image::Result<()> {
/// use ovis_image::hub::HubRepo;
///
/// let folder = HubRepo::new("AIDC-AI/Ovis-Image-7B")?.download()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubRepo {
    id: String,
    revision: String,
    endpoint: Option<String>,
    cache: Option<PathBuf>,
    token: Option<String>,
    offline: bool,
    attempts: u32,
}

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubProgress<'a> {
    /// The file being downloaded.
    pub file: &'a str,
    /// Which of them it is, from 0.
    pub index: usize,
    /// How many there are.
    pub files: usize,
    /// Bytes of this file that are here.
    pub received: u64,
    /// Bytes that it has.
    pub total: u64,
}

/// Attempts at a file unless said otherwise.
const DEFAULT_ATTEMPTS: u32 = 5;
/// The wait before the second attempt; each further one waits twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// How `hf-hub` ends the name of a file that is not complete.
const PART_EXTENSION: &str = "part";

impl HubRepo {
    /// A repository by `owner/name`, at its `main` revision, in the user's cache.
    ///
    /// # Errors
    /// [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) for
    /// what is no name of a repository.
    pub fn new(id: impl Into<String>) -> Result<Self> {
        let id = id.into();
        let parts: Vec<&str> = id.split('/').collect();
        let is_name = |part: &&str| {
            let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && !part.starts_with('.') && part.chars().all(legal)
        };
        match parts.len() == 2 && parts.iter().all(is_name) {
            true => Ok(Self {
                id,
                revision: "main".to_owned(),
                endpoint: None,
                cache: None,
                token: None,
                offline: false,
                attempts: DEFAULT_ATTEMPTS,
            }),
            false => Err(OvisImageError::argument(
                "id",
                format!("`{id}` is not `owner/name`"),
            )),
        }
    }

    /// A branch, a tag or, to always get the same files, a commit.
    ///
    /// # Errors
    /// [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) for
    /// what is no name of a revision.
    pub fn revision(mut self, revision: impl Into<String>) -> Result<Self> {
        let revision = revision.into();
        let legal = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        let outside = revision
            .split('/')
            .any(|part| part.is_empty() || part.starts_with('.'));
        if outside || !revision.chars().all(legal) {
            return Err(OvisImageError::argument(
                "revision",
                format!("`{revision}` is not the name of a branch, tag or commit"),
            ));
        }
        self.revision = revision;
        Ok(self)
    }

    /// Another server than `https://huggingface.co`.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into().trim_end_matches('/').to_owned());
        self
    }

    /// Where files are kept, in place of `$HF_HOME/hub` or `~/.cache/huggingface/hub`.
    pub fn cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = Some(folder.into());
        self
    }

    /// The user's token, in place of the one beside the cache: for repositories that ask for one.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Whether only what is in the cache is used.
    pub fn offline(mut self, offline: bool) -> Self {
        self.offline = offline;
        self
    }

    /// How often a file is tried, each time from where it broke off (by default five times).
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// `owner/name`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Makes the checkpoint present and returns its folder, for
    /// [`Checkpoint::open`](crate::Checkpoint::open).
    ///
    /// Of a diffusers checkpoint and of the authors' files, what is needed is downloaded, and
    /// nothing else that the repository has. Without a network, what is in the cache is used.
    ///
    /// # Errors
    /// [`HubError`]; its [`HubFailure`] says what is the matter. Files that are complete stay
    /// in the cache; partial ones are gone on with the next time.
    pub fn download(&self) -> Result<PathBuf> {
        self.download_with(|_| {})
    }

    /// The same with a callback.
    ///
    /// # Errors
    /// As [`download`](Self::download).
    pub fn download_with(&self, mut on_progress: impl FnMut(HubProgress<'_>)) -> Result<PathBuf> {
        if self.offline {
            return self.cached_checkpoint();
        }
        let (commit, files) = match self.list() {
            Ok(listed) => listed,
            Err(error) => return self.cached_instead(error),
        };
        let needed = select::checkpoint_files(&files).map_err(|failure| self.error(failure))?;
        let mut folder = None;
        for (index, file) in needed.iter().enumerate() {
            let path = self.fetch(&commit, file, |received, total| {
                on_progress(HubProgress {
                    file,
                    index,
                    files: needed.len(),
                    received,
                    total,
                });
            })?;
            folder = path
                .ancestors()
                .nth(Path::new(file).components().count())
                .map(Path::to_owned);
        }
        self.remember(&commit)?;
        folder.ok_or_else(|| self.error(HubFailure::NoCheckpoint { files }))
    }

    /// Makes one file present, for example a GGUF transformer or a LoRA, and returns its path.
    ///
    /// # Errors
    /// As [`download`](Self::download).
    pub fn download_file(
        &self,
        file: &str,
        mut on_progress: impl FnMut(HubProgress<'_>),
    ) -> Result<PathBuf> {
        if !is_inside(file) {
            return Err(OvisImageError::argument(
                "file",
                format!("`{file}` is not a path within a repository"),
            ));
        }
        let cached = || {
            let path = self.snapshot()?.join(file);
            path.is_file().then_some(path)
        };
        if self.offline {
            return cached().ok_or_else(|| self.error(HubFailure::NotCached));
        }
        let (commit, files) = match (self.list(), cached()) {
            (Ok(listed), _) => listed,
            (Err(error), Some(path)) if is_unreachable(&error) => return Ok(path),
            (Err(error), _) => return Err(error),
        };
        if !files.iter().any(|name| name == file) {
            return Err(self.error(HubFailure::NoSuchFile {
                file: file.to_owned(),
            }));
        }
        let path = self.fetch(&commit, file, |received, total| {
            on_progress(HubProgress {
                file,
                index: 0,
                files: 1,
                received,
                total,
            });
        })?;
        self.remember(&commit)?;
        Ok(path)
    }

    fn cached_checkpoint(&self) -> Result<PathBuf> {
        let folder = self.snapshot();
        let folder = folder.ok_or_else(|| self.error(HubFailure::NotCached))?;
        match CheckpointPaths::discover(&folder) {
            Ok(_) => Ok(folder),
            Err(error) => Err(self.error(HubFailure::PartlyCached {
                source: Box::new(error),
            })),
        }
    }

    /// What is cached, when the server cannot be reached; else the error.
    fn cached_instead(&self, error: OvisImageError) -> Result<PathBuf> {
        match self.cached_checkpoint() {
            Ok(folder) if is_unreachable(&error) => {
                let cause = &error as &dyn std::error::Error;
                tracing::warn!(error = cause, folder = %folder.display(), "using what is in the cache");
                Ok(folder)
            }
            _ => Err(error),
        }
    }

    /// The folder of this revision in the cache.
    fn snapshot(&self) -> Option<PathBuf> {
        let cache = self.cache_of(&self.revision);
        // A commit names its folder; a branch's is written down.
        let by_commit = cache.pointer_path(&self.revision);
        if by_commit.is_dir() {
            return Some(by_commit);
        }
        let any = cache.pointer_path("any");
        let folder = any.parent()?.parent()?;
        let commit = std::fs::read_to_string(folder.join("refs").join(&self.revision)).ok()?;
        let snapshot = cache.pointer_path(commit.trim());
        snapshot.is_dir().then_some(snapshot)
    }

    /// Writes down which commit this revision is, for the next time without a network.
    fn remember(&self, commit: &str) -> Result<()> {
        let cache = self.cache_of(&self.revision);
        let written = cache.create_ref(commit);
        written.map_err(|error| OvisImageError::io(cache.pointer_path(commit), error))
    }

    /// The commit of the revision and the names of its files.
    fn list(&self) -> Result<(String, Vec<String>)> {
        let info = self.api(&self.revision)?.1.info();
        let info = info.map_err(|error| self.error(from_api(error)))?;
        let files = info.siblings.into_iter().map(|file| file.rfilename);
        let is_commit = !info.sha.is_empty() && info.sha.chars().all(|c| c.is_ascii_hexdigit());
        match is_commit {
            true => Ok((info.sha, files.collect())),
            false => Err(self.error(HubFailure::Protocol {
                reason: format!("`{}` is not a commit", info.sha),
                source: None,
            })),
        }
    }

    /// A file of a commit, from the cache or else from the server.
    fn fetch(
        &self,
        commit: &str,
        file: &str,
        mut on_progress: impl FnMut(u64, u64),
    ) -> Result<PathBuf> {
        let cache = self.cache_of(commit);
        // Where Python's programs look, too.
        let path = cache.pointer_path(commit).join(file);
        if path.exists() && !verify::is_unchecked(&path) {
            return Ok(path);
        }
        let (api, repo) = self.api(commit)?;
        let mut attempt = 1;
        let mut wait = FIRST_WAIT;
        loop {
            let fetched = fetch_once((&api, &repo), (&cache, commit), file, &mut on_progress);
            let failure = match fetched {
                Ok(path) => return Ok(path),
                Err(failure) => failure,
            };
            if attempt >= self.attempts || !is_temporary(&failure) {
                return Err(self.error(failure));
            }
            let cause = &failure as &dyn std::error::Error;
            tracing::warn!(file, attempt, error = cause, "resuming the download");
            std::thread::sleep(wait);
            wait = wait.saturating_mul(2);
            attempt += 1;
        }
    }

    fn cache_root(&self) -> Cache {
        match &self.cache {
            Some(folder) => Cache::new(folder.clone()),
            None => Cache::from_env(),
        }
    }

    fn cache_of(&self, revision: &str) -> CacheRepo {
        self.cache_root().repo(self.repo(revision))
    }

    fn repo(&self, revision: &str) -> Repo {
        Repo::with_revision(self.id.clone(), RepoType::Model, revision.to_owned())
    }

    fn api(&self, revision: &str) -> Result<(Api, ApiRepo)> {
        // Its own retries begin files anew at the wrong place: ours call it again.
        let mut builder = ApiBuilder::from_cache(self.cache_root())
            .with_progress(false)
            .with_retries(0);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        if let Some(token) = &self.token {
            builder = builder.with_token(Some(token.clone()));
        }
        let api = builder
            .build()
            .map_err(|error| self.error(from_api(error)))?;
        let repo = api.repo(self.repo(revision));
        Ok((api, repo))
    }

    fn error(&self, failure: HubFailure) -> OvisImageError {
        OvisImageError::Hub(HubError {
            repository: self.id.clone(),
            revision: self.revision.clone(),
            failure,
        })
    }
}

/// `owner/name` or `owner/name@revision`.
impl FromStr for HubRepo {
    type Err = OvisImageError;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('@') {
            Some((id, revision)) => Self::new(id)?.revision(revision),
            None => Self::new(text),
        }
    }
}

fn is_unreachable(error: &OvisImageError) -> bool {
    matches!(
        error,
        OvisImageError::Hub(HubError {
            failure: HubFailure::Unreachable { .. },
            ..
        })
    )
}

/// Whether a path stays within the folder that it is put in.
fn is_inside(file: &str) -> bool {
    let is_normal = |component| matches!(component, Component::Normal(_));
    !file.is_empty() && !file.contains('\\') && Path::new(file).components().all(is_normal)
}

/// One attempt; what was received stays for the next.
fn fetch_once(
    (api, repo): (&Api, &ApiRepo),
    (cache, commit): (&CacheRepo, &str),
    file: &str,
    on_progress: &mut impl FnMut(u64, u64),
) -> Result<PathBuf, HubFailure> {
    let metadata = api.metadata(&repo.url(file)).map_err(from_api)?;
    // Both become parts of paths.
    let is_tag = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric());
    if !is_tag(metadata.etag()) || metadata.commit_hash() != commit {
        return Err(HubFailure::Protocol {
            reason: format!(
                "`{file}` has the tag `{}` and is of commit `{}`",
                metadata.etag(),
                metadata.commit_hash()
            ),
            source: None,
        });
    }
    let size = metadata.size() as u64;
    let blob = cache.blob_path(metadata.etag());
    let path = cache.pointer_path(commit).join(file);
    if std::fs::metadata(&blob).is_ok_and(|blob| blob.len() == size) {
        // Of another commit, or of a run that was killed before it could compare.
        if verify::is_unchecked(&blob) {
            verify::check(&blob, size, metadata.etag())?;
        }
        link(&blob, &path, file).map_err(HubFailure::Io)?;
        return Ok(path);
    }
    verify::mark_unchecked(&blob).map_err(HubFailure::Io)?;
    // A part as long as the file cannot be gone on with.
    let part = blob.with_extension(PART_EXTENSION);
    if std::fs::metadata(&part).is_ok_and(|part| part.len() >= size) {
        std::fs::remove_file(&part).map_err(HubFailure::Io)?;
    }
    let watch = Watch {
        on_progress,
        received: 0,
        total: size,
    };
    let path = repo.download_with_progress(file, watch).map_err(from_api)?;
    verify::check(&path, size, metadata.etag())?;
    Ok(path)
}

/// Puts a file of the cache where its commit has it.
fn link(blob: &Path, path: &Path, file: &str) -> std::io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    #[cfg(unix)]
    {
        // snapshots/COMMIT/FILE to blobs/TAG, relative, so that the cache can be moved.
        let depth = 1 + Path::new(file).components().count();
        let mut target: PathBuf = std::iter::repeat_n("..", depth).collect();
        target.push("blobs");
        target.extend(blob.file_name());
        std::os::unix::fs::symlink(target, path)
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        std::fs::hard_link(blob, path)
    }
}

/// Counts what comes in.
struct Watch<'a, F> {
    on_progress: &'a mut F,
    received: u64,
    total: u64,
}

impl<F: FnMut(u64, u64)> hf_hub::api::Progress for Watch<'_, F> {
    fn init(&mut self, _size: usize, _filename: &str) {
        self.received = 0;
    }

    fn update(&mut self, size: usize) {
        self.received += size as u64;
        (self.on_progress)(self.received, self.total);
    }

    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_an_owner_and_a_name() {
        let repo: HubRepo = "AIDC-AI/Ovis-Image-7B@v1.0".parse().unwrap();
        assert_eq!(
            (repo.id(), repo.revision.as_str()),
            ("AIDC-AI/Ovis-Image-7B", "v1.0")
        );
        for text in [
            "ovis", "a/b/c", "/b", "a/..", "../b", "a/b@", "a/b@../c", "a b/c", "",
        ] {
            assert!(text.parse::<HubRepo>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_stays_within_its_folder() {
        assert!(is_inside("transformer/config.json"));
        for file in ["../x", "/x", "a/../../x", "", "a\\..\\x"] {
            assert!(!is_inside(file), "{file}");
        }
    }
}
