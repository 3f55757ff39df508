//! The words between kernel and pager, and the kernels that speak them.

mod copies;
pub mod eviction;
mod kernel;
#[cfg(target_os = "linux")]
pub mod linux;
mod message;
pub mod pressure;
pub mod sim;
mod stats;
pub mod stream;

pub use copies::CopyClient;
pub use kernel::{
    Client, Kernel, KernelError, KernelHost, KernelNews, ObjectKernel, ObjectSpec, RawMapping, Residency,
    Touch,
};
pub use message::{Call, PageData, PageMemory, PageSlice, Upcall};
pub use stats::{LatencySnapshot, Stats, StatsSnapshot};
