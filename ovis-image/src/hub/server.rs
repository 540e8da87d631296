//! Requests to the server: the files of a revision, the tag of a file, and its contents.

use std::error::Error;
use std::io::Read;
use std::time::Duration;

use serde::Deserialize;
use ureq::config::RedirectAuthHeaders;
use ureq::http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, HeaderValue,
    LOCATION, RANGE,
};
use ureq::typestate::WithoutBody;
use ureq::{Agent, RequestBuilder, Timeout};

use super::secret::Secret;
use crate::error::{HubFailure, OvisImageError, Result};

/// Server of a repository, with the settings of its requests.
#[derive(Debug)]
pub(super) struct Server {
    agent: Agent,
    endpoint: String,
    id: String,
    authorization: Option<HeaderValue>,
    read_timeout: Duration,
}

/// Commit and files of a revision.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) files: Vec<String>,
}

/// Tag, size and location of a file, which the server announces before sending it.
#[derive(Debug)]
pub(super) struct Announced {
    /// SHA-256 for files in large file storage, git's hash for others.
    pub(super) tag: String,
    /// Size in bytes.
    pub(super) size: u64,
    /// Address of the file on this host, which may redirect to another.
    pub(super) url: String,
}

/// Contents of a file, starting at some byte.
pub(super) struct Contents<'a> {
    server: &'a Server,
    reader: Box<dyn Read>,
    /// Position of the first byte: 0 if the server does not send parts.
    pub(super) start: u64,
}

/// Maximum number of redirects within the server, for example for a renamed repository.
const MAX_REDIRECTS: usize = 10;
const REPO_COMMIT: HeaderName = HeaderName::from_static("x-repo-commit");
const LINKED_TAG: HeaderName = HeaderName::from_static("x-linked-etag");
const LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");

impl Server {
    pub(super) fn new(
        endpoint: &str,
        id: &str,
        token: Option<&Secret>,
        read_timeout: Duration,
    ) -> Result<Self> {
        let agent = Agent::config_builder()
            .user_agent(concat!("ovis-image/", env!("CARGO_PKG_VERSION")))
            // Sizes and resume positions must be those of the uncompressed file.
            .accept_encoding("identity")
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .timeout_connect(Some(read_timeout))
            .timeout_per_read(Some(read_timeout))
            .timeout_per_write(Some(read_timeout))
            .build()
            .into();
        let bearer = |token: &str| {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
            value.set_sensitive(true);
            Some(value)
        };
        let authorization = match token {
            Some(token) => Some(bearer(token.expose()).ok_or_else(|| {
                OvisImageError::argument(
                    "token",
                    "the token contains characters that are not allowed",
                )
            })?),
            None => None,
        };
        Ok(Self {
            agent,
            endpoint: endpoint.to_owned(),
            id: id.to_owned(),
            authorization,
            read_timeout,
        })
    }

    /// Requests the commit of a revision and the names of its files.
    pub(super) fn list(&self, revision: &str) -> Result<Listing, HubFailure> {
        #[derive(Deserialize)]
        struct Info {
            sha: String,
            siblings: Vec<Sibling>,
        }
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
        }

        let (endpoint, id) = (&self.endpoint, &self.id);
        let url = format!("{endpoint}/api/models/{id}/revision/{}", escaped(revision));
        let response = self.request(self.agent.get(url)).call();
        let response = response.and_then(|mut response| response.body_mut().read_json());
        let Info { sha, siblings } = response.map_err(|error| self.failure(error))?;
        if sha.is_empty() || !sha.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(protocol(format!("`{sha}` is not a commit")));
        }
        Ok(Listing {
            commit: sha,
            files: siblings.into_iter().map(|file| file.rfilename).collect(),
        })
    }

    /// Requests the tag and size of a file of a commit.
    pub(super) fn announced(&self, commit: &str, file: &str) -> Result<Announced, HubFailure> {
        let mut url = self.url(commit, file);
        for _ in 0..MAX_REDIRECTS {
            // Contents may be on another host, but this one announces tag and size.
            let request = self.agent.head(&url).config().max_redirects(0).build();
            let response = self.request(request).call();
            let response = response.map_err(|error| self.failure(error))?;
            let headers = response.headers();
            if response.status().is_redirection()
                && let Some(location) = text(headers, LOCATION).filter(|to| is_on_same_host(to))
            {
                url = format!("{}{location}", self.origin());
                continue;
            }
            // The length of a redirect is not that of the file.
            let length = if response.status().is_redirection() {
                None
            } else {
                text(headers, CONTENT_LENGTH)
            };
            let (tag, size) = announced(headers, length, commit, file)?;
            return Ok(Announced { tag, size, url });
        }
        Err(protocol(format!("`{file}` has too many redirects")))
    }

    /// Requests the contents of a file, starting at byte `from`.
    pub(super) fn contents(
        &self,
        announced: &Announced,
        from: u64,
    ) -> Result<Contents<'_>, HubFailure> {
        let url = &announced.url;
        let mut request = self.agent.get(url);
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let response = self.request(request).call();
        let response = response.map_err(|error| self.failure(error))?;
        // `bytes FROM-TO/SIZE`.
        let range = text(response.headers(), CONTENT_RANGE);
        let start = match range.and_then(|range| range.strip_prefix("bytes ")) {
            Some(range) => range.split('-').next().and_then(|from| from.parse().ok()),
            None => Some(0),
        };
        match start {
            Some(start) if start == from || start == 0 => Ok(Contents {
                server: self,
                reader: Box::new(response.into_body().into_reader()),
                start,
            }),
            _ => Err(protocol(format!("`{url}` does not begin at byte {from}"))),
        }
    }

    fn request(&self, request: RequestBuilder<WithoutBody>) -> RequestBuilder<WithoutBody> {
        match &self.authorization {
            Some(authorization) => request.header(AUTHORIZATION, authorization),
            None => request,
        }
    }

    fn url(&self, commit: &str, file: &str) -> String {
        let file: Vec<String> = file.split('/').map(escaped).collect();
        let (endpoint, id) = (&self.endpoint, &self.id);
        format!("{endpoint}/{id}/resolve/{commit}/{}", file.join("/"))
    }

    /// Returns the endpoint without its path.
    fn origin(&self) -> &str {
        let host = self.endpoint.find("://").map_or(0, |colon| colon + 3);
        let path = self.endpoint[host..].find('/');
        path.map_or(&self.endpoint, |path| &self.endpoint[..host + path])
    }

    fn failure(&self, error: ureq::Error) -> HubFailure {
        match error {
            ureq::Error::StatusCode(status) => HubFailure::Refused { status },
            ureq::Error::Timeout(Timeout::PerRead | Timeout::PerWrite) => HubFailure::Stalled {
                waited: self.read_timeout,
            },
            ureq::Error::Json(_)
            | ureq::Error::Protocol(_)
            | ureq::Error::BadUri(_)
            | ureq::Error::BodyExceedsLimit(_) => HubFailure::Protocol {
                reason: "the response cannot be parsed".to_owned(),
                source: Some(error.into()),
            },
            error => HubFailure::Unreachable {
                source: error.into(),
            },
        }
    }
}

impl Contents<'_> {
    /// Reads the next bytes and returns their number, 0 at the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, HubFailure> {
        loop {
            let error = match self.reader.read(buffer) {
                Ok(bytes) => return Ok(bytes),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            let inner = error.get_ref().map(|inner| inner as &(dyn Error + 'static));
            return Err(match inner.and_then(|inner| inner.downcast_ref()) {
                Some(ureq::Error::Timeout(_)) => HubFailure::Stalled {
                    waited: self.server.read_timeout,
                },
                _ => HubFailure::Interrupted {
                    source: error.into(),
                },
            });
        }
    }
}

/// Reads tag and size from the headers of a response.
fn announced(
    headers: &HeaderMap,
    length: Option<&str>,
    commit: &str,
    file: &str,
) -> Result<(String, u64), HubFailure> {
    let tag = text(headers, LINKED_TAG).or_else(|| text(headers, ETAG));
    // A weak tag is marked by this prefix.
    let tag = tag.unwrap_or_default().trim_start_matches("W/");
    let tag = tag.trim_matches('"');
    let of_commit = text(headers, REPO_COMMIT).unwrap_or_default();
    // The tag becomes part of a path.
    let is_tag = !tag.is_empty() && tag.chars().all(|c| c.is_ascii_alphanumeric());
    if !is_tag || of_commit != commit {
        return Err(protocol(format!(
            "`{file}` has the tag `{tag}` and belongs to commit `{of_commit}`"
        )));
    }
    let size = text(headers, LINKED_SIZE).or(length);
    match size.and_then(|size| size.parse().ok()) {
        Some(size) => Ok((tag.to_owned(), size)),
        None => Err(protocol(format!(
            "the response does not give the size of `{file}`"
        ))),
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn protocol(reason: String) -> HubFailure {
    HubFailure::Protocol {
        reason,
        source: None,
    }
}

/// Whether a redirect goes to a path of the same host.
fn is_on_same_host(location: &str) -> bool {
    location.starts_with('/') && !location.starts_with("//")
}

/// Percent-encodes a part of a path.
fn escaped(part: &str) -> String {
    let mut text = String::with_capacity(part.len());
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text += &format!("%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::HubRepo;

    #[test]
    fn names_are_spelled_as_urls_spell_them() {
        let repo = HubRepo::new("a/b").unwrap();
        let mirror = repo.with_endpoint("http://mirror:8080/hub/");
        let server = mirror.server().unwrap();
        let url = server.url("0123", "a b/c#1?é.json");
        let path = "a/b/resolve/0123/a%20b/c%231%3F%C3%A9.json";
        assert_eq!(url, format!("http://mirror:8080/hub/{path}"));
        assert_eq!(escaped("refs/pr/1"), "refs%2Fpr%2F1");
        assert_eq!(server.origin(), "http://mirror:8080");
    }

    #[test]
    fn a_token_that_is_none_is_refused_and_none_is_printed() {
        let repo = HubRepo::new("a/b").unwrap();
        let error = repo.clone().with_token("a\nb").server().unwrap_err();
        assert!(matches!(error, OvisImageError::Request(_)), "{error}");
        let printed = format!("{:?}", repo.with_token("hf_secret").server().unwrap());
        assert!(!printed.contains("hf_secret"), "{printed}");
    }

    #[test]
    fn redirects_within_the_host_are_told_from_others() {
        assert!(is_on_same_host("/api/resolve-cache/models/a/b"));
        for elsewhere in ["https://cdn/x", "//cdn/x", "x"] {
            assert!(!is_on_same_host(elsewhere), "{elsewhere}");
        }
    }
}
