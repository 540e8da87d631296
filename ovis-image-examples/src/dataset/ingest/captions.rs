//! Captions: detects their language, and those that say nothing.

use std::collections::BTreeSet;

use whatlang::{Lang, Script};

use crate::dataset::manifest::{Row, hash};

/// Shortest text whose language is detected, in letters. Detection is wrong too often below this.
const SHORTEST_DETECTED: usize = 24;

/// Captions that programs and cameras write, in the form of [`normalized`]; 0 is any number.
const BOILERPLATE: [&str; 26] = [
    "0",
    "0 0",
    "caption",
    "cover",
    "dsc0",
    "dsc 0",
    "file",
    "image",
    "image 0",
    "image may contain",
    "img",
    "img 0",
    "img0",
    "logo",
    "no caption",
    "no description",
    "no title",
    "photo",
    "photo 0",
    "picture",
    "screenshot",
    "screenshot 0",
    "stock photo",
    "thumbnail",
    "unnamed",
    "untitled",
];

/// File extensions that mark a caption as a file name.
const FILE_ENDINGS: [&str; 5] = [".jpg", ".jpeg", ".png", ".webp", ".gif"];

/// Stores a caption in the field of its language: Chinese if most of its letters are Han.
pub(super) fn assign(row: &mut Row, caption: String) {
    let letters = || caption.chars().filter(|letter| letter.is_alphabetic());
    let han = letters().filter(|letter| is_han(*letter)).count();
    if 2 * han > letters().count() {
        row.caption_zh = Some(caption);
    } else {
        row.caption_en = Some(caption);
    }
}

/// Returns the captions of a row that are not blank.
pub(super) fn of(row: &Row) -> impl Iterator<Item = &str> {
    let both = [row.caption_en.as_deref(), row.caption_zh.as_deref()];
    both.into_iter()
        .flatten()
        .filter(|caption| !caption.trim().is_empty())
}

/// Returns the lower-case letters and digits of a text, with one space for anything between.
pub(super) fn normalized(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for letter in text.chars().flat_map(char::to_lowercase) {
        if letter.is_alphanumeric() {
            result.push(letter);
        } else if !result.is_empty() && !result.ends_with(' ') {
            result.push(' ');
        }
    }
    result.truncate(result.trim_end().len());
    result
}

/// Returns true if a caption is a file name, an address, or one of the phrases that programs write.
/// `phrases` are additional phrases, [`normalized`].
pub(super) fn is_boilerplate(caption: &str, phrases: &BTreeSet<String>) -> bool {
    let trimmed = caption.trim();
    let lower = trimmed.to_lowercase();
    let is_one_word = !trimmed.contains(char::is_whitespace);
    if is_one_word
        && (lower.contains("://") || FILE_ENDINGS.iter().any(|ending| lower.ends_with(ending)))
    {
        return true;
    }
    let normalized = normalized(trimmed);
    if normalized.is_empty() || phrases.contains(&normalized) {
        return true;
    }
    let mut without_numbers = String::new();
    for letter in normalized.chars() {
        if !letter.is_ascii_digit() {
            without_numbers.push(letter);
        } else if !without_numbers.ends_with('0') {
            without_numbers.push('0');
        }
    }
    BOILERPLATE.contains(&without_numbers.as_str())
}

/// Returns the code of a caption's language, if it is certain.
pub(super) fn language(caption: &str) -> Option<&'static str> {
    let info = whatlang::detect(caption)?;
    // These scripts are written in one language, or in few that are told apart well.
    let is_telling = !matches!(
        info.script(),
        Script::Latin | Script::Cyrillic | Script::Arabic | Script::Devanagari
    );
    let letters = caption
        .chars()
        .filter(|letter| letter.is_alphabetic())
        .count();
    let is_certain = is_telling || (info.is_reliable() && letters >= SHORTEST_DETECTED);
    is_certain.then(|| match info.lang() {
        Lang::Eng => "en",
        Lang::Cmn => "zh",
        Lang::Jpn => "ja",
        Lang::Kor => "ko",
        Lang::Deu => "de",
        Lang::Fra => "fr",
        Lang::Spa => "es",
        Lang::Rus => "ru",
        other => other.code(),
    })
}

/// Hashes the words of a text and its pairs of Han characters. Returns the `most` smallest distinct
/// hashes, sorted, which estimate how much two texts have in common.
pub(super) fn features(text: &str, most: usize) -> Box<[u32]> {
    let normalized = normalized(text);
    let mut features = BTreeSet::new();
    for word in normalized.split(' ').filter(|word| !word.is_empty()) {
        if word.chars().any(is_han) {
            let letters: Vec<char> = word.chars().collect();
            for pair in letters.windows(letters.len().min(2)) {
                features.insert(hash(&pair.iter().collect::<String>()) as u32);
            }
        } else {
            features.insert(hash(word) as u32);
        }
    }
    features.into_iter().take(most).collect()
}

/// Returns the share of features that two sorted lists have in common: 1 if they are equal.
pub(super) fn similarity(a: &[u32], b: &[u32]) -> f64 {
    let common = a
        .iter()
        .filter(|feature| b.binary_search(feature).is_ok())
        .count();
    let all = a.len() + b.len() - common;
    if all == 0 {
        1.0
    } else {
        common as f64 / all as f64
    }
}

fn is_han(letter: char) -> bool {
    matches!(letter, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{20000}'..='\u{3134f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_go_to_their_language() {
        let mut row = Row::default();
        assign(&mut row, "a red sign".to_owned());
        assign(&mut row, "红色的牌子,写着 OPEN".to_owned());
        assert_eq!(row.caption_en.as_deref(), Some("a red sign"));
        assert!(row.caption_zh.is_some());
    }

    #[test]
    fn names_of_files_and_phrases_of_programs_are_boilerplate() {
        let mine = BTreeSet::from(["shop now".to_owned()]);
        for caption in [
            "IMG_1234.jpg",
            "IMG_1234",
            "DSC00012",
            "https://a.example/b",
            "Untitled",
            "image 12",
            "12345",
            "...",
            "Stock photo",
            "Shop now!",
        ] {
            assert!(is_boilerplate(caption, &mine), "{caption}");
        }
        for caption in [
            "a photo of a cat",
            "image of 3 dogs.jpg on a wall",
            "OPEN",
            "开门",
        ] {
            assert!(!is_boilerplate(caption, &mine), "{caption}");
        }
    }

    #[test]
    fn languages_are_detected_where_that_is_certain() {
        let german = "Ein kleines rotes Haus steht neben dem alten Bahnhof im Regen";
        let english = "A small red house stands next to the old railway station in the rain";
        for (caption, found) in [
            (german, Some("de")),
            (english, Some("en")),
            ("一只猫坐在窗边看雨", Some("zh")),
            ("猫が窓のそばに座っています", Some("ja")),
            ("chat noir", None),
        ] {
            assert_eq!(language(caption), found, "{caption}");
        }
    }

    #[test]
    fn similar_captions_share_features() {
        let of = |text| features(text, 64);
        assert_eq!(similarity(&of("A red car."), &of("a red  car")), 1.0);
        assert!(similarity(&of("a red car"), &of("a blue car")) < 0.7);
        assert!(similarity(&of("一只红色的猫"), &of("一只黑色的狗")) < 0.5);
        assert_eq!(similarity(&of(""), &of("")), 1.0);
    }
}
