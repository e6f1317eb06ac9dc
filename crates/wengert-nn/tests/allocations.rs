//! A training step asks the heap for nothing from the third turn on.

use rand::{SeedableRng, rngs::StdRng};
use wengert::{Gradients, Params, Scalar, Tape};
use wengert_check::CountingAllocator;
use wengert_nn::{Adam, AdamW, Linear, Module, Optimizer, Relu, Sequential, Sgd};

#[global_allocator]
static HEAP: CountingAllocator = CountingAllocator;

/// Trains with one of the layers left out every third turn from the fourth on,
/// so that runs split and step counts part.
fn train<T: Scalar>(mut opt: impl Optimizer<T>) {
    let rng = &mut StdRng::seed_from_u64(0);
    let mut params = Params::default();
    let first = Linear::new(&mut params, "first", 7, 9, rng);
    let second = Linear::new(&mut params, "second", 9, 9, rng);
    let last = Linear::new(&mut params, "last", 9, 3, rng);
    let whole = Sequential::new().then(first).then(Relu).then(second).then(Relu).then(last);
    let short = Sequential::new().then(first).then(Relu).then(last);
    let (mut tape, mut grads) = (Tape::default(), Gradients::new());
    for turn in 0..12 {
        let model = if turn > 2 && turn % 3 == 0 { &short } else { &whole };
        let before = CountingAllocator::requests();
        tape.rewind();
        let x = tape.input([5, 7], &[T::ONE; 35]);
        let loss = model.forward(&params, x).cross_entropy(&[0, 1, 2, 0, 1]);
        grads.zero();
        loss.backward_into(&mut grads);
        opt.step(&mut params, &grads);
        let requests = CountingAllocator::requests() - before;
        assert!(turn < 2 || requests == 0, "turn {turn}: {requests} requests");
    }
    assert!(params.values().iter().all(|p| p.is_finite()));
}

fn train_with_all<T: Scalar>() {
    train::<T>(Sgd::new(0.1));
    train::<T>(Sgd::new(0.1).nesterov(0.9));
    train::<T>(Adam::new(0.1));
    train::<T>(AdamW::new(0.1).amsgrad(true));
}

#[test]
fn training_does_not_allocate() {
    train_with_all::<f32>();
    train_with_all::<f64>();
}
