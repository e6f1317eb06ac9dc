//! The seven workloads, and the same programs in other sizes.

mod functions;
mod gpt;
mod mlp;
mod pictures;

pub use functions::{Form, chain, normalised, rosenbrock};
pub use gpt::{Sizes, letters};
pub use mlp::{Classifier, classifier, exclusive_or, exclusive_or_replayed};
pub use pictures::pictures;

use wengert::Threads;

use crate::data::Data;
use crate::program::Program;

/// MLP 2-16-16-1 with tanh, batch 4, mean squared error, SGD.
pub fn w1() -> impl Program {
    exclusive_or(Data::from_environment())
}

/// The same, recorded once and replayed in every step.
pub fn w1_replayed() -> impl Program {
    exclusive_or_replayed(Data::from_environment())
}

/// MLP 784-512-256-10 with ReLU, batch 64, cross-entropy, Adam.
pub fn w2(threads: Threads) -> impl Program {
    classifier(Data::from_environment(), W2.0, W2.1, threads)
}

/// Widths and batch of W2.
pub const W2: ([usize; 4], usize) = ([784, 512, 256, 10], 64);

/// Pre-norm transformer: 4 layers of 128 features and 4 heads, AdamW. Batches are
/// cut into so many shards, or as many as there are threads.
pub fn w3(shards: usize, threads: Threads) -> impl Program {
    let sizes = Sizes { layers: 4, heads: 4, features: 128, context: 64, letters: 65, batch: 16 };
    letters(Data::from_environment(), sizes, shards, threads)
}

/// 1000 chained operations on one element.
pub fn w4() -> impl Program {
    chain(1000)
}

/// `mean(layer_norm(gelu(x a + b)))` of 1024 x 1024.
pub fn w5(form: Form) -> impl Program {
    normalised(Data::from_environment(), form, [1024, 1024])
}

/// Two convolutions with pools and a linear layer, batch 32, SGD. Batches are cut
/// into so many shards, or as many as there are threads.
pub fn w6(shards: usize, threads: Threads) -> impl Program {
    pictures(Data::from_environment(), 32, shards, threads)
}

/// Rosenbrock's function of 10 000 variables.
pub fn w7(form: Form) -> impl Program {
    rosenbrock(Data::from_environment(), form, 10_000)
}
