//! Tests of which steps are skipped. Numbers of steps are tested against torch in the library's own
//! tests.

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;

use super::*;
use crate::layers::RmsNormLayer;
use crate::testing::TestBackend;

/// Objective whose batch is the norm of its gradient.
struct Norms;

impl<A: AutodiffBackend> Objective<A> for Norms {
    type Models = RmsNormLayer<A::InnerBackend>;
    type Batch = f32;

    fn gradients(&self, models: &Self::Models, norm: f32) -> Result<Outcome<A::InnerBackend>> {
        let device = models.weight.device();
        let mut gradients = ParameterMap::new();
        gradients.insert("weight", Tensor::from_data([norm, 0.0], &device));
        Ok(Outcome {
            terms: LossTerms::new([(LossTerms::LOSS, 1.0)]),
            gradients,
        })
    }

    fn loss(&self, _models: &Self::Models, _norm: f32) -> Result<LossTerms> {
        Ok(LossTerms::default())
    }
}

fn trainer(spike_factor: f64) -> Trainer<Autodiff<TestBackend>, Norms> {
    let config = TrainerConfig {
        spike_factor: Some(spike_factor),
        max_grad_norm: None,
        ..TrainerConfig::default()
    };
    let models = RmsNormLayer::new(2, 1e-6, &Default::default());
    Trainer::new(Norms, models, config).unwrap()
}

/// Takes a step for each norm, and returns the numbers of those that were skipped.
fn skipped(
    trainer: &mut Trainer<Autodiff<TestBackend>, Norms>,
    norms: impl IntoIterator<Item = f32>,
) -> Vec<u64> {
    let reports = norms.into_iter().map(|norm| {
        let report = trainer.micro_step(norm).unwrap();
        report.unwrap()
    });
    let skipped = reports.filter(|report| report.skipped);
    skipped.map(|report| report.step).collect()
}

#[test]
fn a_norm_far_above_recent_ones_is_skipped_once_they_are_known() {
    let mut trainer = trainer(3.0);
    // Early norms are large in every run.
    assert!(skipped(&mut trainer, [1.0, 9.0, 1.0]).is_empty());
    assert!(skipped(&mut trainer, [1.0; 60]).is_empty());
    assert_eq!(skipped(&mut trainer, [2.9, 9.0, 1.0]), [65]);
    assert_eq!(trainer.skipped_steps(), 1);
}

#[test]
fn a_run_whose_first_step_is_skipped_learns_its_norms_from_the_second() {
    let mut trainer = trainer(1.2);
    assert_eq!(skipped(&mut trainer, [f32::NAN]), [1]);
    assert!(skipped(&mut trainer, [1.0; 80]).is_empty());
}
