//! Functions of two tensors, element by element, with NumPy broadcasting.

use super::extremes::{Share, larger, smaller};
use super::functions::Function as UnaryFunction;
use super::{Emit, Id, Inferred, Op, Values, elementwise, unary, view};
use crate::kernels::isa::Isa;
use crate::kernels::map::{Elementwise, at, map};
use crate::kernels::{Machine, Out};
use crate::params::Parameter;
use crate::real::{Fma, Real};
use crate::scalar::Scalar;
use crate::shape::broadcast;
use crate::tensor::{Operand, Tensor};

/// `f(a, b)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binary {
    pub(crate) f: Function,
    pub(crate) a: Id,
    pub(crate) b: Id,
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
    /// e^(a - b): the derivative of log-sum-exp
    ExpSub,
    /// The same, and 0 where b = -inf: the share of e^a in a sum e^b of nothing
    Share,
    /// Cross-entropy of the logit a with the target b: max(a, 0) - a b + ln(1 + e^-|a|)
    BceWithLogits,
    /// Cross-entropy of the probability a with the target b, logarithms at least -100
    Bce,
    /// a^b
    Pow,
    /// a^b ln a: the derivative to the exponent, 0 where a = 0 and b >= 0
    PowLn,
    /// the angle of the point (b, a)
    Atan2,
    Hypot,
    /// 1 where the comparison holds, else 0
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    /// a, but 0 where b = 0 (even if a is not finite)
    Keep,
    /// a, but 0 where b != 0
    Drop,
    /// a, but 0 where b = 0 and a is not finite: a factor of b without 0 times
    /// infinity
    Factor,
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

#[inline(always)]
pub(super) fn truth<T: Real>(holds: bool) -> T {
    if holds { T::ONE } else { T::ZERO }
}

#[inline(always)]
pub(super) fn pow_ln<T: Real>(a: T, b: T) -> T {
    if a == T::ZERO && b >= T::ZERO { T::ZERO } else { a.powf(b) * a.ln() }
}

/// A function of two numbers, with fused multiply-adds in the functions it has.
macro_rules! formula {
    (|$x:pat_param| $value:expr) => {
        |$x: [T; 2]| $value
    };
    (fused, |[$a:ident, $b:ident]| $value:expr) => {{
        #[derive(Clone, Copy)]
        struct Formula;

        impl<T: Scalar> Elementwise<T, 2> for Formula {
            const FUSES: bool = true;

            #[inline(always)]
            fn at<const FMA: bool>(self, [a, b]: [T; 2]) -> T {
                #[inline(always)]
                fn value<T: Real>($a: T, $b: T) -> T {
                    $value
                }

                if FMA { value(Fma(a), Fma(b)).0 } else { value(a, b) }
            }
        }

        Formula
    }};
}

/// Hands the function of two numbers which `$f` names to the macro `$with`.
macro_rules! function {
    ($f:expr, $with:ident) => {
        match $f {
            Add => $with!(formula!(|[a, b]| a + b)),
            Sub => $with!(formula!(|[a, b]| a - b)),
            Mul => $with!(formula!(|[a, b]| a * b)),
            Div => $with!(formula!(|[a, b]| a / b)),
            Maximum => $with!(formula!(|[a, b]| larger(a, b))),
            Minimum => $with!(formula!(|[a, b]| smaller(a, b))),
            NegMul => $with!(formula!(|[a, b]| -(a * b))),
            ExpSub => $with!(formula!(fused, |[a, b]| (a - b).exp())),
            Share => $with!(formula!(fused, |[a, b]| if b == T::NEG_INFINITY { T::ZERO } else { (a - b).exp() })),
            BceWithLogits => $with!(formula!(fused, |[x, t]| {
                let hinge = if x < T::ZERO { T::ZERO } else { x };
                hinge - x * t + (-x.abs()).exp().ln_1p()
            })),
            Bce => $with!(formula!(fused, |[x, t]| {
                let floor = T::from_f64(-100.0);
                let ln = |x: T| if x < floor { floor } else { x };
                (t - T::ONE) * ln((-x).ln_1p()) - t * ln(x.ln())
            })),
            Pow => $with!(formula!(fused, |[a, b]| a.powf(b))),
            PowLn => $with!(formula!(fused, |[a, b]| pow_ln(a, b))),
            Atan2 => $with!(formula!(fused, |[a, b]| a.atan2(b))),
            Hypot => $with!(formula!(fused, |[a, b]| a.hypot(b))),
            Equal => $with!(formula!(|[a, b]| truth(a == b))),
            NotEqual => $with!(formula!(|[a, b]| truth(a != b))),
            Less => $with!(formula!(|[a, b]| truth(a < b))),
            LessEqual => $with!(formula!(|[a, b]| truth(a <= b))),
            Greater => $with!(formula!(|[a, b]| truth(a > b))),
            GreaterEqual => $with!(formula!(|[a, b]| truth(a >= b))),
            Keep => $with!(formula!(|[a, b]| if b == T::ZERO { T::ZERO } else { a })),
            Drop => $with!(formula!(|[a, b]| if b == T::ZERO { a } else { T::ZERO })),
            Factor => $with!(formula!(|[a, b]| if b == T::ZERO && !a.is_finite() { T::ZERO } else { a })),
        }
    };
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
            Share => "share",
            BceWithLogits => "binary_cross_entropy_with_logits",
            Bce => "binary_cross_entropy",
            Pow => "pow",
            PowLn => "pow_ln",
            Atan2 => "atan2",
            Hypot => "hypot",
            Equal => "eq",
            NotEqual => "ne",
            Less => "lt",
            LessEqual => "le",
            Greater => "gt",
            GreaterEqual => "ge",
            Keep => "keep",
            Drop => "drop",
            Factor => "factor",
        }
    }

    pub(crate) fn operands(&self) -> [Id; 2] {
        [self.a, self.b]
    }

    #[track_caller]
    #[inline(always)]
    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        elementwise(v, self.name(), self.operands())
    }

    #[inline(always)]
    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, m: &Machine<T>) {
        let values = [v.value(self.a), v.value(self.b)];
        macro_rules! run {
            ($f:expr) => {
                // SAFETY: the caller's contract.
                unsafe { map(m.isa, values, out, $f) }
            };
        }
        function!(self.f, run)
    }

    /// The function at one pair of numbers.
    #[inline(always)]
    pub(crate) fn at<T: Scalar>(self, isa: Isa, a: T, b: T) -> T {
        macro_rules! run {
            ($f:expr) => {
                at(isa, [a, b], $f)
            };
        }
        function!(self.f, run)
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
                if !e.give_product([a, b], g) {
                    e.give(a, mul(g, b));
                    e.give(b, mul(g, a));
                }
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
            ExpSub | Share => {
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
            Bce => {
                // (a - b) / max(a (1 - a), 1e-12), as PyTorch has it (with the
                // bound rounded to f32); to the target the difference of the
                // logarithms, which have no bound there.
                if e.wants(a) {
                    let rest = e.op(unary::with(UnaryFunction::ScalarSub, a, 1.0));
                    let product = e.mul(a, rest);
                    let product = e.op(unary::with(UnaryFunction::AtLeast, product, 1e-12f32.into()));
                    let difference = e.op(op(Sub, a, b));
                    let slope = e.op(div(difference, product));
                    e.give(a, mul(g, slope));
                }
                if e.wants(b) {
                    let minus = e.op(unary::neg(a));
                    let no = e.op(unary::with(UnaryFunction::Ln1p, minus, 0.0));
                    let yes = e.op(unary::ln(a));
                    let slope = e.op(op(Sub, no, yes));
                    e.give(b, mul(g, slope));
                }
            }
            Pow => {
                // To a: g b a^(b-1); to b: g a^b ln a.
                if e.wants(a) {
                    let less = e.op(unary::add_scalar(b, -1.0));
                    let power = e.op(op(Pow, a, less));
                    let power = e.op(op(Factor, power, b));
                    let slope = e.op(op(Mul, b, power));
                    e.give(a, mul(g, slope));
                }
                if e.wants(b) {
                    let slope = e.op(op(PowLn, a, b));
                    e.give(b, mul(g, slope));
                }
            }
            PowLn => {
                // To a: g (b a^(b-1) ln a + a^(b-1)); to b: g y ln a.
                if e.wants(a) {
                    let less = e.op(unary::add_scalar(b, -1.0));
                    let power = e.op(op(Pow, a, less));
                    let ln = e.op(op(PowLn, a, less));
                    let ln = e.op(op(Factor, ln, b));
                    let product = e.op(op(Mul, b, ln));
                    let slope = e.op(add(product, power));
                    e.give(a, mul(g, slope));
                }
                if e.wants(b) {
                    let ln = e.op(unary::ln(a));
                    let ln = e.op(op(Factor, ln, y));
                    let slope = e.op(op(Mul, y, ln));
                    e.give(b, mul(g, slope));
                }
            }
            Atan2 => {
                // g b / (a² + b²) and -g a / (a² + b²), 0 at the origin.
                let (a2, b2) = (e.op(unary::square(a)), e.op(unary::square(b)));
                let norm = e.op(add(a2, b2));
                // 0 whatever g is, so in the next derivative to g too.
                let share = e.op(unary::apply(UnaryFunction::Recip, norm));
                let share = e.op(op(Keep, share, norm));
                let share = e.mul(g, share);
                e.give(a, mul(share, b));
                e.give(b, op(NegMul, share, a));
            }
            Hypot => {
                // Shares of at most 1, which neither over- nor underflow.
                for x in [a, b] {
                    if e.wants(x) {
                        let share = e.op(div(x, y));
                        e.give(x, mul(g, share));
                    }
                }
            }
            // The mask is locally constant.
            Keep | Drop => e.give(a, op(f, g, b)),
            Factor => {
                let finite = e.op(unary::apply(UnaryFunction::IsFinite, a));
                let size = e.op(unary::apply(UnaryFunction::Abs, b));
                let kept = e.op(add(finite, size));
                e.give(a, op(Keep, g, kept));
            }
            // Constant wherever they are differentiable.
            Equal | NotEqual | Less | LessEqual | Greater | GreaterEqual => {
                e.give(a, unary::zero(g));
                e.give(b, unary::zero(g));
            }
        }
    }
}

impl<'t, T: Scalar> Tensor<'t, T> {
    /// `self^other`, element by element. `pow(0, 0)` is 1 with both
    /// gradients 0; the exponent's gradient at `pow(0, b)`, `b >= 0`, is 0.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([2.0, 3.0]).pow(tape.tensor([3.0, 2.0])).to_vec(), [8.0, 9.0]);
    /// ```
    ///
    /// # Panics
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn pow(self, exponent: impl Operand<'t, T>) -> Self {
        match exponent.scalar() {
            Some(p) => self.powf(p),
            None => self.binary(Pow, exponent),
        }
    }

    /// The angle of the point `(x, self)`, in `-π..=π`; the gradients at the
    /// origin are 0.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([1.0]).atan2(0.0).to_vec(), [std::f32::consts::FRAC_PI_2]);
    /// ```
    #[doc(alias = "arctan2")]
    #[track_caller]
    pub fn atan2(self, x: impl Operand<'t, T>) -> Self {
        self.binary(Atan2, x)
    }

    /// `sqrt(self² + other²)` without overflow; the gradients at the origin
    /// are NaN.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([3.0]).hypot(4.0).to_vec(), [5.0]);
    /// ```
    #[track_caller]
    pub fn hypot(self, other: impl Operand<'t, T>) -> Self {
        self.binary(Hypot, other)
    }

    /// `self` where `mask` is not 0, `other` where it is. A branch which is
    /// not taken gets a gradient of 0, even if its value is not finite.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let x = tape.tensor([-1.0, 2.0]);
    /// assert_eq!(x.where_mask(x.gt(0.0), 0.5).to_vec(), [0.5, 2.0]);
    /// ```
    ///
    /// # Panics
    /// If the shapes do not broadcast.
    #[doc(alias = "where")]
    #[doc(alias = "select")]
    #[track_caller]
    pub fn where_mask(self, mask: Self, other: impl Operand<'t, T>) -> Self {
        let other = other.tensor(self.tape());
        let chosen = broadcast("where_mask", self.shape(), mask.shape());
        broadcast("where_mask", &chosen, other.shape());
        self.binary(Keep, mask) + other.binary(Drop, mask)
    }

    /// `value` where `mask` is not 0, `self` where it is.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let x = tape.tensor([1.0, 2.0]);
    /// assert_eq!(x.masked_fill(x.gt(1.5), f32::NEG_INFINITY).to_vec(), [1.0, f32::NEG_INFINITY]);
    /// ```
    ///
    /// # Panics
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn masked_fill(self, mask: Self, value: T) -> Self {
        broadcast("masked_fill", self.shape(), mask.shape());
        self.tape().scalar(value).where_mask(mask, self)
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

macro_rules! comparisons {
    ($($(#[$doc:meta])* $name:ident $f:ident $symbol:literal;)*) => {
        /// Comparisons: masks of 1 where they hold and 0 where they do not
        /// (as wherever an operand is NaN, but for `ne`). Their derivative
        /// is 0.
        impl<'t, T: Scalar> Tensor<'t, T> {
            $(#[doc = concat!("1 where `self ", $symbol, " other`, else 0.")]
            ///
            /// ```
            /// # let tape = wengert::Tape::new();
            #[doc = concat!("let mask = tape.tensor([1.0, 2.0, 3.0]).", stringify!($name), "(2.0);")]
            #[doc = concat!("let expected = [1.0, 2.0, 3.0].map(|x| f32::from(x ", $symbol, " 2.0));")]
            /// assert_eq!(mask.to_vec(), expected);
            /// ```
            ///
            /// # Panics
            /// If the shapes do not broadcast.
            #[track_caller]
            pub fn $name(self, other: impl Operand<'t, T>) -> Self {
                self.binary($f, other)
            })*
        }
    };
}

comparisons! {
    eq Equal "==";
    ne NotEqual "!=";
    lt Less "<";
    le LessEqual "<=";
    gt Greater ">";
    ge GreaterEqual ">=";
}
