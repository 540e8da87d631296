//! Rows of the list of a cache.

use serde_json::{Map, Value, json};

use crate::training_data::{DataRow, Frame};

/// Row of the list, with the keys of its encodings: fields of the manifest that training reads,
/// and `latents` and `embeddings`.
pub(super) fn line(row: &DataRow, latents: &str, embeddings: &[String]) -> Value {
    let mut line = Map::new();
    let mut write = |name: &str, value: Value| line.insert(name.to_owned(), value);
    write("image", json!(row.name));
    let Frame {
        bucket,
        resize,
        place: [left, top],
    } = row.frame;
    write("bucket", json!(bucket));
    write("resize", json!(resize));
    if left < 0 || top < 0 {
        write("crop", json!([-left, -top, bucket[0], bucket[1]]));
    } else {
        let end =
            |axis: usize, start: i64| i64::from(bucket[axis]) - i64::from(resize[axis]) - start;
        write("pad", json!([left, top, end(0, left), end(1, top)]));
    }
    write("weight", json!(row.weight));
    write("latents", json!(latents));
    let keys = row.captions.iter().zip(embeddings);
    let keys: Map<String, Value> = keys
        .map(|((language, _), key)| (language.to_string(), json!(key)))
        .collect();
    write("embeddings", Value::Object(keys));
    for (language, text) in &row.captions {
        write(&format!("caption_{language}"), json!(text));
    }
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training_data::CaptionLanguage;

    #[test]
    fn frames_come_back() {
        for place in [[0, 0], [-8, 0], [0, -4], [3, 0], [2, 5]] {
            let bucket = [32, 16];
            let side = |axis: usize| {
                let side = i64::from(bucket[axis]) - 2 * place[axis];
                u32::try_from(side).unwrap()
            };
            let frame = Frame {
                bucket,
                resize: [side(0), side(1)],
                place,
            };
            let row = DataRow {
                captions: vec![(CaptionLanguage::Zh, "b".to_owned())],
                weight: 0.5,
                ..DataRow::new("a.png".to_owned(), "a.png".into(), frame)
            };
            let line = line(&row, "l", &["e".to_owned()]);
            assert_eq!(
                (&line["embeddings"]["zh"], &line["caption_zh"]),
                (&json!("e"), &json!("b"))
            );
            let read = serde_json::from_value(line).unwrap();
            assert_eq!(Frame::of_row(&read).unwrap(), Some(row.frame));
        }
    }
}
