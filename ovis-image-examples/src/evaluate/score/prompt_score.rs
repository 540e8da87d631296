use std::path::PathBuf;

/// Scores of one prompt's images in a benchmark.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptScore {
    /// First image, relative to the folder of the run.
    pub image: PathBuf,
    /// Texts that the prompt asks for.
    pub expected: String,
    /// Text that was read; `None` if no image was.
    pub reading: Option<String>,
    /// A share of each metric, in the same order for all prompts.
    pub shares: Vec<Share>,
}

/// Share of one prompt in a metric, whose value is the sum of all parts over that of all wholes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// Name of the metric.
    pub metric: &'static str,
    /// Part that is right.
    pub part: f64,
    /// Greatest part.
    pub whole: f64,
}

impl Share {
    /// Creates the share of a metric that is a mean over prompts.
    pub(super) fn of_mean(metric: &'static str, part: f64) -> Self {
        Self {
            metric,
            part,
            whole: 1.0,
        }
    }

    /// Returns the value of the metric over some shares of it, 0 without any.
    pub fn value<'s>(shares: impl IntoIterator<Item = &'s Self>) -> f64 {
        let (mut part, mut whole) = (0.0, 0.0);
        for share in shares {
            part += share.part;
            whole += share.whole;
        }
        if whole > 0.0 { part / whole } else { 0.0 }
    }
}
