//! Ingesting a folder, tables with scores and captions, and captions that repeat.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use image::RgbImage;
use image::imageops::FilterType;
use tempfile::TempDir;

use super::{
    contents, dataset, ids, pattern, put, put_image, put_table, reasons, rows, stderr, succeeds,
    text,
};

/// A folder with an image for each reason to keep or drop one.
fn folder_of_all_kinds(input: &Path) {
    for number in 0..5 {
        let caption = format!("a pattern called {number}");
        let image = pattern(number, 300, 280);
        put_image(input, &format!("{number}.png"), &image, Some(&caption));
    }
    put_image(input, "10_sks dog/a.jpg", &pattern(9, 400, 300), None);
    let chinese = Some("一只黑色的狗");
    put_image(input, "10_sks dog/b.jpg", &pattern(8, 400, 300), chinese);
    // Another size of 0.png with the same caption, and with another.
    let copy = pattern(0, 600, 560);
    let blurred = pattern(5, 300, 300).resize_exact(6, 6, FilterType::Triangle);
    let blurred = blurred.resize_exact(300, 300, FilterType::CatmullRom);
    let blank = RgbImage::new(300, 300).into();
    let german = "Ein kleines rotes Haus steht neben dem alten Bahnhof im Regen";
    for (name, image, caption) in [
        ("copy.png", &copy, Some("A pattern, called 0.")),
        ("other.png", &copy, Some("something else entirely")),
        ("small.png", &pattern(1, 100, 300), Some("small one")),
        ("wide.png", &pattern(1, 1200, 280), Some("wide one")),
        ("blank.png", &blank, Some("night")),
        ("name.png", &pattern(2, 300, 300), Some("IMG_0001.png")),
        ("bare.png", &pattern(3, 300, 300), None),
        ("german.png", &pattern(4, 300, 300), Some(german)),
        ("blurred.png", &blurred, Some("a blurred pattern")),
    ] {
        put_image(input, name, image, caption);
    }
    put(input, "notes.md", b"not an image", None);
}

#[test]
fn a_folder_becomes_a_manifest_and_a_second_run_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    folder_of_all_kinds(&input);
    let source = ["--source", "mine"];
    let all = [&["ingest", text(&input), "-o", text(&output)][..], &source].concat();
    let said = succeeds(&dataset(&all));
    assert!(
        said.contains("8 rows in the manifest") && said.contains("1 dropped: duplicate"),
        "{said}"
    );
    let expected = [
        ("0.png", "duplicate"),
        ("bare.png", "caption-empty"),
        ("blank.png", "near-blank"),
        ("blurred.png", "blurred"),
        ("german.png", "caption-language"),
        ("name.png", "caption-boilerplate"),
        ("small.png", "too-small"),
        ("wide.png", "extreme-aspect"),
    ];
    let expected = expected.map(|(id, reason)| (id.to_owned(), reason.to_owned()));
    assert_eq!(reasons(&output), expected.into());
    let kept = rows(&output.join("manifest.jsonl"));
    let of = |id: &str| kept.iter().find(|row| row["id"] == id).unwrap();
    let dog = of("10_sks dog/a.jpg");
    assert_eq!(
        (&dog["repeats"], &dog["caption_en"], &dog["source"]),
        (&10.into(), &"sks dog".into(), &"mine".into())
    );
    assert_eq!((&dog["width"], &dog["height"]), (&400.into(), &300.into()));
    assert_eq!(of("10_sks dog/b.jpg")["caption_zh"], "一只黑色的狗");
    for row in &kept {
        assert!(
            output.join(row["image"].as_str().unwrap()).is_file(),
            "{row}"
        );
    }

    let before = contents(&output);
    succeeds(&dataset(&all));
    assert!(contents(&output) == before);
    // Other thresholds read no image again.
    let measured = |files: &BTreeMap<String, Vec<u8>>| {
        let files = files.clone().into_iter();
        files
            .filter(|(name, _)| name.starts_with("measured"))
            .collect::<Vec<_>>()
    };
    let other = ["--min-side", "64", "--keep-duplicates"];
    succeeds(&dataset(&[&all[..], &other].concat()));
    assert_eq!(ids(&output).len(), 10);
    assert!(measured(&contents(&output)) == measured(&before));
}

/// Four signs, of which two say the same, and two rows that are not usable.
fn table_of_signs(folder: &Path) -> PathBuf {
    let mut table = String::new();
    for (name, shown) in [("a", "OPEN"), ("b", "SHUT"), ("c", "OPEN")] {
        let file = format!("{name}.png");
        put_image(folder, &file, &pattern(1, 300, 300), None);
        let row = serde_json::json!({"id": name, "image": file, "caption": "a sign",
            "texts": [{"text": shown}], "mine": {"kept": true}});
        table += &format!("{row}\n");
    }
    put_image(folder, "d.png", &pattern(2, 300, 300), None);
    table += "{\"id\": \"d\", \"file_name\": \"d.png\", \"text\": \"another\"}\n{\"id\": \"e\"}\nnot json\n";
    put_table(folder, "table.jsonl", &table)
}

#[test]
fn texts_in_images_must_agree_and_scores_and_recaptions_are_joined() {
    let folder = TempDir::new().unwrap();
    let output = folder.path().join("out");
    let input = table_of_signs(folder.path());
    let all = ["ingest", text(&input), "-o", text(&output)];
    succeeds(&dataset(&all));
    assert_eq!(ids(&output), ["a", "b", "d"]);
    let first = || rows(&output.join("manifest.jsonl")).remove(0);
    assert_eq!(first()["mine"]["kept"], true);
    let found = reasons(&output);
    assert_eq!(found["c"], "duplicate");
    assert_eq!(
        (&*found["table:5"], &*found["table:6"]),
        ("invalid-row", "invalid-row")
    );

    let scores =
        "{\"id\":\"a\",\"aesthetic\":6.5,\"watermark\":0.9}\n{\"id\":\"b\",\"aesthetic\":4}\n";
    let scores = put_table(folder.path(), "scores.jsonl", scores);
    let recaptions = "{\"id\":\"a\",\"caption_en\":\"a red sign\",\"caption_zh\":\"红色的牌子\"}\n";
    let recaptions = put_table(folder.path(), "recaptions.jsonl", recaptions);
    let joins = ["--scores", text(&scores), "--recaptions", text(&recaptions)];
    let all = [&all[..], &joins].concat();
    let least = ["--min", "aesthetic=5"];
    succeeds(&dataset(&[&all[..], &least].concat()));
    assert_eq!(ids(&output), ["a"]);
    let row = first();
    assert_eq!(
        (&row["caption_en"], &row["caption_zh"]),
        (&"a red sign".into(), &"红色的牌子".into())
    );
    assert_eq!(row["scores"]["aesthetic"], 6.5);
    assert_eq!(
        (&*reasons(&output)["b"], &*reasons(&output)["d"]),
        ("score", "score-missing")
    );
    let more = ["--keep-unscored", "--max", "watermark=0.5"];
    succeeds(&dataset(&[&all[..], &least, &more].concat()));
    assert_eq!(reasons(&output)["a"], "score");
    let wrong = dataset(&[
        "ingest",
        text(&input),
        "-o",
        text(&output),
        "--min",
        "aesthetic",
    ]);
    assert_eq!(wrong.status.code(), Some(2));

    fs::write(&scores, "{\"id\":\"a\"}\n{\"score\":1}\n").unwrap();
    let failed = dataset(&[&all[..], &least].concat());
    assert_eq!(failed.status.code(), Some(1));
    assert!(stderr(&failed).contains("line 2 of"), "{}", stderr(&failed));
}

#[test]
fn captions_of_many_images_are_dropped() {
    let folder = TempDir::new().unwrap();
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    for number in 0..6 {
        let caption = if number < 4 {
            "Buy now, the best offer"
        } else {
            "two of a kind"
        };
        let image = pattern(number, 260, 260);
        put_image(&input, &format!("{number}.png"), &image, Some(caption));
    }
    succeeds(&dataset(&[
        "ingest",
        text(&input),
        "-o",
        text(&output),
        "--max-repeats",
        "3",
    ]));
    assert_eq!(ids(&output), ["4.png", "5.png"]);
    assert!(
        reasons(&output)
            .values()
            .all(|reason| reason == "caption-repeated")
    );
}

#[test]
fn an_output_folder_in_an_input_folder_is_not_ingested() {
    let folder = TempDir::new().unwrap();
    let [input, shard] = super::work(folder.path());
    let output = input.join("out");
    let all = ["ingest", text(&input), text(&shard), "-o", text(&output)];
    succeeds(&dataset(&all));
    let before = contents(&output);
    assert_eq!(ids(&output).len(), 40);
    succeeds(&dataset(&all));
    assert!(contents(&output) == before);
}
