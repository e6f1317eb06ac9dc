//! W6: a small convolutional network.

use wengert::{Conv, Param, Params, Pool, Tape, Tensor, Threads};
use wengert_nn::{Linear, Sgd};

use crate::data::{Batches, Data, Draw};
use crate::program::{Program, Sharing, training};

/// A convolution of 3 x 3 which keeps the size, a ReLU, and a pool of 2 x 2.
struct Stage {
    weight: Param,
    bias: Param,
}

impl Stage {
    fn new(data: &mut Data, params: &mut Params, name: &str, [from, to]: [usize; 2]) -> Self {
        let draw = Draw::for_inputs(9 * from);
        Stage {
            weight: data.param(params, &format!("{name}.w"), [to, from, 3, 3], draw),
            bias: data.param(params, &format!("{name}.b"), [to], draw),
        }
    }

    fn forward<'t>(&self, params: &'t Params, x: Tensor<'t>) -> Tensor<'t> {
        let conv = Conv { padding: [1, 1], ..Conv::default() };
        let bias = x.tape().param(&params[self.bias]);
        x.conv2d(&params[self.weight], Some(bias), conv).relu().max_pool2d(Pool::new([2, 2]))
    }
}

struct Network {
    stages: [Stage; 2],
    output: Linear,
}

impl Network {
    fn loss<'t>(&self, params: &'t Params, tape: &'t Tape, pictures: &[f32], labels: &[usize]) -> Tensor<'t> {
        let batch = labels.len();
        let x = tape.input([batch, 1, 28, 28], pictures);
        let x = self.stages[0].forward(params, x); // [batch, 8, 14, 14]
        let x = self.stages[1].forward(params, x); // [batch, 16, 7, 7]
        self.output.forward(params, x.reshape([batch, 784])).cross_entropy(labels)
    }
}

/// Pictures of 28 x 28 in ten classes, by two convolutions with pools, a linear
/// layer and SGD. Batches are cut into so many shards, or as many as there are
/// threads.
pub fn pictures(mut data: Data, batch: usize, shards: usize, threads: Threads) -> impl Program {
    const BATCHES: usize = 4;
    let mut params = Params::new();
    let pictures = data.values("w6.x", BATCHES * batch * 784, Draw::Uniform(0.0, 1.0));
    let batches = Batches::new(BATCHES, pictures, data.indices("w6.y", BATCHES * batch, 10));
    let (first, second) =
        (Stage::new(&mut data, &mut params, "w6.c1", [1, 8]), Stage::new(&mut data, &mut params, "w6.c2", [8, 16]));
    let output = data.linear(&mut params, "w6.l", [784, 10], [Draw::for_inputs(784); 2]);
    let model = Network { stages: [first, second], output };

    training(params, Sgd::new(0.05).threads(&threads), Sharing::Shards(shards, threads), move |tape, params, part| {
        let (pictures, classes) = batches.of(part);
        model.loss(params, tape, pictures, classes)
    })
}
