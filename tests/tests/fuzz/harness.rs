//! Runs targets, and measures the time and memory of readers.

use std::alloc::System;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ovis_image::error::{CheckpointError, LoraError};
use ovis_image::tensor_file::TensorSource;
use ovis_image::{OvisImageError, Result, WeightDtype};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tempfile::TempDir;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Runs a target: on the engine's bytes in a search, on the bytes of `seeds` seeds under `cargo
/// test`.
#[macro_export]
macro_rules! fuzz {
    ($target:expr, seeds: $seeds:expr) => {
        if cfg!(fuzzing) {
            let target = $target;
            bolero::check!().for_each(move |bytes: &[u8]| target(bytes));
        } else {
            $crate::harness::for_seeds($seeds, $target);
        }
    };
}

/// Runs a target on fixed pseudo-random bytes, and prints the seed at which it failed.
pub(crate) fn for_seeds(seeds: u64, target: impl Fn(&[u8])) {
    for seed in 0..seeds {
        let _alone = alone();
        let bytes = bytes_of(seed);
        let run = std::panic::AssertUnwindSafe(|| target(&bytes));
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("at seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// Returns SplitMix64's bytes from a seed.
fn bytes_of(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0xd134_2543_de82_ef95);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    (0..128).flat_map(|_| next().to_le_bytes()).collect()
}

/// Longer than any of these files should take, even on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(10);

/// Ensures that one case runs at a time, because all allocations of the process are counted.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Folder for the files of one case.
pub(crate) struct Scratch {
    folder: TempDir,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        // Use memory if there is such a folder: a disk would take most of the time.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        Self {
            folder: folder.unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// Runs a reader on files of `file_bytes` bytes, and fails if it takes too long or too much memory.
pub(crate) fn watched<T>(file_bytes: usize, read: impl FnOnce() -> T) -> T {
    /// Factor per byte: two bytes of JSON can be a `Value` of 32 in a vector and another in a
    /// buffer, and a name is kept three times.
    const OF_EACH_BYTE: usize = 64;
    const ANYWAY: usize = 64 << 10;

    let (region, start) = (Region::new(ALLOCATOR), Instant::now());
    let read = read();
    let (allocated, taken) = (region.change().bytes_allocated, start.elapsed());
    assert!(
        allocated <= OF_EACH_BYTE * file_bytes + ANYWAY,
        "{allocated} bytes allocated for {file_bytes} bytes of files"
    );
    assert!(taken < LONG, "{taken:?} for {file_bytes} bytes of files");
    read
}

/// Opens a file or folder and reads every tensor that can be read.
pub(crate) fn read_all(path: &Path, file_bytes: usize) -> Result<()> {
    watched(file_bytes, || {
        let source = TensorSource::open(path)?;
        for name in source.names() {
            let shape = source.shape(name).unwrap();
            match source.read(name, WeightDtype::F32) {
                Ok(data) => assert_eq!(&data.shape[..], shape),
                Err(OvisImageError::Checkpoint(CheckpointError::UnknownDtype {
                    tensor, ..
                })) => assert_eq!(tensor, name),
                Err(error) => panic!("{error}"),
            }
        }
        Ok(())
    })
}

/// Fails unless an error names the invalid file in a folder, and the problem.
pub(crate) fn is_typed(error: &OvisImageError, folder: &Path) {
    let named = match error {
        OvisImageError::Checkpoint(CheckpointError::InvalidFile { path, reason, .. }) => {
            assert!(!reason.is_empty());
            path
        }
        OvisImageError::Checkpoint(CheckpointError::UnknownDtype { path, .. })
        | OvisImageError::Checkpoint(CheckpointError::NotFound { path, .. })
        | OvisImageError::Checkpoint(CheckpointError::UnknownNaming { path, .. })
        | OvisImageError::Lora(LoraError::UnsupportedAdapter { path, .. })
        | OvisImageError::Lora(LoraError::NotApplied { path, .. })
        | OvisImageError::Lora(LoraError::Shape { path, .. })
        | OvisImageError::Checkpoint(CheckpointError::Io { path, .. }) => path,
        OvisImageError::Checkpoint(CheckpointError::Weights(report)) => &report.source,
        OvisImageError::Checkpoint(CheckpointError::InvalidConfig { .. }) => return,
        other => panic!("not an error of a file: {other}"),
    };
    assert!(named.starts_with(folder), "{error}");
}
