//! Whole turns of training loops, and what there is to compare them with: the
//! loss alone (their ratio is the cost of differentiation and of the update),
//! and the same step written by hand.

use criterion::{Criterion, criterion_group, criterion_main};
use wengert::Threads;
use wengert_benches::by_hand::ByHand;
use wengert_benches::data::Data;
use wengert_benches::program::Program;
use wengert_benches::settings;
use wengert_benches::workloads::{W2, w1, w2, w3, w6};

fn both(c: &mut Criterion, name: &str, mut program: impl Program) {
    let mut group = c.benchmark_group(name);
    group.bench_function("step", |b| b.iter(|| program.turn()));
    group.bench_function("loss_alone", |b| b.iter(|| program.value()));
    group.finish();
}

fn training(c: &mut Criterion) {
    both(c, "W1_mlp_2_16_16_1_sgd", w1());
    both(c, "W2_mlp_784_512_256_10_adam", w2(Threads::default()));
    both(c, "W2_by_hand_with_matrixmultiply", by_hand());
    both(c, "W3_transformer_adamw", w3(1, Threads::default()));
    both(c, "W6_convolutions_sgd", w6(1, Threads::default()));
}

/// The step by hand, after a look that it is the same step.
fn by_hand() -> ByHand {
    let (mut engine, mut hand) = (w2(Threads::default()), ByHand::new(Data::from_environment(), W2.0, W2.1));
    for _ in 0..10 {
        let (a, b) = (engine.turn(), hand.turn());
        assert!((a - b).abs() <= 1e-4 * a.abs(), "losses differ: {a} and {b} by hand");
    }
    hand
}

criterion_group! { name = benches; config = settings(); targets = training }
criterion_main!(benches);
