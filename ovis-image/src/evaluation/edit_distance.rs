/// Computes the Levenshtein distance of two texts in characters: the least number of insertions,
/// deletions and replacements of one character that make one text of the other.
pub(super) fn edit_distance(first: &str, second: &str) -> usize {
    let second: Vec<char> = second.chars().collect();
    // Distances of the characters of `first` so far to each start of `second`.
    let mut row: Vec<usize> = (0..=second.len()).collect();
    for (index, character) in first.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in second.iter().enumerate() {
            let replaced = diagonal + usize::from(character != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[second.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_distances() {
        for (first, second, distance) in [
            ("", "", 0),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("flaw", "lawn", 2),
            ("你好世界", "你好", 2),
            ("é", "e", 1),
        ] {
            assert_eq!(edit_distance(first, second), distance);
            assert_eq!(edit_distance(second, first), distance);
        }
    }
}
