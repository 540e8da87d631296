//! What each layout calls its files and folders. No other file spells these names.

/// The tokenizer, in every layout that has one.
pub(crate) const TOKENIZER_FILE: &str = "tokenizer.json";
/// The configuration of the part that a folder holds.
pub(crate) const CONFIG_FILE: &str = "config.json";
/// The weights of a text encoder, as transformers calls them.
pub(crate) const TEXT_ENCODER_WEIGHTS: &str = "model.safetensors";

/// A diffusers folder.
pub(crate) mod diffusers {
    /// What the folder holds.
    pub(crate) const INDEX: &str = "model_index.json";
    pub(crate) const TRANSFORMER: &str = "transformer";
    pub(crate) const VAE: &str = "vae";
    pub(crate) const TEXT_ENCODER: &str = "text_encoder";
    pub(crate) const TOKENIZER: &str = "tokenizer";
    pub(crate) const SCHEDULER: &str = "scheduler";
    pub(crate) const SCHEDULER_CONFIG: &str = "scheduler_config.json";
    /// The weights of the transformer and of the VAE, each in its folder.
    pub(crate) const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

    /// One folder for each part.
    pub(crate) const FOLDERS: [&str; 5] = [TRANSFORMER, VAE, TEXT_ENCODER, TOKENIZER, SCHEDULER];
}

/// The authors' files.
pub(crate) mod authors {
    pub(crate) const TRANSFORMER: &str = "ovis_image.safetensors";
    pub(crate) const VAE: &str = "ae.safetensors";
    /// A folder, which holds the tokenizer, too.
    pub(crate) const TEXT_ENCODER: &str = "Ovis2.5-2B";
}

/// ComfyUI's folders. Each may hold the files of other models, too: this model's begin with a stem.
pub(crate) mod comfyui {
    pub(crate) const TRANSFORMER_FOLDER: &str = "diffusion_models";
    pub(crate) const TRANSFORMER_STEM: &str = "ovis_image";
    pub(crate) const VAE_FOLDER: &str = "vae";
    pub(crate) const VAE_STEM: &str = "ae";
    pub(crate) const TEXT_ENCODER_FOLDER: &str = "text_encoders";
    pub(crate) const TEXT_ENCODER_STEM: &str = "ovis_2.5";
    /// ComfyUI has none of its own: a folder that users add.
    pub(crate) const TOKENIZER: &str = "tokenizer";
}

/// Burn's own files: each part's weights with its configuration beside them.
pub(crate) mod burnpack {
    pub(crate) const TRANSFORMER: &str = "transformer.bpk";
    pub(crate) const VAE: &str = "vae.bpk";
    pub(crate) const TEXT_ENCODER: &str = "text_encoder.bpk";
    pub(crate) const SCHEDULER_CONFIG: &str = "scheduler_config.json";
    pub(crate) const TOKENIZER: &str = "tokenizer";
    /// Follows the name of a file of weights, without its ending, in that of its configuration.
    pub(crate) const CONFIG_SUFFIX: &str = "_config.json";
}

/// What the folder of a checkpoint may look like, for messages.
pub(crate) fn known_layouts() -> String {
    format!(
        "a diffusers folder ({}, {}/), the authors' files ({}, {}, {}/), ComfyUI's split files \
         ({}/, {}/, {}/) or Burn's files ({}, {}, {})",
        diffusers::INDEX,
        diffusers::FOLDERS.join("/, "),
        authors::TRANSFORMER,
        authors::VAE,
        authors::TEXT_ENCODER,
        comfyui::TRANSFORMER_FOLDER,
        comfyui::TEXT_ENCODER_FOLDER,
        comfyui::VAE_FOLDER,
        burnpack::TRANSFORMER,
        burnpack::VAE,
        burnpack::TEXT_ENCODER,
    )
}
