//! When two numbers count as equal, and what is said of those which do not.

use wengert::{Array, Scalar};

use crate::error::{CheckError, CheckKind};

/// How far apart two numbers may be: a part of the larger one, and a number.
#[derive(Clone, Copy)]
pub(crate) struct Closeness {
    relative: f64,
    absolute: f64,
}

impl Closeness {
    pub(crate) const EXACT: Closeness = Closeness::within(0.0);

    /// Within `tolerance`, or a part `tolerance` of the larger number.
    pub(crate) const fn within(tolerance: f64) -> Closeness {
        Closeness { relative: tolerance, absolute: tolerance }
    }

    /// The absolute part for numbers of this size: terms of it cancelled.
    pub(crate) fn times(self, size: f64) -> Closeness {
        Closeness { absolute: self.absolute * size, ..self }
    }

    /// The absolute part for numbers of the size of the largest of an array,
    /// where that is above 1.
    pub(crate) fn scaled_to<T: Scalar>(self, values: &Array<T>) -> Closeness {
        let sizes = values.iter().map(|x| x.to_f64().abs()).filter(|x| x.is_finite());
        self.times(sizes.fold(1.0, f64::max))
    }

    /// How far apart they are, as a multiple of what is allowed.
    fn excess(self, got: f64, expected: f64) -> f64 {
        if got == expected || got.is_nan() && expected.is_nan() {
            return 0.0;
        }
        let allowed = self.absolute + self.relative * got.abs().max(expected.abs());
        let excess = (got - expected).abs() / allowed;
        if excess.is_finite() { excess } else { f64::INFINITY }
    }

    pub(crate) fn compare<T: Scalar, S: Scalar>(
        self,
        check: CheckKind,
        input: Option<usize>,
        got: &Array<T>,
        expected: &Array<S>,
    ) -> Result<(), CheckError> {
        let pairs = got.iter().zip(expected.iter()).enumerate();
        self.judge(check, input, got.shape(), pairs.map(|(i, (got, expected))| (i, got.to_f64(), expected.to_f64())))
    }

    /// Two numbers.
    pub(crate) fn pair(self, check: CheckKind, got: f64, expected: f64) -> Result<(), CheckError> {
        self.judge(check, None, &[], [(0, got, expected)].into_iter())
    }

    /// Elements of an array of some shape: position, what it is, what it should be.
    pub(crate) fn judge(
        self,
        check: CheckKind,
        input: Option<usize>,
        shape: &[usize],
        triples: impl Iterator<Item = (usize, f64, f64)>,
    ) -> Result<(), CheckError> {
        let (mut worst, mut wrong, mut compared) = (None, 0, 0);
        let mut most = 1.0;
        for (i, got, expected) in triples {
            let excess = self.excess(got, expected);
            compared += 1;
            if excess > 1.0 {
                wrong += 1;
                if excess > most || worst.is_none() {
                    most = excess;
                    worst = Some((i, got, expected));
                }
            }
        }
        let Some((i, got, expected)) = worst else { return Ok(()) };
        let (shape, element) = (shape.into(), index_of(i, shape).into());
        Err(CheckError {
            op: Box::default(),
            shapes: Box::default(),
            check,
            input,
            shape,
            element,
            got,
            expected,
            wrong,
            compared,
        })
    }
}

fn index_of(mut i: usize, shape: &[usize]) -> Vec<usize> {
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&d| {
            let at = i % d;
            i /= d;
            at
        })
        .collect();
    index.reverse();
    index
}
