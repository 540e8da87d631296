use std::fmt;

/// Phase of a generation, as named in errors and timings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Reading the checkpoint.
    Loading,
    /// Encoding prompts to embeddings.
    TextEncoding,
    /// Running the sampling loop.
    Denoising,
    /// Decoding latents to pixels, or encoding pixels to latents.
    Vae,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loading => "loading",
            Self::TextEncoding => "text encoding",
            Self::Denoising => "denoising",
            Self::Vae => "the VAE",
        })
    }
}
