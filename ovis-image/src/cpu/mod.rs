//! CPU kernels over plain slices, which the `flex` backend runs in place of the portable
//! implementation in [`ops`](crate::ops). They do not depend on tensors or models.

mod aligned;
mod attention;
mod columns;
mod conv;
mod double_size;
mod element;
mod even_parts;
mod gemm;
#[cfg(feature = "autodiff")]
pub(crate) mod gradients;
mod instruction_set;
mod join;
#[cfg(feature = "autodiff")]
mod moments_8bit;
#[cfg(feature = "autodiff")]
mod optimizer;
mod output;
mod panel;
mod rows;
mod shared;
#[cfg(feature = "autodiff")]
mod stochastic_rounding;
mod tasks;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tile;
mod vector;
mod winograd;

pub(crate) use attention::{AttentionShape, Heads, attention};
pub(crate) use columns::ConvolutionShape;
pub(crate) use conv::{conv_by_columns, conv1x1, conv3x3};
#[cfg(feature = "autodiff")]
pub(crate) use double_size::add_blocks;
pub(crate) use double_size::double_size;
pub(crate) use element::Element;
pub(crate) use gemm::linear;
pub use instruction_set::{InstructionSet, InstructionSetError};
pub(crate) use join::{ByteRows, join};
#[cfg(feature = "autodiff")]
pub(crate) use moments_8bit::{Moment8bit, adamw_8bit};
#[cfg(feature = "autodiff")]
pub(crate) use optimizer::{adamw, blend, sum_of_squares};
pub(crate) use output::{Unwritten, bytes_of, filled, zeros};
pub(crate) use panel::Matrix;
pub(crate) use rows::{
    Rows, add_gated, group_norm, modulated_norm, norm_and_rotate, rms_norm, swiglu,
};
#[cfg(feature = "autodiff")]
pub(crate) use stochastic_rounding::stochastic_round;
