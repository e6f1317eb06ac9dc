//! The larger and the smaller of two tensors, element by element, and the share
//! of a cotangent which goes to each.

use super::binary::Function::{Maximum, Minimum};
use super::{Emit, Id, Inferred, Op, Values, elementwise};
use crate::kernels::map::map;
use crate::kernels::{Machine, Out};
use crate::real::Real;
use crate::scalar::Scalar;
use crate::tensor::{Operand, Tensor};

/// The share of `g` which goes to `a`, the winner of `maximum(a, b)` or
/// `minimum(a, b)`: all, none, or half where they are tied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(super) max: bool,
    pub(super) g: Id,
    pub(super) a: Id,
    pub(super) b: Id,
}

/// A comparison with NaN is false, so a NaN in either place stays.
#[inline(always)]
pub(super) fn larger<T: Real>(a: T, b: T) -> T {
    if a > b || a.is_nan() { a } else { b }
}

#[inline(always)]
pub(super) fn smaller<T: Real>(a: T, b: T) -> T {
    if a < b || a.is_nan() { a } else { b }
}

/// What of `g` goes to one of two which compete. A comparison with NaN is
/// false: then nobody loses, and the NaN's cotangent goes to both.
#[inline(always)]
pub(super) fn share<T: Real>(g: T, loses: bool, ties: bool) -> T {
    match (loses, ties) {
        (_, true) => g / (T::ONE + T::ONE),
        (true, _) => T::ZERO,
        _ => g,
    }
}

impl Share {
    pub(crate) fn name(&self) -> &'static str {
        if self.max { "maximum_grad" } else { "minimum_grad" }
    }

    pub(crate) fn operands(&self) -> [Id; 3] {
        [self.g, self.a, self.b]
    }

    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        elementwise(v, self.name(), self.operands())
    }

    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, m: &Machine<T>) {
        let values = self.operands().map(|x| v.value(x));
        // SAFETY: the caller's contract.
        unsafe {
            if self.max {
                map(m.isa, values, out, |[g, a, b]: [T; 3]| share(g, a < b, a == b))
            } else {
                map(m.isa, values, out, |[g, a, b]: [T; 3]| share(g, a > b, a == b))
            }
        }
    }

    /// The share at one triple of numbers.
    #[inline(always)]
    pub(crate) fn at<T: Scalar>(self, [g, a, b]: [T; 3]) -> T {
        share(g, if self.max { a < b } else { a > b }, a == b)
    }

    pub(crate) fn rule<E: Emit>(self, e: &mut E, _: Id, c: Id) {
        // Which operand wins is locally constant.
        e.give(self.g, Op::Share(Share { g: c, ..self }));
    }
}

impl<'t, T: Scalar> Tensor<'t, T> {
    /// The larger of each pair of elements. Tied, each side gets half of the
    /// cotangent. NaN on either side gives NaN.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let (a, b) = (tape.tensor([1.0, 5.0]), tape.tensor([3.0]));
    /// assert_eq!(a.maximum(b).to_vec(), [3.0, 5.0]);
    /// assert_eq!(a.maximum(2.0).to_vec(), [2.0, 5.0]);
    /// ```
    ///
    /// # Panics
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn maximum(self, other: impl Operand<'t, T>) -> Self {
        self.binary(Maximum, other)
    }

    /// The smaller of each pair of elements; see [`Tensor::maximum`].
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([1.0, 5.0]).minimum(3.0).to_vec(), [1.0, 3.0]);
    /// ```
    #[track_caller]
    pub fn minimum(self, other: impl Operand<'t, T>) -> Self {
        self.binary(Minimum, other)
    }
}
