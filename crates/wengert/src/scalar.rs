//! The element types of a tape: `f32` and `f64`.

use std::fmt::{Debug, Display};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};
use std::panic::Location;

use crate::kernels::gemm::GemmScalar;
use crate::kernels::single;
use crate::ops::binary::{self, Binary};
use crate::ops::unary::{self, Unary};
use crate::ops::{Id, Op};
use crate::plain::Plain;
use crate::recorded::Recorder;
use crate::tape::Tape;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// What is compiled once per element type, in this crate: the ops with all
/// their kernels hang on these three, and a program which uses the library
/// would otherwise compile them again.
pub(crate) trait Compiled: Sized {
    /// [`Tape::record_tensor`]
    #[track_caller]
    fn record(tape: &Tape<Self>, op: Op, location: &'static Location<'static>) -> Id
    where
        Self: Scalar;
    /// [`Tape::record_unary`]
    #[track_caller]
    fn record_unary(tape: &Tape<Self>, f: unary::Function, x: Id, p: f64, at: &'static Location<'static>) -> Id
    where
        Self: Scalar;
    /// [`Tape::record_binary`]
    #[track_caller]
    fn record_binary(tape: &Tape<Self>, f: binary::Function, a: Id, b: Id, at: &'static Location<'static>) -> Id
    where
        Self: Scalar;
    /// [`Plain::run`]
    fn sweep(sweep: &mut Plain<'_, Self>, root: Id, cotangent: Option<Id>)
    where
        Self: Scalar;
    /// [`Recorder::run`]
    fn sweep_recorded(sweep: &mut Recorder<'_, Self>, root: Id, cotangent: Id, wanted: &[Id])
    where
        Self: Scalar;
}

/// An element type: `f32` (the default everywhere) or `f64`.
///
/// Train in `f32`, check gradients in `f64`. The trait is sealed: kernels are
/// written for these two types.
///
/// ```
/// use wengert::Scalar;
/// fn mean<T: Scalar>(values: &[T]) -> T {
///     values.iter().copied().sum::<T>() / T::from_f64(values.len() as f64)
/// }
/// assert_eq!(mean(&[1.0_f32, 2.0, 6.0]), 3.0);
/// ```
#[allow(private_bounds)]
pub trait Scalar:
    sealed::Sealed
    + Compiled
    + GemmScalar
    + Copy
    + Debug
    + Default
    + Display
    + PartialOrd
    + Send
    + Sync
    + Sum
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + 'static
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Negative infinity.
    const NEG_INFINITY: Self;
    /// Positive infinity.
    const INFINITY: Self;
    /// Not a number.
    const NAN: Self;
    /// The smallest positive number which is not subnormal.
    const MIN_POSITIVE: Self;
    /// From 1 to the next number.
    const EPSILON: Self;
    /// The type's name, `"f32"` or `"f64"`.
    const NAME: &'static str;

    /// The nearest value of this type.
    fn from_f64(value: f64) -> Self;
    /// The same value as `f64` (exact).
    fn to_f64(self) -> f64;
    /// Neither infinite nor NaN.
    fn is_finite(self) -> bool;
    /// Not a number.
    fn is_nan(self) -> bool;
    /// |x|.
    fn abs(self) -> Self;
    /// e^x.
    fn exp(self) -> Self;
    /// e^x - 1, accurate near 0.
    fn exp_m1(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// ln(1 + x), accurate near 0.
    fn ln_1p(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// x^p for a real exponent.
    fn powf(self, p: Self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// 2^x.
    fn exp2(self) -> Self;
    /// Base-2 logarithm.
    fn log2(self) -> Self;
    /// Base-10 logarithm.
    fn log10(self) -> Self;
    /// Sine.
    fn sin(self) -> Self;
    /// Cosine.
    fn cos(self) -> Self;
    /// Tangent.
    fn tan(self) -> Self;
    /// Arc sine.
    fn asin(self) -> Self;
    /// Arc cosine.
    fn acos(self) -> Self;
    /// Arc tangent.
    fn atan(self) -> Self;
    /// Hyperbolic sine.
    fn sinh(self) -> Self;
    /// Hyperbolic cosine.
    fn cosh(self) -> Self;
    /// Inverse hyperbolic sine.
    fn asinh(self) -> Self;
    /// Inverse hyperbolic cosine.
    fn acosh(self) -> Self;
    /// Inverse hyperbolic tangent.
    fn atanh(self) -> Self;
    /// Largest integer not above.
    fn floor(self) -> Self;
    /// Smallest integer not below.
    fn ceil(self) -> Self;
    /// Nearest integer, ties to even.
    fn round_ties_even(self) -> Self;
    /// Integer part.
    fn trunc(self) -> Self;
    /// The angle of the point (other, self).
    fn atan2(self, other: Self) -> Self;
    /// sqrt(x² + y²) without overflow.
    fn hypot(self, other: Self) -> Self;
    /// The error function.
    fn erf(self) -> Self;
    /// 1 - erf(x), accurate for large x.
    fn erfc(self) -> Self;
    /// The distribution function of the normal distribution.
    fn normal_cdf(self) -> Self;
}

/// The functions of `f64` which `f32` has in [`crate::kernels::single`].
mod double {
    macro_rules! functions {
        ($($name:ident $f:expr;)*) => {
            $(#[inline(always)]
            pub(super) fn $name(x: f64) -> f64 {
                $f(x)
            })*
        };
    }

    functions! {
        ln f64::ln;
        ln_1p f64::ln_1p;
        log2 f64::log2;
        log10 f64::log10;
        exp_m1 f64::exp_m1;
        exp2 f64::exp2;
        sinh f64::sinh;
        cosh f64::cosh;
        asinh libm::asinh;
        // The library's is not NaN everywhere below 1.
        acosh |x| if x < 1.0 { f64::NAN } else { libm::acosh(x) };
        atanh libm::atanh;
        erf libm::erf;
        erfc libm::erfc;
        normal_cdf self::cdf;
    }

    /// The distribution function of the normal distribution, erfc(-x / √2) / 2.
    ///
    /// On the left a rounding error of the argument would grow by its square:
    /// its size is known by the product of halves (Dekker, Numer. Math. 18,
    /// 1971), and the logarithmic derivative of erfc is near `u + √(u² + 4/π)`
    /// (Abramowitz and Stegun, 7.1.13).
    fn cdf(x: f64) -> f64 {
        const ROOT: f64 = std::f64::consts::FRAC_1_SQRT_2;
        let half = |x: f64| f64::from_bits(x.to_bits() & (!0 << 27));
        // √½ beyond its upper half
        const REST: f64 = 1.210_161_710_447_897e-8;
        let u = x * -ROOT;
        let tail = 0.5 * libm::erfc(u);
        if !(0.0..40.0).contains(&u) {
            return tail;
        }
        let high = half(x);
        let rest = u + high * half(ROOT) + (high * REST + (x - high) * ROOT);
        tail * (1.0 + rest * (u + (u * u + 4.0 * std::f64::consts::FRAC_1_PI).sqrt()))
    }
}

macro_rules! scalar {
    ($t:ident, $functions:ident) => {
        impl Compiled for $t {
            #[track_caller]
            fn record(tape: &Tape<$t>, op: Op, location: &'static Location<'static>) -> Id {
                tape.record_tensor(op, location)
            }

            #[track_caller]
            fn record_unary(tape: &Tape<$t>, f: unary::Function, x: Id, p: f64, at: &'static Location<'static>) -> Id {
                tape.record_unary(Unary { f, x, p }, at)
            }

            #[track_caller]
            fn record_binary(tape: &Tape<$t>, f: binary::Function, a: Id, b: Id, at: &'static Location<'static>) -> Id {
                tape.record_binary(Binary { f, a, b }, at)
            }

            fn sweep(sweep: &mut Plain<'_, $t>, root: Id, cotangent: Option<Id>) {
                sweep.run(root, cotangent);
            }

            fn sweep_recorded(sweep: &mut Recorder<'_, $t>, root: Id, cotangent: Id, wanted: &[Id]) {
                sweep.run(root, cotangent, wanted);
            }
        }

        impl Scalar for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NEG_INFINITY: Self = $t::NEG_INFINITY;
            const INFINITY: Self = $t::INFINITY;
            const NAN: Self = $t::NAN;
            const MIN_POSITIVE: Self = $t::MIN_POSITIVE;
            const EPSILON: Self = $t::EPSILON;
            const NAME: &'static str = stringify!($t);

            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                value as $t
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                $t::is_finite(self)
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                $t::is_nan(self)
            }
            #[inline(always)]
            fn abs(self) -> Self {
                $t::abs(self)
            }
            #[inline(always)]
            fn exp(self) -> Self {
                crate::kernels::math::$t::exp(self)
            }
            #[inline(always)]
            fn exp_m1(self) -> Self {
                $functions::exp_m1(self)
            }
            #[inline(always)]
            fn ln(self) -> Self {
                $functions::ln(self)
            }
            #[inline(always)]
            fn ln_1p(self) -> Self {
                $functions::ln_1p(self)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                $t::sqrt(self)
            }
            #[inline(always)]
            fn powf(self, p: Self) -> Self {
                $t::powf(self, p)
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                crate::kernels::math::$t::tanh(self)
            }
            #[inline(always)]
            fn exp2(self) -> Self {
                $functions::exp2(self)
            }
            #[inline(always)]
            fn log2(self) -> Self {
                $functions::log2(self)
            }
            #[inline(always)]
            fn log10(self) -> Self {
                $functions::log10(self)
            }
            #[inline(always)]
            fn sin(self) -> Self {
                $t::sin(self)
            }
            #[inline(always)]
            fn cos(self) -> Self {
                $t::cos(self)
            }
            #[inline(always)]
            fn tan(self) -> Self {
                $t::tan(self)
            }
            #[inline(always)]
            fn asin(self) -> Self {
                $t::asin(self)
            }
            #[inline(always)]
            fn acos(self) -> Self {
                $t::acos(self)
            }
            #[inline(always)]
            fn atan(self) -> Self {
                $t::atan(self)
            }
            #[inline(always)]
            fn sinh(self) -> Self {
                $functions::sinh(self)
            }
            #[inline(always)]
            fn cosh(self) -> Self {
                $functions::cosh(self)
            }
            #[inline(always)]
            fn asinh(self) -> Self {
                $functions::asinh(self)
            }
            #[inline(always)]
            fn acosh(self) -> Self {
                $functions::acosh(self)
            }
            #[inline(always)]
            fn atanh(self) -> Self {
                $functions::atanh(self)
            }
            #[inline(always)]
            fn floor(self) -> Self {
                $t::floor(self)
            }
            #[inline(always)]
            fn ceil(self) -> Self {
                $t::ceil(self)
            }
            #[inline(always)]
            fn round_ties_even(self) -> Self {
                $t::round_ties_even(self)
            }
            #[inline(always)]
            fn trunc(self) -> Self {
                $t::trunc(self)
            }
            #[inline(always)]
            fn atan2(self, other: Self) -> Self {
                $t::atan2(self, other)
            }
            #[inline(always)]
            fn hypot(self, other: Self) -> Self {
                $t::hypot(self, other)
            }
            #[inline(always)]
            fn erf(self) -> Self {
                $functions::erf(self)
            }
            #[inline(always)]
            fn erfc(self) -> Self {
                $functions::erfc(self)
            }
            #[inline(always)]
            fn normal_cdf(self) -> Self {
                $functions::normal_cdf(self)
            }
        }
    };
}

scalar!(f32, single);
scalar!(f64, double);
