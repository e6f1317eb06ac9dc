//! Programs in safe code which would touch memory they must not, if the engine
//! were careless. They assert little; they are for Miri and AddressSanitizer:
//!
//! ```text
//! MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test -p wengert --test soundness
//! RUSTFLAGS=-Zsanitizer=address cargo +nightly test -p wengert --target x86_64-unknown-linux-gnu --test soundness
//! ```

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use wengert::{Array, Conv, Gradients, Padding, Param, Params, Pool, Tape, Tensor};

/// A store with a matrix and a bias, new at every call.
fn model(value: f32) -> (Params, Param, Param) {
    let mut params = Params::new();
    let w = params.full("w", [2, 2], value);
    let b = params.full("b", [2], -value);
    (params, w, b)
}

fn loss<'t>(tape: &'t Tape, params: &'t Params, w: Param, b: Param) -> Tensor<'t> {
    let x = tape.tensor([[1.0, 2.0], [3.0, 4.0]]).require_grad();
    let views = tape.param(&params[w]).t().reshape([4]).reshape([2, 2]);
    (x.matmul(&params[w]) + &params[b] + views).tanh().sum()
}

/// Miri varies the last bits of transcendental functions.
#[track_caller]
fn close(a: f32, b: f32) {
    assert!((a - b).abs() < 1e-4, "{a} {b}");
}

/// Everything which walks over the tape, with dead entries on it.
fn walk(tape: &Tape) {
    assert!(tape.first_non_finite().is_none());
    assert!(!tape.dump().to_string().is_empty());
    assert!(tape.dump().dot().to_string().starts_with("digraph"));
    assert!(tape.stats().entries > 0);
}

#[test]
fn parameters_step_under_a_live_tape() {
    let (mut params, w, b) = model(0.5);
    let (tape, mut grads) = (Tape::new(), Gradients::new());
    for _ in 0..3 {
        let loss = loss(&tape, &params, w, b);
        grads.zero();
        loss.backward_into(&mut grads);
        let slab = grads.slab(&params).unwrap().to_vec();
        params.values_mut().iter_mut().zip(slab).for_each(|(p, g)| *p -= 0.1 * g);
        walk(&tape);
    }
}

#[test]
fn parameters_drop_under_a_live_tape() {
    let tape = Tape::new();
    let x = tape.scalar(1.0).require_grad();
    let mut grads = Gradients::new();
    for i in 0..4 {
        let (params, w, b) = model(i as f32);
        loss(&tape, &params, w, b).backward_into(&mut grads);
        assert!(grads.get(&params[w]).is_some());
        drop(params);
        // Dead leaves stand before and behind; other sweeps go on.
        (x * 2.0).backward_into(&mut grads);
        let [dx] = (x * x).grad([x]);
        assert_eq!(dx.item(), 2.0);
        walk(&tape);
        assert!(grads.norm() > 0.0);
    }
}

/// A list is run again while its parameters change, grow, move and go.
#[test]
fn replays_with_live_parameters_alone() {
    let (mut params, w, b) = model(0.5);
    let (mut tape, mut grads) = (Tape::new(), Gradients::new());
    let record = |tape: &Tape, params: &Params| {
        let x = tape.input([2, 2], &[1.0, 2.0, 3.0, 4.0]);
        let w = tape.param(&params[w]);
        let y = ((x.matmul(w) + &params[b]).reshape([4]) * w.t().reshape([4])).tanh().sum();
        (x.slot(), w.slot(), y.slot())
    };
    let (x, at_w, y) = record(&tape, &params);
    for i in 0..3 {
        let replay = tape.replay(&params, &[(x, &[i as f32; 4])]);
        let y = replay.tensor(y);
        grads.zero();
        y.backward_into(&mut grads);
        let [dw] = y.grad([replay.tensor(at_w)]);
        for (a, &b) in dw.to_vec().into_iter().zip(grads.get(&params[w]).unwrap().as_slice()) {
            close(a, b);
        }
        walk(y.tape());
        let slab = grads.slab(&params).unwrap().to_vec();
        params.values_mut().iter_mut().zip(slab).for_each(|(p, g)| *p -= 0.1 * g);
    }
    let refused = |tape: &mut Tape, params: Option<&Params>| {
        assert!(catch_unwind(AssertUnwindSafe(|| _ = tape.replay(params, &[]))).is_err());
    };
    let mut other = params.clone();
    refused(&mut tape, Some(&other));
    std::mem::swap(&mut params, &mut other);
    refused(&mut tape, Some(&params));
    tape.replay(&other, &[]).tensor(y).item();
    other.full("more", [100], 0.0);
    refused(&mut tape, Some(&other));
    record(&tape, &other);
    refused(&mut tape, Some(&other));
    tape.rewind();
    let (.., y) = record(&tape, &other);
    tape.replay(&other, &[]).tensor(y).item();
    drop(other);
    refused(&mut tape, None);
    refused(&mut tape, Some(&model(0.5).0));

    // A panic in the middle; what is before it was computed anew.
    tape.rewind();
    tape.set_check_finite(true);
    let x = tape.input([2], &[1.0, 2.0]);
    let (x, y) = (x.slot(), x.ln().exp().slot());
    assert!(catch_unwind(AssertUnwindSafe(|| _ = tape.replay(None, &[(x, &[-1.0, 1.0])]))).is_err());
    assert!(tape.replay(None, &[(x, &[3.0, 1.0])]).tensor(y).to_vec()[0] > 2.9);
}

#[test]
fn parameters_grow_under_a_live_tape() {
    let (mut params, w, b) = model(0.5);
    let (tape, mut grads) = (Tape::new(), Gradients::new());
    for i in 0..4 {
        loss(&tape, &params, w, b).backward_into(&mut grads);
        let new = params.full(&format!("more{i}"), [100], 1.0);
        assert!(grads.get(&params[new]).is_none());
        tape.param(&params[new]).sum().backward_into(&mut grads);
        assert_eq!(grads.get(&params[new]).unwrap().as_slice(), &[1.0; 100]);
        walk(&tape);
    }
}

#[test]
fn parameters_swap_and_clone_under_a_live_tape() {
    let tape = Tape::new();
    let (mut a, w, b) = model(0.5);
    let mut other = a.clone();
    let mut grads = Gradients::new();
    for _ in 0..3 {
        let both = loss(&tape, &a, w, b) + loss(&tape, &other, w, b);
        both.backward_into(&mut grads);
        std::mem::swap(&mut a, &mut other);
        let copy = a.clone();
        let boxed = Box::new(std::mem::take(&mut a));
        close(loss(&tape, &boxed, w, b).item(), loss(&tape, &copy, w, b).item());
        loss(&tape, &copy, w, b).backward_into(&mut grads);
        a = *boxed;
        walk(&tape);
    }
    assert!(grads.get(&a[w]).is_some() && grads.get(&other[w]).is_some());
}

#[test]
fn a_tensor_outlives_parameters_it_does_not_depend_on() {
    let tape = Tape::new();
    let x = tape.tensor([1.0, 2.0]).require_grad();
    let y = {
        let (params, _, b) = model(1.0);
        // The product dies here; `x` does not.
        assert_eq!((x * &params[b]).to_vec(), [-1.0, -2.0]);
        x * 3.0
    };
    let grads = y.sum().backward();
    assert_eq!(grads.get(x).unwrap().as_slice(), &[3.0, 3.0]);
    walk(&tape);
}

#[test]
fn views_of_dead_parameters_are_not_read() {
    let tape = Tape::new();
    for keep in [false, true] {
        let (params, w, b) = model(0.5);
        let p = tape.param(&params[w]);
        let views = [p.t(), p.permute([1, 0]), p.reshape([4]), p.broadcast_to([3, 2, 2]), p.detach(), p.contiguous()];
        let tracked = p.detach().require_grad().t().retain_grad();
        if keep {
            let grads = (tracked * views[0]).sum().backward();
            assert_eq!(grads.get(tracked).unwrap().shape(), &[2, 2]);
        }
        let frozen = tape.no_grad(|| tape.param(&params[b]).reshape([2, 1]));
        assert!(!frozen.requires_grad());
        drop(params);
        walk(&tape);
    }
    let x = tape.scalar(1.0).require_grad();
    assert_eq!(x.grad([x])[0].item(), 1.0);
}

#[test]
fn slices_live_as_long_as_their_tape_says() {
    let tape = Tape::new();
    let (params, w, _) = model(0.5);
    let held = tape.param(&params[w]).as_slice();
    let mine = tape.tensor([1.0, 2.0]).as_slice();
    // The arena grows, the list moves: slices stay.
    for i in 0..200 {
        let _ = tape.full([50], i as f32).exp();
    }
    assert_eq!((held, mine), (&[0.5; 4][..], &[1.0, 2.0][..]));
    let shape = tape.ones([3, 4]).t().shape();
    let name = tape.ones([2]).require_grad().exp().grad_fn().unwrap();
    assert_eq!((shape, name.shape(), name.location().file()), (&[4, 3][..], &[2][..], file!()));
}

#[test]
fn swapped_tapes_keep_their_identity() {
    let (mut a, mut b) = (Tape::new(), Tape::new());
    let (params, w, bias) = model(0.5);
    let mut grads = Gradients::new();
    loss(&a, &params, w, bias).backward_into(&mut grads);
    std::mem::swap(&mut a, &mut b);
    loss(&a, &params, w, bias).backward_into(&mut grads);
    a.rewind();
    std::mem::swap(&mut a, &mut b);
    loss(&a, &params, w, bias).backward_into(&mut grads);
    let boxed = Box::new(a);
    loss(&boxed, &params, w, bias).backward_into(&mut grads);
    assert!(grads.norm() > 0.0);
    walk(&boxed);
}

#[test]
fn gradients_outlive_everything() {
    let mut grads = Gradients::new();
    let slab = {
        let (params, w, b) = model(0.5);
        let tape = Tape::new();
        loss(&tape, &params, w, b).backward_into(&mut grads);
        grads.slab(&params).unwrap().to_vec()
    };
    assert_eq!(slab.len(), 6);
    assert!(grads.norm() > 0.0);
    grads.scale(2.0);
    grads.clip_norm(1.0);
    // New stores and tapes where the old ones were.
    for _ in 0..4 {
        let (params, w, b) = model(0.25);
        let tape = Tape::new();
        assert!(grads.get(&params[w]).is_none() && grads.slab(&params).is_none());
        let x = tape.scalar(1.0).require_grad();
        assert!(catch_unwind(AssertUnwindSafe(|| grads.get(x).is_some())).is_err());
        loss(&tape, &params, w, b).backward_into(&mut grads);
        assert_eq!(grads.get(&params[b]).unwrap().len(), 2);
    }
    grads.zero();
    assert_eq!(grads.norm(), 0.0);
}

#[test]
fn a_recorded_gradient_of_parameters() {
    let tape = Tape::new();
    for _ in 0..2 {
        let (params, w, b) = model(0.5);
        let l = loss(&tape, &params, w, b);
        let [dw, db] = l.grad([tape.param(&params[w]), tape.param(&params[b])]);
        let grads = (dw.square().sum() + db.sum()).backward();
        assert!(grads.get(&params[w]).is_some());
        drop(params);
        walk(&tape);
    }
}

#[test]
fn evaluation_reuses_its_scope() {
    let tape = Tape::new();
    for i in 0..3 {
        let (params, w, b) = model(i as f32);
        let x = tape.scalar(2.0).require_grad();
        let y: Vec<f32> = tape.evaluate(|scope| {
            let inner = scope.evaluate(|s| loss(s, &params, w, b).item());
            (loss(scope, &params, w, b) * scope.constant(x) + inner).to_vec()
        });
        assert_eq!(y.len(), 1);
        let same = tape.evaluate(|_| tape.evaluate(|scope| loss(scope, &params, w, b).item()));
        assert!(same.is_finite());
        drop(params);
        let nothing = tape.evaluate(|scope| scope.stats().entries);
        assert_eq!(nothing, 0);
    }
}

#[test]
fn panics_in_the_middle() {
    let mut tape = Tape::new();
    let (params, w, b) = model(0.5);
    for turn in 0..3 {
        let x = tape.scalar(-1.0).require_grad();
        tape.set_check_finite(true);
        let ln = catch_unwind(AssertUnwindSafe(|| x.ln().item()));
        assert!(ln.is_err());
        // A recorded sweep which makes an infinity half-way.
        let z = tape.scalar(0.0).require_grad();
        let root = (z.sqrt() * 2.0).exp();
        assert!(catch_unwind(AssertUnwindSafe(|| root.grad([z])[0].item())).is_err());
        tape.set_check_finite(false);
        assert!(root.grad([z])[0].item().is_infinite());
        let scope = catch_unwind(AssertUnwindSafe(|| {
            tape.evaluate(|scope| {
                let _ = loss(scope, &params, w, b);
                panic!("on purpose")
            })
        }));
        assert!(scope.is_err());
        let silent = catch_unwind(AssertUnwindSafe(|| tape.no_grad(|| panic!("on purpose"))));
        assert!(silent.is_err() && tape.is_recording());
        let grads = loss(&tape, &params, w, b).backward();
        assert!(grads.get(&params[w]).is_some());
        let _ = x;
        if turn == 1 {
            tape.rewind();
        }
    }
}

#[test]
fn tapes_and_gradients_move_between_threads() {
    let (params, w, b) = model(0.5);
    let mut tape = Tape::new();
    loss(&tape, &params, w, b).item();
    let mut grads = Gradients::new();
    for _ in 0..2 {
        (tape, grads) = std::thread::scope(|s| {
            let params = &params;
            let worker = s.spawn(move || {
                loss(&tape, params, w, b).backward_into(&mut grads);
                (tape, grads)
            });
            worker.join().unwrap()
        });
    }
    drop(params);
    walk(&tape);
}

/// A shape which says something else every time it is asked.
struct Fickle(RefCell<usize>);

impl AsRef<[usize]> for Fickle {
    fn as_ref(&self) -> &[usize] {
        let mut n = self.0.borrow_mut();
        *n += 1;
        [&[2usize, 2][..], &[100, 100]][usize::from(*n > 1)]
    }
}

#[test]
fn a_shape_is_asked_for_once() {
    let fickle = || Fickle(RefCell::new(0));
    let tape = Tape::new();
    let x = tape.input(fickle(), &[1.0, 2.0, 3.0, 4.0]);
    assert_eq!(x.reshape(fickle()).sum().item(), 10.0);
    assert_eq!(tape.scalar(1.0).broadcast_to(fickle()).sum().item(), 4.0);
    assert_eq!(tape.ones(fickle()).sum().item(), 4.0);
    assert_eq!(Array::full(fickle(), 1.0).len(), 4);
    let mut params = Params::new();
    let w = params.full("w", fickle(), 1.0);
    assert_eq!(tape.param(&params[w]).sum().item(), 4.0);
    let p = params.add("p", fickle(), &[1.0; 4]);
    assert_eq!(params[p].as_slice().len(), 4);
}

#[test]
fn an_initialiser_which_panics() {
    let (mut params, w, b) = model(0.5);
    let tape = Tape::new();
    let before = loss(&tape, &params, w, b).item();
    let failed = catch_unwind(AssertUnwindSafe(|| params.add_with("bad", [1000], |_| panic!("on purpose"))));
    assert!(failed.is_err());
    let after = params.full("after", [2], 7.0);
    assert_eq!(tape.param(&params[after]).to_vec(), [7.0, 7.0]);
    close(loss(&tape, &params, w, b).item(), before);
    let copy = params.clone();
    assert_eq!(copy[after].as_slice(), &[7.0, 7.0]);
    let grads = loss(&tape, &params, w, b).backward();
    assert!(grads.get(&params[w]).is_some());
}

#[test]
fn every_op_forward_backward_and_recorded() {
    let tape = Tape::<f64>::new_f64();
    let x = tape.input([2, 3], &[0.5, 1.5, 2.5, 3.5, 4.5, 5.5]).require_grad();
    let column = tape.input([2, 1], &[1.0, 2.0]).require_grad();
    let outputs = [
        x + column,
        x / column - x * x,
        x.maximum(column).minimum(3.0),
        (2.0 / x).ln().exp().sqrt().recip(),
        x.abs().tanh().sigmoid().relu().square().powf(1.5),
        x.matmul(x.t()),
        x.t().matmul(column),
        x.broadcast_to([2, 2, 3]).matmul(x.t()),
        x.matmul(tape.ones([3])),
        x.permute([1, 0]).reshape([3, 2]).contiguous(),
        x.softmax(-1) + x.log_softmax(0),
        x.t().softmax(0).logsumexp_axes(1),
        x.amax_axes(0) + x.amin_keepdim(0).reshape([3]),
        x.mean_axes([0, 1]) + x.sum_axes(-1),
        x.cross_entropy(&[0, 2]),
        x.t().cross_entropy(&[0, 1, 1]),
        x.mse_loss(x.detach() + 1.0),
        x.binary_cross_entropy_with_logits(x.detach().sigmoid()),
    ];
    let mut grads = Gradients::new();
    for y in outputs {
        assert!(y.to_vec().iter().all(|v| v.is_finite()));
        let ones = tape.ones(y.shape());
        y.backward_with_into(ones, &mut grads);
        let [dx] = y.vjp(ones, [x]);
        if dx.requires_grad() {
            dx.sum().backward_into(&mut grads);
        }
        grads.zero();
    }
}

/// What an earlier recorded sweep left may name an entry which now stands for
/// dead parameters.
#[test]
fn stale_adjoints_of_recorded_sweeps_are_not_read() {
    let mut tape = Tape::new();
    {
        let x = tape.scalar(3.0).require_grad();
        assert_eq!((x * x).grad([x])[0].item(), 6.0);
    }
    tape.rewind();
    let x = tape.scalar(3.0).require_grad();
    let w = tape.scalar(5.0).require_grad();
    for _ in 0..6 {
        let (params, p, _) = model(0.5);
        assert_eq!(tape.param(&params[p]).len(), 4);
    }
    let y = w * w;
    assert_eq!(y.grad([x])[0].to_vec(), [0.0]);
}

/// Kernels which walk memory by offsets of their own.
#[test]
fn scans_factorisations_and_positions() {
    let tape = Tape::new_f64();
    let x = tape.linspace(0.1, 1.7, 12).reshape([2, 3, 2]).require_grad();
    let turned = x.permute([2, 0, 1]);
    let scans = turned.cumsum(1).sum() + turned.cumprod(-1).sum() + x.logcumsumexp(0).sum();
    let parts = turned.max_axis(0).0.sum()
        + x.unfold(1, 2, 1).exp().sum()
        + x.pad(&[(1, 0), (0, 2)], Padding::Constant(1.0)).sum();
    let a = turned.select(0, 0).matmul(x.select(2, 1).t()) + tape.eye(2) * 9.0;
    let systems = a.solve(tape.ones([2])).sum() + a.det() + (a + a.t()).cholesky().sum() + a.inverse().trace();
    let einsum = tape.einsum("ij,jk,k->i", [a, a, tape.ones([2])]).sum();
    let y = scans + parts + systems + einsum;
    let plain = y.backward();
    let [recorded] = y.grad([x]);
    for (p, r) in plain.get(x).unwrap().iter().zip(recorded.to_vec()) {
        assert!((p - r).abs() < 1e-9 * r.abs().max(1.0));
    }
    let nothing = tape.zeros([2, 0, 3]).require_grad();
    let y = nothing.cumsum(1).sum() + nothing.prod() + nothing.cumprod(0).sum() + tape.zeros([0, 0]).det();
    assert_eq!(y.item(), 2.0);
    assert_eq!(y.backward().get(nothing).unwrap().len(), 0);
}

/// Ops of users run code of theirs between borrows of ours.
#[test]
fn hooks_checkpoints_and_parameters_which_go() {
    let mut tape = Tape::new();
    let mut grads = Gradients::new();
    for turn in 0..3 {
        tape.rewind();
        grads.zero();
        let mut params = Params::new();
        let w = params.full("w", [3], 1.0 + turn as f32);
        {
            let w = tape.param(&params[w]);
            let y = tape.checkpoint([w], |scope, x| {
                let inner = scope.checkpoint([x[0].exp()], |_, x| x[0].square());
                inner.on_backward(|g| g * g.sum())
            });
            let hooked = y.on_backward(|g| g.clamp(-2.0, 2.0));
            hooked.sum().backward_into(&mut grads);
            assert!(y.sum().hvp([w], [w.detach()])[0].sum().item().is_finite());
        }
        assert!(grads.get(&params[w]).unwrap().iter().all(|g| g.is_finite()));
        params.values_mut().fill(0.0);
        drop(params);
        // The dead parameter's entries are still on the list.
        assert!(tape.stats().entries > 0 && tape.first_non_finite().is_none());
    }
}

/// Code of users which panics while a sweep holds adjoints and temporaries.
#[test]
fn panics_in_the_middle_of_a_sweep() {
    static BROKEN: AtomicBool = AtomicBool::new(false);
    let mut tape = Tape::new();
    let mut grads = Gradients::new();
    for turn in 0..3 {
        let (params, w, _) = model(0.5);
        {
            let x = tape.param(&params[w]);
            let hooked = x.exp().on_backward(|g| match BROKEN.load(Relaxed) {
                true => panic!("on purpose"),
                false => g * 2.0,
            });
            let block = tape.checkpoint([x], |_, x| {
                assert!(!BROKEN.load(Relaxed), "on purpose");
                x[0].tanh().matmul(x[0])
            });
            let roots = [(hooked * x).matmul(x).sum(), (block + x).square().sum()];
            for root in roots {
                BROKEN.store(true, Relaxed);
                assert!(catch_unwind(AssertUnwindSafe(|| root.backward().norm())).is_err());
                assert!(catch_unwind(AssertUnwindSafe(|| root.backward_into(&mut grads))).is_err());
                assert!(catch_unwind(AssertUnwindSafe(|| root.grad([x])[0].len())).is_err());
                BROKEN.store(false, Relaxed);
                grads.zero();
                root.backward_into(&mut grads);
                let [recorded] = root.grad([x]);
                for (plain, recorded) in grads.get(x).unwrap().iter().zip(recorded.to_vec()) {
                    close(*plain, recorded);
                }
            }
        }
        drop(params);
        walk(&tape);
        if turn == 1 {
            tape.rewind();
        }
    }
}

/// Numbers so large that arithmetic with them wraps around to small ones.
#[test]
fn amounts_beyond_all_memory() {
    const HALF: usize = 1 << 63;
    let tape = Tape::new();
    let x = tape.arange(0.0, 24.0, 1.0).reshape([1, 2, 3, 4]).require_grad();
    let weight = tape.ones([2, 2, 2, 2]);
    let refused = |what: &str, f: &dyn Fn() -> usize| {
        assert!(catch_unwind(AssertUnwindSafe(f)).is_err(), "{what}");
        assert_eq!(x.sum().backward().get(x).unwrap().as_slice(), &[1.0; 24], "after {what}");
    };
    for padding in [Padding::Constant(0.0), Padding::Constant(1.0), Padding::Replicate] {
        refused("pad", &|| x.pad(&[(isize::MAX, isize::MAX)], padding).len());
        refused("pad", &|| x.pad(&[(isize::MIN, isize::MIN)], padding).len());
    }
    let pool = Pool::new([3, 1]);
    refused("pool", &|| x.max_pool2d(Pool { dilation: [HALF, 1], ..pool }).len());
    refused("pool", &|| x.avg_pool2d(Pool { dilation: [usize::MAX, 1], ..pool }).len());
    let wide = Pool { padding: [HALF, 0], ..pool };
    refused("pool", &|| x.max_pool2d(wide).len());
    refused("pool", &|| x.avg_pool2d(wide).len());
    refused("pool", &|| x.avg_pool2d(Pool { partial: true, ..wide }).len());
    let conv = Conv::default();
    refused("conv2d", &|| x.conv2d(weight, None, Conv { padding: [HALF, 0], ..conv }).len());
    refused("conv_transpose2d", &|| x.conv_transpose2d(weight, None, Conv { padding: [HALF, 0], ..conv }).len());
    refused("conv2d", &|| x.conv2d(weight, None, Conv { dilation: [usize::MAX, 1], ..conv }).len());
    refused("conv_transpose2d", &|| x.conv_transpose2d(weight, None, Conv { stride: [HALF, 1], ..conv }).len());
    refused("conv_transpose2d", &|| x.conv_transpose2d(weight, None, Conv { dilation: [HALF, HALF], ..conv }).len());
    let all = Conv { output_padding: [usize::MAX, 0], ..conv };
    refused("conv_transpose2d", &|| x.conv_transpose2d(weight, None, all).len());
    refused("split", &|| x.split(3, &[5, usize::MAX])[0].len());
    refused("narrow", &|| x.narrow(3, usize::MAX, 2).len());
    refused("repeat", &|| x.repeat(&[HALF, 2, 1, 1]).len());
    refused("diag_embed", &|| x.diag_embed(isize::MIN, 0, 1).len());
    // These are valid: what they ask for is cut off at the ends.
    assert_eq!(x.diagonal(isize::MIN, 2, 3).len() + x.diagonal(isize::MAX, 2, 3).len(), 0);
    assert_eq!(x.slice_step(3, isize::MIN..isize::MAX, isize::MIN).len(), 6);
    assert_eq!(x.unfold(3, 4, usize::MAX).len(), 24);
}
