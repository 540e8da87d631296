//! CLIPScore: agreement of an image with its prompt, by the features that CLIP gives them (Hessel
//! et al., arXiv 2104.08718). CVTG-2K takes those of ViT-L/14, and of the prompt after
//! [`PROMPT_PREFIX`].

/// Text that CVTG-2K's script puts before each prompt.
pub const PROMPT_PREFIX: &str = "A photo depicts ";

/// Greatest score, of features that point in the same direction.
pub const GREATEST: f64 = 2.5;

/// Computes the score of an image and its prompt from their features: `2.5 * max(cos, 0)`, from 0
/// to [`GREATEST`]. The features need not be normalized.
///
/// Returns `None` if the features have different lengths, are all zero, or are not finite. (The
/// official script returns NaN for features of zeros. It computes in f32 and, on a GPU, in f16.
/// Here, all sums are f64.)
pub fn clip_score(image: &[f32], text: &[f32]) -> Option<f64> {
    if image.len() != text.len() {
        return None;
    }
    let product = |a: &[f32], b: &[f32]| -> f64 {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let similarity = product(image, text) / (product(image, image) * product(text, text)).sqrt();
    let score = GREATEST * similarity.clamp(0.0, 1.0);
    score.is_finite().then_some(score)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_two_and_a_half_times_the_cosine() {
        let score = |text: &[f32]| clip_score(&[3.0, 0.0], text);
        assert_eq!(score(&[0.5, 0.0]), Some(2.5));
        assert_eq!(score(&[3.0, 4.0]), Some(1.5));
        assert_eq!(score(&[0.0, 1.0]), Some(0.0));
        assert_eq!(score(&[-1.0, 1.0]), Some(0.0));
    }

    #[test]
    fn features_without_a_direction_have_no_score() {
        assert_eq!(clip_score(&[1.0], &[1.0, 2.0]), None);
        assert_eq!(clip_score(&[0.0], &[1.0]), None);
        assert_eq!(clip_score(&[f32::NAN], &[1.0]), None);
        assert_eq!(clip_score(&[], &[]), None);
    }
}
