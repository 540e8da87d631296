//! The pass with the graph of one block at a time: a forward without gradients that keeps each
//! block's input, then a walk back that computes each block again. The gradient of a block's output
//! enters its graph as `sum(output * gradient)`.

use burn::module::AutodiffModule;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, Tensor};

use super::{GradientSink, PassGradients, PassInput, PassLoss, PassModels};
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
    let parts = Parts {
        transformer: models.transformer.clone(),
        auxiliary: models.auxiliary.cloned(),
        trained: models.trained,
    };
    let mut parameters = ParameterMap::new();
    let (_, prompt_embeds) = walk(parts, input, loss, &mut parameters);
    PassGradients {
        parameters,
        prompt_embeds,
    }
}

/// Models whose parts are differentiated one after the other.
pub(in crate::training) struct Parts<B: Backend> {
    pub(in crate::training) transformer: OvisImageTransformer<B>,
    pub(in crate::training) auxiliary: Option<CharacterHead<B>>,
    /// Parameters of the transformer that are trained.
    pub(in crate::training) trained: Trained,
}

/// Runs a pass and walks back. The gradients of each part go to the sink before those of the next
/// are computed. Returns the parts as the sink left them, and the gradient of the prompt embeddings.
pub(in crate::training) fn walk<A: AutodiffBackend>(
    parts: Parts<A::InnerBackend>,
    input: PassInput<A::InnerBackend>,
    loss: &mut impl PassLoss<A>,
    sink: &mut impl GradientSink<A::InnerBackend>,
) -> (Parts<A::InnerBackend>, Tensor<A::InnerBackend, 3>) {
    let Parts {
        mut transformer,
        auxiliary,
        trained,
    } = parts;
    let forward = Forward::run(&transformer, &input);
    let mut back = Back::<A>::new(&transformer, &forward, &input, trained);

    let (mut joint, gradients) = back.final_layer(&transformer.final_layer, &forward, loss);
    transformer.final_layer = sink.part(
        "transformer.final_layer",
        transformer.final_layer,
        gradients,
    );
    let mut single_blocks = std::mem::take(&mut transformer.single_blocks);
    let mut inputs = forward.single_inputs;
    // Each block leaves its list, so that it can be updated in its own memory.
    let mut done = Vec::new();
    while let (Some(block), Some(input)) = (single_blocks.pop(), inputs.pop()) {
        let path = format!("transformer.single_blocks.{}", single_blocks.len());
        let gradients;
        (joint, gradients) = back.single_block(&block, input, joint, &path);
        done.push(sink.part(&path, block, gradients));
    }
    done.reverse();
    transformer.single_blocks = done;

    let [text_tokens, image_tokens] = forward.tokens;
    let mut streams = JointHiddenStates {
        text: joint.clone().narrow(1, 0, text_tokens),
        image: joint.narrow(1, text_tokens, image_tokens),
    };
    let auxiliary = auxiliary.map(|head| {
        let image = streams.image.clone();
        let (image, gradients) = back.auxiliary(&head, forward.double_output, image, loss);
        streams.image = image;
        sink.part("auxiliary", head, gradients)
    });
    let mut double_blocks = std::mem::take(&mut transformer.double_blocks);
    let mut inputs = forward.double_inputs;
    let mut done = Vec::new();
    while let (Some(block), Some(input)) = (double_blocks.pop(), inputs.pop()) {
        let path = format!("transformer.double_blocks.{}", double_blocks.len());
        let gradients;
        (streams, gradients) = back.double_block(&block, input, streams, &path);
        done.push(sink.part(&path, block, gradients));
    }
    done.reverse();

    let single_blocks = std::mem::take(&mut transformer.single_blocks);
    let (prompt_embeds, gradients) = back.embedders(&transformer, input, streams);
    let mut transformer = sink.part("transformer", transformer, gradients);
    transformer.double_blocks = done;
    transformer.single_blocks = single_blocks;
    let parts = Parts {
        transformer,
        auxiliary,
        trained,
    };
    (parts, prompt_embeds)
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
    fn new(
        transformer: &OvisImageTransformer<A::InnerBackend>,
        forward: &Forward<A::InnerBackend>,
        input: &PassInput<A::InnerBackend>,
        trained: Trained,
    ) -> Self {
        let device = input.latents.device();
        let rope = transformer.rope(input.prompt_embeds.dims()[1], input.grid, &device);
        Self {
            conditioning: forward.conditioning.clone(),
            conditioning_gradient: forward.conditioning.zeros_like(),
            rope: RotaryTable {
                cos: Tensor::from_inner(rope.cos),
                sin: Tensor::from_inner(rope.sin),
            },
            trained,
        }
    }

    fn collect<M: AutodiffModule<A>>(
        &mut self,
        module: &M,
        conditioning: Option<&Tensor<A, 2>>,
        gradients: &A::Gradients,
        path: &str,
    ) -> ParameterMap<A::InnerBackend> {
        if let Some(conditioning) = conditioning {
            let sum = self.conditioning_gradient.clone();
            self.conditioning_gradient = sum + gradient_of(conditioning, gradients);
        }
        ParameterMap::of_gradients::<A, M>(module, gradients, path)
    }

    /// Differentiates the loss of the prediction. Returns the gradients of the last block's output and
    /// of the layer's parameters, as the other steps of the walk do.
    fn final_layer(
        &mut self,
        layer: &FinalLayer<A::InnerBackend>,
        forward: &Forward<A::InnerBackend>,
        loss: &mut impl PassLoss<A>,
    ) -> (Tensor<A::InnerBackend, 3>, ParameterMap<A::InnerBackend>) {
        let layer = lift_some::<A, FinalLayer<A>>(layer.clone(), self.trained);
        let conditioning = leaf::<A, 2>(self.conditioning.clone());
        let joint = leaf::<A, 3>(forward.single_output.clone());
        let [text_tokens, image_tokens] = forward.tokens;
        let image = joint.clone().narrow(1, text_tokens, image_tokens);
        let prediction = layer.forward(image, conditioning.clone());
        let gradients = loss.velocity(prediction.cast(DType::F32)).backward();
        let path = "transformer.final_layer";
        let parameters = self.collect(&layer, Some(&conditioning), &gradients, path);
        (gradient_of(&joint, &gradients), parameters)
    }

    fn single_block(
        &mut self,
        block: &SingleStreamBlock<A::InnerBackend>,
        input: Tensor<A::InnerBackend, 3>,
        gradient: Tensor<A::InnerBackend, 3>,
        path: &str,
    ) -> (Tensor<A::InnerBackend, 3>, ParameterMap<A::InnerBackend>) {
        let block = lift_some::<A, SingleStreamBlock<A>>(block.clone(), self.trained);
        let conditioning = leaf::<A, 2>(self.conditioning.clone());
        let input = leaf::<A, 3>(input);
        let output = block.forward(input.clone(), conditioning.clone(), &self.rope);
        let gradients = inject(output, gradient).backward();
        let parameters = self.collect(&block, Some(&conditioning), &gradients, path);
        (gradient_of(&input, &gradients), parameters)
    }

    fn double_block(
        &mut self,
        block: &DoubleStreamBlock<A::InnerBackend>,
        input: JointHiddenStates<A::InnerBackend>,
        gradient: JointHiddenStates<A::InnerBackend>,
        path: &str,
    ) -> (
        JointHiddenStates<A::InnerBackend>,
        ParameterMap<A::InnerBackend>,
    ) {
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
        let parameters = self.collect(&block, Some(&conditioning), &gradients, path);
        let streams = JointHiddenStates {
            image: gradient_of(&image, &gradients),
            text: gradient_of(&text, &gradients),
        };
        (streams, parameters)
    }

    /// Adds the auxiliary term's gradient to that of the image stream.
    fn auxiliary(
        &mut self,
        head: &CharacterHead<A::InnerBackend>,
        image: Tensor<A::InnerBackend, 3>,
        gradient: Tensor<A::InnerBackend, 3>,
        loss: &mut impl PassLoss<A>,
    ) -> (Tensor<A::InnerBackend, 3>, ParameterMap<A::InnerBackend>) {
        let head = lift::<A, CharacterHead<A>>(head.clone());
        let image = leaf::<A, 3>(image);
        let Some(term) = loss.auxiliary(&head, image.clone()) else {
            return (gradient, ParameterMap::new());
        };
        let gradients = term.backward();
        let parameters = self.collect(&head, None, &gradients, "auxiliary");
        (gradient + gradient_of(&image, &gradients), parameters)
    }

    /// Differentiates the layers before the blocks, of a transformer without blocks. The first
    /// gradient is that of the prompt embeddings.
    fn embedders(
        &mut self,
        transformer: &OvisImageTransformer<A::InnerBackend>,
        input: PassInput<A::InnerBackend>,
        gradient: JointHiddenStates<A::InnerBackend>,
    ) -> (Tensor<A::InnerBackend, 3>, ParameterMap<A::InnerBackend>) {
        let shell = lift_some::<A, OvisImageTransformer<A>>(transformer.clone(), self.trained);
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
        let parameters = self.collect(&shell, None, &gradients, "transformer");
        (gradient_of(&embeds, &gradients), parameters)
    }
}
