//! Tolerances of the golden tests, each with its reason.

use ovis_image::WeightDtype;

/// Largest relative errors `‖a - b‖ / ‖b‖` of a backend against the reference.
#[derive(Debug, Clone, Copy)]
pub struct Tolerance {
    /// Error of a single stage from the reference's own inputs.
    pub stage: f64,
    /// Error of a whole forward from the reference's conditioning.
    pub forward: f64,
    /// Error of a forward from the timestep. Exponentials differ between hosts by one unit in the
    /// last place of a frequency, which is 6e-5 of an angle of 1000, and the model multiplies it.
    pub from_timestep: f64,
    /// Error of the guided prediction: guidance multiplies the difference of two predictions.
    pub guided: f64,
    /// Error of the latents after the first and the last step, and of the image.
    pub result: f64,
}

/// Absolute tolerance of sigmas and noise: f32 arithmetic on values up to about 5.
pub const SIGMAS_AND_NOISE: f64 = 1e-6;

/// Returns the tolerance for the released weights. It is an expectation and not a measurement,
/// because the weights were not available.
///
/// The release has 33 blocks where the goldens have 3 to 5, and 20 guided steps where those have 4.
/// Rounding errors add up like the square root of their number, so an error may be three times that
/// of [`tolerance`] in one forward and six times in the result.
pub fn released_weights(dtype: WeightDtype) -> Tolerance {
    let small = tolerance("", dtype);
    Tolerance {
        stage: 3.0 * small.stage,
        forward: 3.0 * small.forward,
        from_timestep: 3.0 * small.from_timestep,
        guided: 3.0 * small.guided,
        result: 6.0 * small.result,
    }
}

/// Returns the tolerance of a backend and dtype.
///
/// f32 has a unit roundoff of 6e-8. A stage is a few hundred dependent sums and products, whose
/// errors add up like sqrt(n) to about 1e-6; 1e-5 leaves room for another order of summation, and
/// the whole loop of up to four guided steps adds a factor of ten. GPU drivers may contract,
/// reorder and approximate divisions and exponentials, which adds another factor of ten.
///
/// bf16 has a unit roundoff of 3.9e-3, and the reference rounds after each operation where this
/// library rounds after several. The reference's own bf16 run differs from its f32 run by 0.7 to
/// 1.6 % for one forward, 2.0 to 2.3 % for the guided one and 0.6 to 0.8 % for the final latents
/// (tests/reference), with models as narrow as these. Two runs that are each that far from exact
/// are up to twice as far from each other.
///
/// f16 has three more bits, a unit roundoff of 4.9e-4, and the reference's f16 run is 7 to 8.5 times
/// closer to its f32 run than the bf16 one, stage by stage: an eighth of the limits of bf16.
pub fn tolerance(backend: &str, dtype: WeightDtype) -> Tolerance {
    match (backend, dtype) {
        (_, WeightDtype::F16) => Tolerance {
            stage: 2.5e-3,
            forward: 5e-3,
            from_timestep: 5e-3,
            guided: 6.3e-3,
            result: 2.5e-3,
        },
        (_, WeightDtype::BF16) => Tolerance {
            stage: 2e-2,
            forward: 4e-2,
            from_timestep: 4e-2,
            guided: 5e-2,
            result: 2e-2,
        },
        ("flex", WeightDtype::F32) => Tolerance {
            stage: 1e-5,
            forward: 1e-5,
            from_timestep: 1e-4,
            guided: 1e-4,
            result: 1e-4,
        },
        ("ndarray", WeightDtype::F32) => Tolerance {
            stage: 1e-4,
            forward: 1e-4,
            from_timestep: 1e-4,
            guided: 1e-4,
            result: 1e-4,
        },
        _ => Tolerance {
            stage: 1e-3,
            forward: 1e-3,
            from_timestep: 1e-3,
            guided: 1e-3,
            result: 1e-3,
        },
    }
}
