//! Self-contained HTML page: images are embedded, all text is escaped, and there are no scripts.

use std::fmt::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::differences::{Comparison, Pair, shown_interval};
use crate::evaluate::score::PromptScore;
use crate::shared::html::escaped;
use crate::shared::image_file::ImageFormat;

/// Longer side of the images in the page, in pixels.
const SIDE: u32 = 512;

const HEAD: &str = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n\
<title>Comparison</title>\n<style>\n\
body { font: 14px/1.4 sans-serif; margin: 2em; background: #fafafa; color: #222 }\n\
table { border-collapse: collapse; margin-bottom: 2em }\n\
td, th { padding: 2px 16px 2px 0; text-align: left; vertical-align: top }\n\
.pair { display: flex; gap: 16px; flex-wrap: wrap }\n\
.run { background: white; border: 1px solid #ddd; padding: 8px; overflow-wrap: anywhere; max-width: 530px }\n\
.run img { max-width: 100%; display: block; margin-bottom: 8px }\n\
</style>\n</head>\n<body>\n";

/// Writes the page: figures, and some prompts with both images.
pub(super) fn page(
    comparison: &Comparison,
    worst: &[&Pair],
    folders: [Option<&Path>; 2],
) -> String {
    let mut page = HEAD.to_owned();
    let [first, second] = &comparison.names;
    // Writing to a string cannot fail.
    let _ = write!(
        page,
        "<h1>{}: B compared with A</h1>\n<p>A: {}<br>B: {}<br>{} prompts</p>\n<table>\n\
         <tr><th></th><th>A</th><th>B</th><th>B - A</th><th>95 % interval</th><th>worse</th>\
         <th>equal</th><th>better</th></tr>\n",
        escaped(&comparison.benchmark),
        escaped(first),
        escaped(second),
        comparison.prompts(),
    );
    for difference in &comparison.metrics {
        let [first, second] = difference.values;
        let [worse, equal, better] = difference.prompts;
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{first:.4}</td><td>{second:.4}</td><td>{:+.4}</td><td>{}</td>\
             <td>{worse}</td><td>{equal}</td><td>{better}</td></tr>",
            escaped(difference.metric),
            difference.value(),
            difference.interval.map(shown_interval).unwrap_or_default(),
        );
    }
    let _ = writeln!(page, "</table>\n<h2>{} worst in B</h2>", worst.len());
    for pair in worst {
        let _ = writeln!(
            page,
            "<h3>{}</h3>\n<p><q>{}</q></p>\n<div class=\"pair\">",
            escaped(&pair.first.image.to_string_lossy()),
            escaped(&pair.first.expected)
        );
        let runs = [("A", &pair.first), ("B", &pair.second)].into_iter();
        for ((name, score), folder) in runs.zip(folders) {
            run(&mut page, name, score, folder);
        }
        page.push_str("</div>\n");
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn run(page: &mut String, name: &str, score: &PromptScore, folder: Option<&Path>) {
    let image = folder.and_then(|folder| address(&folder.join(&score.image)));
    let image = image.map(|address| format!("<img src=\"{address}\" alt=\"\">"));
    let reading = match &score.reading {
        Some(reading) => format!("<q>{}</q>", escaped(reading)),
        None => "missing".to_owned(),
    };
    let _ = writeln!(
        page,
        "<div class=\"run\">{}{name}: {reading}</div>",
        image.unwrap_or_default()
    );
}

/// Returns the content of an image as an address, or `None` if it cannot be read.
fn address(path: &Path) -> Option<String> {
    let mut image = image::open(path).ok()?;
    if image.width().max(image.height()) > SIDE {
        image = image.thumbnail(SIDE, SIDE);
    }
    let bytes = ImageFormat::Png.encode(&image.into_rgb8(), &[]).ok()?;
    Some(format!("data:image/png;base64,{}", STANDARD.encode(bytes)))
}
