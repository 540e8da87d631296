//! Downloads of checkpoints from the Hugging Face Hub, into the cache that its other programs use,
//! so that nothing is downloaded twice.
//!
//! All files come from one commit, interrupted downloads resume, and each file is compared with the
//! hash that the server announced.
//!
//! [`HubRepo`] names a repository, configures access to it, and downloads from it.
//! [`HubRepo::from_env`] reads the environment like Python's `huggingface_hub`; [`HubRepo::new`]
//! does not.

mod cache;
mod download;
mod environment;
mod repository;
mod secret;
mod select;
mod server;
mod verify;

pub use download::HubProgress;
pub use repository::HubRepo;
