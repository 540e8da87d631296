use burn::module::Module;
use burn::tensor::activation::log_softmax;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::layers::{LinearLayer, RmsNormLayer};

/// Sizes of a [`CharacterHead`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CharacterHeadConfig {
    /// Number of cells per image token.
    pub cells: usize,
    /// Number of classes: blank, and one per character.
    pub classes: usize,
    /// Weight of its cross-entropy beside the loss of the velocity.
    pub weight: f64,
}

/// Auxiliary head of training: predicts which character stands in each cell of the image, from the
/// image stream after the double blocks. It makes the double blocks bind letters to places long
/// before the loss of the velocity would. It is not part of the model used for generation.
#[derive(Module, Debug)]
pub struct CharacterHead<B: Backend> {
    /// Norm of the stream.
    pub norm: RmsNormLayer<B>,
    /// Projection to `cells * classes` scores.
    pub output: LinearLayer<B>,
    classes: usize,
}

impl<B: Backend> CharacterHead<B> {
    /// Creates a head over a stream of width `hidden`.
    pub fn new(config: &CharacterHeadConfig, hidden: usize, device: &B::Device) -> Self {
        Self {
            norm: RmsNormLayer::new(hidden, 1e-6, device),
            output: LinearLayer::new(hidden, config.cells * config.classes, device),
            classes: config.classes,
        }
    }

    /// Computes the mean cross-entropy over all cells, `[1]`, f32.
    ///
    /// # Shapes
    /// - `image`: `[batch, tokens, hidden]`
    /// - `characters`: `[batch, tokens * cells]`
    pub fn loss(&self, image: Tensor<B, 3>, characters: Tensor<B, 2, Int>) -> Tensor<B, 1> {
        let scores = self.scores(image);
        let [cells, _] = scores.dims();
        let characters = characters.reshape([cells, 1]);
        -log_softmax(scores, 1).gather(1, characters).mean()
    }

    /// Computes the share of correctly classified cells: of the cells with a character, and of
    /// those without.
    pub fn accuracy(&self, image: Tensor<B, 3>, characters: Tensor<B, 2, Int>) -> [f64; 2] {
        let named = self.scores(image).argmax(1).into_data();
        let wanted = characters.into_data();
        let pairs: Vec<(i64, i64)> = named.iter().zip(wanted.iter()).collect();
        let share = |blank: bool| {
            let cells = pairs.iter().filter(|(_, wanted)| (*wanted == 0) == blank);
            let right = cells.clone().filter(|(named, wanted)| named == wanted);
            right.count() as f64 / cells.count().max(1) as f64
        };
        [share(false), share(true)]
    }

    /// Computes the scores of all classes, `[batch * tokens * cells, classes]`, f32.
    fn scores(&self, image: Tensor<B, 3>) -> Tensor<B, 2> {
        let scores = self.output.forward(self.norm.forward(image));
        let [batch, tokens, width] = scores.dims();
        scores
            .cast(DType::F32)
            .reshape([batch * tokens * (width / self.classes), self.classes])
    }
}
