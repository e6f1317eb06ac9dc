//! A list which is run again gives the bits of one which is recorded afresh.

use wengert::{Gradients, Padding, Params, Pool, Tape, Tensor, fused};

/// Panics with a message which has this part.
fn refuses(part: &str, f: impl FnOnce()) {
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).expect_err(part);
    let message = payload.downcast_ref::<String>().cloned();
    let message = message.or_else(|| payload.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap();
    assert!(message.contains(part), "{message:?} without {part:?}");
}

type Function = for<'t> fn(&'t Tape<f64>, Tensor<'t, f64>, Tensor<'t, f64>, Tensor<'t, f64>) -> Tensor<'t, f64>;

fused! {
    fn gate(x, w, y) { (x * w).sigmoid() * y + (x - y).tanh() }
}

/// Expressions of x `[4, 5]`, w `[5]` and y `[4, 5]` from every family of ops.
const FUNCTIONS: [(&str, Function); 22] = [
    ("elementwise", |_, x, w, y| (x * w).tanh() + y.exp() / (x.square() + 1.0) - x.maximum(y)),
    ("functions", |_, x, w, y| x.sigmoid() * y.gelu() + (x.abs() + w.abs() + 0.1).ln() + y.sin().powf(2.0)),
    ("comparisons", |_, x, w, y| x.where_mask(x.gt(y), y * w)),
    ("single numbers", |_, x, w, y| (x.sum() * 0.5 + w.mean()).tanh() * y.amax().square() + y.amin().exp()),
    ("matmul", |_, x, w, y| x.t().matmul(y).tanh().matmul(w) + x.matmul(y.t()).sum()),
    ("linear", |_, x, w, y| x.linear(y.t().matmul(x), Some(w)).relu()),
    ("batches", |_, x, _, y| x.reshape([2, 2, 5]).matmul(y.reshape([2, 2, 5]).transpose(1, 2)).tanh()),
    ("reductions", |_, x, w, y| x.mean_axes(0) * w + y.logsumexp_axes(0) + x.amax_axes(0) + y.var_axes(1.0, 0)),
    ("views", |_, x, _, y| x.t().reshape([2, 10]) * y.reshape([10, 2]).t().contiguous()),
    ("broadcast", |_, x, w, _| w.broadcast_to([4, 5]) * x.narrow(0, 1, 1)),
    ("slices", |tape, x, _, y| tape.concat([x.narrow(0, 1, 2), y.narrow(0, 0, 3)], 0).tanh()),
    ("padding", |_, x, w, y| x.pad(&[(0, 0), (1, 2)], Padding::Constant(0.5)).sum_axes(1).unsqueeze(1) * y + w),
    ("indices", |_, x, _, y| {
        x.index_select(1, &[3, 0, 3]).tanh() * y.gather(1, [4, 3], &[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1])
    }),
    ("softmax", |_, x, w, y| x.softmax(-1) * y.log_softmax(0) * w),
    ("normalisation", |_, x, w, y| x.layer_norm(1, Some(w), None, 1e-5) + y.rms_norm(1, Some(w), 1e-5)),
    ("losses", |_, x, _, y| {
        x.cross_entropy(&[1, 0, 4, 2]) + x.mse_loss(y) + x.binary_cross_entropy_with_logits(y.sigmoid())
    }),
    ("scans", |_, x, w, y| x.cumsum(1) * w + y.cumsum(0).tanh()),
    ("convolution", |_, x, w, _| {
        x.reshape([1, 1, 4, 5]).conv2d(w.narrow(0, 0, 4).reshape([1, 1, 2, 2]), None, wengert::Conv::default())
    }),
    ("pool", |_, x, _, y| (x * y).reshape([1, 1, 4, 5]).max_pool2d(Pool::new([2, 2]))),
    ("linear algebra", |tape, x, _, y| {
        let a = x.matmul(x.t()) + tape.eye(4) * 2.0;
        a.cholesky().matmul(y) + a.solve(y)
    }),
    ("fused", |_, x, w, y| gate(x, w, y).square()),
    ("second order", |_, x, w, y| {
        let [dx] = (x.tanh() * w * y).sum().grad([x]);
        dx.square() + y
    }),
];

/// The values at a turn.
fn values(turn: usize, seed: usize, len: usize) -> Vec<f64> {
    (0..len).map(|i| ((i * 37 + seed * 11 + turn * 101) % 97) as f64 / 48.5 - 1.01).collect()
}

#[test]
fn the_bits_are_those_of_recording_afresh() {
    for (name, f) in FUNCTIONS {
        let mut params = Params::new_f64();
        let w = params.add("w", [5], &values(0, 0, 5));
        let (mut tape, mut grads) = (Tape::new_f64(), Gradients::new());
        let record = |tape: &Tape<f64>, params: &Params<f64>, turn, grads: &mut Gradients<f64>| {
            let [x, y] = [1, 2].map(|seed| tape.input([4, 5], &values(turn, seed, 20)));
            let x = x.require_grad();
            let out = f(tape, x, tape.param(&params[w]), y);
            let loss = out.square().sum();
            loss.backward_into(grads);
            ([x, y, out, loss].map(Tensor::slot), out.to_vec(), grads.get(x).unwrap().as_slice().to_vec())
        };
        let ([x, y, out, loss], ..) = record(&tape, &params, 0, &mut grads);
        let size = |tape: &Tape<f64>| (tape.stats().entries, tape.stats().live_bytes);
        let before = size(&tape);
        for turn in 1..4 {
            params.values_mut().copy_from_slice(&values(turn, 0, 5));
            let mut fresh = Gradients::new();
            let (_, value, slope) = record(&Tape::new_f64(), &params, turn, &mut fresh);
            grads.zero();
            let replay = tape.replay(&params, &[(x, &values(turn, 1, 20)), (y, &values(turn, 2, 20))]);
            let [x, out, loss] = [x, out, loss].map(|slot| replay.tensor(slot));
            loss.backward_into(&mut grads);
            assert_eq!(out.to_vec(), value, "{name}, turn {turn}");
            assert_eq!(grads.get(x).unwrap().as_slice(), slope, "{name}, turn {turn}");
            assert_eq!(grads.slab(&params), fresh.slab(&params), "{name}, turn {turn}");
            assert_eq!(size(&tape), before, "{name}");
        }
    }
}

/// A training loop to the last bit, and no allocation of entries.
#[test]
fn a_training_loop() {
    let run = |replayed: bool| {
        let mut params = Params::new();
        let w = params.add("w", [3, 4], &[0.1, -0.2, 0.3, 0.4, 0.5, -0.6, 0.7, 0.8, -0.9, 0.1, 0.2, 0.3]);
        let v = params.add("v", [4, 1], &[0.3, -0.1, 0.2, 0.4]);
        let (mut tape, mut grads) = (Tape::new(), Gradients::new());
        let mut recorded = None;
        let mut losses = Vec::new();
        for turn in 0..20 {
            let x: Vec<f32> = (0..6).map(|i| ((i * 7 + turn * 3) % 11) as f32 / 5.0 - 1.0).collect();
            let y = [x[0] * x[1], x[3] - x[5]];
            grads.zero();
            if let Some((at_x, at_y, loss)) = recorded.filter(|_| replayed) {
                let replay = tape.replay(&params, &[(at_x, &x), (at_y, &y)]);
                let loss = replay.tensor(loss);
                loss.backward_into(&mut grads);
                losses.push(loss.item());
            } else {
                tape.rewind();
                let (x, y) = (tape.input([2, 3], &x), tape.input([2, 1], &y));
                let loss = x.matmul(&params[w]).tanh().matmul(&params[v]).mse_loss(y);
                loss.backward_into(&mut grads);
                losses.push(loss.item());
                recorded = Some((x.slot(), y.slot(), loss.slot()));
            }
            let slab = grads.slab(&params).unwrap();
            params.values_mut().iter_mut().zip(slab).for_each(|(p, g)| *p -= 0.1 * g);
        }
        (losses, params.values().to_vec())
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn what_fits_not_is_refused() {
    let mut params = Params::new();
    let w = params.full("w", [2], 1.0);
    let mut tape = Tape::new();
    let record = |tape: &Tape, params: &Params| {
        let x = tape.input([2], &[1.0, 2.0]);
        let y = x * &params[w];
        [x.slot(), tape.param(&params[w]).slot(), y.slot()]
    };
    let [x, p, y] = record(&tape, &params);
    refuses("replay: an input of shape [2] takes 2 values, got 3", || _ = tape.replay(&params, &[(x, &[0.0; 3])]));
    refuses("replay: mul (", || _ = tape.replay(&params, &[(y, &[0.0; 2])]));
    refuses("replay: parameter (", || _ = tape.replay(&params, &[(p, &[0.0; 2])]));
    refuses("replay: other parameters", || _ = tape.replay(None, &[]));
    refuses("replay: other parameters", || _ = tape.replay(&params.clone(), &[]));
    assert_eq!(tape.replay(&params, &[(x, &[3.0, 4.0])]).tensor(y).to_vec(), [3.0, 4.0]);

    // The slab moves when it grows.
    params.full("more", [1000], 0.0);
    refuses("replay: other parameters than those which were recorded, or some were added since", || {
        tape.replay(&params, &[]);
    });
    // Nor is it enough that some were recorded since.
    record(&tape, &params);
    refuses("replay: other parameters", || _ = tape.replay(&params, &[]));

    tape.rewind();
    refuses("replay: a slot of another tape, or from before a rewind", || _ = tape.replay(None, &[(x, &[0.0; 2])]));
    let [x, _, y] = record(&tape, &params);
    refuses("replay: a slot of another tape", || _ = Tape::new().replay(None, &[(x, &[0.0; 2])]));
    let replay = tape.replay(&params, &[(x, &[5.0, 6.0])]);
    assert_eq!(replay.tensor(y).to_vec(), [5.0, 6.0]);
    // By another name of the same input, and not by that of a view.
    let mut tape = Tape::new();
    let x = tape.input([2], &[1.0, 2.0]);
    let (named, viewed, sum) = (x.require_grad().slot(), x.reshape([1, 2]).detach().slot(), x.sum().slot());
    assert_eq!(tape.replay(None, &[(named, &[3.0, 4.0])]).tensor(sum).item(), 7.0);
    refuses("is no input from the host", || _ = tape.replay(None, &[(viewed, &[0.0; 2])]));
}

#[test]
fn what_cannot_be_run_again_is_refused() {
    let refused = |part: &str, f: for<'t> fn(&'t Tape, Tensor<'t>) -> Tensor<'t>| {
        let mut tape = Tape::new();
        let slot = f(&tape, tape.input([2], &[1.0, 2.0]).require_grad()).slot();
        refuses(part, || _ = tape.replay(None, &[]));
        refuses("tests/replay.rs", || _ = tape.replay(None, &[]));
        // It is gone after a rewind.
        tape.rewind();
        refuses("a slot of another tape", || _ = tape.replay(None, &[]).tensor(slot));
    };
    refused("what was computed without being recorded", |tape, x| tape.no_grad(|| x * 2.0));
    refused("an op of one's own", |tape, x| tape.checkpoint([x], |_, x| x[0].tanh()));
    refused("a choice of positions", |_, x| x.max_axis(0).0);
    // In a scope, there is a tape of its own.
    let mut tape = Tape::new();
    let x = tape.input([2], &[1.0, 2.0]);
    let (slot, y) = (x.slot(), (x * 2.0).slot());
    tape.evaluate(|scope| scope.scalar(1.0).exp().item());
    assert_eq!(tape.replay(None, &[(slot, &[2.0, 3.0])]).tensor(y).to_vec(), [4.0, 6.0]);
}

#[test]
fn values_are_checked_if_asked_for() {
    let mut tape = Tape::new();
    tape.set_check_finite(true);
    let x = tape.input([2], &[1.0, 2.0]);
    let (slot, _) = (x.slot(), x.ln());
    refuses("ln: made NaN at element 1 of [2]", || _ = tape.replay(None, &[(slot, &[1.0, -1.0])]));
    tape.replay(None, &[(slot, &[1.0, 3.0])]);
}
