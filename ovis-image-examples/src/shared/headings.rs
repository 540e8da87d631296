//! Headings of `--help`, in the order of the groups there. Flags without a heading are the common
//! ones, which come first.

/// Noise levels, samplers, guidance.
pub const SAMPLING: &str = "Sampling";

/// Source images and masks.
pub const IMAGE_TO_IMAGE: &str = "Image to image";

/// Generation at a larger size after the first.
pub const SECOND_PASS: &str = "Second pass";

/// Alternatives in prompts.
pub const WILDCARDS: &str = "Wildcards";

/// Adapters.
pub const LORA: &str = "LoRA";

/// Settings that trade time or quality for memory.
pub const MEMORY: &str = "Memory and speed";

/// Parts of the model other than the folder that contains all.
pub const MODEL_PARTS: &str = "Parts of the model";

/// Downloads.
pub const HUB: &str = "Hugging Face Hub (the token for closed repositories: HF_TOKEN)";

/// Files and messages other than the images.
pub const RECORDS: &str = "Records and reports";
