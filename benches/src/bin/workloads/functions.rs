//! W4, W5 and W7: a value and its gradients, nothing trained.

use wengert::Params;

use crate::data::{Data, Draw};
use crate::harness::{Workload, differentiate};

/// A chain of 1000 operations on one element: what an entry of the list costs.
pub(crate) fn w4() {
    let params = &mut Params::new();
    let [x, a, b] = [("x", 0.5), ("a", 0.1), ("b", 1.1)].map(|(name, value)| params.full(name, [1], value));

    differentiate(Workload::nanoseconds_per_1000th("W4"), params, |tape, params| {
        let (a, b) = (tape.param(&params[a]), tape.param(&params[b]));
        let mut v = tape.param(&params[x]);
        for i in 0..1000 {
            v = match i % 3 {
                0 => v + a,
                1 => v * b,
                _ => v.tanh(),
            };
        }
        v
    });
}

/// Elementwise operations and a normalisation: bound by memory.
pub(crate) fn w5() {
    const N: usize = 1024;
    let (data, params) = (&mut Data::new(), &mut Params::new());
    let x = data.param(params, "w5.x", [N, N], Draw::Normal(0.0, 1.0));
    let mut row = |name, mean| data.param(params, name, [N], Draw::Normal(mean, 0.2));
    let (a, b) = (row("w5.a", 1.0), row("w5.b", 0.0));
    let (gain, shift) = (row("w5.g", 1.0), row("w5.be", 0.0));

    differentiate(Workload::milliseconds("W5"), params, |tape, params| {
        let [x, gain, shift] = [x, gain, shift].map(|p| tape.param(&params[p]));
        let h = (x * &params[a] + &params[b]).gelu_tanh();
        h.layer_norm(1, Some(gain), Some(shift), 1e-5).mean()
    });
}

/// Rosenbrock's function, `Σ 100 (x[i+1] - x[i]²)² + (1 - x[i])²`.
pub(crate) fn w7() {
    const N: usize = 10_000;
    let (data, params) = (&mut Data::new(), &mut Params::new());
    let x = data.param(params, "w7.x", [N], Draw::Uniform(-1.0, 1.0));

    differentiate(Workload::microseconds("W7"), params, |tape, params| {
        let x = tape.param(&params[x]);
        let (head, tail) = (x.narrow(0, 0, N - 1), x.narrow(0, 1, N - 1));
        (100.0 * (tail - head.square()).square() + (1.0 - head).square()).sum()
    });
}
