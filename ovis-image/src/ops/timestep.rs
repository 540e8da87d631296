use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};
use half::{bf16, f16};

/// Computes the sinusoid `[cos(1000 t f_i) | sin(1000 t f_i)]`, `f_i = 10000^(-i / half)`.
///
/// Both references hold the timestep in the model's dtype, so that a bf16 model receives a rounded
/// value; this function does the same (diffusers: `timestep.to(hidden_states.dtype) * 1000`, then
/// `get_timestep_embedding` in f32).
///
/// The sinusoid is computed on the host, because shader cosines of arguments near 1000 are
/// inaccurate.
///
/// # Shapes
/// - `timesteps`: one per batch item, from 0 (clean) to 1 (noise)
/// - output: `[batch, channels]`, in `dtype`
///
/// # Panics
/// Panics if `channels` is odd.
pub fn timestep_embedding<B: Backend>(
    timesteps: &[f32],
    channels: usize,
    dtype: DType,
    device: &B::Device,
) -> Tensor<B, 2> {
    const MAX_PERIOD: f32 = 10_000.0;
    const TIME_FACTOR: f32 = 1000.0;

    let half = channels / 2;
    let mut frequencies: Vec<f32> = (0..half)
        .map(|i| (-MAX_PERIOD.ln() * i as f32 / half as f32).exp())
        .collect();
    if half == 128 {
        for (index, bits) in TORCHS_FREQUENCIES {
            frequencies[index] = f32::from_bits(bits);
        }
    }
    let mut values = Vec::with_capacity(timesteps.len() * channels);
    for timestep in timesteps {
        let timestep = round_to_dtype(round_to_dtype(*timestep, dtype) * TIME_FACTOR, dtype);
        values.extend(frequencies.iter().map(|f| (timestep * f).cos()));
        values.extend(frequencies.iter().map(|f| (timestep * f).sin()));
    }
    let data = TensorData::new(values, [timesteps.len(), channels]);
    Tensor::<B, 2>::from_data(data, (device, DType::F32)).cast(dtype)
}

/// Frequencies of the model's 256 channels where torch's exponential on CPUs is one unit away from
/// the nearest f32. An angle of 1000 turns that into 6e-5, which every later value would show.
const TORCHS_FREQUENCIES: [(usize, u32); 2] = [(12, 0x3ed7_e89b), (106, 0x39ff_4fad)];

/// Rounds a value to the nearest one that `dtype` can represent; f32 and wider dtypes return it
/// unchanged.
pub fn round_to_dtype(value: f32, dtype: DType) -> f32 {
    match dtype {
        DType::BF16 => bf16::from_f32(value).to_f32(),
        DType::F16 => f16::from_f32(value).to_f32(),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestBackend, TestTensor, assert_close, tensor, values};

    #[test]
    fn the_sinusoid_of_zero_is_ones_then_zeros() {
        let sinusoid: TestTensor<2> =
            timestep_embedding(&[0.0], 6, DType::F32, &Default::default());
        assert_close(
            sinusoid,
            tensor([1, 6], [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]),
            0.0,
        );
    }

    #[test]
    fn each_pair_of_cosine_and_sine_lies_on_the_unit_circle() {
        let timesteps = [0.001, 0.25, 1.0];
        let sinusoid =
            timestep_embedding::<TestBackend>(&timesteps, 8, DType::F32, &Default::default());
        assert_eq!(sinusoid.dims(), [3, 8]);
        for (timestep, row) in timesteps.iter().zip(values(sinusoid).chunks_exact(8)) {
            for (cosine, sine) in row[..4].iter().zip(&row[4..]) {
                assert!((cosine * cosine + sine * sine - 1.0).abs() < 1e-5);
            }
            // The first frequency is 1.
            assert!((row[0] - (1000.0 * timestep).cos()).abs() < 1e-4);
        }
    }

    #[test]
    fn timesteps_are_rounded_to_the_models_dtype() {
        let of = |timestep, dtype| {
            values(timestep_embedding::<TestBackend>(
                &[timestep],
                4,
                dtype,
                &Default::default(),
            ))
        };
        // These neighbors in f32 are the same number in bf16.
        assert_ne!(of(0.5, DType::F32), of(0.5001, DType::F32));
        assert_eq!(round_to_dtype(0.5001, DType::BF16), 0.5);
    }
}
