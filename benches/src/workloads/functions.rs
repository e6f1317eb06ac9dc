//! W4, W5 and W7: a value and its gradients, nothing trained.

use wengert::{Params, Tensor, fused};

use crate::data::{Data, Draw};
use crate::program::{Program, differentiation};

/// How an elementwise expression is written.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// By plain operations.
    Plain,
    /// As one operation, by [`fused!`].
    Fused,
}

fused! {
    fn film(x, a, b) {
        (x * a + b).gelu_tanh()
    }

    fn valley(x, next) {
        100.0 * (next - x.square()).square() + (1.0 - x).square()
    }
}

impl Form {
    /// `gelu(x a + b)`, of three tensors.
    pub fn film<'t>(self, x: Tensor<'t>, a: Tensor<'t>, b: Tensor<'t>) -> Tensor<'t> {
        match self {
            Form::Plain => (x * a + b).gelu_tanh(),
            Form::Fused => film(x, a, b),
        }
    }

    /// The terms of Rosenbrock's function.
    pub fn valley<'t>(self, x: Tensor<'t>, next: Tensor<'t>) -> Tensor<'t> {
        match self {
            Form::Plain => 100.0 * (next - x.square()).square() + (1.0 - x).square(),
            Form::Fused => valley(x, next),
        }
    }
}

/// So many operations on one element, each on the result of the one before:
/// what an entry of the list costs.
pub fn chain(operations: usize) -> impl Program {
    let mut params = Params::new();
    let [x, a, b] = [("x", 0.5), ("a", 0.1), ("b", 1.1)].map(|(name, value)| params.full(name, [1], value));

    differentiation(params, move |tape, params| {
        let (a, b) = (tape.param(&params[a]), tape.param(&params[b]));
        let mut v = tape.param(&params[x]);
        for i in 0..operations {
            v = match i % 3 {
                0 => v + a,
                1 => v * b,
                _ => v.tanh(),
            };
        }
        v
    })
}

/// `mean(layer_norm(gelu(x a + b)))`, elementwise operations and a
/// normalisation: bound by memory.
pub fn normalised(mut data: Data, form: Form, [rows, columns]: [usize; 2]) -> impl Program {
    let mut params = Params::new();
    let x = data.param(&mut params, "w5.x", [rows, columns], Draw::Normal(0.0, 1.0));
    let mut row = |name, mean| data.param(&mut params, name, [columns], Draw::Normal(mean, 0.2));
    let (a, b) = (row("w5.a", 1.0), row("w5.b", 0.0));
    let (gain, shift) = (row("w5.g", 1.0), row("w5.be", 0.0));

    differentiation(params, move |tape, params| {
        let [x, a, b, gain, shift] = [x, a, b, gain, shift].map(|p| tape.param(&params[p]));
        form.film(x, a, b).layer_norm(1, Some(gain), Some(shift), 1e-5).mean()
    })
}

/// Rosenbrock's function, `Σ 100 (x[i+1] - x[i]²)² + (1 - x[i])²`.
pub fn rosenbrock(mut data: Data, form: Form, variables: usize) -> impl Program {
    let mut params = Params::new();
    let x = data.param(&mut params, "w7.x", [variables], Draw::Uniform(-1.0, 1.0));

    differentiation(params, move |tape, params| {
        let x = tape.param(&params[x]);
        form.valley(x.narrow(0, 0, variables - 1), x.narrow(0, 1, variables - 1)).sum()
    })
}
