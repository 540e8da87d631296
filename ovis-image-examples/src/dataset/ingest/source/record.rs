//! Converts a record of a table or an archive to a row.

use serde_json::{Map, Value};

use crate::dataset::ingest::captions;
use crate::dataset::ingest::reason::{Dropped, Reason};
use crate::dataset::manifest::Row;

/// Names that other programs give to the image's file. The first one that exists is used.
const IMAGE: [&str; 5] = ["image", "file_name", "filename", "path", "image_path"];

/// Names of a caption of unknown language.
const CAPTION: [&str; 3] = ["caption", "text", "prompt"];

/// Makes a row from a record. Captions go to the field of their language, unknown fields are kept.
///
/// # Errors
/// Returns the reason if a field has the wrong type.
pub(super) fn to_row(mut record: Map<String, Value>) -> Result<Row, Dropped> {
    let image = IMAGE
        .iter()
        .find(|name| record.get(**name).is_some_and(Value::is_string));
    let image = image.and_then(|name| record.remove(*name));
    record.insert("image".to_owned(), image.unwrap_or_else(|| "".into()));
    let caption = CAPTION.iter().find_map(|name| match record.get(*name) {
        Some(Value::String(caption)) => Some((*name, caption.clone())),
        _ => None,
    });
    // A number is a fine id in a table; in a manifest it is a text.
    if let Some(Value::Number(number)) = record.get("id") {
        let number = number.to_string();
        record.insert("id".to_owned(), number.into());
    }
    if let Some((name, _)) = &caption {
        record.remove(*name);
    }
    let mut row: Row = serde_json::from_value(Value::Object(record))
        .map_err(|error| Dropped::new(Reason::InvalidRow, error.to_string()))?;
    if let Some((_, caption)) = caption
        && row.caption_en.is_none()
        && row.caption_zh.is_none()
    {
        captions::assign(&mut row, caption);
    }
    Ok(row)
}
