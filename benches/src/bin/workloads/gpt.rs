//! W3: a small transformer which predicts the next letter.

use wengert::{Attention, Param, Params, Tape, Tensor};
use wengert_nn::{AdamW, Linear};

use crate::data::{Batches, Data, Draw};
use crate::harness::{Workload, train};

const LAYERS: usize = 4;
const HEADS: usize = 4;
const FEATURES: usize = 128;
const CONTEXT: usize = 64;
const LETTERS: usize = 65;
const BATCH: usize = 16;

const WEIGHT: Draw = Draw::Normal(0.0, 0.02);

struct LayerNorm {
    weight: Param,
    bias: Param,
}

impl LayerNorm {
    fn new(data: &mut Data, params: &mut Params, name: &str) -> Self {
        LayerNorm {
            weight: data.param(params, &format!("{name}.g"), [FEATURES], Draw::Constant(1.0)),
            bias: data.param(params, &format!("{name}.b"), [FEATURES], Draw::Constant(0.0)),
        }
    }

    fn forward<'t>(&self, params: &'t Params, x: Tensor<'t>) -> Tensor<'t> {
        let of = |p: Param| Some(x.tape().param(&params[p]));
        x.layer_norm(1, of(self.weight), of(self.bias), 1e-5)
    }
}

struct Block {
    norms: [LayerNorm; 2],
    qkv: Linear,
    projection: Linear,
    up: Linear,
    down: Linear,
}

impl Block {
    fn new(data: &mut Data, params: &mut Params, name: &str) -> Self {
        let norms = ["ln1", "ln2"].map(|part| LayerNorm::new(data, params, &format!("{name}.{part}")));
        let mut linear = |part: &str, from, to| linear(data, params, &format!("{name}.{part}"), [from, to]);
        Block {
            norms,
            qkv: linear("qkv", FEATURES, 3 * FEATURES),
            projection: linear("proj", FEATURES, FEATURES),
            up: linear("fc", FEATURES, 4 * FEATURES),
            down: linear("fc2", 4 * FEATURES, FEATURES),
        }
    }

    /// `[batch, context, features]` to the same.
    fn forward<'t>(&self, params: &'t Params, x: Tensor<'t>) -> Tensor<'t> {
        let &[batch, context, features] = x.shape() else { panic!("[batch, context, features], got {:?}", x.shape()) };

        // [3, batch, heads, context, features / heads]
        let qkv = self.qkv.forward(params, self.norms[0].forward(params, x));
        let qkv = qkv.reshape([batch, context, 3, HEADS, features / HEADS]).permute([2, 0, 3, 1, 4]);
        let (q, k, v) = (qkv.select(0, 0), qkv.select(0, 1), qkv.select(0, 2));
        let heads = q.attention(k, v, Attention { causal: true, ..Attention::default() });
        let attended = heads.transpose(1, 2).reshape([batch, context, features]);
        let x = x + self.projection.forward(params, attended);

        let h = self.up.forward(params, self.norms[1].forward(params, x)).gelu_tanh();
        x + self.down.forward(params, h)
    }
}

fn linear(data: &mut Data, params: &mut Params, name: &str, widths: [usize; 2]) -> Linear {
    data.linear(params, name, widths, [WEIGHT, Draw::Constant(0.0)])
}

struct Gpt {
    letters: Param,
    positions: Param,
    blocks: [Block; LAYERS],
    norm: LayerNorm,
    head: Linear,
}

impl Gpt {
    fn new(data: &mut Data, params: &mut Params) -> Self {
        Gpt {
            letters: data.param(params, "w3.tok", [LETTERS, FEATURES], WEIGHT),
            positions: data.param(params, "w3.pos", [CONTEXT, FEATURES], WEIGHT),
            blocks: std::array::from_fn(|i| Block::new(data, params, &format!("w3.h{i}"))),
            norm: LayerNorm::new(data, params, "w3.lnf"),
            head: linear(data, params, "w3.head", [FEATURES, LETTERS]),
        }
    }

    fn loss<'t>(&self, params: &'t Params, tape: &'t Tape, letters: &[usize], next: &[usize]) -> Tensor<'t> {
        let shape = [letters.len() / CONTEXT, CONTEXT];
        let mut x = tape.param(&params[self.letters]).embedding(shape, letters, None) + &params[self.positions];
        for block in &self.blocks {
            x = block.forward(params, x);
        }
        self.head.forward(params, self.norm.forward(params, x)).cross_entropy(next)
    }
}

pub(crate) fn w3() {
    let (data, params) = (&mut Data::new(), &mut Params::new());
    let letters = data.indices("w3.x", 4 * BATCH * CONTEXT, LETTERS);
    let batches = Batches::new(4, letters, data.indices("w3.y", 4 * BATCH * CONTEXT, LETTERS));
    let model = Gpt::new(data, params);

    let opt = AdamW::new(1e-3).weight_decay(0.01);
    train(Workload::steps("W3", 20), params, opt, |tape, params, turn| {
        let (letters, next) = batches.of(turn);
        model.loss(params, tape, letters, next)
    });
}
