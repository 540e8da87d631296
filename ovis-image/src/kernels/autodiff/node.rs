//! Node of Burn's graph for an operation whose gradient is computed here.

use std::fmt::Debug;
use std::marker::PhantomData;

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::backend::BackendTypes;
use burn::tensor::{Tensor, TensorPrimitive};
use burn_flex::{Flex, FlexTensor};

use crate::kernels::flex::views::{from_flex, to_flex};

/// Backend whose operations are recorded.
pub(super) type Recorded = Autodiff<Flex>;
/// Operand or output of a recorded operation.
pub(super) type Operand = <Recorded as BackendTypes>::FloatTensorPrimitive;

/// Values from which the gradients of an operation with N operands are computed.
pub(super) trait Saved<const N: usize>: Clone + Debug + Send + 'static {
    /// Computes the gradients of the operands. Gradients that are not wanted may be left out.
    fn gradients(self, output: FlexTensor, wanted: [bool; N]) -> [Option<FlexTensor>; N];
}

#[derive(Debug)]
struct Node<S>(PhantomData<S>);

impl<S: Saved<N>, const N: usize> Backward<Flex, N> for Node<S> {
    type State = S;

    fn backward(self, ops: Ops<S, N>, gradients: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let output = gradients.consume::<Flex>(&ops.node);
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let computed = ops.state.gradients(output, wanted);
        for (parent, gradient) in ops.parents.into_iter().zip(computed) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                gradients.register::<Flex>(parent.id, gradient);
            }
        }
    }
}

/// Adds an operation to the graph. `saved` is called only if an operand needs a gradient.
pub(super) fn record<S: Saved<N>, const N: usize, const D: usize>(
    operands: [Operand; N],
    output: Tensor<Flex, D>,
    saved: impl FnOnce() -> S,
) -> Tensor<Recorded, D> {
    let output = to_flex(output);
    let node = Node::<S>(PhantomData);
    let prepared = node
        .prepare::<NoCheckpointing>(operands.map(|operand| operand.node))
        .compute_bound()
        .stateful();
    let output = match prepared {
        OpsKind::Tracked(prepared) => prepared.finish(saved(), output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    };
    Tensor::from_primitive(TensorPrimitive::Float(output))
}

/// Returns the operand of the graph.
pub(super) fn operand<const D: usize>(tensor: Tensor<Recorded, D>) -> Operand {
    tensor.into_primitive().tensor()
}

/// Returns the value of an operand.
pub(super) fn value<const D: usize>(operand: &Operand) -> Tensor<Flex, D> {
    from_flex(operand.primitive.clone())
}

/// Returns an operand without gradient, in place of an absent one.
pub(super) fn nothing(device: &<Flex as BackendTypes>::Device) -> Operand {
    operand(Tensor::<Recorded, 1>::zeros([1], device))
}
