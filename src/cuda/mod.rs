//! CUDA kernels: compiled by build.rs, loaded through cudarc, the same bytes as everywhere.
//!
//! Three layers, each usable alone:
//!
//! - [`IMAGES`]: the compiled kernels as constants, without any CUDA type;
//! - [`raw`]: device pointers and a stream handle, no allocation, no synchronization;
//! - [`Device`] and [`DeviceTensor`]: cudarc's contexts, streams and slices, and memory borrowed from
//!   other owners.
//!
//! No toolkit is needed at run time. Without a driver, a device or kernels, calls return a typed
//! [`CudaError`].
#![allow(unsafe_code)] // kernels take pointers; every block says why it may

mod arguments;
mod current;
mod device;
mod driver;
mod error;
mod fast;
mod grouped;
mod images;
mod memory;
mod parts;
pub mod raw;
mod report;
mod rotate;
mod strided;
mod tensor;

pub use arguments::DevicePointer;
pub use device::{Device, DeviceReal, part_bytes};
pub use error::CudaError;
pub use grouped::{GroupRows, GroupedMut};
pub use images::{IMAGES, Image, image_for};
pub use memory::{BorrowedDevice, BorrowedDeviceMut, DeviceInput, DeviceOutput};
pub use parts::{QuantizedMut, QuantizedRef, TensorAmax};
pub use report::{Choice, DeviceReport, DriverReport, OPERATIONS, Report, report};
pub use strided::Strided;
pub use tensor::{DeviceCodes, DeviceScales, DeviceTensor, Download};
