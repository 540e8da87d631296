//! Values and comparisons that the tests of several kernels share.

use super::element::Element;

/// Draws values between -1 and 1 that repeat after 2^32 steps.
pub(super) fn random<T: Element>(length: usize, seed: u32) -> Vec<T> {
    let mut state = seed.wrapping_mul(2_654_435_761);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        T::from_f32(state as f32 / (1u32 << 31) as f32 - 1.0)
    };
    (0..length).map(|_| next()).collect()
}

/// Computes the norm of the difference of two arrays, relative to that of the second.
pub(super) fn relative_error<T: Element>(actual: &[T], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let (mut difference, mut norm) = (0.0, 0.0);
    for (a, b) in actual.iter().zip(expected) {
        difference += (f64::from(a.to_f32()) - b).powi(2);
        norm += b * b;
    }
    (difference / norm).sqrt()
}
