//! The optimizers against PyTorch's, in f64.
//!
//! The problem: three parameters, one after another in the store,
//! `a = [0.5, -1, 0.25]`, `b = [1.5, -0.5]` and `c = [-0.3, 0.8, 1.2]`. The loss
//! at step `t`, counted from 0, is the sum of
//! - `Σ e^a u` with `u = [1, 2, -0.5]`, always;
//! - `Σ (b² - 1)²`, but in steps 2, 3 and 6, where `b` has no gradient;
//! - `Σ a c + Σ c² / 2`, but in steps 0 and 5, where `c` has none.
//!
//! From step 5 on the learning rate is half of what it was.

#[path = "fixtures/pytorch.rs"]
#[rustfmt::skip]
#[allow(clippy::unreadable_literal, clippy::excessive_precision)]
mod pytorch;

use wengert::{Gradients, Params, Scalar, Tape, Threads};
use wengert_nn::{Adam, AdamW, Optimizer, Sgd};

#[track_caller]
fn check(mut opt: impl Optimizer<f64>, expected: &[[f64; 8]; 10]) {
    let mut params = Params::new_f64();
    let a = params.add("a", [3], &[0.5, -1.0, 0.25]);
    let b = params.add("b", [2], &[1.5, -0.5]);
    let c = params.add("c", [3], &[-0.3, 0.8, 1.2]);
    let (mut tape, mut grads) = (Tape::new_f64(), Gradients::new());
    for (t, expected) in expected.iter().enumerate() {
        if t == 5 {
            opt.set_lr(0.5 * opt.lr());
        }
        tape.rewind();
        let [a, b, c] = [a, b, c].map(|p| tape.param(&params[p]));
        let mut loss = (a.exp() * tape.tensor([1.0, 2.0, -0.5])).sum();
        if ![2, 3, 6].contains(&t) {
            loss = loss + (b * b - 1.0).square().sum();
        }
        if ![0, 5].contains(&t) {
            loss = loss + (a * c).sum() + 0.5 * (c * c).sum();
        }
        grads.zero();
        loss.backward_into(&mut grads);
        opt.step(&mut params, &grads);
        for (got, want) in params.values().iter().zip(expected) {
            let apart = (got - want).abs();
            assert!(apart < 1e-12, "step {t}: got {:?}\nwant {expected:?}, {apart:e} apart", params.values());
        }
    }
}

#[test]
fn sgd() {
    check(Sgd::new(0.05), &pytorch::SGD);
    check(Sgd::new(0.05).momentum(0.9), &pytorch::SGD_MOMENTUM);
    let dampened = Sgd::new(0.05).momentum(0.8).dampening(0.3).weight_decay(0.05);
    check(dampened, &pytorch::SGD_DAMPENING_DECAY);
    check(Sgd::new(0.05).nesterov(0.9).weight_decay(0.1), &pytorch::SGD_NESTEROV_DECAY);
    let climbing = Sgd::new(0.002).momentum(0.5).maximize(true).weight_decay(0.1);
    check(climbing, &pytorch::SGD_MAXIMIZE_DECAY);
}

#[test]
fn adam() {
    check(Adam::new(0.1), &pytorch::ADAM);
    check(Adam::new(0.1).weight_decay(0.1), &pytorch::ADAM_DECAY);
    check(Adam::new(0.2).betas(0.7, 0.8).eps(1e-6).amsgrad(true), &pytorch::ADAM_AMSGRAD);
    check(Adam::new(0.02).maximize(true).weight_decay(0.1), &pytorch::ADAM_MAXIMIZE);
}

#[test]
fn adam_w() {
    check(AdamW::new(0.1), &pytorch::ADAM_W);
    let amsgrad = AdamW::new(0.2).betas(0.7, 0.8).weight_decay(0.2).amsgrad(true);
    check(amsgrad, &pytorch::ADAM_W_AMSGRAD);
}

/// Three steps with more parameters than fit one thread's share, in two runs;
/// the last step leaves the second alone.
fn stepped<T: Scalar>(mut opt: impl Optimizer<T>) -> Vec<T> {
    let mut params = Params::default();
    let [a, b] = ["a", "b"].map(|name| {
        params.add_with(name, [30_011], |values| {
            values.iter_mut().enumerate().for_each(|(i, x)| *x = T::from_f64((i as f64 * 0.37).sin()))
        })
    });
    let (mut tape, mut grads) = (Tape::default(), Gradients::new());
    for step in 0..3 {
        tape.rewind();
        grads.zero();
        let [a, b] = [a, b].map(|p| tape.param(&params[p]));
        let both = (a.square() * a).sum() + if step < 2 { b.exp().sum() } else { tape.scalar(T::ZERO) };
        both.backward_into(&mut grads);
        opt.step(&mut params, &grads);
    }
    params.values().to_vec()
}

/// However many threads take the steps, and alone.
fn same_on_threads<T: Scalar, O: Optimizer<T>>(opt: impl Fn() -> O, on: impl Fn(O, &Threads) -> O) {
    let bits = |values: Vec<T>| -> Vec<u64> { values.into_iter().map(|x| x.to_f64().to_bits()).collect() };
    let alone = bits(stepped(opt()));
    for count in 1..=4 {
        assert!(bits(stepped(on(opt(), &Threads::new(count)))) == alone, "on {count} threads");
    }
}

fn every_optimizer_on_threads<T: Scalar>() {
    same_on_threads::<T, _>(|| Sgd::new(0.01).weight_decay(0.1), Sgd::threads);
    same_on_threads::<T, _>(|| Sgd::new(0.01).momentum(0.9), Sgd::threads);
    same_on_threads::<T, _>(|| Sgd::new(0.01).nesterov(0.9), Sgd::threads);
    same_on_threads::<T, _>(|| Adam::new(0.01), Adam::threads);
    same_on_threads::<T, _>(|| Adam::new(0.01).amsgrad(true), Adam::threads);
    same_on_threads::<T, _>(|| AdamW::new(0.01).weight_decay(0.2), AdamW::threads);
}

#[test]
fn threads_do_not_change_a_bit() {
    every_optimizer_on_threads::<f32>();
    every_optimizer_on_threads::<f64>();
}
