use std::time::Duration;

use super::{BoxError, OvisImageError};

/// Error of downloading a checkpoint or a file from the Hugging Face Hub.
#[derive(Debug, thiserror::Error)]
#[error("cannot get {repository} ({revision}) from the Hub")]
#[non_exhaustive]
pub struct HubError {
    /// Repository, as `owner/name`.
    pub repository: String,
    /// Branch, tag or commit.
    pub revision: String,
    /// Reason for the failure, and what to do.
    #[source]
    pub failure: HubFailure,
}

/// Reason why a download from the Hub failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubFailure {
    /// The server could not be reached.
    #[error(
        "the server cannot be reached (download the checkpoint once with a network, or give the \
         folder of a checkpoint)"
    )]
    Unreachable {
        /// Error of the network layer.
        source: BoxError,
    },

    /// The connection was lost during a download.
    #[error("download interrupted (download again to resume)")]
    Interrupted {
        /// Error of the network layer.
        source: BoxError,
    },

    /// The server sent nothing for too long.
    #[error("the server sent nothing for {waited:?} (download again to resume)")]
    Stalled {
        /// Time waited for the server.
        waited: Duration,
    },

    /// The repository or revision does not exist, or is not public.
    #[error(
        "the server answers {status}: the repository or revision does not exist, or needs a token \
         that has access"
    )]
    Refused {
        /// HTTP status of the response.
        status: u16,
    },

    /// The server's response does not follow the Hub's protocol.
    #[error("the server does not speak the Hub's protocol: {reason}")]
    Protocol {
        /// Unexpected part of the response.
        reason: String,
        /// Error of the HTTP client, if it found the problem.
        source: Option<BoxError>,
    },

    /// A received file differs from what the server announced, and was deleted.
    #[error("`{file}` arrived damaged ({reason}) and was deleted: download it again")]
    Damaged {
        /// Name of the file.
        file: String,
        /// Difference found.
        reason: String,
    },

    /// The repository is not in the cache, and offline mode forbids a download.
    #[error("the repository is not in the cache: download it once with offline mode off")]
    NotCached,

    /// The cache contains only a part of the checkpoint, and offline mode forbids a download.
    #[error("the cache contains only a part of the repository (download it with offline mode off)")]
    PartlyCached {
        /// Error that names the missing part.
        source: Box<OvisImageError>,
    },

    /// The repository does not have the file.
    #[error("the repository does not have the file `{file}`")]
    NoSuchFile {
        /// Name of the file.
        file: String,
    },

    /// The repository does not contain a checkpoint in a known layout.
    #[error(
        "the repository is neither a diffusers checkpoint nor the authors' files; its files can be \
         downloaded one by one: {}",
        some_of(files)
    )]
    NoCheckpoint {
        /// Names of the files in the repository.
        files: Vec<String>,
    },

    /// A file name in the repository points outside the download folder.
    #[error("the file name `{file}` points outside the download folder")]
    OutsideFolder {
        /// Name of the file.
        file: String,
    },

    /// Another program holds the lock of the same file.
    #[error("another program is downloading the same file: wait until it finishes")]
    Busy,

    /// Writing to the cache failed.
    #[error("cannot write to the cache")]
    Io(#[source] std::io::Error),
}

fn some_of(files: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = files
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if files.len() > SHOWN {
        text += &format!(" and {} more", files.len() - SHOWN);
    }
    text
}
