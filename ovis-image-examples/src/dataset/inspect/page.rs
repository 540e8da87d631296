//! HTML page to browse samples in: no scripts, no external resources, everything escaped.

use std::fmt::Write;

use serde_json::Value;

use super::statistics::Statistics;
use crate::dataset::manifest::Row;
use crate::shared::html::escaped;

const HEAD: &str = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'\">\n\
<title>Data set</title>\n<style>\n\
body { font: 14px/1.4 sans-serif; margin: 2em; background: #fafafa; color: #222 }\n\
table { border-collapse: collapse; margin-bottom: 2em }\n\
td { padding: 2px 12px 2px 0; vertical-align: top }\n\
.samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(260px, 1fr)); gap: 16px }\n\
.sample { background: white; border: 1px solid #ddd; padding: 8px; overflow-wrap: anywhere }\n\
.sample img { max-width: 100%; max-height: 320px; display: block; margin: 0 auto 8px }\n\
.id, .fields { color: #777; font-size: 12px }\n\
</style>\n</head>\n<body>\n<h1>Data set</h1>\n";

/// Writes the page.
pub(super) fn page(statistics: &Statistics, samples: &[Row]) -> String {
    let mut page = HEAD.to_owned();
    page.push_str("<table>\n");
    // Writing to a string cannot fail.
    for (name, value) in statistics.lines() {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td></tr>",
            escaped(&name),
            escaped(&value)
        );
    }
    let _ = write!(
        page,
        "</table>\n<h2>{} samples</h2>\n<div class=\"samples\">\n",
        samples.len()
    );
    for row in samples {
        sample(&mut page, row);
    }
    page.push_str("</div>\n</body>\n</html>\n");
    page
}

fn sample(page: &mut String, row: &Row) {
    let image = address(&row.image.to_string_lossy());
    let _ = write!(
        page,
        "<div class=\"sample\"><a href=\"{image}\"><img src=\"{image}\" loading=\"lazy\" alt=\"\"></a>\n\
         <div class=\"id\">{}</div>\n",
        escaped(&row.id)
    );
    for caption in [&row.caption_en, &row.caption_zh].into_iter().flatten() {
        let _ = writeln!(page, "<p>{}</p>", escaped(caption));
    }
    for text in &row.texts {
        let _ = writeln!(page, "<p><q>{}</q></p>", escaped(&text.text));
    }
    let mut fields = Vec::new();
    if let (Some(width), Some(height)) = (row.width, row.height) {
        fields.push(format!("{width}x{height}"));
    }
    fields.extend(
        row.scores
            .iter()
            .map(|(name, score)| format!("{name} {score}")),
    );
    for (name, value) in &row.other {
        match value {
            Value::String(text) => fields.push(format!("{name} {text}")),
            Value::Object(_) => {}
            value => fields.push(format!("{name} {value}")),
        }
    }
    let _ = writeln!(
        page,
        "<div class=\"fields\">{}</div></div>",
        escaped(&fields.join(", "))
    );
}

/// Writes a relative path as an address. The prefix `./` keeps a name from being read as a scheme.
fn address(path: &str) -> String {
    let mut result = "./".to_owned();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            result.push(byte.into());
        } else {
            let _ = write!(result, "%{byte:02X}");
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::manifest::Text;

    #[test]
    fn nothing_in_a_row_becomes_markup() {
        let evil = "<script>alert('x')</script>\"onload=\"y";
        let row = Row {
            id: evil.to_owned(),
            image: format!("javascript:{evil}").into(),
            caption_en: Some(evil.to_owned()),
            caption_zh: Some(format!("{evil}\u{202e}")),
            texts: vec![Text {
                text: evil.to_owned(),
                ..Text::default()
            }],
            source: Some(evil.to_owned()),
            other: [("content".to_owned(), evil.into())].into(),
            ..Row::default()
        };
        let mut statistics = Statistics::default();
        statistics.add(&row);
        let page = page(&statistics, &[row]);
        assert!(
            !page.contains("<script") && !page.contains("\"onload"),
            "{page}"
        );
        assert!(page.contains("src=\"./javascript%3A%3Cscript%3E"), "{page}");
        assert!(!page.contains('\u{202e}') && !page.contains("http://"));
    }
}
