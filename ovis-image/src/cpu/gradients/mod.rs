//! Gradients of the CPU kernels, for training. Each function takes the gradient of an
//! operation's output and returns those of its operands. Sums over rows are in f32, in an order
//! that does not depend on the number of threads.

mod attention;
mod convolution;
mod group_norm;
mod linear;
mod rows;
mod sums;
#[cfg(test)]
mod tests;

pub(crate) use attention::{AttentionGradients, attention};
pub(crate) use convolution::{convolution_bias, convolution_input, convolution_weight};
pub(crate) use group_norm::group_norm;
pub(crate) use linear::{linear_bias, linear_input, linear_weight};
pub(crate) use rows::{WIDEST_HEAD, add_gated, modulated_norm, norm_and_rotate, rms_norm, swiglu};
