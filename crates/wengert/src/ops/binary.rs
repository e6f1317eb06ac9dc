//! Functions of two tensors, element by element, with NumPy broadcasting.

use super::{Emit, Id, Inferred, Op, Values, elementwise, unary, view};
use crate::kernels::map::map;
use crate::kernels::{Machine, Out};
use crate::params::Parameter;
use crate::scalar::Scalar;
use crate::tensor::{Operand, Tensor};

/// `f(a, b)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binary {
    f: Function,
    a: Id,
    b: Id,
}

/// The share of `g` which goes to `a`, the winner of `maximum(a, b)` or
/// `minimum(a, b)`: all, none, or half where they are tied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    max: bool,
    g: Id,
    a: Id,
    b: Id,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Add,
    Sub,
    Mul,
    Div,
    Maximum,
    Minimum,
    /// -(a b)
    NegMul,
    /// e^(a - b), where b = -inf counts as 0: the derivative of log-sum-exp
    ExpSub,
    /// Cross-entropy of the logit a with the target b: max(a, 0) - a b + ln(1 + e^-|a|)
    BceWithLogits,
    /// 1 where a = b, else 0
    Equal,
}

use Function::*;

pub(crate) fn op(f: Function, a: Id, b: Id) -> Op {
    Op::Binary(Binary { f, a, b })
}

pub(crate) fn add(a: Id, b: Id) -> Op {
    op(Add, a, b)
}

pub(crate) fn mul(a: Id, b: Id) -> Op {
    op(Mul, a, b)
}

pub(crate) fn div(a: Id, b: Id) -> Op {
    op(Div, a, b)
}

impl Binary {
    pub(crate) fn name(&self) -> &'static str {
        match self.f {
            Add => "add",
            Sub => "sub",
            Mul => "mul",
            Div => "div",
            Maximum => "maximum",
            Minimum => "minimum",
            NegMul => "neg_mul",
            ExpSub => "exp_sub",
            BceWithLogits => "binary_cross_entropy_with_logits",
            Equal => "equal",
        }
    }

    pub(crate) fn operands(&self) -> [Id; 2] {
        [self.a, self.b]
    }

    #[track_caller]
    #[inline(always)]
    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        elementwise(self.name(), [v.value(self.a), v.value(self.b)])
    }

    #[inline(always)]
    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, m: &Machine<T>) {
        macro_rules! run {
            ($f:expr) => {
                // SAFETY: the caller's contract.
                unsafe { map(m.isa, [v.value(self.a), v.value(self.b)], out, $f) }
            };
        }
        match self.f {
            Add => run!(|[a, b]| a + b),
            Sub => run!(|[a, b]| a - b),
            Mul => run!(|[a, b]| a * b),
            Div => run!(|[a, b]| a / b),
            // A comparison with NaN is false, so a NaN in either place stays.
            Maximum => run!(|[a, b]| if a > b || a.is_nan() { a } else { b }),
            Minimum => run!(|[a, b]| if a < b || a.is_nan() { a } else { b }),
            NegMul => run!(|[a, b]| -(a * b)),
            ExpSub => run!(|[a, b]| if b == T::NEG_INFINITY { a.exp() } else { (a - b).exp() }),
            BceWithLogits => run!(|[x, t]| {
                let hinge = if x < T::ZERO { T::ZERO } else { x };
                hinge - x * t + (-x.abs()).exp().ln_1p()
            }),
            Equal => run!(|[a, b]| if a == b { T::ONE } else { T::ZERO }),
        }
    }

    #[inline(always)]
    pub(crate) fn rule<E: Emit>(self, e: &mut E, y: Id, g: Id) {
        let Binary { f, a, b } = self;
        match f {
            Add => {
                e.give(a, view::same(g));
                e.give(b, view::same(g));
            }
            Sub => {
                e.give(a, view::same(g));
                e.give(b, unary::neg(g));
            }
            Mul => {
                e.give(a, mul(g, b));
                e.give(b, mul(g, a));
            }
            Div => {
                // To a: g / b; to b: -(g / b) y
                let q = e.op(div(g, b));
                e.give(a, view::same(q));
                e.give(b, op(NegMul, q, y));
            }
            Maximum | Minimum => {
                let max = f == Maximum;
                e.give(a, Op::Share(Share { max, g, a, b }));
                e.give(b, Op::Share(Share { max, g, a: b, b: a }));
            }
            NegMul => {
                e.give(a, op(NegMul, g, b));
                e.give(b, op(NegMul, g, a));
            }
            ExpSub => {
                e.give(a, mul(g, y));
                e.give(b, op(NegMul, g, y));
            }
            BceWithLogits => {
                if e.wants(a) {
                    let s = e.op(unary::sigmoid(a));
                    let d = e.op(op(Sub, s, b));
                    e.give(a, mul(g, d));
                }
                e.give(b, op(NegMul, g, a));
            }
            // Constant wherever it is differentiable.
            Equal => {}
        }
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
        elementwise(self.name(), self.operands().map(|x| v.value(x)))
    }

    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, m: &Machine<T>) {
        let share = |g: T, wins: bool, ties: bool| match (wins, ties) {
            (_, true) => g / (T::ONE + T::ONE),
            (true, _) => g,
            _ => T::ZERO,
        };
        let values = self.operands().map(|x| v.value(x));
        // SAFETY: the caller's contract.
        unsafe {
            if self.max {
                map(m.isa, values, out, |[g, a, b]| share(g, !(a < b), a == b))
            } else {
                map(m.isa, values, out, |[g, a, b]| share(g, !(a > b), a == b))
            }
        }
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

    #[track_caller]
    #[inline]
    pub(crate) fn binary(self, f: Function, other: impl Operand<'t, T>) -> Self {
        match other.scalar() {
            Some(p) => self.with_scalar(f, p, false),
            None => self.record(op(f, self.id(), self.operand(other).id())),
        }
    }

    #[track_caller]
    #[inline]
    fn with_scalar(self, f: Function, p: T, scalar_first: bool) -> Self {
        match unary::with_scalar(f, self.id(), p.to_f64(), scalar_first) {
            Some(op) => self.record(op),
            None => self.record(op(f, self.id(), self.tape().scalar(p).id())),
        }
    }
}

macro_rules! operators {
    ($($Trait:ident $method:ident;)*) => {$(
        impl<'t, T: Scalar, B: Operand<'t, T>> std::ops::$Trait<B> for Tensor<'t, T> {
            type Output = Tensor<'t, T>;

            #[track_caller]
            #[inline]
            fn $method(self, other: B) -> Tensor<'t, T> {
                self.binary($Trait, other)
            }
        }

        impl<'t, T: Scalar> std::ops::$Trait<Tensor<'t, T>> for &'t Parameter<T> {
            type Output = Tensor<'t, T>;

            #[track_caller]
            #[inline]
            fn $method(self, other: Tensor<'t, T>) -> Tensor<'t, T> {
                other.tape().param(self).binary($Trait, other)
            }
        }

        operators!(scalar $Trait $method f32);
        operators!(scalar $Trait $method f64);
    )*};
    (scalar $Trait:ident $method:ident $t:ident) => {
        impl<'t> std::ops::$Trait<Tensor<'t, $t>> for $t {
            type Output = Tensor<'t, $t>;

            #[track_caller]
            #[inline]
            fn $method(self, other: Tensor<'t, $t>) -> Tensor<'t, $t> {
                other.with_scalar($Trait, self, true)
            }
        }
    };
}

operators! {
    Add add;
    Sub sub;
    Mul mul;
    Div div;
}
