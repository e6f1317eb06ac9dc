//! Elementwise functions and reductions. Throughput counts elements.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wengert::{Gradients, Tape, Tensor};
use wengert_benches::{rng, settings};

/// An op under its name.
type Named = (&'static str, for<'t> fn(Tensor<'t>, Tensor<'t>) -> Tensor<'t>);

const ELEMENTWISE: [Named; 7] = [
    ("add", |x, y| x + y),
    ("mul", |x, y| x * y),
    ("div", |x, y| x / y),
    ("relu", |x, _| x.relu()),
    ("exp", |x, _| x.exp()),
    ("tanh", |x, _| x.tanh()),
    ("sigmoid", |x, _| x.sigmoid()),
];

const REDUCTIONS: [Named; 6] = [
    ("sum", |x, _| x.sum()),
    ("sum_rows", |x, _| x.sum_axes(0)),
    ("sum_columns", |x, _| x.sum_axes(1)),
    ("amax_columns", |x, _| x.amax_axes(1)),
    ("logsumexp_columns", |x, _| x.logsumexp_axes(1)),
    ("softmax", |x, _| x.softmax(-1)),
];

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
