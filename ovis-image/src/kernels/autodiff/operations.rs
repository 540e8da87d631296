//! Recorded operations. Each falls back to the portable implementation where flex has no kernel for
//! the operands.

use burn::tensor::Tensor;
use burn_flex::{Flex, FlexTensor};

use super::node::{Recorded, Saved, nothing, operand, record, value};
use crate::cpu::gradients::WIDEST_HEAD;
use crate::kernels::flex::views::from_flex;
use crate::kernels::flex::{self, gradients};
use crate::ops::{self, Activation, AttentionMask, Pairs, RotaryTable};

type Gradients<const N: usize> = [Option<FlexTensor>; N];

#[derive(Debug, Clone)]
struct LinearLayer {
    input: Tensor<Flex, 2>,
    weight: Tensor<Flex, 2>,
}

impl Saved<3> for LinearLayer {
    fn gradients(self, output: FlexTensor, wanted: [bool; 3]) -> Gradients<3> {
        gradients::linear_layer(from_flex(output), self.input, self.weight, wanted)
    }
}

pub(in crate::kernels) fn linear_layer(
    input: Tensor<Recorded, 2>,
    weight: Tensor<Recorded, 2>,
    bias: Option<Tensor<Recorded, 1>>,
) -> Tensor<Recorded, 2> {
    let dtype = input.dtype();
    let same = weight.dtype() == dtype && bias.as_ref().is_none_or(|bias| bias.dtype() == dtype);
    if !same || !gradients::supports(dtype) {
        return ops::linear(input, weight, bias);
    }
    let (input, weight, bias) = (operand(input), operand(weight), bias.map(operand));
    let (x, w) = (value::<2>(&input), value::<2>(&weight));
    let output = flex::linear_layer(x.clone(), w.clone(), bias.as_ref().map(value));
    let bias = bias.unwrap_or_else(|| nothing(&x.device()));
    record([input, weight, bias], output, || LinearLayer {
        input: x,
        weight: w,
    })
}

#[derive(Debug, Clone)]
struct Attention {
    operands: [Tensor<Flex, 4>; 3],
    causal: bool,
}

impl Saved<3> for Attention {
    fn gradients(self, output: FlexTensor, _wanted: [bool; 3]) -> Gradients<3> {
        gradients::multi_head_attention(from_flex(output), self.operands, self.causal)
    }
}

pub(in crate::kernels) fn multi_head_attention(
    query: Tensor<Recorded, 4>,
    key: Tensor<Recorded, 4>,
    value_: Tensor<Recorded, 4>,
    mask: AttentionMask<Recorded>,
) -> Tensor<Recorded, 4> {
    let dtype = query.dtype();
    let same = key.dtype() == dtype && value_.dtype() == dtype;
    let inner_mask = match &mask {
        AttentionMask::Full => AttentionMask::Full,
        AttentionMask::Causal => AttentionMask::Causal,
        AttentionMask::Hidden(_) => return ops::attention(query, key, value_, mask),
    };
    if !same || !gradients::supports(dtype) {
        return ops::attention(query, key, value_, mask);
    }
    let causal = matches!(mask, AttentionMask::Causal);
    let operands = [query, key, value_].map(operand);
    let values = operands.each_ref().map(value::<4>);
    let [query, key, value_] = values.clone();
    let output = flex::multi_head_attention(query, key, value_, inner_mask);
    record(operands, output, || Attention {
        operands: values,
        causal,
    })
}

#[derive(Debug, Clone)]
struct NormAndRotate {
    projected: Tensor<Flex, 3>,
    weight: Tensor<Flex, 1>,
    eps: f64,
    rope: RotaryTable<Flex>,
    pairs: Pairs,
}

impl Saved<2> for NormAndRotate {
    fn gradients(self, output: FlexTensor, _wanted: [bool; 2]) -> Gradients<2> {
        let Self {
            projected,
            weight,
            eps,
            rope,
            pairs,
        } = self;
        gradients::norm_and_rotate(from_flex(output), projected, weight, eps, rope, pairs)
    }
}

pub(in crate::kernels) fn norm_and_rotate(
    projected: Tensor<Recorded, 3>,
    weight: Tensor<Recorded, 1>,
    eps: f64,
    rope: RotaryTable<Recorded>,
    pairs: Pairs,
) -> Tensor<Recorded, 4> {
    let [head_dim] = weight.dims();
    if !gradients::supports(projected.dtype()) || head_dim > WIDEST_HEAD {
        return ops::norm_and_rotate(projected, weight, eps, &rope, pairs);
    }
    let rope = RotaryTable {
        cos: rope.cos.inner(),
        sin: rope.sin.inner(),
    };
    let (projected, weight) = (operand(projected), operand(weight));
    let saved = NormAndRotate {
        projected: value(&projected),
        weight: value(&weight),
        eps,
        rope,
        pairs,
    };
    let NormAndRotate {
        projected: x,
        weight: w,
        rope,
        ..
    } = saved.clone();
    let output = flex::norm_and_rotate(x, w, eps, rope, pairs);
    record([projected, weight], output, || saved)
}

#[derive(Debug, Clone)]
struct ModulatedNorm {
    hidden_states: Tensor<Flex, 3>,
    scale: Tensor<Flex, 3>,
    eps: f64,
}

impl Saved<3> for ModulatedNorm {
    fn gradients(self, output: FlexTensor, _wanted: [bool; 3]) -> Gradients<3> {
        gradients::modulated_norm(from_flex(output), self.hidden_states, self.scale, self.eps)
    }
}

pub(in crate::kernels) fn modulated_norm(
    hidden_states: Tensor<Recorded, 3>,
    shift: Tensor<Recorded, 3>,
    scale: Tensor<Recorded, 3>,
    eps: f64,
) -> Tensor<Recorded, 3> {
    let dtype = hidden_states.dtype();
    let same = shift.dtype() == dtype && scale.dtype() == dtype && shift.dims() == scale.dims();
    if !same || !gradients::supports(dtype) {
        return ops::modulated_norm(hidden_states, shift, scale, eps);
    }
    let operands = [hidden_states, shift, scale].map(operand);
    let [hidden_states, shift, scale] = operands.each_ref().map(value::<3>);
    let output = flex::modulated_norm(hidden_states.clone(), shift, scale.clone(), eps);
    record(operands, output, || ModulatedNorm {
        hidden_states,
        scale,
        eps,
    })
}

#[derive(Debug, Clone)]
struct RmsNorm<const D: usize> {
    input: Tensor<Flex, D>,
    weight: Tensor<Flex, 1>,
    eps: f64,
}

impl<const D: usize> Saved<2> for RmsNorm<D> {
    fn gradients(self, output: FlexTensor, _wanted: [bool; 2]) -> Gradients<2> {
        gradients::rms_norm(from_flex(output), self.input, self.weight, self.eps)
    }
}

pub(in crate::kernels) fn rms_norm<const D: usize>(
    input: Tensor<Recorded, D>,
    weight: Tensor<Recorded, 1>,
    eps: f64,
) -> Tensor<Recorded, D> {
    if !gradients::supports(input.dtype()) {
        return ops::rms_norm(input, weight, eps);
    }
    let (input, weight) = (operand(input), operand(weight));
    let (x, w) = (value::<D>(&input), value::<1>(&weight));
    let output = flex::rms_norm(x.clone(), w.clone(), eps);
    record([input, weight], output, || RmsNorm {
        input: x,
        weight: w,
        eps,
    })
}

#[derive(Debug, Clone)]
struct Swiglu {
    gate: Tensor<Flex, 3>,
    up: Tensor<Flex, 3>,
}

impl Saved<2> for Swiglu {
    fn gradients(self, output: FlexTensor, _wanted: [bool; 2]) -> Gradients<2> {
        gradients::swiglu(from_flex(output), self.gate, self.up)
    }
}

pub(in crate::kernels) fn swiglu(
    gate: Tensor<Recorded, 3>,
    up: Tensor<Recorded, 3>,
) -> Tensor<Recorded, 3> {
    let dtype = gate.dtype();
    if up.dtype() != dtype || up.dims() != gate.dims() || !gradients::supports(dtype) {
        return ops::swiglu(gate, up);
    }
    let operands = [gate, up].map(operand);
    let [gate, up] = operands.each_ref().map(value::<3>);
    let output = flex::swiglu(gate.clone(), up.clone());
    record(operands, output, || Swiglu { gate, up })
}

#[derive(Debug, Clone)]
struct AddGated {
    gate: Tensor<Flex, 3>,
    update: Tensor<Flex, 3>,
}

impl Saved<3> for AddGated {
    fn gradients(self, output: FlexTensor, _wanted: [bool; 3]) -> Gradients<3> {
        let residual = Some(output.clone());
        let [gate, update] = gradients::add_gated(from_flex(output), self.gate, self.update);
        [residual, gate, update]
    }
}

pub(in crate::kernels) fn add_gated(
    residual: Tensor<Recorded, 3>,
    gate: Tensor<Recorded, 3>,
    update: Tensor<Recorded, 3>,
) -> Tensor<Recorded, 3> {
    let dtype = residual.dtype();
    let same = gate.dtype() == dtype && update.dtype() == dtype;
    if !same || residual.dims() != update.dims() || !gradients::supports(dtype) {
        return ops::add_gated(residual, gate, update);
    }
    let operands = [residual, gate, update].map(operand);
    let [residual, gate, update] = operands.each_ref().map(value::<3>);
    let output = flex::add_gated(residual, gate.clone(), update.clone());
    record(operands, output, || AddGated { gate, update })
}

#[derive(Debug, Clone)]
struct GroupNorm {
    input: Tensor<Flex, 4>,
    parameters: [Tensor<Flex, 1>; 2],
    groups: usize,
    eps: f64,
    activation: Activation,
}

impl Saved<3> for GroupNorm {
    fn gradients(self, output: FlexTensor, _wanted: [bool; 3]) -> Gradients<3> {
        let Self {
            input,
            parameters,
            groups,
            eps,
            activation,
        } = self;
        gradients::group_norm(
            from_flex(output),
            input,
            parameters,
            groups,
            eps,
            activation,
        )
    }
}

pub(in crate::kernels) fn group_norm(
    input: Tensor<Recorded, 4>,
    weight: Tensor<Recorded, 1>,
    bias: Tensor<Recorded, 1>,
    groups: usize,
    eps: f64,
    activation: Activation,
) -> Tensor<Recorded, 4> {
    if !gradients::supports(input.dtype()) {
        return ops::group_norm(input, weight, bias, groups, eps, activation);
    }
    let (input, weight, bias) = (operand(input), operand(weight), operand(bias));
    let saved = GroupNorm {
        input: value(&input),
        parameters: [value(&weight), value(&bias)],
        groups,
        eps,
        activation,
    };
    let [w, b] = saved.parameters.clone();
    let output = flex::group_norm(saved.input.clone(), w, b, groups, eps, activation);
    record([input, weight, bias], output, || saved)
}

#[derive(Debug, Clone)]
struct Convolution {
    input: Tensor<Flex, 4>,
    weight: Tensor<Flex, 4>,
    stride: usize,
    /// Number of zeros before and after the input.
    padding: [usize; 2],
}

impl Saved<3> for Convolution {
    fn gradients(self, output: FlexTensor, wanted: [bool; 3]) -> Gradients<3> {
        let Self {
            input,
            weight,
            stride,
            padding,
        } = self;
        gradients::convolution(from_flex(output), input, weight, (stride, padding), wanted)
    }
}

pub(in crate::kernels) fn convolution(
    input: Tensor<Recorded, 4>,
    weight: Tensor<Recorded, 4>,
    bias: Tensor<Recorded, 1>,
    stride: usize,
    padding: usize,
) -> Tensor<Recorded, 4> {
    let dtype = input.dtype();
    let same = weight.dtype() == dtype && bias.dtype() == dtype;
    if !same || !gradients::supports(dtype) {
        return ops::conv2d(input, weight, bias, stride, padding);
    }
    let (input, weight, bias) = (operand(input), operand(weight), operand(bias));
    let (x, w) = (value::<4>(&input), value::<4>(&weight));
    let output = flex::convolution(x.clone(), w.clone(), value(&bias), stride, padding);
    record([input, weight, bias], output, || Convolution {
        input: x,
        weight: w,
        stride,
        padding: [padding; 2],
    })
}

pub(in crate::kernels) fn halving_convolution(
    input: Tensor<Recorded, 4>,
    weight: Tensor<Recorded, 4>,
    bias: Tensor<Recorded, 1>,
) -> Tensor<Recorded, 4> {
    let dtype = input.dtype();
    let same = weight.dtype() == dtype && bias.dtype() == dtype;
    if !same || !gradients::supports(dtype) {
        return ops::halving_convolution(input, weight, bias);
    }
    let (input, weight, bias) = (operand(input), operand(weight), operand(bias));
    let (x, w) = (value::<4>(&input), value::<4>(&weight));
    let output = flex::halving_convolution(x.clone(), w.clone(), value(&bias));
    record([input, weight, bias], output, || Convolution {
        input: x,
        weight: w,
        stride: 2,
        padding: [0, 1],
    })
}

#[derive(Debug, Clone)]
struct DoubleSize;

impl Saved<1> for DoubleSize {
    fn gradients(self, output: FlexTensor, _wanted: [bool; 1]) -> Gradients<1> {
        [gradients::double_size(from_flex(output))]
    }
}

pub(in crate::kernels) fn double_size(input: Tensor<Recorded, 4>) -> Tensor<Recorded, 4> {
    if !gradients::supports(input.dtype()) {
        return ops::double_size(input);
    }
    let input = operand(input);
    let output = flex::double_size(value(&input));
    record([input], output, || DoubleSize)
}
