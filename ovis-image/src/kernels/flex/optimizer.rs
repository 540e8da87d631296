//! Steps of the optimizer on flex. They write into the memory of tensors that nobody else holds.

use burn::tensor::{DType, Int, Tensor};
use burn_flex::{Flex, FlexTensor};
use half::bf16;

use super::views::{contiguous, elements, from_flex, output_of, tensor};
use crate::cpu::{self, InstructionSet, Moment8bit};
use crate::ops::{self, AdamW8bitTensors, AdamWStep, AdamWTensors, QuantizedMoment};

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

pub(in crate::kernels) fn adamw_8bit(
    tensors: AdamW8bitTensors<Flex>,
    gradient: Tensor<Flex, 1>,
    step: AdamWStep,
) -> AdamW8bitTensors<Flex> {
    // Codes are read in the order of their bytes in memory.
    let ordered = cfg!(target_endian = "little");
    let dtypes = [tensors.parameter.dtype(), gradient.dtype()];
    if !ordered || dtypes != [DType::F32; 2] {
        return ops::adamw_8bit(tensors, gradient, step);
    }
    let gradient = contiguous(gradient);
    let mut parameter = whole(tensors.parameter);
    let mut first = WholeMoment::new(tensors.first_moment);
    let mut second = WholeMoment::new(tensors.second_moment);
    cpu::adamw_8bit(
        InstructionSet::in_use(),
        parameter.storage_mut(),
        [first.slices(), second.slices()],
        elements(&gradient),
        step,
    );
    AdamW8bitTensors {
        parameter: from_flex(parameter),
        first_moment: first.into_moment(),
        second_moment: second.into_moment(),
    }
}

/// Moment whose tensors are the whole of their storage.
struct WholeMoment {
    codes: FlexTensor,
    scales: FlexTensor,
}

impl WholeMoment {
    fn new(moment: QuantizedMoment<Flex>) -> Self {
        Self {
            codes: whole_of(moment.codes.into_primitive()),
            scales: whole(moment.scales),
        }
    }

    fn slices(&mut self) -> Moment8bit<'_> {
        Moment8bit {
            codes: bytemuck::cast_slice_mut(self.codes.storage_mut::<i32>()),
            scales: self.scales.storage_mut(),
        }
    }

    fn into_moment(self) -> QuantizedMoment<Flex> {
        QuantizedMoment {
            codes: Tensor::<Flex, 1, Int>::from_primitive(self.codes),
            scales: from_flex(self.scales),
        }
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

pub(in crate::kernels) fn stochastic_round(values: Tensor<Flex, 1>, key: u64) -> Tensor<Flex, 1> {
    let [count] = values.dims();
    if values.dtype() != DType::F32 || u32::try_from(count).is_err() {
        return ops::stochastic_round(values, key);
    }
    let values = contiguous(values);
    let set = InstructionSet::in_use();
    let rounded = output_of::<bf16>(count, |rounded| {
        cpu::stochastic_round(set, elements(&values), rounded, key);
    });
    tensor(rounded, [count])
}

/// Returns the tensor as the whole of its storage, copied if it is a part.
fn whole<const D: usize>(tensor: Tensor<Flex, D>) -> FlexTensor {
    whole_of(contiguous(tensor))
}

/// Like [`whole`], for elements of 32 bits in row-major order.
fn whole_of(tensor: FlexTensor) -> FlexTensor {
    let bytes = tensor.layout().num_elements() * size_of::<f32>();
    if tensor.bytes().len() == bytes {
        tensor
    } else {
        FlexTensor::from_data(tensor.into_data())
    }
}
