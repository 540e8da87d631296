//! Threads that ask about many images.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail, ensure};

use super::client::Failure;
use crate::shared::terminal::printable_lines;

/// Number of consecutive failures, without an answer between them, that end a run.
const MOST_FAILURES_IN_A_ROW: u64 = 20;

/// Number of failures that a message names.
const NAMED: usize = 5;

/// Images that have no answer, with the reason.
#[derive(Debug, Default)]
pub struct Failures(BTreeMap<String, String>);

impl Failures {
    /// Returns the number of images.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if no image failed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the first of the images, each with its reason.
    pub fn examples(&self) -> String {
        let examples = self.0.iter().take(NAMED);
        let examples =
            examples.map(|(name, reason)| printable_lines(&format!("`{name}`: {reason}")));
        examples.collect::<Vec<_>>().join("; ")
    }
}

/// State shared by the threads.
struct Shared<I> {
    items: Mutex<I>,
    failures: Mutex<Failures>,
    in_a_row: AtomicU64,
    is_over: AtomicBool,
}

/// Calls `work` with each item, on `concurrency` threads. In messages, `name` names an item, and
/// `server` the server.
///
/// Returns the items that failed, and the error that ended the run early: an error of `items` or of
/// `work`, [`Failure::Server`], or too many failures in a row.
pub fn for_each<T: Send>(
    concurrency: u32,
    server: &str,
    items: impl Iterator<Item = Result<T>> + Send,
    name: impl Fn(&T) -> String + Sync,
    work: impl Fn(&T) -> Result<Result<(), Failure>> + Sync,
) -> (Failures, Result<()>) {
    let shared = Shared {
        items: Mutex::new(items),
        failures: Mutex::default(),
        in_a_row: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
    };
    let run = || -> Result<()> {
        while !shared.is_over.load(Ordering::Relaxed) {
            let item = lock(&shared.items).next();
            let Some(item) = item else {
                break;
            };
            let done = item.and_then(|item| {
                let result = work(&item)?;
                shared.count(server, || name(&item), result)
            });
            done.inspect_err(|_| shared.is_over.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    };
    let results: Vec<Result<()>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..concurrency).map(|_| scope.spawn(run)).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|result| result.unwrap_or_else(|_| bail!("a thread panicked")))
            .collect()
    });
    let failures = shared.failures.into_inner();
    let failures = failures.unwrap_or_else(PoisonError::into_inner);
    (failures, results.into_iter().collect())
}

impl<I> Shared<I> {
    /// Counts what became of an item.
    fn count(
        &self,
        server: &str,
        name: impl Fn() -> String,
        result: Result<(), Failure>,
    ) -> Result<()> {
        match result {
            Ok(()) => self.in_a_row.store(0, Ordering::Relaxed),
            Err(Failure::Server(problem)) => bail!("{server}: {problem}"),
            Err(Failure::Image(problem)) => {
                lock(&self.failures).0.insert(name(), problem.clone());
                let in_a_row = self.in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
                ensure!(
                    in_a_row < MOST_FAILURES_IN_A_ROW,
                    "{in_a_row} images failed one after another, the last with: {problem}"
                );
            }
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
