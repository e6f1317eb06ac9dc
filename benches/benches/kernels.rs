//! Elementwise functions, reductions, and what layers of networks are made of.
//! Throughput counts elements.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wengert::{Attention, Conv, Gradients, Pool, Tape, Tensor};
use wengert_benches::{rng, settings};

/// An op under its name.
type Named = (&'static str, for<'t> fn(Tensor<'t>, Tensor<'t>) -> Tensor<'t>);

const ELEMENTWISE: [Named; 17] = [
    ("add", |x, y| x + y),
    ("mul", |x, y| x * y),
    ("div", |x, y| x / y),
    ("relu", |x, _| x.relu()),
    ("exp", |x, _| x.exp()),
    ("tanh", |x, _| x.tanh()),
    ("sigmoid", |x, _| x.sigmoid()),
    ("silu", |x, _| x.silu()),
    ("gelu", |x, _| x.gelu()),
    ("gelu_tanh", |x, _| x.gelu_tanh()),
    ("ln", |_, y| y.ln()),
    ("exp_m1", |x, _| x.exp_m1()),
    ("erf", |x, _| x.erf()),
    ("sin", |x, _| x.sin()),
    ("atan", |x, _| x.atan()),
    ("powf", |_, y| y.powf(2.5)),
    ("atan2", |x, y| x.atan2(y)),
];

const REDUCTIONS: [Named; 8] = [
    ("sum", |x, _| x.sum()),
    ("sum_rows", |x, _| x.sum_axes(0)),
    ("sum_columns", |x, _| x.sum_axes(1)),
    ("amax_columns", |x, _| x.amax_axes(1)),
    ("logsumexp_columns", |x, _| x.logsumexp_axes(1)),
    ("softmax", |x, _| x.softmax(-1)),
    ("log_softmax", |x, _| x.log_softmax(-1)),
    ("layer_norm", |x, _| x.layer_norm(1, None, None, 1e-5)),
];

/// Forward and backward, with the shapes of the operands.
type Network = (&'static str, &'static [&'static [usize]], for<'t> fn(&[Tensor<'t>]) -> Tensor<'t>);

const NETWORKS: [Network; 6] = [
    ("softmax 1024x64", &[&[1024, 64]], |x| x[0].softmax(-1)),
    ("layer_norm 1024x128", &[&[1024, 128], &[128], &[128]], |x| x[0].layer_norm(1, Some(x[1]), Some(x[2]), 1e-5)),
    ("conv2d 32x1x28x28 to 8, 3x3", &[&[32, 1, 28, 28], &[8, 1, 3, 3], &[8]], conv),
    ("conv2d 32x8x14x14 to 16, 3x3", &[&[32, 8, 14, 14], &[16, 8, 3, 3], &[16]], conv),
    ("max_pool2d 32x8x28x28, 2x2", &[&[32, 8, 28, 28]], |x| x[0].max_pool2d(Pool::new([2, 2]))),
    ("attention 64x64x32, causal", &[&[64, 64, 32], &[64, 64, 32], &[64, 64, 32]], |x| {
        x[0].attention(x[1], x[2], Attention { causal: true, ..Attention::default() })
    }),
];

fn conv<'t>(x: &[Tensor<'t>]) -> Tensor<'t> {
    x[0].conv2d(x[1], Some(x[2]), Conv { padding: [1, 1], ..Conv::default() })
}

/// Times `op` alone, rewinding now and then.
fn forward(tape: &mut Tape, shape: [usize; 2], turns: u64, op: Named) -> Duration {
    let (mut time, mut left) = (Duration::ZERO, turns);
    while left > 0 {
        tape.rewind();
        let mut rng = rng();
        let (x, y) = (tape.randn(shape, &mut rng), tape.uniform(shape, 0.5, 1.5, &mut rng));
        let round = left.min(200);
        let start = Instant::now();
        for _ in 0..round {
            black_box(op.1(x, y));
        }
        time += start.elapsed();
        left -= round;
    }
    time
}

fn kernels(c: &mut Criterion) {
    for (title, ops) in [("elementwise", &ELEMENTWISE[..]), ("reductions", &REDUCTIONS[..])] {
        let mut group = c.benchmark_group(title);
        for shape in [[1, 16], [64, 64], [256, 1024]] {
            group.throughput(Throughput::Elements((shape[0] * shape[1]) as u64));
            for &op in ops {
                let mut tape = Tape::new();
                group.bench_function(BenchmarkId::new(op.0, format!("{}x{}", shape[0], shape[1])), |b| {
                    b.iter_custom(|turns| forward(&mut tape, shape, turns, op));
                });
            }
        }
        group.finish();
    }

    let mut group = c.benchmark_group("networks_and_back");
    for (name, shapes, op) in NETWORKS {
        let mut tape = Tape::new();
        let mut grads = Gradients::new();
        group.throughput(Throughput::Elements(shapes[0].iter().product::<usize>() as u64));
        group.bench_function(name, |b| {
            b.iter_custom(|turns| {
                let mut time = Duration::ZERO;
                for _ in 0..turns {
                    tape.rewind();
                    let mut rng = rng();
                    let x: Vec<_> = shapes.iter().map(|s| tape.randn(*s, &mut rng).require_grad()).collect();
                    let cotangent = tape.ones(op(&x).shape());
                    grads.zero();
                    let start = Instant::now();
                    op(&x).backward_with_into(cotangent, &mut grads);
                    time += start.elapsed();
                }
                time
            });
        });
    }
    group.finish();

    // A chain of passes over one tensor, there and back.
    let mut group = c.benchmark_group("chain_and_back");
    for n in [1usize << 12, 1 << 18] {
        group.throughput(Throughput::Elements(n as u64));
        let (mut tape, mut grads) = (Tape::new(), Gradients::new());
        let data: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin()).collect();
        group.bench_function(BenchmarkId::new("tanh_mul_add_relu_mean", n), |b| {
            b.iter(|| {
                tape.rewind();
                let x = tape.input([n], &data).require_grad();
                let y = (x.tanh() * 1.5 + x).relu().mean();
                grads.zero();
                y.backward_into(&mut grads);
            });
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = settings(); targets = kernels }
criterion_main!(benches);
