use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::cache::RepoCache;
use super::secret::Secret;
use super::server::Server;
use crate::error::{HubError, HubFailure, OvisImageError, Result};

/// Repository on the Hugging Face Hub, with the settings for downloading from it.
///
/// ```no_run
/// # fn main() -> ovis_image::Result<()> {
/// use ovis_image::hub::HubRepo;
///
/// let folder = HubRepo::from_env("AIDC-AI/Ovis-Image-7B")?.download()?;
/// # Ok(())
/// # }
/// ```
///
/// The `Debug` output does not show the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubRepo {
    id: String,
    revision: String,
    endpoint: String,
    /// Folder of the cache; `None` for the default in the user's home.
    cache: Option<PathBuf>,
    token: Option<Secret>,
    offline: bool,
    attempts: u32,
    read_timeout: Duration,
}

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
const DEFAULT_REVISION: &str = "main";
const DEFAULT_ATTEMPTS: u32 = 5;
/// Default read timeout. Servers that assemble a large file may be silent for some seconds, but not
/// for a minute.
const DEFAULT_READ_TIMEOUT: Duration = Duration::from_secs(60);

impl HubRepo {
    /// Names a repository by `owner/name` or `owner/name@revision`.
    ///
    /// By default the revision is `main`, the cache is `~/.cache/huggingface/hub`, and no token is
    /// sent.
    ///
    /// The Hub's environment variables are not read: see [`from_env`](Self::from_env).
    ///
    /// # Errors
    /// Returns [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) if
    /// `id` is not the name of a repository.
    pub fn new(id: impl Into<String>) -> Result<Self> {
        let id = id.into();
        let (id, revision) = match id.split_once('@') {
            Some((id, revision)) => (id.to_owned(), revision.to_owned()),
            None => (id, DEFAULT_REVISION.to_owned()),
        };
        let parts: Vec<&str> = id.split('/').collect();
        let is_name = |part: &&str| {
            let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && !part.starts_with('.') && part.chars().all(legal)
        };
        if parts.len() != 2 || !parts.iter().all(is_name) {
            return Err(OvisImageError::argument(
                "id",
                format!("`{id}` is not `owner/name`"),
            ));
        }
        let repository = Self {
            id,
            revision: String::new(),
            endpoint: DEFAULT_ENDPOINT.to_owned(),
            cache: None,
            token: None,
            offline: false,
            attempts: DEFAULT_ATTEMPTS,
            read_timeout: DEFAULT_READ_TIMEOUT,
        };
        repository.with_revision(revision)
    }

    /// Sets the branch, tag or commit. A commit always gives the same files.
    ///
    /// # Errors
    /// Returns [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) if
    /// `revision` is not the name of a revision.
    pub fn with_revision(mut self, revision: impl Into<String>) -> Result<Self> {
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

    /// Sets the server, instead of `https://huggingface.co`.
    pub fn with_endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = url.into().trim_end_matches('/').to_owned();
        self
    }

    /// Sets the folder of the cache, instead of `~/.cache/huggingface/hub`.
    pub fn with_cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = Some(folder.into());
        self
    }

    /// Sets the user's token, for repositories that require one. Surrounding whitespace is removed,
    /// and an empty token counts as none.
    ///
    /// The token is sent only to the endpoint, never to another host that the endpoint redirects
    /// to.
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        let token = token.into();
        let token = token.trim();
        self.token = (!token.is_empty()).then(|| Secret::new(token));
        self
    }

    /// Sets offline mode, in which only the cache is used and nothing is downloaded.
    pub fn with_offline(mut self, offline: bool) -> Self {
        self.offline = offline;
        self
    }

    /// Sets the number of attempts for each file, five by default. Each attempt resumes where the
    /// previous one stopped.
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets how long the server may be silent before an attempt fails with [`HubFailure::Stalled`],
    /// a minute by default. A download may take any time as long as bytes arrive.
    pub fn with_read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = timeout;
        self
    }

    /// Name of the repository, as `owner/name`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Branch, tag or commit.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    pub(super) fn is_offline(&self) -> bool {
        self.offline
    }

    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Prepares requests to the server.
    pub(super) fn server(&self) -> Result<Server> {
        let token = self.token.as_ref();
        Server::new(&self.endpoint, &self.id, token, self.read_timeout)
    }

    /// Finds the repository's folder in the cache, which may not exist yet.
    pub(super) fn repo_cache(&self) -> Result<RepoCache> {
        RepoCache::new(self.cache.as_deref(), &self.id)
    }

    pub(super) fn error(&self, failure: HubFailure) -> OvisImageError {
        OvisImageError::Hub(HubError {
            repository: self.id.clone(),
            revision: self.revision.clone(),
            failure,
        })
    }
}

/// Parses a repository like [`HubRepo::new`].
impl FromStr for HubRepo {
    type Err = OvisImageError;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_an_owner_and_a_name() {
        let repo: HubRepo = "AIDC-AI/Ovis-Image-7B@v1.0".parse().unwrap();
        assert_eq!(
            (repo.id(), repo.revision()),
            ("AIDC-AI/Ovis-Image-7B", "v1.0")
        );
        assert_eq!(HubRepo::new("a/b").unwrap().revision(), "main");
        for text in [
            "ovis", "a/b/c", "/b", "a/..", "../b", "a/b@", "a/b@../c", "a b/c", "",
        ] {
            assert!(text.parse::<HubRepo>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_is_not_printed() {
        let repo = HubRepo::new("a/b").unwrap().with_token(" hf_secret\n");
        assert_eq!(repo.token.as_ref().unwrap().expose(), "hf_secret");
        let printed = format!("{repo:?} {repo:#?}");
        assert!(!printed.contains("hf_secret"), "{printed}");
        assert!(printed.contains("token: Some([redacted])"), "{printed}");
        assert_eq!(repo.with_token(" ").token, None);
    }
}
