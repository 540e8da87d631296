//! Lists of values with commas between them, in which a value with commas is quoted.

/// Splits a list. A value that begins with a double quote ends at the next one, and a quote within
/// it is doubled, as in CSV. Space around values is dropped.
///
/// # Errors
/// Returns what is wrong with the quotes.
pub fn split(list: &str) -> Result<Vec<String>, String> {
    let mut values = Vec::new();
    let mut rest = Some(list);
    while let Some(text) = rest {
        let text = text.trim_start();
        let (value, after) = match text.strip_prefix('"') {
            Some(quoted) => quoted_value(quoted)?,
            None => {
                let end = text.find(',').unwrap_or(text.len());
                (text[..end].trim_end().to_owned(), &text[end..])
            }
        };
        let after = after.trim_start();
        rest = after.strip_prefix(',');
        if rest.is_none() && !after.is_empty() {
            return Err(format!(
                "a comma must follow the quoted value `{value}`, not `{after}`; a quote within it is doubled"
            ));
        }
        values.push(value);
    }
    Ok(values)
}

/// Reads a value up to its closing quote, and returns what follows.
fn quoted_value(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut rest = text;
    while let Some((part, after)) = rest.split_once('"') {
        value.push_str(part);
        match after.strip_prefix('"') {
            Some(after) => {
                value.push('"');
                rest = after;
            }
            None => return Ok((value, after)),
        }
    }
    Err(format!("the quote before `{text}` is not closed"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commas_separate_values_unless_these_are_quoted() {
        for (list, values) in [
            ("1,2, 3 ", &["1", "2", "3"][..]),
            ("\"a, b\",c", &["a, b", "c"]),
            ("a , \"b, c\" , \"d\"", &["a", "b, c", "d"]),
            (
                "a sign that says \"OPEN\",b",
                &["a sign that says \"OPEN\"", "b"],
            ),
            ("\"says \"\"OPEN, NOW\"\"\"", &["says \"OPEN, NOW\""]),
            ("\"\"", &[""]),
            ("", &[""]),
            ("a,", &["a", ""]),
            ("\"一, 二\",三", &["一, 二", "三"]),
        ] {
            assert_eq!(split(list).unwrap(), values, "{list}");
        }
        for bad in ["\"a", "\"a\" b,c", "a,\"b\"\"", "\""] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_values_can_be_quoted(values in prop::collection::vec("[a-c\", 猫]{0,6}", 1..4)) {
            let quoted = values.iter().map(|value| format!("\"{}\"", value.replace('"', "\"\"")));
            let list = quoted.collect::<Vec<_>>().join(",");
            prop_assert_eq!(split(&list).unwrap(), values);
        }
    }
}
