//! Properties of whole samples.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::*;

fn source(preset: &str, width: u32, height: u32) -> SyntheticTypography {
    let (preset, _) = Preset::open(preset).unwrap();
    let source = SyntheticTypography::new(preset, Fonts::embedded());
    source.with_size(width, height).unwrap()
}

/// Draws a preset whose field has these lines of TOML.
fn of_field(lines: &str) -> Result<TypographySample, TypographyError> {
    let text = format!(
        "description = 'test'\n[[layout]]\nname = 'test'\ncaptions-en = ['{{text}}']\ncaptions-zh = ['{{text}}']\n\
         [[layout.field]]\nname = 'text'\narea = [0.1, 0.1, 0.8, 0.8]\nsize = [0.1, 0.3]\nleast-size = 0.02\n{lines}"
    );
    let preset = Preset::parse("test", &text)?;
    SyntheticTypography::new(preset, Fonts::embedded()).sample(1, 0)
}

/// Checks that all pixels that the text changed lie in the boxes of characters, and those boxes in
/// the boxes of lines and fields.
fn boxes_hold_all_ink(source: &SyntheticTypography, seed: u64, index: u64) -> TestCaseResult {
    let sample = source.sample(seed, index).unwrap();
    let below = source.without_text(seed, index).unwrap();
    let mut characters = Vec::new();
    for field in &sample.fields {
        let lines = InkBox::around(field.lines.iter().map(|line| line.bounds));
        prop_assert_eq!(lines, Some(field.bounds));
        for line in &field.lines {
            let boxes = line.characters.iter().map(|character| character.bounds);
            prop_assert_eq!(InkBox::around(boxes.clone()), Some(line.bounds));
            characters.extend(boxes);
            let with_ink: String = line
                .characters
                .iter()
                .map(|found| found.text.as_str())
                .collect();
            let expected: String = line.text.split_whitespace().collect();
            prop_assert_eq!(with_ink.split_whitespace().collect::<String>(), expected);
        }
    }
    let mut changed = vec![false; characters.len()];
    for ((x, y, pixel), before) in sample.image.enumerate_pixels().zip(below.pixels()) {
        if pixel == before {
            continue;
        }
        let mut inside = false;
        for (bounds, changed) in characters.iter().zip(&mut changed) {
            if bounds.contains(x, y) {
                (inside, *changed) = (true, true);
            }
        }
        prop_assert!(inside, "ink at {x}, {y} is in no box");
    }
    prop_assert!(changed.iter().all(|changed| *changed), "a box has no ink");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn boxes_hold_all_ink_of_every_preset(seed: u64, index: u64) {
        for preset in Preset::embedded() {
            boxes_hold_all_ink(&source(preset, 192, 160), seed, index)?;
        }
    }

    #[test]
    fn boxes_hold_all_ink_of_large_and_narrow_images(seed: u64) {
        boxes_hold_all_ink(&source("signs", 128, 128), seed, 0)?;
        boxes_hold_all_ink(&source("plain", 300, 90), seed, 0)?;
        boxes_hold_all_ink(&source("posters", 400, 640), seed, 0)?;
    }
}

#[test]
fn a_sample_depends_on_seed_and_index_alone() {
    for preset in Preset::embedded() {
        let first = source(preset, 96, 96);
        let second = source(preset, 96, 96);
        let forward: Vec<_> = (0..12)
            .map(|index| first.sample(3, index).unwrap())
            .collect();
        let backward: Vec<_> = std::thread::scope(|scope| {
            let drawn = (0..12).rev().map(|index| second.sample(3, index).unwrap());
            scope.spawn(move || drawn.collect()).join().unwrap()
        });
        assert!(forward.iter().eq(backward.iter().rev()), "{preset}");
        assert_ne!(forward[0], forward[1], "{preset}");
        assert_ne!(forward[0], first.sample(4, 0).unwrap(), "{preset}");
    }
}

#[test]
fn held_out_words_never_appear_and_the_held_out_half_has_nothing_else() {
    let train = source("signs", 64, 64);
    let held_out = source("signs", 64, 64).with_split(Split::HeldOut);
    let mut prompts = std::collections::BTreeSet::new();
    for index in 0..1500 {
        for line in &train.sample(0, index).unwrap().fields[0].lines {
            assert!(
                !held_out_words().iter().any(|word| line.text.contains(word)),
                "{}",
                line.text
            );
            assert!(!Split::HeldOut.has_string(&line.text), "{}", line.text);
        }
        let sample = held_out.sample(0, index).unwrap();
        for line in &sample.fields[0].lines {
            let half = Split::HeldOut;
            assert!(
                half.has_word(&line.text) || half.has_string(&line.text),
                "{}",
                line.text
            );
        }
        prompts.insert(sample.text());
    }
    assert!(prompts.len() > 1000, "{}", prompts.len());
}

#[test]
fn a_half_without_texts_is_an_error_that_says_why() {
    let short = source("signs", 64, 64).with_split(Split::HeldOut);
    let short = short.with_characters(1..=2).unwrap();
    let error = short.sample(0, 0).unwrap_err().to_string();
    assert!(
        error.contains("held-out texts have 3") || error.contains("Held-out texts have 3"),
        "{error}"
    );
}

#[test]
fn signs_are_centered_lines_of_one_color_on_another() {
    let source = source("signs", 128, 128);
    let mut wordings = std::collections::BTreeSet::new();
    let mut fonts = std::collections::BTreeSet::new();
    for index in 0..400 {
        let sample = source.sample(5, index).unwrap();
        let [field] = &sample.fields[..] else {
            panic!("a sign has one field");
        };
        assert!((1..=2).contains(&field.lines.len()));
        for line in &field.lines {
            assert!((1..=7).contains(&line.text.len()), "{}", line.text);
            assert!(
                line.text
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
            );
            let sides = [line.bounds.left, 128 - line.bounds.right];
            assert!(sides[0].abs_diff(sides[1]) <= 1, "{sides:?}");
        }
        let sides = [field.bounds.top, 128 - field.bounds.bottom];
        assert!(sides[0].abs_diff(sides[1]) <= 1, "{sides:?}");
        assert_ne!(field.color, sample.ground);
        let text = sample.text();
        assert!(sample.captions.english.contains(&format!("\"{text}\"")));
        assert!(sample.captions.chinese.contains(&text));
        let caption = sample.captions.english.replace(&text, "TEXT");
        let words = caption
            .replace(field.color, "COLOR")
            .replace(&sample.ground, "GROUND");
        wordings.insert(words.replace("an GROUND", "a GROUND"));
        fonts.insert(field.font.clone());
    }
    assert!(wordings.len() >= 12, "{wordings:#?}");
    assert!(wordings.contains("a GROUND sign with the words \"TEXT\" in COLOR"));
    assert!(fonts.len() >= 4, "{fonts:?}");
}

#[test]
fn letters_of_signs_mono_stand_sixteen_pixels_apart() {
    let fonts = ["DejaVu Sans Mono Bold".to_owned()];
    let source = source("signs-mono", 128, 128).with_fonts(&fonts).unwrap();
    for index in 0..100 {
        let sample = source.sample(3, index).unwrap();
        for line in &sample.fields[0].lines {
            let start = 64.0 - 8.0 * line.characters.len() as f32;
            for (column, character) in line.characters.iter().enumerate() {
                let bounds = character.bounds;
                let center = f32::midpoint(bounds.left as f32, bounds.right as f32);
                let cell = start + 16.0 * column as f32 + 8.0;
                // Lines are centered by their ink, and ink is not centered in its cell.
                assert!((center - cell).abs() <= 3.0, "{} at {center}", line.text);
            }
        }
    }
}

#[test]
fn length_lines_and_fonts_are_parameters() {
    let fonts = ["DejaVu Sans Bold".to_owned()];
    let source = source("signs", 128, 128).with_fonts(&fonts).unwrap();
    let source = source
        .with_characters(1..=2)
        .unwrap()
        .with_lines(1..=1)
        .unwrap();
    for index in 0..100 {
        let sample = source.sample(0, index).unwrap();
        assert_eq!(sample.fields[0].lines.len(), 1);
        assert!((1..=2).contains(&sample.text().len()), "{}", sample.text());
        assert_eq!(sample.fields[0].font, fonts[0]);
    }
    let error = source
        .with_fonts(&["Comic".to_owned()])
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("`Comic`") && error.contains("`DejaVu Sans Bold`"),
        "{error}"
    );
}

#[test]
fn plain_text_is_large_enough_and_of_letters_and_digits() {
    for (width, height) in [(128, 128), (512, 512), (256, 640), (640, 96)] {
        let source = source("plain", width, height);
        for index in 0..60 {
            let sample = source.sample(9, index).unwrap();
            assert_eq!((sample.fields.len(), sample.fields[0].lines.len()), (1, 1));
            assert!(
                sample
                    .text()
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric())
            );
            let tall = sample.fields[0].bounds.height();
            assert!(12 * tall >= height, "{tall} of {height}: {}", sample.text());
        }
    }
}

#[test]
fn every_character_of_a_sign_has_a_cell() {
    let source = source("signs", 128, 128);
    for index in 0..200 {
        let sample = source.sample(2, index).unwrap();
        let grid = sample.character_grid(16, 16);
        for character in sample.text().chars().filter(|letter| *letter != ' ') {
            let class = cell_class(character).unwrap();
            assert!(grid.contains(&class), "{character} of {}", sample.text());
        }
        assert!(grid.contains(&0));
    }
}

#[test]
fn a_character_that_no_font_has_is_an_error_that_names_it() {
    let error =
        of_field("[[layout.field.text]]\nkind = 'phrases'\nof = ['caf\u{e9}']").unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("'\u{e9}' (U+00E9)") && error.contains("the program"),
        "{error}"
    );
    let error = of_field(
        "[[layout.field.text]]\nkind = 'random'\nalphabet = '\u{430}-\u{44f}'\ncharacters = [1, 3]",
    );
    assert!(
        matches!(error, Err(TypographyError::NoGlyph { .. })),
        "{error:?}"
    );
}

#[test]
fn characters_that_no_font_has_are_left_out_of_random_strings() {
    let sample = of_field(
        "[[layout.field.text]]\nkind = 'random'\nalphabet = 'AB\u{416}'\ncharacters = [40, 40]",
    );
    let text = sample.unwrap().text();
    assert!(text.chars().all(|letter| "AB".contains(letter)), "{text}");
}

#[test]
fn several_fonts_draw_one_text_if_none_has_all_characters() {
    let sample = of_field("[[layout.field.text]]\nkind = 'phrases'\nof = ['Tea 茶 Tea']").unwrap();
    let line = &sample.fields[0].lines[0];
    assert_eq!(line.text, "Tea 茶 Tea");
    assert_eq!(line.characters.len(), 7);
}

#[test]
fn long_lines_are_broken_between_words() {
    let words = "one two three four five six seven eight nine ten";
    let field = format!("wrap = true\n[[layout.field.text]]\nkind = 'phrases'\nof = ['{words}']");
    let sample = of_field(&field).unwrap();
    assert!(sample.fields[0].lines.len() > 1);
    assert_eq!(sample.text(), words);
}

#[test]
fn rotation_outline_shadow_and_gradient_are_drawn() {
    let text = "[[layout.field.text]]\nkind = 'phrases'\nof = ['WORD']";
    let plain = of_field(&format!(
        "colors = ['white', 'black', 'yellow', 'navy']\n{text}"
    ))
    .unwrap();
    for effect in [
        "rotation = [20, 20]",
        "outline = 1",
        "shadow = 1",
        "gradient = 1",
    ] {
        let field = format!("{effect}\ncolors = ['white', 'black', 'yellow', 'navy']\n{text}");
        let drawn = of_field(&field).unwrap();
        assert_ne!(plain.image, drawn.image, "{effect}");
    }
}

#[test]
fn rotated_text_stays_in_the_middle_of_its_area() {
    for angle in [-170, -90, -30, 10, 45, 90, 180] {
        let text = "[[layout.field.text]]\nkind = 'phrases'\nof = ['HOXOH']";
        let sample = of_field(&format!("rotation = [{angle}, {angle}]\n{text}")).unwrap();
        let bounds = sample.fields[0].bounds;
        // The area is 51.2 to 460.8.
        assert!(
            bounds.left >= 51 && bounds.right <= 461,
            "{angle}: {bounds:?}"
        );
        assert!(
            bounds.top >= 51 && bounds.bottom <= 461,
            "{angle}: {bounds:?}"
        );
        assert!(
            (bounds.left + bounds.right).abs_diff(512) <= 6,
            "{angle}: {bounds:?}"
        );
        assert!(
            (bounds.top + bounds.bottom).abs_diff(512) <= 6,
            "{angle}: {bounds:?}"
        );
        assert_eq!(
            bounds.width() < bounds.height(),
            angle == 90 || angle == -90,
            "{angle}: {bounds:?}"
        );
    }
}

#[test]
fn chinese_lines_are_joined_without_spaces_in_captions() {
    let text =
        "[[layout.field.text]]\nkind = 'phrases'\nof = ['欢迎光临今日特价图书馆停车场新年快乐']";
    let sample = of_field(&format!("wrap = true\n{text}")).unwrap();
    assert!(sample.fields[0].lines.len() > 1);
    assert_eq!(
        sample.captions.chinese,
        "欢迎光临今日特价图书馆停车场新年快乐"
    );
    assert_eq!(sample.fields[0].text().replace('\n', ""), sample.text());
}

#[test]
fn presets_that_are_wrong_say_where() {
    let cases = [
        ("area = [0, 0, 2, 1]", "duplicate"),
        ("colors = ['mauve']", "mauve"),
        ("on = 'panel'", "panel"),
        ("rotation = [9, 1]", "rotation"),
        ("lines = [0, 1]", "lines"),
        ("fnot = 3", "fnot"),
        ("line-height = 0", "line-height"),
    ];
    for (line, word) in cases {
        let error = of_field(&format!(
            "{line}\n[[layout.field.text]]\nkind = 'phrases'\nof = ['A']"
        ));
        let error = error.unwrap_err().to_string();
        assert!(
            error.starts_with("preset test: ") && error.contains(word),
            "{error}"
        );
    }
    let quoted = of_field("[[layout.field.text]]\nkind = 'phrases'\nof = ['say \"A\"']");
    assert!(quoted.unwrap_err().to_string().contains("ambiguous"));
    let empty =
        of_field("[[layout.field.text]]\nkind = 'random'\nalphabet = ''\ncharacters = [1, 2]");
    assert!(empty.unwrap_err().to_string().contains("alphabet"));
    assert!(matches!(
        Preset::open("sings"),
        Err(TypographyError::UnknownPreset { .. })
    ));
}

#[test]
fn text_that_fits_nowhere_is_an_error_that_names_the_field() {
    let error =
        of_field("least-ink = 0.9\n[[layout.field.text]]\nkind = 'phrases'\nof = ['wide text']");
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("`text`") && error.contains("512x512"),
        "{error}"
    );
    let (preset, _) = Preset::open("signs").unwrap();
    assert!(
        SyntheticTypography::new(preset, Fonts::embedded())
            .with_size(8, 64)
            .is_err()
    );
}

#[test]
fn photographs_are_drawn_on_and_text_stands_out() {
    let folder = tempfile::tempdir().unwrap();
    let photograph = image::RgbImage::from_fn(90, 60, |x, y| image::Rgb([x as u8, y as u8, 200]));
    photograph.save(folder.path().join("a.png")).unwrap();
    let backgrounds = Backgrounds::of_folder(folder.path()).unwrap();
    let source = source("posters", 128, 128).with_backgrounds(backgrounds);
    let samples: Vec<_> = (0..80)
        .map(|index| source.sample(0, index).unwrap())
        .collect();
    assert!(samples.iter().any(|sample| sample.ground == "photographic"));
    assert!(samples.iter().any(|sample| sample.ground != "photographic"));
    std::fs::write(folder.path().join("a.png"), "no image").unwrap();
    let failed = (0..80)
        .find_map(|index| source.sample(0, index).err())
        .unwrap();
    assert!(failed.to_string().contains("a.png"), "{failed}");
}

#[test]
fn folders_of_fonts_are_read_in_order_and_bad_files_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let fonts = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fonts");
    assert!(matches!(
        Fonts::of_folder(folder.path()),
        Err(TypographyError::NoFonts(_))
    ));
    assert!(
        Fonts::of_folder(&folder.path().join("none"))
            .unwrap_err()
            .to_string()
            .contains("none")
    );
    std::fs::create_dir(folder.path().join("below")).unwrap();
    for (from, to) in [
        ("DejaVuSerif.ttf", "b.TTF"),
        ("DejaVuSans.ttf", "below/c.ttf"),
    ] {
        std::fs::copy(fonts.join(from), folder.path().join(to)).unwrap();
    }
    std::fs::write(folder.path().join("a.ttf"), "no font").unwrap();
    let read = Fonts::of_folder(folder.path()).unwrap();
    assert_eq!(
        read.names().collect::<Vec<_>>(),
        ["DejaVu Serif", "DejaVu Sans"]
    );
    assert_eq!(read.unreadable(), [folder.path().join("a.ttf")]);
}

/// Prints how many images are drawn in a second, without files.
#[test]
#[ignore = "a measurement, for benches/README.md"]
fn drawing_speed() {
    use std::io::Write;

    for (side, count) in [(128, 4000), (1024, 200)] {
        let source = source("plain", side, side);
        let started = std::time::Instant::now();
        for index in 0..count {
            source.sample(0, index).unwrap();
        }
        let rate = count as f64 / started.elapsed().as_secs_f64();
        let line = format!("{side}x{side}: {rate:.0} images/s on one thread\n");
        std::io::stdout().write_all(line.as_bytes()).unwrap();
    }
}
