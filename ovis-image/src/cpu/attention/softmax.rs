//! Softmax over blocks of scores `[keys][32 queries]`, with a running maximum and sum per query.

use super::heads::HeadSizes;
use crate::cpu::element::Element;
use crate::cpu::instruction_set::InstructionSet;
use crate::cpu::panel::Unit;
use crate::cpu::tile::WIDTH;
use crate::cpu::vector::vectorized;

/// One value per query of a panel.
pub(super) type Lanes = [f32; WIDTH];

/// Running maximum and sum of weights of each query.
#[derive(Debug)]
pub(super) struct Softmax {
    largest: Lanes,
    totals: Lanes,
}

impl Default for Softmax {
    fn default() -> Self {
        Self {
            largest: [f32::NEG_INFINITY; WIDTH],
            totals: [0.0; WIDTH],
        }
    }
}

impl Softmax {
    /// Sum of the weights of each query.
    pub(super) fn totals(&self) -> &Lanes {
        &self.totals
    }

    /// Turns the scores of the first `keys` rows into weights `exp(scale (score - largest))`, in
    /// the unit of products, and returns the factors by which earlier weights shrink.
    pub(super) fn weigh(
        &mut self,
        sizes: &HeadSizes,
        keys: usize,
        scale: f32,
        scores: &mut [f32],
    ) -> Lanes {
        let scale = scale * std::f32::consts::LOG2_E;
        let (rows, _) = scores.as_chunks_mut();
        macro_rules! run {
            ($pairs:literal, $fused:literal) => {
                vectorized(
                    sizes.set,
                    #[inline(always)]
                    || self.weigh_rows::<$pairs, $fused>(keys, scale, rows),
                )
            };
        }
        match (sizes.unit, sizes.set) {
            (Unit::F32, InstructionSet::Portable) => run!(false, false),
            (Unit::F32, _) => run!(false, true),
            (Unit::Bf16Pair, _) => run!(true, true),
        }
    }

    /// Computes the weights, with fused multiplications if FUSED (without them in the instruction
    /// set, `mul_add` would call a function), and joins neighboring rows to pairs of bf16 if PAIRS.
    #[inline(always)]
    fn weigh_rows<const PAIRS: bool, const FUSED: bool>(
        &mut self,
        keys: usize,
        scale: f32,
        rows: &mut [Lanes],
    ) -> Lanes {
        let before = self.largest;
        let mut largest = before;
        for row in &rows[..keys] {
            for (largest, score) in largest.iter_mut().zip(row) {
                *largest = if *score > *largest { *score } else { *largest };
            }
        }
        let weight = |score: f32, largest: f32| power_of_two::<FUSED>((score - largest) * scale);
        let (mut factors, mut totals) = ([0.0; WIDTH], self.totals);
        for lane in 0..WIDTH {
            factors[lane] = weight(before[lane], largest[lane]);
            totals[lane] *= factors[lane];
        }
        if PAIRS {
            if keys % 2 == 1 {
                // A key of weight zero.
                rows[keys] = [f32::NEG_INFINITY; WIDTH];
            }
            for pair in 0..keys.div_ceil(2) {
                let [even, odd] = [rows[2 * pair], rows[2 * pair + 1]];
                for lane in 0..WIDTH {
                    let even = weight(even[lane], largest[lane]);
                    let odd = weight(odd[lane], largest[lane]);
                    totals[lane] += even + odd;
                    rows[pair][lane] = f32::from_bits(bf16_pair(even, odd));
                }
            }
        } else {
            for row in &mut rows[..keys] {
                for lane in 0..WIDTH {
                    row[lane] = weight(row[lane], largest[lane]);
                    totals[lane] += row[lane];
                }
            }
        }
        (self.largest, self.totals) = (largest, totals);
        factors
    }
}

/// Rounds two numbers to bf16, the first in the low half.
#[inline(always)]
fn bf16_pair(low: f32, high: f32) -> u32 {
    let bits = |value| u32::from(<half::bf16 as Element>::from_f32(value).to_bits());
    bits(low) | bits(high) << 16
}

/// Computes 2^x for x of at most about zero to two units in the last place (Cephes' polynomial),
/// and zero below -126.5.
#[inline(always)]
fn power_of_two<const FUSED: bool>(x: f32) -> f32 {
    /// Constant whose addition moves a number's fraction out of its bits, which rounds to the
    /// nearest integer.
    const ROUND: f32 = 12_582_912.0;
    let fma = |a: f32, b: f32, c: f32| if FUSED { a.mul_add(b, c) } else { a * b + c };

    // A comparison, unlike `max`, lets NaN through.
    let x = if x < -127.0 { -127.0 } else { x };
    let rounded = x + ROUND;
    // An exponent of -127 gives zero.
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(0x3f80_0000));
    let rest = x - (rounded - ROUND);
    let mut sum = 1.535_336_2e-4;
    for coefficient in [
        1.339_887_4e-3,
        9.618_437e-3,
        5.550_332_5e-2,
        2.402_264_8e-1,
        6.931_472e-1,
        1.0,
    ] {
        sum = fma(sum, rest, coefficient);
    }
    sum * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_are_within_two_units_in_the_last_place() {
        for i in -126_000..1000 {
            let x = i as f32 / 1000.0;
            let exact = f64::from(x).exp2();
            for value in [power_of_two::<true>(x), power_of_two::<false>(x)] {
                let error = (f64::from(value) - exact).abs() / exact;
                assert!(error < 2.4e-7, "2^{x}: {error:e}");
            }
        }
    }

    #[test]
    fn powers_of_two_at_their_ends() {
        assert_eq!(power_of_two::<true>(0.0), 1.0);
        assert_eq!(power_of_two::<true>(-1e9), 0.0);
        assert_eq!(power_of_two::<true>(f32::NEG_INFINITY), 0.0);
        assert!(power_of_two::<true>(f32::NAN).is_nan());
    }
}
