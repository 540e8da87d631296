//! Text on the terminal. Names in files and messages of servers may hold what a terminal obeys, so
//! everything that is written there is escaped, in one of three ways: values by
//! [`Printable`], whole messages by [`printable_lines`], and log
//! lines by [`start_log`].

use std::io::{IsTerminal, Write};
use std::path::Path;

use ovis_image::error::Printable;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::{self, format};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Shows a path on one line.
pub fn shown(path: &Path) -> String {
    Printable(&path.to_string_lossy()).to_string()
}

/// Escapes a message of several lines. Its line breaks stay, so values in it that come from a file
/// must have been escaped before.
pub fn printable_lines(text: &str) -> String {
    let lines = text.split('\n').map(|line| Printable(line).to_string());
    lines.collect::<Vec<_>>().join("\n")
}

/// Writes a message to stderr, escaped. Unlike `eprintln`, it does not panic if nobody reads.
pub fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "{}", printable_lines(message));
}

/// Sends log messages to stderr: warnings, with `verbose` of 1 also information, above that also
/// debugging messages.
pub fn start_log(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let fields = format::debug_fn(|writer, field, value| match field.name() {
        // Where a message of the `log` crate comes from: shown already.
        name if name.starts_with("log.") => Ok(()),
        "message" => write!(writer, "{}", Printable(&format!("{value:?}"))),
        name => write!(writer, "{name}={}", Printable(&format!("{value:?}"))),
    });
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(verbose > 1)
        .without_time()
        .fmt_fields(fields.delimited(" "));
    // A panic on a GPU's thread is reported already, with its reason (`super::panics`).
    let repeated = if verbose == 0 {
        LevelFilter::ERROR
    } else {
        level
    };
    let filter = Targets::new()
        .with_default(level)
        .with_target("cubecl_common::device", repeated);
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_message_stay_and_the_rest_is_escaped() {
        assert_eq!(printable_lines("a\nb\u{1b}[2J\r\n"), "a\nb\\u{1b}[2J\\r\n");
        assert_eq!(shown(Path::new("a\nb")), "a\\nb");
    }
}
