//! The pass with the graph of one block at a time: a forward without gradients that keeps each
//! block's input, then a walk back that computes each block again. The gradient of a block's output
//! enters its graph as `sum(output * gradient)`.

use burn::module::AutodiffModule;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, Tensor};

use super::{PassGradients, PassInput, PassLoss, PassModels};
use crate::kernels;
use crate::layers::fold_blocks;
use crate::ops::RotaryTable;
use crate::training::module_update::{Trained, lift, lift_some};
use crate::training::{CharacterHead, ParameterMap};
use crate::transformer::{
    DoubleStreamBlock, FinalLayer, JointHiddenStates, OvisImageTransformer, SingleStreamBlock,
};

pub(super) fn differentiate<A: AutodiffBackend>(
    models: &PassModels<'_, A::InnerBackend>,
    input: PassInput<A::InnerBackend>,
    loss: &mut impl PassLoss<A>,
) -> PassGradients<A::InnerBackend> {
    let transformer = models.transformer;
    let forward = Forward::run(transformer, &input);
    let device = input.latents.device();
    let rope = transformer.rope(input.prompt_embeds.dims()[1], input.grid, &device);
    let mut back = Back::<A> {
        conditioning: forward.conditioning.clone(),
        conditioning_gradient: forward.conditioning.zeros_like(),
        rope: RotaryTable {
            cos: Tensor::from_inner(rope.cos),
            sin: Tensor::from_inner(rope.sin),
        },
        parameters: ParameterMap::new(),
        trained: models.trained,
    };

    let mut joint = back.final_layer(&transformer.final_layer, &forward, loss);
    let blocks = transformer.single_blocks.iter().zip(forward.single_inputs);
    for (index, (block, input)) in blocks.enumerate().rev() {
        joint = back.single_block(block, input, joint, index);
    }
    let [text_tokens, image_tokens] = forward.tokens;
    let mut streams = JointHiddenStates {
        text: joint.clone().narrow(1, 0, text_tokens),
        image: joint.narrow(1, text_tokens, image_tokens),
    };
    if let Some(head) = models.auxiliary {
        let image = forward.double_output;
        streams.image = back.auxiliary(head, image, streams.image, loss);
    }
    let blocks = transformer.double_blocks.iter().zip(forward.double_inputs);
    for (index, (block, input)) in blocks.enumerate().rev() {
        streams = back.double_block(block, input, streams, index);
    }
    let prompt_embeds = back.embedders(transformer, input, streams);
    PassGradients {
        parameters: back.parameters,
        prompt_embeds,
    }
}

/// Values kept from the forward pass, including the input of every block.
struct Forward<B: Backend> {
    conditioning: Tensor<B, 2>,
    double_inputs: Vec<JointHiddenStates<B>>,
    /// Image stream after the double blocks.
    double_output: Tensor<B, 3>,
    single_inputs: Vec<Tensor<B, 3>>,
    single_output: Tensor<B, 3>,
    /// Numbers of text and image tokens.
    tokens: [usize; 2],
}

impl<B: Backend> Forward<B> {
    fn run(transformer: &OvisImageTransformer<B>, input: &PassInput<B>) -> Self {
        let device = input.latents.device();
        let rope = transformer.rope(input.prompt_embeds.dims()[1], input.grid, &device);
        let conditioning = transformer.conditioning(&input.timesteps);
        let embeds = transformer.text_norm.forward(input.prompt_embeds.clone());
        let streams = JointHiddenStates {
            image: transformer.image_embedder.forward(input.latents.clone()),
            text: transformer.text_embedder.forward(embeds),
        };
        // Streamed blocks give their weights back after their turn.
        let (streams, double_inputs) = fold_blocks(
            &transformer.double_blocks,
            (streams, Vec::new()),
            |(streams, mut inputs): (JointHiddenStates<B>, Vec<_>), _, block| {
                inputs.push(streams.clone());
                let output = block.forward(streams, conditioning.clone(), &rope);
                (output, inputs)
            },
        );
        let tokens = [streams.text.dims()[1], streams.image.dims()[1]];
        let double_output = streams.image.clone();
        let joint = kernels::join(streams.text, streams.image, 1);
        let (joint, single_inputs) = fold_blocks(
            &transformer.single_blocks,
            (joint, Vec::new()),
            |(joint, mut inputs): (Tensor<B, 3>, Vec<_>), _, block| {
                inputs.push(joint.clone());
                let output = block.forward(joint, conditioning.clone(), &rope);
                (output, inputs)
            },
        );
        Self {
            conditioning,
            double_inputs,
            double_output,
            single_inputs,
            single_output: joint,
            tokens,
        }
    }
}

/// State of the backward walk.
struct Back<A: AutodiffBackend> {
    conditioning: Tensor<A::InnerBackend, 2>,
    /// Sum of the gradients of the conditioning from all blocks.
    conditioning_gradient: Tensor<A::InnerBackend, 2>,
    rope: RotaryTable<A>,
    parameters: ParameterMap<A::InnerBackend>,
    trained: Trained,
}

/// Returns `sum(output * gradient)` in f32, whose gradient with respect to the output is
/// `gradient`.
fn inject<A: AutodiffBackend, const D: usize>(
    output: Tensor<A, D>,
    gradient: Tensor<A::InnerBackend, D>,
) -> Tensor<A, 1> {
    let gradient = Tensor::from_inner(gradient.cast(DType::F32));
    (output.cast(DType::F32) * gradient).sum()
}

fn leaf<A: AutodiffBackend, const D: usize>(tensor: Tensor<A::InnerBackend, D>) -> Tensor<A, D> {
    Tensor::from_inner(tensor).require_grad()
}

/// Returns the gradient of a leaf, or zeros if the loss does not depend on it.
fn gradient_of<A: AutodiffBackend, const D: usize>(
    leaf: &Tensor<A, D>,
    gradients: &A::Gradients,
) -> Tensor<A::InnerBackend, D> {
    leaf.grad(gradients)
        .unwrap_or_else(|| leaf.clone().inner().zeros_like())
}

impl<A: AutodiffBackend> Back<A> {
    fn collect<M: AutodiffModule<A>>(
        &mut self,
        module: &M,
        conditioning: Option<&Tensor<A, 2>>,
        gradients: &A::Gradients,
        path: &str,
    ) {
        let parameters = ParameterMap::of_gradients::<A, M>(module, gradients, path);
        self.parameters.add_all(parameters);
        if let Some(conditioning) = conditioning {
            let sum = self.conditioning_gradient.clone();
            self.conditioning_gradient = sum + gradient_of(conditioning, gradients);
        }
    }

    /// Differentiates the loss of the prediction. Returns the gradient of the last block's output.
    fn final_layer(
        &mut self,
        layer: &FinalLayer<A::InnerBackend>,
        forward: &Forward<A::InnerBackend>,
        loss: &mut impl PassLoss<A>,
    ) -> Tensor<A::InnerBackend, 3> {
        let layer = lift_some::<A, FinalLayer<A>>(layer.clone(), self.trained);
        let conditioning = leaf::<A, 2>(self.conditioning.clone());
        let joint = leaf::<A, 3>(forward.single_output.clone());
        let [text_tokens, image_tokens] = forward.tokens;
        let image = joint.clone().narrow(1, text_tokens, image_tokens);
        let prediction = layer.forward(image, conditioning.clone());
        let gradients = loss.velocity(prediction.cast(DType::F32)).backward();
        let path = "transformer.final_layer";
        self.collect(&layer, Some(&conditioning), &gradients, path);
        gradient_of(&joint, &gradients)
    }

    fn single_block(
        &mut self,
        block: &SingleStreamBlock<A::InnerBackend>,
        input: Tensor<A::InnerBackend, 3>,
        gradient: Tensor<A::InnerBackend, 3>,
        index: usize,
    ) -> Tensor<A::InnerBackend, 3> {
        let block = lift_some::<A, SingleStreamBlock<A>>(block.clone(), self.trained);
        let conditioning = leaf::<A, 2>(self.conditioning.clone());
        let input = leaf::<A, 3>(input);
        let output = block.forward(input.clone(), conditioning.clone(), &self.rope);
        let gradients = inject(output, gradient).backward();
        let path = format!("transformer.single_blocks.{index}");
        self.collect(&block, Some(&conditioning), &gradients, &path);
        gradient_of(&input, &gradients)
    }

    fn double_block(
        &mut self,
        block: &DoubleStreamBlock<A::InnerBackend>,
        input: JointHiddenStates<A::InnerBackend>,
        gradient: JointHiddenStates<A::InnerBackend>,
        index: usize,
    ) -> JointHiddenStates<A::InnerBackend> {
        let block = lift_some::<A, DoubleStreamBlock<A>>(block.clone(), self.trained);
        let conditioning = leaf::<A, 2>(self.conditioning.clone());
        let (image, text) = (leaf::<A, 3>(input.image), leaf::<A, 3>(input.text));
        let streams = JointHiddenStates {
            image: image.clone(),
            text: text.clone(),
        };
        let output = block.forward(streams, conditioning.clone(), &self.rope);
        let sum = inject(output.image, gradient.image) + inject(output.text, gradient.text);
        let gradients = sum.backward();
        let path = format!("transformer.double_blocks.{index}");
        self.collect(&block, Some(&conditioning), &gradients, &path);
        JointHiddenStates {
            image: gradient_of(&image, &gradients),
            text: gradient_of(&text, &gradients),
        }
    }

    /// Adds the auxiliary term's gradient to that of the image stream.
    fn auxiliary(
        &mut self,
        head: &CharacterHead<A::InnerBackend>,
        image: Tensor<A::InnerBackend, 3>,
        gradient: Tensor<A::InnerBackend, 3>,
        loss: &mut impl PassLoss<A>,
    ) -> Tensor<A::InnerBackend, 3> {
        let head = lift::<A, CharacterHead<A>>(head.clone());
        let image = leaf::<A, 3>(image);
        let Some(term) = loss.auxiliary(&head, image.clone()) else {
            return gradient;
        };
        let gradients = term.backward();
        self.collect(&head, None, &gradients, "auxiliary");
        gradient + gradient_of(&image, &gradients)
    }

    /// Differentiates the layers before the blocks. Returns the gradient of the prompt embeddings.
    fn embedders(
        &mut self,
        transformer: &OvisImageTransformer<A::InnerBackend>,
        input: PassInput<A::InnerBackend>,
        gradient: JointHiddenStates<A::InnerBackend>,
    ) -> Tensor<A::InnerBackend, 3> {
        let mut shell = transformer.clone();
        shell.double_blocks.clear();
        shell.single_blocks.clear();
        let shell = lift_some::<A, OvisImageTransformer<A>>(shell, self.trained);
        let embeds = leaf::<A, 3>(input.prompt_embeds);
        let image = shell
            .image_embedder
            .forward(Tensor::from_inner(input.latents));
        let text = shell
            .text_embedder
            .forward(shell.text_norm.forward(embeds.clone()));
        let conditioning = shell.conditioning(&input.timesteps);
        let sum = inject(image, gradient.image)
            + inject(text, gradient.text)
            + inject(conditioning, self.conditioning_gradient.clone());
        let gradients = sum.backward();
        self.collect(&shell, None, &gradients, "transformer");
        gradient_of(&embeds, &gradients)
    }
}
