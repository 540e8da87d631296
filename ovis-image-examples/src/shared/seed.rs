//! Seeds from the command line.

use std::str::FromStr;

/// A seed, given or chosen at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed {
    /// Seed of the noise.
    pub value: u64,
    /// Whether it was chosen here.
    pub is_random: bool,
}

impl FromStr for Seed {
    type Err = String;

    /// Reads a number. `random` and -1 choose one below 2^32, which other programs accept, too.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "-1" || text.eq_ignore_ascii_case("random") {
            return Ok(Self {
                value: fastrand::u32(..).into(),
                is_random: true,
            });
        }
        match text.parse() {
            Ok(value) => Ok(Self {
                value,
                is_random: false,
            }),
            Err(_) => Err(format!(
                "`{text}` must be a number from 0 to {}, or `random` or -1 to choose one",
                u64::MAX
            )),
        }
    }
}

impl From<u64> for Seed {
    fn from(value: u64) -> Self {
        Self {
            value,
            is_random: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_numbers_or_random() {
        for (text, seed) in [("0", 0), ("18446744073709551615", u64::MAX)] {
            assert_eq!(text.parse(), Ok(Seed::from(seed)));
        }
        let random = ["-1", "random", "RANDOM"].map(|text| text.parse::<Seed>().unwrap());
        assert!(random.iter().all(|seed| seed.is_random));
        assert!(random[0] != random[1] || random[1] != random[2]);
        for bad in ["", "-2", "1.5", "18446744073709551616", "x"] {
            assert!(bad.parse::<Seed>().unwrap_err().contains(bad));
        }
    }
}
