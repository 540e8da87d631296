//! What a checkpoint and a request take of memory, and where each parameter is placed so that they
//! fit.

mod device_memory;
mod estimate;
mod footprint;
mod phases;
mod placed;
mod placement;
mod plan;

pub use device_memory::DeviceMemory;
pub use estimate::MemoryEstimate;
pub use plan::MemoryPlan;

pub(crate) use footprint::{Footprint, MAX_SIDE};
