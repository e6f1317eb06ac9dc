//! Ops against PyTorch's figures: values, gradients by both sweeps, and
//! gradients of gradients.

mod cases;
mod drawn;
mod linalg;
mod operations;

use wengert::{Array, Tape, Tensor};

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
