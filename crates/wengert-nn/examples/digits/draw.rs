//! The drawings.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::History;
use crate::data::Digits;

type Panel<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const FONT: &str = "Helvetica, Arial, sans-serif";
const INK: RGBColor = RGBColor(38, 50, 56);
const FAINT: RGBColor = RGBColor(144, 164, 174);
const BLUE: RGBColor = RGBColor(30, 118, 200);
const ORANGE: RGBColor = RGBColor(230, 110, 20);

/// Draws into a file, and says which if that fails.
fn save(
    file: &Path,
    size: (u32, u32),
    draw: impl FnOnce(&Panel<'_>) -> Result<(), Box<dyn Error>>,
) -> Result<(), String> {
    let root = SVGBackend::new(file, size).into_drawing_area();
    let filled = root.fill(&WHITE).map_err(Into::into);
    let drawn = filled.and_then(|()| draw(&root)).and_then(|()| Ok(root.present()?));
    drawn.map_err(|e| format!("cannot write {}: {e}", file.display()))
}

/// The loss over the epochs above, the test accuracy below.
pub(crate) fn loss_curve(file: &Path, history: &History) -> Result<(), String> {
    save(file, (900, 640), |root| {
        let (above, below) = root.split_vertically(400);
        losses(&above, history)?;
        accuracies(&below, history)
    })
}

fn losses(panel: &Panel<'_>, history: &History) -> Result<(), Box<dyn Error>> {
    // A loss of exactly 0 has no place on a logarithmic axis.
    let floor = 1e-5;
    let epochs = history.tests.len();
    let per_epoch = history.steps.len() / epochs;
    let steps: Vec<(f64, f64)> = (1..)
        .zip(&history.steps)
        .map(|(step, &loss)| (f64::from(step) / per_epoch as f64, f64::from(loss).max(floor)))
        .collect();
    let mean = |losses: &[f32]| (losses.iter().sum::<f32>() / losses.len() as f32) as f64;
    let means: Vec<(f64, f64)> = (1..)
        .zip(history.steps.chunks(per_epoch))
        .map(|(epoch, losses)| (f64::from(epoch) - 0.5, mean(losses).max(floor)))
        .collect();
    let tests: Vec<(f64, f64)> =
        (1..).zip(&history.tests).map(|(epoch, &(loss, _))| (f64::from(epoch), f64::from(loss).max(floor))).collect();
    // Single steps may leave the picture; the means decide.
    let of_interest = || means.iter().chain(&tests).map(|&(_, loss)| loss);
    let low = of_interest().fold(f64::INFINITY, f64::min) / 2.0;
    let high = steps[0].1.max(of_interest().fold(0.0, f64::max)) * 1.3;

    let mut chart = ChartBuilder::on(panel)
        .caption("Cross-entropy", (FONT, 20).into_font().color(&INK))
        .margin(12)
        .x_label_area_size(18)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..epochs as f64, (low..high).log_scale())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels((epochs + 1).min(11))
        .light_line_style(WHITE)
        .bold_line_style(FAINT.mix(0.35))
        .axis_style(FAINT)
        .label_style((FONT, 13).into_font().color(&INK))
        .y_label_formatter(&|loss| format!("{loss}"))
        .x_label_formatter(&|epoch| format!("{epoch:.0}"))
        .draw()?;
    let inside = steps.iter().map(|&(x, loss)| (x, loss.clamp(low, high)));
    chart.draw_series(LineSeries::new(inside, BLUE.mix(0.22)))?.label("each step").legend(key(BLUE.mix(0.35), 1));
    chart.draw_series(line(means, BLUE))?.label("training, mean over an epoch").legend(key(BLUE.into(), 3));
    chart.draw_series(line(tests, ORANGE))?.label("test").legend(key(ORANGE.into(), 3));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .label_font((FONT, 14).into_font().color(&INK))
        .background_style(WHITE.mix(0.85))
        .margin(12)
        .draw()?;
    Ok(())
}

/// A bold line, with its points where they are few (one alone has no line).
fn line(points: Vec<(f64, f64)>, colour: RGBColor) -> LineSeries<SVGBackend<'static>, (f64, f64)> {
    let size = if points.len() <= 10 { 4 } else { 0 };
    LineSeries::new(points, colour.filled().stroke_width(3)).point_size(size)
}

/// A sample of a line, for the legend.
fn key(colour: RGBAColor, width: u32) -> impl Fn((i32, i32)) -> PathElement<(i32, i32)> {
    move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(width))
}

fn accuracies(panel: &Panel<'_>, history: &History) -> Result<(), Box<dyn Error>> {
    let epochs = history.tests.len();
    let points: Vec<(f64, f64)> =
        (1..).zip(&history.tests).map(|(epoch, &(_, accuracy))| (f64::from(epoch), 100.0 * accuracy)).collect();
    let last = points[epochs - 1].1;
    // The first epochs would flatten everything which comes after them.
    let low = (2.0 * last - 100.0 - 6.0).clamp(0.0, 94.0);
    let mut chart = ChartBuilder::on(panel)
        .caption(format!("Test accuracy: {last:.1} % at the end"), (FONT, 20).into_font().color(&INK))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..epochs as f64, low..100.0)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels((epochs + 1).min(11))
        .light_line_style(WHITE)
        .bold_line_style(FAINT.mix(0.35))
        .axis_style(FAINT)
        .y_labels(5)
        .label_style((FONT, 13).into_font().color(&INK))
        .axis_desc_style((FONT, 14).into_font().color(&INK))
        .x_desc("epoch")
        .y_label_formatter(&|accuracy| format!("{accuracy:.0} %"))
        .x_label_formatter(&|epoch| format!("{epoch:.0}"))
        .draw()?;
    let inside = points.iter().map(|&(x, y)| (x, y.max(low)));
    chart.draw_series(line(inside.collect(), ORANGE))?;
    chart.draw_series(points.last().map(|&end| Circle::new(end, 5, ORANGE.filled())))?;
    Ok(())
}

/// At most so many digits are shown, in rows of so many.
const SHOWN: usize = 40;
const COLUMNS: usize = 8;
/// Room for so many at least, or the title does not fit.
const FEWEST: usize = 5;
/// A digit with its caption, and its pixels.
const CELL: (i32, i32) = (124, 152);
const PIXEL: i32 = 12;
const HEADER: i32 = 64;
const MARGIN: i32 = 24;

/// Every misread digit, with what it is and what it was taken for.
pub(crate) fn misread(file: &Path, test: &Digits, read: &[usize]) -> Result<(), String> {
    let wrong: Vec<usize> = (0..read.len()).filter(|&i| read[i] != test.labels[i]).collect();
    let columns = wrong.len().clamp(FEWEST, COLUMNS);
    let rows = wrong.len().min(SHOWN).div_ceil(COLUMNS) as i32;
    let (width, height) = (2 * MARGIN + CELL.0 * columns as i32, HEADER + CELL.1 * rows + MARGIN);
    let title = match wrong.len() {
        0 => format!("All {} test digits were read correctly", read.len()),
        n if n > SHOWN => format!("{n} of {} test digits were misread; the first {SHOWN}", read.len()),
        n => format!("{n} of {} test digits were misread", read.len()),
    };
    save(file, (width as u32, height as u32), |root| {
        root.draw(&Text::new(title, (MARGIN, 22), (FONT, 22).into_font().color(&INK)))?;
        for (place, &i) in wrong.iter().take(SHOWN).enumerate() {
            let (row, column) = ((place / COLUMNS) as i32, (place % COLUMNS) as i32);
            let corner = (MARGIN + column * CELL.0, HEADER + row * CELL.1);
            digit(root, corner, &test.images[i], test.labels[i], read[i])?;
        }
        Ok(())
    })
}

fn digit(
    root: &Panel<'_>,
    (x, y): (i32, i32),
    image: &[f32; 64],
    label: usize,
    read: usize,
) -> Result<(), Box<dyn Error>> {
    let left = x + (CELL.0 - 8 * PIXEL) / 2;
    for (i, &ink) in (0..).zip(image) {
        let corner = (left + i % 8 * PIXEL, y + i / 8 * PIXEL);
        let grey = (255.0 * (1.0 - ink)) as u8;
        let square = [corner, (corner.0 + PIXEL, corner.1 + PIXEL)];
        root.draw(&Rectangle::new(square, RGBColor(grey, grey, grey).filled()))?;
    }
    root.draw(&Rectangle::new([(left, y), (left + 8 * PIXEL, y + 8 * PIXEL)], FAINT))?;
    let at = |share: i32| (left + 8 * PIXEL * share / 4, y + 8 * PIXEL + 8);
    let middle = |colour: &RGBColor| (FONT, 15).into_font().color(colour).pos(Pos::new(HPos::Center, VPos::Top));
    root.draw(&Text::new(format!("is {label}"), at(1), middle(&BLUE)))?;
    root.draw(&Text::new(format!("read {read}"), at(3), middle(&ORANGE)))?;
    Ok(())
}
