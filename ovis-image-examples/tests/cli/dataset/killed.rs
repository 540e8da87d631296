//! Runs that are killed, and two at once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::super::DEVICE;
use super::{command, contents, dataset, stderr, succeeds, text, work};

/// Starts a command and kills it after a time. Returns whether it was still running.
fn kill_after(arguments: &[&str], time: Duration) -> bool {
    let mut child = command(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(time);
    let was_running = child.try_wait().unwrap().is_none();
    let _ = child.kill();
    child.wait().unwrap();
    was_running
}

/// Runs a command ten times and kills it at a random moment of the time that a whole run takes.
fn kill_ten_times(arguments: &[&str], time: Duration) {
    let mut random = fastrand::Rng::with_seed(16);
    let mut interrupted = 0;
    for _ in 0..10 {
        // Each run has less to do than the one before it.
        let moment = time.mul_f64(0.02 + 0.6 * random.f64());
        interrupted += u32::from(kill_after(arguments, moment));
    }
    assert!(interrupted > 0, "all runs ended before they were killed");
}

/// Runs a step on one folder without interruption, and on another with ten. Both must end with the
/// same files, none of them unfinished. The arguments end with the option before the folder.
fn is_the_same_after_ten_kills(arguments: &[&str], outputs: &[PathBuf; 2]) {
    let [whole, killed] = outputs.each_ref().map(|output| {
        let mut all = arguments.to_vec();
        all.push(text(output));
        all
    });
    let started = Instant::now();
    succeeds(&dataset(&whole));
    kill_ten_times(&killed, started.elapsed());
    succeeds(&dataset(&killed));
    let [whole, killed] = outputs.each_ref().map(|output| contents(output));
    assert_eq!(
        whole.keys().collect::<Vec<_>>(),
        killed.keys().collect::<Vec<_>>()
    );
    assert!(whole == killed, "a file has other bytes");
    let is_unfinished = |name: &String| name.contains("unfinished") || name.contains(".part");
    assert!(!whole.keys().any(is_unfinished));
}

fn two_folders(folder: &TempDir) -> [PathBuf; 2] {
    ["whole", "killed"].map(|name| folder.path().join(name))
}

#[test]
fn ingest_and_buckets_end_with_the_same_bytes_after_ten_kills() {
    let folder = TempDir::new().unwrap();
    let [input, shard] = work(folder.path());
    let inputs = ["ingest", text(&input), text(&shard)];
    let outputs = two_folders(&folder);
    let arguments = [&inputs[..], &["--rows-per-part", "4", "-o"]].concat();
    is_the_same_after_ten_kills(&arguments, &outputs);
    // Its folder is the manifest's, which it replaces.
    is_the_same_after_ten_kills(&["buckets", "--step", "64"], &outputs);
}

#[test]
fn synthesize_ends_with_the_same_bytes_after_ten_kills() {
    let folder = TempDir::new().unwrap();
    let set = "synthesize --preset posters --count 300 -W 160 -H 160 -o";
    let set: Vec<&str> = set.split_whitespace().collect();
    is_the_same_after_ten_kills(&set, &two_folders(&folder));
}

#[test]
fn cache_ends_with_the_same_bytes_after_ten_kills() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    // Two captions each: more encodings than a file has.
    let set = "synthesize --preset signs --count 140 -W 32 -H 32 --characters 1-2 --lines 1 -o";
    let mut set: Vec<&str> = set.split_whitespace().collect();
    set.push(text(&data));
    succeeds(&dataset(&set));
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/base/model");
    let inputs = ["cache", text(&data), "--model", text(&model)];
    let arguments = [&inputs[..], &["--device", DEVICE, "--output"]].concat();
    is_the_same_after_ten_kills(&arguments, &two_folders(&folder));
}

#[cfg(unix)]
#[test]
fn two_processes_do_not_write_into_one_folder() {
    let folder = TempDir::new().unwrap();
    let [input, _] = work(folder.path());
    let output = folder.path().join("out");
    fs::create_dir(&output).unwrap();
    let lock = File::create(output.join(".lock")).unwrap();
    lock.lock().unwrap();
    let failed = dataset(&["ingest", text(&input), "-o", text(&output)]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(
        stderr(&failed).contains("another process"),
        "{}",
        stderr(&failed)
    );
}
