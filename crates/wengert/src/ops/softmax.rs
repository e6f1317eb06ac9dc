//! Softmax and log-softmax along an axis.

use super::{Emit, Id, Inferred, Op, Values, binary, elementwise, reduce, unary};
use crate::kernels::softmax::{self as kernel, Mask};
use crate::kernels::{Machine, Out};
use crate::scalar::Scalar;
use crate::shape;
use crate::tensor::Tensor;

/// Softmax of `x` along `axis`, or its logarithm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Softmax {
    x: Id,
    axis: u8,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain(Mask),
    Log,
}

/// The cotangent `g` through the softmax (or log-softmax) whose result is `y`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SoftmaxGrad {
    g: Id,
    y: Id,
    axis: u8,
    kind: Kind,
}

/// Softmax over the last of so many axes, masked.
pub(crate) fn masked(x: Id, rank: usize, mask: Mask) -> Op {
    Op::Softmax(Softmax { x, axis: rank as u8 - 1, kind: Kind::Plain(mask) })
}

/// The cotangent `g` through [`masked`], whose result is `y`.
pub(crate) fn masked_grad(g: Id, y: Id, rank: usize, mask: Mask) -> Op {
    Op::SoftmaxGrad(SoftmaxGrad { g, y, axis: rank as u8 - 1, kind: Kind::Plain(mask) })
}

impl Softmax {
    pub(crate) fn name(&self) -> &'static str {
        if self.kind == Kind::Log { "log_softmax" } else { "softmax" }
    }

    pub(crate) fn operands(&self) -> [Id; 1] {
        [self.x]
    }

    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        elementwise(v, self.name(), [self.x])
    }

    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, m: &Machine<T>) {
        let (x, axis) = (v.value(self.x), self.axis.into());
        // SAFETY: the caller's contract.
        unsafe {
            match self.kind {
                Kind::Plain(mask) => kernel::softmax(m, x, axis, mask, out),
                Kind::Log => kernel::log_softmax(m, x, axis, out),
            }
        }
    }

    pub(crate) fn rule<E: Emit>(self, e: &mut E, y: Id, g: Id) {
        let Softmax { x, axis, kind } = self;
        e.give(x, Op::SoftmaxGrad(SoftmaxGrad { g, y, axis, kind }));
    }
}

impl SoftmaxGrad {
    pub(crate) fn name(&self) -> &'static str {
        if self.kind == Kind::Log { "log_softmax_grad" } else { "softmax_grad" }
    }

    pub(crate) fn operands(&self) -> [Id; 2] {
        [self.g, self.y]
    }

    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        elementwise(v, self.name(), [self.y, self.g])
    }

    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, m: &Machine<T>) {
        let (g, y, axis) = (v.value(self.g), v.value(self.y), self.axis.into());
        // SAFETY: the caller's contract.
        unsafe {
            match self.kind {
                Kind::Plain(mask) => kernel::softmax_grad(m, g, y, axis, mask, out),
                Kind::Log => kernel::log_softmax_grad(m, g, y, axis, out),
            }
        }
    }

    pub(crate) fn rule<E: Emit>(self, e: &mut E, _: Id, c: Id) {
        let SoftmaxGrad { g, y, axis, kind } = self;
        let sum = |e: &mut E, x| e.op(reduce::sum(x, 1 << axis, true));
        let sub = |a, b| binary::op(binary::Function::Sub, a, b);
        if kind == Kind::Log {
            // d_i = g_i - e^(y_i) Σ g
            let softmax = e.op(unary::exp(y));
            let weighted = e.mul(c, softmax);
            if e.wants(g) {
                // c_j - Σ_i c_i e^(y_i)
                let total = sum(e, weighted);
                e.give(g, sub(c, total));
            }
            if e.wants(y) {
                // -c_i e^(y_i) Σ g
                let total = sum(e, g);
                e.give(y, binary::op(binary::Function::NegMul, weighted, total));
            }
        } else {
            // d_i = y_i (g_i - Σ g y)
            let cy = e.mul(c, y);
            let total_cy = sum(e, cy);
            if e.wants(g) {
                // y_j (c_j - Σ c y)
                let centred = e.op(sub(c, total_cy));
                e.give(g, binary::mul(y, centred));
            }
            if e.wants(y) {
                // c_j (g_j - Σ g y) - g_j Σ c y
                let gy = e.mul(g, y);
                let total_gy = sum(e, gy);
                let centred = e.op(sub(g, total_gy));
                e.give(y, binary::mul(c, centred));
                e.give(y, binary::op(binary::Function::NegMul, g, total_cy));
            }
        }
    }
}

impl<'t, T: Scalar> Tensor<'t, T> {
    /// `e^(x_i) / Σ_j e^(x_j)` along an axis (negative: from the end). Shifted
    /// by the largest element, so entries of ±1e4 and of negative infinity are
    /// right; a line of nothing but negative infinity gives NaN.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([[0.0, 0.0], [1e4, -1e4]]).softmax(-1).to_vec(), [0.5, 0.5, 1.0, 0.0]);
    /// ```
    ///
    /// # Panics
    /// If the axis is out of range.
    #[track_caller]
    pub fn softmax(self, axis: isize) -> Self {
        let axis = shape::axis("softmax", axis, self.rank()) as u8;
        self.record(Op::Softmax(Softmax { x: self.id(), axis, kind: Kind::Plain(Mask::Nothing) }))
    }

    /// The logarithm of [`Tensor::softmax`], without its loss of precision.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([1e4, 0.0]).log_softmax(0).to_vec(), [0.0, -1e4]);
    /// ```
    ///
    /// # Panics
    /// If the axis is out of range.
    #[track_caller]
    pub fn log_softmax(self, axis: isize) -> Self {
        let axis = shape::axis("log_softmax", axis, self.rank()) as u8;
        self.record(Op::Softmax(Softmax { x: self.id(), axis, kind: Kind::Log }))
    }
}
