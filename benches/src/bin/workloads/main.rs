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
//! W5 and W7 print two lines: by plain operations, and as `wengert-fused` with
//! the elementwise expression as one operation; and so does W1, as
//! `wengert-replay` recorded once and replayed in every step. W3 and W6 are done
//! once with a shard of the batch for each thread, and as `wengert-micro` with
//! four shards, one after another where threads are fewer.
//!
//! | variable | meaning |
//! |---|---|
//! | `PEERS_DATA` | folder with weights and data, `NAME.f32` and `NAME.i32`, raw and little-endian; drawn at random if unset |
//! | `PEERS_TIME` | seconds of sampling, 2 by default |
//! | `PEERS_MODE` | `time` (default), or `alloc`: counts heap allocations with a preloaded library which exports `mc_calls` and `mc_bytes` |
//! | `PEERS_THREADS` | threads for W2, W3 and W6, 1 by default: which share out the products of W2 and the batches of the others |

mod harness;

use harness::{Workload, measure, threads};
use wengert::Threads;
use wengert_benches::workloads::{Form, w1, w1_replayed, w2, w3, w4, w5, w6, w7};

/// Into how many shards `wengert-micro` cuts a batch.
const MICRO_BATCHES: usize = 4;

fn main() {
    let names: Vec<String> = std::env::args().skip(1).collect();
    assert!(!names.is_empty(), "name a workload: W1 to W7");
    let threads = Threads::new(threads());
    for name in names {
        match name.as_str() {
            "W1" => {
                measure(Workload::steps("W1", 500), w1());
                measure(Workload::steps("W1", 500).by("wengert-replay"), w1_replayed());
            }
            "W2" => measure(Workload::steps("W2", 50), w2(threads.clone())),
            "W3" => {
                measure(Workload::steps("W3", 20), w3(1, threads.clone()));
                measure(Workload::steps("W3", 20).by("wengert-micro"), w3(MICRO_BATCHES, threads.clone()));
            }
            "W4" => measure(Workload::nanoseconds_per_1000th("W4"), w4()),
            "W5" => {
                measure(Workload::milliseconds("W5"), w5(Form::Plain));
                measure(Workload::milliseconds("W5").by("wengert-fused"), w5(Form::Fused));
            }
            "W6" => {
                measure(Workload::steps("W6", 50), w6(1, threads.clone()));
                measure(Workload::steps("W6", 50).by("wengert-micro"), w6(MICRO_BATCHES, threads.clone()));
            }
            "W7" => {
                measure(Workload::microseconds("W7"), w7(Form::Plain));
                measure(Workload::microseconds("W7").by("wengert-fused"), w7(Form::Fused));
            }
            _ => panic!("no workload {name}: there are W1 to W7"),
        }
    }
}
