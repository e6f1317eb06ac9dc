//! Ops against PyTorch's figures: values, gradients by both sweeps, and
//! gradients of gradients.

mod cases;
mod linalg;
mod operations;

use wengert::{Array, Scalar, Tape, Tensor};

type T<'t> = Tensor<'t, f64>;

fn arrays(text: &str) -> Vec<Array<f64>> {
    let array = |text: &str| {
        let (shape, data) = text.split_once(':').unwrap();
        let shape: Vec<usize> = shape.split(',').filter(|s| !s.is_empty()).map(|s| s.parse().unwrap()).collect();
        let data: Vec<f64> = data.split(',').filter(|s| !s.is_empty()).map(|s| s.parse().unwrap()).collect();
        Array::new(shape, data)
    };
    text.split(' ').map(array).collect()
}

fn weights<'t>(tape: &'t Tape<f64>, x: T<'t>, a: f64, b: f64) -> T<'t> {
    let w: Vec<f64> = (0..x.len()).map(|i| (a * i as f64 + b).cos()).collect();
    tape.input(x.shape(), &w)
}

/// Equal (NaN too), or near beside the size of what is expected.
fn close(got: f64, expected: f64, tolerance: f64) -> bool {
    let near = || (got - expected).abs() <= tolerance * expected.abs().max(1.0);
    got == expected || got.is_nan() && expected.is_nan() || expected.is_finite() && near()
}

fn compare(what: &str, got: T<'_>, expected: &Array<f64>, wrong: &mut String) {
    let same = got.shape() == expected.shape()
        && got.to_vec().iter().zip(expected.as_slice()).all(|(&a, &b)| close(a, b, 1e-9));
    if !same {
        let (a, b) = (got.shape(), expected.shape());
        *wrong += &format!("{what}: {a:?} {:?}, PyTorch {b:?} {:?}\n", got.to_vec(), expected.as_slice());
    }
}

/// Runs every line of a fixture.
fn check(figures: &str, run: impl for<'t> Fn(&'t Tape<f64>, &str, &[T<'t>]) -> T<'t>) {
    let mut wrong = String::new();
    for line in figures.lines().filter(|l| !l.starts_with('#')) {
        let [name, inputs, value, first, second] = line.split('|').collect::<Vec<_>>().try_into().unwrap();
        let what = format!("{name} {inputs}");
        let tape = Tape::new_f64();
        let x: Vec<T<'_>> = arrays(inputs).into_iter().map(|a| tape.tensor(a).require_grad()).collect();
        let y = run(&tape, name, &x);
        compare(&what, y, &arrays(value)[0], &mut wrong);
        let loss = (y * weights(&tape, y, 0.7, 0.3)).sum();
        // `-`: PyTorch's own figure is NaN or infinite where the derivative is not.
        let first = arrays(first);
        let second = if second == "-" { None } else { Some(arrays(second)) };
        let plain = loss.backward();
        let grads: Vec<T<'_>> = match x.len() {
            1 => loss.grad([x[0]]).to_vec(),
            2 => loss.grad([x[0], x[1]]).to_vec(),
            3 => loss.grad([x[0], x[1], x[2]]).to_vec(),
            _ => loss.grad([x[0], x[1], x[2], x[3]]).to_vec(),
        };
        let mut total = tape.scalar(0.0);
        for (i, &g) in grads.iter().enumerate() {
            compare(&format!("{what}: gradient {i}"), g, &first[i], &mut wrong);
            let p = plain.get(x[i]).map_or_else(|| tape.zeros(x[i].shape()), |p| tape.input(p.shape(), p.as_slice()));
            compare(&format!("{what}: plain gradient {i}"), p, &first[i], &mut wrong);
            total = total + (g * weights(&tape, g, 1.1, 0.5)).sum();
        }
        let Some(second) = second else { continue };
        for (i, &x) in x.iter().enumerate() {
            let h = if total.requires_grad() { total.grad([x])[0] } else { tape.zeros(x.shape()) };
            compare(&format!("{what}: second {i}"), h, &second[i], &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// How the memory of an operand lies.
#[derive(Clone, Copy, Debug)]
enum Layout {
    Contiguous,
    /// Its axes in reverse order.
    Transposed,
    /// Backward, with gaps.
    Sparse,
}

fn laid_out<'t, T: Scalar>(x: Tensor<'t, T>, layout: Layout) -> Tensor<'t, T> {
    let reversed: Vec<isize> = (0..x.rank() as isize).rev().collect();
    match layout {
        Layout::Contiguous => x,
        Layout::Transposed => x.permute(&reversed[..]).contiguous().permute(&reversed[..]),
        Layout::Sparse => x.tape().stack([x.flip(..), x.flip(..)], -1).select(-1, 1).flip(..),
    }
}

/// What is wrong with one line of the drawn cases.
fn differences<T: Scalar>(line: &str, layout: Layout, tolerance: f64) -> String {
    let [name, inputs, value, first, second] = line.split('|').collect::<Vec<_>>().try_into().unwrap();
    let tape = Tape::<T>::with_capacity(0, 0);
    let mut wrong = String::new();
    let mut compare = |what: &str, got: Tensor<'_, T>, expected: &Array<f64>| {
        if got.shape() != expected.shape() {
            wrong += &format!("  {what}: shape {:?}, PyTorch {:?}\n", got.shape(), expected.shape());
            return;
        }
        // A second derivative which PyTorch itself does not have is anybody's.
        let open = |x: f64| what.starts_with("second") && x.is_nan();
        for (i, (got, &expected)) in got.to_vec().into_iter().zip(expected.as_slice()).enumerate() {
            if !open(expected) && !close(got.to_f64(), expected, tolerance) {
                wrong += &format!("  {what} [{i}]: {got}, PyTorch {expected}\n");
            }
        }
    };
    let weights = |x: Tensor<'_, T>, a: f64, b: f64| -> Vec<T> {
        (0..x.len()).map(|i| T::from_f64((a * i as f64 + b).cos())).collect()
    };
    let mut leaves = Vec::new();
    let mut x = Vec::new();
    for text in inputs.split(' ').filter(|t| !t.is_empty()) {
        let constant = text.starts_with('!');
        let array = arrays(text.trim_start_matches('!'))[0].map(T::from_f64);
        let leaf = tape.tensor(array);
        let leaf = if constant { leaf } else { leaf.require_grad() };
        leaves.extend((!constant).then_some(leaf));
        x.push(laid_out(leaf, layout));
    }
    let case = cases::Case::new(name);
    let y = cases::run(&tape, &case, &x);
    compare("value", y, &arrays(value)[0]);
    if first == "-" || !y.requires_grad() {
        if first != "-" && arrays(first).iter().any(|g| g.iter().any(|&g| g != 0.0)) {
            compare("no gradient", y, &arrays(first)[0]);
        }
        return wrong;
    }
    let loss = (y * tape.input(y.shape(), &weights(y, 0.7, 0.3))).sum();
    let plain = loss.backward();
    let mut total = tape.scalar(T::ZERO);
    for (i, (&x, expected)) in leaves.iter().zip(arrays(first)).enumerate() {
        let [g] = loss.grad([x]);
        compare(&format!("gradient {i}"), g, &expected);
        let p = plain.get(x).map_or_else(|| tape.zeros(x.shape()), |p| tape.input(p.shape(), p.as_slice()));
        compare(&format!("plain gradient {i}"), p, &expected);
        total = total + (g * tape.input(g.shape(), &weights(g, 1.1, 0.5))).sum();
    }
    if second != "-" {
        for (i, (&x, expected)) in leaves.iter().zip(arrays(second)).enumerate() {
            let h = if total.requires_grad() { total.grad([x])[0] } else { tape.zeros(x.shape()) };
            compare(&format!("second {i}"), h, &expected);
        }
    }
    wrong
}

/// Runs every line of the drawn cases.
fn check_cases(figures: &str) {
    let mut wrong = String::new();
    for line in figures.lines().filter(|l| !l.starts_with('#')) {
        let mut note = |what: String, found: String| {
            if !found.is_empty() {
                wrong += &format!("{what} {}\n{found}", &line[..line.len().min(400)]);
            }
        };
        for layout in [Layout::Contiguous, Layout::Transposed, Layout::Sparse] {
            note(format!("{layout:?}"), differences::<f64>(line, layout, 1e-9));
        }
        if !line.contains("f64=") {
            note("f32".to_owned(), differences::<f32>(line, Layout::Contiguous, 1e-3));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
#[ignore = "scratch"]
fn scratch() {
    let text = std::fs::read_to_string(std::env::var("CASES").unwrap()).unwrap();
    let (mut wrong, mut seen) = (String::new(), 0);
    for line in text.lines() {
        seen += 1;
        let caught = std::panic::catch_unwind(|| check_cases(line));
        if let Err(e) = caught {
            let message =
                e.downcast_ref::<String>().cloned().or(e.downcast_ref::<&str>().map(|s| s.to_string())).unwrap();
            wrong += &format!("== {}\n{message}\n", &line[..line.len().min(150)]);
        }
    }
    std::fs::write(std::env::var("REPORT").unwrap(), &wrong).unwrap();
    println!("{seen} cases, {} wrong", wrong.matches("\n== ").count() + usize::from(!wrong.is_empty()));
}
