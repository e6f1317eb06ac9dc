//! What can go wrong with data read at run time.

use thiserror::Error as ThisError;

/// An error in data a program could not have known when it was written: the
/// length of a slice, a label of a file, the name of a parameter.
///
/// Mistakes in the program itself (a matrix product of shapes which do not
/// fit) panic instead, at the caller's line.
///
/// ```
/// use wengert::{Error, Tape};
/// let tape = Tape::new();
/// let error = tape.try_input([2, 3], &[1.0; 5]).unwrap_err();
/// assert_eq!(error.to_string(), "input: shape [2, 3] holds 6 elements, got 5");
/// ```
#[derive(Clone, Debug, PartialEq, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// A slice of the wrong length for its shape.
    #[error("{op}: shape {shape:?} holds {expected} elements, got {got}")]
    LengthMismatch {
        /// The operation refused.
        op: &'static str,
        /// The shape asked for.
        shape: Vec<usize>,
        /// How many elements that shape holds.
        expected: usize,
        /// How many were given.
        got: usize,
    },
    /// A class label which is not below the number of classes.
    #[error("{op}: label {label} at position {position} is out of range for {classes} classes")]
    LabelOutOfRange {
        /// The operation refused.
        op: &'static str,
        /// The label.
        label: usize,
        /// Where it stands.
        position: usize,
        /// The number of classes.
        classes: usize,
    },
    /// An equation of [`Tape::einsum`](crate::Tape::einsum) which is malformed
    /// or does not fit the operands.
    #[error("einsum: `{equation}`: {why}")]
    Equation {
        /// The equation.
        equation: String,
        /// What is wrong with it.
        why: String,
    },
    /// A matrix which cannot be factorised.
    #[error("{op}: matrix {matrix} {why}")]
    Singular {
        /// The operation refused.
        op: &'static str,
        /// Which matrix of the batch.
        matrix: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A number of labels which is not the number of rows.
    #[error("{op}: {rows} rows of logits, but {labels} labels")]
    LabelCount {
        /// The operation refused.
        op: &'static str,
        /// Rows of the logits.
        rows: usize,
        /// Labels given.
        labels: usize,
    },
}

/// Panics with an [`Error`]'s text at the caller's line.
#[track_caller]
pub(crate) fn raise(error: Error) -> ! {
    panic!("{error}")
}
