//! W1 and W2: multi-layer perceptrons.

use wengert::{Params, Tape, Tensor, Threads};
use wengert_nn::{Adam, Linear, Sgd};

use crate::data::{Batches, Data, Draw};
use crate::program::{Part, Program, Sharing, replayed, training};

/// A layer drawn as PyTorch draws it.
fn linear(data: &mut Data, params: &mut Params, name: &str, widths: [usize; 2]) -> Linear {
    data.linear(params, name, widths, [Draw::for_inputs(widths[0]); 2])
}

/// Exclusive or on 4 points.
const POINTS: [f32; 8] = [0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0];
const EITHER: [f32; 4] = [0.0, 1.0, 1.0, 0.0];

/// Three layers, 2-16-16-1.
struct Tiny([Linear; 3]);

impl Tiny {
    fn new(mut data: Data, params: &mut Params) -> Self {
        let mut layer = |name, widths| linear(&mut data, params, name, widths);
        Tiny([layer("w1.l1", [2, 16]), layer("w1.l2", [16, 16]), layer("w1.l3", [16, 1])])
    }

    fn loss<'t>(&self, params: &'t Params, x: Tensor<'t>, y: Tensor<'t>) -> Tensor<'t> {
        let [first, second, third] = &self.0;
        let h = first.forward(params, x).tanh();
        let h = second.forward(params, h).tanh();
        third.forward(params, h).mse_loss(y)
    }
}

/// Exclusive or: all overhead.
pub fn exclusive_or(data: Data) -> impl Program {
    let mut params = Params::new();
    let model = Tiny::new(data, &mut params);
    training(params, Sgd::new(0.05), Sharing::None, move |tape, params, _| {
        model.loss(params, tape.input([4, 2], &POINTS), tape.input([4, 1], &EITHER))
    })
}

/// [`exclusive_or`], recorded once and replayed.
pub fn exclusive_or_replayed(data: Data) -> impl Program {
    let mut params = Params::new();
    let model = Tiny::new(data, &mut params);
    replayed(params, Sgd::new(0.05), [POINTS.to_vec(), EITHER.to_vec()], move |tape, params, [x, y]| {
        let (x, y) = (tape.input([4, 2], x), tape.input([4, 1], y));
        ([x, y].map(Tensor::slot), model.loss(params, x, y))
    })
}

/// Three layers which tell pictures apart, and the pictures.
pub struct Classifier {
    /// The layers.
    pub layers: [Linear; 3],
    /// Pictures and their classes.
    pub batches: Batches<f32>,
}

impl Classifier {
    /// Layers between these widths, the first of which is the size of a
    /// picture and the last the number of classes.
    pub fn new(mut data: Data, params: &mut Params, widths: [usize; 4], batch: usize) -> Self {
        const BATCHES: usize = 8;
        let pictures = data.values("w2.x", BATCHES * batch * widths[0], Draw::Uniform(0.0, 1.0));
        let classes = data.indices("w2.y", BATCHES * batch, widths[3]);
        let mut layer = |name, at: usize| linear(&mut data, params, name, [widths[at], widths[at + 1]]);
        Classifier {
            layers: [layer("w2.l1", 0), layer("w2.l2", 1), layer("w2.l3", 2)],
            batches: Batches::new(BATCHES, pictures, classes),
        }
    }

    fn loss<'t>(&self, params: &'t Params, tape: &'t Tape, part: Part) -> Tensor<'t> {
        let (pictures, classes) = self.batches.of(part);
        let [first, second, third] = &self.layers;
        let x = tape.input([classes.len(), pictures.len() / classes.len()], pictures);
        let h = first.forward(params, x).relu();
        let h = second.forward(params, h).relu();
        third.forward(params, h).cross_entropy(classes)
    }
}

/// Pictures in classes, by Adam: nearly all matrix products.
pub fn classifier(data: Data, widths: [usize; 4], batch: usize, threads: Threads) -> impl Program {
    let mut params = Params::new();
    let model = Classifier::new(data, &mut params, widths, batch);
    let opt = Adam::new(1e-3).threads(&threads);
    training(params, opt, Sharing::Products(threads), move |tape, params, part| model.loss(params, tape, part))
}
