//! Tests of `dataset ingest`, `buckets`, `balance` and `inspect` on files as they come: good ones,
//! hostile ones, and runs that are killed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use serde_json::Value;
use tempfile::TempDir;

use super::{stderr, succeeds};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dataset"));
    command.args(arguments);
    command
}

fn dataset(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An image whose hash is its number's: bars of a binary pattern, and edges enough to be sharp.
fn pattern(number: u32, width: u32, height: u32) -> DynamicImage {
    RgbImage::from_fn(width, height, |x, y| {
        let cell = (x * 8 / width) + 8 * (y * 8 / height);
        let bit = number.wrapping_mul(2_654_435_761).rotate_left(cell) ^ (number + cell).pow(2);
        Rgb([
            (bit % 251) as u8,
            ((bit >> 8) % 241) as u8,
            (x * 255 / width) as u8,
        ])
    })
    .into()
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn put(folder: &Path, name: &str, bytes: &[u8], caption: Option<&str>) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    if let Some(caption) = caption {
        fs::write(path.with_extension("txt"), caption).unwrap();
    }
}

fn rows(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Reasons by id.
fn reasons(output: &Path) -> BTreeMap<String, String> {
    let of = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let dropped = rows(&output.join("dropped.jsonl"));
    dropped
        .iter()
        .map(|row| (of(row, "id"), of(row, "reason")))
        .collect()
}

fn ids(output: &Path) -> Vec<String> {
    let kept = rows(&output.join("manifest.jsonl"));
    kept.iter()
        .map(|row| row["id"].as_str().unwrap().to_owned())
        .collect()
}

/// All files below a folder, with their bytes.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    files
}

fn add_to_tar(archive: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, bytes).unwrap();
}

/// A header with a name that the library would not write.
fn add_raw(archive: &mut tar::Builder<Vec<u8>>, name: &str, kind: tar::EntryType, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(bytes.len() as u64);
    if kind.is_symlink() {
        header.set_link_name("/etc/passwd").unwrap();
    }
    header.set_cksum();
    archive.append(&header, bytes).unwrap();
}

#[test]
fn a_folder_becomes_a_manifest_and_a_second_run_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    for number in 0..5 {
        let png = encoded(&pattern(number, 300, 280), ImageFormat::Png);
        put(
            &input,
            &format!("{number}.png"),
            &png,
            Some(&format!("a pattern called {number}")),
        );
    }
    let jpeg = encoded(&pattern(9, 400, 300), ImageFormat::Jpeg);
    put(&input, "10_sks dog/a.jpg", &jpeg, None);
    put(
        &input,
        "10_sks dog/b.jpg",
        &encoded(&pattern(8, 400, 300), ImageFormat::Jpeg),
        Some("一只黑色的狗"),
    );
    // Another size of 0.png with the same caption, and with another.
    let copy = pattern(0, 600, 560);
    put(
        &input,
        "copy.png",
        &encoded(&copy, ImageFormat::Png),
        Some("A pattern, called 0."),
    );
    put(
        &input,
        "other.png",
        &encoded(&copy, ImageFormat::Png),
        Some("something else entirely"),
    );
    put(
        &input,
        "small.png",
        &encoded(&pattern(1, 100, 300), ImageFormat::Png),
        Some("small one"),
    );
    put(
        &input,
        "wide.png",
        &encoded(&pattern(1, 1200, 280), ImageFormat::Png),
        Some("wide one"),
    );
    put(
        &input,
        "blank.png",
        &encoded(&RgbImage::new(300, 300).into(), ImageFormat::Png),
        Some("night"),
    );
    put(
        &input,
        "name.png",
        &encoded(&pattern(2, 300, 300), ImageFormat::Png),
        Some("IMG_0001.png"),
    );
    put(
        &input,
        "bare.png",
        &encoded(&pattern(3, 300, 300), ImageFormat::Png),
        None,
    );
    let german = "Ein kleines rotes Haus steht neben dem alten Bahnhof im Regen";
    put(
        &input,
        "german.png",
        &encoded(&pattern(4, 300, 300), ImageFormat::Png),
        Some(german),
    );
    put(&input, "notes.md", b"not an image", None);
    let blurred = pattern(5, 300, 300).resize_exact(6, 6, image::imageops::FilterType::Triangle);
    let blurred = blurred.resize_exact(300, 300, image::imageops::FilterType::CatmullRom);
    put(
        &input,
        "blurred.png",
        &encoded(&blurred, ImageFormat::Png),
        Some("a blurred pattern"),
    );

    let all = [
        "ingest",
        text(&input),
        "-o",
        text(&output),
        "--source",
        "mine",
    ];
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
        files
            .clone()
            .into_iter()
            .filter(|(name, _)| name.starts_with("measured"))
            .collect::<Vec<_>>()
    };
    succeeds(&dataset(
        &[&all[..], &["--min-side", "64", "--keep-duplicates"]].concat(),
    ));
    assert_eq!(ids(&output).len(), 10);
    assert!(measured(&contents(&output)) == measured(&before));
}

#[test]
fn texts_in_images_must_agree_and_scores_and_recaptions_are_joined() {
    let folder = TempDir::new().unwrap();
    let output = folder.path().join("out");
    let png = encoded(&pattern(1, 300, 300), ImageFormat::Png);
    let mut table = String::new();
    for (name, shown) in [("a", "OPEN"), ("b", "SHUT"), ("c", "OPEN")] {
        put(folder.path(), &format!("{name}.png"), &png, None);
        let row = serde_json::json!({"id": name, "image": format!("{name}.png"), "caption": "a sign",
            "texts": [{"text": shown}], "mine": {"kept": true}});
        table += &format!("{row}\n");
    }
    put(
        folder.path(),
        "d.png",
        &encoded(&pattern(2, 300, 300), ImageFormat::Png),
        None,
    );
    table += "{\"id\": \"d\", \"file_name\": \"d.png\", \"text\": \"another\"}\n{\"id\": \"e\"}\nnot json\n";
    let input = folder.path().join("table.jsonl");
    fs::write(&input, table).unwrap();
    let all = ["ingest", text(&input), "-o", text(&output)];
    succeeds(&dataset(&all));
    assert_eq!(ids(&output), ["a", "b", "d"]);
    assert_eq!(
        rows(&output.join("manifest.jsonl"))[0]["mine"]["kept"],
        true
    );
    let found = reasons(&output);
    assert_eq!(found["c"], "duplicate");
    assert_eq!(
        (&*found["table:5"], &*found["table:6"]),
        ("invalid-row", "invalid-row")
    );

    let scores = folder.path().join("scores.jsonl");
    fs::write(
        &scores,
        "{\"id\":\"a\",\"aesthetic\":6.5,\"watermark\":0.9}\n{\"id\":\"b\",\"aesthetic\":4}\n",
    )
    .unwrap();
    let recaptions = folder.path().join("recaptions.jsonl");
    fs::write(
        &recaptions,
        "{\"id\":\"a\",\"caption_en\":\"a red sign\",\"caption_zh\":\"红色的牌子\"}\n",
    )
    .unwrap();
    let joins = [
        "--scores",
        text(&scores),
        "--recaptions",
        text(&recaptions),
        "--min",
        "aesthetic=5",
    ];
    succeeds(&dataset(&[&all[..], &joins].concat()));
    assert_eq!(ids(&output), ["a"]);
    let row = &rows(&output.join("manifest.jsonl"))[0];
    assert_eq!(
        (&row["caption_en"], &row["caption_zh"]),
        (&"a red sign".into(), &"红色的牌子".into())
    );
    assert_eq!(row["scores"]["aesthetic"], 6.5);
    assert_eq!(
        (&*reasons(&output)["b"], &*reasons(&output)["d"]),
        ("score", "score-missing")
    );
    succeeds(&dataset(
        &[
            &all[..],
            &joins,
            &["--keep-unscored", "--max", "watermark=0.5"],
        ]
        .concat(),
    ));
    assert_eq!(reasons(&output)["a"], "score");
    let wrong = dataset(&[&all[..], &["--min", "aesthetic"]].concat());
    assert_eq!(wrong.status.code(), Some(2));

    fs::write(&scores, "{\"id\":\"a\"}\n{\"score\":1}\n").unwrap();
    let failed = dataset(&[&all[..], &joins].concat());
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
        let png = encoded(&pattern(number, 260, 260), ImageFormat::Png);
        put(&input, &format!("{number}.png"), &png, Some(caption));
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

/// A PNG whose header promises pixels that are not there.
fn bomb(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header().unwrap();
    writer
        .write_chunk(png::chunk::IDAT, &[0x78, 0x9c, 0x03, 0, 0, 0, 0, 1])
        .unwrap();
    drop(writer);
    bytes
}

#[test]
fn hostile_files_are_rows_with_a_reason() {
    let folder = TempDir::new().unwrap();
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    let image = pattern(1, 300, 300);
    let [png, jpeg, webp] = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP]
        .map(|format| encoded(&image, format));
    let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    let caption = Some("a pattern");
    put(&input, "bomb.png", &bomb(100_000, 100_000), caption);
    put(&input, "cut.jpg", &half(&jpeg), caption);
    put(&input, "cut.png", &half(&png), caption);
    put(&input, "cut.webp", &half(&webp), caption);
    put(&input, "empty.png", b"", caption);
    put(&input, "gif.gif", b"GIF89a\x01\0\x01\0\0\0\0;", caption);
    put(&input, "good.png", &png, caption);
    put(&input, "html.jpg", b"<html>404 Not Found</html>", caption);
    put(&input, "latin.png", &png, None);
    fs::write(input.join("latin.txt"), b"caf\xe9 in the morning").unwrap();
    put(&input, "liar.jpg", &png, caption);
    put(&input, "long.png", &png, Some(&"word ".repeat(200_000)));
    let mut noise = png.clone();
    for (index, byte) in noise.iter_mut().enumerate().skip(60) {
        *byte ^= (index * 7) as u8;
    }
    put(&input, "noise.png", &noise, caption);
    fs::create_dir(input.join("x.png")).unwrap();
    let mut expected = vec![
        ("bomb.png", "too-many-pixels"),
        ("cut.jpg", "truncated"),
        ("cut.png", "truncated"),
        ("cut.webp", "truncated"),
        ("empty.png", "undecodable"),
        ("gif.gif", "unsupported-format"),
        ("html.jpg", "undecodable"),
        ("latin.png", "caption-invalid"),
        ("liar.jpg", "wrong-type"),
        ("long.png", "caption-too-long"),
        ("x.png", "unreadable"),
    ];
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::fs::symlink;

        let pipe = input.join("pipe.png");
        assert!(
            Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        symlink("loop.png", input.join("loop.png")).unwrap();
        symlink("..", input.join("round")).unwrap();
        symlink("/dev/zero", input.join("zero.png")).unwrap();
        let name = std::ffi::OsStr::from_bytes(b"\xff.png");
        fs::write(input.join(name), &png).unwrap();
        expected.extend([
            ("loop.png", "unreadable"),
            ("pipe.png", "unreadable"),
            ("round", "unreadable"),
            ("zero.png", "unreadable"),
            ("\u{fffd}.png", "unsafe-name"),
        ]);
    }
    let started = Instant::now();
    succeeds(&dataset(&["ingest", text(&input), "-o", text(&output)]));
    assert!(started.elapsed() < Duration::from_secs(60));
    assert_eq!(ids(&output), ["good.png"]);
    let mut found = reasons(&output);
    let noise = found.remove("noise.png").unwrap();
    assert!(
        ["undecodable", "truncated"].contains(&noise.as_str()),
        "{noise}"
    );
    let expected = expected
        .into_iter()
        .map(|(id, reason)| (id.to_owned(), reason.to_owned()));
    assert_eq!(found, expected.collect());
}

#[test]
fn hostile_archives_and_tables_are_rows_with_a_reason() {
    let folder = TempDir::new().unwrap();
    let png = encoded(&pattern(1, 300, 300), ImageFormat::Png);
    let mut archive = tar::Builder::new(Vec::new());
    add_to_tar(&mut archive, "a/0001.png", &png);
    add_to_tar(&mut archive, "a/0001.txt", b"a pattern");
    add_to_tar(
        &mut archive,
        "a/0001.json",
        b"{\"license\": \"CC0\", \"caption\": \"unused\"}",
    );
    add_to_tar(&mut archive, "0002.txt", b"no image");
    add_to_tar(
        &mut archive,
        "0003.png",
        &encoded(&pattern(3, 300, 300), ImageFormat::Png),
    );
    add_to_tar(&mut archive, "0003.json", b"not json");
    add_raw(
        &mut archive,
        "../../escaped.png",
        tar::EntryType::Regular,
        &png,
    );
    add_raw(
        &mut archive,
        "/tmp/absolute.png",
        tar::EntryType::Regular,
        &png,
    );
    add_raw(&mut archive, "link.png", tar::EntryType::Symlink, b"");
    add_raw(&mut archive, "hard.png", tar::EntryType::Link, b"");
    add_to_tar(&mut archive, "0004.png", b"");
    let mut bytes = archive.into_inner().unwrap();
    // A member that is longer than its archive.
    bytes.truncate(bytes.len() - 1024);
    let mut header = tar::Header::new_gnu();
    header.set_path("0005.png").unwrap();
    header.set_size(1 << 40);
    header.set_cksum();
    bytes.extend(header.as_bytes());
    let archive = folder.path().join("shard.tar");
    fs::write(&archive, &bytes).unwrap();
    let noise = folder.path().join("noise.tar");
    fs::write(&noise, [0x5a; 5000]).unwrap();

    put(
        folder.path(),
        "x.png",
        &encoded(&pattern(7, 300, 300), ImageFormat::Png),
        None,
    );
    let table = folder.path().join("table.csv");
    let mut csv =
        b"id,image,caption\n1,x.png,\"a, pattern\"\n2,x.png\n3,x.png,a,b,c\n4,x.png,caf".to_vec();
    csv.extend(b"\xe9\n5,none.png,gone\n6,http://a.example/b.png,far\n");
    fs::write(&table, csv).unwrap();

    let output = folder.path().join("out");
    succeeds(&dataset(&[
        "ingest",
        text(&archive),
        text(&noise),
        text(&table),
        "-o",
        text(&output),
    ]));
    assert_eq!(ids(&output), ["shard/a/0001", "1"]);
    let row = &rows(&output.join("manifest.jsonl"))[0];
    assert_eq!(
        (&row["license"], &row["caption_en"]),
        (&"CC0".into(), &"a pattern".into())
    );
    assert_eq!(row["image"], "images/shard/00000000.png");
    assert_eq!(
        fs::read(output.join("images/shard/00000000.png")).unwrap(),
        png
    );
    let expected = [
        ("shard/0002", "invalid-row"),
        ("shard/0003", "invalid-row"),
        ("shard/../../escaped.png", "unsafe-name"),
        ("shard//tmp/absolute.png", "unsafe-name"),
        ("shard/link.png", "unreadable"),
        ("shard/hard.png", "unreadable"),
        ("shard/0004", "undecodable"),
        ("shard/0005", "file-too-large"),
        ("noise/(end)", "invalid-row"),
        ("table:3", "invalid-row"),
        ("table:4", "invalid-row"),
        ("table:5", "invalid-row"),
        ("5", "unreadable"),
        ("table:7", "unreadable"),
    ];
    let expected = expected.map(|(id, reason)| (id.to_owned(), reason.to_owned()));
    assert_eq!(reasons(&output), expected.into());
    assert!(!folder.path().join("escaped.png").exists());

    let wrong = folder.path().join("broken.parquet");
    fs::write(&wrong, b"PAR1 this is not a table PAR1").unwrap();
    let failed = dataset(&["ingest", text(&wrong), "-o", text(&output)]);
    assert!(
        !failed.status.success() && stderr(&failed).contains("broken.parquet"),
        "{}",
        stderr(&failed)
    );
    let failed = dataset(&[
        "ingest",
        text(&folder.path().join("none")),
        "-o",
        text(&output),
    ]);
    assert_eq!(failed.status.code(), Some(1));
}

/// A folder and an archive with enough work to be killed in.
fn work(folder: &Path) -> [std::path::PathBuf; 2] {
    let (input, shard) = (folder.join("in"), folder.join("shard.tar"));
    let mut archive = tar::Builder::new(Vec::new());
    for number in 0..40 {
        let png = encoded(&pattern(number, 500, 400), ImageFormat::Png);
        let caption = format!("the pattern that has the number {number}");
        if number % 2 == 0 {
            put(&input, &format!("{number}.png"), &png, Some(&caption));
        } else {
            add_to_tar(&mut archive, &format!("{number:04}.png"), &png);
            add_to_tar(
                &mut archive,
                &format!("{number:04}.txt"),
                caption.as_bytes(),
            );
        }
    }
    fs::write(&shard, archive.into_inner().unwrap()).unwrap();
    [input, shard]
}

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

#[test]
fn buckets_weights_and_pages_are_made_of_a_manifest_and_twice_the_same() {
    let folder = TempDir::new().unwrap();
    let [input, _] = work(folder.path());
    let output = folder.path().join("out");
    let bytes = encoded(&pattern(99, 700, 350), ImageFormat::Png);
    put(folder.path(), "sign.png", &bytes, None);
    let table = folder.path().join("signs.jsonl");
    fs::write(
        &table,
        "{\"image\":\"sign.png\",\"caption\":\"a sign <b>OPEN</b>\",\"texts\":[{\"text\":\"OPEN\"}],\"source\":\"synthetic\"}\n",
    )
    .unwrap();
    succeeds(&dataset(&[
        "ingest",
        text(&input),
        text(&table),
        "-o",
        text(&output),
        "--source",
        "web",
    ]));
    let manifest = output.join("manifest.jsonl");
    let mut last = Vec::new();
    for round in 0..2 {
        let said = succeeds(&dataset(&["buckets", text(&output), "--step", "64"]));
        assert!(said.contains(" x "), "{said}");
        succeeds(&dataset(&[
            "balance",
            text(&output),
            "--share",
            "source:synthetic=0.2",
            "--strength",
            "1",
        ]));
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
    let sign = kept
        .iter()
        .find(|row| row["source"] == "synthetic")
        .unwrap();
    assert!(
        (weight(sign) / total - 0.2).abs() < 0.001,
        "{}",
        weight(sign)
    );
    let page = fs::read_to_string(output.join("inspect.html")).unwrap();
    assert!(page.contains("a sign &lt;b&gt;OPEN&lt;/b&gt;") && !page.contains("<script"));
    let sheet = image::open(output.join("contact-sheet.png")).unwrap();
    assert_eq!(sheet.width(), sheet.height());

    // A list of dropped rows is looked at in the same way.
    let dropped = text(&output.join("dropped.jsonl")).to_owned();
    succeeds(&dataset(&["inspect", &dropped, "--counts"]));
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

/// Four rows that pyarrow wrote: a PNG, one that is called .jpg, one without bytes, one without a name.
#[cfg(feature = "parquet")]
#[test]
fn parquet_tables_contain_their_images() {
    let folder = TempDir::new().unwrap();
    let bytes = include_bytes!("data/images.parquet");
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
