use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};
use half::{bf16, f16};

/// The sinusoid `[cos(1000 t f_i) | sin(1000 t f_i)]`, `f_i = 10000^(-i / half)`.
///
/// Both references hold the timestep in the model's dtype, so that a bf16 model sees it rounded;
/// the same is done here (diffusers: `timestep.to(hidden_states.dtype) * 1000`, then
/// `get_timestep_embedding` in f32). Computed on the host: shader cosines of arguments near 1000
/// are not accurate.
///
/// # Shapes
/// - `timesteps`: one per batch item, 0 (clean) to 1 (noise)
/// - output: `[batch, channels]`, in `dtype`
///
/// # Panics
/// If `channels` is odd.
pub fn timestep_embedding<B: Backend>(
    timesteps: &[f32],
    channels: usize,
    dtype: DType,
    device: &B::Device,
) -> Tensor<B, 2> {
    const MAX_PERIOD: f32 = 10_000.0;
    const TIME_FACTOR: f32 = 1000.0;

    let half = channels / 2;
    let frequencies: Vec<f32> = (0..half)
        .map(|i| (-MAX_PERIOD.ln() * i as f32 / half as f32).exp())
        .collect();
    let mut values = Vec::with_capacity(timesteps.len() * channels);
    for timestep in timesteps {
        let timestep = round_to_dtype(round_to_dtype(*timestep, dtype) * TIME_FACTOR, dtype);
        values.extend(frequencies.iter().map(|f| (timestep * f).cos()));
        values.extend(frequencies.iter().map(|f| (timestep * f).sin()));
    }
    let data = TensorData::new(values, [timesteps.len(), channels]);
    Tensor::<B, 2>::from_data(data, (device, DType::F32)).cast(dtype)
}

/// The nearest value that `dtype` can hold; f32 and wider return it unchanged.
pub fn round_to_dtype(value: f32, dtype: DType) -> f32 {
    match dtype {
        DType::BF16 => bf16::from_f32(value).to_f32(),
        DType::F16 => f16::from_f32(value).to_f32(),
        _ => value,
    }
}
