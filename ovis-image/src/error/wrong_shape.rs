/// Tensor whose shape differs from the one that the configuration implies.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WrongShape {
    /// Name of the tensor in the file.
    pub tensor: String,
    /// Shape that the model needs.
    pub expected: Vec<usize>,
    /// Shape stored in the file.
    pub actual: Vec<usize>,
}
