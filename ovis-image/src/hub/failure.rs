//! What the errors of `hf-hub` mean.

use hf_hub::api::sync::ApiError;

use crate::error::HubFailure;

/// Whether trying again can help.
pub(super) fn is_temporary(failure: &HubFailure) -> bool {
    match failure {
        HubFailure::Interrupted { .. } | HubFailure::Unreachable { .. } => true,
        HubFailure::Refused { status } => *status == 429 || *status >= 500,
        _ => false,
    }
}

pub(super) fn from_api(error: ApiError) -> HubFailure {
    match error {
        ApiError::RequestError(error) => from_client(*error),
        ApiError::TooManyRetries(error) => from_api(*error),
        ApiError::IoError(error) if is_of_the_network(&error) => HubFailure::Interrupted {
            source: error.into(),
        },
        ApiError::IoError(error) => HubFailure::Io(error),
        ApiError::LockAcquisition(_) => HubFailure::Busy,
        error => unexpected(error),
    }
}

fn from_client(error: ureq::Error) -> HubFailure {
    match error {
        ureq::Error::StatusCode(status) => HubFailure::Refused { status },
        ureq::Error::Json(_) | ureq::Error::Protocol(_) | ureq::Error::BadUri(_) => {
            unexpected(error)
        }
        error => HubFailure::Unreachable {
            source: error.into(),
        },
    }
}

fn unexpected(error: impl std::error::Error + Send + Sync + 'static) -> HubFailure {
    HubFailure::Protocol {
        reason: "its answer cannot be understood".to_owned(),
        source: Some(error.into()),
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
