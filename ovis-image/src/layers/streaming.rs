//! Streaming of blocks whose weights are not kept in memory: each block is read, or dequantized,
//! while the block before it computes, and released after its turn.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Block that can be streamed.
pub(crate) trait Streamed<B: Backend>: Module<B> {
    /// Returns true if the weights are loaded for each forward and released afterwards.
    fn is_streamed(&self) -> bool;

    /// Sets the value of [`is_streamed`](Self::is_streamed).
    fn set_streamed(&mut self, streamed: bool);

    /// Visits the weights that are read together for a forward. A block leaves out weights that are
    /// used separately.
    fn visit_streamed_weights<V: ModuleVisitor<B>>(&self, visitor: &mut V) {
        self.visit(visitor);
    }
}

/// Marks the blocks that have unloaded weights as streamed. Unsuitable for models of random
/// weights, because every copy would draw its own.
pub(crate) fn stream_absent_weights<B: Backend, M: Streamed<B>>(blocks: &mut [M]) {
    for block in blocks {
        let absent = Visit::<B>::of(block, Task::Look).found_absent;
        block.set_streamed(absent);
    }
}

/// Passes a state through all blocks in order. For a streamed block, `run` receives a copy with its
/// weights, which another thread has loaded in the meantime; at most two copies are alive.
pub(crate) fn fold_blocks<B: Backend, M: Streamed<B>, S>(
    blocks: &[M],
    state: S,
    run: impl Fn(S, usize, &M) -> S,
) -> S {
    fold_some_blocks(blocks, |_| true, state, run)
}

/// Like [`fold_blocks`], for the blocks with a wanted index only; the others are not read either.
pub(crate) fn fold_some_blocks<B: Backend, M: Streamed<B>, S>(
    blocks: &[M],
    wanted: impl Fn(usize) -> bool,
    mut state: S,
    run: impl Fn(S, usize, &M) -> S,
) -> S {
    std::thread::scope(|scope| {
        // A copy of parameters that are not loaded reads them for itself.
        let read = |from: usize| {
            let mut rest = blocks.iter().enumerate().skip(from);
            let (_, streamed) =
                rest.find(|(index, block)| wanted(*index) && block.is_streamed())?;
            let copy = streamed.clone();
            Some(scope.spawn(move || {
                Visit::<B>::of(&copy, Task::Read);
                copy
            }))
        };
        let mut next = read(0);
        for (index, block) in blocks.iter().enumerate() {
            if !wanted(index) {
                continue;
            }
            if !block.is_streamed() {
                state = run(state, index, block);
                continue;
            }
            // The thread loads this block, because threads are started in the order of the blocks.
            let copy = match next.take().map(std::thread::ScopedJoinHandle::join) {
                Some(Ok(copy)) => copy,
                Some(Err(panic)) => std::panic::resume_unwind(panic),
                None => block.clone(),
            };
            next = read(index + 1);
            state = run(state, index, &copy);
        }
        state
    })
}

/// Task for each weight of a visited block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    Look,
    Read,
}

struct Visit<B> {
    task: Task,
    found_absent: bool,
    backend: std::marker::PhantomData<B>,
}

impl<B: Backend> Visit<B> {
    fn of(block: &impl Streamed<B>, task: Task) -> Self {
        let mut visit = Self {
            task,
            found_absent: false,
            backend: std::marker::PhantomData,
        };
        block.visit_streamed_weights(&mut visit);
        visit
    }
}

impl<B: Backend> ModuleVisitor<B> for Visit<B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        match self.task {
            Task::Look => self.found_absent |= !param.is_initialized(),
            Task::Read => drop(param.val()),
        }
    }
}
