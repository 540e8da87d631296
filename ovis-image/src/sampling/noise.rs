use rand_mt::Mt;

/// Reimplements torch's CPU generator, so that a seed gives the same noise as in Python.
///
/// The Mersenne Twister is seeded with the low 32 bits of the seed, as torch does. A generator
/// advances through its stream like a `torch.Generator`: a second call of [`randn`](Self::randn)
/// continues where the first one stopped.
#[derive(Debug, Clone)]
pub struct NoiseGenerator {
    engine: Mt,
    /// Second half of a Box-Muller pair, kept for the next draw of fewer than [`GROUP`] values.
    next_normal: Option<f64>,
}

/// Smallest number of values that torch fills in groups; also the size of a group.
const GROUP: usize = 16;

impl NoiseGenerator {
    /// Seeds a generator: `torch.Generator("cpu").manual_seed(seed)`.
    pub fn from_seed(seed: u64) -> Self {
        Self {
            engine: Mt::new((seed & 0xffff_ffff) as u32),
            next_normal: None,
        }
    }

    /// Draws `count` standard normal values in f32: `torch.randn(count, generator=self)`, to about
    /// 1e-6.
    ///
    /// For bf16 and f16, round the values: torch also draws in f32.
    pub fn randn(&mut self, count: usize) -> Vec<f32> {
        if count < GROUP {
            return (0..count).map(|_| self.normal_f64() as f32).collect();
        }
        let mut values: Vec<f32> = (0..count).map(|_| self.uniform_f32()).collect();
        for group in values.chunks_exact_mut(GROUP) {
            box_muller(group);
        }
        if !count.is_multiple_of(GROUP) {
            // If the last group is incomplete, torch draws the last 16 values again.
            let tail = &mut values[count - GROUP..];
            for value in tail.iter_mut() {
                *value = self.uniform_f32();
            }
            box_muller(tail);
        }
        values
    }

    /// Draws a value from 0 up to but not including 1: `torch.rand(1, generator=self)`.
    pub fn uniform(&mut self) -> f32 {
        self.uniform_f32()
    }

    /// Draws a uniform f32: 24 random bits over 2^24 (`at::uniform_real_distribution<float>`).
    fn uniform_f32(&mut self) -> f32 {
        const BITS: u32 = 24;
        (self.engine.next_u32() & ((1 << BITS) - 1)) as f32 / (1u32 << BITS) as f32
    }

    /// Draws a uniform f64: 53 random bits over 2^53 (`at::uniform_real_distribution<double>`).
    fn uniform_f64(&mut self) -> f64 {
        const BITS: u32 = 53;
        let high = u64::from(self.engine.next_u32());
        let low = u64::from(self.engine.next_u32());
        ((high << 32 | low) & ((1 << BITS) - 1)) as f64 / (1u64 << BITS) as f64
    }

    /// Draws a normal f64 (`at::normal_distribution<double>`), which torch uses below 16 values.
    fn normal_f64(&mut self) -> f64 {
        if let Some(value) = self.next_normal.take() {
            return value;
        }
        let angle = std::f64::consts::TAU * self.uniform_f64();
        let radius = (-2.0 * (-self.uniform_f64()).ln_1p()).sqrt();
        self.next_normal = Some(radius * angle.sin());
        radius * angle.cos()
    }
}

/// Turns 16 uniform values into normal ones in place: the first eight become radii, the others
/// angles.
fn box_muller(group: &mut [f32]) {
    let (radii, angles) = group.split_at_mut(GROUP / 2);
    for (first, second) in radii.iter_mut().zip(angles) {
        let radius = (-2.0 * (1.0 - *first).ln()).sqrt();
        let angle = std::f32::consts::TAU * *second;
        *first = radius * angle.cos();
        *second = radius * angle.sin();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_above_32_bits_is_its_low_half() {
        let noise = |seed| NoiseGenerator::from_seed(seed).randn(32);
        assert_eq!(noise(5), noise((1 << 32) + 5));
        assert_ne!(noise(5), noise(6));
    }

    #[test]
    fn two_draws_continue_one_stream() {
        let mut split = NoiseGenerator::from_seed(7);
        let halves = [split.randn(16), split.randn(16)].concat();
        assert_eq!(halves, NoiseGenerator::from_seed(7).randn(32));
    }

    #[test]
    fn every_count_gives_as_many_finite_values() {
        for count in 0..70 {
            let values = NoiseGenerator::from_seed(count as u64).randn(count);
            assert_eq!(values.len(), count);
            assert!(values.iter().all(|value| value.is_finite()));
        }
    }

    #[test]
    fn many_values_have_mean_0_and_variance_1() {
        let values = NoiseGenerator::from_seed(0).randn(1 << 16);
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
        let square =
            values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / values.len() as f64;
        // Tolerances of five standard errors: 5/sqrt(65536) and 5*sqrt(2/65536).
        assert!(
            mean.abs() < 0.02 && (square - 1.0).abs() < 0.028,
            "{mean} {square}"
        );
    }
}
