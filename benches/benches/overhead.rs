//! What one op on one number costs: recording, sweeping back, rewinding.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use wengert::{Gradients, Tape, Tensor};
use wengert_benches::settings;

const OPS: usize = 1000;

/// 1000 ops on one number, each on the result of the one before.
fn chain<'t>(name: &str, x: Tensor<'t>) -> Tensor<'t> {
    let mut y = x;
    for _ in 0..OPS {
        y = match name {
            "add" => y + x,
            "mul" => y * x,
            _ => y.tanh(),
        };
    }
    y
}

fn overhead(c: &mut Criterion) {
    for name in ["add", "mul", "tanh"] {
        let mut group = c.benchmark_group(format!("chain_of_1000_{name}"));
        group.throughput(Throughput::Elements(OPS as u64));
        let mut tape = Tape::new();
        group.bench_function("record", |b| {
            b.iter(|| {
                tape.rewind();
                chain(name, tape.scalar(black_box(1.0001)).require_grad()).item()
            });
        });
        let mut grads = Gradients::new();
        group.bench_function("record_and_backward", |b| {
            b.iter(|| {
                tape.rewind();
                let y = chain(name, tape.scalar(black_box(1.0001)).require_grad());
                grads.zero();
                y.backward_into(&mut grads);
            });
        });
        let still = Tape::new();
        let y = chain(name, still.scalar(1.0001).require_grad());
        group.bench_function("backward", |b| {
            b.iter(|| {
                grads.zero();
                y.backward_into(&mut grads);
            });
        });
        group.finish();
    }

    let mut group = c.benchmark_group("rewind");
    group.bench_function("after_1000_ops", |b| {
        b.iter_batched_ref(
            || {
                let mut tape = Tape::new();
                // Until the arena has settled to one chunk.
                for _ in 0..3 {
                    tape.rewind();
                    chain("add", tape.scalar(1.0).require_grad());
                }
                tape
            },
            |tape| tape.rewind(),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group! { name = benches; config = settings(); targets = overhead }
criterion_main!(benches);
