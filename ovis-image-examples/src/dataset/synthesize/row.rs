//! Converts a sample to a line of the manifest.

use std::path::PathBuf;

use crate::dataset::manifest::{Bounds, Character, Line, Row, Text};
use crate::typography::{DrawnCharacter, DrawnField, DrawnLine, InkBox, TypographySample};

use super::settings::Settings;

pub(super) fn of(sample: &TypographySample, settings: &Settings, index: u64, name: String) -> Row {
    let other = [
        (
            "field_names",
            sample
                .fields
                .iter()
                .map(|field| field.name.as_str())
                .collect(),
        ),
        ("ground", sample.ground.as_str().into()),
        ("layout", sample.layout.as_str().into()),
    ];
    Row {
        id: format!("{}-{}-{index}", settings.preset, settings.seed),
        image: PathBuf::from(name),
        caption_en: Some(sample.captions.english.clone()),
        caption_zh: Some(sample.captions.chinese.clone()),
        texts: sample.fields.iter().map(text).collect(),
        source: Some("synthetic".to_owned()),
        width: Some(sample.image.width()),
        height: Some(sample.image.height()),
        other: other.map(|(name, value)| (name.to_owned(), value)).into(),
        ..Row::default()
    }
}

fn text(field: &DrawnField) -> Text {
    Text {
        text: field.text(),
        bounds: Some(bounds(field.bounds)),
        lines: field.lines.iter().map(line).collect(),
        font: Some(field.font.clone()),
        color: Some(field.color.to_owned()),
    }
}

fn line(line: &DrawnLine) -> Line {
    Line {
        text: line.text.clone(),
        bounds: bounds(line.bounds),
        characters: line.characters.iter().map(character).collect(),
    }
}

fn character(character: &DrawnCharacter) -> Character {
    Character {
        text: character.text.clone(),
        bounds: bounds(character.bounds),
    }
}

fn bounds(ink: InkBox) -> Bounds {
    let [left, top, width, height] = [ink.left, ink.top, ink.width(), ink.height()];
    Bounds(left as f32, top as f32, width as f32, height as f32)
}
