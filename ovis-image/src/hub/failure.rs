use hf_hub::api::sync::ApiError;

/// Why something could not be had from the Hub.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubFailure {
    /// The server could not be reached.
    #[error(
        "the server cannot be reached ({reason}): download it once with a network, or give the \
         folder of a checkpoint"
    )]
    Unreachable {
        /// What the network layer said.
        reason: String,
    },

    /// The connection broke off.
    #[error("the download broke off ({reason}): the next one goes on where it stopped")]
    Interrupted {
        /// What the network layer said.
        reason: String,
    },

    /// There is no such repository or revision, or it is not for everybody.
    #[error(
        "the server answers {status}: there is no such repository or revision, or it needs a token \
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
    },

    /// What came is not what the server announced; it was deleted.
    #[error("`{file}` came damaged ({reason}) and was deleted: download it again")]
    Damaged {
        /// The file.
        file: String,
        /// What differs.
        reason: String,
    },

    /// It is not in the cache, and nothing may be downloaded.
    #[error("it is not in the cache: download it once without the offline mode")]
    NotCached,

    /// Only a part of it is in the cache, and nothing may be downloaded.
    #[error("the cache has a part of it only ({reason}): download it without the offline mode")]
    PartlyCached {
        /// What is missing.
        reason: String,
    },

    /// The repository has no such file.
    #[error("it has no file `{file}`")]
    NoSuchFile {
        /// The file.
        file: String,
    },

    /// The repository is no checkpoint that is known.
    #[error(
        "it is neither a diffusers checkpoint nor the authors' files; single files can be had with \
         `download_file`, on the command line as `hf:owner/name/FILE`: {}",
        some_of(files)
    )]
    NoCheckpoint {
        /// What it has.
        files: Vec<String>,
    },

    /// A name in the repository points outside of the folder that it would be put in.
    #[error("its file `{file}` points outside of its folder")]
    OutsideFolder {
        /// The name.
        file: String,
    },

    /// Another program is downloading the same file.
    #[error("another program is downloading the same file: wait for it")]
    Busy,

    /// Writing to the cache failed.
    #[error("writing to the cache failed: {0}")]
    Io(#[source] std::io::Error),
}

impl HubFailure {
    /// Whether trying again can help.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Interrupted { .. } | Self::Unreachable { .. } => true,
            Self::Refused { status } => *status == 429 || *status >= 500,
            _ => false,
        }
    }

    pub(super) fn from_api(error: ApiError) -> Self {
        let reason = error.to_string();
        match error {
            ApiError::RequestError(error) => match *error {
                ureq::Error::StatusCode(status) => Self::Refused { status },
                ureq::Error::Json(_) => Self::Protocol { reason },
                ureq::Error::Protocol(_) | ureq::Error::BadUri(_) => Self::Protocol { reason },
                _ => Self::Unreachable { reason },
            },
            ApiError::TooManyRetries(error) => Self::from_api(*error),
            ApiError::IoError(error) => match is_of_the_network(&error) {
                true => Self::Interrupted { reason },
                false => Self::Io(error),
            },
            ApiError::LockAcquisition(_) => Self::Busy,
            _ => Self::Protocol { reason },
        }
    }
}

/// Whether an error came while reading from the server and not while writing the file: the body's
/// errors are wrapped ones of the HTTP client.
fn is_of_the_network(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof,
    };
    let wrapped = error
        .get_ref()
        .is_some_and(|inner| inner.is::<ureq::Error>());
    let kinds = [
        UnexpectedEof,
        ConnectionReset,
        ConnectionAborted,
        BrokenPipe,
        TimedOut,
    ];
    wrapped || kinds.contains(&error.kind())
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
