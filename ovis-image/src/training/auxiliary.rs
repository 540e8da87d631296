use burn::module::Module;
use burn::tensor::activation::log_softmax;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{OvisImageError, Result};
use crate::layers::{LinearLayer, RmsNormLayer};
use crate::parameters::{Parameter, ParameterList, ParameterRole};

/// Sizes of a [`CharacterHead`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CharacterHeadConfig {
    /// Number of cells per image token.
    pub cells: usize,
    /// Number of classes: blank, and one per character.
    pub classes: usize,
}

impl CharacterHeadConfig {
    /// Lists the parameters of the head over a stream of width `hidden` that
    /// [`new`](CharacterHead::new) accepts.
    pub fn parameters(&self, hidden: usize) -> Vec<Parameter> {
        let mut list = ParameterList::new();
        list.module(ParameterRole::Other, "")
            .rms_norm("norm", hidden)
            .linear("output", hidden, self.cells.saturating_mul(self.classes));
        list.finish()
    }
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
    /// Creates a head over a stream of width `hidden`, with lazy random weights.
    ///
    /// # Errors
    /// Returns [`RequestError::InvalidArgument`](crate::error::RequestError) if there are no cells
    /// or no classes, or too many of them.
    pub fn new(config: &CharacterHeadConfig, hidden: usize, device: &B::Device) -> Result<Self> {
        let CharacterHeadConfig { cells, classes } = *config;
        let scores = match cells.checked_mul(classes) {
            Some(scores) if scores > 0 && hidden > 0 => scores,
            _ => {
                return Err(OvisImageError::argument(
                    "config",
                    format!("{cells} cells of {classes} classes over a width of {hidden}"),
                ));
            }
        };
        Ok(Self {
            norm: RmsNormLayer::new(hidden, 1e-6, device),
            output: LinearLayer::new(hidden, scores, device),
            classes,
        })
    }

    /// Returns the number of cells per image token.
    pub fn cells(&self) -> usize {
        self.output.weight.dims()[0] / self.classes
    }

    /// Returns the number of classes, blank included.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Computes the mean cross-entropy over all cells, `[1]`, f32.
    ///
    /// # Shapes
    /// - `image`: `[batch, tokens, hidden]`
    /// - `characters`: `[batch, tokens * cells]`, each below [`classes`](Self::classes)
    pub fn loss(&self, image: Tensor<B, 3>, characters: Tensor<B, 2, Int>) -> Tensor<B, 1> {
        let scores = self.scores(image);
        let [cells, _] = scores.dims();
        let characters = characters.reshape([cells, 1]);
        -log_softmax(scores, 1).gather(1, characters).mean()
    }

    /// Computes the share of correctly classified cells: of the cells with a character, and of
    /// those without. The share of no cells is 0.
    ///
    /// # Shapes
    /// - `image`: `[batch, tokens, hidden]`
    /// - `characters`: `[batch, tokens * cells]`
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
        // The head is in f32 beside a transformer in half precision.
        let image = image.cast(self.output.weight.val().dtype());
        let scores = self.output.forward(self.norm.forward(image));
        let [batch, tokens, width] = scores.dims();
        scores
            .cast(DType::F32)
            .reshape([batch * tokens * (width / self.classes), self.classes])
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;
    use crate::testing::TestBackend;

    const CONFIG: CharacterHeadConfig = CharacterHeadConfig {
        cells: 2,
        classes: 3,
    };

    /// Head that gives cell 0 the scores `[x, 0, 0]` and cell 1 `[0, 0, x]`, for `x` the sign of
    /// the token's only channel.
    fn head() -> CharacterHead<TestBackend> {
        let mut head = CharacterHead::<TestBackend>::new(&CONFIG, 1, &Default::default()).unwrap();
        let weight = [[1.0f32], [0.0], [0.0], [0.0], [0.0], [1.0]];
        let zeros = [0.0f32; 6];
        head.output.weight = head
            .output
            .weight
            .map(|_| Tensor::from_data(weight, &Default::default()));
        head.output.bias = head
            .output
            .bias
            .map(|bias| bias.map(|_| Tensor::from_data(zeros, &Default::default())));
        head.norm.weight = head
            .norm
            .weight
            .map(|_| Tensor::from_data([1.0f32], &Default::default()));
        head
    }

    fn image() -> Tensor<TestBackend, 3> {
        Tensor::from_data([[[2.0f32], [3.0]]], &Default::default())
    }

    fn characters(values: [i64; 4]) -> Tensor<TestBackend, 2, Int> {
        Tensor::from_data(
            TensorData::new(values.to_vec(), [1, 4]),
            &Default::default(),
        )
    }

    #[test]
    fn the_loss_is_the_mean_cross_entropy_over_cells() {
        // A softmax of one 1 and two 0: e / (e + 2) for the 1, and 1 / (e + 2) for a 0.
        let total = (1f64.exp() + 2.0).ln();
        let expected = ((total - 1.0) * 3.0 + total) / 4.0;
        let loss = head().loss(image(), characters([0, 2, 0, 1]));
        let loss = loss.into_data().iter::<f64>().next().unwrap();
        assert!((loss - expected).abs() < 1e-5, "{loss} not {expected}");
    }

    #[test]
    fn accuracy_separates_cells_with_a_character_from_blank_ones() {
        let accuracy = |wanted| head().accuracy(image(), characters(wanted));
        assert_eq!(accuracy([0, 2, 0, 1]), [0.5, 1.0]);
        assert_eq!(accuracy([1, 1, 2, 2]), [0.25, 0.0]);
    }

    #[test]
    fn a_head_reports_its_sizes() {
        assert_eq!((head().cells(), head().classes()), (2, 3));
    }

    #[test]
    fn a_head_without_classes_is_refused() {
        for config in [
            CharacterHeadConfig {
                classes: 0,
                ..CONFIG
            },
            CharacterHeadConfig { cells: 0, ..CONFIG },
            CharacterHeadConfig {
                cells: usize::MAX,
                ..CONFIG
            },
        ] {
            let head = CharacterHead::<TestBackend>::new(&config, 4, &Default::default());
            assert!(head.unwrap_err().to_string().contains("classes"));
        }
    }
}
