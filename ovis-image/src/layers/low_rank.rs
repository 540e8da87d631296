use crate::kernels;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// A low-rank update of some rows of a linear layer (LoRA, arXiv 2106.09685): `scale * scaling * up (down x)`.
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct LowRankAdapter<B: Backend> {
    /// `[rank, in]`.
    pub down: Param<Tensor<B, 2>>,
    /// `[rows, rank]`.
    pub up: Param<Tensor<B, 2>>,
    /// The first of the layer's rows that it adds to: fused layers hold several modules' rows.
    pub first_row: usize,
    /// Alpha over the rank, as its file says.
    pub scaling: f32,
    /// How strongly it acts; changed between requests.
    pub scale: f32,
    /// Which of the adapters of a model it belongs to.
    pub name: String,
}

impl<B: Backend> LowRankAdapter<B> {
    /// The rows of the layer that it adds to.
    pub fn rows(&self) -> std::ops::Range<usize> {
        let [rows, _] = self.up.lazy_shape().dims();
        self.first_row..self.first_row + rows
    }

    /// What the product of its matrices is multiplied by.
    pub fn strength(&self) -> f32 {
        self.scaling * self.scale
    }

    /// What it adds to its rows of the output.
    ///
    /// # Shapes
    /// - `input`: `[n, in]`
    /// - output: `[n, rows]`
    pub fn forward(&self, input: Tensor<B, 2>) -> Tensor<B, 2> {
        let inner = kernels::linear_layer(input, self.down.val(), None);
        kernels::linear_layer(inner * self.strength(), self.up.val(), None)
    }
}

/// Adds what the adapters give to a layer's output, `[n, out]`.
///
/// Neighboring rows are joined before they are added: a fused layer's output is passed over once
/// for each adapter, not once for each of its modules.
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
