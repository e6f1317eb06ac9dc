//! What a fused expression is made of: [`Term`], over three kinds of elements.

#![allow(private_bounds, reason = "no element is made, and no function named, outside this crate")]

use std::ops::{Add, Div, Mul, Neg, Sub};

use super::binary::{self, Function as Binary};
use super::extremes;
use super::functions::{Function, SELU, rows};
use super::rows::Row;
use super::unary;
use crate::real::Real;
use crate::scalar::Scalar;
use crate::tensor::{Sealed, Tensor};

/// What a [`Term`] stands for: a number, a number with its derivatives, or a
/// tensor.
pub trait Element: Sealed + Copy {
    /// A constant beside it.
    #[doc(hidden)]
    #[track_caller]
    fn constant(self, value: f64) -> Self;
    /// A function with a constant.
    #[doc(hidden)]
    #[track_caller]
    fn unary<F: Row>(self, p: f64) -> Self;
    /// A function of two.
    #[doc(hidden)]
    #[track_caller]
    fn binary<F: Pair>(self, other: Self) -> Self;
    /// `self` where the mask is not 0, `other` where it is.
    #[doc(hidden)]
    #[track_caller]
    fn select(self, mask: Self, other: Self) -> Self;
}

impl<R: Real> Element for R {
    #[inline(always)]
    fn constant(self, value: f64) -> Self {
        R::from_f64(value)
    }

    #[inline(always)]
    fn unary<F: Row>(self, p: f64) -> Self {
        F::value(self, R::from_f64(p))
    }

    #[inline(always)]
    fn binary<F: Pair>(self, other: Self) -> Self {
        F::value(self, other)
    }

    #[inline(always)]
    fn select(self, mask: Self, other: Self) -> Self {
        if mask == R::ZERO { other } else { self }
    }
}

impl<T: Scalar> Element for Tensor<'_, T> {
    #[track_caller]
    fn constant(self, value: f64) -> Self {
        self.tape().scalar(T::from_f64(value))
    }

    #[track_caller]
    fn unary<F: Row>(self, p: f64) -> Self {
        self.record(unary::with(F::FUNCTION, self.id(), p))
    }

    #[track_caller]
    fn binary<F: Pair>(self, other: Self) -> Self {
        self.record(binary::op(F::FUNCTION, self.id(), other.id()))
    }

    #[track_caller]
    fn select(self, mask: Self, other: Self) -> Self {
        self.where_mask(mask, other)
    }
}

/// A function of two numbers and its derivatives, as a type.
pub(crate) trait Pair {
    const FUNCTION: Binary;
    fn value<T: Real>(a: T, b: T) -> T;
    /// The derivatives to both operands, where the value is `y`; none if it is
    /// constant in pieces.
    fn slopes<T: Real>(a: T, b: T, y: T) -> Option<[T; 2]>;
}

macro_rules! pairs {
    ($($name:ident |$a:ident, $b:ident, $y:ident| $value:expr, $slopes:expr;)*) => {
        /// The functions of two, as types.
        mod pairs {
            use super::*;

            $(pub(super) struct $name;

            impl Pair for $name {
                const FUNCTION: Binary = Binary::$name;

                #[inline(always)]
                fn value<T: Real>($a: T, $b: T) -> T {
                    $value
                }

                #[inline(always)]
                fn slopes<T: Real>($a: T, $b: T, $y: T) -> Option<[T; 2]> {
                    let _ = ($a, $b, $y);
                    $slopes
                }
            })*
        }
    };
}

// The same values and conventions as in the table of `binary.rs`.
pairs! {
    Add |a, b, y| a + b, Some([T::ONE, T::ONE]);
    Sub |a, b, y| a - b, Some([T::ONE, -T::ONE]);
    Mul |a, b, y| a * b, Some([b, a]);
    Div |a, b, y| a / b, { let s = T::ONE / b; Some([s, -(s * y)]) };
    Maximum |a, b, y| extremes::larger(a, b), Some([extremes::share(T::ONE, a < b, a == b), extremes::share(T::ONE, b < a, a == b)]);
    Minimum |a, b, y| extremes::smaller(a, b), Some([extremes::share(T::ONE, a > b, a == b), extremes::share(T::ONE, b > a, a == b)]);
    Pow |a, b, y| a.powf(b), Some([
        if b == T::ZERO { T::ZERO } else { b * a.powf(b - T::ONE) },
        binary::pow_ln(a, b),
    ]);
    Atan2 |a, b, y| a.atan2(b), {
        let norm = a * a + b * b;
        let s = if norm == T::ZERO { T::ZERO } else { T::ONE / norm };
        Some([s * b, -(s * a)])
    };
    Hypot |a, b, y| a.hypot(b), Some([a / y, b / y]);
    Equal |a, b, y| binary::truth(a == b), None;
    NotEqual |a, b, y| binary::truth(a != b), None;
    Less |a, b, y| binary::truth(a < b), None;
    LessEqual |a, b, y| binary::truth(a <= b), None;
    Greater |a, b, y| binary::truth(a > b), None;
    GreaterEqual |a, b, y| binary::truth(a >= b), None;
}

/// One element of an [`Expression`](crate::Expression), or all of them: what
/// stands for an input, and whatever is computed from it.
///
/// It has the operators, with terms and with numbers (`f64`) on either side,
/// and the elementwise methods of [`Tensor`]; nothing which looks at other
/// elements. It cannot be asked for its value: where the expression depends on
/// one, [`Term::where_mask`] chooses.
#[derive(Clone, Copy)]
pub struct Term<E>(pub(super) E);

/// The other operand of a method of a [`Term`]: a term, or a number.
pub trait TermOperand<E: Element> {
    #[doc(hidden)]
    #[track_caller]
    fn beside(self, term: Term<E>) -> Term<E>;
}

impl<E: Element> TermOperand<E> for Term<E> {
    #[inline(always)]
    fn beside(self, _: Term<E>) -> Term<E> {
        self
    }
}

impl<E: Element> TermOperand<E> for f64 {
    #[track_caller]
    #[inline(always)]
    fn beside(self, term: Term<E>) -> Term<E> {
        Term(term.0.constant(self))
    }
}

macro_rules! operators {
    ($($Trait:ident $method:ident |$x:ident, $p:ident| $right:expr, $left:expr;)*) => {$(
        impl<E: Element> $Trait for Term<E> {
            type Output = Self;

            #[track_caller]
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Term(self.0.binary::<pairs::$Trait>(other.0))
            }
        }

        impl<E: Element> $Trait<f64> for Term<E> {
            type Output = Self;

            #[track_caller]
            #[inline(always)]
            fn $method(self, $p: f64) -> Self {
                let $x = self.0;
                Term($right)
            }
        }

        impl<E: Element> $Trait<Term<E>> for f64 {
            type Output = Term<E>;

            #[track_caller]
            #[inline(always)]
            fn $method(self, other: Term<E>) -> Term<E> {
                let ($p, $x) = (self, other.0);
                Term($left)
            }
        }
    )*};
}

operators! {
    Add add |x, p| x.unary::<rows::AddScalar>(p), x.unary::<rows::AddScalar>(p);
    Sub sub |x, p| x.unary::<rows::AddScalar>(-p), x.unary::<rows::ScalarSub>(p);
    Mul mul |x, p| x.unary::<rows::MulScalar>(p), x.unary::<rows::MulScalar>(p);
    Div div |x, p| x.unary::<rows::DivScalar>(p), x.unary::<rows::ScalarDiv>(p);
}

impl<E: Element> Neg for Term<E> {
    type Output = Self;

    #[track_caller]
    #[inline(always)]
    fn neg(self) -> Self {
        Term(self.0.unary::<rows::Neg>(0.0))
    }
}

macro_rules! functions {
    ($($name:ident $Row:ident)*) => {
        /// Functions: those of [`Tensor`], with the same values and the same
        /// derivatives at the kinks.
        impl<E: Element> Term<E> {$(
            #[doc = concat!("[`Tensor::", stringify!($name), "`]")]
            #[track_caller]
            #[inline(always)]
            pub fn $name(self) -> Self {
                Term(self.0.unary::<rows::$Row>(0.0))
            }
        )*}
    };
}

functions! {
    exp Exp exp_m1 ExpM1 exp2 Exp2 ln Ln ln_1p Ln1p log2 Log2 log10 Log10
    sqrt Sqrt rsqrt Rsqrt square Square recip Recip abs Abs sign Sign
    floor Floor ceil Ceil round Round trunc Trunc
    sin Sin cos Cos tan Tan asin Asin acos Acos atan Atan
    sinh Sinh cosh Cosh tanh Tanh asinh Asinh acosh Acosh atanh Atanh
    sigmoid Sigmoid log_sigmoid LogSigmoid relu Relu silu Silu mish Mish softsign Softsign
    gelu Gelu gelu_tanh GeluTanh erf Erf erfc Erfc
    is_nan IsNan is_infinite IsInfinite is_finite IsFinite
}

macro_rules! comparisons {
    ($($name:ident $Pair:ident)*) => {
        /// Comparisons and the like, with terms or numbers.
        impl<E: Element> Term<E> {$(
            #[doc = concat!("[`Tensor::", stringify!($name), "`]")]
            #[track_caller]
            #[inline(always)]
            pub fn $name(self, other: impl TermOperand<E>) -> Self {
                Term(self.0.binary::<pairs::$Pair>(other.beside(self).0))
            }
        )*}
    };
}

comparisons! {
    eq Equal ne NotEqual lt Less le LessEqual gt Greater ge GreaterEqual
    maximum Maximum minimum Minimum atan2 Atan2 hypot Hypot
}

/// Functions with constants.
impl<E: Element> Term<E> {
    /// [`Tensor::pow`]
    #[track_caller]
    #[inline(always)]
    pub fn pow(self, exponent: Self) -> Self {
        Term(self.0.binary::<pairs::Pow>(exponent.0))
    }

    /// [`Tensor::powf`]
    #[track_caller]
    #[inline(always)]
    pub fn powf(self, p: f64) -> Self {
        match p {
            2.0 => self.square(),
            3.0 => Term(self.0.unary::<rows::Cube>(0.0)),
            0.5 => self.sqrt(),
            -0.5 => self.rsqrt(),
            -1.0 => self.recip(),
            _ => Term(self.0.unary::<rows::Pow>(p)),
        }
    }

    /// [`Tensor::powi`]: by multiplications here, so the last bits may differ.
    #[track_caller]
    #[inline(always)]
    pub fn powi(self, n: i32) -> Self {
        match n {
            2 => self.square(),
            // More than f32 has digits for: the sign takes one factor apart.
            _ if n % 2 != 0 && n.unsigned_abs() > 1 << f32::MANTISSA_DIGITS => self.powi(n - 1) * self,
            _ => Term(self.0.unary::<PowerOfInteger>(f64::from(n))),
        }
    }

    /// [`Tensor::clamp`]
    #[track_caller]
    #[inline(always)]
    pub fn clamp(self, low: f64, high: f64) -> Self {
        Term(self.0.unary::<rows::AtLeast>(low).unary::<rows::AtMost>(high))
    }

    /// [`Tensor::relu6`]
    #[track_caller]
    #[inline(always)]
    pub fn relu6(self) -> Self {
        self.clamp(0.0, 6.0)
    }

    /// [`Tensor::leaky_relu`]
    #[track_caller]
    #[inline(always)]
    pub fn leaky_relu(self, slope: f64) -> Self {
        Term(self.0.unary::<rows::LeakyRelu>(slope))
    }

    /// [`Tensor::elu`]
    #[track_caller]
    #[inline(always)]
    pub fn elu(self, alpha: f64) -> Self {
        Term(self.0.unary::<rows::Elu>(alpha))
    }

    /// [`Tensor::selu`]
    #[track_caller]
    #[inline(always)]
    pub fn selu(self) -> Self {
        self.elu(SELU[0]) * SELU[1]
    }

    /// [`Tensor::softplus`]
    #[track_caller]
    #[inline(always)]
    pub fn softplus(self, beta: f64, threshold: f64) -> Self {
        if beta == 1.0 {
            return Term(self.0.unary::<rows::Softplus>(threshold));
        }
        Term((self * beta).0.unary::<rows::Softplus>(threshold)) / beta
    }

    /// `self` where `mask` is not 0, `other` where it is: [`Tensor::where_mask`].
    /// Both are computed; the derivative is that of the one which is chosen. (A
    /// recorded sweep goes by plain ops, where an infinite slope of the other one
    /// gives NaN.)
    #[doc(alias = "select")]
    #[track_caller]
    #[inline(always)]
    pub fn where_mask(self, mask: Self, other: impl TermOperand<E>) -> Self {
        Term(self.0.select(mask.0, other.beside(self).0))
    }
}

/// x^n by squaring: a constant exponent becomes a few multiplications, which
/// vectorise.
struct PowerOfInteger;

impl Row for PowerOfInteger {
    const FUNCTION: Function = Function::Pow;

    #[inline(always)]
    fn value<T: Real>(x: T, n: T) -> T {
        power(x, n.to_f64() as i32)
    }

    #[inline(always)]
    fn slope<T: Real>(x: T, _: T, n: T) -> Option<T> {
        (n != T::ZERO).then(|| n * power(x, n.to_f64() as i32 - 1))
    }
}

#[inline(always)]
fn power<T: Real>(x: T, n: i32) -> T {
    let (mut left, mut square, mut product) = (n.unsigned_abs(), x, T::ONE);
    while left > 0 {
        if left % 2 == 1 {
            product = product * square;
        }
        square = square * square;
        left /= 2;
    }
    if n < 0 { T::ONE / product } else { product }
}
