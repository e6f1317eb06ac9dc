//! From the third turn on, a loop which repeats its shapes allocates nothing:
//! every op, forward, backward and recorded, products of all sizes.

#![allow(clippy::eq_op, reason = "a / a is what is tested")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use wengert::{Attention, Conv, CrossEntropy, Padding, Pool, RecurrentCell, Reduction};
use wengert::{Gradients, Params, Scalar, Tape, Tensor};
use wengert_check::CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

wengert::fused! {
    fn gated(x, a, b) { (x * a + b).sigmoid() * x.maximum(0.5) - 2.0 * b }
}

/// Requests during `f`.
fn requests(f: impl FnOnce()) -> u64 {
    let before = CountingAllocator::requests();
    f();
    CountingAllocator::requests() - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(requests(|| drop(std::hint::black_box(Box::new(1)))), 1);
    assert_eq!(requests(|| drop(std::hint::black_box(vec![0u8; 100]))), 1);
    assert_eq!(requests(|| ()), 0);
}

/// What a turn does with its result.
#[derive(Clone, Copy, Debug)]
enum Mode {
    Forward,
    Silent,
    Backward,
    Recorded,
}

type Function<'f, T> = dyn for<'t> Fn(&'t Tape<T>, Tensor<'t, T>, Tensor<'t, T>) -> Tensor<'t, T> + 'f;

/// Six turns; panics if one from the third on allocates.
fn steady<T: Scalar>(name: &str, f: &Function<'_, T>, shapes: [&[usize]; 2]) {
    let data: Vec<Vec<T>> = shapes
        .iter()
        .map(|s| (0..s.iter().product()).map(|i: usize| T::from_f64(0.3 + (i * 7 % 11) as f64 / 9.0)).collect())
        .collect();
    for mode in [Mode::Forward, Mode::Silent, Mode::Backward, Mode::Recorded] {
        let (mut tape, mut grads) = (Tape::<T>::default(), Gradients::<T>::new());
        for turn in 1..=6 {
            let made = requests(|| {
                tape.rewind();
                grads.zero();
                let a = tape.input(shapes[0], &data[0]).require_grad();
                let b = tape.input(shapes[1], &data[1]).require_grad();
                match mode {
                    Mode::Forward => {
                        f(&tape, a, b);
                    }
                    Mode::Silent => assert!(!tape.no_grad(|| f(&tape, a, b)).requires_grad()),
                    Mode::Backward => {
                        let y = f(&tape, a, b);
                        y.backward_with_into(tape.ones(y.shape()), &mut grads);
                    }
                    Mode::Recorded => {
                        let y = f(&tape, a, b);
                        let [da, db] = y.vjp(tape.ones(y.shape()), [a, b]);
                        let again = da.sum() + db.sum();
                        if again.requires_grad() {
                            again.backward_into(&mut grads);
                        }
                    }
                }
            });
            assert!(turn < 3 || made == 0, "{name} {shapes:?} {}: {made} requests in turn {turn} ({mode:?})", T::NAME);
        }
    }
    replayed(name, f, shapes, data);
}

/// The same recorded once and replayed: nor does that allocate, and it gives the
/// bits of recording afresh, of other values than were recorded.
fn replayed<T: Scalar>(name: &str, f: &Function<'_, T>, shapes: [&[usize]; 2], data: Vec<Vec<T>>) {
    let record = |tape: &Tape<T>, data: &[Vec<T>], grads: &mut Gradients<T>| {
        let [a, b] = [0, 1].map(|i| tape.input(shapes[i], &data[i]).require_grad());
        let y = f(tape, a, b);
        let loss = y.square().sum();
        loss.backward_into(grads);
        let slopes = [a, b].map(|x| grads.get(x).map(|g| g.as_slice().to_vec()));
        ([a, b, y, loss].map(Tensor::slot), y.to_vec(), slopes)
    };
    let others: Vec<Vec<T>> = data.iter().map(|x| x.iter().map(|&x| T::from_f64(1.1) - x).collect()).collect();
    let (mut tape, mut grads) = (Tape::<T>::default(), Gradients::<T>::new());
    let ([a, b, y, loss], ..) = record(&tape, &others, &mut grads);
    if catch_unwind(AssertUnwindSafe(|| _ = tape.replay(None, &[]))).is_err() {
        // What is documented not to be run again.
        assert!(["detach", "positions of extremes", "hooks and checkpoints"].contains(&name), "{name}");
        return;
    }
    for turn in 1..=4 {
        let made = requests(|| {
            let replay = tape.replay(None, &[(a, &data[0]), (b, &data[1])]);
            grads.zero();
            replay.tensor(loss).backward_into(&mut grads);
        });
        assert!(turn < 3 || made == 0, "{name} {shapes:?} {}: {made} requests in replay {turn}", T::NAME);
    }
    let (_, value, slopes) = record(&Tape::default(), &data, &mut Gradients::new());
    let replay = tape.replay(None, &[]);
    let bits = |x: &[T]| x.iter().map(|x| x.to_f64().to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&replay.tensor(y).to_vec()), bits(&value), "{name} {shapes:?} {}", T::NAME);
    for (x, slope) in [a, b].into_iter().zip(slopes) {
        let got = grads.get(replay.tensor(x)).map(|g| bits(g.as_slice()));
        assert_eq!(got, slope.map(|s| bits(&s)), "{name} {shapes:?} {}", T::NAME);
    }
}

fn every_op<T: Scalar>() {
    macro_rules! ops {
        ($shapes:expr; $($name:literal: |$t:ident, $a:ident, $b:ident| $body:expr;)*) => {
            $(steady::<T>($name, &|$t, $a, $b| $body, $shapes);)*
        };
    }
    let s = |x: f64| T::from_f64(x);
    ops! { [&[4, 5], &[5]];
        "add": |_t, a, b| a + b;
        "sub": |_t, a, b| a - b;
        "mul": |_t, a, b| a * b;
        "div": |_t, a, b| a / b;
        "scalars": |_t, a, b| -(a * s(2.0) + s(1.0) - s(3.0)) / s(4.0) + b;
        "fan-out": |_t, a, b| (a + a) * (a * a) / (a / a) + b;
        "maximum": |_t, a, b| a.maximum(b).minimum(s(0.7)).maximum(s(0.5));
        "exp ln": |_t, a, b| a.exp().ln() * b.sqrt();
        "functions": |_t, a, b| a.exp_m1().ln_1p().sin().atan().gelu().mish().erf() + b.silu().elu(s(0.5)).softplus(s(2.0), s(9.0));
        "more functions": |_t, a, b| a.log2().cosh().rsqrt().selu() + b.softsign().gelu_tanh().log_sigmoid().asinh().tan();
        "two operands": |_t, a, b| a.pow(b).hypot(b).atan2(a).where_mask(a.gt(b), b).masked_fill(a.le(s(0.5)), s(1.0));
        "parts": |t, a, b| t.concat([a.narrow(1, 1, 3), a.flip(-1).slice_step(1, .., 2)], 1).select(0, -1).sum() * t.stack([b, b], 0);
        "splits": |_t, a, b| a.split(1, &[2, 3])[1].sum() + a.chunk(0, 3)[0] + b;
        "positions": |_t, a, b| a.index_select(1, &[0, 0, 4, 2, 1]).index_add(0, &[1], b.unsqueeze(0)).gather(0, [1, 5], &[0, 3, 2, 1, 0]);
        "fused": |_t, a, b| gated(a, b, b.sum()) + gated(b, a, s(0.5));
        "powers": |_t, a, b| a.square().recip() * b.powf(s(1.5)) + a.powi(3) + a.powi(2);
        "kinks": |_t, a, b| a.abs().relu() * b.tanh().sigmoid();
        "sums": |_t, a, b| a.sum() + a.sum_axes(0).sum() + a.sum_keepdim(-1).sum() * b.sum();
        "means": |_t, a, b| a.mean() + a.mean_axes([0, 1]) + a.mean_keepdim(..).sum() * b.mean();
        "extremes": |_t, a, b| a.amax() + a.amin_axes(0).sum() + a.amax_keepdim(1).sum() * b.amin();
        "logsumexp": |_t, a, b| a.logsumexp() + a.logsumexp_axes(0).sum() + b.logsumexp_keepdim(0).sum();
        "views": |_t, a, b| a.t().reshape([20]).reshape([2, 10]).transpose(0, 1).permute([1, 0]).sum() * b.sum();
        "copies": |_t, a, b| a.t().contiguous().square() * b.reshape([5, 1]).broadcast_to([5, 4]);
        "broadcast": |_t, a, b| b.broadcast_to([3, 4, 5]).exp() * a;
        "softmax": |_t, a, b| a.softmax(0) * b.softmax(-1);
        "log_softmax": |_t, a, b| a.t().log_softmax(0) * b.log_softmax(0).reshape([5, 1]);
        "cross_entropy": |_t, a, b| (a * b).cross_entropy(&[1, 0, 4, 2]);
        "cross_entropy of a view": |_t, a, b| (a * b).t().cross_entropy(&[1, 0, 3, 2, 2]);
        "mse_loss": |_t, a, b| a.mse_loss(b.broadcast_to([4, 5]));
        "bce": |_t, a, b| a.binary_cross_entropy_with_logits(b.broadcast_to([4, 5]).sigmoid());
        "matmul with a vector": |_t, a, b| a.matmul(b) + b.matmul(a.t());
        "dot": |_t, a, b| b.matmul(b) * a.sum();
        "creation": |t, a, b| a * t.eye(5).sum() + t.linspace(s(0.0), s(1.0), 5) * t.arange(s(0.0), s(5.0), s(1.0)) * b;
        "detach": |t, a, b| a * b.detach() + t.no_grad(|| a * b) + a * t.evaluate(|e| e.constant(b).sum().item());
    }
    ops! { [&[4, 5], &[5]];
        "products of all": |_t, a, b| a.prod() + a.prod_axes(0).sum() + a.prod_keepdim(-1).sum() * b.prod();
        "statistics": |_t, a, b| a.var(1.0) + a.std_axes(0.0, 0).sum() + b.norm(3.0) * a.norm_keepdim(2.0, 1).sum();
        "positions of extremes": |_t, a, b| a.max_axis(0).0 * b + a.min_axis(1).0.sum() + s(a.argmax(1).as_slice()[0] as f64);
        "scans": |_t, a, b| a.cumsum(0) * a.cumprod(-1) + a.logcumsumexp(1) * b;
        "arrangements": |_t, a, b| {
            let padded = a.pad(&[(1, 2), (-1, 3)], Padding::Constant(s(0.5))).sum() + a.pad(&[(2, 2)], Padding::Reflect).sum();
            (padded + a.roll(2, 1) * a.repeat(&[2, 1]).narrow(0, 1, 4) + a.diagonal(1, 0, 1).sum()) * b.repeat_interleave(4, 0).reshape([4, 5])
        };
        "windows": |_t, a, b| a.unfold(1, 3, 2).sum_axes([0, 1]).sum() + b.diag_embed(-1, 0, 1).sum();
        "scatter": |_t, a, b| b.scatter_add(0, &[4, 4, 1, 0, 2], a.select(0, 1));
        "losses": |_t, a, b| {
            let (t, mean) = (b.broadcast_to([4, 5]), Reduction::Mean);
            let robust = a.l1_loss(t, mean) + a.huber_loss(t, s(0.3), mean) + a.smooth_l1_loss(t, s(0.5), mean);
            robust + a.sigmoid().binary_cross_entropy(t.sigmoid(), mean) + a.kl_div(t, false, mean) + a.cosine_similarity(b, -1, s(1e-8)).sum()
        };
        "weighted losses": |_t, a, b| {
            let options = CrossEntropy { weight: Some(b), ignore: Some(7), label_smoothing: s(0.1), ..CrossEntropy::default() };
            let soft = a.cross_entropy_soft(a.softmax(-1), options);
            a.cross_entropy_with(&[0, 7, 4, 1], options) + soft + a.binary_cross_entropy_with_logits_with(a.sigmoid(), None, Some(b), Reduction::Sum)
        };
        "normalisations": |_t, a, b| {
            let rows_with_gaps = a.t().layer_norm(1, None, None, s(1e-5)).t();
            a.layer_norm(1, Some(b), Some(b), s(1e-5)) * rows_with_gaps + a.rms_norm(1, Some(b), s(1e-5)) * a.batch_norm(Some(b), None, s(1e-5)).0
        };
        "hooks and checkpoints": |t, a, b| t.checkpoint([a, b], |_, x| (x[0] * x[1]).tanh().exp()).on_backward(|g| g + g) * b;
        "attention": |t, a, b| {
            let (options, rows) = (Attention { causal: true, ..Attention::default() }, t.concat([a, a * b, b.broadcast_to([4, 5])], 0));
            a.attention(a, a * b, options) + rows.attention(rows, rows * b, options).narrow(0, 8, 4)
        };
        "cells": |t, a, b| {
            let weight = t.concat([a, b.unsqueeze(0)], 0);
            let gate = weight.repeat(&[1, 3]);
            let h = b.unsqueeze(0).gru_cell(b.unsqueeze(0), RecurrentCell { input: gate, hidden: gate, bias: None });
            let gate = weight.repeat(&[1, 4]);
            h.lstm_cell(h, h, RecurrentCell { input: gate, hidden: gate, bias: None }).0
        };
    }
    ops! { [&[2, 4, 6, 5], &[4, 2, 3, 3]];
        "convolutions": |_t, a, b| {
            let conv = Conv { stride: [2, 1], padding: [1, 1], groups: 2, ..Conv::default() };
            a.conv2d(b, None, conv).conv_transpose2d(b, None, conv).sum()
        };
        "pools": |_t, a, b| {
            let pool = Pool { padding: [1, 1], count_padding: false, ..Pool::new([2, 2]) };
            a.max_pool2d(pool).sum() + a.avg_pool2d(pool).sum() * b.sum()
        };
    }
    ops! { [&[2, 3, 3], &[3]];
        "systems": |t, a, b| { let m = a + t.eye(3) * s(9.0); m.solve(b) + m.inverse().sum_axes(1) + (m + m.t()).cholesky().sum_axes(2) };
        "triangles": |t, a, b| (a + t.eye(3)).solve_triangular(b, wengert::Triangular::Lower) * a.tril(0).matmul(b) + a.triu(1).sum();
        "determinants": |t, a, b| { let m = a + t.eye(3) * s(9.0); m.det() + m.logdet() + m.slogdet().1 + (a * s(0.0)).det() + b.sum() };
        "einsum": |t, a, b| t.einsum("bij,j->bi", [a, b]) + t.einsum("...ii->...i", [a]) + t.einsum("i,bij,j,k", [b, a, b, b]).sum();
        "vectors": |_t, a, b| b.dot(b) + b.outer(b) * a.trace().sum();
    }
    ops! { [&[0, 5], &[5]];
        "nothing": |_t, a, b| (a * b).exp().matmul(b).sum() + a.layer_norm(1, Some(b), Some(b), s(1e-5)).sum() + b.sum();
    }
    ops! { [&[2, 1, 3, 1, 2, 1, 2, 1], &[3, 1, 2]];
        "eight axes": |_t, a, b| a.exp().permute([7, 6, 5, 4, 3, 2, 1, 0]).sum_axes([0, 4]).sum() * b.sum();
    }
}

#[test]
fn every_op_f32() {
    every_op::<f32>();
}

#[test]
fn every_op_f64() {
    every_op::<f64>();
}

fn products<T: Scalar>() {
    let sizes = [1, 2, 3, 5, 8, 16, 17, 31, 64, 65, 100, 128, 129, 255, 300];
    for (i, &m) in sizes.iter().enumerate() {
        for (j, &k) in sizes.iter().enumerate() {
            // A cut through all triples, with every size in every place.
            let n = sizes[(i * 7 + j * 4) % sizes.len()];
            if m * k * n > 1_000_000 && (i + j) % 4 != 0 {
                continue;
            }
            steady::<T>("matmul", &|_, a, b| a.matmul(b), [&[m, k], &[k, n]]);
            if (i + j) % 3 == 0 && m * k * n < 300_000 {
                steady::<T>("A^T B", &|_, a, b| a.t().matmul(b), [&[k, m], &[k, n]]);
                steady::<T>("A B^T", &|_, a, b| a.matmul(b.t()), [&[m, k], &[n, k]]);
                steady::<T>("A^T B^T", &|_, a, b| a.t().matmul(b.t()), [&[k, m], &[n, k]]);
            }
        }
    }
    steady::<T>("large", &|_, a, b| a.matmul(b), [&[300, 300], &[300, 300]]);
    steady::<T>("batched", &|_, a, b| a.matmul(b), [&[3, 1, 17, 9], &[4, 9, 33]]);
    steady::<T>("one matrix for a batch", &|_, a, b| a.matmul(b), [&[3, 4, 17], &[17, 5]]);
    steady::<T>("a batch of one matrix", &|_, a, b| a.t().matmul(b), [&[17, 3], &[4, 17, 5]]);
    steady::<T>("matrix and vector", &|_, a, b| a.matmul(b), [&[3, 129, 65], &[65]]);
    steady::<T>("vector and matrix", &|_, a, b| a.matmul(b), [&[65], &[3, 65, 129]]);
    steady::<T>("x @ x", &|_, a, b| a.matmul(a) * b, [&[33, 33], &[33]]);
}

#[test]
fn products_f32() {
    products::<f32>();
}

#[test]
fn products_f64() {
    products::<f64>();
}

#[test]
fn derivatives() {
    let mut tape = Tape::new();
    for turn in 1..=6 {
        let made = requests(|| {
            tape.rewind();
            let a = tape.linspace(0.1, 2.0, 20).reshape([4, 5]).require_grad();
            let b = tape.linspace(1.0, 2.0, 5).require_grad();
            let y = (a * b).square().sum();
            let [along, _] = y.hvp([a, b], [a.detach(), b.detach()]);
            let all = along.sum() + y.exp().hessian(b).sum() + (a * b).jacobian(b).sum();
            assert!((all + a.exp().jvp([a], [a.detach()]).sum()).item() > 0.0);
        });
        assert!(turn < 3 || made == 0, "{made} requests in turn {turn}");
    }
}

#[test]
fn parameters_micro_batches_and_evaluation() {
    let mut params = Params::new();
    let w = params.full("w", [10, 5], 0.1);
    let b = params.full("b", [5], 0.2);
    let frozen = params.full("frozen", [5], 0.3);
    params.freeze(frozen);
    let target = params.clone();
    let (mut tape, mut grads) = (Tape::new(), Gradients::new());
    let data = [0.5; 40];
    for turn in 1..=6 {
        let made = requests(|| {
            grads.zero();
            for _ in 0..3 {
                tape.rewind();
                let x = tape.input([4, 10], &data);
                let y = (x.matmul(&params[w]) + &params[b]) * &params[frozen];
                let t = x.matmul(&target[w]);
                let seen = tape.evaluate(|scope| (scope.constant(y) * &params[frozen]).sum().item());
                (y.mse_loss(t.detach()) * seen).backward_into(&mut grads);
                let mut state = [0.0; 20];
                y.copy_to(&mut state);
            }
            grads.clip_norm(1.0);
            let step = grads.slab(&params).unwrap();
            params.values_mut().iter_mut().zip(step).for_each(|(p, g)| *p -= 0.1 * g);
        });
        assert!(turn < 3 || made == 0, "{made} requests in turn {turn}");
    }
}

#[test]
fn matrixmultiply_allocates_as_documented() {
    let tape = Tape::new();
    tape.set_gemm_backend(wengert::GemmBackend::MatrixMultiply);
    let x = tape.ones([64, 64]);
    x.matmul(x);
    assert!(
        requests(|| {
            x.matmul(x);
        }) > 0
    );
}

/// A tape of a million entries: made, swept both ways, rewound and dropped,
/// with as much memory as its statistics say.
#[test]
#[cfg_attr(miri, ignore = "long")]
fn memory_is_what_the_statistics_say() {
    let start = CountingAllocator::held_bytes();
    let mut tape = Tape::new_f64();
    let agrees = |tape: &Tape<f64>, when: &str| {
        let held = (CountingAllocator::held_bytes() - start) as f64;
        let s = tape.stats();
        let said = (s.list_bytes + s.reserved_bytes + s.sweep_bytes + s.scope_bytes) as f64;
        // Beside it: a few lists of fixed size, and headers of chunks.
        assert!((held - said).abs() < 4096.0 + 1e-3 * said, "{when}: {held} bytes held, {said} by {s:?}");
    };
    agrees(&tape, "empty");
    let mut grads = Gradients::new();
    for turn in 0..3 {
        tape.rewind();
        let x = tape.scalar(1.0).require_grad();
        let y = (0..1_000_000).fold(x, |y, i| if i % 2 == 0 { y + x } else { y * 0.5 });
        agrees(&tape, "recorded");
        // d(y/2 + x/2)/dx: 1 in the limit.
        y.backward_into(&mut grads);
        assert!((grads.get(x).unwrap().item() - 1.0).abs() < 1e-9);
        agrees(&tape, "swept");
        grads.zero();
        if turn == 1 {
            let long = (0..100_000).fold(x, |y, _| (y * 0.5).sin());
            let [d] = long.grad([x]);
            assert!(d.requires_grad() && d.item().is_finite());
            agrees(&tape, "swept with recording");
        }
    }
    let seen = tape.evaluate(|scope| scope.ones([1000, 1000]).exp().sum().item());
    assert!(seen > 2.7e6);
    agrees(&tape, "with a scope");
    tape.rewind();
    assert_eq!((tape.stats().entries, tape.stats().live_bytes), (0, 0));
    agrees(&tape, "rewound");
    drop((tape, grads));
    assert!(CountingAllocator::held_bytes() - start < 4096, "all is given back");
}
