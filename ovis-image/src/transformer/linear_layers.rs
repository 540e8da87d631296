//! Linear layers of the transformer by path, to which adapters attach.

use burn::tensor::backend::Backend;

use super::{
    DoubleStreamBlock, FeedForward, OvisImageTransformer, SingleStreamBlock, StreamAttention,
};
use crate::layers::LinearLayer;

impl<B: Backend> OvisImageTransformer<B> {
    /// Returns all linear layers with their paths, for example
    /// `double_blocks.0.image_attention.qkv`.
    pub fn linear_layers_mut(&mut self) -> Vec<(String, &mut LinearLayer<B>)> {
        let mut layers = vec![
            ("image_embedder".to_owned(), &mut self.image_embedder),
            ("text_embedder".to_owned(), &mut self.text_embedder),
            (
                "timestep_embedder.input".to_owned(),
                &mut self.timestep_embedder.input,
            ),
            (
                "timestep_embedder.output".to_owned(),
                &mut self.timestep_embedder.output,
            ),
            (
                "final_layer.modulation".to_owned(),
                &mut self.final_layer.modulation,
            ),
            (
                "final_layer.output".to_owned(),
                &mut self.final_layer.output,
            ),
        ];
        for (index, block) in self.double_blocks.iter_mut().enumerate() {
            let path = |(name, layer)| (format!("double_blocks.{index}.{name}"), layer);
            layers.extend(of_double_block(block).into_iter().map(path));
        }
        for (index, block) in self.single_blocks.iter_mut().enumerate() {
            let path = |(name, layer)| (format!("single_blocks.{index}.{name}"), layer);
            layers.extend(of_single_block(block).into_iter().map(path));
        }
        layers
    }
}

type Named<'a, B, const N: usize> = [(&'static str, &'a mut LinearLayer<B>); N];

fn of_double_block<B: Backend>(block: &mut DoubleStreamBlock<B>) -> Named<'_, B, 12> {
    let DoubleStreamBlock {
        image_modulation,
        image_attention,
        image_feed_forward,
        text_modulation,
        text_attention,
        text_feed_forward,
        streamed: _,
    } = block;
    let [image_qkv, image_output] = of_attention(image_attention);
    let [image_gate, image_up, image_down] = of_feed_forward(image_feed_forward);
    let [text_qkv, text_output] = of_attention(text_attention);
    let [text_gate, text_up, text_down] = of_feed_forward(text_feed_forward);
    [
        ("image_modulation.linear", &mut image_modulation.linear),
        ("image_attention.qkv", image_qkv),
        ("image_attention.output", image_output),
        ("image_feed_forward.gate", image_gate),
        ("image_feed_forward.up", image_up),
        ("image_feed_forward.down", image_down),
        ("text_modulation.linear", &mut text_modulation.linear),
        ("text_attention.qkv", text_qkv),
        ("text_attention.output", text_output),
        ("text_feed_forward.gate", text_gate),
        ("text_feed_forward.up", text_up),
        ("text_feed_forward.down", text_down),
    ]
}

fn of_single_block<B: Backend>(block: &mut SingleStreamBlock<B>) -> Named<'_, B, 3> {
    [
        ("modulation.linear", &mut block.modulation.linear),
        ("qkv_mlp", &mut block.qkv_mlp),
        ("output", &mut block.output),
    ]
}

fn of_attention<B: Backend>(attention: &mut StreamAttention<B>) -> [&mut LinearLayer<B>; 2] {
    [&mut attention.qkv, &mut attention.output]
}

fn of_feed_forward<B: Backend>(feed_forward: &mut FeedForward<B>) -> [&mut LinearLayer<B>; 3] {
    let FeedForward { gate, up, down } = feed_forward;
    [gate, up, down]
}
