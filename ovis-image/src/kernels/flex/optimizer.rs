//! Steps of the optimizer on flex. They write into the memory of tensors that nobody else holds.

use burn::tensor::{DType, Tensor};
use burn_flex::{Flex, FlexTensor};

use super::views::{contiguous, elements, from_flex, tensor};
use crate::cpu::{self, InstructionSet};
use crate::ops::{self, AdamWStep, AdamWTensors};

pub(in crate::kernels) fn adamw<const D: usize>(
    tensors: AdamWTensors<Flex, D>,
    gradient: Tensor<Flex, D>,
    step: AdamWStep,
) -> AdamWTensors<Flex, D> {
    let AdamWTensors {
        parameter,
        first_moment,
        second_moment,
    } = tensors;
    let dtypes = [&parameter, &first_moment, &second_moment, &gradient].map(Tensor::dtype);
    if dtypes != [DType::F32; 4] {
        let tensors = AdamWTensors {
            parameter,
            first_moment,
            second_moment,
        };
        return ops::adamw(tensors, gradient, step);
    }
    let gradient = contiguous(gradient);
    let [mut parameter, mut first, mut second] =
        [parameter, first_moment, second_moment].map(whole);
    cpu::adamw(
        InstructionSet::in_use(),
        parameter.storage_mut(),
        [first.storage_mut(), second.storage_mut()],
        elements(&gradient),
        step,
    );
    AdamWTensors {
        parameter: from_flex(parameter),
        first_moment: from_flex(first),
        second_moment: from_flex(second),
    }
}

pub(in crate::kernels) fn blend<const D: usize>(
    from: Tensor<Flex, D>,
    to: Tensor<Flex, D>,
    weight: f32,
) -> Tensor<Flex, D> {
    if from.dtype() != DType::F32 || to.dtype() != DType::F32 {
        return ops::blend(from, to, weight);
    }
    let mut from = whole(from);
    let to = contiguous(to);
    cpu::blend(
        InstructionSet::in_use(),
        from.storage_mut(),
        elements(&to),
        weight,
    );
    from_flex(from)
}

pub(in crate::kernels) fn sum_of_squares(values: Tensor<Flex, 1>) -> Tensor<Flex, 1> {
    if values.dtype() != DType::F32 {
        return ops::sum_of_squares(values);
    }
    let values = contiguous(values);
    tensor(
        vec![cpu::sum_of_squares(
            InstructionSet::in_use(),
            elements(&values),
        )],
        [1],
    )
}

/// Returns the tensor as the whole of its storage, copied if it is a part.
fn whole<const D: usize>(tensor: Tensor<Flex, D>) -> FlexTensor {
    let tensor = contiguous(tensor);
    let bytes = tensor.layout().num_elements() * size_of::<f32>();
    if tensor.bytes().len() == bytes {
        tensor
    } else {
        FlexTensor::from_data(tensor.into_data())
    }
}
