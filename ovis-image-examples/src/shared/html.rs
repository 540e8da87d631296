//! Text in HTML pages.

/// Escapes text for HTML, and makes control characters visible.
pub fn escaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => result.push_str("&amp;"),
            '<' => result.push_str("&lt;"),
            '>' => result.push_str("&gt;"),
            '"' => result.push_str("&quot;"),
            '\'' => result.push_str("&#39;"),
            '\n' => result.push_str("<br>"),
            // Marks that turn the direction of the text after them.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => result.push('\u{fffd}'),
            letter if letter.is_control() => result.push('\u{fffd}'),
            letter => result.push(letter),
        }
    }
    result
}
