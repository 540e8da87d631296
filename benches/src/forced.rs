//! The argument `--instruction-set` of a criterion bench.
//!
//! Criterion parses the arguments of the process itself and refuses those that it does not know. A
//! bench that finds the argument therefore runs itself again without it, and passes the choice in a
//! variable of the new process's environment.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use ovis_image::kernels::InstructionSet;

const ARGUMENT: &str = "--instruction-set";
const VARIABLE: &str = "OVIS_IMAGE_BENCH_INSTRUCTION_SET";

/// Runs the bench again without the argument and returns its exit code, if the argument is given.
/// Otherwise forces the instruction set that the first process passed on, if any, and returns
/// `None`: the benches are to be run.
///
/// # Errors
/// Returns an error if the argument has no value, if it names no instruction set of this CPU, or if
/// the process cannot be started.
pub fn run_without_our_argument() -> Result<Option<ExitCode>> {
    let (set, others) = split(std::env::args_os().skip(1))?;
    let Some(set) = set else {
        if let Ok(set) = std::env::var(VARIABLE) {
            set.parse::<InstructionSet>()?.use_everywhere()?;
        }
        return Ok(None);
    };
    // Fails here rather than in the other process, where the argument is not to be seen.
    set.use_everywhere()?;
    let program = std::env::current_exe().context("cannot find the bench's own program")?;
    let status = Command::new(program)
        .args(others)
        .env(VARIABLE, set.to_string())
        .status()
        .context("cannot run the bench again")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(Some(ExitCode::from(code.unwrap_or(1))))
}

/// Takes the argument out of the others; the last one counts.
fn split(
    arguments: impl Iterator<Item = OsString>,
) -> Result<(Option<InstructionSet>, Vec<OsString>)> {
    let (mut set, mut others) = (None, Vec::new());
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        let value = if text == ARGUMENT {
            let value = arguments.next();
            let value = value.with_context(|| format!("{ARGUMENT} needs a value, like avx2"))?;
            value.to_string_lossy().into_owned()
        } else if let Some(value) = text
            .strip_prefix(ARGUMENT)
            .and_then(|v| v.strip_prefix('='))
        {
            value.to_owned()
        } else {
            others.push(argument);
            continue;
        };
        set = Some(value.parse()?);
    }
    Ok((set, others))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_words(words: &str) -> Result<(Option<InstructionSet>, Vec<OsString>)> {
        split(words.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_argument_is_taken_out_and_all_others_stay_in_order() {
        for given in ["--instruction-set portable", "--instruction-set=portable"] {
            let (set, others) = split_words(&format!("--bench {given} --test f32")).unwrap();
            assert_eq!(set, Some(InstructionSet::Portable));
            assert_eq!(others, ["--bench", "--test", "f32"]);
        }
        let (set, others) = split_words("--bench --instruction-sets").unwrap();
        assert_eq!(set, None);
        assert_eq!(others, ["--bench", "--instruction-sets"]);
    }

    #[test]
    fn a_missing_or_unknown_value_is_an_error() {
        let error = split_words("--instruction-set").unwrap_err();
        assert!(error.to_string().contains("needs a value"), "{error}");
        let error = split_words("--instruction-set=sse").unwrap_err();
        assert!(error.to_string().contains("sse"), "{error}");
    }
}
