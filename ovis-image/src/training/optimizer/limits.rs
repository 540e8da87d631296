use crate::error::{OvisImageError, Result};

/// Checks a constant that must be positive.
pub(super) fn positive(name: &'static str, value: f64) -> Result<()> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    let reason = format!("{value} is not a positive number");
    Err(OvisImageError::argument(name, reason))
}

/// Checks a weight decay.
pub(super) fn decay(value: f64) -> Result<()> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    let reason = format!("{value} is negative or not a number");
    Err(OvisImageError::argument("optimizer.weight_decay", reason))
}
