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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_of_files_are_white_space() {
        let found: Vec<&str> = words(" a\u{1c}b\u{3000}c\u{85}d\te ").collect();
        assert_eq!(found, ["a", "b", "c", "d", "e"]);
    }
}
