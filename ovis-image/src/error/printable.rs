use std::fmt::{self, Write};

/// Shows text that comes from a file or from the network, such as the name of a tensor, on one line
/// of a terminal.
///
/// Characters that a terminal obeys (line breaks, ANSI escapes), that reorder the text around them
/// or that are invisible are escaped as in Rust's literals. All others are unchanged, in any
/// script.
///
/// ```
/// use ovis_image::error::Printable;
///
/// assert_eq!(Printable("red\u{1b}[31m\n").to_string(), r"red\u{1b}[31m\n");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if is_treacherous(character) {
                write!(f, "{}", character.escape_default())?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

/// Returns whether a character is a control, reorders text or is invisible. Joiners are not among
/// them: several scripts and emoji are spelled with them.
fn is_treacherous(character: char) -> bool {
    character.is_control()
        || matches!(character,
            // Soft hyphen; marks of direction.
            '\u{ad}' | '\u{61c}' | '\u{200e}' | '\u{200f}'
            // Separators of lines and paragraphs, embeddings and overrides of direction.
            | '\u{2028}'..='\u{202e}'
            // Invisible operators, isolates of direction.
            | '\u{2060}'..='\u{206f}'
            // Byte order mark, annotations, tags.
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        for (text, shown) in [
            ("a\nb\r\tc", r"a\nb\r\tc"),
            ("\u{1b}]0;title\u{7}", r"\u{1b}]0;title\u{7}"),
            ("\u{9b}2J\u{7f}", r"\u{9b}2J\u{7f}"),
            ("gpj.\u{202e}x", r"gpj.\u{202e}x"),
            ("\u{2066}x\u{2069}\u{2028}", r"\u{2066}x\u{2069}\u{2028}"),
            ("\u{feff}\u{e0041}", r"\u{feff}\u{e0041}"),
        ] {
            assert_eq!(Printable(text).to_string(), shown);
        }
    }

    #[test]
    fn text_of_any_script_is_unchanged() {
        for text in [
            "blocks.0.attn \"q\" \\",
            "一只猫，a\u{3000}b",
            "e\u{301}",
            "👩\u{200d}🚀",
            "עברית",
        ] {
            assert_eq!(Printable(text).to_string(), text);
        }
    }
}
