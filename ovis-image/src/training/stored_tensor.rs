use std::borrow::Cow;

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};
use safetensors::{Dtype, View};

/// Tensor to be written to a safetensors file, in f32.
pub(super) struct StoredTensor {
    data: TensorData,
    shape: Vec<usize>,
}

impl StoredTensor {
    /// Reads flat values from their device, to be stored with a shape of as many elements.
    pub(super) fn new<B: Backend>(values: Tensor<B, 1>, shape: Vec<usize>) -> Self {
        Self {
            data: values.cast(DType::F32).into_data(),
            shape,
        }
    }
}

impl View for StoredTensor {
    fn dtype(&self) -> Dtype {
        Dtype::F32
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
