//! File and folder names of each layout. No other file spells these names.

/// File name of the tokenizer, in every layout that has one.
pub(crate) const TOKENIZER_FILE: &str = "tokenizer.json";
/// Configuration of the part that a folder contains.
pub(crate) const CONFIG_FILE: &str = "config.json";
/// Weights of a text encoder, as transformers names them.
pub(crate) const TEXT_ENCODER_WEIGHTS: &str = "model.safetensors";

/// Names in a diffusers folder.
pub(crate) mod diffusers {
    /// Description of the folder's contents.
    pub(crate) const INDEX: &str = "model_index.json";
    pub(crate) const TRANSFORMER: &str = "transformer";
    pub(crate) const VAE: &str = "vae";
    pub(crate) const TEXT_ENCODER: &str = "text_encoder";
    pub(crate) const TOKENIZER: &str = "tokenizer";
    pub(crate) const SCHEDULER: &str = "scheduler";
    pub(crate) const SCHEDULER_CONFIG: &str = "scheduler_config.json";
    /// Weights of the transformer and of the VAE, each in its own folder.
    pub(crate) const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

    /// Folders of the parts.
    pub(crate) const FOLDERS: [&str; 5] = [TRANSFORMER, VAE, TEXT_ENCODER, TOKENIZER, SCHEDULER];
}

/// Names of the authors' files.
pub(crate) mod authors {
    pub(crate) const TRANSFORMER: &str = "ovis_image.safetensors";
    pub(crate) const VAE: &str = "ae.safetensors";
    /// Folder of the text encoder, which also contains the tokenizer.
    pub(crate) const TEXT_ENCODER: &str = "Ovis2.5-2B";
}

/// Names of ComfyUI's folders, which may also contain files of other models. The names of this
/// model's files begin with a stem.
pub(crate) mod comfyui {
    pub(crate) const TRANSFORMER_FOLDER: &str = "diffusion_models";
    pub(crate) const TRANSFORMER_STEM: &str = "ovis_image";
    pub(crate) const VAE_FOLDER: &str = "vae";
    pub(crate) const VAE_STEM: &str = "ae";
    pub(crate) const TEXT_ENCODER_FOLDER: &str = "text_encoders";
    pub(crate) const TEXT_ENCODER_STEM: &str = "ovis_2.5";
    /// Folder that users add for the tokenizer: ComfyUI has none of its own.
    pub(crate) const TOKENIZER: &str = "tokenizer";
}

/// Names of files in Burn's own format: each part's weights with its configuration beside them.
pub(crate) mod burnpack {
    pub(crate) const TRANSFORMER: &str = "transformer.bpk";
    pub(crate) const VAE: &str = "vae.bpk";
    pub(crate) const TEXT_ENCODER: &str = "text_encoder.bpk";
    pub(crate) const SCHEDULER_CONFIG: &str = "scheduler_config.json";
    pub(crate) const TOKENIZER: &str = "tokenizer";
    /// Suffix that replaces the ending of a weights file in the name of its configuration.
    pub(crate) const CONFIG_SUFFIX: &str = "_config.json";
}

/// Describes the known layouts of a checkpoint folder, for messages.
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
