//! Large tensors are swept some rows at a time: gradients are those of the
//! recorded sweep, which knows nothing of it.

use wengert::{Gradients, Scalar, Tape, Tensor, fused};

fused! {
    fn film(x, a, b) {
        (x * a + b).gelu_tanh()
    }
}

/// Leaves: `x`, of all rows; `w`, like it; a row, a column, a number.
type Leaves<'t, T> = [Tensor<'t, T>; 5];
type Function<T> = for<'t> fn(Leaves<'t, T>) -> Tensor<'t, T>;

fn functions<T: Scalar>() -> Vec<(&'static str, Function<T>)> {
    vec![
        ("film, layer norm, mean", |[x, _, row, _, s]| {
            (x * row + s).gelu_tanh().layer_norm(1, Some(row), None, T::from_f64(1e-5)).mean()
        }),
        ("an input which comes again", |[x, w, row, column, _]| {
            let y = (x * row).tanh();
            let z = y * column + x * w;
            (z.sigmoid() * y - x).square().sum()
        }),
        ("a cotangent which is no constant", |[x, w, row, _, s]| {
            let y = ((x + row) * s).sin() * w;
            (y * w.detach()).sum() + y.square().mean()
        }),
        ("operands with gaps", |[x, w, row, column, _]| {
            let turned = w.reshape([w.shape()[1], w.shape()[0]]).t();
            ((x * turned).tanh() - row * column).exp().mean_axes(1).square().sum()
        }),
        ("one expression", |[x, w, row, column, s]| {
            let y = film(film(x, row, column), w, s);
            (y.rms_norm(1, None, T::from_f64(1e-5)) * x).mean()
        }),
        ("a product within, and an intermediate of two", |[x, w, row, _, s]| {
            let y = (x * row).tanh();
            let product = y.matmul(row.outer(row.detach()) * s);
            let z = (product + y) * w;
            (z.tanh() + s).square().sum()
        }),
        ("long", |[x, w, row, column, s]| {
            let mut y = x;
            for i in 0..100 {
                y = match i % 5 {
                    0 => y * row,
                    1 => y + column,
                    2 => y.tanh(),
                    3 => y - w,
                    _ => y * s,
                };
            }
            y.square().mean()
        }),
        ("planes", |[x, w, row, column, _]| {
            let dims = [x.shape()[0], 4, x.shape()[1] / 4];
            let (x, w, row) = (x.reshape(dims).sin(), w.reshape(dims), row.reshape([4, dims[2]]));
            ((x * row + column.unsqueeze(2)).tanh() * w.narrow(1, 1, 1) / row).square().sum()
        }),
    ]
}

fn check<T: Scalar>(functions: &[(&str, Function<T>)], rows: usize, columns: usize, tolerance: f64) {
    for (name, function) in functions {
        let tape = Tape::<T>::default();
        let wave = |dims: &[usize], step: f64| {
            let len: usize = dims.iter().product();
            let values: Vec<T> = (0..len).map(|i| T::from_f64(0.8 + 0.5 * (i as f64 * step).sin())).collect();
            tape.input(dims, &values).require_grad()
        };
        let leaves = [
            wave(&[rows, columns], 0.37),
            wave(&[rows, columns], 0.11),
            wave(&[columns], 0.73),
            wave(&[rows, 1], 0.53),
            wave(&[], 0.0),
        ];
        let y = function(leaves);
        let mut grads = Gradients::new();
        for times in 1..=2_i32 {
            y.backward_into(&mut grads);
            for (i, (x, expected)) in leaves.iter().zip(y.grad(leaves)).enumerate() {
                let got = grads.get(*x).map_or(vec![T::ZERO; x.len()], |g| g.as_slice().to_vec());
                let expected: Vec<f64> = expected.to_vec().iter().map(|g| f64::from(times) * g.to_f64()).collect();
                let most: f64 = expected.iter().fold(1e-30, |most: f64, g| most.max(g.abs()));
                for (at, (got, expected)) in got.iter().zip(&expected).enumerate() {
                    let error: f64 = (got.to_f64() - expected).abs();
                    assert!(error <= most * tolerance, "{name}, {}: leaf {i} at {at}: {got} {expected}", T::NAME);
                }
            }
        }
    }
}

#[test]
fn gradients_are_those_of_the_recorded_sweep() {
    // The last strip is shorter; rows are few, many, or as long as a strip.
    let shapes = [(300, 1024), (40_000, 8), (130, 2112), (257, 1040)];
    if cfg!(miri) {
        // Much smaller tensors are cut there.
        return check::<f32>(&functions()[..3], 129, 2, 1e-4);
    }
    for (rows, columns) in shapes {
        check::<f32>(&functions(), rows, columns, 2e-5);
        check::<f64>(&functions(), rows, columns, 1e-13);
    }
}

#[test]
fn intermediates_which_are_retained() {
    let tape = Tape::<f32>::new();
    let x = tape.full(if cfg!(miri) { [130, 4] } else { [1000, 512] }, 0.5).require_grad();
    let y = x * 2.0;
    let z = y.square().retain_grad();
    let grads = z.tanh().sum().backward();
    let slope = 1.0 - 1f32.tanh().powi(2);
    let all = |x: Tensor<'_>, g: f32| grads.get(x).unwrap().as_slice().iter().all(|a| (a - g).abs() < 1e-5);
    assert!(all(z, slope) && all(x, 4.0 * slope));
}
