//! W1 and W2: multi-layer perceptrons.

use wengert::{Params, Tape, Tensor};
use wengert_nn::{Adam, Linear, Sgd};

use crate::data::{Batches, Data, Draw};
use crate::harness::{Workload, train};

/// A layer drawn as PyTorch draws it.
fn linear(data: &mut Data, params: &mut Params, name: &str, widths: [usize; 2]) -> Linear {
    data.linear(params, name, widths, [Draw::for_inputs(widths[0]); 2])
}

/// Exclusive or on 4 points: all overhead.
pub(crate) fn w1() {
    let (data, params) = (&mut Data::new(), &mut Params::new());
    let first = linear(data, params, "w1.l1", [2, 16]);
    let second = linear(data, params, "w1.l2", [16, 16]);
    let third = linear(data, params, "w1.l3", [16, 1]);
    let (x, y) = ([0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0]);

    train(Workload::steps("W1", 500), params, Sgd::new(0.05), |tape, params, _| {
        let h = first.forward(params, tape.input([4, 2], &x)).tanh();
        let h = second.forward(params, h).tanh();
        third.forward(params, h).mse_loss(tape.input([4, 1], &y))
    });
}

struct Mlp {
    layers: [Linear; 3],
}

impl Mlp {
    fn loss<'t>(&self, params: &'t Params, tape: &'t Tape, pictures: &[f32], labels: &[usize]) -> Tensor<'t> {
        let [first, second, third] = &self.layers;
        let x = tape.input([labels.len(), 784], pictures);
        let h = first.forward(params, x).relu();
        let h = second.forward(params, h).relu();
        third.forward(params, h).cross_entropy(labels)
    }
}

/// Pictures of digits in ten classes: nearly all matrix products.
pub(crate) fn w2() {
    let (data, params) = (&mut Data::new(), &mut Params::new());
    let pictures = data.values("w2.x", 8 * 64 * 784, Draw::Uniform(0.0, 1.0));
    let batches = Batches::new(8, pictures, data.indices("w2.y", 8 * 64, 10));
    let mut layer = |name, widths| linear(data, params, name, widths);
    let model = Mlp { layers: [layer("w2.l1", [784, 512]), layer("w2.l2", [512, 256]), layer("w2.l3", [256, 10])] };

    train(Workload::steps("W2", 50), params, Adam::new(1e-3), |tape, params, turn| {
        let (pictures, labels) = batches.of(turn);
        model.loss(params, tape, pictures, labels)
    });
}
