use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Cuts latents into 2x2 patches, one image token each.
///
/// Tokens run row-major over the patch grid; a token's channels run (channel, row, column)
/// (diffusers: `_pack_latents`).
///
/// # Shapes
/// - `latents`: `[batch, channels, height, width]`, both sides even
/// - output: `[batch, height/2 * width/2, channels * 4]`
///
/// # Panics
/// If a side is odd: the pipeline refuses such sizes.
pub fn pack_latents<B: Backend>(latents: Tensor<B, 4>) -> Tensor<B, 3> {
    let [batch, channels, height, width] = latents.dims();
    let (rows, columns) = (height / 2, width / 2);
    latents
        .reshape([batch, channels, rows, 2, columns, 2])
        // [batch, rows, columns, channels, 2, 2]
        .permute([0, 2, 4, 1, 3, 5])
        .reshape([batch, rows * columns, channels * 4])
}

/// The inverse of [`pack_latents`] for a grid of `rows` x `columns` patches.
///
/// # Shapes
/// - `tokens`: `[batch, rows * columns, channels * 4]`
/// - output: `[batch, channels, rows * 2, columns * 2]`
pub fn unpack_latents<B: Backend>(
    tokens: Tensor<B, 3>,
    [rows, columns]: [usize; 2],
) -> Tensor<B, 4> {
    let [batch, _, token_channels] = tokens.dims();
    let channels = token_channels / 4;
    tokens
        .reshape([batch, rows, columns, channels, 2, 2])
        // [batch, channels, rows, 2, columns, 2]
        .permute([0, 3, 1, 4, 2, 5])
        .reshape([batch, channels, rows * 2, columns * 2])
}
