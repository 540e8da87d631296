//! Latents and prompt embeddings that were computed once: a folder of safetensors files and a list.
//! `docs/data.md` specifies the format.

mod description;
mod keys;
mod read;
mod shards;
mod write;

pub use description::{Description, FILE_NAME, is_cache};
pub use keys::{ModelHashes, VERSION, embedding_key, latents_key};
pub use read::Cache;
pub use shards::{Shards, Stored};
pub use write::ShardWriter;
