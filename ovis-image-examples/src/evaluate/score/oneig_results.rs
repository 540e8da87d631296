//! Result files of OneIG-Bench's official scripts: the dimensions that need other models.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use ovis_image::evaluation::bootstrap_interval;
use ovis_image::evaluation::longtext::Language;
use ovis_image::evaluation::oneig::{self, TextMetrics, TextScore};

use crate::evaluate::error::EvaluateError;
use crate::evaluate::prompts::{self, OneIgPrompt};
use crate::evaluate::report::Figures;
use crate::shared::input_file;

/// Greatest length of a result file, in bytes.
const MOST_BYTES: u64 = 64 << 20;

/// Dimensions that come from result files.
const OTHERS: [&str; 4] = ["alignment", "reasoning", "style", "diversity"];

/// Result files of the official scripts.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct OneIgResults {
    /// Folder with the official results of `oneig` in the other dimensions
    ///
    /// They are alignment_prompt_score_EN_….csv and the files of reasoning, style and diversity. If
    /// names differ only in the time, the last file counts.
    #[arg(id = "results", long = "results", value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Name of the model in these results
    #[arg(
        long,
        value_name = "NAME",
        default_value = "ovis-image",
        requires = "results"
    )]
    model_name: String,
}

/// Dimension of the benchmark with the scores of its prompts.
#[derive(Debug)]
pub(super) struct Dimension {
    name: &'static str,
    /// Score of each prompt, `None` without an image.
    scores: Vec<Option<f64>>,
    /// Rows that belong to no prompt of the dimension.
    pub(super) ignored: Vec<String>,
}

impl Dimension {
    fn values(&self) -> impl Iterator<Item = f64> {
        self.scores.iter().map(|score| score.unwrap_or(0.0))
    }

    /// Returns the name and the mean score of the dimension.
    pub(super) fn figures(&self) -> (String, Figures) {
        let values: Vec<f64> = self.values().collect();
        let mean =
            |values: &[&f64]| values.iter().copied().sum::<f64>() / values.len().max(1) as f64;
        let value = mean(&values.iter().collect::<Vec<_>>());
        let interval = bootstrap_interval(&values, mean).map(<[f64; 2]>::from);
        let figures = Figures {
            metrics: vec![("score", value, interval)],
            counts: Vec::new(),
            covered: self.scores.iter().flatten().count(),
            expected: self.scores.len(),
        };
        (self.name.to_owned(), figures)
    }
}

/// Score that a draw of the bootstrap takes: of a dimension in a result file, or of texts.
enum Item<'s> {
    Other(usize, f64),
    Text(&'s [TextScore]),
}

/// Computes the overall score with its interval. Prompts of all dimensions are drawn together.
pub(super) fn overall(
    texts: &[&[TextScore]],
    others: &[Dimension],
    language: Language,
) -> (&'static str, f64, Option<[f64; 2]>) {
    let of_others = others.iter().enumerate().flat_map(|(index, dimension)| {
        dimension
            .values()
            .map(move |value| Item::Other(index, value))
    });
    let of_texts = texts.iter().map(|scores| Item::Text(scores));
    let items: Vec<Item<'_>> = of_others.chain(of_texts).collect();
    let statistic = |items: &[&Item<'_>]| {
        let mut sums = [(0.0, 0.0); OTHERS.len()];
        for item in items {
            if let Item::Other(index, value) = item {
                sums[*index].0 += value;
                sums[*index].1 += 1.0;
            }
        }
        let texts = items.iter().filter_map(|item| match item {
            Item::Text(scores) => Some(*scores),
            Item::Other(..) => None,
        });
        let text = TextMetrics::new(texts.flatten(), language).score;
        let [alignment, reasoning, style, diversity] =
            sums.map(|(sum, count)| sum / f64::max(count, 1.0));
        oneig::overall([alignment, text, reasoning, style, diversity])
    };
    let value = statistic(&items.iter().collect::<Vec<_>>());
    let interval = bootstrap_interval(&items, statistic);
    ("overall", value, interval.map(<[f64; 2]>::from))
}

impl OneIgResults {
    /// Returns true if a folder of results was named.
    pub(super) fn is_given(&self) -> bool {
        self.folder.is_some()
    }

    /// Reads the results of all dimensions but text, in the order of the official files.
    ///
    /// # Errors
    /// Returns [`EvaluateError`] if a file is absent or is not one of the benchmark.
    pub(super) fn read(
        &self,
        prompts: &Path,
        language: Language,
    ) -> Result<Vec<Dimension>, EvaluateError> {
        let Some(folder) = &self.folder else {
            return Ok(Vec::new());
        };
        let file = match language {
            Language::English => "OneIG-Bench.csv",
            Language::Chinese => "OneIG-Bench-ZH.csv",
        };
        let prompts = prompts::oneig(&prompts.join(file))?;
        let dimension = |name| {
            let path = result_file(folder, name, language)?;
            let ids: Vec<String> = prompts
                .iter()
                .filter_map(|prompt| row_of(prompt, name))
                .collect();
            let mut rows = rows(&path, &self.model_name)?;
            let scores = ids.iter().map(|id| rows.remove(id).flatten()).collect();
            let mut ignored: Vec<String> =
                rows.into_keys().map(|id| format!("{name} {id}")).collect();
            ignored.sort();
            Ok(Dimension {
                name,
                scores,
                ignored,
            })
        };
        OTHERS.into_iter().map(dimension).collect()
    }
}

/// Returns the name of a prompt's row in the results of a dimension, if it is scored there.
fn row_of(prompt: &OneIgPrompt, dimension: &str) -> Option<String> {
    let class = prompt.class;
    let with_class = || Some(format!("{class}_{}", prompt.id));
    let without = || Some(prompt.id.clone());
    match (dimension, class) {
        ("alignment", "text" | "reasoning") => None,
        ("alignment" | "diversity", _) => with_class(),
        ("reasoning", "reasoning") => without(),
        ("style", "anime") if prompt.kind.as_ref().is_some_and(|kind| !kind.is_empty()) => {
            without()
        }
        _ => None,
    }
}

/// Finds the last result file of a dimension in a folder.
fn result_file(
    folder: &Path,
    dimension: &str,
    language: Language,
) -> Result<PathBuf, EvaluateError> {
    let code = match language {
        Language::English => "EN",
        Language::Chinese => "ZH",
    };
    let start = format!("{dimension}_prompt_score_{code}");
    let failed = |source| EvaluateError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy());
        if name.is_some_and(|name| name.starts_with(&start) && name.ends_with(".csv")) {
            found.push(path);
        }
    }
    // Names end with the time, so the last one is the newest.
    found
        .into_iter()
        .max()
        .ok_or_else(|| EvaluateError::Results {
            path: folder.to_owned(),
            reason: format!("{start}….csv is missing"),
        })
}

/// Reads the column of a model: scores by the names of the rows, `None` for an empty cell.
fn rows(path: &Path, model: &str) -> Result<HashMap<String, Option<f64>>, EvaluateError> {
    let bytes = input_file::read(path, MOST_BYTES).map_err(|source| EvaluateError::Read {
        path: path.to_owned(),
        source,
    })?;
    let invalid = |reason: String| EvaluateError::Results {
        path: path.to_owned(),
        reason,
    };
    let mut reader = csv::Reader::from_reader(bytes.as_slice());
    let header = reader
        .headers()
        .map_err(|error| invalid(error.to_string()))?;
    let column = header.iter().position(|name| name == model);
    let column = column.ok_or_else(|| {
        let models: Vec<&str> = header.iter().skip(1).collect();
        let models = models.join(", ");
        invalid(format!("there is no model `{model}`, only: {models}"))
    })?;
    let mut rows = HashMap::new();
    for record in reader.records() {
        let record = record.map_err(|error| invalid(error.to_string()))?;
        let name = record.get(0).unwrap_or_default().to_owned();
        let cell = record.get(column).unwrap_or_default().trim();
        let score = match cell {
            "" => None,
            cell => {
                let score = cell.parse::<f64>().ok().filter(|score| score.is_finite());
                let score = score.ok_or_else(|| {
                    invalid(format!("the score `{cell}` of {name} is not a number"))
                })?;
                Some(score)
            }
        };
        if rows.contains_key(&name) {
            return Err(invalid(format!("there are two rows of {name}")));
        }
        rows.insert(name, score);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dimension(name: &'static str, scores: &[Option<f64>]) -> Dimension {
        Dimension {
            name,
            scores: scores.to_vec(),
            ignored: Vec::new(),
        }
    }

    #[test]
    fn a_dimension_without_rows_counts_as_zero_and_not_as_nan() {
        let rows: [&[Option<f64>]; 4] = [&[], &[Some(0.5), None], &[Some(1.0)], &[]];
        let names = OTHERS.into_iter().zip(rows);
        let others: Vec<Dimension> = names.map(|(name, rows)| dimension(name, rows)).collect();
        let (_, value, interval) = overall(&[], &others, Language::English);
        assert_eq!(value, (0.25 + 1.0) / 5.0);
        // Some draws have no row of the dimensions that have one or two.
        let [lower, upper] = interval.unwrap();
        assert!((0.0..=value).contains(&lower) && (value..=1.0).contains(&upper));
        for dimension in &others {
            let (_, figures) = dimension.figures();
            assert!(figures.metrics[0].1.is_finite());
        }

        let empty = OTHERS.map(|name| dimension(name, &[]));
        let (_, value, interval) = overall(&[], &empty, Language::Chinese);
        assert_eq!((value, interval), (0.0, None));
    }
}
