use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use serde::{Deserialize, Serialize};

use super::AutoencoderKl;

/// Decodes in overlapping square tiles with blended seams, which needs memory for one tile instead
/// of the image.
///
/// The result differs from decoding the whole image, because normalization and attention see one
/// tile only. It equals diffusers' `enable_tiling` with the same sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaeTiling {
    /// Side of a tile in pixels.
    pub(crate) tile: usize,
    /// Overlap of neighboring tiles in pixels.
    pub(crate) overlap: usize,
}

impl VaeTiling {
    /// Creates tiles with sides of `tile` pixels that overlap by a quarter, diffusers' default.
    pub fn new(tile: usize) -> Self {
        Self {
            tile,
            overlap: tile / 4,
        }
    }

    /// Sets the overlap in pixels, which must be less than the tile.
    pub fn with_overlap(mut self, overlap: usize) -> Self {
        self.overlap = overlap;
        self
    }
}

/// Smallest side of a tile in latents; attention sees too little in smaller ones.
const MIN_TILE_LATENTS: usize = 8;

impl VaeTiling {
    /// Describes the problem with the sizes, if any, for a VAE that magnifies by `scale`.
    pub(crate) fn fault(self, scale: usize) -> Option<String> {
        let Self { tile, overlap } = self;
        if tile < MIN_TILE_LATENTS * scale {
            Some(format!(
                "tiles of {tile} pixels are too small; the least is {}",
                MIN_TILE_LATENTS * scale
            ))
        } else if overlap >= tile {
            Some(format!(
                "the overlap of {overlap} pixels must be less than the tile side of {tile}"
            ))
        } else if !tile.is_multiple_of(scale) || !overlap.is_multiple_of(scale) {
            Some(format!(
                "the tile side of {tile} pixels and the overlap of {overlap} must both be multiples of {scale}"
            ))
        } else {
            None
        }
    }
}

impl<B: Backend> AutoencoderKl<B> {
    /// Decodes tile by tile (diffusers: `AutoencoderKL.tiled_decode`); see
    /// [`decode`](Self::decode).
    ///
    /// # Shapes
    /// - `latents`: `[batch, latent channels, height, width]`
    /// - output: `[batch, 3, height * scale, width * scale]`, f32
    ///
    /// # Panics
    /// Panics if tiles are smaller than 8 latents a side, overlap completely, or are not a multiple
    /// of the scale.
    pub fn decode_tiled(&self, latents: Tensor<B, 4>, tiling: VaeTiling) -> Tensor<B, 4> {
        let scale = 1 << (self.decoder.up_blocks.len() - 1);
        let fault = tiling.fault(scale);
        assert!(
            fault.is_none(),
            "decode_tiled: {}",
            fault.unwrap_or_default()
        );
        let [_, _, height, width] = latents.dims();
        let tile = tiling.tile / scale;
        let stride = tile - tiling.overlap / scale;
        if height <= tile && width <= tile {
            return self.decode(latents).cast(DType::F32);
        }

        // Blended tiles of the row above; seams start from the blended result, as in diffusers.
        let mut above: Vec<Tensor<B, 4>> = Vec::new();
        let mut bands = Vec::new();
        for y in (0..height).step_by(stride) {
            let mut row: Vec<Tensor<B, 4>> = Vec::new();
            for (column, x) in (0..width).step_by(stride).enumerate() {
                let part = latents.clone().narrow(2, y, tile.min(height - y)).narrow(
                    3,
                    x,
                    tile.min(width - x),
                );
                let mut decoded = self.decode(part).cast(DType::F32);
                if let Some(upper) = above.get(column) {
                    decoded = blend(upper.clone(), decoded, tiling.overlap, 2);
                }
                if let Some(left) = row.last() {
                    decoded = blend(left.clone(), decoded, tiling.overlap, 3);
                }
                row.push(decoded);
            }
            let limit = stride * scale;
            let cropped = row.iter().map(|tile| crop(tile.clone(), limit)).collect();
            bands.push(Tensor::cat(cropped, 3));
            above = row;
        }
        Tensor::cat(bands, 2)
    }
}

/// Crops a tile to its first `limit` rows and columns.
fn crop<B: Backend>(tile: Tensor<B, 4>, limit: usize) -> Tensor<B, 4> {
    let [_, _, height, width] = tile.dims();
    tile.narrow(2, 0, limit.min(height))
        .narrow(3, 0, limit.min(width))
}

/// Fades from the end of `before` to the start of `after` along an axis, over at most `extent`.
fn blend<B: Backend>(
    before: Tensor<B, 4>,
    after: Tensor<B, 4>,
    extent: usize,
    axis: usize,
) -> Tensor<B, 4> {
    let (ends, size) = (before.dims()[axis], after.dims()[axis]);
    let extent = extent.min(ends).min(size);
    if extent == 0 {
        return after;
    }
    let mut shape = [1; 4];
    shape[axis] = extent;
    let weight = Tensor::<B, 1, burn::tensor::Int>::arange(0..extent as i64, &after.device())
        .float()
        .cast(DType::F32)
        .div_scalar(extent as f64)
        .reshape(shape);
    let end = before.narrow(axis, ends - extent, extent);
    let start = after.clone().narrow(axis, 0, extent);
    // Written as end + (start - end) * weight, so that only one operand is broadcast.
    let seam = end.clone() + (start - end) * weight;
    match size - extent {
        0 => seam,
        rest => Tensor::cat(vec![seam, after.narrow(axis, extent, rest)], axis),
    }
}
