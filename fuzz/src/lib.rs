//! What the fuzz targets run: programs made of bytes, and a slow reference
//! which shares nothing with the engine.
//!
//! * [`reference`]: every element is a node of a scalar graph; tensors are
//!   shapes over node numbers, so a view is a rearrangement of numbers.
//! * [`program`]: random programs; values, gradients and second derivatives.
//! * [`shapes`]: chains of views and broadcasting.
//! * [`einsum`]: equations, and texts which may be none.

pub mod einsum;
pub mod program;
pub mod reference;
pub mod shapes;
