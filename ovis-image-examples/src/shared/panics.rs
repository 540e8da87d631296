//! Panics in one line each. A backend may catch a panic and go on, as when autotuning tries a kernel
//! that the GPU cannot run; Rust would fill the terminal with a backtrace of each.

use std::any::Any;
use std::backtrace::Backtrace;
use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::{Mutex, PoisonError};

use ovis_image::error::Printable;
use tracing_subscriber::filter::LevelFilter;

use super::terminal::say;

/// Exit code of a program that a panic ended, as Rust's own.
pub const EXIT_CODE: u8 = 101;

/// Runs the program's work, and writes a warning for each panic meanwhile. `None` if a panic ended
/// it, which is then reported as an error.
pub fn watch<T>(work: impl FnOnce() -> T) -> Option<T> {
    panic::set_hook(Box::new(warn));
    // Nothing that the work may have left in disorder is used afterwards.
    match panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => Some(result),
        Err(payload) => {
            say(&format!(
                "error: internal error, please report it: {}",
                message(payload.as_ref())
            ));
            None
        }
    }
}

/// Panics that were reported: places in the code, and [`GPU`].
static REPORTED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Key of all panics in the code of kernels. One kernel that fails in autotuning panics in several
/// places, and again for each shape that it is tried on.
const GPU: &str = "GPU";

fn warn(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let place = place.as_deref().map_or("an unknown place", in_crate);
    let key = if is_of_gpu(place) { GPU } else { place };
    let is_verbose = LevelFilter::current() >= LevelFilter::INFO;
    let is_new = REPORTED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(key.to_owned());
    if !is_new && !is_verbose {
        return;
    }
    say(&format!(
        "warning: {}",
        description(place, &message(panic.payload()))
    ));
    if is_verbose {
        say(&Backtrace::force_capture().to_string());
    }
}

fn description(place: &str, message: &str) -> String {
    let what = if is_of_gpu(place) {
        "a GPU kernel failed; if the run goes on, another one is used"
    } else {
        "a part of the program failed"
    };
    format!("{what}: {message} (at {}, more with -v)", Printable(place))
}

/// Returns whether a place is in the code of CubeCL or of Burn's backend over it, which run kernels
/// on threads of their own and catch their panics.
fn is_of_gpu(place: &str) -> bool {
    ["cubecl", "cubek"].iter().any(|name| place.contains(name))
}

/// Returns a place without the folder that cargo keeps crates in.
fn in_crate(place: &str) -> &str {
    let within = place.split_once("/registry/src/");
    let within = within.and_then(|(_, rest)| rest.split_once('/'));
    within.map_or(place, |(_, place)| place)
}

/// Returns the message of a panic on one line.
fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let words: Vec<&str> = text.split_whitespace().collect();
    Printable(&words.join(" ")).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_described_in_one_line() {
        let text = message(&"no\n  such\u{1b} thing".to_owned());
        assert_eq!(text, "no such\\u{1b} thing");
        assert_eq!(message(&"plain"), "plain");
        assert_eq!(message(&7), "no message");
        let place = in_crate("/x/registry/src/index-1/burn-cubecl-0.21.0/src/a.rs:1:2");
        assert_eq!(place, "burn-cubecl-0.21.0/src/a.rs:1:2");
        assert!(description(place, "m").starts_with("a GPU kernel failed"));
        assert!(description(in_crate("src/a.rs:1:2"), "m").starts_with("a part"));
    }

    #[test]
    fn a_panic_ends_the_work_with_no_result() {
        assert_eq!(watch(|| 7), Some(7));
        let caught = watch(|| {
            let thread = std::thread::spawn(|| panic!("in a thread"));
            thread.join().is_err()
        });
        assert_eq!(caught, Some(true));
        assert_eq!(watch(|| -> u8 { panic!("in the work") }), None);
        let _ = panic::take_hook();
    }
}
