//! exp and tanh without branches, so that loops over them become vector code
//! for whatever instruction set the loop is compiled for.
//!
//! No fused multiply-add: the same bits come out on every processor and at
//! every length. Errors are bounded in `tests/accuracy.rs`. The polynomials
//! are Chebyshev fits of the remainders named beside them, made with 40
//! digits.

#![allow(clippy::excessive_precision, reason = "the digits which were computed")]

/// `c[0] + c[1] x + c[2] x² + ...`
macro_rules! polynomial {
    ($x:expr, $last:expr) => { $last };
    ($x:expr, $first:expr, $($rest:expr),+) => { $first + $x * polynomial!($x, $($rest),+) };
}

macro_rules! functions {
    (
        $t:ident $bits:ident $signed:ident $mantissa:literal $bias:literal
        limits $low:literal $high:literal
        ln2 $ln2_high:literal $ln2_low:literal
        exp $($exp:literal)*;
        tanh $flat:literal $small:literal $($tanh:literal)*;
    ) => {
        pub(crate) mod $t {
            /// 1.5 · 2^mantissa: adding it leaves the nearest integer in the
            /// low bits.
            const ROUND: $t = 1.5 * (1u64 << $mantissa) as $t;

            /// e^r and n for x = n ln 2 + r. Argument reduction by Cody and
            /// Waite, "Software Manual for the Elementary Functions" (1980),
            /// chapter 6.
            #[inline(always)]
            fn parts(x: $t) -> ($t, $signed) {
                let shifted = x * std::$t::consts::LOG2_E + ROUND;
                let n = shifted - ROUND;
                let r = x - n * $ln2_high - n * $ln2_low;
                // e^r = 1 + r + r² q(r), |r| <= ln(2) / 2
                let value = 1.0 + (r + r * r * polynomial!(r, $($exp),*));
                (value, (shifted.to_bits() as $signed).wrapping_sub(ROUND.to_bits() as $signed))
            }

            /// 2^n, for an n in the exponent's range.
            #[inline(always)]
            fn power(n: $signed) -> $t {
                $t::from_bits((n.wrapping_add($bias) as $bits) << $mantissa)
            }

            /// e^x.
            #[inline(always)]
            pub(crate) fn exp(x: $t) -> $t {
                // Beyond these the result is infinite, or 0. NaN passes both.
                let x = if x > $high { $high } else { x };
                // 0 is not left to underflow, which takes some processors ten
                // times as long as all of this.
                let gone = x < $low;
                let (value, n) = parts(if gone { 0.0 } else { x });
                // In two factors, since n alone may leave the exponent's range.
                let half = n >> 1;
                let y = value * power(half) * power(n.wrapping_sub(half));
                if gone { 0.0 } else { y }
            }

            /// tanh x: x + x³ q(x²) near 0, 1 - 2 / (e^2|x| + 1) elsewhere.
            #[inline(always)]
            pub(crate) fn tanh(x: $t) -> $t {
                let (size, square) = (x.abs(), x * x);
                let near = x + x * square * polynomial!(square, $($tanh),*);
                // Beyond this it rounds to 1. NaN passes.
                let bounded = if size > $flat { $flat } else { size };
                let (value, n) = parts(2.0 * bounded);
                let far = (1.0 - 2.0 / (value * power(n) + 1.0)).copysign(x);
                if size < $small { near } else { far }
            }
        }
    };
}

functions! {
    f32 u32 i32 23 127
    limits -104.0 89.0
    // ln 2: nine bits, so that products with n are exact, and the rest.
    ln2 0.693_359_375 -2.121_944_4e-4
    exp 0.5 0.166_665_77 0.041_666_556 0.008_363_233 0.001_392_625_1;
    tanh 10.0 0.6 -0.333_333_33 0.133_329_15 -0.053_873_95 0.021_110_96 -0.006_269_12;
}

functions! {
    f64 u64 i64 52 1023
    limits -746.0 710.0
    // ln 2: 32 bits, so that products with n are exact, and the rest.
    ln2 0.693_147_180_369_123_816_49 1.908_214_929_270_587_7e-10
    exp 0.5 0.166_666_666_666_666_71 0.041_666_666_666_666_67 0.008_333_333_333_326_083 0.001_388_888_888_888_371
        0.000_198_412_698_750_022_79 0.000_024_801_587_325_677_463 2.755_725_517_000_088_7e-6 2.755_727_347_871_858e-7
        2.510_531_272_962_21e-8 2.091_475_532_589_320_2e-9;
    tanh 20.0 0.6 -0.333_333_333_333_333_33 0.133_333_333_333_332_06 -0.053_968_253_968_085_306 0.021_869_488_527_368_108
        -0.008_863_235_292_803_289 0.003_592_124_250_008_692_4 -0.001_455_795_885_573_463_4 0.000_589_768_099_468_826_8
        -0.000_237_952_013_839_249_95 0.000_093_324_322_338_474_47 -0.000_032_086_614_037_935_99
        6.934_046_420_948_954e-6;
}
