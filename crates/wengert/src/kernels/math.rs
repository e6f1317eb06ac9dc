//! exp, tanh and sigmoids without branches, so that loops over them become
//! vector code for whatever instruction set the loop is compiled for.
//!
//! With `FMA` they use fused multiply-adds, which is faster by a third where
//! the processor has them, and a call to a library where not. Errors are
//! bounded in `tests/accuracy.rs`. The polynomials are Chebyshev fits of the
//! remainders named beside them, made with 40 digits.

#![allow(clippy::excessive_precision, reason = "the digits which were computed")]

/// `c[0] + c[1] x + c[2] x² + ...` in pairs, and pairs of pairs (Estrin, 1960):
/// fewer of the terms have to wait for each other than one by one.
macro_rules! polynomial {
    ($x:expr; $sum:expr $(,)?) => { $sum };
    ($x:expr; $($c:expr),+ $(,)?) => {{
        let x = $x;
        polynomial!(pairs x; ; $($c),+)
    }};
    (pairs $x:ident; $($pair:expr),*; $a:expr, $b:expr $(, $($rest:expr),+)?) => {
        polynomial!(pairs $x; $($pair,)* mul_add::<FMA>($x, $b, $a); $($($rest),+)?)
    };
    (pairs $x:ident; $($pair:expr),*; $($last:expr)?) => {
        polynomial!($x * $x; $($pair,)* $($last)?)
    };
}

macro_rules! functions {
    (
        $t:ident $bits:ident $mantissa:literal $bias:literal
        limits $low:literal $normal:literal $high:literal
        ln2 $ln2_high:literal $ln2_low:literal
        exp $($exp:literal)*;
        exp2 $($exp2:literal)*;
        tanh $flat:literal;
    ) => {
        pub(crate) mod $t {
            /// 1.5 · 2^mantissa: adding it leaves the nearest integer in the
            /// low bits.
            const ROUND: $t = 1.5 * (1u64 << $mantissa) as $t;

            /// a b + c
            #[inline(always)]
            pub(in crate::kernels) fn mul_add<const FMA: bool>(a: $t, b: $t, c: $t) -> $t {
                if FMA { a.mul_add(b, c) } else { a * b + c }
            }

            /// r and q(r), where e^r = 1 + r + r² q(r) and |r| <= ln(2) / 2, and
            /// n + excess in the low bits, for x = n ln 2 + r. Argument
            /// reduction by Cody and Waite, "Software Manual for the Elementary
            /// Functions" (1980), chapter 6.
            #[inline(always)]
            fn reduced<const FMA: bool>(x: $t, excess: $bits) -> ($t, $t, $bits) {
                let round = ROUND + excess as $t;
                let shifted = mul_add::<FMA>(x, std::$t::consts::LOG2_E, round);
                let n = shifted - round;
                let r = mul_add::<FMA>(n, -$ln2_low, mul_add::<FMA>(n, -$ln2_high, x));
                (r, polynomial!(r; $($exp),*), shifted.to_bits())
            }

            /// e^r, and the rest as above.
            #[inline(always)]
            fn parts<const FMA: bool>(x: $t, excess: $bits) -> ($t, $bits) {
                let (r, q, bits) = reduced::<FMA>(x, excess);
                // Either way is the more accurate one with its arithmetic.
                let value = if FMA { r.mul_add(r.mul_add(q, 1.0), 1.0) } else { 1.0 + (r + r * r * q) };
                (value, bits)
            }

            /// 2^r, and n + bias in the low bits, for -x = n + r and |r| <= 1/2.
            #[inline(always)]
            fn negative_parts2<const FMA: bool>(x: $t) -> ($t, $bits) {
                let round = ROUND + $bias as $t;
                let shifted = round - x;
                let r = (round - shifted) - x;
                let q = polynomial!(r; $($exp2),*);
                let value = mul_add::<FMA>(r, mul_add::<FMA>(r, q, std::$t::consts::LN_2), 1.0);
                (value, shifted.to_bits())
            }

            /// 2^n, where the low bits are n + bias, in the exponent's range.
            #[inline(always)]
            fn power(bits: $bits) -> $t {
                $t::from_bits(bits << $mantissa)
            }

            /// e^x.
            #[inline(always)]
            pub(crate) fn exp<const FMA: bool>(x: $t) -> $t {
                // Beyond these the result is infinite, or 0. NaN passes both.
                let x = if x > $high { $high } else { x };
                // 0 is not left to underflow, which takes some processors ten
                // times as long as all of this.
                let gone = x < $low;
                // In two factors, since n alone may leave the exponent's range.
                let (value, bits) = parts::<FMA>(if gone { 0.0 } else { x }, 2 * $bias);
                let half = bits >> 1;
                let y = value * power(half) * power(bits.wrapping_sub(half));
                if gone { 0.0 } else { y }
            }

            /// 1 / (1 + e^-x), or 0 where e^x is below the smallest number
            /// which is not subnormal.
            #[inline(always)]
            pub(crate) fn sigmoid<const FMA: bool>(x: $t) -> $t {
                sigmoid_by::<FMA>(x, $normal, |x| parts::<FMA>(-x, $bias))
            }

            /// 1 / (1 + 2^-x), likewise.
            #[inline(always)]
            pub(crate) fn sigmoid2<const FMA: bool>(x: $t) -> $t {
                sigmoid_by::<FMA>(x, 1.0 - $bias as $t, negative_parts2::<FMA>)
            }

            /// 1 / (1 + p(-x)) for the power p, of which `parts` are those at -x, and
            /// which is subnormal below `lowest`.
            #[inline(always)]
            fn sigmoid_by<const FMA: bool>(x: $t, lowest: $t, parts: impl Fn($t) -> ($t, $bits)) -> $t {
                // Beyond this it rounds to 1. NaN passes.
                let bounded = if x > -lowest { -lowest } else { x };
                let (value, bits) = parts(bounded);
                let y = 1.0 / mul_add::<FMA>(value, power(bits), 1.0);
                if x < lowest { 0.0 } else { y }
            }

            /// tanh x: m / (m + 2), where m = e^2|x| - 1 without cancellation.
            #[inline(always)]
            pub(crate) fn tanh<const FMA: bool>(x: $t) -> $t {
                let size = x.abs();
                // Beyond this it rounds to 1. NaN passes.
                let bounded = if size > $flat { $flat } else { size };
                let (r, q, bits) = reduced::<FMA>(2.0 * bounded, $bias);
                let (rest, power) = (mul_add::<FMA>(r * r, q, r), power(bits));
                let m = mul_add::<FMA>(power, rest, power - 1.0);
                (m / (m + 2.0)).copysign(x)
            }
        }
    };
}

functions! {
    f32 u32 23 127
    limits -104.0 -87.336_54 89.0
    // ln 2: nine bits, so that products with n are exact, and the rest.
    ln2 0.693_359_375 -2.121_944_4e-4
    exp 0.5 0.166_665_77 0.041_666_556 0.008_363_233 0.001_392_625_1;
    // (2^r - 1 - r ln 2) / r², |r| <= 1/2
    exp2 0.240_226_507 0.055_503_81 0.009_618_103 0.001_338_130_3 0.000_154_448_84;
    tanh 10.0;
}

functions! {
    f64 u64 52 1023
    limits -746.0 -708.396_418_532_264 710.0
    // ln 2: 32 bits, so that products with n are exact, and the rest.
    ln2 0.693_147_180_369_123_816_49 1.908_214_929_270_587_7e-10
    exp 0.5 0.166_666_666_666_666_71 0.041_666_666_666_666_67 0.008_333_333_333_326_083 0.001_388_888_888_888_371
        0.000_198_412_698_750_022_79 0.000_024_801_587_325_677_463 2.755_725_517_000_088_7e-6 2.755_727_347_871_858e-7
        2.510_531_272_962_21e-8 2.091_475_532_589_320_2e-9;
    exp2 0.240_226_506_959_100_71 0.055_504_108_664_821_59 0.009_618_129_107_628_478 0.001_333_355_814_641_693_5
        0.000_154_035_303_933_759_13 0.000_015_252_733_829_836_12 1.321_548_680_290_393_1e-6 1.017_806_244_584_577_4e-7
        7.054_899_956_372_649e-9 4.454_960_598_186_518e-10 2.572_508_057_683_648_7e-11;
    tanh 20.0;
}
