//! Every golden case on every backend. A backend that is absent shows as ignored, with the reason.

#![allow(
    clippy::print_stdout,
    reason = "the report is what this program is for"
)]

use burn::tensor::backend::Backend;
use libtest_mimic::{Arguments, Failed, Trial};
use ovis_image::WeightDtype;
use ovis_image::device::{BackendVisitor, DeviceSpec, OpenDevice};
use ovis_image_tests::golden::{CASES, Case};
use ovis_image_tests::stages::run_case;
use ovis_image_tests::tolerance::tolerance;

/// The backends that must conform, and the dtypes that each is held to.
const BACKENDS: [(&str, DeviceSpec, &[WeightDtype]); 4] = [
    (
        "flex",
        DeviceSpec::Flex,
        &[WeightDtype::F32, WeightDtype::BF16],
    ),
    ("ndarray", DeviceSpec::NdArray, &[WeightDtype::F32]),
    ("wgpu", DeviceSpec::Wgpu(0), &[WeightDtype::F32]),
    (
        "cuda",
        DeviceSpec::Cuda(0),
        &[WeightDtype::F32, WeightDtype::BF16],
    ),
];

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for (backend, spec, dtypes) in BACKENDS {
        match spec.open() {
            Ok(device) => trials.extend(
                dtypes
                    .iter()
                    .flat_map(|dtype| backend_trials(backend, *dtype, &device)),
            ),
            Err(error) => {
                println!("SKIPPED {backend}: {error}");
                let absent =
                    Trial::test(format!("{backend} is absent"), || Ok(())).with_ignored_flag(true);
                trials.push(absent.with_kind(error.to_string()));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn backend_trials(backend: &'static str, dtype: WeightDtype, device: &OpenDevice) -> Vec<Trial> {
    CASES
        .iter()
        .map(|name| Case::read(name))
        .filter(|case| case.golden(dtype).is_some())
        .map(|case| {
            let device = device.clone();
            let name = format!("{backend}::{dtype}::{}", case.name);
            Trial::test(name, move || {
                device.visit(Conformance {
                    case,
                    backend,
                    dtype,
                })
            })
        })
        .collect()
}

struct Conformance {
    case: Case,
    backend: &'static str,
    dtype: WeightDtype,
}

impl BackendVisitor for Conformance {
    type Output = Result<(), Failed>;

    fn visit<B: Backend>(self, device: B::Device) -> Self::Output {
        let allowed = tolerance(self.backend, self.dtype);
        let stages = run_case::<B>(&self.case, self.dtype, allowed, &device)?;
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
            self.backend,
            self.dtype,
            self.case.name,
            report.join("\n")
        );
        if std::env::args().any(|argument| argument == "--show-output") {
            println!("{report}");
        }
        match stages.iter().all(|stage| stage.error <= stage.allowed) {
            true => Ok(()),
            false => Err(report.into()),
        }
    }
}
