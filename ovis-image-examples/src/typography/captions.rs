//! Captions from templates.
//!
//! A template contains placeholders in braces: `{FIELD}` is the text of a field, `{FIELD.color}`
//! and `{FIELD.font}` its color and font, `{ground}` the ground, and `{all}` all texts in quotation
//! marks. With `a ` in front, as in `{a ground}`, the English article is written too.

use super::ground_truth::DrawnField;
use super::{colors, random::Random};

/// Captions of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captions {
    /// English caption.
    pub english: String,
    /// Chinese caption.
    pub chinese: String,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Language {
    English,
    Chinese,
}

/// Piece of a template: literal text, or the content of a pair of braces.
enum Piece<'a> {
    Text(&'a str),
    Placeholder(&'a str),
}

fn pieces(template: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (inside, after) = after
            .split_once('}')
            .ok_or_else(|| format!("a brace is not closed in the caption `{template}`"))?;
        pieces.extend([Piece::Text(before), Piece::Placeholder(inside)]);
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

/// Checks that templates name known fields only.
pub(super) fn check(templates: &[String], fields: &[&str]) -> Result<(), String> {
    if templates.is_empty() {
        return Err("it has no captions".to_owned());
    }
    for template in templates {
        for piece in pieces(template)? {
            let Piece::Placeholder(inside) = piece else {
                continue;
            };
            let name = inside.strip_prefix("a ").unwrap_or(inside);
            let field = name.split_once('.').map_or(name, |(field, _)| field);
            let property = name.split_once('.').map(|(_, property)| property);
            let known = match property {
                None => ["ground", "all"].contains(&name) || fields.contains(&name),
                Some(property) => fields.contains(&field) && ["color", "font"].contains(&property),
            };
            if !known {
                return Err(format!("`{{{inside}}}` in a caption is not known"));
            }
        }
    }
    Ok(())
}

/// Writes a caption from a template drawn at random from those of a layout. `ground` is the name
/// of the ground in the language.
pub(super) fn write(
    random: &mut Random,
    templates: &[String],
    language: Language,
    ground: &str,
    fields: &[DrawnField],
) -> String {
    let template = random.choice(templates).map_or("", String::as_str);
    let mut caption = String::new();
    for piece in pieces(template).unwrap_or_default() {
        match piece {
            Piece::Text(text) => caption.push_str(text),
            Piece::Placeholder(inside) => {
                let name = inside.strip_prefix("a ").unwrap_or(inside);
                let value = value(name, language, ground, fields);
                if name != inside {
                    caption.push_str(article(&value));
                }
                caption.push_str(&value);
            }
        }
    }
    caption
}

fn value(name: &str, language: Language, ground: &str, fields: &[DrawnField]) -> String {
    match name {
        "ground" => return ground.to_owned(),
        "all" => return all(language, fields),
        _ => {}
    }
    let (name, property) = name.split_once('.').unwrap_or((name, ""));
    let Some(field) = fields.iter().find(|field| field.name == name) else {
        return String::new();
    };
    match property {
        "font" => field.font.clone(),
        "color" => color(field.color, language).to_owned(),
        _ => field.words.clone(),
    }
}

pub(super) fn color(name: &'static str, language: Language) -> &'static str {
    match (language, colors::by_name(name)) {
        (Language::Chinese, Some(color)) => color.chinese,
        _ => name,
    }
}

fn all(language: Language, fields: &[DrawnField]) -> String {
    let quoted: Vec<String> = fields
        .iter()
        .map(|field| match language {
            Language::English => format!("\"{}\"", field.words),
            Language::Chinese => format!("“{}”", field.words),
        })
        .collect();
    match (language, &quoted[..]) {
        (Language::Chinese, _) => quoted.join("、"),
        (Language::English, [first @ .., last]) if !first.is_empty() => {
            format!("{} and {last}", first.join(", "))
        }
        _ => quoted.join(", "),
    }
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an "
    } else {
        "a "
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::typography::ground_truth::InkBox;

    #[test]
    fn placeholders_are_filled_in_both_languages() {
        let bounds = InkBox {
            left: 0,
            top: 0,
            right: 1,
            bottom: 1,
        };
        let field = |name: &str, color, text: &str| DrawnField {
            name: name.to_owned(),
            words: text.to_lowercase(),
            bounds,
            lines: vec![],
            font: text.to_owned(),
            color,
        };
        let fields = [field("a", "red", "Sans"), field("b", "blue", "Serif")];
        let fill = |language, template: &str| {
            let ground = match language {
                Language::English => "orange",
                Language::Chinese => "橙色",
            };
            let mut random = Random::new(0, 0, "caption", 0);
            write(
                &mut random,
                &[template.to_owned()],
                language,
                ground,
                &fields,
            )
        };
        let english = fill(Language::English, "{a ground} sign, {a.color} in {b.font}");
        assert_eq!(english, "an orange sign, red in Serif");
        let chinese = fill(Language::Chinese, "{ground}，{b.color}");
        assert_eq!(chinese, "橙色，蓝色");
        assert_eq!(fill(Language::English, "{all}"), "\"sans\" and \"serif\"");
        assert_eq!(fill(Language::Chinese, "{all}"), "“sans”、“serif”");
    }

    #[test]
    fn templates_with_unknown_names_are_refused() {
        let check = |template: &str| check(&[template.to_owned()], &["title"]);
        assert!(check("{a ground} with {title}, {title.color}, {title.font}, {all}").is_ok());
        for wrong in ["{body}", "{title.size}", "{title", "{}"] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }
}
