//! What the benchmarks share: a multi-layer perceptron written against the
//! engine alone, and settings for short runs.

use std::time::Duration;

use criterion::Criterion;
use rand::SeedableRng;
use rand::rngs::StdRng;
use wengert::{Gradients, Param, Params, Tape, Tensor};

/// Short measurements: the quantities here are stable within a few percent,
/// and the whole suite should end within minutes.
pub fn settings() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30)
        .without_plots()
}

/// The generator of every benchmark's data.
pub fn rng() -> StdRng {
    StdRng::seed_from_u64(7)
}

/// A multi-layer perceptron with tanh or relu between its layers.
pub struct Mlp {
    layers: Vec<(Param, Param)>,
    relu: bool,
}

impl Mlp {
    /// Layers of these widths; uniform initialisation by `1 / sqrt(inputs)`.
    pub fn new(params: &mut Params, widths: &[usize], relu: bool) -> Self {
        let mut rng = rng();
        let layer = |pair: &[usize]| {
            let bound = 1.0 / (pair[0] as f32).sqrt();
            let weight = params.uniform("weight", [pair[0], pair[1]], -bound, bound, &mut rng);
            let bias = params.uniform("bias", [pair[1]], -bound, bound, &mut rng);
            (weight, bias)
        };
        Mlp { layers: widths.windows(2).map(layer).collect(), relu }
    }

    /// The network's output.
    pub fn forward<'t>(&self, params: &'t Params, mut x: Tensor<'t>) -> Tensor<'t> {
        for (i, &(weight, bias)) in self.layers.iter().enumerate() {
            x = x.linear(&params[weight], Some(x.tape().param(&params[bias])));
            if i + 1 < self.layers.len() {
                x = if self.relu { x.relu() } else { x.tanh() };
            }
        }
        x
    }
}

/// Everything a training loop keeps between its turns.
pub struct Loop {
    /// The parameters.
    pub params: Params,
    /// The network.
    pub model: Mlp,
    /// The tape.
    pub tape: Tape,
    /// The gradients.
    pub grads: Gradients,
}

impl Loop {
    /// A network of these widths, and what trains it.
    pub fn new(widths: &[usize], relu: bool) -> Self {
        let mut params = Params::new();
        let model = Mlp::new(&mut params, widths, relu);
        Loop { params, model, tape: Tape::new(), grads: Gradients::new() }
    }

    /// One step of plain gradient descent.
    pub fn descend(&mut self, rate: f32) {
        if let Some(slab) = self.grads.slab(&self.params) {
            for (w, g) in self.params.values_mut().iter_mut().zip(slab) {
                *w -= rate * g;
            }
        }
    }
}
