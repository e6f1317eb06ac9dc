//! Whole turns of a training loop: rewind, forward, backward, and the step of
//! plain gradient descent.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rand::RngExt;
use wengert_benches::{Loop, rng, settings};

fn small(c: &mut Criterion) {
    let mut group = c.benchmark_group("training_step");
    group.throughput(Throughput::Elements(1));

    // Regression on four points: nothing but overhead.
    let mut turn = Loop::new(&[2, 16, 16, 1], false);
    let (x, y) = ([0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0]);
    group.bench_function("mlp_2_16_16_1_batch_4", |b| {
        b.iter(|| {
            turn.tape.rewind();
            let out = turn.model.forward(&turn.params, turn.tape.input([4, 2], &x));
            let loss = out.mse_loss(turn.tape.input([4, 1], &y));
            turn.grads.zero();
            loss.backward_into(&mut turn.grads);
            turn.descend(1e-3);
        });
    });

    // Classification of pictures: nearly all of it matrix products.
    let mut turn = Loop::new(&[784, 512, 256, 10], true);
    let mut rng = rng();
    let x: Vec<f32> = (0..64 * 784).map(|_| rng.random()).collect();
    let labels: Vec<usize> = (0..64).map(|_| rng.random_range(0..10)).collect();
    group.bench_function("mlp_784_512_256_10_batch_64", |b| {
        b.iter(|| {
            turn.tape.rewind();
            let out = turn.model.forward(&turn.params, turn.tape.input([64, 784], &x));
            let loss = out.cross_entropy(&labels);
            turn.grads.zero();
            loss.backward_into(&mut turn.grads);
            turn.descend(1e-4);
        });
    });
    group.finish();
}

criterion_group! { name = benches; config = settings(); targets = small }
criterion_main!(benches);
