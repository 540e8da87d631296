//! Tests of the text encoder with random weights.

use burn::tensor::{Bool, Int, Tensor, TensorData};

use super::{TextEncoder, TextEncoderInput};
use crate::config::TextEncoderConfig;
use crate::testing::{TestBackend, TestTensor, assert_close, randomized, values};

const IDS: [i64; 6] = [3, 14, 15, 9, 26, 5];

fn model() -> TextEncoder<TestBackend> {
    randomized(TextEncoderConfig::tiny().init(&Default::default()), 1)
}

fn ids<const ITEMS: usize>(ids: [&[i64]; ITEMS]) -> Tensor<TestBackend, 2, Int> {
    let data = TensorData::new(ids.concat(), [ITEMS, ids[0].len()]);
    Tensor::from_data(data, &Default::default())
}

fn encode(model: &TextEncoder<TestBackend>, input_ids: &[i64]) -> TestTensor<3> {
    model.forward(TextEncoderInput {
        input_ids: ids([input_ids]),
        attention_mask: None,
    })
}

#[test]
fn a_prompt_gives_one_normalized_row_for_each_token() {
    let model = model();
    let embeds = encode(&model, &IDS);
    assert_eq!(embeds.dims(), [1, 6, TextEncoderConfig::tiny().hidden_size]);
    assert_eq!(values(embeds.clone()), values(encode(&model, &IDS)));
    let normalized = embeds / model.final_norm.weight.val().unsqueeze();
    for square in values(normalized.powi_scalar(2).mean_dim(2)) {
        assert!((square - 1.0).abs() < 1e-4, "{square}");
    }
}

#[test]
fn a_token_sees_those_before_it_alone() {
    let model = model();
    let whole = encode(&model, &IDS);
    let first = encode(&model, &IDS[..4]);
    assert_close(whole.narrow(1, 0, 4), first, 1e-6);
    let mut other = IDS;
    other[0] += 1;
    assert_ne!(values(encode(&model, &other)), values(encode(&model, &IDS)));
}

#[test]
fn padding_on_the_right_does_not_change_real_rows() {
    let model = model();
    let padding = [[&IDS[..4], &[0, 0]].concat(), [&IDS[..4], &[7, 9]].concat()];
    let mask = TensorData::new(
        [[true; 6], [true, true, true, true, false, false]].concat(),
        [2, 6],
    );
    let mask = Tensor::<TestBackend, 2, Bool>::from_data(mask, &Default::default());
    for padded in padding {
        let batch = model.forward(TextEncoderInput {
            input_ids: ids([&IDS, &padded]),
            attention_mask: Some(mask.clone()),
        });
        let rows = |item: usize, tokens| batch.clone().narrow(0, item, 1).narrow(1, 0, tokens);
        assert_close(rows(0, 6), encode(&model, &IDS), 1e-6);
        assert_close(rows(1, 4), encode(&model, &IDS[..4]), 1e-6);
    }
}

#[test]
fn rows_of_the_embedding_table_serve_in_place_of_ids() {
    let model = model();
    let indices = Tensor::<TestBackend, 1, Int>::from_ints(
        IDS.map(|id| id as i32).as_slice(),
        &Default::default(),
    );
    let rows = model.embedding.val().select(0, indices).unsqueeze::<3>();
    assert_close(model.forward_embeds(rows, None), encode(&model, &IDS), 0.0);
}
