use std::sync::LazyLock;

/// Numbers from -1 or 0 to 1 that 8-bit codes stand for, denser near 0 (arXiv 2110.02861;
/// bitsandbytes: `create_dynamic_map`).
///
/// For each i from 0 to 6, a map has the middles of equal parts of 0.1 to 1, times `10^(i - 6)`:
/// `2^i` of them and their negatives, or `2^(i + 1)` if there is no sign. It also has 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DynamicMap {
    /// Numbers of both signs.
    Signed,
    /// Numbers from 0.
    Unsigned,
}

/// Powers of ten of the parts of a map, as f32.
const POWERS: [f32; 7] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0];

static SIGNED: LazyLock<Map> = LazyLock::new(|| Map::new(true));
static UNSIGNED: LazyLock<Map> = LazyLock::new(|| Map::new(false));

struct Map {
    numbers: [f32; 256],
    bounds: [f32; 255],
}

impl DynamicMap {
    /// Returns the numbers in rising order, by code.
    pub fn numbers(self) -> &'static [f32; 256] {
        &self.map().numbers
    }

    /// Returns the middles of neighboring numbers. The code of the nearest number is the count of
    /// middles below a value.
    pub fn bounds(self) -> &'static [f32; 255] {
        &self.map().bounds
    }

    fn map(self) -> &'static Map {
        match self {
            Self::Signed => &SIGNED,
            Self::Unsigned => &UNSIGNED,
        }
    }
}

impl Map {
    fn new(signed: bool) -> Self {
        let mut all = vec![0.0, 1.0];
        for (exponent, power) in POWERS.into_iter().enumerate() {
            let parts = 1 << (exponent + usize::from(!signed));
            let middles = middles(parts).map(|middle| power * middle);
            let middles: Vec<f32> = middles.collect();
            if signed {
                all.extend(middles.iter().map(|middle| -middle));
            }
            all.extend(middles);
        }
        all.sort_by(f32::total_cmp);
        let numbers = std::array::from_fn(|code| all[code]);
        Self {
            numbers,
            bounds: std::array::from_fn(|code| (numbers[code] + numbers[code + 1]) / 2.0),
        }
    }
}

/// Middles of equal parts of 0.1 to 1, in the arithmetic of `torch.linspace`.
fn middles(parts: usize) -> impl Iterator<Item = f32> {
    let width = (1.0f32 - 0.1) / parts as f32;
    let boundary = move |index: usize| {
        if index < parts.div_ceil(2) {
            0.1 + width * index as f32
        } else {
            1.0 - width * (parts - index) as f32
        }
    };
    (0..parts).map(move |index| (boundary(index) + boundary(index + 1)) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_rises_from_its_first_number_to_one_and_has_zero() {
        for (map, first, zero) in [
            (DynamicMap::Signed, -0.992_968_74, 127),
            (DynamicMap::Unsigned, 0.0, 0),
        ] {
            let numbers = map.numbers();
            assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
            assert!((numbers[0] - first).abs() < 1e-7);
            assert_eq!([numbers[zero], numbers[255]], [0.0, 1.0]);
        }
    }
}
