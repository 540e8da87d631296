use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Applies a linear layer: `input weight^T + bias`.
///
/// # Shapes
/// - `input`: `[rows, in]`
/// - `weight`: `[out, in]`
/// - `bias`: `[out]`
/// - output: `[rows, out]`
pub fn linear<B: Backend>(
    input: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, 2> {
    debug_assert_eq!(
        input.dtype(),
        weight.dtype(),
        "Burn does not promote dtypes"
    );
    let output = product(input, weight.transpose());
    match bias {
        Some(bias) => output + bias.unsqueeze::<2>(),
        None => output,
    }
}

/// Multiplies the matrices `a` and `b`. A single row is computed as two: CubeCL's vector-matrix
/// kernels give wrong results on adapters with narrow subgroups (seen on Mesa's software Vulkan),
/// and autotuning selects kernels by speed alone.
fn product<B: Backend>(a: Tensor<B, 2>, b: Tensor<B, 2>) -> Tensor<B, 2> {
    match a.dims()[0] {
        1 => a.repeat_dim(0, 2).matmul(b).narrow(0, 0, 1),
        _ => a.matmul(b),
    }
}
