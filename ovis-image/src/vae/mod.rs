//! Autoencoder of FLUX.1 (diffusers: `AutoencoderKL`): residual blocks with GroupNorm and SiLU, one
//! attention in the middle, no quantization convolutions.

mod attention;
mod decoder;
mod encoder;
mod mid_block;
mod model;
mod parameters;
mod resnet;
#[cfg(test)]
mod tests;
mod tiling;

pub use attention::VaeAttention;
pub use decoder::{UpBlock, VaeDecoder};
pub use encoder::{DownBlock, VaeEncoder};
pub use mid_block::MidBlock;
pub use model::{AutoencoderKl, LatentDistribution};
pub use resnet::ResnetBlock;
pub use tiling::VaeTiling;
