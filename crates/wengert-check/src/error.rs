//! What a check found.

use std::fmt;

use thiserror::Error;

/// One of the comparisons a [`Check`](crate::Check) makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CheckKind {
    /// The value against the reference which was given.
    Reference,
    /// The value under `no_grad` against the recorded one.
    NoGrad,
    /// The gradient against central differences of the value.
    FirstOrder,
    /// The recorded gradient (`vjp`) against the plain backward sweep.
    Recorded,
    /// Two backward sweeps into one `Gradients` against twice one.
    Accumulation,
    /// Values and gradients with only some inputs tracked.
    Subsets,
    /// Values and gradients with inputs which are not contiguous.
    Strided,
    /// The derivative of the recorded gradient in its cotangent (the
    /// Jacobian-vector product) against central differences of the value.
    Directional,
    /// `<u, J v>` against `<Jᵀ u, v>`: the Jacobian-vector product against the
    /// vector-Jacobian product, without differences.
    DotProduct,
    /// The gradient of the recorded gradient against central differences of
    /// the gradient.
    SecondOrder,
    /// Requests to the allocator in a turn of a loop which repeats its shapes,
    /// from the third on, against none; see [`Check::count`](crate::Check::count).
    Allocations,
    /// Values and gradients in `f32` against those in `f64`; see
    /// [`Check::run_both`](crate::Check::run_both).
    SinglePrecision,
}

impl fmt::Display for CheckKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CheckKind::Reference => "value against the reference",
            CheckKind::NoGrad => "value under no_grad",
            CheckKind::FirstOrder => "first derivative against central differences",
            CheckKind::Recorded => "recorded gradient against plain backward",
            CheckKind::Accumulation => "two backward sweeps against twice one",
            CheckKind::Subsets => "some inputs tracked against all",
            CheckKind::Strided => "non-contiguous inputs against contiguous ones",
            CheckKind::Directional => "directional derivative against central differences",
            CheckKind::DotProduct => "jvp against vjp by the dot-product test",
            CheckKind::SecondOrder => "second derivative against central differences",
            CheckKind::Allocations => "requests to the allocator from the third turn on",
            CheckKind::SinglePrecision => "f32 against f64",
        })
    }
}

/// A derivative (or value) which is not what it should be, at the element
/// where it is furthest off.
///
/// ```
/// use wengert::Array;
/// let error = wengert_check::check_gradients([Array::from(3.0)], |_, [x]| x.detach() * x).unwrap_err();
/// let text = error.to_string();
/// let start = "mul of [[]]: first derivative against central differences: input 0 of shape []: 1 of 1 elements differ";
/// assert!(text.starts_with(start), "{text}");
/// ```
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{op} of {shapes:?}: {check}: {}: {} of {} elements differ, most at {element:?}: got {got}, expected {expected}",
    self.place(), self.wrong, self.compared)]
#[non_exhaustive]
pub struct CheckError {
    /// The function: what [`Check::name`](crate::Check::name) calls it, or the
    /// op which makes its output.
    pub op: Box<str>,
    /// The shapes of all inputs.
    pub shapes: Box<[Box<[usize]>]>,
    /// What was compared.
    pub check: CheckKind,
    /// Which input's gradient is wrong; `None` if it is the function's value
    /// (or its directional derivative).
    pub input: Option<usize>,
    /// The shape of that input, or of the value.
    pub shape: Box<[usize]>,
    /// The index of the element which is furthest off.
    pub element: Box<[usize]>,
    /// What the tape gave there.
    pub got: f64,
    /// What it should be.
    pub expected: f64,
    /// How many elements are off.
    pub wrong: usize,
    /// How many were compared.
    pub compared: usize,
}

impl CheckError {
    fn place(&self) -> String {
        match self.input {
            Some(i) => format!("input {i} of shape {:?}", self.shape),
            None => format!("output of shape {:?}", self.shape),
        }
    }
}
