//! The steps after `ingest`: `buckets`, `balance` and `inspect`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::{dataset, pattern, put_image, put_table, rows, stderr, succeeds, text, work};

/// Ingests photographs and a sign of text. Returns the output folder.
fn ingested(folder: &Path) -> PathBuf {
    let [input, _] = work(folder);
    let output = folder.join("out");
    put_image(folder, "sign.png", &pattern(99, 700, 350), None);
    let sign = "{\"image\":\"sign.png\",\"caption\":\"a sign <b>OPEN</b>\",\"texts\":[{\"text\":\"OPEN\"}],\"source\":\"synthetic\"}\n";
    let table = put_table(folder, "signs.jsonl", sign);
    let inputs = ["ingest", text(&input), text(&table), "-o", text(&output)];
    succeeds(&dataset(&[&inputs[..], &["--source", "web"]].concat()));
    output
}

#[test]
fn buckets_weights_and_pages_are_made_of_a_manifest_and_twice_the_same() {
    let folder = TempDir::new().unwrap();
    let output = ingested(folder.path());
    let manifest = output.join("manifest.jsonl");
    let share = ["--share", "source:synthetic=0.2", "--strength", "1"];
    let mut last = Vec::new();
    for round in 0..2 {
        let said = succeeds(&dataset(&["buckets", text(&output), "--step", "64"]));
        assert!(said.contains(" x "), "{said}");
        succeeds(&dataset(
            &[&["balance", text(&output)], &share[..]].concat(),
        ));
        succeeds(&dataset(&["inspect", text(&output), "--sheet", "9"]));
        let files: Vec<Vec<u8>> = [
            "manifest.jsonl",
            "buckets.svg",
            "inspect.html",
            "contact-sheet.png",
        ]
        .map(|name| fs::read(output.join(name)).unwrap())
        .into();
        assert!(round == 0 || files == last);
        last = files;
    }
    let kept = rows(&manifest);
    assert_eq!(kept.len(), 21);
    for row in &kept {
        let is_sign = row["source"] == "synthetic";
        assert_eq!(
            (row.get("pad").is_some(), row.get("crop").is_some()),
            (is_sign, !is_sign),
            "{row}"
        );
        assert!(row["bucket"][0].as_u64().unwrap() % 64 == 0);
    }
    let weight = |row: &Value| row["weight"].as_f64().unwrap();
    let total: f64 = kept.iter().map(weight).sum();
    assert!((total - 21.0).abs() < 0.001, "{total}");
    let mut signs = kept.iter().filter(|row| row["source"] == "synthetic");
    let sign = weight(signs.next().unwrap());
    assert!((sign / total - 0.2).abs() < 0.001, "{sign}");
    let page = fs::read_to_string(output.join("inspect.html")).unwrap();
    assert!(page.contains("a sign &lt;b&gt;OPEN&lt;/b&gt;") && !page.contains("<script"));
    let sheet = image::open(output.join("contact-sheet.png")).unwrap();
    assert_eq!(sheet.width(), sheet.height());
    // A list of dropped rows is looked at in the same way.
    let dropped = output.join("dropped.jsonl");
    succeeds(&dataset(&["inspect", text(&dropped), "--counts"]));
}

#[test]
fn a_row_that_is_not_usable_is_named_by_its_line() {
    let folder = TempDir::new().unwrap();
    let output = ingested(folder.path());
    let manifest = output.join("manifest.jsonl");
    let mut file = File::options().append(true).open(&manifest).unwrap();
    file.write_all(b"{\"image\": 7}\n").unwrap();
    for step in ["buckets", "balance", "inspect"] {
        let failed = dataset(&[step, text(&output)]);
        assert_eq!(failed.status.code(), Some(1), "{step}");
        assert!(
            stderr(&failed).contains("line 22 of"),
            "{}",
            stderr(&failed)
        );
    }
}

#[test]
fn thresholds_that_are_not_numbers_are_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let output = ingested(folder.path());
    let table = folder.path().join("signs.jsonl");
    for (step, flag, value) in [
        ("buckets", "--max-enlargement", "nan"),
        ("buckets", "--max-enlargement", "0"),
        ("balance", "--strength", "nan"),
        ("balance", "--max-factor", "0.5"),
        ("ingest", "--min-contrast", "nan"),
        ("ingest", "--max-aspect", "nan"),
    ] {
        let mut arguments = vec![step, text(&output), flag, value];
        if step == "ingest" {
            arguments[1] = text(&table);
            arguments.extend(["-o", text(&output)]);
        }
        let refused = dataset(&arguments);
        assert_eq!(refused.status.code(), Some(2), "{flag} {value}");
        assert!(stderr(&refused).contains(flag), "{}", stderr(&refused));
    }
}
