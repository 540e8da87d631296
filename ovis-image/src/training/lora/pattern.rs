//! Patterns of module names, as in PEFT's `target_modules`: a name, or the end of one from a dot
//! on. `*` stands for any text.

/// Returns whether a pattern selects a module.
pub(super) fn selects(pattern: &str, module: &str) -> bool {
    let ends = module.match_indices('.').map(|(dot, _)| &module[dot + 1..]);
    let mut ends = std::iter::once(module).chain(ends);
    ends.any(|end| is_like(pattern, end))
}

fn is_like(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(start) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        // The first place is the best one: it leaves the most to the parts after it.
        match text.find(part) {
            Some(place) => text = &text[place + part.len()..],
            None => return false,
        }
    }
    text.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_or_its_end_and_stars_are_any_text() {
        for (pattern, module, expected) in [
            ("to_q", "transformer_blocks.0.attn.to_q", true),
            ("attn.to_q", "transformer_blocks.0.attn.to_q", true),
            ("o_q", "transformer_blocks.0.attn.to_q", false),
            ("attn.*", "transformer_blocks.0.attn.to_out.0", true),
            (
                "transformer_blocks.*",
                "transformer_blocks.0.ff.net.2",
                true,
            ),
            (
                "transformer_blocks.*",
                "single_transformer_blocks.0.proj_mlp",
                false,
            ),
            (
                "transformer_blocks.*.net.*",
                "transformer_blocks.1.ff.net.2",
                true,
            ),
            ("*to_q*q", "attn.to_q", false),
            ("*", "proj_out", true),
            ("", "proj_out", false),
        ] {
            assert_eq!(selects(pattern, module), expected, "{pattern} {module}");
        }
    }
}
