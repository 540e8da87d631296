//! Code that several programs need. Nothing here depends on a program.

#[cfg(feature = "train")]
pub mod allocator;
#[cfg(any(feature = "dataset", feature = "train"))]
pub mod aspect_buckets;
#[cfg(any(feature = "dataset", feature = "train"))]
pub mod captioned_images;
pub mod completions;
pub mod device;
pub mod embedded;
pub mod error_chain;
pub mod headings;
#[cfg(any(feature = "dataset", feature = "evaluate"))]
pub mod html;
pub mod hub;
pub mod image_file;
pub mod input_file;
pub mod input_image;
pub mod interrupt;
pub mod lora;
pub mod model;
pub mod output_file;
pub mod panics;
pub mod peak_memory;
#[cfg(feature = "plot")]
pub mod plot;
pub mod program;
pub mod progress;
pub mod record;
pub mod sampling;
pub mod seed;
pub mod terminal;
pub mod threads;
pub mod typed;
pub mod usage;
#[cfg(any(feature = "dataset", feature = "evaluate"))]
pub mod vision_chat;
pub mod wildcards;
