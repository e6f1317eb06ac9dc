//! The loop around a workload: what is kept between its turns.

use std::hint::black_box;

use wengert::{Gradients, Params, Slot, Tape, Tensor, Threads, Workers};
use wengert_nn::Optimizer;

/// A function of parameters which is evaluated turn after turn.
pub trait Program {
    /// Value and gradients, and what is done with these. Gives the value.
    fn turn(&mut self) -> f32;

    /// The value alone, without gradients; nothing is changed by it.
    fn value(&mut self) -> f32;
}

/// Which examples a loss is the mean of.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// The turn's number says which batch it is.
    pub turn: usize,
    /// The number of the shard of the batch,
    pub shard: usize,
    /// and how many of them there are.
    pub shards: usize,
}

impl Part {
    /// The whole batch of a turn.
    pub fn whole(turn: usize) -> Self {
        Part { turn, shard: 0, shards: 1 }
    }
}

/// What several threads share out in a training loop, beside the update.
pub enum Sharing {
    /// Nothing.
    None,
    /// Large matrix products.
    Products(Threads),
    /// Batches, cut into so many shards, or up to as many more as give every
    /// thread the same number.
    Shards(usize, Threads),
}

/// A training loop.
pub fn training(
    params: Params,
    mut opt: impl Optimizer,
    sharing: Sharing,
    loss: impl for<'t> Fn(&'t Tape, &'t Params, Part) -> Tensor<'t> + Sync,
) -> impl Program {
    turns(params, sharing, loss, move |params, grads| opt.step(params, grads))
}

/// The value and the gradients of a function, which are used for nothing.
pub fn differentiation(
    params: Params,
    function: impl for<'t> Fn(&'t Tape, &'t Params) -> Tensor<'t> + Sync,
) -> impl Program {
    let unused = |params: &mut Params, grads: &Gradients| _ = black_box(grads.slab(params));
    turns(params, Sharing::None, move |tape, params, _| function(tape, params), unused)
}

fn turns(
    params: Params,
    sharing: Sharing,
    function: impl for<'t> Fn(&'t Tape, &'t Params, Part) -> Tensor<'t> + Sync,
    update: impl FnMut(&mut Params, &Gradients),
) -> impl Program {
    let (tape, mut workers) = (Tape::new(), None);
    match sharing {
        Sharing::Shards(count, threads) => {
            let count = count.next_multiple_of(threads.count());
            if count > 1 {
                workers = Some((count, Workers::new(&threads).shards_per_tape(count / threads.count())));
            }
        }
        Sharing::Products(threads) => tape.set_threads(&threads),
        Sharing::None => {}
    }
    Turns { params, function, update, tape, workers, grads: Gradients::new(), number: 0 }
}

struct Turns<F, U> {
    params: Params,
    function: F,
    update: U,
    tape: Tape,
    /// If batches are cut, into how many shards.
    workers: Option<(usize, Workers)>,
    grads: Gradients,
    /// Turns so far.
    number: usize,
}

impl<F, U> Program for Turns<F, U>
where
    F: for<'t> Fn(&'t Tape, &'t Params, Part) -> Tensor<'t> + Sync,
    U: FnMut(&mut Params, &Gradients),
{
    fn turn(&mut self) -> f32 {
        let Turns { params, function, update, tape, workers, grads, number } = self;
        let value = match workers {
            None => {
                tape.rewind();
                let y = function(tape, params, Part::whole(*number));
                let value = y.item();
                grads.zero();
                y.backward_into(grads);
                value
            }
            Some((shards, workers)) => {
                let (shards, turn, params) = (*shards, *number, &*params);
                grads.zero();
                workers.backward(shards, grads, |shard, tape, grads| {
                    let y = function(tape, params, Part { turn, shard, shards }) / shards as f32;
                    y.backward_into(grads);
                    y.item()
                })
            }
        };
        update(params, grads);
        *number += 1;
        value
    }

    fn value(&mut self) -> f32 {
        self.tape.rewind();
        self.tape.no_grad(|| (self.function)(&self.tape, &self.params, Part::whole(self.number))).item()
    }
}

/// A training loop whose loss is recorded once, and replayed on the inputs of
/// every turn: the same ones here, but nothing relies on that.
pub fn replayed<const N: usize>(
    params: Params,
    opt: impl Optimizer,
    inputs: [Vec<f32>; N],
    record: impl for<'t> Fn(&'t Tape, &'t Params, [&[f32]; N]) -> ([Slot; N], Tensor<'t>),
) -> impl Program {
    let tape = Tape::new();
    let (slots, loss) = record(&tape, &params, inputs.each_ref().map(Vec::as_slice));
    let loss = loss.slot();
    Replayed { params, opt, inputs, tape, slots, loss, grads: Gradients::new() }
}

struct Replayed<O, const N: usize> {
    params: Params,
    opt: O,
    inputs: [Vec<f32>; N],
    tape: Tape,
    slots: [Slot; N],
    loss: Slot,
    grads: Gradients,
}

impl<O: Optimizer, const N: usize> Program for Replayed<O, N> {
    fn turn(&mut self) -> f32 {
        let Replayed { params, opt, inputs, tape, slots, loss, grads } = self;
        let given: [(Slot, &[f32]); N] = std::array::from_fn(|i| (slots[i], &*inputs[i]));
        let loss = tape.replay(&*params, &given).tensor(*loss);
        let value = loss.item();
        grads.zero();
        loss.backward_into(grads);
        opt.step(params, grads);
        value
    }

    fn value(&mut self) -> f32 {
        self.tape.replay(&self.params, &[]).tensor(self.loss).item()
    }
}
