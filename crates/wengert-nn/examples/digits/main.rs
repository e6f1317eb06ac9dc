//! Trains a small network on handwritten digits, without allocating.
//!
//! ```text
//! cargo run --release --example digits -- --help
//! ```
//!
//! Prints the accuracy on digits it has not seen, what it confuses, how fast it
//! trained, and how often one training step asked the heap for memory: never.
//! Draws the loss and the misread digits as SVG.

mod cli;
mod data;
mod draw;
mod report;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use wengert::{Gradients, Params, Tape, Tensor};
use wengert_check::CountingAllocator;
use wengert_nn::{Adam, Linear, Optimizer};

use cli::Options;
use data::Digits;

#[global_allocator]
static HEAP: CountingAllocator = CountingAllocator;

/// The share of the digits which is kept for the test.
const TEST: f64 = 0.2;

/// How far the training digits are moved about each time they are shown; see
/// [`data::jitter`].
const JITTER: f32 = 0.5;

/// 64 pixels, two hidden layers, 10 logits.
struct Model {
    first: Linear,
    second: Linear,
    last: Linear,
}

impl Model {
    fn new(params: &mut Params, rng: &mut StdRng) -> Model {
        Model {
            first: Linear::new(params, "first", 64, 256, rng),
            second: Linear::new(params, "second", 256, 128, rng),
            last: Linear::new(params, "last", 128, 10, rng),
        }
    }

    /// `[n, 64]` to `[n, 10]`
    fn forward<'t>(&self, params: &'t Params, x: Tensor<'t>) -> Tensor<'t> {
        let x = self.first.forward(params, x).relu();
        let x = self.second.forward(params, x).relu();
        self.last.forward(params, x)
    }
}

/// What the training leaves behind, for the report and the drawings.
#[derive(Default)]
pub(crate) struct History {
    /// The loss of every step.
    pub(crate) steps: Vec<f32>,
    /// Loss and accuracy on the test digits after every epoch.
    pub(crate) tests: Vec<(f32, f64)>,
    /// Time spent in steps.
    pub(crate) time: Duration,
    /// The requests for memory of the first steps, while buffers still grow.
    pub(crate) warm_up: Vec<u64>,
    /// Those of all the others.
    pub(crate) steady: u64,
}

/// After so many steps nothing may be allocated any more.
pub(crate) const WARM_UP: usize = 3;

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<ExitCode, String> {
    // Before the work, so that it is not lost for want of a place to put it.
    let files = options.files()?;
    let rng = &mut StdRng::seed_from_u64(options.seed);
    let (train, test) = Digits::load().split(rng, TEST);
    if options.batch > train.labels.len() {
        return Err(format!("--batch {}: there are only {} digits to learn from", options.batch, train.labels.len()));
    }
    let mut params = Params::new();
    let model = Model::new(&mut params, rng);
    println!("{} digits to learn from, {} to be tested on", train.labels.len(), test.labels.len());
    println!("{} parameters, seed {}", params.values().len(), options.seed);

    let history = fit(&model, &mut params, &train, &test, options, rng);
    let (_, logits) = evaluate(&model, &params, &test);
    let read: Vec<usize> = logits.chunks_exact(10).map(largest).collect();

    report::print(&history, &test, &read);
    draw::loss_curve(&files.loss, &history)?;
    draw::misread(&files.misread, &test, &read)?;
    println!("\nwrote {} and {}", files.loss.display(), files.misread.display());
    if history.steady > 0 {
        eprintln!("error: steps after the first {WARM_UP} asked the heap for memory {} times", history.steady);
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Trains the model.
fn fit(
    model: &Model,
    params: &mut Params,
    train: &Digits,
    test: &Digits,
    options: &Options,
    rng: &mut StdRng,
) -> History {
    let n = train.labels.len();
    let mut order: Vec<usize> = (0..n).collect();
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    let (epochs, batch) = (options.epochs as usize, options.batch);
    let total = epochs * n.div_ceil(batch);
    let bar = progress(total, epochs);
    let mut history = History::default();

    let mut tape = Tape::new();
    let mut grads = Gradients::new();
    let mut opt = Adam::new(options.lr);
    for epoch in 1..=epochs {
        order.shuffle(rng);
        let mut right = 0;
        for batch in order.chunks(batch) {
            gather(train, batch, &mut pixels, &mut labels, rng);
            // Down to a hundredth along half a cosine: the last steps settle.
            let done = history.steps.len() as f64 / total as f64;
            opt.set_lr(options.lr * (0.505 + 0.495 * (std::f64::consts::PI * done).cos()));
            let (start, requests) = (Instant::now(), CountingAllocator::requests());

            tape.rewind();
            let x = tape.input([batch.len(), 64], &pixels);
            let logits = model.forward(params, x);
            let loss = logits.cross_entropy(&labels);
            let value = loss.item();
            right += hits(logits.as_slice(), &labels);
            grads.zero();
            loss.backward_into(&mut grads);
            opt.step(params, &grads);

            history.log(value, start.elapsed(), CountingAllocator::requests() - requests);
            bar.inc(1);
            bar.set_message(format!("{epoch}/{epochs}  loss {value:.4}"));
        }
        let (loss, logits) = evaluate(model, params, test);
        let accuracy = hits(&logits, &test.labels) as f64 / test.labels.len() as f64;
        history.tests.push((loss, accuracy));
        let learnt = 100.0 * right as f64 / n as f64;
        bar.set_prefix(format!("accuracy {learnt:.1} % (test {:.1} %)", 100.0 * accuracy));
    }
    bar.finish();
    history
}

impl History {
    fn log(&mut self, loss: f32, time: Duration, requests: u64) {
        self.steps.push(loss);
        self.time += time;
        if self.steps.len() <= WARM_UP {
            self.warm_up.push(requests);
        } else {
            self.steady += requests;
        }
    }
}

/// Copies the digits of one batch side by side.
fn gather(digits: &Digits, batch: &[usize], pixels: &mut Vec<f32>, labels: &mut Vec<usize>, rng: &mut StdRng) {
    pixels.clear();
    labels.clear();
    for &i in batch {
        pixels.extend_from_slice(&data::jitter(&digits.images[i], JITTER, rng));
        labels.push(digits.labels[i]);
    }
}

/// The loss on some digits, and the logits.
fn evaluate(model: &Model, params: &Params, digits: &Digits) -> (f32, Vec<f32>) {
    let tape = Tape::new();
    tape.no_grad(|| {
        let x = tape.input([digits.labels.len(), 64], digits.images.as_flattened());
        let logits = model.forward(params, x);
        (logits.cross_entropy(&digits.labels).item(), logits.to_vec())
    })
}

/// How many rows of logits have their label's as the largest.
fn hits(logits: &[f32], labels: &[usize]) -> usize {
    logits.chunks_exact(10).zip(labels).filter(|&(row, &label)| largest(row) == label).count()
}

/// Where the largest number stands.
fn largest(row: &[f32]) -> usize {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0)
}

fn progress(steps: usize, epochs: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:16.cyan/blue} {msg}  {prefix}  {eta}").expect("a template");
    let bar = ProgressBar::new(steps as u64).with_style(style.progress_chars("━╸─"));
    bar.with_message(format!("0/{epochs}"))
}
