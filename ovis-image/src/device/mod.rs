//! Devices by name, for programs that choose a backend at run time. A library user who knows the
//! backend names it as a type and needs none of this.
//!
//! Burn panics, in another thread even, when a driver is missing; [`DeviceSpec::open`] probes
//! first and returns an error.

#[cfg(any(feature = "rocm", test))]
mod kfd;
mod probe;
mod spec;
mod tch_device;
mod visit;

pub use spec::DeviceSpec;
pub use tch_device::TchDevice;
pub use visit::{BackendVisitor, OpenDevice};
