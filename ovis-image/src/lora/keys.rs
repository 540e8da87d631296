//! Tensor names in LoRA files.

/// Role of a tensor in its module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Down projection `[rank, in]`.
    Down,
    /// Up projection `[out, rank]`.
    Up,
    /// A single number: the update is multiplied by it over the rank.
    Alpha,
}

/// A parsed tensor name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key<'a> {
    /// A tensor of a module, whose name keeps its own dots, or underscores in their place.
    Lora { module: &'a str, role: Role },
    /// A tensor of a method that is not low-rank addition.
    Unsupported { method: &'static str },
    /// None of the above.
    Unknown,
}

/// Name endings and their roles; the first match counts.
const ROLES: [(&str, Role); 7] = [
    (".lora_A.weight", Role::Down),
    (".lora_B.weight", Role::Up),
    (".lora_down.weight", Role::Down),
    (".lora_up.weight", Role::Up),
    (".lora.down.weight", Role::Down),
    (".lora.up.weight", Role::Up),
    (".alpha", Role::Alpha),
];

/// Parts of names that indicate another method.
const METHODS: [(&str, &str); 11] = [
    (".lokr_", "LoKr"),
    (".hada_", "LoHa"),
    (".dora_scale", "DoRA"),
    (".lora_magnitude_vector", "DoRA"),
    (".oft_", "OFT"),
    (".boft_", "BOFT"),
    (".lora_mid.", "Tucker decomposition"),
    (".lora_embedding_", "LoRA of embeddings"),
    (".lora_A.bias", "LoRA with biases"),
    (".lora_B.bias", "LoRA with biases"),
    (".w_norm", "trained norms"),
];
/// Name endings of full differences. Only endings count: `.diffusion_model.` is part of valid
/// names.
const FULL_DIFFERENCES: [&str; 2] = [".diff", ".diff_b"];

/// Prefixes that programs put before a module's name.
const PREFIXES: [&str; 8] = [
    "base_model.model.",
    "transformer.",
    "model.diffusion_model.",
    "diffusion_model.",
    "unet.",
    "lora_transformer_",
    "lora_unet_",
    "lycoris_",
];

/// Parses a tensor's name.
pub(super) fn parse(key: &str) -> Key<'_> {
    if let Some((_, method)) = METHODS.iter().find(|(part, _)| key.contains(part)) {
        return Key::Unsupported { method };
    }
    if FULL_DIFFERENCES.iter().any(|ending| key.ends_with(ending)) {
        return Key::Unsupported {
            method: "full differences",
        };
    }
    let lora = |module, role| Key::Lora {
        module: bare_module(module),
        role,
    };
    for (ending, role) in ROLES {
        if let Some(module) = key.strip_suffix(ending) {
            return lora(module, role);
        }
    }
    // PEFT's models in memory have the adapter's name in the key: `q.lora_A.default.weight`.
    for (middle, role) in [(".lora_A.", Role::Down), (".lora_B.", Role::Up)] {
        if let Some((module, rest)) = key.split_once(middle)
            && let Some(adapter) = rest.strip_suffix(".weight")
            && !adapter.contains('.')
        {
            return lora(module, role);
        }
    }
    Key::Unknown
}

/// Returns a module's name without its prefixes.
pub(super) fn bare_module(mut module: &str) -> &str {
    for prefix in PREFIXES {
        module = module.strip_prefix(prefix).unwrap_or(module);
    }
    module
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lora(key: &str) -> (&str, Role) {
        match parse(key) {
            Key::Lora { module, role } => (module, role),
            other => panic!("{key}: {other:?}"),
        }
    }

    #[test]
    fn every_spelling_of_a_module_is_the_same() {
        const DOTTED: &str = "transformer_blocks.0.attn.to_out.0";
        for prefix in [
            "",
            "transformer.",
            "base_model.model.",
            "diffusion_model.",
            "model.diffusion_model.",
        ] {
            for (down, up) in [
                ("lora_A.weight", "lora_B.weight"),
                ("lora_down.weight", "lora_up.weight"),
                ("lora.down.weight", "lora.up.weight"),
                ("lora_A.default.weight", "lora_B.default.weight"),
            ] {
                let (down, up) = (
                    format!("{prefix}{DOTTED}.{down}"),
                    format!("{prefix}{DOTTED}.{up}"),
                );
                assert_eq!(lora(&down), (DOTTED, Role::Down));
                assert_eq!(lora(&up), (DOTTED, Role::Up));
            }
        }
        for prefix in ["lora_transformer_", "lora_unet_", "lycoris_"] {
            let key = format!("{prefix}transformer_blocks_0_attn_to_out_0.alpha");
            assert_eq!(
                lora(&key),
                ("transformer_blocks_0_attn_to_out_0", Role::Alpha)
            );
        }
    }

    #[test]
    fn other_methods_are_named() {
        for (key, method) in [
            ("lycoris_single_blocks_0_linear1.lokr_w1", "LoKr"),
            ("lycoris_single_blocks_0_linear1.hada_w1_a", "LoHa"),
            ("transformer.proj_out.dora_scale", "DoRA"),
            ("proj_out.lora_B.bias", "LoRA with biases"),
            ("diffusion_model.img_in.diff_b", "full differences"),
        ] {
            assert_eq!(parse(key), Key::Unsupported { method });
        }
        assert_eq!(parse("proj_out.weight"), Key::Unknown);
        assert_eq!(parse("alpha"), Key::Unknown);
    }
}
