use crate::config::WeightDtype;
use crate::tensor_file::Quantization;
use crate::weights::{QuantizationScheme, Residency};

/// Options for loading a checkpoint: dtypes, residency, quantization and memory limit.
#[derive(Debug, Clone, Copy)]
pub struct LoadOptions {
    pub(crate) dtype: WeightDtype,
    pub(crate) vae_dtype: Option<WeightDtype>,
    pub(crate) memory_limit: Option<u64>,
    pub(crate) text_encoder_residency: Residency,
    pub(crate) modulation_residency: Residency,
    pub(crate) in_place: bool,
    pub(crate) expand_quantized: bool,
    pub(crate) quantization: Option<Quantization>,
    pub(crate) protect_double_blocks: bool,
    pub(crate) streamed_blocks: usize,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            dtype: WeightDtype::default(),
            vae_dtype: None,
            memory_limit: None,
            text_encoder_residency: Residency::default(),
            modulation_residency: Residency::default(),
            in_place: true,
            expand_quantized: false,
            quantization: None,
            protect_double_blocks: false,
            streamed_blocks: 0,
        }
    }
}

impl LoadOptions {
    /// Loads everything in f32.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the dtype of the text encoder and the transformer.
    pub fn with_dtype(mut self, dtype: WeightDtype) -> Self {
        self.dtype = dtype;
        self
    }

    /// Sets the dtype of the VAE. The default is the dtype of the other models, except that f16
    /// uses an f32 VAE, because in f16 the decoder's activations can overflow to black images.
    pub fn with_vae_dtype(mut self, dtype: WeightDtype) -> Self {
        self.vae_dtype = Some(dtype);
        self
    }

    /// Sets the maximum number of bytes for one request's activations. Larger requests are refused
    /// before any work.
    ///
    /// GPUs have no limit by default, because Burn does not know how much memory a device has free.
    /// On CPU backends, and for data that passes through the host, the machine's free memory is
    /// always a limit.
    pub fn with_memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Sets where the text encoder is kept between prompts. The default is the device; with
    /// [`Residency::File`] each prompt reads it from the checkpoint and frees its memory
    /// afterwards.
    pub fn with_text_encoder_residency(mut self, residency: Residency) -> Self {
        self.text_encoder_residency = residency;
        self
    }

    /// Sets where the weights of the transformer's modulation are kept. The default is the device;
    /// with [`Residency::File`] each image reads them block by block and frees their memory
    /// afterwards.
    ///
    /// These weights are a fifth of the transformer, and an image needs them once per 64 steps.
    pub fn with_modulation_residency(mut self, residency: Residency) -> Self {
        self.modulation_residency = residency;
        self
    }

    /// Sets whether a CPU backend computes directly on the weights in memory-mapped files, if these
    /// have the requested dtype. The default is `true`: loading is then almost free, and the system
    /// can drop the pages and read them again.
    ///
    /// # Contract
    /// While the pipeline or a clone of it exists, no process may write to these files or shorten
    /// them. Neither safe Rust nor this library can prevent that. The contract also covers weights
    /// that are read on each use ([`Residency::File`],
    /// [`with_streamed_blocks`](Self::with_streamed_blocks), the rows of the token embedding, the
    /// VAE's encoder), whatever the value of `in_place`.
    ///
    /// | what happens to a file in use | what is guaranteed |
    /// |---|---|
    /// | another file takes its place (renamed over it, as downloads and package managers do) | Nothing changes: the opened file stays in use. |
    /// | it is deleted | On Unix nothing changes, and its disk space is freed when the last clone is dropped. Windows may refuse to delete it. |
    /// | it is shortened or overwritten between two phases or steps | The next encoding, step or decoding returns [`FileChanged`](crate::error::CheckpointError::FileChanged), which names it: its length and modification time are compared with those at opening. |
    /// | it is shortened while weights are being read | The operating system may end the process (`SIGBUS`). |
    /// | it is overwritten while weights are being read, or its modification time is restored | Wrong weights may be used. |
    ///
    /// With `with_in_place(false)` and everything [on the device](Residency::Device), the
    /// transformer's files are not read again after loading, except to unmerge LoRAs.
    pub fn with_in_place(mut self, in_place: bool) -> Self {
        self.in_place = in_place;
        self
    }

    /// Quantizes the weights of the transformer's blocks to 8 or 4 bits when loading. Modulation,
    /// norms, biases and embedders keep their precision.
    ///
    /// The weights of each block are dequantized while the previous block computes.
    pub fn with_quantization(mut self, quantization: Quantization) -> Self {
        self.quantization = Some(quantization);
        self
    }

    /// Sets whether the double blocks keep their precision under
    /// [`with_quantization`](Self::with_quantization). They are a quarter of the transformer, and
    /// affect its quality the most.
    pub fn with_protected_double_blocks(mut self, protect: bool) -> Self {
        self.protect_double_blocks = protect;
        self
    }

    /// Sets whether quantized weights of a GGUF file are dequantized once, when loading. By default
    /// they stay in the file and are dequantized on each use, which takes a fraction of the memory.
    pub fn with_dequantize_on_load(mut self, expand: bool) -> Self {
        self.expand_quantized = expand;
        self
    }

    /// Sets the number of transformer blocks whose weights stay in the file. They are read during
    /// each forward, while other blocks compute.
    pub fn with_streamed_blocks(mut self, blocks: usize) -> Self {
        self.streamed_blocks = blocks;
        self
    }

    pub(crate) fn quantization_scheme(&self) -> Option<QuantizationScheme> {
        let scheme = QuantizationScheme::new(self.quantization?);
        Some(scheme.with_protected_double_blocks(self.protect_double_blocks))
    }

    pub(crate) fn resolved_vae_dtype(&self) -> WeightDtype {
        self.vae_dtype.unwrap_or(match self.dtype {
            WeightDtype::F16 => WeightDtype::F32,
            other => other,
        })
    }
}
