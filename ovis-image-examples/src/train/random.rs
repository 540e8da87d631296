//! Seeds derived from a run's seed, a purpose and a number, so that a resumed run draws the same.

/// Computes a seed with well-mixed low bits: the noise generator takes 32 of them.
pub(super) fn seed_for(seed: u64, purpose: &str, number: u64) -> u64 {
    let start = mixed(seed ^ 0x9e37_79b9_7f4a_7c15);
    let named = purpose.bytes().fold(start, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mixed(named.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// Applies the last steps of SplitMix64.
fn mixed(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn seeds_differ_in_their_low_bits_by_seed_purpose_and_number() {
        let mut found = BTreeSet::new();
        for seed in 0..10 {
            for purpose in ["noise", "timesteps"] {
                for number in 0..100 {
                    found.insert(seed_for(seed, purpose, number) as u32);
                }
            }
        }
        // Of 2,000 values of 32 bits, two are alike once in 2,000 times.
        assert!(found.len() >= 1999, "{}", found.len());
    }
}
