//! Instruction sets that the kernels are written for, detected at run time (the standard library
//! caches the answer).

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use pulp::Arch;

use crate::config::WeightDtype;

/// Instruction set that the kernels of the flex backend use.
///
/// Programs need not care: the best one of the CPU is taken. Benchmarks and tests choose another to
/// measure what other CPUs would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InstructionSet {
    /// AVX-512 with products of bf16 pairs, summed in f32; f32 in vectors of 16.
    Avx512Bf16,
    /// AVX-512, with f32 in vectors of 16; bf16 and f16 are converted to f32 while they are packed.
    Avx512,
    /// AVX2 with fused multiplication and f16 conversion, with f32 in vectors of 8.
    Avx2,
    /// NEON of 64-bit ARM, with f32 in vectors of 4.
    Neon,
    /// Instructions that the target always has.
    Portable,
}

/// All instruction sets, the best first.
const ALL: [InstructionSet; 5] = [
    InstructionSet::Avx512Bf16,
    InstructionSet::Avx512,
    InstructionSet::Avx2,
    InstructionSet::Neon,
    InstructionSet::Portable,
];

/// Choice of [`InstructionSet::use_everywhere`].
static CHOSEN: OnceLock<InstructionSet> = OnceLock::new();

/// The reason why an instruction set cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InstructionSetError {
    /// The CPU does not have it.
    #[error("this CPU does not have {0}; it has {has}", has = list(&InstructionSet::available()))]
    NotAvailable(InstructionSet),
    /// Kernels already use another one.
    #[error("the kernels already use {0}: choose the instruction set before the first computation")]
    AlreadyInUse(InstructionSet),
    /// No instruction set has this name.
    #[error("`{0}` is not an instruction set: choose one of {all}", all = list(&ALL))]
    Unknown(String),
}

impl InstructionSet {
    /// Selects the best instruction set of this CPU.
    pub fn detect() -> Self {
        let best = ALL.into_iter().find(|set| set.is_available());
        best.unwrap_or(Self::Portable)
    }

    /// Lists all instruction sets that this CPU can run, best first.
    pub fn available() -> Vec<Self> {
        ALL.into_iter().filter(|set| set.is_available()).collect()
    }

    /// Returns the instruction set that kernels use in this process.
    pub fn in_use() -> Self {
        *CHOSEN.get_or_init(Self::detect)
    }

    /// Makes all kernels of this process use this instruction set, for measurements.
    ///
    /// # Errors
    /// Returns an error if the CPU does not have it, or if kernels already use another one.
    pub fn use_everywhere(self) -> Result<(), InstructionSetError> {
        if !self.is_available() {
            return Err(InstructionSetError::NotAvailable(self));
        }
        let chosen = *CHOSEN.get_or_init(|| self);
        if chosen == self {
            Ok(())
        } else {
            Err(InstructionSetError::AlreadyInUse(chosen))
        }
    }

    /// Returns whether products of this dtype are computed in it; others are computed in f32 from
    /// operands that are converted while they are packed.
    pub fn multiplies(self, dtype: WeightDtype) -> bool {
        match dtype {
            WeightDtype::F32 => true,
            WeightDtype::BF16 => self == Self::Avx512Bf16,
            WeightDtype::F16 => false,
        }
    }

    fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => {
                Self::Avx512.is_available() && is_x86_feature_detected!("avx512bf16")
            }
            // What pulp's V4 asks for; every CPU since Skylake-X has it.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => pulp::x86::V4::try_new().is_some() && Self::Avx2.is_available(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => pulp::x86::V3::try_new().is_some() && is_x86_feature_detected!("f16c"),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            Self::Portable => true,
            #[allow(
                unreachable_patterns,
                reason = "which sets a target lacks depends on it"
            )]
            _ => false,
        }
    }

    /// Returns the vectors of pulp for this instruction set, for code that the compiler vectorizes.
    pub(crate) fn arch(self) -> Arch {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 | Self::Avx512 => {
                pulp::x86::V4::try_new().map_or(Arch::Scalar, Arch::V4)
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => pulp::x86::V3::try_new().map_or(Arch::Scalar, Arch::V3),
            #[cfg(target_arch = "x86_64")]
            _ => Arch::Scalar,
            #[cfg(not(target_arch = "x86_64"))]
            _ => Arch::new(),
        }
    }

    /// Returns the number of rows of the tallest tile of a product: as many sums as the registers
    /// hold, times the number of tiles that share a panel.
    pub(crate) fn tile_rows(self) -> usize {
        match self {
            // 14 x 2 sums, two columns and a row's broadcast fill 32 registers.
            Self::Avx512Bf16 | Self::Avx512 => 14,
            // Two tiles of 6 x 2 sums; with two columns and a broadcast, 15 of 16 registers.
            Self::Avx2 => 12,
            // Two tiles of 6 x 4 sums of 32 registers.
            Self::Neon => 12,
            Self::Portable => 12,
        }
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avx512Bf16 => "avx512-bf16",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Neon => "neon",
            Self::Portable => "portable",
        })
    }
}

impl FromStr for InstructionSet {
    type Err = InstructionSetError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = ALL.into_iter().find(|set| set.to_string() == name);
        found.ok_or_else(|| InstructionSetError::Unknown(name.to_owned()))
    }
}

fn list(sets: &[InstructionSet]) -> String {
    let names: Vec<String> = sets.iter().map(ToString::to_string).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_set_is_available_and_first() {
        let available = InstructionSet::available();
        assert_eq!(available.first(), Some(&InstructionSet::detect()));
        assert_eq!(available.last(), Some(&InstructionSet::Portable));
    }

    #[test]
    fn names_are_read_back_and_others_refused() {
        for set in ALL {
            assert_eq!(set.to_string().parse(), Ok(set));
        }
        let error = "sse".parse::<InstructionSet>().unwrap_err();
        assert!(error.to_string().contains("avx2"), "{error}");
    }

    #[test]
    fn a_set_that_the_cpu_lacks_or_that_comes_late_is_refused() {
        let absent = ALL.into_iter().find(|set| !set.is_available());
        if let Some(absent) = absent {
            assert_eq!(
                absent.use_everywhere(),
                Err(InstructionSetError::NotAvailable(absent))
            );
        }
        let in_use = InstructionSet::in_use();
        assert_eq!(in_use.use_everywhere(), Ok(()));
        if in_use != InstructionSet::Portable {
            assert_eq!(
                InstructionSet::Portable.use_everywhere(),
                Err(InstructionSetError::AlreadyInUse(in_use))
            );
        }
    }
}
