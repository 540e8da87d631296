//! What a checkpoint and a request take of memory, and where each parameter is placed so that they
//! fit.

mod footprint;
mod placement;
mod plan;

pub use plan::{MemoryEstimate, MemoryPlan};

pub(crate) use footprint::{Footprint, MAX_SIDE};
