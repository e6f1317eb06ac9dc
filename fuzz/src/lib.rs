//! What the fuzz targets run: programs made of bytes, and a slow reference
//! which shares nothing with the engine.
//!
//! * [`scalars`]: every element is a node of a graph of single numbers
//!   ([`dual`] ones); [`nd`]: tensors are shapes over node numbers, so a view
//!   is a rearrangement of numbers.
//! * [`ops`]: every op on both sides, mostly a row each.
//! * [`program`]: random programs; values, gradients and second derivatives.
//! * [`shapes`]: chains of views and broadcasting.
//! * [`einsum`]: equations, and texts which may be none.
//! * [`indices`]: positions and ranges, valid or not.

pub mod dual;
pub mod einsum;
pub mod indices;
pub mod nd;
pub mod ops;
pub mod program;
pub mod scalars;
pub mod shapes;
