//! Parquet tables, which contain their images.

use std::fs;

use tempfile::TempDir;

use super::{contents, dataset, ids, reasons, rows, stderr, succeeds, text};

/// Four rows that pyarrow wrote: a PNG, one that is called .jpg, one without bytes, one without a name.
#[test]
fn parquet_tables_contain_their_images() {
    let folder = TempDir::new().unwrap();
    let bytes = include_bytes!("../data/images.parquet");
    let table = folder.path().join("images.parquet");
    fs::write(&table, bytes).unwrap();
    let output = folder.path().join("out");
    let small = ["--min-side", "8"];
    let all = [&["ingest", text(&table), "-o", text(&output)], &small[..]].concat();
    succeeds(&dataset(&all));
    assert_eq!(ids(&output), ["images/00000000", "images/00000003"]);
    let kept = rows(&output.join("manifest.jsonl"));
    assert_eq!(
        (&kept[0]["caption_en"], &kept[0]["aesthetic"]),
        (&"the first of three".into(), &5.5.into())
    );
    assert_eq!(kept[1]["caption_zh"], "一张很小的图");
    for row in &kept {
        assert!(
            image::open(output.join(row["image"].as_str().unwrap())).is_ok(),
            "{row}"
        );
    }
    let found = reasons(&output);
    assert_eq!(
        (&*found["images/00000001"], &*found["images/00000002"]),
        ("wrong-type", "invalid-row")
    );
    let before = contents(&output);
    succeeds(&dataset(&all));
    assert!(contents(&output) == before);

    // Damage at any place is an error or a row with a reason, never a crash.
    for place in (4..bytes.len()).step_by(7) {
        let mut damaged = bytes.to_vec();
        damaged[place] ^= 0xff;
        fs::write(&table, damaged).unwrap();
        let done = dataset(&all);
        let code = done.status.code();
        assert!(
            code == Some(0) || code == Some(1),
            "byte {place}: {}",
            stderr(&done)
        );
    }
}
