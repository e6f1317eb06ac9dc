//! Whether the cost of an operation depends on how many there are: time and
//! memory per operation of tapes of 100 to 1 000 000 entries.
//!
//! ```text
//! cargo run --release -p wengert-benches --bin linear                               # a table
//! cargo run --release -p wengert-benches --bin linear -- --draw docs/src/linear.svg # and a picture
//! cargo run --release -p wengert-benches --bin linear -- --quick                    # a second of it
//! ```
//!
//! The operations are those of workload W4: additions, products and tanh in
//! turn, each on the one-element result of the one before. Times are the least
//! of several rounds, and in each round every length has its turn.

use std::env;
use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use plotters::coord::Shift;
use plotters::prelude::*;
use wengert::{Gradients, Tape};
use wengert_check::CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// One length, and what was measured of it.
struct Length {
    operations: usize,
    tape: Tape,
    grads: Gradients,
    /// The least time of one operation, in nanoseconds.
    record: f64,
    backward: f64,
    /// The memory held for one operation, in bytes.
    bytes: f64,
}

impl Length {
    fn new(operations: usize) -> Self {
        let (tape, grads) = (Tape::new(), Gradients::new());
        Length { operations, tape, grads, record: f64::INFINITY, backward: f64::INFINITY, bytes: 0.0 }
    }

    fn turn(&mut self) {
        self.tape.rewind();
        let start = Instant::now();
        // With 0.1 and 1.1, as in W4, adjoints shrink by a constant factor, and from
        // the 430th on some eighty would be subnormal, at a hundred cycles each.
        let [x, a, b] = [0.5, 0.0, 1.0].map(|value| self.tape.scalar(value).require_grad());
        let mut y = x;
        for i in 0..self.operations {
            y = match i % 3 {
                0 => y + a,
                1 => y * b,
                _ => y.tanh(),
            };
        }
        let recorded = Instant::now();
        self.grads.zero();
        y.backward_into(&mut self.grads);
        black_box(self.grads.get(x));
        let nanoseconds = |time: Duration| time.as_secs_f64() * 1e9 / self.operations as f64;
        self.record = self.record.min(nanoseconds(recorded - start));
        self.backward = self.backward.min(nanoseconds(recorded.elapsed()));
    }

    /// Turns until everything has its lasting size, and how much that is.
    fn settle(&mut self) {
        let before = CountingAllocator::held_bytes();
        for _ in 0..4 {
            self.turn();
        }
        self.bytes = (CountingAllocator::held_bytes() - before) as f64 / self.operations as f64;
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (quick, picture) = match args[..] {
        [] => (false, None),
        ["--quick"] => (true, None),
        ["--draw", file] => (false, Some(Path::new(file))),
        _ => return Err("usage: linear [--quick | --draw FILE.svg]".into()),
    };

    let (decades, rounds) = if quick { (2..=4, 3) } else { (2..=6, 12) };
    let halves = decades.flat_map(|decade| [10usize.pow(decade), 316 * 10usize.pow(decade) / 100]);
    let most = if quick { 10_000 } else { 1_000_000 };
    let mut lengths: Vec<Length> = halves.filter(|&n| n <= most).map(Length::new).collect();
    lengths.iter_mut().for_each(Length::settle);
    for _ in 0..rounds {
        for length in &mut lengths {
            // Short tapes often, or one interruption would be the figure.
            for _ in 0..(30_000 / length.operations).max(1) {
                length.turn();
            }
        }
    }

    println!("{:>10}{:>16}{:>16}{:>16}", "operations", "record, ns/op", "backward, ns/op", "bytes/op");
    for length in &lengths {
        let Length { operations, record, backward, bytes, .. } = length;
        println!("{operations:>10}{record:>16.1}{backward:>16.1}{:>16.1}", bytes);
    }
    picture.map_or(Ok(()), |file| draw(file, &lengths))
}

const FONT: &str = "Helvetica, Arial, sans-serif";
const INK: RGBColor = RGBColor(38, 50, 56);
const FAINT: RGBColor = RGBColor(144, 164, 174);
const BLUE: RGBColor = RGBColor(30, 118, 200);
const ORANGE: RGBColor = RGBColor(230, 110, 20);

/// Time above, memory below.
fn draw(file: &Path, lengths: &[Length]) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(file, (760, 520)).into_drawing_area();
    root.fill(&WHITE)?;
    let (above, below) = root.split_vertically(300);
    panel(
        &above,
        "Nanoseconds per operation",
        lengths,
        &[("record", BLUE, &|length| length.record), ("backward", ORANGE, &|length| length.backward)],
    )?;
    panel(&below, "Bytes per operation", lengths, &[("list, values, adjoints", INK, &|length| length.bytes)])?;
    root.present()?;
    Ok(())
}

/// A line's name and colour, and what it shows.
type Line<'a> = (&'a str, RGBColor, &'a dyn Fn(&Length) -> f64);

fn panel(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    title: &str,
    lengths: &[Length],
    lines: &[Line<'_>],
) -> Result<(), Box<dyn Error>> {
    let values = lines.iter().flat_map(|line| lengths.iter().map(line.2));
    let top = values.fold(0.0, f64::max) * 1.15;
    let ends = [lengths[0].operations, lengths[lengths.len() - 1].operations].map(|n| n as f64);
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 18).into_font().color(&INK))
        .margin(12)
        .margin_right(28)
        .x_label_area_size(40)
        .y_label_area_size(48)
        .build_cartesian_2d((ends[0]..ends[1]).log_scale(), 0.0..top)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(FAINT.mix(0.35))
        .axis_style(FAINT)
        .x_labels(5)
        .y_labels(5)
        .label_style((FONT, 13).into_font().color(&INK))
        .axis_desc_style((FONT, 13).into_font().color(&INK))
        .x_desc("operations on the tape")
        .x_label_formatter(&|n| thousands(*n as usize))
        .y_label_formatter(&|value| format!("{value:.0}"))
        .draw()?;
    for &(name, colour, value) in lines {
        let points = lengths.iter().map(|length| (length.operations as f64, value(length)));
        chart
            .draw_series(LineSeries::new(points, colour.filled().stroke_width(3)).point_size(4))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .label_font((FONT, 13).into_font().color(&INK))
        .draw()?;
    Ok(())
}

/// With a space between groups of three digits.
fn thousands(n: usize) -> String {
    if n < 1000 { n.to_string() } else { format!("{} {:03}", thousands(n / 1000), n % 1000) }
}
