//! What an entry of the table of ops says.

use wengert::{Tape, Tensor};

pub(crate) type T<'c> = Tensor<'c, f64>;

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

pub(crate) type Function = for<'c> fn(&'c Tape<f64>, &[T<'c>]) -> T<'c>;

pub(crate) struct Entry {
    /// The methods (or operators) which it checks.
    pub(crate) names: &'static [&'static str],
    pub(crate) arity: Arity,
    pub(crate) domain: Domain,
    pub(crate) f: Function,
}

pub(crate) const fn op(names: &'static [&'static str], arity: Arity, domain: Domain, f: Function) -> Entry {
    Entry { names, arity, domain, f }
}
