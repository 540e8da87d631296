//! Tests of guidance on predictions whose combination is known.

use super::*;
use crate::testing::{TestBackend, TestTensor, assert_close, random};

const STEP: StepPosition = StepPosition {
    index: 3,
    total: 10,
};

fn prediction(seed: u64) -> TestTensor<3> {
    random(seed, [2, 3, 4])
}

fn both(conditional: TestTensor<3>, unconditional: TestTensor<3>) -> Predictions<TestBackend> {
    let mut predictions = Predictions::new(conditional);
    predictions.unconditional = Some(unconditional);
    predictions
}

#[test]
fn classifier_free_guidance_goes_from_one_prediction_through_the_other() {
    let (conditional, unconditional) = (prediction(1), prediction(2));
    for (scale, expected) in [
        (0.0, unconditional.clone()),
        (1.0, conditional.clone()),
        (3.0, conditional.clone() * 3.0 - unconditional.clone() * 2.0),
    ] {
        let combined = classifier_free_guidance(conditional.clone(), unconditional.clone(), scale);
        assert_close(combined, expected, 1e-5);
    }
}

#[test]
fn equal_predictions_stay_what_they_are() {
    let methods: [Box<dyn Guidance<TestBackend>>; 3] = [
        Box::new(ClassifierFree::new(5.0)),
        Box::new(ZeroStar::new(5.0, 0)),
        Box::new(AdaptiveProjected::new(5.0, 0.0, Some(-0.5), 15.0)),
    ];
    for mut method in methods {
        let combined = method.combine(STEP, both(prediction(1), prediction(1)));
        assert_close(combined, prediction(1), 1e-5);
    }
}

#[test]
fn zero_star_does_not_see_how_long_the_negative_prediction_is() {
    let combine = |length: f32| {
        let mut method = ZeroStar::new(4.0, 0);
        method.combine(STEP, both(prediction(1), prediction(2) * length))
    };
    assert_close(combine(3.0), combine(1.0), 1e-4);
    let along = ZeroStar::new(4.0, 0).combine(STEP, both(prediction(1), prediction(1) * 7.0));
    assert_close(along, prediction(1), 1e-5);
}

#[test]
fn the_projected_update_is_at_right_angles_to_the_prediction() {
    let mut method = AdaptiveProjected::new(4.0, 0.0, None, 0.0);
    let (conditional, unconditional) = (prediction(1), prediction(2));
    let combined = method.combine(STEP, both(conditional.clone(), unconditional.clone()));
    let product = ((combined - unconditional) * conditional)
        .sum_dim(2)
        .sum_dim(1);
    assert_close(
        product,
        TestTensor::zeros([2, 1, 1], &Default::default()),
        1e-4,
    );
}

#[test]
fn outside_of_its_interval_guidance_is_the_prompts_prediction() {
    let interval = GuidanceInterval {
        start: 0.5,
        stop: 1.0,
    };
    let mut method = Interval::new(ClassifierFree::new(4.0), interval);
    let passes = Guidance::<TestBackend>::passes(&method, STEP);
    assert_eq!(passes, Passes::CONDITIONAL);
    let combined = method.combine(STEP, both(prediction(1), prediction(2)));
    assert_close(combined, prediction(1), 0.0);
    let late = StepPosition {
        index: 5,
        total: 10,
    };
    assert_eq!(Guidance::<TestBackend>::passes(&method, late), Passes::BOTH);
    let combined = method.combine(late, both(prediction(1), prediction(2)));
    let expected = classifier_free_guidance(prediction(1), prediction(2), 4.0);
    assert_close(combined, expected, 0.0);
}

#[test]
fn skipped_layers_are_led_away_from() {
    let settings = SkipLayerGuidance::new([0], [])
        .with_scale(2.0)
        .with_interval(0.0, 1.0);
    let mut method = SkipLayers::new(ClassifierFree::new(4.0), settings);
    assert!(Guidance::<TestBackend>::passes(&method, STEP).perturbed);
    let mut predictions = both(prediction(1), prediction(2));
    predictions.perturbed = Some(prediction(3));
    let away = (prediction(1) - prediction(3)) * 2.0;
    let expected = classifier_free_guidance(prediction(1), prediction(2), 4.0) + away;
    assert_close(method.combine(STEP, predictions), expected, 1e-5);
}

#[test]
fn a_step_that_needs_no_prediction_asks_for_none() {
    let method = ZeroStar::new(4.0, 5);
    let passes = Guidance::<TestBackend>::passes(&method, STEP);
    assert_eq!(passes.conditional, Passes::NONE.conditional);
}
