//! Batches that are prepared ahead of the trainer, in other threads.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use anyhow::Result;

use super::error::TrainError;

/// Source of batches. The number of a batch alone determines its contents.
pub trait BatchSource: Clone + Send + 'static {
    /// Batch that the source makes.
    type Batch: Send + 'static;

    /// Makes batch `number`.
    ///
    /// # Errors
    /// Returns an error if an image cannot be drawn or encoded.
    fn batch(&mut self, number: u64) -> Result<Self::Batch>;
}

/// Number of finished batches that a thread may keep.
const AHEAD: usize = 2;

/// Queue of batches in order. Thread k of n makes batches k, k + n, k + 2n and so on.
pub struct Queue<T> {
    threads: Vec<Receiver<Result<T>>>,
    next: u64,
}

impl<T: Send + 'static> Queue<T> {
    /// Starts threads that make batches `first..end`. They end when the queue is dropped.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn start<S: BatchSource<Batch = T>>(
        source: &S,
        threads: u16,
        first: u64,
        end: u64,
    ) -> Result<Self> {
        let count = u64::from(threads.max(1));
        let start = |thread: u64| {
            let (sender, receiver) = sync_channel(AHEAD);
            let mut source = source.clone();
            let numbers = (first..end).filter(move |number| number % count == thread);
            thread::Builder::new()
                .name(format!("batches {thread}"))
                .spawn(move || {
                    for number in numbers {
                        let batch = source.batch(number);
                        let failed = batch.is_err();
                        // Fails when the queue was dropped.
                        if sender.send(batch).is_err() || failed {
                            return;
                        }
                    }
                })
                .map(|_| receiver)
        };
        Ok(Self {
            threads: (0..count).map(start).collect::<std::io::Result<_>>()?,
            next: first,
        })
    }

    /// Waits for the next batch.
    ///
    /// # Errors
    /// Returns the error of making it.
    pub fn take(&mut self) -> Result<T> {
        let thread = (self.next % self.threads.len() as u64) as usize;
        self.next += 1;
        match self.threads[thread].recv() {
            Ok(batch) => batch,
            Err(_) => Err(TrainError::DataEnded.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct Numbers;

    impl BatchSource for Numbers {
        type Batch = u64;

        fn batch(&mut self, number: u64) -> Result<u64> {
            anyhow::ensure!(number < 40, "no batch {number}");
            Ok(number)
        }
    }

    #[test]
    fn batches_come_in_order_from_any_number_of_threads() {
        for threads in 1..4 {
            let mut queue = Queue::start(&Numbers, threads, 7, 50).unwrap();
            for number in 7..40 {
                assert_eq!(queue.take().unwrap(), number);
            }
            let error = queue.take().unwrap_err().to_string();
            assert_eq!(error, "no batch 40");
        }
    }

    #[test]
    fn after_the_last_batch_there_is_none() {
        let mut queue = Queue::start(&Numbers, 2, 0, 1).unwrap();
        assert_eq!(queue.take().unwrap(), 0);
        assert!(queue.take().is_err());
    }
}
