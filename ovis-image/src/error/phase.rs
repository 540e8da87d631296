use std::fmt;

/// A phase of generation, as named in errors and timings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Reading the checkpoint.
    Loading,
    /// Prompt to embeddings.
    TextEncoding,
    /// The sampling loop.
    Denoising,
    /// Latents to pixels, or pixels to latents.
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
