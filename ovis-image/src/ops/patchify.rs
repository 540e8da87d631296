use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Splits latents into 2x2 patches, one per image token.
///
/// Tokens run row-major over the patch grid; a token's channels run (channel, row, column)
/// (diffusers: `_pack_latents`).
///
/// # Shapes
/// - `latents`: `[batch, channels, height, width]`, both sides even
/// - output: `[batch, height/2 * width/2, channels * 4]`
///
/// # Panics
/// Panics if a side is odd; the pipeline refuses such sizes.
pub fn pack_latents<B: Backend>(latents: Tensor<B, 4>) -> Tensor<B, 3> {
    let [batch, channels, height, width] = latents.dims();
    let (rows, columns) = (height / 2, width / 2);
    latents
        .reshape([batch, channels, rows, 2, columns, 2])
        // [batch, rows, columns, channels, 2, 2]
        .permute([0, 2, 4, 1, 3, 5])
        .reshape([batch, rows * columns, channels * 4])
}

/// Reverses [`pack_latents`] for a grid of `rows` x `columns` patches.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestBackend, TestTensor, assert_close, random, values};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn unpacking_is_the_inverse_of_packing(
            batch in 1usize..3, channels in 1usize..5, rows in 1usize..5, columns in 1usize..5,
        ) {
            let latents: TestTensor<4> = random(7, [batch, channels, 2 * rows, 2 * columns]);
            let tokens = pack_latents(latents.clone());
            prop_assert_eq!(tokens.dims(), [batch, rows * columns, 4 * channels]);
            let back = unpack_latents(tokens.clone(), [rows, columns]);
            prop_assert_eq!(values(back.clone()), values(latents));
            assert_close(pack_latents(back), tokens, 0.0);
        }
    }

    #[test]
    fn tokens_run_along_rows_and_hold_their_patch_channel_by_channel() {
        // Two channels of 2 x 4 latents.
        let latents = TestTensor::<1>::from_data(
            (0..16).map(|i| i as f32).collect::<Vec<_>>().as_slice(),
            &Default::default(),
        );
        let tokens = pack_latents::<TestBackend>(latents.reshape([1, 2, 2, 4]));
        let expected = [
            [0., 1., 4., 5., 8., 9., 12., 13.],
            [2., 3., 6., 7., 10., 11., 14., 15.],
        ];
        assert_eq!(values(tokens), expected.concat());
    }
}
