//! Arithmetic on slices in f32, written so that the compiler vectorizes it inside [`vectorized`].

use super::element::Element;
use super::instruction_set::InstructionSet;

/// Number of partial sums that run in parallel: an addition depends only on the 16th before it.
const LANES: usize = 16;

/// Runs code that is compiled for the vectors of an instruction set. Functions that it calls must be
/// `#[inline(always)]`.
#[inline(always)]
pub(crate) fn vectorized<R>(set: InstructionSet, code: impl FnOnce() -> R) -> R {
    set.arch().dispatch(code)
}

/// Computes e^x to about one unit in the last place (Cephes' reduction and polynomial), 0 below
/// -87.3 and infinity above 88.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    /// Constant whose addition moves a number's fraction out of its bits, which rounds to the
    /// nearest integer.
    const ROUND: f32 = 12_582_912.0;

    let clamped = x.clamp(-87.336_54, 88.0);
    let power = clamped * std::f32::consts::LOG2_E + ROUND;
    let two_to_power = f32::from_bits((power.to_bits() << 23).wrapping_add(0x3f80_0000));
    let power = power - ROUND;
    let rest = clamped - power * LN2_HIGH - power * LN2_LOW;
    let mut sum = 1.987_569_1e-4f32;
    for coefficient in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        5e-1,
    ] {
        sum = sum * rest + coefficient;
    }
    let value = (sum * (rest * rest) + rest + 1.0) * two_to_power;
    // NaN passes through the clamp and the sum.
    let value = if x > 88.0 { f32::INFINITY } else { value };
    if x < -87.336_54 { 0.0 } else { value }
}

/// Computes SiLU, `x / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// Sums `term` over a slice.
#[inline(always)]
pub(crate) fn sum<T: Element>(values: &[T], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += term(value.to_f32());
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += term(value.to_f32());
    }
    lanes.into_iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        for i in -87_000..88_000 {
            let x = i as f32 / 1000.0;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2.4e-7, "e^{x}: {error:e}");
        }
    }

    #[test]
    fn exp_at_its_ends() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-1e4), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(1e4), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
        assert!(silu(f32::NAN).is_nan());
        assert_eq!(silu(-1e30), 0.0);
        assert_eq!(silu(1e30), 1e30);
    }

    #[test]
    fn sums_take_the_rest_along() {
        let values: Vec<f32> = (0..37).map(|i| i as f32).collect();
        assert_eq!(sum(&values, |v| v), 666.0);
    }
}
