//! Shared frame of the programs: parsing arguments, reporting errors, and messages on stderr.

use std::io::{IsTerminal, Write};
use std::process::{ExitCode, Termination};

use anyhow::Result;
use clap::Parser;
use tracing_subscriber::filter::LevelFilter;

use super::error_chain;

/// Parses the arguments and does a program's work. The exit code is 1 if either fails.
pub fn run<A: Parser, T: Termination>(work: impl FnOnce(A) -> Result<T>) -> ExitCode {
    let arguments = match A::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Fails only if the terminal is gone. Help goes to stdout and is a success.
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    match work(arguments) {
        Ok(done) => done.report(),
        Err(error) => {
            say(&format!("error: {}", error_chain::one_line(&error)));
            ExitCode::FAILURE
        }
    }
}

/// Writes a line to stderr. Unlike `eprintln`, it does not panic if nobody reads.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Sends log messages to stderr: warnings, with `verbose` of 1 also information, above that also
/// debugging messages.
pub fn start_log(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(verbose > 1)
        .without_time()
        .init();
}
