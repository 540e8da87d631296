//! Operations on `Autodiff<Flex>` with the fast kernels in both directions. Burn would record each
//! step of the portable implementation instead, which loses the kernels and keeps every
//! intermediate result.

mod layout;
mod node;
mod operations;
mod split;
#[cfg(test)]
mod tests;

pub(super) use layout::{flatten, join, join_heads, split_heads};
pub(super) use operations::{
    add_gated, convolution, double_size, group_norm, halving_convolution, linear_layer,
    modulated_norm, multi_head_attention, norm_and_rotate, rms_norm, swiglu,
};
pub(super) use split::split;
