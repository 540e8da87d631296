/// Elementwise function that an operation applies to its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// Identity, `x`.
    Identity,
    /// SiLU, `x * sigmoid(x)`.
    Silu,
}
