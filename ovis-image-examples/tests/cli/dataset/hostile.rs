//! Files, archives and tables that are damaged, lie about themselves, or lead out of their folder.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use image::ImageFormat;
use tempfile::TempDir;

use super::{
    add_to_tar, dataset, encoded, ids, pattern, put, put_image, reasons, rows, stderr, succeeds,
    text,
};

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

/// Writes one image that is good and one for each way to be damaged. Returns the reasons that are
/// certain.
fn hostile_folder(input: &Path) -> Vec<(&'static str, &'static str)> {
    let image = pattern(1, 300, 300);
    let [png, jpeg, webp] = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP]
        .map(|format| encoded(&image, format));
    let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    let caption = Some("a pattern");
    put(input, "bomb.png", &bomb(100_000, 100_000), caption);
    put(input, "cut.jpg", &half(&jpeg), caption);
    put(input, "cut.png", &half(&png), caption);
    put(input, "cut.webp", &half(&webp), caption);
    put(input, "empty.png", b"", caption);
    put(input, "gif.gif", b"GIF89a\x01\0\x01\0\0\0\0;", caption);
    put(input, "good.png", &png, caption);
    put(input, "html.jpg", b"<html>404 Not Found</html>", caption);
    put(input, "latin.png", &png, None);
    fs::write(input.join("latin.txt"), b"caf\xe9 in the morning").unwrap();
    put(input, "liar.jpg", &png, caption);
    put(input, "long.png", &png, Some(&"word ".repeat(200_000)));
    let mut noise = png.clone();
    for (index, byte) in noise.iter_mut().enumerate().skip(60) {
        *byte ^= (index * 7) as u8;
    }
    put(input, "noise.png", &noise, caption);
    fs::create_dir(input.join("x.png")).unwrap();
    vec![
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
    ]
}

/// Adds what only Unix has: a pipe, links that go round, a device, and a name that is not UTF-8.
#[cfg(unix)]
fn hostile_entries(input: &Path) -> [(&'static str, &'static str); 5] {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    let mut pipe = std::process::Command::new("mkfifo");
    let pipe = pipe.arg(input.join("pipe.png")).status().unwrap();
    assert!(pipe.success());
    symlink("loop.png", input.join("loop.png")).unwrap();
    symlink("..", input.join("round")).unwrap();
    symlink("/dev/zero", input.join("zero.png")).unwrap();
    let name = std::ffi::OsStr::from_bytes(b"\xff.png");
    fs::copy(input.join("good.png"), input.join(name)).unwrap();
    [
        ("loop.png", "unreadable"),
        ("pipe.png", "unreadable"),
        ("round", "unreadable"),
        ("zero.png", "unreadable"),
        ("\u{fffd}.png", "unsafe-name"),
    ]
}

#[test]
fn hostile_files_are_rows_with_a_reason() {
    let folder = TempDir::new().unwrap();
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    let mut expected = hostile_folder(&input);
    #[cfg(unix)]
    expected.extend(hostile_entries(&input));
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
        .drain(..)
        .map(|(id, reason)| (id.to_owned(), reason.to_owned()));
    assert_eq!(found, expected.collect());
}

/// An archive with members of all kinds, the last of them longer than the archive.
fn hostile_archive(png: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let other = encoded(&pattern(3, 300, 300), ImageFormat::Png);
    let license = b"{\"license\": \"CC0\", \"caption\": \"unused\"}";
    add_to_tar(&mut archive, "a/0001.png", png);
    add_to_tar(&mut archive, "a/0001.txt", b"a pattern");
    add_to_tar(&mut archive, "a/0001.json", license);
    add_to_tar(&mut archive, "0002.txt", b"no image");
    add_to_tar(&mut archive, "0003.png", &other);
    add_to_tar(&mut archive, "0003.json", b"not json");
    for name in ["../../escaped.png", "/tmp/absolute.png"] {
        add_raw(&mut archive, name, tar::EntryType::Regular, png);
    }
    add_raw(&mut archive, "link.png", tar::EntryType::Symlink, b"");
    add_raw(&mut archive, "hard.png", tar::EntryType::Link, b"");
    add_to_tar(&mut archive, "0004.png", b"");
    let mut bytes = archive.into_inner().unwrap();
    bytes.truncate(bytes.len() - 1024);
    let mut header = tar::Header::new_gnu();
    header.set_path("0005.png").unwrap();
    header.set_size(1 << 40);
    header.set_cksum();
    bytes.extend(header.as_bytes());
    bytes
}

#[test]
fn hostile_archives_and_tables_are_rows_with_a_reason() {
    let folder = TempDir::new().unwrap();
    let png = encoded(&pattern(1, 300, 300), ImageFormat::Png);
    let [archive, noise, table] =
        ["shard.tar", "noise.tar", "table.csv"].map(|name| folder.path().join(name));
    fs::write(&archive, hostile_archive(&png)).unwrap();
    fs::write(&noise, [0x5a; 5000]).unwrap();
    put_image(folder.path(), "x.png", &pattern(7, 300, 300), None);
    let mut csv =
        b"id,image,caption\n1,x.png,\"a, pattern\"\n2,x.png\n3,x.png,a,b,c\n4,x.png,caf".to_vec();
    csv.extend(b"\xe9\n5,none.png,gone\n6,http://a.example/b.png,far\n");
    fs::write(&table, csv).unwrap();

    let output = folder.path().join("out");
    let inputs = [&archive, &noise, &table].map(|path| text(path));
    succeeds(&dataset(
        &[&["ingest", "-o", text(&output)], &inputs[..]].concat(),
    ));
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
}

#[test]
fn an_input_that_cannot_be_read_at_all_is_an_error() {
    let folder = TempDir::new().unwrap();
    let [wrong, none, output] =
        ["broken.parquet", "none", "out"].map(|name| folder.path().join(name));
    fs::write(&wrong, b"PAR1 this is not a table PAR1").unwrap();
    let failed = dataset(&["ingest", text(&wrong), "-o", text(&output)]);
    assert!(
        !failed.status.success() && stderr(&failed).contains("broken.parquet"),
        "{}",
        stderr(&failed)
    );
    let failed = dataset(&["ingest", text(&none), "-o", text(&output)]);
    assert_eq!(failed.status.code(), Some(1));
}
