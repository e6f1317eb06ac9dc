//! Whole programs, timed: seven workloads, each as its user would write it.
//!
//! | | what | reported |
//! |---|---|---|
//! | `W1` | MLP 2-16-16-1 with tanh, batch 4, mean squared error, SGD | steps/s |
//! | `W2` | MLP 784-512-256-10 with ReLU, batch 64, cross-entropy, Adam | steps/s |
//! | `W3` | pre-norm transformer: 4 layers of 128 features and 4 heads, context 64, batch 16, AdamW | steps/s |
//! | `W4` | 1000 chained operations on one element, and their gradients | ns per operation |
//! | `W5` | `mean(layer_norm(gelu(x a + b)))` of 1024 x 1024, gradients of all five | ms |
//! | `W6` | two convolutions with pools and a linear layer, batch 32, SGD | steps/s |
//! | `W7` | Rosenbrock's function of 10 000 variables, and its gradient | µs |
//!
//! ```text
//! cargo run --release -p wengert-benches --bin workloads -- W2
//! ```
//!
//! prints one line of JSON: the median over samples of at least 40 ms each,
//! the best and the worst, and the loss after a fixed number of steps. Programs
//! of other libraries which are given the same data must arrive at that loss.
//!
//! | variable | meaning |
//! |---|---|
//! | `PEERS_DATA` | folder with weights and data, `NAME.f32` and `NAME.i32`, raw and little-endian; drawn at random if unset |
//! | `PEERS_TIME` | seconds of sampling, 2 by default |
//! | `PEERS_MODE` | `time` (default), or `alloc`: counts heap allocations with a preloaded library which exports `mc_calls` and `mc_bytes` |
//! | `PEERS_THREADS` | named in the output |

mod data;
mod functions;
mod gpt;
mod harness;
mod mlp;
mod pictures;

fn main() {
    let names: Vec<String> = std::env::args().skip(1).collect();
    assert!(!names.is_empty(), "name a workload: W1 to W7");
    for name in names {
        match name.as_str() {
            "W1" => mlp::w1(),
            "W2" => mlp::w2(),
            "W3" => gpt::w3(),
            "W4" => functions::w4(),
            "W5" => functions::w5(),
            "W6" => pictures::w6(),
            "W7" => functions::w7(),
            _ => panic!("no workload {name}: there are W1 to W7"),
        }
    }
}
