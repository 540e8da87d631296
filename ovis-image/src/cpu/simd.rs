//! CPU features, detected at run time (the standard library caches the answer).

/// Instruction set used by matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Simd {
    /// AVX-512 with products of bf16 pairs, summed in f32; f32 in vectors of 16.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    /// AVX-512, with f32 in vectors of 16; bf16 and f16 are converted to f32 while they are packed.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2, with f32 in vectors of 8 and fused multiplication.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Instructions that the target always has (NEON on ARM).
    Portable,
}

impl Simd {
    /// Selects the best instruction set of this CPU.
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

    /// Lists all instruction sets that this CPU can run, best first, so that tests can compare
    /// them.
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
