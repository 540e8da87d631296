//! Pass with one graph over all blocks.

use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{DType, Tensor};

use super::{PassGradients, PassInput, PassLoss, PassModels};
use crate::kernels;
use crate::training::module_update::{lift, lift_some};
use crate::training::{CharacterHead, ParameterMap};
use crate::transformer::{JointHiddenStates, OvisImageTransformer};

pub(super) fn differentiate<A: AutodiffBackend>(
    models: &PassModels<'_, A::InnerBackend>,
    input: PassInput<A::InnerBackend>,
    loss: &mut impl PassLoss<A>,
) -> PassGradients<A::InnerBackend> {
    let transformer =
        lift_some::<A, OvisImageTransformer<A>>(models.transformer.clone(), models.trained);
    let head = models
        .auxiliary
        .map(|head| lift::<A, CharacterHead<A>>(head.clone()));
    let prompt_embeds = Tensor::<A, 3>::from_inner(input.prompt_embeds).require_grad();

    let device = prompt_embeds.device();
    let rope = transformer.rope(prompt_embeds.dims()[1], input.grid, &device);
    let conditioning = transformer.conditioning(&input.timesteps);
    let mut streams = JointHiddenStates {
        image: transformer
            .image_embedder
            .forward(Tensor::from_inner(input.latents)),
        text: transformer
            .text_embedder
            .forward(transformer.text_norm.forward(prompt_embeds.clone())),
    };
    for block in &transformer.double_blocks {
        streams = block.forward(streams, conditioning.clone(), &rope);
    }
    let auxiliary = head
        .as_ref()
        .and_then(|head| loss.auxiliary(head, streams.image.clone()));
    let [text_tokens, image_tokens] = [streams.text.dims()[1], streams.image.dims()[1]];
    let mut joint = kernels::join(streams.text, streams.image, 1);
    for block in &transformer.single_blocks {
        joint = block.forward(joint, conditioning.clone(), &rope);
    }
    let [_, image] = kernels::split(joint, 1, [text_tokens, image_tokens]);
    let prediction = transformer.final_layer.forward(image, conditioning);
    let velocity = loss.velocity(prediction.cast(DType::F32));
    let total = match auxiliary {
        Some(auxiliary) => velocity + auxiliary,
        None => velocity,
    };

    let gradients = total.backward();
    let mut parameters =
        ParameterMap::of_gradients::<A, _>(&transformer, &gradients, "transformer");
    if let Some(head) = &head {
        parameters.add_all(ParameterMap::of_gradients::<A, _>(
            head,
            &gradients,
            "auxiliary",
        ));
    }
    let dims = prompt_embeds.dims();
    let embeds = prompt_embeds.grad(&gradients);
    PassGradients {
        parameters,
        prompt_embeds: embeds.unwrap_or_else(|| Tensor::zeros(dims, &device)),
    }
}
