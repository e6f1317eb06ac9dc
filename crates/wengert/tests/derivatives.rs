//! Products with Jacobians and Hessians, whole ones, third order, and losses
//! which contain derivatives.

use rand::SeedableRng;
use rand::rngs::StdRng;
use wengert::{Array, Gradients, Params, Tape, Tensor, functional};

fn close(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-9 * b.abs().max(1.0)), "{a:?}\n{b:?}");
}

fn curve<'t>(x: Tensor<'t, f64>) -> Tensor<'t, f64> {
    (x.sin() * x.exp()).cumsum(0) * x.square().sum()
}

#[test]
fn products_are_those_of_the_whole_jacobian() {
    let tape = Tape::new_f64();
    let x = tape.tensor([0.3, -0.7, 1.1]).require_grad();
    let y = curve(x);
    let jacobian = y.jacobian(x);
    assert_eq!(jacobian.shape(), [3, 3]);
    let (t, c) = (tape.tensor([1.0, -2.0, 0.5]), tape.tensor([0.2, 0.4, -1.0]));
    close(&y.jvp([x], [t]).to_vec(), &jacobian.matmul(t).to_vec());
    close(&y.vjp(c, [x])[0].to_vec(), &c.matmul(jacobian).to_vec());
    // <c, J t> = <J^T c, t>
    close(&[c.dot(y.jvp([x], [t])).item()], &[y.vjp(c, [x])[0].dot(t).item()]);
}

#[test]
fn hessians_are_symmetric_and_agree_with_products() {
    let tape = Tape::new_f64();
    let x = tape.tensor([0.3, -0.7, 1.1]).require_grad();
    let f = curve(x).square().mean();
    let h = f.hessian(x);
    close(&h.to_vec(), &h.t().to_vec());
    let v = tape.tensor([1.0, 2.0, 3.0]);
    close(&f.hvp([x], [v])[0].to_vec(), &h.matmul(v).to_vec());
    // Third order: the derivative of the trace, against differences.
    let [third] = h.trace().grad([x]);
    let trace = |x: &[f64]| {
        let tape = Tape::new_f64();
        let x = tape.input([3], x).require_grad();
        curve(x).square().mean().hessian(x).trace().item()
    };
    for i in 0..3 {
        let at = |d: f64| {
            let mut x = [0.3, -0.7, 1.1];
            x[i] += d;
            trace(&x)
        };
        let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
        assert!((third.to_vec()[i] - difference).abs() < 1e-5 * difference.abs().max(1.0));
    }
}

#[test]
fn linear_functions_have_zero_hessians() {
    let x = Array::new([2], vec![1.0, 2.0]);
    let v = Array::new([2], vec![3.0, 4.0]);
    assert_eq!(functional::hessian(|_, x| x.sum() * 3.0, &x).as_slice(), &[0.0; 4]);
    assert_eq!(functional::hvp(|_, [x]| x.sum(), [&x], [&v])[0].as_slice(), &[0.0; 2]);
    assert_eq!(functional::grad(|tape, [_]| tape.scalar(5.0), [&x])[0].as_slice(), &[0.0; 2]);
    assert_eq!(functional::jacobian(|_, x| x.unsqueeze(0) * 2.0, &x).shape(), [1, 2, 2]);
}

/// Rows are gathered without a copy of the whole for each of them.
#[test]
fn a_large_jacobian_takes_memory_for_itself_and_its_sweeps() {
    let tape = Tape::new_f64();
    let (rows, columns) = (300, 200);
    let x = tape.linspace(-1.0, 1.0, columns).require_grad();
    let y = tape.linspace(0.0, 1.0, rows * columns).reshape([rows, columns]).sin().matmul(x.square());
    let before = tape.stats().live_bytes;
    let jacobian = y.jacobian(x);
    assert_eq!(jacobian.shape(), [rows, columns]);
    let wholes = (tape.stats().live_bytes - before) / (rows * columns * size_of::<f64>());
    // The copies of nine levels, and a few vectors for the sweep of each row.
    assert!(wholes < 9 + 10, "as much memory as {wholes} of the result");
    let at = |i: usize, j: usize| {
        let w = ((i * columns + j) as f64 / (rows * columns - 1) as f64).sin();
        2.0 * w * (-1.0 + 2.0 * j as f64 / (columns - 1) as f64)
    };
    let expected: Vec<f64> = (0..rows * columns).map(|k| at(k / columns, k % columns)).collect();
    close(&jacobian.to_vec(), &expected);
}

/// A penalty on the norm of a critic's gradient brings that norm to 1
/// (Gulrajani et al., arXiv:1704.00028).
#[test]
fn a_gradient_penalty_trains() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut params = Params::new_f64();
    let w1 = params.normal("w1", [2, 16], 0.0, 1.0, &mut rng);
    let b1 = params.zeros("b1", [16]);
    let w2 = params.normal("w2", [16, 1], 0.0, 1.0, &mut rng);
    let (mut tape, mut grads) = (Tape::new_f64(), Gradients::new());
    let mut penalties = Vec::new();
    for _ in 0..300 {
        tape.rewind();
        let x = tape.randn([32, 2], &mut rng).require_grad();
        let critic = (x.matmul(&params[w1]) + &params[b1]).tanh().matmul(&params[w2]);
        let [slope] = critic.sum().grad([x]);
        let penalty = (slope.norm_axes(2.0, 1) - 1.0).square().mean();
        grads.zero();
        penalty.backward_into(&mut grads);
        penalties.push(penalty.item());
        let slab = grads.slab(&params).unwrap();
        params.values_mut().iter_mut().zip(slab).for_each(|(w, g)| *w -= 0.03 * g);
    }
    let mean = |p: &[f64]| p.iter().sum::<f64>() / p.len() as f64;
    let (first, last) = (mean(&penalties[..10]), mean(&penalties[290..]));
    assert!(last < 0.1 * first && last < 0.1, "{first} {last}");
}

/// u'' + u = 0, u(0) = 0, u'(0) = 1: a network learns the sine.
#[test]
fn a_differential_equation_is_learnt() {
    let mut rng = StdRng::seed_from_u64(3);
    let mut params = Params::new_f64();
    let w1 = params.normal("w1", [1, 12], 0.0, 1.0, &mut rng);
    let b1 = params.normal("b1", [12], 0.0, 1.0, &mut rng);
    let w2 = params.normal("w2", [12, 1], 0.0, 0.3, &mut rng);
    let (mut tape, mut grads) = (Tape::new_f64(), Gradients::new());
    let (mut m, mut v) = (vec![0.0; params.values().len()], vec![0.0; params.values().len()]);
    let mut losses = Vec::new();
    for step in 1..=600 {
        tape.rewind();
        let t = tape.linspace(0.0, 2.0, 20).reshape([20, 1]).require_grad();
        // u = t + t^2 n(t) meets both conditions at 0.
        let u = t + t.square() * (t.matmul(&params[w1]) + &params[b1]).tanh().matmul(&params[w2]);
        let [du] = u.sum().grad([t]);
        let [d2u] = du.sum().grad([t]);
        let loss = (d2u + u).square().mean();
        grads.zero();
        loss.backward_into(&mut grads);
        losses.push(loss.item());
        let slab = grads.slab(&params).unwrap();
        for (i, w) in params.values_mut().iter_mut().enumerate() {
            m[i] = 0.9 * m[i] + 0.1 * slab[i];
            v[i] = 0.99 * v[i] + 0.01 * slab[i] * slab[i];
            let (a, b) = (m[i] / (1.0 - 0.9f64.powi(step)), v[i] / (1.0 - 0.99f64.powi(step)));
            *w -= 0.01 * a / (b.sqrt() + 1e-8);
        }
    }
    assert!(losses[599] < 1e-3 * losses[0], "{} {}", losses[0], losses[599]);
    tape.rewind();
    let t = tape.linspace(0.0, 2.0, 11).reshape([11, 1]);
    let u = t + t.square() * (t.matmul(&params[w1]) + &params[b1]).tanh().matmul(&params[w2]);
    assert!((u - t.sin()).abs().amax().item() < 0.02);
}

/// `a^b` is smooth where a factor of its slopes is 0: at `b = 0` and at `a = 1`.
#[test]
fn mixed_derivatives_of_powers() {
    for a in [1.0f64, 0.5, 3.0] {
        let ln = a.ln();
        let expected = [
            ("a", 0.0),
            ("b", ln),
            ("ab", 1.0 / a),
            ("ba", 1.0 / a),
            ("bb", ln * ln),
            ("aab", -1.0 / (a * a)),
            ("aba", -1.0 / (a * a)),
            ("baa", -1.0 / (a * a)),
            ("abb", 2.0 * ln / a),
            ("bab", 2.0 * ln / a),
            ("bba", 2.0 * ln / a),
            ("aabb", 2.0 * (1.0 - ln) / (a * a)),
            ("bbaa", 2.0 * (1.0 - ln) / (a * a)),
            ("abab", 2.0 * (1.0 - ln) / (a * a)),
        ];
        for (by, expected) in expected {
            let tape = Tape::new_f64();
            let (x, y) = (tape.scalar(a).require_grad(), tape.scalar(0.0).require_grad());
            let derivative = by.chars().fold(x.pow(y), |f, by| f.grad([if by == 'a' { x } else { y }])[0]);
            let got = derivative.item();
            assert!((got - expected).abs() < 1e-12, "{a}^0 by {by}: {got}, not {expected}");
        }
    }
}
