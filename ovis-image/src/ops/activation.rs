/// An elementwise function that an operation applies to its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// None.
    Identity,
    /// `x * sigmoid(x)`.
    Silu,
}
