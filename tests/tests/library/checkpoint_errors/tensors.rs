//! Tests of tensors that do not make up the model of the configuration.

use std::fs;

use ovis_image::OvisImageError;
use ovis_image::error::{CheckpointError, WeightsReport};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use super::{TRANSFORMER, error_after, rewrite, set};

fn report(error: OvisImageError) -> WeightsReport {
    match error {
        OvisImageError::Checkpoint(CheckpointError::Weights(report)) => *report,
        other => panic!("{other}"),
    }
}

#[test]
fn missing_unexpected_and_misshapen_tensors_come_in_one_error() {
    let error = error_after(|folder| {
        rewrite(
            &folder.join(TRANSFORMER),
            |name, dtype, mut shape| match name {
                "proj_out.bias" => None,
                "transformer_blocks.0.attn.to_k.weight" => None,
                "x_embedder.weight" => {
                    shape.reverse();
                    Some((name.into(), dtype, shape))
                }
                "norm_out.linear.bias" => Some(("norm_out.linear.bias_v2".into(), dtype, shape)),
                _ => Some((name.into(), dtype, shape)),
            },
        );
    });
    let text = error.to_string();
    let report = report(error);
    assert_eq!(report.part, "transformer");
    assert_eq!(
        report.missing,
        [
            "transformer_blocks.0.attn.to_k.weight",
            "norm_out.linear.bias",
            "proj_out.bias"
        ]
    );
    assert_eq!(report.unexpected, ["norm_out.linear.bias_v2"]);
    assert_eq!(report.wrong_shape[0].tensor, "x_embedder.weight");
    assert_eq!(
        (
            &report.wrong_shape[0].expected[..],
            &report.wrong_shape[0].actual[..]
        ),
        (&[32, 16][..], &[16, 32][..])
    );
    for name in [
        "missing     proj_out.bias",
        "unexpected  norm_out.linear.bias_v2",
        "x_embedder.weight: expected [32, 16]",
    ] {
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn pieces_of_a_fused_tensor_are_checked_one_by_one() {
    // The total number of rows stays the same: 16 more for the query, 16 fewer for the key.
    let error = error_after(|folder| {
        let path = folder.join(TRANSFORMER);
        let bytes = fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (long, short) = (vec![0u8; 48 * 32 * 2], vec![0u8; 16 * 32 * 2]);
        let tensors: Vec<(String, TensorView<'_>)> = file
            .tensors()
            .into_iter()
            .map(|(name, view)| match name.as_str() {
                "transformer_blocks.0.attn.to_q.weight" => (
                    name,
                    TensorView::new(Dtype::BF16, vec![48, 32], &long).unwrap(),
                ),
                "transformer_blocks.0.attn.to_k.weight" => (
                    name,
                    TensorView::new(Dtype::BF16, vec![16, 32], &short).unwrap(),
                ),
                _ => (name, view),
            })
            .collect();
        safetensors::serialize_to_file(tensors, None, &path).unwrap();
    });
    let report = report(error);
    assert_eq!(
        report.wrong_shape[0].tensor,
        "transformer_blocks.0.attn.to_q.weight"
    );
    assert_eq!(report.wrong_shape[0].expected, [32, 32]);
}

#[test]
fn a_config_that_contradicts_the_weights_names_the_tensors() {
    let error = error_after(|folder| {
        set(
            &folder.join("transformer/config.json"),
            "num_layers",
            3.into(),
        )
    });
    assert!(
        report(error)
            .missing
            .iter()
            .all(|name| name.starts_with("transformer_blocks.2."))
    );
    let error = error_after(|folder| {
        set(
            &folder.join("transformer/config.json"),
            "num_single_layers",
            1.into(),
        )
    });
    assert!(
        report(error)
            .unexpected
            .iter()
            .all(|name| name.starts_with("single_transformer_blocks.1."))
    );
    let error = error_after(|folder| {
        set(
            &folder.join("text_encoder/config.json"),
            "intermediate_size",
            65.into(),
        )
    });
    assert!(!report(error).wrong_shape.is_empty());
}
