//! Programs that are killed or interrupted while they run.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Waits until a path exists or the program ends. Returns whether it is still running.
fn runs_until(child: &mut Child, path: &Path) -> bool {
    loop {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if path.exists() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Starts a program and kills it as soon as a path exists.
#[track_caller]
pub(super) fn kill_at(mut command: Command, path: &Path) {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = quiet.spawn().unwrap();
    let runs = runs_until(&mut child, path);
    let _ = child.kill();
    child.wait().unwrap();
    assert!(runs, "it ended before {} existed", path.display());
}

/// Starts a program and asks it to end as soon as a path exists.
#[cfg(all(feature = "flex", unix))]
#[track_caller]
pub(super) fn interrupt_at(mut command: Command, path: &Path) -> std::process::Output {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    assert!(
        runs_until(&mut child, path),
        "it ended before {} existed",
        path.display()
    );
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-TERM", &id]).status();
    assert!(sent.unwrap().success());
    child.wait_with_output().unwrap()
}
