//! Distances between two lists of numbers.

/// Returns `‖a - b‖ / ‖b‖`, infinite if lengths differ or `actual` is not finite.
pub fn relative_error(actual: &[f32], expected: &[f32]) -> f64 {
    if actual.len() != expected.len() {
        return f64::INFINITY;
    }
    let mut difference = 0.0;
    let mut norm = 0.0;
    for (a, b) in actual.iter().zip(expected) {
        difference += (f64::from(*a) - f64::from(*b)).powi(2);
        norm += f64::from(*b).powi(2);
    }
    if !difference.is_finite() {
        f64::INFINITY
    } else if difference == 0.0 {
        0.0
    } else {
        (difference / norm).sqrt()
    }
}

/// Returns the largest absolute difference, infinite if lengths differ.
pub fn largest_difference(actual: &[f32], expected: &[f32]) -> f64 {
    if actual.len() != expected.len() {
        return f64::INFINITY;
    }
    actual
        .iter()
        .zip(expected)
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs())
        .fold(0.0, |largest, difference| {
            if difference.is_nan() {
                f64::INFINITY
            } else {
                largest.max(difference)
            }
        })
}
