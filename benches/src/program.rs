//! The loop around a workload: what is kept between its turns.

use std::hint::black_box;

use wengert::{Gradients, Params, Tape, Tensor};
use wengert_nn::Optimizer;

/// A function of parameters which is evaluated turn after turn.
pub trait Program {
    /// Value and gradients, and what is done with these. Gives the value.
    fn turn(&mut self) -> f32;

    /// The value alone, without gradients; nothing is changed by it.
    fn value(&mut self) -> f32;
}

/// A training loop: `loss` gets the turn's number.
pub fn training(
    params: Params,
    mut opt: impl Optimizer,
    loss: impl for<'t> Fn(&'t Tape, &'t Params, usize) -> Tensor<'t>,
) -> impl Program {
    turns(params, loss, move |params, grads| opt.step(params, grads))
}

/// The value and the gradients of a function, which are used for nothing.
pub fn differentiation(params: Params, function: impl for<'t> Fn(&'t Tape, &'t Params) -> Tensor<'t>) -> impl Program {
    turns(params, move |tape, params, _| function(tape, params), |params, grads| _ = black_box(grads.slab(params)))
}

fn turns(
    params: Params,
    function: impl for<'t> Fn(&'t Tape, &'t Params, usize) -> Tensor<'t>,
    update: impl FnMut(&mut Params, &Gradients),
) -> impl Program {
    Turns { params, function, update, tape: Tape::new(), grads: Gradients::new(), number: 0 }
}

struct Turns<F, U> {
    params: Params,
    function: F,
    update: U,
    tape: Tape,
    grads: Gradients,
    /// Turns so far.
    number: usize,
}

impl<F, U> Program for Turns<F, U>
where
    F: for<'t> Fn(&'t Tape, &'t Params, usize) -> Tensor<'t>,
    U: FnMut(&mut Params, &Gradients),
{
    fn turn(&mut self) -> f32 {
        self.tape.rewind();
        let y = (self.function)(&self.tape, &self.params, self.number);
        let value = y.item();
        self.grads.zero();
        y.backward_into(&mut self.grads);
        (self.update)(&mut self.params, &self.grads);
        self.number += 1;
        value
    }

    fn value(&mut self) -> f32 {
        self.tape.rewind();
        self.tape.no_grad(|| (self.function)(&self.tape, &self.params, self.number)).item()
    }
}
