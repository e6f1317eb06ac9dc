//! How far the functions are from the exact values, in units of the last
//! place: in f32 over the whole range of bit patterns against the f64
//! functions, in f64 against values computed with 60 digits.

use std::collections::BTreeMap;

use wengert::{Scalar, Tape, Tensor};

/// The functions, with the bounds which `docs/src/conventions.md` states for
/// f32 and f64.
macro_rules! functions {
    ($apply:ident: $($name:ident $single:literal $double:literal)*) => {
        const BOUNDS: &[(&str, f64, f64)] = &[$((stringify!($name), $single, $double)),*];

        fn $apply<'t, T: Scalar>(name: &str, x: Tensor<'t, T>) -> Tensor<'t, T> {
            match name {
                $(stringify!($name) => x.$name(),)*
                _ => panic!("no function {name}"),
            }
        }
    };
}

functions! { apply:
    exp 1.0 1.0
    exp_m1 0.6 1.0
    exp2 0.6 1.0
    ln 0.6 1.0
    ln_1p 0.6 1.0
    tanh 2.5 2.5
    sigmoid 2.5 2.5
    log_sigmoid 2.5 2.5
    erf 0.6 1.0
    erfc 0.6 2.0
    gelu 8.0 100.0
    sin 1.0 1.0
    cos 1.0 1.0
    sinh 0.6 2.0
    asinh 0.6 2.0
    atan 1.0 1.0
    log2 0.6 1.0
    log10 0.6 1.5
    sqrt 0.6 0.6
    rsqrt 1.5 1.5
    tan 1.0 1.0
    asin 1.0 1.0
    acos 1.0 1.0
    cosh 0.6 2.0
    acosh 0.6 2.0
    atanh 0.6 5.0
    silu 60.0 2.5
    mish 60.0 2.5
    gelu_tanh 150.0 100.0
}

#[test]
fn single_precision_over_the_whole_range() {
    let step = if cfg!(debug_assertions) { 40_009 } else { 1_009 };
    let (mut singles, mut doubles) = (Tape::new(), Tape::new_f64());
    let values: Vec<f32> = (0..u32::MAX).step_by(step).map(f32::from_bits).collect();
    let special = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MIN_POSITIVE, 1e-45, 88.72, -103.97];
    let mut failures = String::new();
    for &(name, bound, _) in BOUNDS {
        let (mut worst, mut at) = (0.0, 0.0);
        for block in values.chunks(65_536).chain([&special[..]]) {
            singles.rewind();
            doubles.rewind();
            let wide: Vec<f64> = block.iter().map(|&x| x.into()).collect();
            let got = apply(name, singles.input([block.len()], block));
            let exact = apply(name, doubles.input([block.len()], &wide));
            for ((&x, &got), &exact) in block.iter().zip(got.as_slice()).zip(exact.as_slice()) {
                let error = error_f32(got, exact);
                if error.is_nan() || error > worst {
                    (worst, at) = (if error.is_nan() { f64::INFINITY } else { error }, x);
                }
            }
        }
        println!("f32 {name}: {worst:.2} at {at:e}");
        if worst > bound {
            failures += &format!("{name}: {worst} units at {at:e}, more than {bound}\n");
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// Units of the last place of the exact value; 0 if both are NaN, or the same.
fn error_f32(got: f32, exact: f64) -> f64 {
    let nearest = exact as f32;
    if got.is_nan() && exact.is_nan() || got.to_bits() == nearest.to_bits() {
        return 0.0;
    }
    if got.is_infinite() || nearest.is_infinite() {
        // One step beyond the largest number.
        return (f64::from(got.clamp(f32::MIN, f32::MAX)) - exact.clamp(f32::MIN.into(), f32::MAX.into())).abs()
            / f64::from(f32::MAX.next_down() - f32::MAX).abs();
    }
    if nearest == 0.0 && got == 0.0 {
        // A zero of the other sign, unless the exact value has none.
        return if exact == 0.0 && exact.is_sign_negative() != got.is_sign_negative() { f64::INFINITY } else { 0.0 };
    }
    (f64::from(got) - exact).abs() / f64::from(nearest.abs().next_up() - nearest.abs())
}

#[test]
fn double_precision() {
    let mut worst = BTreeMap::<&str, (f64, f64)>::new();
    let tape = Tape::new_f64();
    for line in include_str!("fixtures/accuracy.txt").lines() {
        let mut words = line.split(' ');
        let name = words.next().unwrap();
        let mut number = || f64::from_bits(u64::from_str_radix(words.next().unwrap(), 16).unwrap());
        let [x, high, low] = [number(), number(), number()];
        let got = apply(name, tape.scalar(x)).item();
        let unit = high.abs().next_up() - high.abs();
        let error = if got == high { low.abs() / unit } else { (got - high - low).abs() / unit };
        let entry = worst.entry(name).or_default();
        if error.is_nan() || error > entry.0 {
            *entry = (if error.is_nan() { f64::INFINITY } else { error }, x);
        }
    }
    let mut failures = String::new();
    for &(name, _, bound) in BOUNDS {
        let (worst, at) = worst[name];
        println!("f64 {name}: {worst:.2} at {at:e}");
        if worst > bound {
            failures += &format!("{name}: {worst} units at {at:e}, more than {bound}\n");
        }
    }
    assert!(failures.is_empty(), "{failures}");
}
