//! What the CPU can do, asked at run time (the standard library caches the answer).

/// The instructions that products of matrices use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Simd {
    /// Products of bf16 pairs, summed in f32; f32 in vectors of 16.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    /// f32 in vectors of 16; halves are widened while they are packed.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// f32 in vectors of 8 with fused multiplication.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Whatever the target always has (NEON on ARM).
    Portable,
}

impl Simd {
    /// The best of this CPU.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return match is_x86_feature_detected!("avx512bf16") {
                    true => Self::Avx512Bf16,
                    false => Self::Avx512,
                };
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// All that this CPU can run, best first: tests compare them.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Self> {
        let all = [
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2,
            Self::Portable,
        ];
        let best = Self::detect();
        all.into_iter().skip_while(|simd| *simd != best).collect()
    }
}
