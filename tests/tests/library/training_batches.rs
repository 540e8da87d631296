//! Batches that do not fit the models are refused by name, before anything is computed.

use burn::backend::Autodiff;
use burn::tensor::{Int, Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use ovis_image::text_encoder::PREFIX_TOKENS;
use ovis_image::training::{
    Autoencoding, AutoencodingConfig, CharacterHead, CharacterHeadConfig, FlowMatching,
    FlowMatchingConfig, ImageBatch, ImageModels, Objective, PixelBatch, PromptBatch,
};

use crate::support::pipeline;

type B = Autodiff<Flex>;

const IMAGES: usize = 2;
const GRID: [usize; 2] = [2, 3];
const TOKENS: usize = GRID[0] * GRID[1];
const TEXT_TOKENS: usize = 4;
const HEAD: CharacterHeadConfig = CharacterHeadConfig {
    cells: 4,
    classes: 5,
};

fn zeros<const D: usize>(dims: [usize; D]) -> Tensor<Flex, D> {
    Tensor::zeros(dims, &FlexDevice)
}

fn integers(dims: [usize; 2], value: i64) -> Tensor<Flex, 2, Int> {
    let data = TensorData::new(vec![value; dims[0] * dims[1]], dims);
    Tensor::from_data(data, &FlexDevice)
}

/// The small model with its text encoder and a head of characters.
fn models() -> ImageModels<Flex> {
    let transformer = pipeline().transformer().clone();
    let hidden = transformer.config().hidden_size();
    ImageModels {
        transformer,
        text_encoder: Some(pipeline().text_encoder().clone()),
        auxiliary: Some(CharacterHead::new(&HEAD, hidden, &FlexDevice).unwrap()),
    }
}

fn context() -> usize {
    pipeline().transformer().config().joint_attention_dim
}

/// A batch that fits the models.
fn batch() -> ImageBatch<Flex> {
    let channels = pipeline().transformer().config().in_channels;
    ImageBatch {
        latents: zeros([IMAGES, TOKENS, channels]),
        noise: zeros([IMAGES, TOKENS, channels]),
        timesteps: vec![0.0, 1.0],
        grid: GRID,
        prompts: PromptBatch::Encoded(zeros([IMAGES, TEXT_TOKENS, context()])),
        token_weights: Some(zeros([IMAGES, TOKENS, 1]) + 1.0),
        image_weights: vec![1.0; IMAGES],
        characters: Some(integers([IMAGES, TOKENS * HEAD.cells], 4)),
    }
}

fn tokens(ids: [usize; 2], id: i64, real: [usize; 3]) -> PromptBatch<Flex> {
    PromptBatch::Tokens {
        input_ids: integers(ids, id),
        real: zeros(real),
    }
}

fn objective() -> FlowMatching {
    FlowMatching::new(FlowMatchingConfig {
        auxiliary_weight: 0.1,
        ..FlowMatchingConfig::default()
    })
}

/// Checks that both ways to use a changed batch fail with all of these words.
#[track_caller]
fn refuse(change: impl FnOnce(&mut ImageBatch<Flex>), words: &[&str]) {
    let mut batch = batch();
    change(&mut batch);
    refuse_with(&models(), batch, words);
}

#[track_caller]
fn refuse_with(models: &ImageModels<Flex>, batch: ImageBatch<Flex>, words: &[&str]) {
    let gradients = Objective::<B>::gradients(&objective(), models, batch.clone());
    let loss = Objective::<B>::loss(&objective(), models, batch);
    let errors = [gradients.unwrap_err(), loss.unwrap_err()];
    for error in errors.map(|error| error.to_string()) {
        for word in words {
            assert!(error.contains(word), "`{word}` is not in: {error}");
        }
    }
}

#[test]
fn a_batch_that_fits_gives_losses_of_every_term() {
    let outcome = Objective::<B>::gradients(&objective(), &models(), batch()).unwrap();
    assert!(outcome.terms.loss().is_finite());
    assert!(outcome.terms.0["characters"] > 0.0);
}

#[test]
fn token_ids_that_fit_train_the_text_encoder() {
    let mut batch = batch();
    let ids = [IMAGES, PREFIX_TOKENS + TEXT_TOKENS];
    batch.prompts = tokens(ids, 1, [IMAGES, TEXT_TOKENS, 1]);
    Objective::<B>::loss(&objective(), &models(), batch).unwrap();
}

#[test]
fn latents_have_images_tokens_and_the_channels_of_the_model() {
    refuse(
        |b| b.latents = zeros([IMAGES, TOKENS, 7]),
        &["batch.latents", "7"],
    );
    refuse(|b| b.latents = zeros([0, TOKENS, 16]), &["batch.latents"]);
    refuse(|b| b.latents = zeros([IMAGES, 0, 16]), &["batch.latents"]);
}

#[test]
fn noise_has_the_shape_of_the_latents() {
    refuse(
        |b| b.noise = zeros([IMAGES, TOKENS, 7]),
        &["batch.noise", "7"],
    );
}

#[test]
fn timesteps_are_one_per_image_from_0_to_1() {
    refuse(
        |b| b.timesteps = vec![0.5],
        &["batch.timesteps", "1 of them"],
    );
    refuse(|b| b.timesteps[1] = 1.5, &["batch.timesteps", "1.5"]);
    refuse(|b| b.timesteps[0] = f32::NAN, &["batch.timesteps", "NaN"]);
}

#[test]
fn image_weights_are_one_per_image_and_not_negative() {
    refuse(
        |b| b.image_weights = vec![1.0],
        &["batch.image_weights", "1 of"],
    );
    refuse(
        |b| b.image_weights[1] = -1.0,
        &["batch.image_weights", "-1"],
    );
    refuse(
        |b| b.image_weights[0] = f32::NAN,
        &["batch.image_weights", "NaN"],
    );
}

/// With weights of images the loss is the mean of the losses of the images, each times its weight.
#[test]
fn a_weight_of_an_image_multiplies_its_share_of_the_loss() {
    let loss = |weights: [f32; IMAGES]| {
        let batch = ImageBatch {
            image_weights: weights.to_vec(),
            ..batch()
        };
        let terms = Objective::<B>::loss(
            &FlowMatching::new(FlowMatchingConfig::default()),
            &models(),
            batch,
        );
        terms.unwrap().loss()
    };
    let (both, first, second) = (loss([1.0, 1.0]), loss([1.0, 0.0]), loss([0.0, 1.0]));
    let weighted = loss([0.5, 3.0]);
    // Four sums of f32 values of about 1.
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-6 * both;
    assert!(
        close(first + second, both),
        "{first} + {second} is not {both}"
    );
    assert!(close(0.5 * first + 3.0 * second, weighted), "{weighted}");
}

#[test]
fn the_grid_has_as_many_patches_as_there_are_tokens() {
    refuse(|b| b.grid = [5, 1], &["batch.grid", "5 x 1"]);
    refuse(|b| b.grid = [usize::MAX, 2], &["batch.grid"]);
}

#[test]
fn token_weights_are_one_per_token() {
    let weights = zeros([IMAGES, 1, TOKENS]);
    refuse(
        |b| b.token_weights = Some(weights),
        &["batch.token_weights", "6"],
    );
}

#[test]
fn embeddings_have_the_width_that_the_transformer_reads() {
    let encoded = |dims| PromptBatch::Encoded(zeros(dims));
    let words = ["batch.prompts", "embeddings"];
    let width = context();
    for dims in [
        [IMAGES, TEXT_TOKENS, width + 1],
        [IMAGES + 1, TEXT_TOKENS, width],
        [IMAGES, 0, width],
    ] {
        refuse(|b| b.prompts = encoded(dims), &words);
    }
}

#[test]
fn token_ids_need_a_text_encoder_that_is_trained() {
    let (mut batch, mut models) = (batch(), models());
    let ids = [IMAGES, PREFIX_TOKENS + TEXT_TOKENS];
    batch.prompts = tokens(ids, 1, [IMAGES, TEXT_TOKENS, 1]);
    models.text_encoder = None;
    refuse_with(&models, batch, &["batch.prompts", "text encoder"]);
}

#[test]
fn the_mask_lacks_the_prefix_alone() {
    let words = ["batch.prompts", "prefix"];
    let ids = [IMAGES, PREFIX_TOKENS + TEXT_TOKENS];
    let real = [IMAGES, TEXT_TOKENS + 1, 1];
    refuse(|b| b.prompts = tokens(ids, 1, real), &words);
    let real = [IMAGES, TEXT_TOKENS, 2];
    refuse(|b| b.prompts = tokens(ids, 1, real), &words);
    let short = [IMAGES, PREFIX_TOKENS];
    refuse(|b| b.prompts = tokens(short, 1, [IMAGES, 0, 1]), &words);
}

#[test]
fn token_ids_are_those_of_the_vocabulary() {
    let ids = [IMAGES, PREFIX_TOKENS + TEXT_TOKENS];
    for id in [-1, 10_000_000] {
        let prompts = tokens(ids, id, [IMAGES, TEXT_TOKENS, 1]);
        refuse(|b| b.prompts = prompts, &["batch.prompts", &id.to_string()]);
    }
}

#[test]
fn the_text_encoder_is_as_wide_as_the_transformer_reads() {
    let (mut batch, mut models) = (batch(), models());
    let mut config = pipeline().transformer().config();
    config.joint_attention_dim += 4;
    models.transformer = config.init(&FlexDevice);
    let ids = [IMAGES, PREFIX_TOKENS + TEXT_TOKENS];
    batch.prompts = tokens(ids, 1, [IMAGES, TEXT_TOKENS, 1]);
    refuse_with(&models, batch, &["batch.prompts", "width"]);
}

#[test]
fn characters_are_one_per_cell_and_classes_of_the_head() {
    let few = integers([IMAGES, TOKENS], 0);
    refuse(
        |b| b.characters = Some(few),
        &["batch.characters", "4 cells"],
    );
    for class in [-1, 5] {
        let wrong = integers([IMAGES, TOKENS * HEAD.cells], class);
        let words = ["batch.characters", &class.to_string()];
        refuse(|b| b.characters = Some(wrong), &words);
    }
}

#[test]
fn pixels_and_noise_of_an_autoencoder_have_its_sizes() {
    let model = pipeline().vae().clone();
    let config = model.config();
    let (scale, channels) = (config.scale_factor(), config.latent_channels);
    let objective = Autoencoding::new(AutoencodingConfig::default());
    let loss = |pixels, noise| {
        let batch = PixelBatch {
            pixels: zeros(pixels),
            noise: zeros(noise),
        };
        let gradients = Objective::<B>::gradients(&objective, &model, batch.clone());
        let loss = Objective::<B>::loss(&objective, &model, batch);
        assert_eq!(gradients.is_ok(), loss.is_ok());
        loss.map_err(|error| error.to_string())
    };
    let side = 4 * scale;
    loss([1, 3, side, side], [1, channels, 4, 4]).unwrap();
    for pixels in [
        [1, 4, side, side],
        [1, 3, side + 1, side],
        [0, 3, side, side],
        [1, 3, 0, side],
    ] {
        let error = loss(pixels, [1, channels, 4, 4]).unwrap_err();
        assert!(error.contains("batch.pixels"), "{error}");
    }
    for noise in [
        [1, channels + 1, 4, 4],
        [1, channels, 2, 4],
        [2, channels, 4, 4],
    ] {
        let error = loss([1, 3, side, side], noise).unwrap_err();
        assert!(error.contains("batch.noise"), "{error}");
    }
}
