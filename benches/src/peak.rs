//! The limits of this machine, on all its cores: the rate of fused multiplications in registers,
//! which no product exceeds, and the rate of copies in memory, which limits passes over all
//! elements of a tensor.

use std::hint::black_box;
use std::time::Instant;

use ovis_image::kernels::InstructionSet;

/// Number of sums that are updated at the same time: more than latency times units.
const SUMS: usize = 12;
const STEPS: usize = 20_000_000;

/// Measures operations per second on `threads` threads; a multiplication and an addition count as
/// two. Returns `None` for an instruction set without a loop here.
pub fn flops_per_second(set: InstructionSet, threads: usize) -> Option<f64> {
    let lanes = lanes(set)?;
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(move || black_box(multiply(set, black_box(1.0), black_box(0.5))));
        }
    });
    let operations = 2 * threads * STEPS * SUMS * lanes;
    Some(operations as f64 / start.elapsed().as_secs_f64())
}

/// Bytes per second of a copy, read and written bytes both counted.
#[derive(Debug, Clone, Copy)]
pub struct CopyRate {
    /// Rate of a copy to memory that was written before.
    pub reused: f64,
    /// Rate of a copy to memory that the system has yet to provide, as for a new tensor.
    pub new: f64,
}

/// Number of floats that each thread copies: 128 MiB, more than the caches hold.
const COPIED: usize = 32 << 20;
const COPIES: usize = 5;

/// Measures the rate of copies on `threads` threads.
pub fn copy_bytes_per_second(threads: usize) -> CopyRate {
    let from = vec![vec![1.0f32; COPIED]; threads];
    let mut to = vec![vec![0.0f32; COPIED]; threads];
    // Touches every page, so that the first copy finds them.
    to.iter_mut().for_each(|to| to.fill(2.0));
    let bytes = (2 * threads * COPIED * size_of::<f32>()) as f64;
    let reused = best(|| {
        std::thread::scope(|scope| {
            for (from, to) in from.iter().zip(&mut to) {
                scope.spawn(|| black_box(to).copy_from_slice(black_box(from)));
            }
        });
    });
    drop(to);
    let new = best(|| {
        std::thread::scope(|scope| {
            for from in &from {
                scope.spawn(move || black_box(black_box(from).clone()));
            }
        });
    });
    CopyRate {
        reused: bytes / reused,
        new: bytes / new,
    }
}

/// Returns the seconds of the fastest of some runs: a limit is not a median.
fn best(mut run: impl FnMut()) -> f64 {
    let runs = (0..COPIES).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    });
    runs.fold(f64::INFINITY, f64::min)
}

fn lanes(set: InstructionSet) -> Option<usize> {
    match set {
        InstructionSet::Avx512Bf16 | InstructionSet::Avx512 => Some(16),
        InstructionSet::Avx2 => Some(8),
        _ => None,
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
fn multiply(set: InstructionSet, a: f32, b: f32) -> f32 {
    // SAFETY (both): only instruction sets that the CPU has are measured.
    match set {
        InstructionSet::Avx2 => unsafe { avx2(a, b) },
        _ => unsafe { avx512(a, b) },
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn multiply(_set: InstructionSet, a: f32, _b: f32) -> f32 {
    a
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(a: f32, b: f32) -> f32 {
    use std::arch::x86_64::*;
    let (a, b) = (_mm256_set1_ps(a), _mm256_set1_ps(b));
    let mut sums = [b; SUMS];
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(a, b, *sum);
        }
    }
    let total = sums
        .into_iter()
        .fold(a, |total, sum| _mm256_add_ps(total, sum));
    _mm256_cvtss_f32(total)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(a: f32, b: f32) -> f32 {
    use std::arch::x86_64::*;
    let (a, b) = (_mm512_set1_ps(a), _mm512_set1_ps(b));
    let mut sums = [b; SUMS];
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(a, b, *sum);
        }
    }
    let total = sums
        .into_iter()
        .fold(a, |total, sum| _mm512_add_ps(total, sum));
    _mm512_cvtss_f32(total)
}
