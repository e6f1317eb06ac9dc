//! Functions of `f32` computed in `f64`, without branches, so that loops over
//! them become vector code.
//!
//! Half as many numbers fit into a vector, but nothing has to be compensated:
//! short polynomials are within a few hundredths of a unit in the last place
//! of `f32` before the one rounding at the end. They are Chebyshev fits of the
//! functions named beside them, made with 40 digits; errors are bounded in
//! `tests/accuracy.rs`.

#![allow(clippy::excessive_precision, reason = "the digits which were computed")]

use std::f64::consts::{FRAC_PI_2, LN_2, LOG2_E, LOG10_E, PI};

pub(crate) use super::math::f32::{exp, sigmoid, sigmoid2, tanh};
use super::math::f64::mul_add;

/// 1.5 · 2^52: adding it leaves the nearest integer in the low bits.
const ROUND: f64 = 1.5 * (1u64 << 52) as f64;

/// `c[0] + c[1] x + c[2] x² + ...`
#[inline(always)]
fn polynomial<const FMA: bool, const N: usize>(x: f64, c: [f64; N]) -> f64 {
    let mut sum = c[N - 1];
    for k in (0..N - 1).rev() {
        sum = mul_add::<FMA>(x, sum, c[k]);
    }
    sum
}

/// 2^n and e^r - 1 for x = n ln 2 + r: argument reduction by Cody and Waite,
/// "Software Manual for the Elementary Functions" (1980), chapter 6.
#[inline(always)]
fn exp_parts<const FMA: bool>(x: f64) -> (f64, f64) {
    // Far beyond what f32 can hold. NaN passes both.
    let x = if x > 120.0 { 120.0 } else { x };
    let x = if x < -120.0 { -120.0 } else { x };
    let shifted = mul_add::<FMA>(x, LOG2_E, ROUND);
    let r = mul_add::<FMA>(ROUND - shifted, LN_2, x);
    // (e^r - 1 - r) / r², |r| <= ln(2) / 2
    let q = [
        0.500_000_001_348_722_6,
        0.166_666_666_816_470_16,
        0.041_666_464_711_379_08,
        0.008_333_310_901_725_97,
        0.001_393_367_373_293_185_2,
        0.000_198_910_171_843_021_9,
    ];
    let power = f64::from_bits((shifted.to_bits().wrapping_add(1023)) << 52);
    (power, mul_add::<FMA>(r * r, polynomial::<FMA, _>(r, q), r))
}

#[inline(always)]
fn exp64<const FMA: bool>(x: f64) -> f64 {
    let (power, rest) = exp_parts::<FMA>(x);
    mul_add::<FMA>(power, rest, power)
}

#[inline(always)]
fn exp_m1_64<const FMA: bool>(x: f64) -> f64 {
    let (power, rest) = exp_parts::<FMA>(x);
    // Exact at 0, where the sign of x counts.
    if x == 0.0 { x } else { mul_add::<FMA>(power, rest, power - 1.0) }
}

/// `ln(1 + x)`, where `whole` is 1 + x rounded: its exponent and fraction as in
/// fdlibm's log1p (Sun Microsystems, 1993).
#[inline(always)]
fn ln_of<const FMA: bool>(whole: f64, x: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    const ROOT_HALF: u64 = std::f64::consts::FRAC_1_SQRT_2.to_bits();
    // whole = 2^n m, m in [√½, √2)
    let bits = whole.to_bits().wrapping_sub(ROOT_HALF).wrapping_add(1023 << 52);
    let n = f64::from_bits(bits >> 52 | (1075 << 52)) - ((1u64 << 52) as f64 + 1023.0);
    let m = f64::from_bits((bits & MANTISSA).wrapping_add(ROOT_HALF));
    // Without the rounding of 1 + x.
    let f = if n == 0.0 { x } else { m - 1.0 };
    // ln(1 + f) = 2 artanh(s); (2 artanh(√z) / √z - 2) / z, z <= 0.0295
    let s = f / (2.0 + f);
    let z = s * s;
    let c = [0.666_666_665_543_001_8, 0.400_001_220_008_168_8, 0.285_508_025_532_767_1, 0.233_309_640_517_720_4];
    let y = mul_add::<FMA>(n, LN_2, s * mul_add::<FMA>(z, polynomial::<FMA, _>(z, c), 2.0));
    let y = if whole > 0.0 { y } else { f64::NAN };
    let y = if whole == 0.0 { f64::NEG_INFINITY } else { y };
    if whole == f64::INFINITY { whole } else { y }
}

#[inline(always)]
fn ln64<const FMA: bool>(x: f64) -> f64 {
    ln_of::<FMA>(x, x - 1.0)
}

#[inline(always)]
fn ln_1p_64<const FMA: bool>(x: f64) -> f64 {
    // Exact at 0, where the sign of x counts.
    if x == 0.0 { x } else { ln_of::<FMA>(1.0 + x, x) }
}

/// `erfc |x|`, by a fit of `(1 + 2x) e^(x²) erfc x` over `(x - 3) / (x + 3)`:
/// M. M. Shepherd, J. G. Laframboise, Math. Comp. 36 (1981).
#[inline(always)]
fn erfc_abs<const FMA: bool>(x: f64) -> f64 {
    let a = x.abs();
    // There it is below all that f32 can hold.
    let a = if a > 10.5 { 10.5 } else { a };
    let c = [
        1.253_008_059_027_349_6,
        -0.135_621_110_531_661_7,
        -0.047_562_392_632_067_595,
        0.129_645_322_459_662_4,
        -0.119_271_526_893_262_4,
        0.068_307_031_808_927_12,
        -0.023_787_563_526_059_32,
        0.002_525_108_458_326_976,
        0.001_946_182_796_678_598_4,
        -0.000_735_825_944_317_939_9,
        -0.000_173_314_574_328_595_3,
        3.891_879_237_456_227e-5,
    ];
    // One division for both.
    let (over, under) = (a + 3.0, 1.0 + 2.0 * a);
    let both = 1.0 / (over * under);
    polynomial::<FMA, _>((a - 3.0) * (under * both), c) * (over * both) * exp64::<FMA>(-a * a)
}

#[inline(always)]
fn erfc64<const FMA: bool>(x: f64) -> f64 {
    let tail = erfc_abs::<FMA>(x);
    if x < 0.0 { 2.0 - tail } else { tail }
}

/// f and n, where x is n + f quarters of a turn and |f| is little more than ½;
/// n in the two low bits.
///
/// By the digits of 2/π which matter (M. H. Payne, R. N. Hanek, ACM SIGNUM
/// Newsletter 18, 1983): those which stand for whole turns, since x is a multiple
/// of its last place, are left out, and the first of the others make products
/// without rounding.
#[inline(always)]
fn quarters(x: f64) -> (f64, u64) {
    // 29, 28 and 53 bits of it, for |x| up to 2^50, 2^76, 2^102, and beyond.
    const DIGITS: [[f64; 3]; 4] = [
        [0.636_619_770_899_415, 1.468_166_324_625_208_6e-9, 2.276_010_073_078_396e-18],
        [2.568_255_325_074_986_2e-8, 1.615_379_780_392_580_4e-17, 7.696_704_864_039_572e-26],
        [2.937_095_537_534_198e-16, 2.837_622_008_414_52e-25, 9.372_006_544_409_766e-34],
        [6.074_026_479_468_182e-24, 1.018_166_434_864_072_2e-32, 3.885_898_707_518_682_3e-41],
    ];
    const ENDS: [f64; 3] = [(1u64 << 50) as f64, (1u128 << 76) as f64, (1u128 << 102) as f64];
    // By masks: conditions would be made branches.
    let beyond = ENDS.map(|end| u64::from(x.abs() >= end).wrapping_neg());
    let [high, middle, low] = std::array::from_fn(|k| {
        let digits = (1..4).fold(DIGITS[0][k].to_bits(), |digits, i| {
            digits ^ (DIGITS[i - 1][k].to_bits() ^ DIGITS[i][k].to_bits()) & beyond[i - 1]
        });
        x * f64::from_bits(digits)
    });
    let whole = high + ROUND;
    let rest = (high - (whole - ROUND)) + middle;
    let more = rest + ROUND;
    ((rest - (more - ROUND)) + low, whole.to_bits().wrapping_add(more.to_bits()))
}

/// The sine, so many quarters of a turn on.
#[inline(always)]
fn sine<const FMA: bool>(x: f64, on: u64) -> f64 {
    let (f, n) = quarters(x);
    let ([sine, cosine], n) = (sine_and_cosine::<FMA>(f), n.wrapping_add(on));
    let y = if n & 1 == 0 { sine } else { cosine };
    f64::from_bits(y.to_bits() ^ (n & 2) << 62)
}

/// Of f quarters of a turn, |f| <= 0.52.
#[inline(always)]
fn sine_and_cosine<const FMA: bool>(f: f64) -> [f64; 2] {
    let z = f * f;
    // sin(π/2 √z) / √z and cos(π/2 √z), z <= 0.27
    let sine = [
        1.570_796_326_784_917_9,
        -0.645_964_095_658_179_1,
        0.079_692_571_464_002_56,
        -0.004_681_185_459_203_802,
        0.000_158_028_751_552_144_06,
    ];
    let cosine = [
        0.999_999_999_930_256_7,
        -1.233_700_537_219_421_9,
        0.253_669_124_979_074_4,
        -0.020_859_505_051_803_63,
        0.000_902_387_726_586_999_3,
    ];
    [f * polynomial::<FMA, _>(z, sine), polynomial::<FMA, _>(z, cosine)]
}

#[inline(always)]
fn tan64<const FMA: bool>(x: f64) -> f64 {
    let (f, n) = quarters(x);
    let [sine, cosine] = sine_and_cosine::<FMA>(f);
    let odd = n & 1 == 1;
    (if odd { -cosine } else { sine }) / if odd { sine } else { cosine }
}

/// `asin t`, |t| <= ½.
#[inline(always)]
fn asin_near<const FMA: bool>(t: f64) -> f64 {
    // asin(√z) / √z, z <= ¼
    let c = [
        1.000_000_000_230_778_3,
        0.166_666_576_395_759_13,
        0.075_005_713_810_246_86,
        0.044_508_709_498_651_53,
        0.031_857_188_894_112_76,
        0.014_295_256_037_820_107,
        0.037_677_138_341_848_6,
    ];
    t * polynomial::<FMA, _>(t * t, c)
}

/// `asin |x|` if |x| is at most ½, else `acos |x|`: that is twice the arc sine
/// of √((1 - |x|) / 2). And which it is.
#[inline(always)]
fn arc<const FMA: bool>(x: f64) -> (f64, bool) {
    let a = x.abs();
    let near = a <= 0.5;
    let y = asin_near::<FMA>(if near { a } else { (0.5 * (1.0 - a)).sqrt() });
    (if near { y } else { 2.0 * y }, near)
}

/// `atan t`, 0 <= t <= 1.
#[inline(always)]
fn atan_near<const FMA: bool>(t: f64) -> f64 {
    // atan(√z) / √z, z <= 1
    let c = [
        0.999_999_999_553_537_6,
        -0.333_333_224_889_115_93,
        0.199_995_581_003_639_82,
        -0.142_785_760_248_079_85,
        0.110_507_712_758_496_6,
        -0.087_850_432_823_628_45,
        0.066_852_815_178_774_24,
        -0.043_928_410_733_267_46,
        0.021_912_945_865_448_393,
        -0.007_030_669_470_424_213,
        0.001_057_607_438_057_242,
    ];
    t * polynomial::<FMA, _>(t * t, c)
}

#[inline(always)]
fn atan64<const FMA: bool>(x: f64) -> f64 {
    let a = x.abs();
    let far = a > 1.0;
    let y = atan_near::<FMA>(if far { 1.0 / a } else { a });
    (if far { FRAC_PI_2 - y } else { y }).copysign(x)
}

/// The angle of the point (x, y).
#[inline(always)]
pub(crate) fn atan2<const FMA: bool>(y: f32, x: f32) -> f32 {
    let (y, x) = (f64::from(y), f64::from(x));
    let steep = x.abs() < y.abs();
    let (least, most) = if steep { (x.abs(), y.abs()) } else { (y.abs(), x.abs()) };
    let t = if most == 0.0 { least } else { least / most };
    let t = if least == f64::INFINITY && most == f64::INFINITY { 1.0 } else { t };
    let angle = atan_near::<FMA>(t);
    let angle = if steep { FRAC_PI_2 - angle } else { angle };
    // Left of the origin; -0 is.
    let angle = if 1f64.copysign(x) < 0.0 { PI - angle } else { angle };
    angle.copysign(y) as f32
}

/// √(x² + y²)
#[inline(always)]
pub(crate) fn hypot<const FMA: bool>(x: f32, y: f32) -> f32 {
    let (x, y) = (f64::from(x).abs(), f64::from(y).abs());
    let length = (x * x + y * y).sqrt();
    // Even if the other is NaN.
    (if x == f64::INFINITY || y == f64::INFINITY { f64::INFINITY } else { length }) as f32
}

/// x^p, as C defines it.
#[inline(always)]
pub(crate) fn powf<const FMA: bool>(x: f32, p: f32) -> f32 {
    let (x, p) = (f64::from(x), f64::from(p));
    let size = exp64::<FMA>(p * ln64::<FMA>(x.abs()));
    let whole = |p: f64| p.trunc() == p;
    let odd = whole(p) && !whole(0.5 * p);
    let y = if odd { size.copysign(x) } else { size };
    let y = if x < 0.0 && !whole(p) && x > f64::NEG_INFINITY { f64::NAN } else { y };
    // Also of NaN.
    let one = p == 0.0 || x == 1.0 || x == -1.0 && p.abs() == f64::INFINITY;
    (if one { 1.0 } else { y }) as f32
}

macro_rules! functions {
    ($($(#[$meta:meta])* $name:ident $x:ident $body:expr;)*) => {$(
        $(#[$meta])*
        #[inline(always)]
        pub(crate) fn $name<const FMA: bool>(x: f32) -> f32 {
            let $x = f64::from(x);
            let value: f64 = $body;
            value as f32
        }
    )*};
}

functions! {
    /// sin x
    sin x sine::<FMA>(x, 0);
    /// cos x
    cos x sine::<FMA>(x, 1);
    /// tan x
    tan x tan64::<FMA>(x);
    /// asin x
    asin x {
        let (y, near) = arc::<FMA>(x);
        (if near { y } else { FRAC_PI_2 - y }).copysign(x)
    };
    /// acos x
    acos x {
        let (y, near) = arc::<FMA>(x);
        if near {
            FRAC_PI_2 - y.copysign(x)
        } else if x < 0.0 {
            PI - y
        } else {
            y
        }
    };
    /// atan x
    atan x atan64::<FMA>(x);
    /// ln x
    ln x ln64::<FMA>(x);
    /// ln(1 + x)
    ln_1p x ln_1p_64::<FMA>(x);
    /// log₂ x
    log2 x ln64::<FMA>(x) * LOG2_E;
    /// log₁₀ x
    log10 x ln64::<FMA>(x) * LOG10_E;
    /// e^x - 1
    exp_m1 x exp_m1_64::<FMA>(x);
    /// 2^x
    exp2 x exp64::<FMA>(x * LN_2);
    /// (e^x - e^-x) / 2, without cancellation
    sinh x {
        let e = exp_m1_64::<FMA>(x.abs());
        (0.5 * (e + e / (e + 1.0))).copysign(x)
    };
    /// (e^x + e^-x) / 2
    cosh x {
        let e = exp64::<FMA>(x.abs());
        0.5 * (e + 1.0 / e)
    };
    /// ln(x + √(x² + 1)), without cancellation
    asinh x {
        let a = x.abs();
        let y = ln_1p_64::<FMA>(a + a * a / (1.0 + (a * a + 1.0).sqrt()));
        (if a == f64::INFINITY { a } else { y }).copysign(x)
    };
    /// ln(x + √(x² - 1)), without cancellation
    acosh x {
        let t = x - 1.0;
        if t < 0.0 { f64::NAN } else { ln_1p_64::<FMA>(t + (t * (x + 1.0)).sqrt()) }
    };
    /// ln((1 + x) / (1 - x)) / 2
    atanh x 0.5 * ln_1p_64::<FMA>(2.0 * x / (1.0 - x));
    /// The error function.
    erf x {
        // erf(√z) / √z, z <= 1
        let c = [
            1.128_379_165_848_350_9, -0.376_126_266_667_203_34, 0.112_835_947_151_602_18, -0.026_854_212_010_626_412,
            0.005_189_087_423_433_974, -0.000_801_686_428_716_587, 7.875_875_062_685_488e-5,
        ];
        let near = x * polynomial::<FMA, _>(x * x, c);
        let far = (1.0 - erfc_abs::<FMA>(x)).copysign(x);
        if x.abs() < 1.0 { near } else { far }
    };
    /// 1 - erf x
    erfc x erfc64::<FMA>(x);
    /// The distribution function of the normal distribution.
    normal_cdf x 0.5 * erfc64::<FMA>(x * -std::f64::consts::FRAC_1_SQRT_2);
}
