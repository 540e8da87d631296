use std::time::Duration;

use super::{BoxError, OvisImageError};

/// A checkpoint or file that could not be downloaded from the Hugging Face Hub.
#[derive(Debug, thiserror::Error)]
#[error("cannot get {repository} ({revision}) from the Hub")]
#[non_exhaustive]
pub struct HubError {
    /// `owner/name`.
    pub repository: String,
    /// The branch, tag or commit.
    pub revision: String,
    /// Why not, and the way out.
    #[source]
    pub failure: HubFailure,
}

/// Why something could not be downloaded from the Hub.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubFailure {
    /// The server could not be reached.
    #[error(
        "the server cannot be reached (download the checkpoint once with a network, or give the \
         folder of a checkpoint)"
    )]
    Unreachable {
        /// The network layer's error.
        source: BoxError,
    },

    /// The connection was lost.
    #[error("download interrupted (download again to resume)")]
    Interrupted {
        /// The network layer's error.
        source: BoxError,
    },

    /// The server sent nothing for too long.
    #[error("the server sent nothing for {waited:?} (download again to resume)")]
    Stalled {
        /// How long it was waited for.
        waited: Duration,
    },

    /// The repository or revision does not exist, or is not public.
    #[error(
        "the server answers {status}: the repository or revision does not exist, or needs a token \
         that has access"
    )]
    Refused {
        /// The HTTP status.
        status: u16,
    },

    /// The server answered otherwise than agreed.
    #[error("the server does not speak the Hub's protocol: {reason}")]
    Protocol {
        /// What was unexpected.
        reason: String,
        /// The HTTP client's error, where it found it.
        source: Option<BoxError>,
    },

    /// The file received is not the one that the server announced; it was deleted.
    #[error("`{file}` arrived damaged ({reason}) and was deleted: download it again")]
    Damaged {
        /// The file.
        file: String,
        /// What differs.
        reason: String,
    },

    /// The repository is not in the cache, and offline mode forbids a download.
    #[error("it is not in the cache: download it once without the offline mode")]
    NotCached,

    /// The cache holds only a part of the checkpoint, and offline mode forbids a download.
    #[error("the cache holds only a part of it (download it without the offline mode)")]
    PartlyCached {
        /// What is missing.
        source: Box<OvisImageError>,
    },

    /// The repository does not have the file.
    #[error("it does not have the file `{file}`")]
    NoSuchFile {
        /// The file.
        file: String,
    },

    /// The repository does not contain a checkpoint in a known layout.
    #[error(
        "it is neither a diffusers checkpoint nor the authors' files; its files can be downloaded one by \
         one: {}",
        some_of(files)
    )]
    NoCheckpoint {
        /// Names of the files that it contains.
        files: Vec<String>,
    },

    /// A file name in the repository points outside the folder that it would be written to.
    #[error("its file `{file}` points outside its folder")]
    OutsideFolder {
        /// The name.
        file: String,
    },

    /// Another program is downloading the same file.
    #[error("another program is downloading the same file: wait for it")]
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
