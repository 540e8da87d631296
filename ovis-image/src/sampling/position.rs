/// Which step of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepPosition {
    /// From 0.
    pub index: usize,
    /// Steps in all.
    pub total: usize,
}

impl StepPosition {
    /// Whether there is none after it.
    pub fn is_last(self) -> bool {
        self.index + 1 == self.total
    }
}
