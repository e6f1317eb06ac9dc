//! Printing arrays, by PyTorch's rules.

use std::fmt;

use crate::Scalar;

/// Decimals shown unless the format string says otherwise.
const PRECISION: usize = 4;
/// Arrays of more elements than this are summarised.
const THRESHOLD: usize = 1000;
/// Items shown at either end of a summarised axis.
const EDGE: usize = 3;
/// Columns after which a row of numbers is continued on the next line.
const LINE_WIDTH: usize = 80;

/// Writes a row-major array with nested brackets and aligned columns.
///
/// A precision (`{:.2}`) sets the decimals of every element, a width (`{:8}`)
/// the least width of a column. Without a precision, data which is all
/// integers is written as `1.`.
pub(crate) fn fmt_array<T: Scalar>(f: &mut fmt::Formatter<'_>, shape: &[usize], data: &[T]) -> fmt::Result {
    debug_assert_eq!(shape.iter().product::<usize>(), data.len());
    if data.is_empty() {
        return match shape {
            [0] => f.write_str("[]"),
            _ => write!(f, "[], shape {shape:?}"),
        };
    }
    let summarise = data.len() > THRESHOLD;
    let mut shown = Vec::with_capacity(data.len().min(THRESHOLD));
    collect_shown(shape, data, summarise, &mut shown);
    let notation = Notation::choose(&shown, f.precision());
    let width = shown.iter().map(|&x| notation.text(x).len()).max().unwrap_or(0);
    let printer = Printer { notation, width: width.max(f.width().unwrap_or(0)), summarise };
    printer.block(f, shape, data, 0)
}

/// One position along an axis: an item, or the gap of a summary.
enum Slot {
    Item(usize),
    Gap,
}

/// What is shown of an axis of length `n`.
fn slots(n: usize, summarise: bool) -> impl Iterator<Item = Slot> {
    let gap = summarise && n > 2 * EDGE;
    let (head, tail) = if gap { (EDGE, n - EDGE) } else { (n, n) };
    (0..head).map(Slot::Item).chain(gap.then_some(Slot::Gap)).chain((tail..n).map(Slot::Item))
}

/// Gathers the elements which will be printed, in order.
fn collect_shown<T: Scalar>(shape: &[usize], data: &[T], summarise: bool, shown: &mut Vec<f64>) {
    let Some((&n, inner)) = shape.split_first() else {
        return shown.push(data[0].to_f64());
    };
    let step = data.len() / n;
    for slot in slots(n, summarise) {
        if let Slot::Item(i) = slot {
            collect_shown(inner, &data[i * step..(i + 1) * step], summarise, shown);
        }
    }
}

/// How the numbers of one array are written; one notation serves them all.
enum Notation {
    /// `3.`
    Integer,
    /// `3.1416`
    Fixed(usize),
    /// `3.1416e+00`
    Scientific(usize),
}

impl Notation {
    /// PyTorch's rule: scientific where the magnitudes of the nonzero finite
    /// numbers lie more than a factor 1000 apart, the largest is above 1e8, or
    /// (unless all are integers) the smallest is below 1e-4.
    fn choose(values: &[f64], precision: Option<usize>) -> Notation {
        let counted = || values.iter().copied().filter(|x| x.is_finite() && *x != 0.0);
        let min = counted().map(f64::abs).fold(f64::INFINITY, f64::min);
        let max = counted().map(f64::abs).fold(0.0, f64::max);
        let integers = counted().all(|x| x.fract() == 0.0);
        let decimals = precision.unwrap_or(PRECISION);
        if max / min > 1000.0 || max > 1e8 || (!integers && min < 1e-4) {
            Notation::Scientific(decimals)
        } else if integers && precision.is_none() {
            Notation::Integer
        } else {
            Notation::Fixed(decimals)
        }
    }

    fn text(&self, x: f64) -> String {
        if x.is_nan() {
            return "nan".into();
        }
        if x.is_infinite() {
            return if x > 0.0 { "inf" } else { "-inf" }.into();
        }
        match *self {
            Notation::Integer => format!("{x:.0}."),
            Notation::Fixed(decimals) => format!("{x:.decimals$}"),
            Notation::Scientific(decimals) => scientific(x, decimals),
        }
    }
}

/// C's `%e`: a sign and at least two digits of exponent, so that columns align.
fn scientific(x: f64, decimals: usize) -> String {
    let text = format!("{x:.decimals$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    match exponent.strip_prefix('-') {
        Some(digits) => format!("{mantissa}e-{digits:0>2}"),
        None => format!("{mantissa}e+{exponent:0>2}"),
    }
}

struct Printer {
    notation: Notation,
    width: usize,
    summarise: bool,
}

impl Printer {
    /// Writes one sub-array whose opening bracket stands at column `indent`.
    fn block<T: Scalar>(&self, f: &mut fmt::Formatter<'_>, shape: &[usize], data: &[T], indent: usize) -> fmt::Result {
        match shape {
            [] => self.number(f, data[0]),
            [_] => self.row(f, data, indent),
            [n, inner @ ..] => {
                let step = data.len() / n;
                f.write_str("[")?;
                for (k, slot) in slots(*n, self.summarise).enumerate() {
                    if k > 0 {
                        f.write_str(",")?;
                        // One line break between rows, one more for each further axis.
                        inner.iter().try_for_each(|_| f.write_str("\n"))?;
                        pad(f, indent + 1)?;
                    }
                    match slot {
                        Slot::Item(i) => self.block(f, inner, &data[i * step..(i + 1) * step], indent + 1)?,
                        Slot::Gap => f.write_str("...")?,
                    }
                }
                f.write_str("]")
            }
        }
    }

    fn row<T: Scalar>(&self, f: &mut fmt::Formatter<'_>, data: &[T], indent: usize) -> fmt::Result {
        // An element takes its width, a comma and a space.
        let per_line = (LINE_WIDTH.saturating_sub(indent) / (self.width + 2)).max(1);
        f.write_str("[")?;
        for (k, slot) in slots(data.len(), self.summarise).enumerate() {
            if k > 0 && k % per_line == 0 {
                f.write_str(",\n")?;
                pad(f, indent + 1)?;
            } else if k > 0 {
                f.write_str(", ")?;
            }
            match slot {
                Slot::Item(i) => self.number(f, data[i])?,
                Slot::Gap => f.write_str("...")?,
            }
        }
        f.write_str("]")
    }

    fn number<T: Scalar>(&self, f: &mut fmt::Formatter<'_>, x: T) -> fmt::Result {
        let text = self.notation.text(x.to_f64());
        pad(f, self.width - text.len())?;
        f.write_str(&text)
    }
}

/// Writes `columns` spaces.
fn pad(f: &mut fmt::Formatter<'_>, columns: usize) -> fmt::Result {
    (0..columns).try_for_each(|_| f.write_str(" "))
}

#[cfg(test)]
mod tests {
    use crate::Array;

    fn show<const N: usize>(shape: impl AsRef<[usize]>, data: [f64; N]) -> String {
        Array::new(shape, data).to_string()
    }

    #[test]
    fn a_single_number() {
        assert_eq!(show([], [0.123456]), "0.1235");
        assert_eq!(show([], [3.0]), "3.");
        assert_eq!(show([], [-0.0]), "-0.");
        assert_eq!(show([], [0.00001]), "1.0000e-05");
        assert_eq!(show([], [f64::NAN]), "nan");
    }

    #[test]
    fn columns_align_to_the_widest() {
        assert_eq!(show([3], [1.0, 20.0, -3.0]), "[ 1., 20., -3.]");
        assert_eq!(show([2, 2], [1.5, -20.25, 0.0, 3.0]), "[[  1.5000, -20.2500],\n [  0.0000,   3.0000]]");
    }

    #[test]
    fn f32_prints_its_own_value() {
        assert_eq!(Array::new([2], [0.1f32, 2.5]).to_string(), "[0.1000, 2.5000]");
    }

    #[test]
    fn integers_and_zeros() {
        assert_eq!(show([2], [0.0, 0.0]), "[0., 0.]");
        assert_eq!(show([2], [1.0, 1000.0]), "[   1., 1000.]");
        assert_eq!(show([2], [1.0, 1001.0]), "[1.0000e+00, 1.0010e+03]");
        assert_eq!(show([1], [1e8]), "[100000000.]");
        assert_eq!(show([1], [2e8]), "[2.0000e+08]");
    }

    #[test]
    fn scientific_where_the_range_demands() {
        assert_eq!(show([3], [0.5, -1200.0, 0.0]), "[ 5.0000e-01, -1.2000e+03,  0.0000e+00]");
        assert_eq!(show([1], [1e-4]), "[0.0001]");
        assert_eq!(show([1], [9e-5]), "[9.0000e-05]");
        assert_eq!(show([2], [1.5e-120, 1e300]), "[1.5000e-120, 1.0000e+300]");
    }

    #[test]
    fn nan_and_infinity_align() {
        assert_eq!(show([4], [f64::NAN, 1.0, f64::INFINITY, f64::NEG_INFINITY]), "[ nan,   1.,  inf, -inf]");
        assert_eq!(show([2], [f64::NAN, 0.5]), "[   nan, 0.5000]");
        assert_eq!(show([2], [f64::INFINITY, 1e-9]), "[       inf, 1.0000e-09]");
    }

    #[test]
    fn precision_and_width_are_respected() {
        let a = Array::new([2], [1.25, 10.0]);
        assert_eq!(format!("{a:.1}"), "[ 1.2, 10.0]");
        assert_eq!(format!("{a:8.2}"), "[    1.25,    10.00]");
        assert_eq!(format!("{:.2}", Array::scalar(1.0)), "1.00");
        assert_eq!(format!("{:.1}", Array::scalar(1e-6)), "1.0e-06");
    }

    #[test]
    fn a_blank_line_between_matrices() {
        assert_eq!(
            show([2, 2, 2], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]),
            "[[[1., 2.],\n  [3., 4.]],\n\n [[5., 6.],\n  [7., 8.]]]"
        );
        assert_eq!(show([2, 1, 1, 1], [1.0, 2.0]), "[[[[1.]]],\n\n\n [[[2.]]]]");
    }

    #[test]
    fn nothing_to_print() {
        assert_eq!(show([0], []), "[]");
        assert_eq!(show([0, 3], []), "[], shape [0, 3]");
        assert_eq!(show([2, 0], []), "[], shape [2, 0]");
    }

    #[test]
    fn long_rows_continue_on_the_next_line() {
        let a = Array::from_fn([2, 25], |i| (i[1] % 10) as f32);
        let row = "0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 0., 1., 2., 3., 4., 5., 6., 7., 8.,\n  \
                   9., 0., 1., 2., 3., 4.";
        assert_eq!(a.to_string(), format!("[[{row}],\n [{row}]]"));
    }

    #[test]
    fn a_thousand_elements_are_shown_and_one_more_is_summarised() {
        assert!(!Array::<f32>::zeros([1000]).to_string().contains("..."));
        let a = Array::from_fn([1001], |i| (i[0] + 500) as f32);
        assert_eq!(a.to_string(), "[ 500.,  501.,  502., ..., 1498., 1499., 1500.]");
    }

    #[test]
    fn every_long_axis_is_summarised() {
        let a = Array::from_fn([7, 200], |i| (100 + i[0] + i[1]) as f64);
        assert_eq!(
            a.to_string(),
            "[[100., 101., 102., ..., 297., 298., 299.],
 [101., 102., 103., ..., 298., 299., 300.],
 [102., 103., 104., ..., 299., 300., 301.],
 ...,
 [104., 105., 106., ..., 301., 302., 303.],
 [105., 106., 107., ..., 302., 303., 304.],
 [106., 107., 108., ..., 303., 304., 305.]]"
        );
        let b = Array::from_fn([600, 1, 2], |i| (i[0] % 7) as f32).to_string();
        assert!(b.starts_with("[[[0., 0.]],\n\n [[1., 1.]],\n\n [[2., 2.]],\n\n ...,\n\n "), "{b}");
    }

    #[test]
    fn what_is_hidden_does_not_choose_the_notation() {
        let a = Array::from_fn([2000], |i| if i[0] == 1000 { 1e-9 } else { 1.0 });
        assert_eq!(a.to_string(), "[1., 1., 1., ..., 1., 1., 1.]");
    }
}
