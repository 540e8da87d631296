use std::borrow::Cow;

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor, TensorData};
use safetensors::{Dtype, View};

use crate::ops::CODES_PER_WORD;

/// Tensor to be written to a safetensors file.
pub(super) struct StoredTensor {
    data: TensorData,
    dtype: Dtype,
    shape: Vec<usize>,
}

impl StoredTensor {
    /// Reads flat values from their device in f32, to be stored with a shape of as many elements.
    pub(super) fn new<B: Backend>(values: Tensor<B, 1>, shape: Vec<usize>) -> Self {
        Self {
            data: values.cast(DType::F32).into_data(),
            dtype: Dtype::F32,
            shape,
        }
    }

    /// Like [`new`](Self::new), but leaves bf16 as it is.
    pub(super) fn in_own_dtype<B: Backend>(values: Tensor<B, 1>, shape: Vec<usize>) -> Self {
        if values.dtype() != DType::BF16 {
            return Self::new(values, shape);
        }
        Self {
            data: values.into_data(),
            dtype: Dtype::BF16,
            shape,
        }
    }

    /// Reads 8-bit codes, four in each integer, from their device.
    pub(super) fn codes<B: Backend>(words: Tensor<B, 1, Int>) -> Self {
        let [count] = words.dims();
        Self {
            data: words.into_data().convert::<i32>(),
            dtype: Dtype::U8,
            shape: vec![count * CODES_PER_WORD],
        }
    }
}

impl View for StoredTensor {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data.bytes)
    }

    fn data_len(&self) -> usize {
        self.data.bytes.len()
    }
}
