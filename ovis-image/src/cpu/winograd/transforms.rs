//! Transforms of one line of a tile, at the points 0, ±A, ±B and infinity.

use pulp::Simd as Vectors;

use super::{SPAN, TILE};

/// Points of the transform, besides 0 and infinity. The powers used below are exact in f32.
const A: f32 = 0.625;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;

/// Transforms six inputs of a tile to the points: the coefficients of `M(x) / (x - p)`, and of
/// `M(x)` at infinity, for `M(x) = x (x² - A²) (x² - B²)`.
#[inline(always)]
pub(super) fn transform_input<S: Vectors>(simd: S, d: [S::f32s; SPAN]) -> [S::f32s; SPAN] {
    let fma = |a: f32, b, c| simd.mul_add_e_f32s(simd.splat_f32s(a), b, c);
    let times = |a: f32, b| simd.mul_f32s(simd.splat_f32s(a), b);
    let even_a = fma(-B2, d[2], d[4]);
    let odd_a = fma(-B2, d[1], d[3]);
    let even_b = fma(-A2, d[2], d[4]);
    let odd_b = fma(-A2, d[1], d[3]);
    [
        fma(-A2 - B2, d[2], fma(A2 * B2, d[0], d[4])),
        fma(A, odd_a, even_a),
        fma(-A, odd_a, even_a),
        fma(B, odd_b, even_b),
        fma(-B, odd_b, even_b),
        simd.add_f32s(fma(-A2 - B2, d[3], times(A2 * B2, d[1])), d[5]),
    ]
}

/// Transforms three weights to the points, divided by the products of the points' distances.
#[inline(always)]
pub(super) fn transform_weight<S: Vectors>(simd: S, g: [S::f32s; 3]) -> [S::f32s; SPAN] {
    const OVER_A: f32 = 1.0 / (2.0 * A2 * (A2 - B2));
    const OVER_B: f32 = 1.0 / (2.0 * B2 * (B2 - A2));
    let fma = |a: f32, b, c| simd.mul_add_e_f32s(simd.splat_f32s(a), b, c);
    let times = |a: f32, b| simd.mul_f32s(simd.splat_f32s(a), b);
    let even_a = fma(OVER_A, g[0], times(A2 * OVER_A, g[2]));
    let even_b = fma(OVER_B, g[0], times(B2 * OVER_B, g[2]));
    [
        times(1.0 / (A2 * B2), g[0]),
        fma(A * OVER_A, g[1], even_a),
        fma(-A * OVER_A, g[1], even_a),
        fma(B * OVER_B, g[1], even_b),
        fma(-B * OVER_B, g[1], even_b),
        g[2],
    ]
}

/// Computes four outputs from the values at the points.
#[inline(always)]
pub(super) fn transform_output<S: Vectors>(simd: S, m: [S::f32s; SPAN]) -> [S::f32s; TILE] {
    let fma = |a: f32, b, c| simd.mul_add_e_f32s(simd.splat_f32s(a), b, c);
    let times = |a: f32, b| simd.mul_f32s(simd.splat_f32s(a), b);
    let even_a = simd.add_f32s(m[1], m[2]);
    let odd_a = simd.sub_f32s(m[1], m[2]);
    let even_b = simd.add_f32s(m[3], m[4]);
    let odd_b = simd.sub_f32s(m[3], m[4]);
    [
        simd.add_f32s(m[0], simd.add_f32s(even_a, even_b)),
        fma(A, odd_a, times(B, odd_b)),
        fma(A2, even_a, times(B2, even_b)),
        fma(A2 * A, odd_a, fma(B2 * B, odd_b, m[5])),
    ]
}
