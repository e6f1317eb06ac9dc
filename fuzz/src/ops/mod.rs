//! The ops of programs, each on both sides: the engine's call and what it
//! means for the reference.

use arbitrary::{Result, Unstructured};

use crate::nd::Nd;

pub mod elementwise;
pub mod linear;
pub mod networks;
pub mod parts;
pub mod reductions;
pub mod rows;

/// The engine's tensors.
pub type T<'t> = wengert::Tensor<'t, f64>;

/// A small number.
pub fn byte(u: &mut Unstructured<'_>) -> Result<usize> {
    Ok(usize::from(u.arbitrary::<u8>()?))
}

/// What an op gives, on both sides, and how it was called; `None` where the
/// op does not apply.
pub type Made<'t> = Option<(String, T<'t>, Nd)>;

/// An axis, by its number or from the end.
pub fn signed(u: &mut Unstructured<'_>, axis: usize, rank: usize) -> Result<isize> {
    Ok(if u.arbitrary()? { axis as isize - rank as isize } else { axis as isize })
}
