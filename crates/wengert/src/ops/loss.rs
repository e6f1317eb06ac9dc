//! Losses.

use super::losses::Reduction;
use crate::error::{Error, raise};
use crate::scalar::Scalar;
use crate::shape::Dims;
use crate::tensor::{Operand, Tensor};

/// Refuses labels which are not one class for every row, or `ignore`.
pub(super) fn check_labels(
    op: &'static str,
    [rows, classes]: [usize; 2],
    labels: &[usize],
    ignore: Option<usize>,
) -> Result<(), Error> {
    if rows != labels.len() {
        return Err(Error::LabelCount { op, rows, labels: labels.len() });
    }
    match labels.iter().position(|&label| label >= classes && ignore != Some(label)) {
        Some(position) => Err(Error::LabelOutOfRange { op, label: labels[position], position, classes }),
        None => Ok(()),
    }
}

impl<'t, T: Scalar> Tensor<'t, T> {
    /// Cross-entropy of logits `[.., classes]` with one class index per row,
    /// the mean over rows: `-mean(log_softmax(x)[row, label])`.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let logits = tape.tensor([[0.0, 0.0], [9.0, -9.0]]);
    /// let loss = logits.cross_entropy(&[1, 0]).item();
    /// assert!((loss - 0.5 * 2f32.ln()).abs() < 1e-6);
    /// ```
    ///
    /// # Panics
    /// If a label is not below the number of classes, or the number of labels
    /// is not the number of rows. See [`Tensor::try_cross_entropy`] for labels
    /// which come from outside.
    #[track_caller]
    pub fn cross_entropy(self, labels: &[usize]) -> Self {
        if let Err(error) = self.check_rows(labels) {
            raise(error);
        }
        self.cross_entropy_checked(labels)
    }

    /// [`Tensor::cross_entropy`] for labels which come from a file.
    ///
    /// # Errors
    /// [`Error::LabelOutOfRange`] and [`Error::LabelCount`].
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let error = tape.zeros([1, 3]).try_cross_entropy(&[3]).unwrap_err();
    /// assert_eq!(error.to_string(), "cross_entropy: label 3 at position 0 is out of range for 3 classes");
    /// ```
    #[track_caller]
    pub fn try_cross_entropy(self, labels: &[usize]) -> Result<Self, Error> {
        self.check_rows(labels)?;
        Ok(self.cross_entropy_checked(labels))
    }

    #[track_caller]
    fn check_rows(self, labels: &[usize]) -> Result<(), Error> {
        let Some((&classes, batch)) = self.shape().split_last() else {
            panic!("cross_entropy: needs an axis of classes, got a scalar");
        };
        check_labels("cross_entropy", [batch.iter().product(), classes], labels, None)
    }

    #[track_caller]
    fn cross_entropy_checked(self, labels: &[usize]) -> Self {
        let mut rows = Dims::from_slice(self.shape());
        rows[self.rank() - 1] = 1;
        -self.log_softmax(-1).gather(-1, rows, labels).mean()
    }

    /// Binary cross-entropy of logits with targets in `[0, 1]`, the mean over
    /// all elements: `max(x, 0) - x t + ln(1 + e^-|x|)`, which neither
    /// overflows nor loses precision at ±1e4.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let x = tape.tensor([1e4, -1e4]);
    /// assert_eq!(x.binary_cross_entropy_with_logits(tape.tensor([1.0, 0.0])).item(), 0.0);
    /// ```
    ///
    /// # Panics
    /// If the shapes differ.
    #[doc(alias = "bce_with_logits")]
    #[track_caller]
    pub fn binary_cross_entropy_with_logits(self, target: impl Operand<'t, T>) -> Self {
        self.binary_cross_entropy_with_logits_with(target, None, None, Reduction::Mean)
    }
}
