//! Flags as they were typed: an error names an alias or a short flag if the user wrote that.

use std::ffi::OsString;
use std::sync::{Mutex, PoisonError};

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Command};

/// Typed flags of this process.
static TYPED: Mutex<TypedFlags> = Mutex::new(TypedFlags(Vec::new()));

/// Long flags, each with the words that stand for it on the command line.
#[derive(Debug, Default, PartialEq, Eq)]
struct TypedFlags(Vec<(String, String)>);

/// Remembers the flags among the arguments of a program.
pub fn remember(command: &Command, arguments: &[OsString]) {
    let typed = TypedFlags::new(command, arguments);
    TYPED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .0
        .extend(typed.0);
}

/// Remembers that other words set a flag, unless it was typed itself.
pub fn remember_as(flag: &str, words: String) {
    if !is_typed(flag) {
        let mut typed = TYPED.lock().unwrap_or_else(PoisonError::into_inner);
        typed.0.push((flag.to_owned(), words));
    }
}

/// Returns the words that were typed for a long flag, or the flag itself.
pub fn name(flag: &str) -> String {
    let typed = TYPED.lock().unwrap_or_else(PoisonError::into_inner);
    typed.name(flag).unwrap_or(flag).to_owned()
}

/// Returns whether a long flag was typed, under any name.
pub fn is_typed(flag: &str) -> bool {
    let typed = TYPED.lock().unwrap_or_else(PoisonError::into_inner);
    typed.name(flag).is_some()
}

/// Names the arguments in an error of clap as they were typed.
pub fn rename(mut error: clap::Error) -> clap::Error {
    for kind in [ContextKind::InvalidArg, ContextKind::PriorArg] {
        let renamed = match error.get(kind) {
            Some(ContextValue::String(argument)) => ContextValue::String(with_value(argument)),
            Some(ContextValue::Strings(arguments)) => {
                ContextValue::Strings(arguments.iter().map(|text| with_value(text)).collect())
            }
            _ => continue,
        };
        error.insert(kind, renamed);
    }
    error
}

/// Names a flag that is followed by its value, as in `--seed <SEED>`.
fn with_value(argument: &str) -> String {
    match argument.split_once(' ') {
        Some((flag, value)) => format!("{} {value}", name(flag)),
        None => name(argument),
    }
}

impl TypedFlags {
    fn new(mut command: &Command, arguments: &[OsString]) -> Self {
        let mut typed = Self::default();
        for word in arguments.iter().skip(1).filter_map(|word| word.to_str()) {
            if word == "--" {
                break;
            } else if let Some(word) = word.strip_prefix("--") {
                let name = word.split('=').next().unwrap_or(word);
                typed.extend(command, |argument| has_long(argument, name), word_of(name));
            } else if let Some(word) = word.strip_prefix('-') {
                typed.extend_short(command, word);
            } else if let Some(inner) = command.find_subcommand(word) {
                command = inner;
            }
        }
        typed
    }

    /// Adds the flags of a word such as `-vW100`, which ends at the first flag with a value.
    fn extend_short(&mut self, command: &Command, word: &str) {
        for letter in word.chars() {
            let is_letter = |argument: &Arg| argument.get_short() == Some(letter);
            let takes_value = |argument: &Arg| argument.get_action().takes_values();
            self.extend(command, is_letter, format!("-{letter}"));
            let found = command.get_arguments().find(|argument| is_letter(argument));
            if found.is_none_or(takes_value) {
                break;
            }
        }
    }

    fn extend(&mut self, command: &Command, is_meant: impl Fn(&Arg) -> bool, words: String) {
        let meant = command.get_arguments().find(|argument| is_meant(argument));
        if let Some(long) = meant.and_then(Arg::get_long) {
            self.0.push((word_of(long), words));
        }
    }

    /// Returns the words for a long flag. The last of several counts, as its value does.
    fn name(&self, flag: &str) -> Option<&str> {
        let found = self.0.iter().rfind(|(long, _)| long == flag);
        found.map(|(_, words)| words.as_str())
    }
}

fn has_long(argument: &Arg, name: &str) -> bool {
    let aliases = argument.get_all_aliases().unwrap_or_default();
    argument.get_long() == Some(name) || aliases.contains(&name)
}

fn word_of(name: &str) -> String {
    format!("--{name}")
}

#[cfg(test)]
mod tests {
    use clap::ArgAction;

    use super::*;

    fn command() -> Command {
        let scale = Arg::new("scale")
            .long("guidance-scale")
            .visible_alias("cfg-scale");
        let width = Arg::new("width").long("width").short('W');
        let verbose = Arg::new("verbose").long("verbose").short('v');
        let seed = Arg::new("seed").long("seed").short('s');
        Command::new("generate")
            .args([scale, width, verbose.action(ArgAction::Count)])
            .subcommand(Command::new("lora").arg(seed))
    }

    fn typed(words: &str) -> TypedFlags {
        let words: Vec<OsString> = words.split(' ').map(Into::into).collect();
        TypedFlags::new(&command(), &words)
    }

    #[test]
    fn aliases_and_short_flags_are_found() {
        let typed = typed("generate --cfg-scale=2 -vW100 lora -s -1 -- --verbose");
        assert_eq!(typed.name("--guidance-scale"), Some("--cfg-scale"));
        assert_eq!(typed.name("--width"), Some("-W"));
        assert_eq!(typed.name("--verbose"), Some("-v"));
        assert_eq!(typed.name("--seed"), Some("-s"));
        assert_eq!(typed.0.len(), 4);
    }

    #[test]
    fn the_last_name_counts() {
        let typed = typed("generate -W 1 --width 2");
        assert_eq!(typed.name("--width"), Some("--width"));
        assert_eq!(typed.name("--guidance-scale"), None);
    }
}
