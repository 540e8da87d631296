//! Shared frame of the programs: parsing arguments, reporting errors, and messages on stderr.

use std::io::Write;
use std::process::{ExitCode, Termination};

use anyhow::Result;
use clap::Parser;

use super::terminal::printable_lines;
use super::{error_chain, panics};

/// Parses the arguments and does a program's work. The exit code is 1 if either fails, and 101 if the
/// work panics.
pub fn run<A: Parser, T: Termination>(work: impl FnOnce(A) -> Result<T>) -> ExitCode {
    let arguments = match A::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Fails only if the terminal is gone. Help goes to stdout and is a success.
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    match panics::watch(|| work(arguments)) {
        None => ExitCode::from(panics::EXIT_CODE),
        Some(Ok(done)) => done.report(),
        Some(Err(error)) => {
            say(&format!("error: {}", error_chain::one_line(&error)));
            ExitCode::FAILURE
        }
    }
}

/// Writes a message to stderr, escaped. Unlike `eprintln`, it does not panic if nobody reads.
pub fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "{}", printable_lines(message));
}
