//! What the benchmarks and their programs share: the workloads, each as its
//! user would write it, and settings for short runs.

pub mod by_hand;
pub mod data;
pub mod program;
pub mod workloads;

use std::time::Duration;

use criterion::Criterion;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// Short measurements: the quantities here are stable within a few percent,
/// and the whole suite should end within minutes.
pub fn settings() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30)
        .without_plots()
}

/// The generator of every benchmark's data.
pub fn rng() -> StdRng {
    StdRng::seed_from_u64(7)
}
