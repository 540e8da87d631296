//! Runs that are killed, and two at once.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;

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

#[test]
fn a_run_that_is_killed_ten_times_ends_with_the_same_bytes() {
    let folder = TempDir::new().unwrap();
    let [input, shard] = work(folder.path());
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    let ingest = |output: &Path| {
        [
            "ingest",
            text(&input),
            text(&shard),
            "-o",
            text(output),
            "--rows-per-part",
            "4",
        ]
        .map(str::to_owned)
    };
    let started = Instant::now();
    let undisturbed = ingest(&whole);
    let undisturbed: Vec<&str> = undisturbed.iter().map(String::as_str).collect();
    succeeds(&dataset(&undisturbed));
    let time = started.elapsed();
    let arguments = ingest(&killed);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut random = fastrand::Rng::with_seed(16);
    let mut interrupted = 0;
    for _ in 0..10 {
        // Each run has less to do than the one before it.
        let moment = time.mul_f64(0.02 + 0.4 * random.f64());
        interrupted += u32::from(kill_after(&arguments, moment));
    }
    assert!(interrupted > 0);
    succeeds(&dataset(&arguments));
    let (whole, killed) = (contents(&whole), contents(&killed));
    assert_eq!(
        whole.keys().collect::<Vec<_>>(),
        killed.keys().collect::<Vec<_>>()
    );
    assert!(whole == killed);
    assert!(!whole.keys().any(|name| name.contains("unfinished")));
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
