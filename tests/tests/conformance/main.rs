//! Runs every golden case on every backend. A backend that is absent shows as ignored, with the
//! reason.

#![allow(
    clippy::print_stdout,
    reason = "the report is what this program is for"
)]

mod long_sequences;

use std::path::Path;

use burn::tensor::backend::Backend;
use libtest_mimic::{Arguments, Failed, Trial};
use ovis_image::WeightDtype;
use ovis_image::device::{BackendVisitor, DeviceSpec, OpenDevice, TchDevice};
use ovis_image_tests::golden::{CASES, Case};
use ovis_image_tests::layouts::write_layouts;
use ovis_image_tests::stages::run_case_on;
use ovis_image_tests::tokenizer::check_real_tokenizer;
use ovis_image_tests::tolerance::tolerance;
use ovis_image_tests::training::first_gradients;

/// Backends that must conform, with the dtypes that are tested on each.
const BACKENDS: [(&str, DeviceSpec, &[WeightDtype]); 6] = [
    (
        "flex",
        DeviceSpec::Flex,
        &[WeightDtype::F32, WeightDtype::BF16, WeightDtype::F16],
    ),
    ("ndarray", DeviceSpec::NdArray, &[WeightDtype::F32]),
    (
        "wgpu",
        DeviceSpec::Wgpu(0),
        &[WeightDtype::F32, WeightDtype::F16],
    ),
    (
        "cuda",
        DeviceSpec::Cuda(0),
        &[WeightDtype::F32, WeightDtype::BF16, WeightDtype::F16],
    ),
    (
        "tch",
        DeviceSpec::Tch(TchDevice::Cpu),
        &[WeightDtype::F32, WeightDtype::BF16, WeightDtype::F16],
    ),
    (
        "tch:cuda",
        DeviceSpec::Tch(TchDevice::Cuda(0)),
        &[WeightDtype::F32, WeightDtype::BF16, WeightDtype::F16],
    ),
];

/// Those on which Burn chooses attention's kernel by the length of the sequence.
const GPU_BACKENDS: [&str; 2] = ["wgpu", "cuda"];

fn main() {
    let arguments = Arguments::from_args();
    // CI names the backends that it has installed; there, an absent one is a failure.
    let required = std::env::var("OVIS_REQUIRE_BACKENDS").unwrap_or_default();
    let required: Vec<&str> = required.split(',').collect();
    // The weights of this model follow a rule and are written once per run.
    #[allow(clippy::expect_used)]
    let written = tempfile::tempdir().expect("a temporary folder");
    write_layouts(written.path());
    let cases = cases(written.path());

    let mut trials = vec![tokenizer_trial()];
    for (backend, spec, dtypes) in BACKENDS {
        match spec.open() {
            Ok(device) => {
                let supported = |dtype: WeightDtype| device.clone().visit(Supports(dtype));
                let (computed, refused): (Vec<_>, Vec<_>) =
                    dtypes.iter().copied().partition(|dtype| supported(*dtype));
                for dtype in computed {
                    trials.extend(backend_trials(&cases, backend, dtype, &device));
                }
                trials.extend(refused.iter().map(|dtype| {
                    Trial::test(format!("{backend}::{dtype}"), || Ok(()))
                        .with_ignored_flag(true)
                        .with_kind(format!("{device} does not compute in {dtype}"))
                }));
                trials.push(training_trial(backend, &device));
                if GPU_BACKENDS.contains(&backend) {
                    let f16 = supported(WeightDtype::F16);
                    trials.extend(long_sequences::trials(backend, &device, f16));
                }
            }
            Err(error) if required.contains(&backend) => {
                let reason = error.to_string();
                trials.push(Trial::test(format!("{backend} is required"), || {
                    Err(reason.into())
                }));
            }
            Err(error) => {
                println!("SKIPPED {backend}: {error}");
                let absent =
                    Trial::test(format!("{backend} is absent"), || Ok(())).with_ignored_flag(true);
                trials.push(absent.with_kind(error.to_string()));
            }
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // `exit` runs no destructors.
    drop(written);
    conclusion.exit();
}

/// Lists all cases, including the head-128 model in three layouts.
fn cases(written: &Path) -> Vec<Case> {
    let mut cases: Vec<Case> = CASES.iter().map(|name| Case::read(name)).collect();
    let mut layouts = Case::read("layouts");
    layouts.written_model = Some(written.join("diffusers"));
    cases.push(layouts);
    cases
}

fn tokenizer_trial() -> Trial {
    let name = "the real tokenizer gives the reference ids";
    match std::env::var_os("OVIS_QWEN3_TOKENIZER") {
        Some(path) => Trial::test(name, move || Ok(check_real_tokenizer(Path::new(&path))?)),
        None => Trial::test(name, || Ok(()))
            .with_ignored_flag(true)
            .with_kind("OVIS_QWEN3_TOKENIZER is not set"),
    }
}

fn backend_trials(
    cases: &[Case],
    backend: &'static str,
    dtype: WeightDtype,
    device: &OpenDevice,
) -> Vec<Trial> {
    cases
        .iter()
        .filter(|case| case.golden(dtype).is_some())
        .cloned()
        .map(|case| {
            let device = device.clone();
            let name = format!("{backend}::{dtype}::{}", case.name);
            Trial::test(name, move || conforms(device, &case, backend, dtype))
        })
        .collect()
}

/// Tests the gradients of every parameter in f32. Where the kernels are ours they are as exact as
/// torch's; elsewhere they are sums of products in an order and with exponentials that are not known.
fn training_trial(backend: &'static str, device: &OpenDevice) -> Trial {
    let device = device.clone();
    let limit = if backend == "flex" { 1e-5 } else { 1e-3 };
    Trial::test(
        format!("{backend}::f32::gradients"),
        move || match first_gradients(device) {
            (_, error) if error < limit => Ok(()),
            (path, error) => Err(format!("{path}: {error:e}, allowed {limit:e}").into()),
        },
    )
}

/// Whether a device computes in a dtype.
struct Supports(WeightDtype);

impl BackendVisitor for Supports {
    type Output = bool;

    fn visit<B: Backend>(self, device: B::Device) -> Self::Output {
        B::supports_dtype(&device, self.0.to_burn())
    }
}

fn conforms(
    device: OpenDevice,
    case: &Case,
    backend: &str,
    dtype: WeightDtype,
) -> Result<(), Failed> {
    let stages = run_case_on(device, case, dtype, tolerance(backend, dtype))?;
    let report: Vec<String> = stages
        .iter()
        .map(|stage| {
            let verdict = if stage.error <= stage.allowed {
                "ok "
            } else {
                "BAD"
            };
            format!(
                "  {verdict} {:32} {:9.2e} of {:.0e}",
                stage.stage, stage.error, stage.allowed
            )
        })
        .collect();
    let report = format!(
        "{}::{}::{}\n{}",
        backend,
        dtype,
        case.name,
        report.join("\n")
    );
    if std::env::args().any(|argument| argument == "--show-output") {
        println!("{report}");
    }
    if stages.iter().all(|stage| stage.error <= stage.allowed) {
        Ok(())
    } else {
        Err(report.into())
    }
}
