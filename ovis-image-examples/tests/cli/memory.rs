//! Memory estimates against the peak of a process that generates. Every measurement is a process of
//! its own; `benches/memory/run` measures larger models.

use serde_json::Value;
use tempfile::TempDir;

use crate::{small, stderr, succeeds};

/// How far above the measured peak an estimate may be: a tenth, and what the program's code, its
/// threads and its allocator may take, of which this small model needs less.
const SLACK_BYTES: u64 = 40_000_000;

/// Peak of the estimate, and the least of three peaks of the process: the system may map more of the
/// program's file ahead than a run needs.
fn peaks(arguments: &[&str]) -> (u64, u64) {
    let [(estimate, first), (_, second), (_, third)] = [0; 3].map(|_| peaks_once(arguments));
    (estimate, first.min(second).min(third))
}

fn peaks_once(arguments: &[&str]) -> (u64, u64) {
    let folder = TempDir::new().unwrap();
    let mut all = vec!["--json", "--steps", "1"];
    all.extend(arguments);
    let summary: Value = serde_json::from_str(&succeeds(&small(&folder, &all))).unwrap();
    let bytes = |value: &Value| value.as_u64().unwrap();
    (
        bytes(&summary["memory_estimate"]["peak"]),
        bytes(&summary["peak_memory_bytes"]),
    )
}

#[test]
fn an_estimate_is_an_upper_bound_of_the_peak_and_near_it() {
    let guided = ["--guidance-scale", "5", "--negative-prompt", "blurry"];
    for (side, flags) in [
        ("64", &["--dtype", "f32"][..]),
        ("512", &["--dtype", "f32"]),
        ("512", &["--dtype", "bf16"]),
        ("512", &["--dtype", "f16", "--low-memory"]),
        ("512", &["--stream-blocks", "5", "--num-images", "2"]),
        ("512", &["--quantize", "q8_0"]),
        ("512", &["--vae-tile", "256"]),
        ("256", &["--hires", "2"]),
    ] {
        let mut arguments = vec!["--width", side, "--height", side];
        arguments.extend(guided);
        arguments.extend(flags);
        let (estimate, measured) = peaks(&arguments);
        assert!(
            measured <= estimate && estimate <= measured / 10 * 11 + SLACK_BYTES,
            "{side} {flags:?}: estimated {estimate}, measured {measured}"
        );
    }
}

#[test]
fn an_upscaled_image_stays_below_its_estimate() {
    // The first pass and the encoder leave less behind than they may.
    let size = ["--width", "256", "--height", "256", "--dtype", "f32"];
    let hires = ["--hires", "2", "--hires-upscale", "image"];
    let (estimate, measured) = peaks(&[&size[..], &hires].concat());
    assert!(
        measured <= estimate,
        "estimated {estimate}, measured {measured}"
    );
}

#[test]
fn a_limit_is_not_exceeded() {
    let size = ["--width", "768", "--height", "768", "--dtype", "f32"];
    let (without_limit, _) = peaks(&size);
    let limit = without_limit * 4 / 5;
    let shown = limit.to_string();
    let (estimate, measured) = peaks(&[&size[..], &["--max-memory", &shown]].concat());
    assert!(
        measured <= estimate && estimate <= limit,
        "limit {limit}, estimated {estimate}, measured {measured}"
    );
}

#[test]
fn a_plan_is_reported_or_refused_before_the_work() {
    let folder = TempDir::new().unwrap();
    let output = small(&folder, &["--max-memory", "80MB", "--json"]);
    let summary: Value = serde_json::from_str(&succeeds(&output)).unwrap();
    let message = stderr(&output);
    assert!(message.contains("memory: at most"), "{message}");
    assert!(summary["memory_estimate"]["peak"].as_u64().unwrap() <= 80_000_000);

    let output = small(&folder, &["--max-memory", "100kB"]);
    assert!(!output.status.success());
    let message = stderr(&output);
    assert!(message.contains("MiB are needed"), "{message}");
}
