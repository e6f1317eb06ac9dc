//! What a tape, its parameters and its gradients do over turns, threads and
//! panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use wengert::{Array, Gradients, Param, Params, Tape, Tensor};

fn assert_send<X: Send>() {}
fn assert_sync<X: Sync>() {}

/// Compiles only for types which are not `Sync`: for others the call is
/// ambiguous.
macro_rules! assert_not_sync {
    ($type:ty) => {{
        trait Ambiguous<A> {
            fn call() {}
        }
        impl<X: ?Sized> Ambiguous<()> for X {}
        struct Other;
        impl<X: ?Sized + Sync> Ambiguous<Other> for X {}
        <$type as Ambiguous<_>>::call();
    }};
}

fn assert_unwind<X: std::panic::RefUnwindSafe>() {}

#[test]
fn what_may_be_shared_and_sent() {
    assert_send::<Tape<f32>>();
    assert_send::<Gradients<f32>>();
    assert_send::<Params<f64>>();
    assert_sync::<Params<f64>>();
    assert_unwind::<Tape<f32>>();
    // One tape per thread; a tensor, which refers to its tape, cannot be sent.
    assert_not_sync!(Tape<f32>);
    assert_not_sync!(Tensor<'static, f64>);
}

#[test]
fn rewinding() {
    let mut tape = Tape::new();
    for turn in 0..5 {
        tape.rewind();
        assert_eq!((tape.stats().entries, tape.stats().live_bytes), (0, 0));
        let x = tape.full([1000], turn as f32).require_grad();
        let y = (x.square() * x).sum();
        assert_eq!(y.backward().get(x).unwrap().as_slice(), &[3.0 * (turn * turn) as f32; 1000]);
        let stats = tape.stats();
        // leaf, tracked alias, square, product, sum
        assert_eq!(stats.entries, 5);
        assert!(stats.live_bytes >= 12_000 && stats.live_bytes < 13_000, "{stats:?}");
        assert!(stats.reserved_bytes >= stats.live_bytes && stats.high_water_bytes == stats.live_bytes);
        assert!(stats.sweep_bytes > 0);
    }
    tape.rewind();
    assert_eq!(tape.stats().high_water_entries, 5);
}

#[test]
fn reserves() {
    let mut tape = Tape::<f64>::with_capacity(100, 1 << 20);
    let reserved = tape.stats().reserved_bytes;
    assert!(reserved >= 1 << 20);
    tape.touch_pages();
    let _ = tape.ones([1 << 16]);
    assert_eq!(tape.stats().reserved_bytes, reserved);
}

#[test]
fn constants_and_leaves() {
    let tape = Tape::new();
    let x = tape.tensor([1.0, 2.0]).require_grad();
    let y = x * 3.0;
    let silent = tape.no_grad(|| {
        assert!(!tape.is_recording());
        tape.no_grad(|| ());
        assert!(!tape.is_recording());
        x * y
    });
    assert!(tape.is_recording());
    let detached = y.detach();
    for constant in [silent, detached] {
        assert!(!constant.requires_grad() && constant.is_leaf() && constant.grad_fn().is_none());
    }
    assert!(x.is_leaf() && x.requires_grad() && !y.is_leaf() && y.requires_grad());
    assert_eq!(detached.as_slice().as_ptr(), y.as_slice().as_ptr(), "no copy is made");
    assert_eq!(x.require_grad().index(), x.index());
    let grads = (y * detached + silent).sum().backward();
    assert_eq!(grads.get(x).unwrap().as_slice(), &[9.0, 18.0]);
    // A detached tensor which is made a leaf.
    let leaf = y.detach().require_grad();
    let grads = (leaf * leaf).sum().backward();
    assert_eq!(grads.get(leaf).unwrap().as_slice(), &[6.0, 12.0]);
    assert!(grads.get(x).is_none());
    let name = y.grad_fn().unwrap();
    assert_eq!((name.name(), name.shape(), name.operands().count()), ("mul_scalar", &[2][..], 1));
}

#[test]
fn evaluation_does_not_grow_the_tape() {
    let tape = Tape::new();
    let x = tape.ones([100]).require_grad();
    let before = tape.stats();
    for _ in 0..10 {
        let y = tape.evaluate(|scope| {
            let y = scope.constant(x).exp();
            assert!(!y.requires_grad() && !scope.is_recording());
            y.sum().item()
        });
        assert!((y - 100.0 * 1f32.exp()).abs() < 1e-3);
        assert_eq!(tape.evaluate(|outer| outer.evaluate(|scope| scope.scalar(2.0).item())), 2.0);
    }
    assert_eq!(tape.stats().live_bytes, before.live_bytes);
    assert!(tape.is_recording());
}

#[test]
fn gradients_of_intermediates() {
    let tape = Tape::new();
    let x = tape.tensor([1.0, 2.0]).require_grad();
    let a = x.square().retain_grad();
    let b = (a * 3.0).retain_grad();
    let unused = (x * 5.0).retain_grad();
    let mut grads = (b + a).sum().backward();
    assert_eq!(grads.get(b).unwrap().as_slice(), &[1.0, 1.0]);
    assert_eq!(grads.get(a).unwrap().as_slice(), &[4.0, 4.0]);
    assert_eq!(grads.get(x).unwrap().as_slice(), &[8.0, 16.0]);
    assert!(grads.get(unused).is_none());
    b.sum().backward_into(&mut grads);
    assert_eq!(grads.get(a).unwrap().as_slice(), &[7.0, 7.0]);
    // The root itself.
    let root = a.sum().retain_grad();
    assert_eq!(root.backward().get(root).unwrap().item(), 1.0);
    // A leaf as the root.
    let leaf = tape.scalar(3.0).require_grad();
    assert_eq!(leaf.backward().get(leaf).unwrap().item(), 1.0);
}

fn store(values: &[f32]) -> (Params, Vec<Param>) {
    let mut params = Params::new();
    let all = values.iter().enumerate().map(|(i, &v)| params.full(&format!("p{i}"), [2], v)).collect();
    (params, all)
}

/// An earlier sweep's adjoint is not an answer to a later one.
#[test]
fn a_recorded_gradient_of_what_nothing_reaches_is_zero() {
    let mut tape = Tape::new();
    for _ in 0..2 {
        let (x, w) = (tape.scalar(3.0).require_grad(), tape.scalar(5.0).require_grad());
        assert_eq!((x * x).grad([x])[0].item(), 6.0);
        let y = w * w;
        let [dx, dw] = y.grad([x, w]);
        assert_eq!((dx.item(), dw.item()), (0.0, 10.0));
        tape.rewind();
    }
}

#[test]
fn one_leaf_per_parameter() {
    let (mut params, p) = store(&[2.0, 3.0]);
    let tape = Tape::new();
    let first = tape.param(&params[p[0]]).index();
    let used = (tape.ones([2]) * &params[p[0]] + &params[p[1]]) * &params[p[0]];
    assert_eq!(tape.param(&params[p[0]]).index(), first);
    assert_eq!(tape.param(&params[p[0]]).as_slice().as_ptr(), params[p[0]].as_slice().as_ptr());
    let grads = used.sum().backward();
    // (p0 + p1) p0
    assert_eq!(grads.get(&params[p[0]]).unwrap().as_slice(), &[7.0, 7.0]);
    assert_eq!(grads.get(&params[p[1]]).unwrap().as_slice(), &[2.0, 2.0]);
    assert_eq!(grads.get(tape.param(&params[p[0]])).unwrap().as_slice(), &[7.0, 7.0]);
    // A change makes another leaf, on the same tape.
    params.values_mut().fill(10.0);
    let second = tape.param(&params[p[0]]);
    assert_ne!(second.index(), first);
    assert_eq!(second.to_vec(), [10.0, 10.0]);
    let grads = second.square().sum().backward();
    assert_eq!(grads.get(&params[p[0]]).unwrap().as_slice(), &[20.0, 20.0]);
}

#[test]
fn first_used_under_no_grad() {
    let (params, p) = store(&[2.0]);
    let tape = Tape::new();
    let silent = tape.no_grad(|| tape.ones([2]) * &params[p[0]]);
    assert!(!silent.requires_grad());
    let loss = (silent * &params[p[0]]).sum();
    assert_eq!(loss.backward().get(&params[p[0]]).unwrap().as_slice(), &[2.0, 2.0]);
}

#[test]
fn frozen_parameters() {
    let (mut params, p) = store(&[2.0, 3.0]);
    let tape = Tape::new();
    params.freeze(p[0]);
    assert!(params[p[0]].is_frozen() && !tape.param(&params[p[0]]).requires_grad());
    let product = tape.param(&params[p[0]]) * &params[p[1]];
    let grads = product.sum().backward();
    assert!(grads.get(&params[p[0]]).is_none());
    assert_eq!(grads.get(&params[p[1]]).unwrap().as_slice(), &[2.0, 2.0]);
    assert!(grads.runs(&params).eq([std::ops::Range { start: 2, end: 4 }]));
    assert_eq!(grads.slab(&params).unwrap(), &[0.0, 0.0, 2.0, 2.0]);
    assert!(params.clone()[p[0]].is_frozen());
    params.unfreeze(p[0]);
    let grads = (tape.param(&params[p[0]]) * &params[p[1]]).sum().backward();
    assert_eq!(grads.get(&params[p[0]]).unwrap().as_slice(), &[3.0, 3.0]);
    params.freeze_all();
    assert!(!(tape.param(&params[p[0]]) * &params[p[1]]).requires_grad());
}

#[test]
fn two_stores_on_one_tape() {
    let (a, p) = store(&[2.0, 3.0]);
    let b = a.clone();
    let tape = Tape::new();
    let loss = (tape.param(&a[p[0]]) * &b[p[0]] * 5.0 + &b[p[1]]).sum();
    let grads = loss.backward();
    assert_eq!(grads.get(&a[p[0]]).unwrap().as_slice(), &[10.0, 10.0]);
    assert_eq!(grads.get(&b[p[1]]).unwrap().as_slice(), &[1.0, 1.0]);
    assert!(grads.get(&a[p[1]]).is_none());
    assert_eq!(grads.slab(&a).unwrap(), &[10.0, 10.0, 0.0, 0.0]);
    assert_eq!(grads.slab(&b).unwrap(), &[10.0, 10.0, 1.0, 1.0]);
}

#[test]
fn gradients_accumulate_until_zeroed() {
    let (params, p) = store(&[2.0, 3.0, 4.0]);
    let (mut tape, mut grads) = (Tape::new(), Gradients::new());
    for turn in 1..=3 {
        tape.rewind();
        let x = tape.full([2], turn as f32).require_grad();
        let loss = (x * &params[p[0]]).sum();
        loss.backward_into(&mut grads);
        loss.backward_into(&mut grads);
        // Those of leaves are of this turn, those of parameters of all.
        assert_eq!(grads.get(x).unwrap().as_slice(), &[4.0, 4.0]);
    }
    assert_eq!(grads.get(&params[p[0]]).unwrap().as_slice(), &[12.0, 12.0]);
    grads.zero();
    assert!(grads.get(&params[p[0]]).is_none() && grads.slab(&params).is_none() && grads.norm() == 0.0);
    tape.param(&params[p[2]]).sum().backward_into(&mut grads);
    assert_eq!(grads.slab(&params).unwrap(), &[0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
    assert!(grads.runs(&params).eq([std::ops::Range { start: 4, end: 6 }]));
    tape.param(&params[p[0]]).sum().backward_into(&mut grads);
    assert_eq!(grads.slab(&params).unwrap(), &[1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
}

#[test]
fn norms_and_clipping() {
    let (params, p) = store(&[2.0, 3.0]);
    let tape = Tape::new();
    let x = tape.tensor([1.0, 1.0]).require_grad();
    let loss = |k: f32| (x * (2.0 * k) + tape.param(&params[p[1]]) * (1.0 * k)).sum();
    let mut grads = loss(2.0).backward();
    assert_eq!(grads.norm(), (2.0f32 * 16.0 + 2.0 * 4.0).sqrt());
    let before = grads.norm();
    assert_eq!(grads.clip_norm(100.0), before);
    assert_eq!(grads.norm(), before);
    assert_eq!(grads.clip_norm(1.0), before);
    assert!((grads.norm() - before / (before + 1e-6)).abs() < 1e-6);
    grads = loss(2.0).backward();
    grads.clip_value(3.0);
    assert_eq!(grads.get(x).unwrap().as_slice(), &[3.0, 3.0]);
    assert_eq!(grads.get(&params[p[1]]).unwrap().as_slice(), &[2.0, 2.0]);
    grads.scale(-2.0);
    grads.clip_value(5.0);
    assert_eq!(grads.get(x).unwrap().as_slice(), &[-5.0, -5.0]);
    assert_eq!(grads.get(&params[p[1]]).unwrap().as_slice(), &[-4.0, -4.0]);
    assert!(grads.is_finite());
    grads.for_each(|g| *g = f32::NAN);
    assert!(!grads.is_finite() && grads.norm().is_nan());
}

#[test]
fn accumulation_after_zero_forgets_leaves() {
    let tape = Tape::new();
    let x = tape.scalar(2.0).require_grad();
    let mut grads = (x * 3.0).backward();
    grads.zero();
    assert!(grads.get(x).is_none());
    (x * 4.0).backward_into(&mut grads);
    assert_eq!(grads.get(x).unwrap().item(), 4.0);
}

/// A root whose sweep runs out of memory after it has begun: its adjoint is
/// asked for, and is larger than any memory.
fn impossible<'t>(tape: &'t Tape, x: Tensor<'t>) -> (Tensor<'t>, Tensor<'t>) {
    let huge = [1usize << 57];
    (x.broadcast_to(huge).retain_grad(), tape.scalar(1.0).broadcast_to(huge))
}

#[test]
#[cfg_attr(miri, ignore = "asks for more memory than Miri has")]
fn a_sweep_which_panics_leaves_tape_and_gradients_usable() {
    for rewind in [false, true] {
        let (params, p) = store(&[2.0]);
        let (mut tape, mut grads) = (Tape::new(), Gradients::new());
        tape.param(&params[p[0]]).sum().backward_into(&mut grads);
        {
            let x = tape.scalar(3.0).require_grad();
            let (root, cotangent) = impossible(&tape, x.exp());
            let swept = catch_unwind(AssertUnwindSafe(|| root.backward_with_into(cotangent, &mut grads)));
            assert!(swept.is_err());
        }
        if rewind {
            tape.rewind();
        }
        for _ in 0..2 {
            grads.zero();
            let y = tape.scalar(5.0).require_grad();
            ((y * y) * &params[p[0]]).sum().backward_into(&mut grads);
            assert_eq!(grads.get(y).unwrap().item(), 40.0);
            assert_eq!(grads.slab(&params).unwrap(), &[25.0, 25.0]);
            let [dy] = (y * y).grad([y]);
            assert_eq!(dy.item(), 10.0);
        }
    }
}

#[test]
fn a_recorded_sweep_which_panics_leaves_the_tape_usable() {
    for rewind in [false, true] {
        let mut tape = Tape::new();
        {
            let z = tape.scalar(0.0).require_grad();
            let root = z.sqrt().exp() * z;
            tape.set_check_finite(true);
            assert!(catch_unwind(AssertUnwindSafe(|| root.grad([z])[0].item())).is_err());
            tape.set_check_finite(false);
        }
        if rewind {
            tape.rewind();
        }
        let x = tape.scalar(2.0).require_grad();
        let [d] = x.powi(3).grad([x]);
        let [dd] = d.grad([x]);
        assert_eq!((d.item(), dd.item(), x.powi(3).backward().get(x).unwrap().item()), (12.0, 12.0, 12.0));
    }
}

#[test]
fn an_op_which_panics_leaves_the_tape_usable() {
    let tape = Tape::new();
    let x = tape.tensor([1.0, 2.0]).require_grad();
    let scope = catch_unwind(AssertUnwindSafe(|| tape.evaluate(|s| (s.ones([2]) + s.ones([3])).sum().item())));
    assert!(scope.is_err());
    assert_eq!(tape.evaluate(|s| s.constant(x).sum().item()), 3.0);
    let entries = tape.stats().entries;
    assert!(catch_unwind(AssertUnwindSafe(|| x.matmul(tape.no_grad(|| tape.ones([3]))).len())).is_err());
    assert!(tape.is_recording());
    assert_eq!(tape.stats().entries, entries + 1);
    assert_eq!((x * x).sum().backward().get(x).unwrap().as_slice(), &[2.0, 4.0]);
}

#[test]
fn threads_share_parameters() {
    let mut params = Params::new();
    let w = params.full("w", [8, 8], 0.1);
    let results: Vec<Vec<f32>> = std::thread::scope(|s| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                s.spawn(|| {
                    let (mut tape, mut grads) = (Tape::new(), Gradients::new());
                    for i in 0..50 {
                        tape.rewind();
                        let x = tape.full([4, 8], i as f32 / 50.0);
                        x.matmul(&params[w]).tanh().sum().backward_into(&mut grads);
                    }
                    grads.slab(&params).unwrap().to_vec()
                })
            })
            .collect();
        workers.into_iter().map(|w| w.join().unwrap()).collect()
    });
    assert!(results.iter().all(|r| r == &results[0]) && results[0].iter().all(|g| *g > 0.0));
}

#[test]
fn a_tape_moves_to_another_thread() {
    let mut tape = Tape::new();
    for _ in 0..3 {
        tape = std::thread::spawn(move || {
            tape.rewind();
            let x = tape.scalar(3.0).require_grad();
            assert_eq!((x * x).backward().get(x).unwrap().item(), 6.0);
            tape
        })
        .join()
        .unwrap();
    }
    // number, leaf, product
    assert_eq!(tape.stats().entries, 3);
}

#[test]
fn the_same_program_gives_the_same_bits() {
    let run = || {
        let mut params = Params::new();
        let data = |n: usize| (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) / 37.0).collect::<Vec<_>>();
        let w = params.add("w", [33, 17], &data(33 * 17));
        let (mut tape, mut grads) = (Tape::new(), Gradients::new());
        for _ in 0..5 {
            tape.rewind();
            grads.zero();
            let x = tape.input([29, 33], &data(29 * 33));
            let h = x.matmul(&params[w]).softmax(-1);
            (h.matmul(h.t()).mean() + h.logsumexp()).backward_into(&mut grads);
            let step = grads.slab(&params).unwrap();
            params.values_mut().iter_mut().zip(step).for_each(|(p, g)| *p -= g);
        }
        params.values().iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

/// The shorter of three runs.
fn best(mut f: impl FnMut()) -> Duration {
    let time = |f: &mut dyn FnMut()| {
        let start = Instant::now();
        f();
        start.elapsed()
    };
    (0..3).map(|_| time(&mut f)).min().unwrap()
}

#[test]
#[cfg_attr(miri, ignore = "long")]
fn long_tapes_and_chains_take_linear_time() {
    let mut tape = Tape::new();
    let mut chain = |n: usize| {
        best(|| {
            tape.rewind();
            let x = tape.scalar(1.0).require_grad();
            let y = (0..n).fold(x, |y, i| if i % 2 == 0 { y + x } else { y * 0.5 });
            let grads = y.backward();
            assert!((grads.get(x).unwrap().item() - 1.0).abs() < 1.0);
            assert!(tape.stats().entries > n);
        })
    };
    let (short, long) = (chain(100_000), chain(1_000_000));
    assert!(long < 40 * short + Duration::from_millis(50), "{short:?} {long:?}");
    let x = tape.scalar(0.5).require_grad();
    let y = (0..100_000).fold(x, |y, _| y.tanh());
    assert!(y.grad([x])[0].item() >= 0.0);
}

/// One sweep of a few entries at the end of a tape of `n`.
fn small_sweeps(n: usize, sweep: impl for<'t> Fn(&'t Tape, Tensor<'t>, &mut Gradients)) -> Duration {
    let mut grads = Gradients::new();
    let tape = Tape::new();
    let early = tape.scalar(2.0).require_grad();
    (0..n).for_each(|_| {
        tape.scalar(1.0);
    });
    sweep(&tape, early, &mut grads);
    best(|| (0..1000).for_each(|_| sweep(&tape, early, &mut grads)))
}

#[test]
#[cfg_attr(miri, ignore = "long")]
fn small_sweeps_over_a_long_tape_are_not_quadratic() {
    let check = |name: &str, sweep: &dyn Fn(&Tape, f32, &mut Gradients)| {
        let run = |n| small_sweeps(n, |tape, early, grads| sweep(tape, early.item(), grads));
        let (short, long) = (run(1_000), run(1_000_000));
        assert!(long < 20 * short + Duration::from_millis(100), "{name}: {short:?} {long:?}");
    };
    check("backward_into", &|tape, v, grads| {
        let x = tape.scalar(v).require_grad();
        (x * x).exp().backward_into(grads);
    });
    check("grad", &|tape, v, _| {
        let x = tape.scalar(v).require_grad();
        assert!((x * x).grad([x])[0].item() == 2.0 * v);
    });
}

/// A leaf from the beginning of the tape does not make a sweep walk back to it.
#[test]
#[cfg_attr(miri, ignore = "long")]
fn small_sweeps_to_an_early_leaf_are_not_quadratic() {
    let check = |name: &str, short: Duration, long: Duration| {
        assert!(long < 20 * short + Duration::from_millis(100), "{name}: {short:?} {long:?}");
    };
    let plain = |n| small_sweeps(n, |_, early, grads| (early * early).exp().backward_into(grads));
    check("backward_into", plain(1_000), plain(1_000_000));
    let recorded = |n| small_sweeps(n, |_, early, _| assert_eq!((early * early).grad([early])[0].item(), 4.0));
    check("grad", recorded(1_000), recorded(1_000_000));
}

#[test]
fn state_is_carried_over_turns() {
    let mut state = Array::zeros([2]);
    let mut tape = Tape::new();
    for _ in 0..3 {
        tape.rewind();
        state = (tape.tensor(state) + 1.0).to_array();
    }
    assert_eq!(state, Array::from([3.0, 3.0]));
}

#[test]
fn creation() {
    let tape = Tape::new();
    assert_eq!(tape.eye(2).to_vec(), [1.0, 0.0, 0.0, 1.0]);
    assert_eq!(tape.linspace(1.0, 2.0, 1).to_vec(), [1.0]);
    assert_eq!(tape.linspace(1.0, 2.0, 0).len(), 0);
    assert_eq!(tape.arange(3.0, 0.0, -1.0).to_vec(), [3.0, 2.0, 1.0]);
    assert_eq!(tape.full([2, 0], 1.0).shape(), &[2, 0]);
    assert_eq!(tape.tensor(7.0).shape(), &[] as &[usize]);
    assert_eq!(tape.tensor(vec![1.0, 2.0]).shape(), &[2]);
}

#[test]
#[cfg_attr(miri, ignore = "asks for more memory than Miri has")]
fn a_tensor_larger_than_memory_is_not_counted() {
    let tape = Tape::new();
    let x = tape.scalar(2.0).require_grad();
    let before = tape.stats();
    assert!(catch_unwind(AssertUnwindSafe(|| tape.zeros([1 << 57]).len())).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| x.broadcast_to([1 << 57]).exp().len())).is_err());
    let after = tape.stats();
    assert!(after.live_bytes < before.live_bytes + 1000 && after.high_water_bytes < 10_000, "{after:?}");
    assert_eq!((x * x).backward().get(x).unwrap().item(), 4.0);
}
