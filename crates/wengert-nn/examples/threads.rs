//! One training loop on one thread and on several, by shards of the batch and
//! by blocks of the matrix products: the time of a step, and the loss.
//!
//! ```text
//! cargo run --release -p wengert-nn --example threads [THREADS]
//! ```

use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use wengert::{Gradients, Params, Tape, Tensor, Threads, Workers};
use wengert_nn::{Adam, Linear, Optimizer};

struct Model(Vec<Linear>);

impl Model {
    fn new(params: &mut Params, widths: &[usize], rng: &mut StdRng) -> Self {
        Model(widths.windows(2).map(|w| Linear::new(params, "layer", w[0], w[1], rng)).collect())
    }

    fn forward<'t>(&self, params: &'t Params, x: Tensor<'t>) -> Tensor<'t> {
        let (last, hidden) = self.0.split_last().expect("a layer");
        last.forward(params, hidden.iter().fold(x, |x, layer| layer.forward(params, x).relu()))
    }
}

/// What a training loop keeps, and who does the work.
struct Loop {
    name: &'static str,
    params: Params,
    opt: Adam,
    grads: Gradients,
    tape: Tape,
    /// The number of shards, if the batch is cut.
    workers: Option<(usize, Workers)>,
    best: Duration,
    loss: f32,
}

impl Loop {
    fn new(name: &'static str, params: &Params, threads: &Threads, shards: Option<usize>) -> Self {
        let tape = Tape::new();
        tape.set_threads(threads);
        Loop {
            name,
            params: params.clone(),
            opt: Adam::new(1e-3).threads(threads),
            grads: Gradients::new(),
            tape,
            workers: shards.map(|shards| (shards, Workers::new(threads))),
            best: Duration::MAX,
            loss: 0.0,
        }
    }

    fn step(&mut self, model: &Model, x: &[f32], labels: &[usize]) {
        let start = Instant::now();
        self.grads.zero();
        let (batch, inputs) = (labels.len(), x.len() / labels.len());
        self.loss = match &mut self.workers {
            None => {
                self.tape.rewind();
                let loss = model.forward(&self.params, self.tape.input([batch, inputs], x)).cross_entropy(labels);
                loss.backward_into(&mut self.grads);
                loss.item()
            }
            Some((shards, workers)) => {
                let (shards, rows, params) = (*shards, batch / *shards, &self.params);
                workers.backward(shards, &mut self.grads, |shard, tape, grads| {
                    let (x, labels) = (&x[shard * rows * inputs..], &labels[shard * rows..]);
                    let x = tape.input([rows, inputs], &x[..rows * inputs]);
                    let loss = model.forward(params, x).cross_entropy(&labels[..rows]) * (1.0 / shards as f32);
                    loss.backward_into(grads);
                    loss.item()
                })
            }
        };
        self.opt.step(&mut self.params, &self.grads);
        self.best = self.best.min(start.elapsed());
    }
}

fn compare(widths: &[usize], batch: usize, steps: usize, threads: usize) {
    let rng = &mut StdRng::seed_from_u64(0);
    let mut params = Params::new();
    let model = Model::new(&mut params, widths, rng);
    let x: Vec<f32> = (0..batch * widths[0]).map(|_| rng.random()).collect();
    let labels: Vec<usize> = (0..batch).map(|_| rng.random_range(0..widths[widths.len() - 1])).collect();

    let (one, many) = (Threads::new(1), Threads::new(threads));
    let mut loops = [
        Loop::new("one thread", &params, &one, None),
        Loop::new("shards, one thread", &params, &one, Some(threads)),
        Loop::new("shards", &params, &many, Some(threads)),
        Loop::new("blocks of products", &params, &many, None),
    ];
    println!("{widths:?}, batch {batch}, {threads} threads");
    // In turns, so that all meet the same load from elsewhere.
    for _ in 0..steps {
        for run in &mut loops {
            run.step(&model, &x, &labels);
        }
    }
    for run in &loops {
        println!("  {:20} {:>10.1?} at best, loss {:.4}", run.name, run.best, run.loss);
    }
}

fn main() {
    let threads = std::env::args().nth(1).map_or(2, |n| n.parse().expect("a number of threads"));
    compare(&[784, 512, 256, 10], 64, 500, threads);
    compare(&[2, 16, 16, 2], 4, 20_000, threads);
}
