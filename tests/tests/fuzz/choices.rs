//! Decisions from a fuzzer's bytes.

/// Reads decisions from bytes; zeros when they are used up. How often something is wrong in a file
/// is decided first, so that many files are wrong in one place only.
pub(crate) struct Choices<'a> {
    bytes: &'a [u8],
    /// Probability of a wrong value, out of 256.
    odds: u8,
    /// Whether any wrong value was produced.
    pub(crate) lied: bool,
}

/// Numbers that commonly break arithmetic.
const SPECIAL: [u64; 16] = [
    0,
    1,
    2,
    3,
    5,
    31,
    1 << 16,
    1 << 31,
    1 << 32,
    (1 << 53) + 1,
    1 << 61,
    1 << 62,
    1 << 63,
    (1 << 63) - 1,
    u64::MAX - 31,
    u64::MAX,
];

impl<'a> Choices<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let mut choices = Self {
            bytes,
            odds: 0,
            lied: false,
        };
        choices.odds = choices.pick(&[0, 3, 10, 30]);
        choices
    }

    pub(crate) fn byte(&mut self) -> u8 {
        match self.bytes.split_first() {
            Some((first, rest)) => {
                self.bytes = rest;
                *first
            }
            None => 0,
        }
    }

    pub(crate) fn word(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// Returns a number less than `end`, which is at most 65,536.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let wide = if end > 256 {
            usize::from(self.byte()) << 8
        } else {
            0
        };
        (wide | usize::from(self.byte())) % end.max(1)
    }

    pub(crate) fn pick<T: Clone>(&mut self, among: &[T]) -> T {
        among[self.below(among.len())].clone()
    }

    /// Decides whether to produce a wrong value here.
    pub(crate) fn lie(&mut self) -> bool {
        let lie = self.odds > 0 && self.byte() > 255 - self.odds;
        self.lied |= lie;
        lie
    }

    /// Returns the right number in most cases.
    pub(crate) fn number(&mut self, right: u64) -> u64 {
        if !self.lie() {
            return right;
        }
        match self.below(6) {
            0 => right.wrapping_add(1),
            1 => right.wrapping_sub(1),
            2 => u64::from(self.byte()),
            3 => self.word(),
            4 => right.wrapping_mul(self.pick(&SPECIAL)),
            _ => self.pick(&SPECIAL),
        }
    }

    /// Returns the first of several in most cases.
    pub(crate) fn first_of<T: Clone>(&mut self, among: &[T]) -> T {
        if self.lie() {
            self.pick(among)
        } else {
            among[0].clone()
        }
    }

    /// Damages a finished file in a few places, mostly within its first `header` bytes.
    pub(crate) fn damage(&mut self, file: &mut Vec<u8>, header: usize) {
        for _ in 0..8 {
            if !self.lie() {
                break;
            }
            self.edit(file, header);
        }
    }

    /// Changes a file in one place.
    pub(crate) fn edit(&mut self, file: &mut Vec<u8>, header: usize) {
        self.lied = true;
        let near = header.min(file.len());
        let end = match self.below(4) {
            0 => file.len(),
            _ => near,
        };
        let at = self.below(end.clamp(1, 1 << 16)).min(file.len());
        let some = self.below(24).min(file.len() - at);
        match self.below(7) {
            0 => file.truncate(at),
            1 => drop(file.drain(at..at + some)),
            2 => drop(file.splice(at..at, std::iter::repeat_n(self.byte(), some))),
            3 => {
                let copy = file[at..at + some].to_vec();
                drop(file.splice(at..at, copy));
            }
            4 => {
                let number = self.pick(&SPECIAL).to_le_bytes();
                let room = number.len().min(file.len() - at);
                file[at..at + room].copy_from_slice(&number[..room]);
            }
            5 if at < file.len() => file[at] ^= 1 << self.below(8),
            _ if at < file.len() => file[at] = self.byte(),
            _ => file.push(self.byte()),
        }
    }
}
