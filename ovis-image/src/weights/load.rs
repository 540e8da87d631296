//! Loading with every tensor accounted for. First a plan is made from shapes alone, and all that
//! does not fit is reported at once; only then are bytes read, one tensor at a time. Parameters that
//! stay in the file are planned like the others and read when used.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{AllocationProperty, Bytes, DType, Shape, Tensor, TensorData};

use super::convert::{HostBuffer, is_stored_as};
use super::dequantise;
use super::files::{TensorEntry, WeightsFile};
use super::names::{NameTable, Piece};
use super::source::TensorSource;
use crate::error::{OvisImageError, Result, WeightsReport, WrongShape};

/// Where a parameter is before it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Residency {
    /// On the device, from loading on.
    #[default]
    Device,
    /// In the checkpoint's file. Its first use reads it; a clone of its module made before that
    /// reads for itself alone and gives the memory back when dropped.
    File,
}

/// Where a model's weights come from and what they become.
#[derive(Debug, Clone, Copy)]
pub struct PartWeights<'a> {
    /// The model's name in errors.
    pub part: &'static str,
    /// Its tensors.
    pub source: &'a Arc<TensorSource>,
    /// Their names.
    pub table: &'a NameTable,
    /// f32, f16 or bf16.
    pub dtype: DType,
    /// Whether tensors that the file holds as they are needed may stay there and be computed with in
    /// place: for devices that compute in the machine's own memory. The file must not be shortened
    /// or overwritten meanwhile.
    pub in_place: bool,
}

/// Fills a model's parameters from a checkpoint in the dtype asked for; `residency` tells of each
/// parameter's path (`double_blocks.0.image_attention.qkv.weight`) where it shall be.
///
/// Host memory peaks at the largest tensor: each is read from the map, converted, and sent to the
/// device before the next.
///
/// # Errors
/// [`OvisImageError::Weights`] listing every missing, unexpected and wrongly shaped tensor, before
/// anything is read; [`OvisImageError::UnknownDtype`] for a weight that cannot be read as
/// one, [`OvisImageError::InvalidFile`] for quantised ones with broken scales.
///
/// # Panics
/// If `dtype` is not f32, f16 or bf16.
pub fn load_weights<B: Backend, M: Module<B>>(
    module: M,
    weights: PartWeights<'_>,
    residency: impl Fn(&str) -> Residency,
    device: &B::Device,
) -> Result<M> {
    let PartWeights {
        part,
        source,
        table,
        dtype,
        in_place,
    } = weights;
    let mut parameters = ParameterShapes::default();
    module.visit(&mut parameters);

    let plan = plan(part, source, table, &parameters.shapes)?;
    tracing::debug!(part, tensors = plan.len(), path = %source.path().display(), "loading weights");

    Ok(module.map(&mut Loader::<B, _> {
        path: Vec::new(),
        source,
        plan,
        dtype,
        in_place,
        device,
        residency,
    }))
}

/// Where each parameter's elements come from.
type Plan = BTreeMap<String, PlannedTensor>;

#[derive(Clone)]
struct PlannedTensor {
    shape: Vec<usize>,
    /// Names in the source.
    pieces: Vec<Piece<String>>,
}

/// Our parameters' paths and shapes, taken without materialising any.
#[derive(Default)]
struct ParameterShapes {
    path: Vec<String>,
    shapes: BTreeMap<String, Vec<usize>>,
}

impl<B: Backend> ModuleVisitor<B> for ParameterShapes {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.shapes
            .insert(self.path.join("."), param.lazy_shape().to_vec());
    }
}

fn plan(
    part: &'static str,
    source: &TensorSource,
    table: &NameTable,
    parameters: &BTreeMap<String, Vec<usize>>,
) -> Result<Plan> {
    let mut report = WeightsReport {
        source: source.path().to_owned(),
        part,
        ..WeightsReport::default()
    };
    let mut originals: BTreeMap<String, &str> = BTreeMap::new();
    for name in source.names() {
        if let Some(normal) = table.normalise(name)
            && let Some(other) = originals.insert(normal, name)
        {
            report
                .unexpected
                .push(format!("{name} (the same tensor as {other})"));
        }
    }

    let mut used = BTreeSet::new();
    let mut plan = Plan::new();
    for (path, shape) in parameters {
        let Some(pieces) = table.pieces(path) else {
            report
                .missing
                .push(format!("{path} (no name for it in this layout)"));
            continue;
        };
        let mut found = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let normal = piece.name();
            match originals.get(normal) {
                Some(original) => {
                    used.insert(normal.clone());
                    found.push(piece.map(|_| (*original).to_owned()));
                }
                None if report.missing.contains(normal) => {}
                None => report.missing.push(normal.clone()),
            }
        }
        let complete = table.pieces(path).map_or(0, |pieces| pieces.len()) == found.len();
        if complete {
            if let Some(wrong) = shape_mismatch(source, &found, shape) {
                report.wrong_shape.push(wrong);
            }
            plan.insert(
                path.clone(),
                PlannedTensor {
                    shape: shape.clone(),
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
        return Err(OvisImageError::Weights(Box::new(report)));
    }
    check_elements(source, &plan)?;
    Ok(plan)
}

/// Compares the stacked pieces with the parameter; trailing axes of 1 do not count, so that a 1x1
/// convolution can fill a linear layer.
fn shape_mismatch(
    source: &TensorSource,
    pieces: &[Piece<String>],
    expected: &[usize],
) -> Option<WrongShape> {
    fn trimmed(mut shape: &[usize]) -> &[usize] {
        while let [head @ .., 1] = shape {
            if head.is_empty() {
                break;
            }
            shape = head;
        }
        shape
    }
    let names: Vec<&str> = pieces.iter().map(|piece| piece.name().as_str()).collect();
    let wrong = |expected: Vec<usize>, tensor: String, actual: &[usize]| {
        Some(WrongShape {
            tensor,
            expected,
            actual: actual.to_vec(),
        })
    };
    let columns = &trimmed(expected)[1..];
    let mut rows = 0;
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
        rows += taken;
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

/// Refuses what cannot be read as weights, and scales that are not finite: each makes a whole block
/// of weights NaN, and the picture black.
fn check_elements(source: &TensorSource, plan: &Plan) -> Result<()> {
    for name in plan
        .values()
        .flat_map(|tensor| &tensor.pieces)
        .map(Piece::name)
    {
        let Some((file, entry)) = source.entry(name) else {
            continue;
        };
        if !entry.encoding.is_readable() {
            return Err(OvisImageError::UnknownDtype {
                path: file.path().to_owned(),
                tensor: name.clone(),
                dtype: entry.encoding.to_string(),
            });
        }
        if let Some(block) = broken_block(file, entry) {
            return Err(OvisImageError::InvalidFile {
                path: file.path().to_owned(),
                format: "GGUF",
                reason: format!(
                    "tensor `{name}`: the {} scale of block {block} is NaN or infinite",
                    entry.encoding
                ),
            });
        }
    }
    Ok(())
}

/// The first block of a quantised tensor whose scales are not finite.
fn broken_block(file: &WeightsFile, entry: &TensorEntry) -> Option<usize> {
    let block = entry.encoding.block().filter(|block| block.elements > 1)?;
    file.data(entry)
        .chunks_exact(block.bytes)
        .position(|bytes| !dequantise::scales_are_finite(&entry.encoding, bytes))
}

/// Fills parameters from their plan.
struct Loader<'a, B: Backend, R> {
    path: Vec<String>,
    source: &'a Arc<TensorSource>,
    plan: Plan,
    dtype: DType,
    in_place: bool,
    device: &'a B::Device,
    residency: R,
}

/// The bytes of a tensor of `length` bytes that a piece takes.
fn taken(piece: &Piece<String>, length: usize) -> Range<usize> {
    match piece {
        Piece::Whole(_) | Piece::Square(_) => 0..length,
        Piece::FirstHalf(_) => 0..length / 2,
        Piece::SecondHalf(_) => length / 2..length,
    }
}

impl PlannedTensor {
    fn read<B: Backend, const D: usize>(
        &self,
        source: &TensorSource,
        dtype: DType,
        device: &B::Device,
    ) -> Tensor<B, D> {
        let mut buffer = HostBuffer::new(dtype, self.shape.iter().product());
        for piece in &self.pieces {
            if let Some((file, entry)) = source.entry(piece.name()) {
                buffer.extend(
                    &file.data(entry)[taken(piece, file.data(entry).len())],
                    &entry.encoding,
                );
                file.release(entry);
            }
        }
        Tensor::from_data(buffer.into_data(self.shape.clone()), (device, dtype))
    }

    /// The tensor in its file: `None` if it has several pieces or another dtype, or is not aligned.
    fn map<B: Backend, const D: usize>(
        &self,
        source: &TensorSource,
        dtype: DType,
        device: &B::Device,
    ) -> Option<Tensor<B, D>> {
        let [piece] = &self.pieces[..] else {
            return None;
        };
        let (file, entry) = source.entry(piece.name())?;
        let bytes = file.shared_data(entry);
        let bytes = bytes.slice(taken(piece, bytes.len()));
        let aligned = bytes.as_ptr().addr().is_multiple_of(dtype.size());
        if is_stored_as(&entry.encoding, dtype) && aligned && cfg!(target_endian = "little") {
            let bytes = Bytes::from_shared(bytes, AllocationProperty::File);
            let data = TensorData::from_bytes(bytes, self.shape.clone(), dtype);
            return Some(Tensor::from_data(data, (device, dtype)));
        }
        None
    }
}

impl<B: Backend, R: Fn(&str) -> Residency> ModuleMapper<B> for Loader<'_, B, R> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let path = self.path.join(".");
        // Unreachable: the plan has every parameter that the visitor saw.
        let Some(planned) = self.plan.get(&path) else {
            return param;
        };
        let id = param.id;
        match (self.residency)(&path) {
            Residency::Device => {
                let mapped = match self.in_place {
                    true => planned.map(self.source, self.dtype, self.device),
                    false => None,
                };
                let tensor =
                    mapped.unwrap_or_else(|| planned.read(self.source, self.dtype, self.device));
                param.transform_for_load(tensor, id)
            }
            Residency::File => {
                let (source, planned, dtype) =
                    (Arc::clone(self.source), planned.clone(), self.dtype);
                let shape = Shape::from(planned.shape.clone());
                Param::uninitialized(
                    id,
                    move |device, require_grad| {
                        planned
                            .read::<B, D>(&source, dtype, device)
                            .set_require_grad(require_grad)
                    },
                    self.device.clone(),
                    true,
                    shape,
                )
            }
        }
    }
}
