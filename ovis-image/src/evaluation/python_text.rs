//! Text as the official scripts treat it, which are written in Python.

/// Returns the parts between white space, as `str.split()` of Python does. Four control characters
/// are white space there and not in Rust.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// Returns true for white space of Python's `str.isspace`.
pub(super) fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

/// Reads a list of strings as Python writes it, such as `['a', "it's"]`, or returns `None` if the
/// text is not one. Of escapes, those are known that Python writes for printable text, line breaks
/// and tabs.
pub(super) fn string_list(text: &str) -> Option<Vec<String>> {
    let mut rest = text.trim().strip_prefix('[')?.strip_suffix(']')?.trim();
    let mut strings = Vec::new();
    while !rest.is_empty() {
        let (string, after) = quoted(rest)?;
        strings.push(string);
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if after.is_empty() => after,
            None => return None,
        };
    }
    Some(strings)
}

/// Reads a string in quotes, and returns it with the text after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| ['\'', '"'].contains(c))?;
    let mut string = String::new();
    let mut characters = text[1..].char_indices();
    while let Some((at, character)) = characters.next() {
        if character == quote {
            return Some((string, &text[at + 2..]));
        }
        if character != '\\' {
            string.push(character);
            continue;
        }
        string.push(match characters.next()?.1 {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            escaped @ ('\\' | '\'' | '"') => escaped,
            _ => return None,
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_strings_are_read_with_their_escapes() {
        let found = string_list(r#" ['a\nb', "it's", '\\ \' 你', ''] "#).unwrap();
        assert_eq!(found, ["a\nb", "it's", "\\ ' 你", ""]);
        assert_eq!(string_list("[]"), Some(Vec::new()));
        for text in [
            "",
            "'a'",
            "['a' 'b']",
            "['a]",
            r"['\x41']",
            "[1]",
            "['a\\']",
        ] {
            assert_eq!(string_list(text), None, "{text}");
        }
    }

    #[test]
    fn separators_of_files_are_white_space() {
        let found: Vec<&str> = words(" a\u{1c}b\u{3000}c\u{85}d\te ").collect();
        assert_eq!(found, ["a", "b", "c", "d", "e"]);
    }
}
