//! Kernels of the CPU over plain slices: what the `flex` backend runs instead of the default bodies
//! of [`OvisOps`](crate::backend::OvisOps). They know no tensors, and no model.

mod attention;
mod element;
mod gemm;
mod panel;
mod rows;
mod shared;
mod simd;
mod tasks;
mod tile;
mod vector;

pub(crate) use attention::{AttentionShape, Heads, attention};
pub(crate) use element::Element;
pub(crate) use gemm::linear;
pub(crate) use panel::Matrix;
pub(crate) use rows::{
    Rows, add_gated, group_norm, modulated_norm, norm_and_rotate, rms_norm, swiglu,
};

pub(crate) fn tile_multiply(b: bool, rows: usize, l: &[u32], r: &[u32], s: &mut [f32]) {
    tile::multiply(simd::Simd::detect(), if b {panel::Unit::Bf16Pair} else {panel::Unit::F32}, tile::Sums::New, rows, l, r, s)
}
