//! How far the functions are from the exact values, in units of the last
//! place: in f64 against values computed with 80 digits, in f32 over the whole
//! range of bit patterns against the f64 functions. The two types share no
//! code but the formulas of the functions which are made of others, and their
//! errors differ by nine digits.

use std::collections::BTreeMap;

use wengert::{Scalar, Tape, Tensor};

/// The functions, with the bounds which `docs/src/conventions.md` states for
/// f32 and f64.
macro_rules! functions {
    ($apply:ident $x:ident: $($name:literal $value:expr, $single:literal $double:literal;)*) => {
        const BOUNDS: &[(&str, f64, f64)] = &[$(($name, $single, $double)),*];

        fn $apply<'t, T: Scalar>(name: &str, $x: Tensor<'t, T>) -> Tensor<'t, T> {
            match name {
                $($name => $value,)*
                _ => panic!("no function {name}"),
            }
        }
    };
}

functions! { apply x:
    "exp" x.exp(), 1.0 1.0;
    "exp_m1" x.exp_m1(), 0.6 1.0;
    "exp2" x.exp2(), 0.6 0.6;
    "ln" x.ln(), 0.6 0.6;
    "ln_1p" x.ln_1p(), 0.6 1.0;
    "log2" x.log2(), 0.6 0.6;
    "log10" x.log10(), 0.6 1.6;
    "sqrt" x.sqrt(), 0.5 0.5;
    "rsqrt" x.rsqrt(), 1.5 1.5;
    "sin" x.sin(), 0.6 1.0;
    "cos" x.cos(), 0.6 1.0;
    "tan" x.tan(), 0.6 1.0;
    "asin" x.asin(), 0.6 1.0;
    "acos" x.acos(), 0.6 1.0;
    "atan" x.atan(), 0.6 1.0;
    "sinh" x.sinh(), 0.6 2.0;
    "cosh" x.cosh(), 0.6 1.0;
    "tanh" x.tanh(), 2.4 1.5;
    "asinh" x.asinh(), 0.6 1.6;
    "acosh" x.acosh(), 0.6 2.0;
    "atanh" x.atanh(), 0.6 1.5;
    "sigmoid" x.sigmoid(), 2.5 2.0;
    "log_sigmoid" x.log_sigmoid(), 1.5 1.6;
    "softplus" x.softplus(T::ONE, T::from_f64(20.0)), 1.6 1.6;
    "silu" x.silu(), 3.5 3.0;
    "mish" x.mish(), 4.0 3.0;
    "softsign" x.softsign(), 1.6 1.5;
    "elu" x.elu(T::ONE), 0.6 1.0;
    "selu" x.selu(), 2.0 3.0;
    "gelu" x.gelu(), 1.6 8.0;
    "gelu_tanh" x.gelu_tanh(), 200.0 900.0;
    "erf" x.erf(), 0.6 1.0;
    "erfc" x.erfc(), 0.6 2.5;
}

/// What counts less where numbers are subnormal: of the logistic function,
/// which is 0 there, all; of functions which are `x` times another, half a unit
/// of that counts `|x|` times.
fn lost_below(name: &str, x: f64, exact: f64, smallest: f64) -> f64 {
    let (factor, lost) = match name {
        "sigmoid" => (1.0, f64::INFINITY),
        "silu" | "gelu_tanh" => (x.abs(), f64::INFINITY),
        "mish" | "gelu" => (x.abs(), 0.5 * x.abs()),
        _ => return 0.0,
    };
    if exact.abs() < factor * smallest { lost } else { 0.0 }
}

#[test]
fn single_precision_over_the_whole_range() {
    let step = if cfg!(debug_assertions) { 40_009 } else { 1_009 };
    let (mut singles, mut doubles) = (Tape::new(), Tape::new_f64());
    let values: Vec<f32> = (0..u32::MAX).step_by(step).map(f32::from_bits).collect();
    let special = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MIN_POSITIVE, 1e-45, 88.72, -103.97];
    let mut failures = String::new();
    for &(name, bound, _) in BOUNDS {
        let mut worst = Worst::default();
        for block in values.chunks(65_536).chain([&special[..]]) {
            singles.rewind();
            doubles.rewind();
            let wide: Vec<f64> = block.iter().map(|&x| x.into()).collect();
            let got = apply(name, singles.input([block.len()], block));
            let exact = apply(name, doubles.input([block.len()], &wide));
            for ((&x, &got), &exact) in wide.iter().zip(got.as_slice()).zip(exact.as_slice()) {
                let lost = lost_below(name, x, exact, f32::MIN_POSITIVE.into());
                worst.add(error_f32(got, exact) - lost, x);
            }
        }
        worst.check(&format!("f32 {name}"), bound, &mut failures);
    }
    assert!(failures.is_empty(), "{failures}");
}

/// Functions of two numbers over the whole range of one, with all for which C
/// has a rule of its own.
#[test]
fn functions_of_two_in_single_precision() {
    let step = if cfg!(debug_assertions) { 400_009 } else { 40_009 };
    let special = [0.0, -0.0, 1.0, -1.0, 2.0, -3.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-45, f32::MAX];
    let ordinary = [0.3, -0.5, 0.5, 2.5, 3.0, 7.0, 16.0, 1e3, -1e3, 1e-3, 1e9, 16_777_215.0];
    let values: Vec<f32> = (0..u32::MAX).step_by(step).map(f32::from_bits).chain(special).collect();
    let tape = Tape::new();
    let x = tape.input([values.len()], &values);
    let mut worst = BTreeMap::<&str, Worst>::new();
    for p in ordinary.into_iter().chain(special) {
        let y = tape.full([values.len()], p);
        let results = [
            ("pow", x.pow(y), f64::powf as fn(f64, f64) -> f64),
            ("atan2", x.atan2(y), f64::atan2),
            ("atan2 turned", y.atan2(x), |x, y| y.atan2(x)),
            ("hypot", x.hypot(y), f64::hypot),
        ];
        for (name, got, exact) in results {
            let worst = worst.entry(name).or_default();
            for (&x, &got) in values.iter().zip(got.as_slice()) {
                worst.add(error_f32(got, exact(x.into(), p.into())), x.into());
            }
        }
    }
    let mut failures = String::new();
    worst.iter().for_each(|(name, worst)| worst.check(&format!("f32 {name}"), 0.6, &mut failures));
    assert!(failures.is_empty(), "{failures}");
}

/// The largest error, and where it is.
#[derive(Default)]
struct Worst {
    error: f64,
    at: f64,
}

impl Worst {
    fn add(&mut self, error: f64, at: f64) {
        // NaN: one of the two numbers is.
        let error = if error.is_nan() { f64::INFINITY } else { error };
        if error > self.error {
            *self = Self { error, at };
        }
    }

    fn check(&self, what: &str, bound: f64, failures: &mut String) {
        let Self { error, at } = self;
        println!("{what}: {error:.2} at {at:e}");
        if *error > bound {
            *failures += &format!("{what}: {error} units at {at:e}, more than {bound}\n");
        }
    }
}

/// Units of the last place of the exact value; 0 if both are NaN, or both the
/// same infinity.
fn error_f32(got: f32, exact: f64) -> f64 {
    let nearest = exact as f32;
    if got.is_nan() && exact.is_nan() || got.is_infinite() && got == nearest {
        return 0.0;
    }
    if got.is_infinite() || nearest.is_infinite() {
        // One step beyond the largest number.
        return (f64::from(got.clamp(f32::MIN, f32::MAX)) - exact.clamp(f32::MIN.into(), f32::MAX.into())).abs()
            / f64::from(f32::MAX.next_down() - f32::MAX).abs();
    }
    if exact == 0.0 && got == 0.0 && exact.is_sign_negative() != got.is_sign_negative() {
        // A zero of the other sign.
        return f64::INFINITY;
    }
    (f64::from(got) - exact).abs() / f64::from(nearest.abs().next_up() - nearest.abs())
}

#[test]
fn double_precision() {
    let mut worst = BTreeMap::<&str, Worst>::new();
    let tape = Tape::new_f64();
    for line in include_str!("fixtures/accuracy.txt").lines() {
        let mut words = line.split(' ');
        let name = words.next().unwrap();
        let mut number = || f64::from_bits(u64::from_str_radix(words.next().unwrap(), 16).unwrap());
        // The exact value in two parts.
        let [x, high, low] = [number(), number(), number()];
        let got = apply(name, tape.scalar(x)).item();
        let error = (got - high - low).abs() / (high.abs().next_up() - high.abs());
        worst.entry(name).or_default().add(error - lost_below(name, x, high, f64::MIN_POSITIVE), x);
    }
    let mut failures = String::new();
    for &(name, _, bound) in BOUNDS {
        worst[name].check(&format!("f64 {name}"), bound, &mut failures);
    }
    assert!(failures.is_empty(), "{failures}");
}

/// What the fixture has no line for: where there is no value, in both types.
#[test]
fn outside_of_the_domain() {
    let (singles, doubles) = (Tape::new(), Tape::new_f64());
    let below = [-1e-40, -0.5, -1.5, -6.710_630_8e7, -1e30, f64::NEG_INFINITY];
    let outside = [1.000_001, -1.000_001, 1e9, -1e30, f64::INFINITY, f64::NEG_INFINITY];
    let under_one = [0.999_999, 0.0, -0.5, -1.0, -6.710_630_8e7, -1e30, f64::NEG_INFINITY];
    let infinite = [f64::INFINITY, f64::NEG_INFINITY];
    let functions: [(&str, &[f64]); 12] = [
        ("ln", &below),
        ("log2", &below),
        ("log10", &below),
        ("sqrt", &below),
        ("rsqrt", &below),
        ("ln_1p", &below[2..]),
        ("asin", &outside),
        ("acos", &outside),
        ("atanh", &outside),
        ("acosh", &under_one),
        ("sin", &infinite),
        ("tan", &infinite),
    ];
    for (name, points) in functions {
        for &x in points {
            let single = apply(name, singles.scalar(x as f32)).item();
            let double = apply(name, doubles.scalar(x)).item();
            assert!(single.is_nan() && double.is_nan(), "{name} of {x}: {single} and {double}");
        }
    }
    for (name, _, _) in BOUNDS {
        let single = apply(name, singles.scalar(f32::NAN)).item();
        let double = apply(name, doubles.scalar(f64::NAN)).item();
        assert!(single.is_nan() && double.is_nan(), "{name} of NaN: {single} and {double}");
    }
}
