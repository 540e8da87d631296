//! Tests of the released weights, if available: `OVIS_CHECKPOINT` is a folder that
//! `tests/reference/released_weights.py` has written (tests/README.md). Otherwise the test shows as
//! ignored, with the reason.

#![allow(
    clippy::print_stdout,
    reason = "the report is what this program is for"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Arguments, Failed, Trial};
use ovis_image::WeightDtype;
use ovis_image::device::DeviceSpec;
use ovis_image_tests::golden::Case;
use ovis_image_tests::stages::{generate_on, run_case_on};
use ovis_image_tests::tolerance::released_weights;

fn main() {
    let arguments = Arguments::from_args();
    let trials = match std::env::var_os("OVIS_CHECKPOINT") {
        Some(folder) => trials(Path::new(&folder)),
        None => vec![
            Trial::test("the released weights", || Ok(()))
                .with_ignored_flag(true)
                .with_kind("OVIS_CHECKPOINT is not set"),
        ],
    };
    libtest_mimic::run(&arguments, trials).exit();
}

fn trials(folder: &Path) -> Vec<Trial> {
    let mut trials: Vec<Trial> = [WeightDtype::F32, WeightDtype::BF16]
        .into_iter()
        .filter(|dtype| golden_file(folder, *dtype).is_file())
        .map(|dtype| {
            let folder = folder.to_owned();
            let name = format!("every stage is the reference's in {dtype}");
            Trial::test(name, move || {
                let case = Case::read_from(&folder)?;
                stages_match(&case, dtype)
            })
        })
        .collect();
    let folder = folder.to_owned();
    let text = Trial::test("the image says what the prompt says", move || {
        let case = Case::read_from(&folder)?;
        reads_back(&case)
    });
    trials.push(text);
    trials
}

fn golden_file(folder: &Path, dtype: WeightDtype) -> PathBuf {
    folder.join(match dtype {
        WeightDtype::BF16 => "golden_bf16.safetensors",
        _ => "golden.safetensors",
    })
}

/// Returns the device named by `OVIS_DEVICE`, or the best one.
fn device() -> Result<DeviceSpec, Failed> {
    let name = std::env::var("OVIS_DEVICE").unwrap_or_else(|_| "auto".to_owned());
    Ok(name.parse::<DeviceSpec>()?)
}

fn stages_match(case: &Case, dtype: WeightDtype) -> Result<(), Failed> {
    let stages = run_case_on(device()?.open()?, case, dtype, released_weights(dtype))?;
    for stage in &stages {
        println!(
            "{:32} {:9.2e} of {:.0e}",
            stage.stage, stage.error, stage.allowed
        );
    }
    let bad = stages.iter().filter(|stage| stage.error > stage.allowed);
    let bad: Vec<&str> = bad.map(|stage| stage.stage.as_str()).collect();
    if bad.is_empty() {
        Ok(())
    } else {
        Err(format!("these stages are too far from the reference: {bad:?}").into())
    }
}

fn reads_back(case: &Case) -> Result<(), Failed> {
    let Some(text) = &case.text else {
        return Ok(());
    };
    let image = generate_on(device()?.open()?, case, WeightDtype::BF16)?;
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("released_weights.png");
    image.save(&file)?;
    println!("the image is in {}", file.display());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("reference/read_text.py");
    let read = Command::new("python3").arg(script).arg(&file).output();
    match read {
        Ok(read) if read.status.success() => {
            let read = String::from_utf8_lossy(&read.stdout).to_uppercase();
            println!("the reader finds: {read}");
            let squeezed = |text: &str| text.split_whitespace().collect::<String>();
            if squeezed(&read).contains(&squeezed(text)) {
                Ok(())
            } else {
                Err(format!("the reader finds {read:?}, not {text:?}").into())
            }
        }
        _ => {
            println!("no reader is installed (pip install rapidocr): look at the image");
            Ok(())
        }
    }
}
