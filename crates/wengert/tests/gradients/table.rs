//! What an entry of the table of ops says.

use wengert::{Tape, Tensor};

/// Where the elements of an op's inputs come from.
#[derive(Clone, Copy)]
pub(crate) enum Domain {
    All,
    Positive,
    /// Either sign, not near 0.
    NonZero,
    /// No two elements near each other.
    Distinct,
}

pub(crate) use Domain::*;

/// What shapes an op takes.
#[derive(Clone, Copy)]
pub(crate) enum Arity {
    /// One of any shape, zero-size ones included.
    One,
    /// One with elements in every axis.
    NonEmpty,
    /// One with at least one axis, of at least one element.
    Axis,
    /// One matrix, or a batch of them.
    Matrix,
    /// Two which broadcast together.
    Two,
    /// Two of one shape, of at least one element.
    Pair,
    /// Up to four of these shapes.
    Shapes(&'static [&'static [usize]]),
}

pub(crate) use Arity::*;

pub(crate) type Function<T> = for<'c> fn(&'c Tape<T>, &[Tensor<'c, T>]) -> Tensor<'c, T>;

pub(crate) struct Entry {
    /// The methods (or operators) which it checks.
    pub(crate) names: &'static [&'static str],
    pub(crate) arity: Arity,
    pub(crate) domain: Domain,
    pub(crate) double: Function<f64>,
    pub(crate) single: Function<f32>,
}

/// An entry: the closure is compiled for both types.
macro_rules! op {
    ($names:expr, $arity:expr, $domain:expr, $f:expr) => {
        $crate::table::Entry { names: $names, arity: $arity, domain: $domain, double: $f, single: $f }
    };
}
pub(crate) use op;
