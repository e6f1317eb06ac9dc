//! Ops of users, hooks and checkpoints.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use wengert::{CustomOp, Gradients, Params, Tape, Tensor};
use wengert_check::{check_gradients, shapes, tensor};

/// `x sin(k x)`, by slices forward.
#[derive(Clone, Copy)]
struct Wave(f64);

impl CustomOp<f64> for Wave {
    fn name(&self) -> &'static str {
        "wave"
    }

    fn forward<'t>(&self, tape: &'t Tape<f64>, x: &[Tensor<'t, f64>]) -> Tensor<'t, f64> {
        let values = x[0].as_slice();
        tape.from_fn(x[0].shape(), |i| values[i] * (self.0 * values[i]).sin())
    }

    fn backward<'t>(
        &self,
        x: &[Tensor<'t, f64>],
        _: Tensor<'t, f64>,
        g: Tensor<'t, f64>,
        give: &mut dyn FnMut(usize, Tensor<'t, f64>),
    ) {
        let inner = x[0] * self.0;
        give(0, g * (inner.sin() + inner * inner.cos()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_custom_op_passes_the_checks(x in tensor::<f64>(shapes(0..=3, 0..=3), -2.0..2.0)) {
        check_gradients([x.clone()], |tape, [x]| tape.custom(Wave(1.5), [x]))?;
        check_gradients([x], |tape, [x]| tape.custom(Wave(0.5), [(x * x * 0.25).exp()]) * x)?;
    }

    #[test]
    fn a_hook_which_does_nothing_passes_the_checks(x in tensor::<f64>(shapes(0..=3, 0..=3), -2.0..2.0)) {
        check_gradients([x], |_, [x]| x.on_backward(|g| g * 1.0).exp() * x)?;
    }

    #[test]
    fn a_checkpoint_passes_the_checks(x in tensor::<f64>(shapes(1..=3, 1..=3), -2.0..2.0)) {
        check_gradients([x], |tape, [x]| {
            let y = tape.checkpoint([x, x.exp()], |_, x| (x[0].tanh() * x[1]).softmax(-1));
            y * x
        })?;
    }
}

/// Backward from slices: no second derivative, and it says so.
#[derive(Clone, Copy)]
struct FirstOrder;

impl CustomOp<f64> for FirstOrder {
    fn name(&self) -> &'static str {
        "first_order"
    }

    fn forward<'t>(&self, _: &'t Tape<f64>, x: &[Tensor<'t, f64>]) -> Tensor<'t, f64> {
        x[0].square()
    }

    fn backward<'t>(
        &self,
        x: &[Tensor<'t, f64>],
        _: Tensor<'t, f64>,
        g: Tensor<'t, f64>,
        give: &mut dyn FnMut(usize, Tensor<'t, f64>),
    ) {
        let (x, values) = (x[0].as_slice(), g.to_vec());
        give(0, g.tape().from_fn(g.shape(), |i| 2.0 * x[i] * values[i]));
    }
}

#[test]
fn a_derivative_which_is_lost_is_refused() {
    let tape = Tape::new_f64();
    let x = tape.tensor([3.0]).require_grad();
    let y = tape.custom(FirstOrder, [x]);
    assert_eq!(y.sum().backward().get(x).unwrap().as_slice(), &[6.0]);
    let z = y.square().sum();
    let message = catch_unwind(AssertUnwindSafe(|| z.grad([x])[0].item())).unwrap_err();
    let message = message.downcast_ref::<String>().unwrap();
    assert!(message.starts_with("first_order: its derivative cannot be differentiated"), "{message}");
}

#[derive(Clone, Copy)]
struct Panics;

impl CustomOp<f64> for Panics {
    fn name(&self) -> &'static str {
        "panics"
    }

    fn forward<'t>(&self, _: &'t Tape<f64>, x: &[Tensor<'t, f64>]) -> Tensor<'t, f64> {
        x[0]
    }

    fn backward<'t>(
        &self,
        _: &[Tensor<'t, f64>],
        _: Tensor<'t, f64>,
        g: Tensor<'t, f64>,
        _: &mut dyn FnMut(usize, Tensor<'t, f64>),
    ) {
        assert!(g.is_empty(), "in the middle of a sweep");
    }
}

#[test]
fn a_panic_in_a_users_code_leaves_the_tape_usable() {
    let mut tape = Tape::new_f64();
    let mut grads = Gradients::new();
    for _ in 0..3 {
        tape.rewind();
        let x = tape.tensor([1.0, 2.0]).require_grad();
        let y = tape.custom(Panics, [x]).sum() + x.square().sum();
        assert!(catch_unwind(AssertUnwindSafe(|| y.backward_into(&mut grads))).is_err());
        assert!(tape.is_recording());
        grads.zero();
        x.square().sum().backward_into(&mut grads);
        assert_eq!(grads.get(x).unwrap().as_slice(), &[2.0, 4.0]);
    }
}

#[test]
fn checkpoints_take_less_memory_and_give_the_same_bits() {
    let mut params = Params::new();
    let w = params.add_with("w", [64, 64], |w| {
        w.iter_mut().enumerate().for_each(|(i, w)| *w = ((i * 37 % 101) as f32 - 50.0) / 400.0)
    });

    let step = |kept: bool| {
        let (mut tape, mut grads) = (Tape::new(), Gradients::new());
        let mut bits = Vec::new();
        for _ in 0..3 {
            tape.rewind();
            grads.zero();
            let w = tape.param(&params[w]);
            let mut x = tape.linspace(-1.0, 1.0, 64 * 64).reshape([64, 64]).require_grad();
            let leaf = x;
            for _ in 0..8 {
                x = match kept {
                    true => block_of(x, w),
                    false => tape.checkpoint([x, w], |_, x| block_of(x[0], x[1])),
                };
            }
            x.sum().backward_into(&mut grads);
            bits = grads.get(leaf).unwrap().as_slice().iter().map(|x| x.to_bits()).collect();
        }
        (bits, tape.stats())
    };

    let ((a, whole), (b, less)) = (step(true), step(false));
    assert_eq!(a, b);
    let all = |s: wengert::Stats| s.reserved_bytes + s.sweep_bytes + s.scope_bytes;
    assert!(2 * less.high_water_bytes < whole.high_water_bytes, "{whole:?} {less:?}");
    assert!(all(less) < all(whole), "{whole:?} {less:?}");
}

fn block_of<'t>(x: Tensor<'t>, w: Tensor<'t>) -> Tensor<'t> {
    x.matmul(w).tanh().exp().sin().square().sqrt()
}

#[test]
fn hooks_see_and_change_what_passes() {
    let tape = Tape::new();
    let x = tape.tensor([3.0, 4.0]).require_grad();
    let y = x.on_backward(|g| g / g.norm(2.0)).square();
    assert_eq!(y.sum().backward().get(x).unwrap().as_slice(), &[0.6, 0.8]);
}

/// A block need not use what it gets.
#[test]
fn a_checkpoint_beside_some_of_its_inputs() {
    let tape = Tape::new_f64();
    let [a, b] = [[1.0, 2.0], [3.0, 4.0]].map(|x| tape.tensor(x).require_grad());
    let unused = tape.checkpoint([a, b], |_, x| x[0].exp());
    let [by_a, by_b] = unused.square().sum().grad([a, b]);
    let expected = [1.0f64, 2.0].map(|x| 2.0 * (2.0 * x).exp());
    for (got, expected) in by_a.to_vec().iter().zip(expected) {
        assert!((got - expected).abs() < 1e-12 * expected);
    }
    assert_eq!(by_b.to_vec(), [0.0; 2]);
    for (got, expected) in by_a.sum().grad([a])[0].to_vec().iter().zip(expected) {
        assert!((got - 2.0 * expected).abs() < 1e-12 * expected);
    }
    let detached = tape.checkpoint([a, b], |_, x| x[0].detach() * x[1]);
    let [by_a, by_b] = (detached * b).sum().grad([a, b]);
    assert_eq!((by_a.to_vec(), by_b.to_vec()), (vec![0.0; 2], vec![6.0, 16.0]));
}
