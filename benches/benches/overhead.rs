//! What one op on one number, or on a few, costs: recording, sweeping back,
//! rewinding.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wengert::{Gradients, Tape, Tensor};
use wengert_benches::settings;

const OPS: usize = 1000;

/// What makes the next element of a chain, by its number, of the one before
/// and of the first.
type Link = for<'t> fn(usize, Tensor<'t>, Tensor<'t>) -> Tensor<'t>;

const ADD: Link = |_, y, x| y + x;
const MUL: Link = |_, y, x| y * x;
const TANH: Link = |_, y, _| y.tanh();
/// The operations of workload W4.
const MIXED: Link = |i, y, x| match i % 3 {
    0 => y + x,
    1 => y * x,
    _ => y.tanh(),
};

/// 1000 ops, each on the result of the one before.
fn chain<'t>(tape: &'t Tape, elements: usize, link: Link) -> Tensor<'t> {
    let x = tape.full([elements], black_box(1.0001)).require_grad();
    (0..OPS).fold(x, |y, i| link(i, y, x))
}

fn overhead(c: &mut Criterion) {
    let chains = [("add", 1, ADD), ("mul", 1, MUL), ("tanh", 1, TANH), ("mixed", 1, MIXED), ("mixed", 16, MIXED)];
    for (name, elements, link) in chains {
        let mut group = c.benchmark_group(format!("chain_of_1000_{name}"));
        group.throughput(Throughput::Elements(OPS as u64));
        let id = |part: &str| BenchmarkId::new(part, elements);

        let mut tape = Tape::new();
        group.bench_function(id("record"), |b| {
            b.iter(|| {
                tape.rewind();
                black_box(chain(&tape, elements, link));
            });
        });
        let mut grads = Gradients::new();
        group.bench_function(id("record_and_backward"), |b| {
            b.iter(|| {
                tape.rewind();
                let y = chain(&tape, elements, link);
                grads.zero();
                y.sum().backward_into(&mut grads);
            });
        });
        let still = Tape::new();
        let y = chain(&still, elements, link).sum();
        group.bench_function(id("backward"), |b| {
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
                    chain(&tape, 1, ADD);
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
