//! Numbers, as formulas see them: with fused multiply-adds or without.

use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::kernels::{double, single};
use crate::scalar::Scalar;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
    impl<T> Sealed for super::Fma<T> {}
}

/// What can be computed with a [`Scalar`]: arithmetic and the elementary
/// functions.
///
/// ```
/// use wengert::Scalar;
/// fn bell<T: Scalar>(x: T) -> T {
///     (-(x * x)).exp()
/// }
/// assert_eq!(bell(0.0_f32), 1.0);
/// ```
pub trait Real:
    sealed::Sealed
    + Copy
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
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

    /// The nearest value of this type.
    fn from_f64(value: f64) -> Self;
    /// The same value as `f64` (exact).
    fn to_f64(self) -> f64;
    /// Neither infinite nor NaN.
    fn is_finite(self) -> bool;
    /// Not a number.
    fn is_nan(self) -> bool;
    /// `self * by + plus`, rounded once where the loop around it is compiled for
    /// fused multiply-adds, else twice.
    fn mul_add(self, by: Self, plus: Self) -> Self;
    /// |x|.
    fn abs(self) -> Self;
    /// e^x.
    fn exp(self) -> Self;
    /// 1 / (1 + e^-x), or 0 where e^x is below [`Scalar::MIN_POSITIVE`].
    fn sigmoid(self) -> Self;
    /// 1 / (1 + 2^-x), or 0 where 2^x is below [`Scalar::MIN_POSITIVE`]: it takes
    /// less than [`sigmoid`](Real::sigmoid), and is relatively accurate where
    /// |x| is not large.
    fn sigmoid2(self) -> Self;
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

/// A number whose functions are computed with fused multiply-adds. Formulas
/// are generic over [`Real`], and get these where the machine has such an
/// instruction. Arithmetic which is written out is the same for both.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub(crate) struct Fma<T>(pub(crate) T);

/// e^x, for kernels.
#[inline(always)]
pub(crate) fn exp<T: Functions, const FMA: bool>(x: T) -> T {
    T::exp::<FMA>(x)
}

macro_rules! operators {
    ($($Trait:ident $method:ident)*) => {$(
        impl<T: Scalar> $Trait for Fma<T> {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Fma(self.0.$method(other.0))
            }
        }
    )*};
}

operators!(Add add Sub sub Mul mul Div div);

impl<T: Scalar> Neg for Fma<T> {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        Fma(-self.0)
    }
}

/// [`Real`] for an element type whose own functions stand in a module.
macro_rules! plain {
    ($t:ident $module:ident [$($own:ident)*] [$($two:ident)*] [$($one:ident)*]) => {
        impl Functions for $t {
            $(#[inline(always)]
            fn $own<const FMA: bool>(x: $t) -> $t {
                $module::$own::<FMA>(x)
            })*
            $(#[inline(always)]
            fn $two<const FMA: bool>(x: $t, other: $t) -> $t {
                $module::$two::<FMA>(x, other)
            })*
        }

        impl Real for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NEG_INFINITY: Self = $t::NEG_INFINITY;
            const INFINITY: Self = $t::INFINITY;
            const NAN: Self = $t::NAN;

            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                value as $t
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn mul_add(self, by: Self, plus: Self) -> Self {
                self * by + plus
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                $t::is_finite(self)
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                $t::is_nan(self)
            }
            $(#[inline(always)]
            fn $own(self) -> Self {
                $module::$own::<false>(self)
            })*
            $(#[inline(always)]
            fn $two(self, other: Self) -> Self {
                $module::$two::<false>(self, other)
            })*
            $(#[inline(always)]
            fn $one(self) -> Self {
                $t::$one(self)
            })*
        }
    };
}

/// All of it for the functions of one number and of two which are computed here,
/// and for those which are not.
macro_rules! functions {
    ($($own:ident)*; $($two:ident)*; $($one:ident)*;) => {
        /// The functions which are computed here: with fused multiply-adds, for
        /// code which is compiled for them, or without.
        pub(crate) trait Functions {
            $(fn $own<const FMA: bool>(x: Self) -> Self;)*
            $(fn $two<const FMA: bool>(x: Self, other: Self) -> Self;)*
        }

        plain!(f32 single [$($own)*] [$($two)*] [$($one)*]);
        plain!(f64 double [$($own)*] [$($two)*] [$($one)*]);

        impl<T: Scalar> Real for Fma<T> {
            const ZERO: Self = Fma(T::ZERO);
            const ONE: Self = Fma(T::ONE);
            const NEG_INFINITY: Self = Fma(T::NEG_INFINITY);
            const INFINITY: Self = Fma(T::INFINITY);
            const NAN: Self = Fma(T::NAN);

            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                Fma(T::from_f64(value))
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self.0.to_f64()
            }
            #[inline(always)]
            fn mul_add(self, by: Self, plus: Self) -> Self {
                Fma(self.0.fused(by.0, plus.0))
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                self.0.is_finite()
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                self.0.is_nan()
            }
            $(#[inline(always)]
            fn $own(self) -> Self {
                Fma(<T as Functions>::$own::<true>(self.0))
            })*
            $(#[inline(always)]
            fn $two(self, other: Self) -> Self {
                Fma(<T as Functions>::$two::<true>(self.0, other.0))
            })*
            $(#[inline(always)]
            fn $one(self) -> Self {
                Fma(self.0.$one())
            })*
        }
    };
}

functions! {
    exp sigmoid sigmoid2 exp_m1 exp2 ln ln_1p log2 log10 sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh erf erfc normal_cdf;
    powf atan2 hypot;
    abs sqrt floor ceil round_ties_even trunc;
}
