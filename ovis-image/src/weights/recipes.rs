//! Matches the parameters of a model with the tensors of a source, by names and shapes alone, and
//! reports all mismatches at once.

use std::collections::{BTreeMap, BTreeSet};

use super::names::{NameTable, Piece};
use super::recipe::TensorRecipe;
use crate::error::{CheckpointError, OvisImageError, Result, WeightsReport, WrongShape};
use crate::parameters::Parameter;
use crate::tensor_file::TensorSource;
use crate::tensor_file::{TensorEntry, WeightsFile, scales_are_finite};

/// Recipe of each parameter, by its path.
pub(crate) type Recipes = BTreeMap<String, TensorRecipe>;

/// Finds a recipe for every parameter.
pub(crate) fn find_recipes(
    part: &'static str,
    source: &TensorSource,
    table: &NameTable,
    parameters: &[Parameter],
) -> Result<Recipes> {
    let mut report = WeightsReport {
        source: source.path().to_owned(),
        part,
        ..WeightsReport::default()
    };
    let originals = originals(source, table, &mut report);
    let (mut used, mut lacking) = (BTreeSet::new(), BTreeSet::new());
    let mut recipes = Recipes::new();
    for parameter in parameters {
        let Parameter { path, shape, .. } = parameter;
        let Some(pieces) = table.pieces(path) else {
            report
                .missing
                .push(format!("{path} (no name for it in this layout)"));
            continue;
        };
        let needed = pieces.len();
        let mut found = Vec::with_capacity(needed);
        for piece in pieces {
            let normal = piece.name();
            match originals.get(normal) {
                Some(original) => {
                    used.insert(normal.clone());
                    found.push(piece.map(|_| (*original).to_owned()));
                }
                None => {
                    // Several parameters may need the same piece.
                    if lacking.insert(normal.clone()) {
                        report.missing.push(normal.clone());
                    }
                }
            }
        }
        if found.len() == needed {
            if let Some(wrong) = shape_mismatch(source, &found, shape) {
                report.wrong_shape.push(wrong);
            }
            recipes.insert(
                path.clone(),
                TensorRecipe {
                    parameter: parameter.clone(),
                    pieces: found,
                },
            );
        }
    }
    report.unexpected.extend(
        originals
            .iter()
            .filter(|(normal, _)| !used.contains(*normal))
            .map(|(_, original)| (*original).to_owned()),
    );
    if !report.is_clean() {
        return Err(CheckpointError::Weights(Box::new(report)).into());
    }
    // Tensors are read from here on.
    source.check_unchanged()?;
    check_elements(source, &recipes)?;
    Ok(recipes)
}

/// Returns the tensors of a source, each by its normal name. Reports tensors that have two.
fn originals<'a>(
    source: &'a TensorSource,
    table: &NameTable,
    report: &mut WeightsReport,
) -> BTreeMap<String, &'a str> {
    let mut originals: BTreeMap<String, &str> = BTreeMap::new();
    for name in source.names() {
        if let Some(normal) = table.normalize(name)
            && let Some(other) = originals.insert(normal, name)
        {
            report
                .unexpected
                .push(format!("{name} (the same tensor as {other})"));
        }
    }
    originals
}

/// Compares the stacked pieces with the parameter; trailing axes of 1 are ignored, so that a 1x1
/// convolution can fill a linear layer.
fn shape_mismatch(
    source: &TensorSource,
    pieces: &[Piece<String>],
    expected: &[usize],
) -> Option<WrongShape> {
    let names: Vec<&str> = pieces.iter().map(|piece| piece.name().as_str()).collect();
    let wrong = |expected: Vec<usize>, tensor: String, actual: &[usize]| {
        Some(WrongShape {
            tensor,
            expected,
            actual: actual.to_vec(),
        })
    };
    let columns = &trimmed(expected)[1..];
    let mut rows = 0usize;
    let mut square_rows = None;
    for piece in pieces {
        let actual = source.shape(piece.name())?;
        let shape = trimmed(actual);
        let [piece_rows, piece_columns @ ..] = shape else {
            return wrong(expected.to_vec(), piece.name().clone(), actual);
        };
        let half = *piece_rows / 2;
        let (taken, halvable) = match piece {
            Piece::Whole(_) | Piece::Square(_) => (*piece_rows, true),
            Piece::FirstHalf(_) | Piece::SecondHalf(_) => (half, piece_rows % 2 == 0),
        };
        let square = match piece {
            Piece::Square(_) => {
                let side =
                    *square_rows.get_or_insert(columns.first().copied().unwrap_or(*piece_rows));
                taken == side
            }
            _ => true,
        };
        if piece_columns != columns || !halvable || !square {
            let mut needed = match (piece, square_rows) {
                (Piece::Square(_), Some(side)) => vec![side],
                (Piece::FirstHalf(_) | Piece::SecondHalf(_), _) => {
                    vec![2 * expected[0] / pieces.len()]
                }
                _ if pieces.len() == 1 => vec![expected[0]],
                _ => vec![*piece_rows],
            };
            needed.extend(columns);
            return wrong(needed, piece.name().clone(), actual);
        }
        // A tensor of a type that cannot be read may claim any size.
        rows = rows.saturating_add(taken);
    }
    if rows != expected[0] {
        let actual = source.shape(pieces[pieces.len() - 1].name())?;
        if pieces.len() == 1 {
            return wrong(
                match pieces[0] {
                    Piece::Whole(_) | Piece::Square(_) => expected.to_vec(),
                    _ => [&[2 * expected[0]], columns].concat(),
                },
                names[0].to_owned(),
                actual,
            );
        }
        return wrong(
            expected.to_vec(),
            names.join(" + "),
            &[&[rows], columns].concat(),
        );
    }
    None
}

/// Leaves out the trailing axes of 1.
fn trimmed(mut shape: &[usize]) -> &[usize] {
    while let [head @ .., 1] = shape {
        if head.is_empty() {
            break;
        }
        shape = head;
    }
    shape
}

/// Rejects tensors that cannot be read as weights, and scales that are not finite: each such scale
/// makes a whole block of weights NaN, and the image black.
fn check_elements(source: &TensorSource, recipes: &Recipes) -> Result<()> {
    for name in recipes
        .values()
        .flat_map(|tensor| &tensor.pieces)
        .map(Piece::name)
    {
        let Some((file, entry)) = source.entry(name) else {
            continue;
        };
        if !entry.encoding.is_readable() {
            return Err(OvisImageError::unknown_dtype(
                file.path().to_owned(),
                name.clone(),
                entry.encoding.to_string(),
            ));
        }
        let broken = broken_block(file, entry);
        if entry.encoding.is_quantized() {
            file.release(entry);
        }
        if let Some(block) = broken {
            return Err(OvisImageError::invalid_file(
                file.path().to_owned(),
                "GGUF",
                format!(
                    "tensor `{name}`: the {} scale of block {block} is NaN or infinite",
                    entry.encoding
                ),
            ));
        }
    }
    Ok(())
}

/// Finds the first block of a quantized tensor whose scales are not finite.
fn broken_block(file: &WeightsFile, entry: &TensorEntry) -> Option<usize> {
    let block = entry.encoding.block().filter(|block| block.elements > 1)?;
    file.data(entry)
        .chunks_exact(block.bytes)
        .position(|bytes| !scales_are_finite(&entry.encoding, bytes))
}
