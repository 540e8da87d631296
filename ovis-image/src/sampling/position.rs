/// Position of a step within its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepPosition {
    /// Index of the step, from 0.
    pub index: usize,
    /// Number of steps in the run.
    pub total: usize,
}

impl StepPosition {
    /// Returns true for the last step of the run.
    pub fn is_last(self) -> bool {
        self.index + 1 == self.total
    }
}
