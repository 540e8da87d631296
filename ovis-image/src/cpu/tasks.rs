use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

/// Runs tasks `0 .. tasks` on all threads, each of which makes its scratch once: rayon's own
/// `for_each_init` makes one at every split, and fresh pages cost as much as the work.
pub(crate) fn for_each_task<S>(
    tasks: usize,
    scratch: impl Fn() -> S + Sync,
    run: impl Fn(&mut S, usize) + Sync,
) {
    let next = AtomicUsize::new(0);
    let workers = rayon::current_num_threads().min(tasks);
    (0..workers).into_par_iter().with_max_len(1).for_each(|_| {
        let mut scratch = scratch();
        loop {
            // Only the counter itself is shared: no other memory hangs on its order.
            let task = next.fetch_add(1, Ordering::Relaxed);
            if task >= tasks {
                break;
            }
            run(&mut scratch, task);
        }
    });
}

/// Runs tasks `0 .. tasks` on as many threads as there are scratches, which outlive the tasks.
pub(crate) fn for_each_task_in<S: Send>(
    scratches: &mut [S],
    tasks: usize,
    run: impl Fn(&mut S, usize) + Sync,
) {
    let next = AtomicUsize::new(0);
    scratches
        .par_iter_mut()
        .take(tasks)
        .with_max_len(1)
        .for_each(|scratch| {
            loop {
                // Only the counter itself is shared: no other memory hangs on its order.
                let task = next.fetch_add(1, Ordering::Relaxed);
                if task >= tasks {
                    break;
                }
                run(scratch, task);
            }
        });
}
