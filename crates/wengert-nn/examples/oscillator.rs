//! A network learns to solve a differential equation: the damped oscillator
//! `u'' + 0.4 u' + 4 u = 0`, `u(0) = 1`, `u'(0) = 0`, on `0 <= t <= 5`.
//!
//! ```text
//! cargo run --release --example oscillator -- --help
//! ```
//!
//! The loss contains the second derivative of the network by its input, and is
//! itself differentiated by the weights (Raissi, Perdikaris, Karniadakis,
//! J. Comput. Phys. 378, 2019). Prints the error against the exact solution,
//! and draws both.

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Parser;
use plotters::prelude::*;
use rand::{SeedableRng, rngs::StdRng};
use wengert::{Gradients, Params, Tape, Tensor};
use wengert_check::CountingAllocator;
use wengert_nn::{Adam, Linear, Optimizer};

#[global_allocator]
static HEAP: CountingAllocator = CountingAllocator;

const DAMPING: f64 = 0.4;
const STIFFNESS: f64 = 4.0;
const END: f64 = 5.0;
/// Points at which the equation is asked for.
const POINTS: usize = 64;

/// Solves an equation by a network, and draws the solution.
#[derive(Parser)]
#[command(name = "oscillator")]
struct Options {
    /// How many steps to train
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,

    /// What the first weights are drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Where to put the drawing
    #[arg(long, value_name = "DIR", default_value = "out/oscillator")]
    out: PathBuf,
}

struct Network {
    layers: [Linear; 3],
}

impl Network {
    fn new(params: &mut Params<f64>, rng: &mut StdRng) -> Self {
        let mut layer = |name, inputs, outputs| Linear::new(params, name, inputs, outputs, rng);
        Network { layers: [layer("first", 1, 32), layer("second", 32, 32), layer("last", 32, 1)] }
    }

    /// `u(t) = 1 + n(t) t² / (1 + t²)`, which has the right start whatever the
    /// network says.
    fn solution<'t>(&self, params: &'t Params<f64>, t: Tensor<'t, f64>) -> Tensor<'t, f64> {
        let [first, second, last] = &self.layers;
        let hidden = first.forward(params, t * (2.0 / END) - 1.0).tanh();
        let hidden = second.forward(params, hidden).tanh();
        let square = t.square();
        square / (square + 1.0) * last.forward(params, hidden) + 1.0
    }
}

/// The exact solution.
fn exact(t: f64) -> f64 {
    let decay = DAMPING / 2.0;
    let frequency = (STIFFNESS - decay * decay).sqrt();
    (-decay * t).exp() * ((frequency * t).cos() + decay / frequency * (frequency * t).sin())
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let rng = &mut StdRng::seed_from_u64(options.seed);
    let mut params = Params::new_f64();
    let network = Network::new(&mut params, rng);
    let mut opt = Adam::new(5e-3);
    let (mut tape, mut grads) = (Tape::new_f64(), Gradients::new());
    let mut requests = 0;
    for step in 0..options.steps {
        let before = CountingAllocator::requests();
        tape.rewind();
        let t = tape.linspace(0.0, END, POINTS).reshape([POINTS, 1]).require_grad();
        let u = network.solution(&params, t);
        let [du] = u.sum().grad([t]);
        let [d2u] = du.sum().grad([t]);
        let loss = (d2u + du * DAMPING + u * STIFFNESS).square().mean();
        grads.zero();
        loss.backward_into(&mut grads);
        if step % (options.steps / 10).max(1) == 0 {
            println!("step {step:5}: mean square of the equation's residual {:.3e}", loss.item());
        }
        // The step size decays to a hundredth.
        opt.set_lr(5e-3 * 0.01f64.powf(f64::from(step) / f64::from(options.steps)));
        opt.step(&mut params, &grads);
        requests = CountingAllocator::requests() - before;
    }
    println!("requests to the heap in the last step: {requests}");

    tape.rewind();
    let t = tape.linspace(0.0, END, 201).reshape([201, 1]);
    let u = network.solution(&params, t);
    let pairs: Vec<(f64, f64)> = t.to_vec().into_iter().zip(u.to_vec()).collect();
    let error = pairs.iter().map(|&(t, u)| (u - exact(t)).abs()).fold(0.0, f64::max);
    println!("largest error against the exact solution: {error:.2e}");

    std::fs::create_dir_all(&options.out)?;
    let file = options.out.join("solution.svg");
    draw(&file, &pairs)?;
    println!("drawn: {}", file.display());
    Ok(())
}

fn draw(file: &Path, learnt: &[(f64, f64)]) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(file, (800, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let font = ("sans-serif", 16);
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .caption("u'' + 0.4 u' + 4 u = 0", ("sans-serif", 20))
        .set_label_area_size(LabelAreaPosition::Left, 48)
        .set_label_area_size(LabelAreaPosition::Bottom, 40)
        .build_cartesian_2d(0.0..END, -1.0..1.1)?;
    chart.configure_mesh().x_desc("t").y_desc("u").label_style(font).axis_desc_style(font).draw()?;
    let (blue, orange) = (RGBColor(30, 118, 200), RGBColor(230, 110, 20));
    let truth = learnt.iter().map(|&(t, _)| (t, exact(t)));
    let line =
        |color: RGBColor| move |(x, y): (i32, i32)| PathElement::new([(x, y), (x + 24, y)], color.stroke_width(3));
    chart.draw_series(LineSeries::new(truth, blue.stroke_width(5)))?.label("exact").legend(line(blue));
    let network = learnt.iter().copied();
    chart.draw_series(LineSeries::new(network, orange.stroke_width(2)))?.label("network").legend(line(orange));
    chart.configure_series_labels().background_style(WHITE).border_style(BLACK).label_font(font).draw()?;
    root.present()?;
    Ok(())
}
