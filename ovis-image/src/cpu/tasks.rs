use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

/// Runs tasks `0 .. tasks` on all threads, each of which creates its scratch once. Rayon's
/// `for_each_init` creates one at every split, and fresh pages cost as much as the work.
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
            // Relaxed is enough, because no other memory depends on the counter's order.
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
                // Relaxed is enough, because no other memory depends on the counter's order.
                let task = next.fetch_add(1, Ordering::Relaxed);
                if task >= tasks {
                    break;
                }
                run(scratch, task);
            }
        });
}
