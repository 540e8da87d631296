//! Strings for a field, and a font that has their characters.

use super::error::TypographyError;
use super::fonts::Face;
use super::preset::{Case, Field, FontWeight, TextSource, letters};
use super::random::Random;
use super::shaping::Shaper;
use super::split::{LEAST_HELD_OUT, Split};
use super::words::Words;

/// Number of random strings that are drawn to find one of the split.
const TRIES: usize = 400;

/// Limits on the texts that may be drawn, in addition to the preset's.
#[derive(Clone, Debug, Default)]
pub(super) struct Limits {
    pub(super) split: Split,
    /// Replaces the number of characters of random strings and words.
    pub(super) characters: Option<[usize; 2]>,
    /// Replaces the number of lines of fields that may have several.
    pub(super) lines: Option<[usize; 2]>,
}

/// Text of a field and the font to draw it in.
pub(super) struct FieldText {
    pub(super) text: String,
    /// Index of the font.
    pub(super) face: usize,
}

/// Reason why a field has no text.
pub(super) enum Failure {
    /// No font has this character.
    NoGlyph(char),
    /// The split leaves no text.
    NoText,
}

impl Failure {
    pub(super) fn into_error(self, preset: &str, field: &str, fonts: &str) -> TypographyError {
        match self {
            Self::NoGlyph(character) => TypographyError::NoGlyph {
                fonts: fonts.to_owned(),
                character,
            },
            Self::NoText => TypographyError::NoText {
                preset: preset.to_owned(),
                field: field.to_owned(),
                least: LEAST_HELD_OUT,
            },
        }
    }
}

impl Limits {
    fn characters(&self, of_source: [usize; 2], shrunk: f32) -> [usize; 2] {
        let [least, most] = self.characters.unwrap_or(of_source);
        let room = most.saturating_sub(least) as f32 * (1.0 - shrunk);
        [least, least + room.round() as usize]
    }
}

/// Draws a text and a font for it. Longer texts are left out as `shrunk` goes from 0 to 1.
pub(super) fn draw(
    random: &mut Random,
    shaper: &mut Shaper,
    faces: &[Face],
    field: &Field,
    limits: &Limits,
    shrunk: f32,
) -> Result<FieldText, Failure> {
    let lines = match limits.lines {
        Some(lines) if field.lines[1] > 1 => lines,
        _ => field.lines,
    };
    let count = random.integer(lines);
    let mut order: Vec<usize> = (0..faces.len()).collect();
    random.shuffle(&mut order);
    if let Some(weight) = field.weight {
        let bold = weight == FontWeight::Bold;
        order.sort_by_key(|face| faces[*face].bold != bold);
    }
    let mut failure = Failure::NoText;
    let mut drawn = None;
    for face in order {
        let mut found = Vec::new();
        for _ in 0..count {
            let letters = &mut |letter| shaper.covers(&faces[face], letter);
            match line(random, field, limits, shrunk, letters) {
                Ok(line) => found.push(line),
                Err(error) => failure = error,
            }
        }
        if found.len() < count {
            continue;
        }
        let text = found.join("\n");
        let missing = |letter: &char| *letter != '\n' && !shaper.covers(&faces[face], *letter);
        match text.chars().find(missing) {
            None => return Ok(FieldText { text, face }),
            Some(letter) => failure = Failure::NoGlyph(letter),
        }
        drawn.get_or_insert(FieldText { text, face });
    }
    // No font has all characters of a text: several fonts together may have them.
    let Some(drawn) = drawn else {
        return Err(failure);
    };
    let mut letters = drawn.text.chars().filter(|letter| *letter != '\n');
    match letters.find(|letter| !faces.iter().any(|face| shaper.covers(face, *letter))) {
        Some(letter) => Err(Failure::NoGlyph(letter)),
        None => Ok(drawn),
    }
}

fn line(
    random: &mut Random,
    field: &Field,
    limits: &Limits,
    shrunk: f32,
    covers: &mut dyn FnMut(char) -> bool,
) -> Result<String, Failure> {
    let mut weights: Vec<f32> = field.texts.iter().map(TextSource::weight).collect();
    let mut failure = Failure::NoText;
    while let Some(chosen) = random.weighted(weights.iter().copied()) {
        match from_source(random, &field.texts[chosen], limits, shrunk, covers) {
            Ok(text) => return Ok(text),
            Err(error) => failure = error,
        }
        weights[chosen] = 0.0;
    }
    Err(failure)
}

fn from_source(
    random: &mut Random,
    source: &TextSource,
    limits: &Limits,
    shrunk: f32,
    covers: &mut dyn FnMut(char) -> bool,
) -> Result<String, Failure> {
    match source {
        TextSource::Random {
            alphabet,
            characters,
            ..
        } => {
            let all = letters(alphabet);
            let covered: Vec<char> = all
                .iter()
                .copied()
                .filter(|letter| covers(*letter))
                .collect();
            let characters = limits.characters(*characters, shrunk);
            if covered.len() < all.len().min(2) {
                let missing = all.into_iter().find(|letter| !covered.contains(letter));
                return Err(missing.map_or(Failure::NoText, Failure::NoGlyph));
            }
            random_string(random, &covered, limits.split, characters)
        }
        TextSource::Words {
            characters,
            count,
            case,
            ..
        } => {
            let characters = limits.characters(*characters, shrunk);
            let count = random.integer(*count);
            let words = (0..count).map(|_| word(random, limits.split, characters, *case));
            Ok(words.collect::<Result<Vec<_>, _>>()?.join(" "))
        }
        TextSource::Phrases { of, .. } => {
            let phrase = random.choice(of).map_or("", String::as_str);
            let digits = phrase.chars().map(|letter| match letter {
                '#' => char::from(b'0' + random.below(10) as u8),
                '@' => char::from(b'1' + random.below(9) as u8),
                other => other,
            });
            Ok(digits.collect())
        }
    }
}

fn random_string(
    random: &mut Random,
    letters: &[char],
    split: Split,
    [least, most]: [usize; 2],
) -> Result<String, Failure> {
    let least = match split {
        Split::Train => least,
        Split::HeldOut => least.max(LEAST_HELD_OUT),
    };
    if most < least {
        return Err(Failure::NoText);
    }
    let length = random.integer([least, most]);
    for _ in 0..TRIES {
        let drawn = (0..length).filter_map(|_| random.choice(letters));
        let text: String = drawn.collect();
        if split.has_string(&text) {
            return Ok(text);
        }
    }
    Err(Failure::NoText)
}

fn word(
    random: &mut Random,
    split: Split,
    characters: [usize; 2],
    case: Case,
) -> Result<String, Failure> {
    let words = Words::of(split);
    let lengths = words.lengths(characters);
    let length = random.choice(&lengths).ok_or(Failure::NoText)?;
    let word = random
        .choice(words.of_length(*length))
        .ok_or(Failure::NoText)?;
    let case = match case {
        Case::Any => *random
            .choice(&[Case::Upper, Case::Lower, Case::Title])
            .unwrap_or(&Case::Upper),
        case => case,
    };
    Ok(match case {
        Case::Lower => word.to_lowercase(),
        Case::Title => word[..1].to_uppercase() + &word[1..].to_lowercase(),
        Case::Upper | Case::Any => word.to_uppercase(),
    })
}
