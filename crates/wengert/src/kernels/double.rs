//! The functions of `f64`: most are those of the standard library or of `libm`,
//! one number at a time.

pub(crate) use super::math::f64::{exp, sigmoid, sigmoid2, tanh};

macro_rules! functions {
    ($($name:ident $f:expr;)*) => {
        $(#[inline(always)]
        pub(crate) fn $name<const FMA: bool>(x: f64) -> f64 {
            $f(x)
        })*
    };
}

macro_rules! functions_of_two {
    ($($name:ident)*) => {
        $(#[inline(always)]
        pub(crate) fn $name<const FMA: bool>(x: f64, y: f64) -> f64 {
            x.$name(y)
        })*
    };
}

functions_of_two!(powf atan2 hypot);

functions! {
    sin f64::sin;
    cos f64::cos;
    tan f64::tan;
    asin f64::asin;
    acos f64::acos;
    atan f64::atan;
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
