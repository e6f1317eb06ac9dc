//! W3: a small transformer which predicts the next letter.

use wengert::{Attention, Param, Params, Tape, Tensor, Threads};
use wengert_nn::{AdamW, Linear};

use crate::data::{Batches, Data, Draw};
use crate::program::{Program, Sharing, training};

/// The sizes of the network and of its data.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Blocks of attention and perceptron.
    pub layers: usize,
    /// Heads of each attention.
    pub heads: usize,
    /// Width of the network.
    pub features: usize,
    /// Letters which are seen at a time.
    pub context: usize,
    /// Letters there are.
    pub letters: usize,
    /// Texts in a batch.
    pub batch: usize,
}

const WEIGHT: Draw = Draw::Normal(0.0, 0.02);

struct LayerNorm {
    weight: Param,
    bias: Param,
}

impl LayerNorm {
    fn new(data: &mut Data, params: &mut Params, name: &str, features: usize) -> Self {
        LayerNorm {
            weight: data.param(params, &format!("{name}.g"), [features], Draw::Constant(1.0)),
            bias: data.param(params, &format!("{name}.b"), [features], Draw::Constant(0.0)),
        }
    }

    fn forward<'t>(&self, params: &'t Params, x: Tensor<'t>) -> Tensor<'t> {
        let of = |p: Param| Some(x.tape().param(&params[p]));
        x.layer_norm(1, of(self.weight), of(self.bias), 1e-5)
    }
}

struct Block {
    heads: usize,
    norms: [LayerNorm; 2],
    qkv: Linear,
    projection: Linear,
    up: Linear,
    down: Linear,
}

impl Block {
    fn new(data: &mut Data, params: &mut Params, name: &str, &Sizes { heads, features, .. }: &Sizes) -> Self {
        let norms = ["ln1", "ln2"].map(|part| LayerNorm::new(data, params, &format!("{name}.{part}"), features));
        let mut linear = |part: &str, from, to| linear(data, params, &format!("{name}.{part}"), [from, to]);
        Block {
            heads,
            norms,
            qkv: linear("qkv", features, 3 * features),
            projection: linear("proj", features, features),
            up: linear("fc", features, 4 * features),
            down: linear("fc2", 4 * features, features),
        }
    }

    /// `[batch, context, features]` to the same.
    fn forward<'t>(&self, params: &'t Params, x: Tensor<'t>) -> Tensor<'t> {
        let &[batch, context, features] = x.shape() else { panic!("[batch, context, features], got {:?}", x.shape()) };

        let qkv = self.qkv.forward(params, self.norms[0].forward(params, x));
        let qkv = qkv.reshape([batch, context, 3, self.heads, features / self.heads]);
        // [batch, heads, context, features / heads]
        let [q, k, v] = [0, 1, 2].map(|i| qkv.select(2, i).transpose(1, 2));
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

/// A transformer which predicts the next letter.
struct Gpt {
    context: usize,
    letters: Param,
    positions: Param,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

impl Gpt {
    fn new(data: &mut Data, params: &mut Params, sizes: &Sizes) -> Self {
        let &Sizes { layers, features, context, letters, .. } = sizes;
        Gpt {
            context,
            letters: data.param(params, "w3.tok", [letters, features], WEIGHT),
            positions: data.param(params, "w3.pos", [context, features], WEIGHT),
            blocks: (0..layers).map(|i| Block::new(data, params, &format!("w3.h{i}"), sizes)).collect(),
            norm: LayerNorm::new(data, params, "w3.lnf", features),
            head: linear(data, params, "w3.head", [features, letters]),
        }
    }

    fn loss<'t>(&self, params: &'t Params, tape: &'t Tape, letters: &[usize], next: &[usize]) -> Tensor<'t> {
        let shape = [letters.len() / self.context, self.context];
        let mut x = tape.param(&params[self.letters]).embedding(shape, letters, None) + &params[self.positions];
        for block in &self.blocks {
            x = block.forward(params, x);
        }
        self.head.forward(params, self.norm.forward(params, x)).cross_entropy(next)
    }
}

/// A transformer learns texts, by AdamW. Batches are cut into so many shards, or
/// as many as there are threads.
pub fn letters(mut data: Data, sizes: Sizes, shards: usize, threads: Threads) -> impl Program {
    const BATCHES: usize = 4;
    let mut params = Params::new();
    let len = BATCHES * sizes.batch * sizes.context;
    let letters = data.indices("w3.x", len, sizes.letters);
    let batches = Batches::new(BATCHES, letters, data.indices("w3.y", len, sizes.letters));
    let model = Gpt::new(&mut data, &mut params, &sizes);

    let opt = AdamW::new(1e-3).weight_decay(0.01).threads(&threads);
    training(params, opt, Sharing::Shards(shards, threads), move |tape, params, part| {
        let (letters, next) = batches.of(part);
        model.loss(params, tape, letters, next)
    })
}
