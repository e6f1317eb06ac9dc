//! Functions of one tensor, element by element: the mechanism. The functions
//! themselves stand in [`functions`](super::functions), a row each.

pub(crate) use super::functions::Function;
use super::{Emit, Id, Inferred, Op, Values, binary, elementwise};
use crate::kernels::isa::Isa;
use crate::kernels::{Machine, Out};
use crate::scalar::Scalar;

/// `f(x)`, with the constant `p` of functions which have one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unary {
    pub(crate) f: Function,
    pub(crate) x: Id,
    pub(crate) p: f64,
}

/// `g f'(t)`: the cotangent `g` through the function `f`. `t` is its argument
/// or its result, whichever gives the derivative at less cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnaryGrad {
    pub(super) f: Function,
    pub(crate) g: Id,
    pub(crate) t: Id,
    pub(super) p: f64,
}

/// How the derivative of a function is had.
pub(super) enum Derivative {
    /// By another op.
    Op(Op),
    /// By [`UnaryGrad`], from this tensor.
    From(Id),
}

/// The derivative of `f'(t)` with respect to `t`.
pub(super) enum Curvature {
    Constant(f64),
    Tensor(Id),
}

pub(super) fn apply(f: Function, x: Id) -> Op {
    with(f, x, 0.0)
}

pub(crate) fn with(f: Function, x: Id, p: f64) -> Op {
    Op::Unary(Unary { f, x, p })
}

pub(crate) fn scale(x: Id, by: f64) -> Op {
    with(Function::MulScalar, x, by)
}

pub(crate) fn divide(x: Id, by: f64) -> Op {
    with(Function::DivScalar, x, by)
}

pub(crate) fn neg(x: Id) -> Op {
    apply(Function::Neg, x)
}

pub(crate) fn exp(x: Id) -> Op {
    apply(Function::Exp, x)
}

pub(crate) fn sigmoid(x: Id) -> Op {
    apply(Function::Sigmoid, x)
}

pub(crate) fn ln(x: Id) -> Op {
    apply(Function::Ln, x)
}

pub(crate) fn rsqrt(x: Id) -> Op {
    apply(Function::Rsqrt, x)
}

pub(crate) fn square(x: Id) -> Op {
    apply(Function::Square, x)
}

/// Zeros of the shape of `x`.
pub(crate) fn zero(x: Id) -> Op {
    apply(Function::Zero, x)
}

pub(crate) fn add_scalar(x: Id, by: f64) -> Op {
    with(Function::AddScalar, x, by)
}

/// An operator between a tensor and a scalar.
pub(crate) fn with_scalar(f: binary::Function, x: Id, p: f64, scalar_first: bool) -> Option<Op> {
    use Function::{AddScalar, DivScalar, MulScalar, ScalarDiv, ScalarSub};
    Some(match (f, scalar_first) {
        (binary::Function::Add, _) => with(AddScalar, x, p),
        (binary::Function::Sub, false) => with(AddScalar, x, -p),
        (binary::Function::Sub, true) => with(ScalarSub, x, p),
        (binary::Function::Mul, _) => with(MulScalar, x, p),
        (binary::Function::Div, false) => with(DivScalar, x, p),
        (binary::Function::Div, true) => with(ScalarDiv, x, p),
        _ => return None,
    })
}

impl Unary {
    pub(crate) fn name(&self) -> &'static str {
        self.f.name()
    }

    pub(crate) fn operands(&self) -> [Id; 1] {
        [self.x]
    }

    #[inline(always)]
    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        elementwise(v, self.name(), [self.x])
    }

    #[inline(always)]
    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, m: &Machine<T>) {
        // SAFETY: the caller's contract.
        unsafe { self.f.value(m, v.value(self.x), out, self.p) }
    }

    /// The function at one number.
    #[inline(always)]
    pub(crate) fn at<T: Scalar>(self, isa: Isa, x: T) -> T {
        self.f.value_at(isa, x, self.p)
    }

    #[inline(always)]
    pub(crate) fn rule<E: Emit>(self, e: &mut E, y: Id, g: Id) {
        let Unary { f, x, p } = self;
        match f.derivative(x, y, g, p) {
            Derivative::Op(Op::Unary(op)) => e.give_last(x, op),
            Derivative::Op(op) => e.give(x, op),
            Derivative::From(t) => e.give_last_through(x, UnaryGrad { f, g, t, p }),
        }
    }
}

impl UnaryGrad {
    pub(crate) fn name(&self) -> &'static str {
        self.f.grad_name()
    }

    pub(crate) fn operands(&self) -> [Id; 2] {
        [self.g, self.t]
    }

    #[inline(always)]
    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        elementwise(v, self.name(), [self.t, self.g])
    }

    #[inline(always)]
    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, m: &Machine<T>) {
        // SAFETY: the caller's contract.
        unsafe { self.f.slope(m, [v.value(self.g), v.value(self.t)], out, self.p) }
    }

    /// The cotangent through the function at one number.
    #[inline(always)]
    pub(crate) fn at<T: Scalar>(self, isa: Isa, g: T, t: T) -> T {
        self.f.slope_at(isa, [g, t], self.p)
    }

    /// The adjoint `c` of `g f'(t)`: `c f'(t)` to `g`, `c g f''(t)` to `t`.
    pub(crate) fn rule<E: Emit>(self, e: &mut E, _: Id, c: Id) {
        let UnaryGrad { f, g, t, p } = self;
        e.give(g, Op::UnaryGrad(UnaryGrad { f, g: c, t, p }));
        if !e.wants(t) {
            return;
        }
        match f.curvature(e, t, p) {
            Curvature::Constant(0.0) => {}
            Curvature::Constant(1.0) => e.give(t, binary::mul(c, g)),
            Curvature::Constant(k) => {
                let cg = e.mul(c, g);
                e.give(t, scale(cg, k));
            }
            Curvature::Tensor(k) => {
                let cg = e.mul(c, g);
                e.give(t, binary::mul(cg, k));
            }
        }
    }
}
