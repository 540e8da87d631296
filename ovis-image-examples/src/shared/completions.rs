//! Completions for shells and the man page, made from the arguments of a program.

use std::io;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use clap_complete::Shell;

const COMPLETIONS: &str = "completions";
const MAN_PAGE: &str = "man-page";

/// Adds the flags that print completions and the man page. Each stands alone: required arguments
/// are not needed beside it.
pub fn with_flags(command: Command) -> Command {
    command
        .arg(
            Arg::new(COMPLETIONS)
                .long(COMPLETIONS)
                .value_name("SHELL")
                .value_parser(value_parser!(Shell))
                .exclusive(true)
                .help_heading(None::<&'static str>)
                .hide_short_help(true)
                .display_order(1000)
                .help("Print completions for a shell"),
        )
        .arg(
            Arg::new(MAN_PAGE)
                .long(MAN_PAGE)
                .action(ArgAction::SetTrue)
                .exclusive(true)
                .help_heading(None::<&'static str>)
                .hide_short_help(true)
                .display_order(1001)
                .help("Print the man page, to be read with `man -l`"),
        )
}

/// Writes what these flags ask for. `None` if neither was given.
///
/// # Errors
/// Returns the errors of writing a man page.
pub fn asked_for(command: &mut Command, matches: &ArgMatches) -> io::Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    if let Some(shell) = matches.get_one::<Shell>(COMPLETIONS) {
        let name = command.get_name().to_owned();
        clap_complete::generate(*shell, command, name, &mut text);
    } else if matches.get_flag(MAN_PAGE) {
        // Names of subcommands are then complete, as in `dataset-ingest`.
        command.build();
        man_pages(command, &mut text)?;
    } else {
        return Ok(None);
    }
    Ok(Some(text))
}

/// Writes the page of a command, then those of its subcommands. That of `help` would say nothing.
fn man_pages(command: &Command, text: &mut Vec<u8>) -> io::Result<()> {
    clap_mangen::Man::new(command.clone()).render(text)?;
    let shown = command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set() && inner.get_name() != "help");
    for inner in shown {
        man_pages(inner, text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    /// Draws circles.
    #[derive(Debug, Parser)]
    #[command(name = "circles")]
    struct Arguments {
        /// Radius in pixels
        #[arg(long, required = true)]
        _radius: u32,
    }

    fn printed(arguments: &[&str]) -> Option<String> {
        let mut command = with_flags(<Arguments as clap::CommandFactory>::command());
        let matches = command.try_get_matches_from_mut([&["circles"], arguments].concat());
        let text = asked_for(&mut command, &matches.unwrap()).unwrap()?;
        Some(String::from_utf8(text).unwrap())
    }

    #[test]
    fn each_stands_alone_and_lists_the_flags() {
        for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
            let text = printed(&["--completions", shell]).unwrap();
            assert!(text.contains("radius"), "{text}");
        }
        let page = printed(&["--man-page"]).unwrap();
        assert!(
            page.contains("Radius in pixels") && page.contains(".TH circles"),
            "{page}"
        );
        assert_eq!(printed(&["--radius", "1"]), None);
    }
}
