use crate::kernels;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Low-rank update of some rows of a linear layer (LoRA, arXiv 2106.09685): `scale * scaling * up
/// (down x)`.
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct LowRankAdapter<B: Backend> {
    /// Projection to the rank, `[rank, in]`.
    pub down: Param<Tensor<B, 2>>,
    /// Projection from the rank, `[rows, rank]`.
    pub up: Param<Tensor<B, 2>>,
    /// First row of the layer that the update applies to; fused layers hold the rows of several
    /// modules.
    pub first_row: usize,
    /// Alpha divided by the rank, as given by the adapter's file.
    pub scaling: f32,
    /// Strength of the adapter, which can change between requests.
    pub scale: f32,
    /// Name of the adapter that the update belongs to.
    pub name: String,
}

impl<B: Backend> LowRankAdapter<B> {
    /// Returns the range of the layer's rows that the update applies to.
    pub fn rows(&self) -> std::ops::Range<usize> {
        let [rows, _] = self.up.lazy_shape().dims();
        self.first_row..self.first_row + rows
    }

    /// Returns the factor of the product of both matrices: `scaling * scale`.
    pub fn strength(&self) -> f32 {
        self.scaling * self.scale
    }

    /// Computes the update of the layer's rows.
    ///
    /// # Shapes
    /// - `input`: `[n, in]`
    /// - output: `[n, rows]`
    pub fn forward(&self, input: Tensor<B, 2>) -> Tensor<B, 2> {
        let inner = kernels::linear_layer(input, self.down.val(), None);
        kernels::linear_layer(inner * self.strength(), self.up.val(), None)
    }
}

/// Adds the updates of all adapters to a layer's output, `[n, out]`.
///
/// Neighboring rows are joined before they are added, so that a fused layer's output is traversed
/// once for each adapter instead of once for each of its modules.
pub(super) fn add_updates<B: Backend>(
    mut output: Tensor<B, 2>,
    input: &Tensor<B, 2>,
    adapters: &[LowRankAdapter<B>],
) -> Tensor<B, 2> {
    let [n, out] = output.dims();
    let (device, dtype) = (output.device(), output.dtype());
    let zeros = |rows: usize| Tensor::<B, 2>::zeros([n, rows], (&device, dtype));
    let mut parts: Vec<Tensor<B, 2>> = Vec::new();
    let mut filled = 0;
    for adapter in adapters.iter().filter(|adapter| adapter.scale != 0.0) {
        let rows = adapter.rows();
        if rows.start < filled {
            output = output + joined(std::mem::take(&mut parts), out - filled, &zeros);
            filled = 0;
        }
        if rows.start > filled {
            parts.push(zeros(rows.start - filled));
        }
        parts.push(adapter.forward(input.clone()));
        filled = rows.end;
    }
    if parts.is_empty() {
        output
    } else {
        output + joined(parts, out - filled, &zeros)
    }
}

fn joined<B: Backend>(
    mut parts: Vec<Tensor<B, 2>>,
    missing: usize,
    zeros: &impl Fn(usize) -> Tensor<B, 2>,
) -> Tensor<B, 2> {
    if missing > 0 {
        parts.push(zeros(missing));
    }
    if parts.len() == 1 {
        parts.remove(0)
    } else {
        Tensor::cat(parts, 1)
    }
}
