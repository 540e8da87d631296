//! Shared frame of the programs: parsing arguments, reporting errors, and messages on stderr.

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::process::{ExitCode, Termination};

use anyhow::{Context, Result};
use clap::Parser;

pub use super::terminal::say;
use super::{completions, error_chain, panics, typed, usage};

/// Parses the arguments and does a program's work. The exit code is [`usage::USAGE`] if an argument
/// is at fault, [`usage::FAILURE`] if the work fails, and [`panics::EXIT_CODE`] if it panics.
pub fn run<A: Parser, T: Termination>(work: impl FnOnce(A) -> Result<T>) -> ExitCode {
    let done = match parse(std::env::args_os()) {
        Ok(Call::Work(arguments)) => match panics::watch(|| work(arguments)) {
            None => return ExitCode::from(panics::EXIT_CODE),
            Some(done) => done.map(Termination::report),
        },
        Ok(Call::Print(text)) => print(&text).map(|()| ExitCode::SUCCESS),
        Err(error) => {
            let error = typed::rename(error);
            // Fails only if the terminal is gone. Help goes to stdout and is a success.
            let _ = error.print();
            let code = if error.use_stderr() { usage::USAGE } else { 0 };
            return ExitCode::from(code);
        }
    };
    done.unwrap_or_else(|error| {
        say(&format!("error: {}", error_chain::one_line(&error)));
        ExitCode::from(usage::exit_code(&error))
    })
}

/// Number of columns of help on wide terminals.
const WIDEST_HELP: usize = 100;

/// Purpose of a call.
enum Call<A> {
    /// Its work.
    Work(A),
    /// A text about the program.
    Print(Vec<u8>),
}

/// Parses the arguments. The last value of a repeated flag counts, unless the flag takes several.
fn parse<A: Parser>(
    arguments: impl IntoIterator<Item = impl Into<OsString>>,
) -> Result<Call<A>, clap::Error> {
    // The flags of completions need no subcommand either; without one, the conversion fails below.
    let mut command = completions::with_flags(A::command())
        .subcommand_required(false)
        .args_override_self(true)
        .max_term_width(WIDEST_HELP);
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    typed::remember(&command, &arguments);
    let mut matches = command.try_get_matches_from_mut(arguments)?;
    if let Some(text) = completions::asked_for(&mut command, &matches)? {
        return Ok(Call::Print(text));
    }
    let arguments = A::from_arg_matches_mut(&mut matches);
    Ok(Call::Work(
        arguments.map_err(|error| error.format(&mut command))?,
    ))
}

/// Writes to stdout. A closed pipe, as in `… | head -1`, is not an error.
///
/// # Errors
/// Returns other errors of writing.
pub fn print(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Arguments {
        #[arg(long)]
        steps: Option<u32>,
        #[arg(long)]
        fast: bool,
        #[arg(long)]
        prompt: Vec<String>,
    }

    #[test]
    fn the_last_of_repeated_values_counts_and_lists_are_kept() {
        let words = "program --steps 1 --fast --prompt a --steps 2 --fast --prompt b";
        let Ok(Call::Work(arguments)) = parse::<Arguments>(words.split(' ')) else {
            panic!("the arguments are valid");
        };
        assert_eq!((arguments.steps, arguments.fast), (Some(2), true));
        assert_eq!(arguments.prompt, ["a", "b"]);
    }
}
