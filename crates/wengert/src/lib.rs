//! Tape-based automatic differentiation with arena storage.

mod arena;
mod array;
mod backward;
mod display;
mod error;
mod gradients;
mod graph;
mod kernels;
mod ops;
mod params;
mod pool;
mod scalar;
mod shape;
mod slab;
mod tape;
mod tensor;

pub use array::{Array, ArrayView};
pub use backward::Cotangent;
pub use error::Error;
pub use gradients::{Gradients, Key};
pub use kernels::gemm::GemmBackend;
pub use params::{Param, Parameter, Params};
pub use scalar::Scalar;
pub use shape::{Axes, MAX_RANK};
pub use tape::{NonFinite, Stats, Tape};
pub use tensor::{GradFn, Operand, Tensor};
