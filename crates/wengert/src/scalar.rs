//! The element types of a tape: `f32` and `f64`.

use std::fmt::{Debug, Display};
use std::iter::Sum;
use std::ops::{AddAssign, MulAssign, SubAssign};
use std::panic::Location;

use crate::kernels::gemm::GemmScalar;
use crate::ops::binary::{self, Binary};
use crate::ops::unary::{self, Unary};
use crate::ops::{Id, Op};
use crate::plain::Plain;
use crate::real::{Functions, Real};
use crate::recorded::Recorder;
use crate::tape::Tape;

/// What is compiled once per element type, in this crate: the ops with all
/// their kernels hang on these few, and a program which uses the library
/// would otherwise compile them again.
pub(crate) trait Compiled: Sized {
    /// [`Tape::record_tensor`]
    #[track_caller]
    fn record(tape: &Tape<Self>, op: Op, location: &'static Location<'static>) -> Id
    where
        Self: Scalar;
    /// [`Tape::record_unary`]
    #[track_caller]
    fn record_unary(tape: &Tape<Self>, f: unary::Function, x: Id, p: f64, at: &'static Location<'static>) -> Id
    where
        Self: Scalar;
    /// [`Tape::record_binary`]
    #[track_caller]
    fn record_binary(tape: &Tape<Self>, f: binary::Function, a: Id, b: Id, at: &'static Location<'static>) -> Id
    where
        Self: Scalar;
    /// [`Tape::run_again`]
    #[track_caller]
    fn replay(tape: &Tape<Self>)
    where
        Self: Scalar;
    /// [`Plain::run`]
    fn sweep(sweep: &mut Plain<'_, Self>, root: Id, cotangent: Option<Id>)
    where
        Self: Scalar;
    /// [`Recorder::run`]
    fn sweep_recorded(sweep: &mut Recorder<'_, Self>, root: Id, cotangent: Id, wanted: &[Id])
    where
        Self: Scalar;
}

/// An element type: `f32` (the default everywhere) or `f64`.
///
/// Train in `f32`, check gradients in `f64`. The trait is sealed: kernels are
/// written for these two types.
///
/// ```
/// use wengert::Scalar;
/// fn mean<T: Scalar>(values: &[T]) -> T {
///     values.iter().copied().sum::<T>() / T::from_f64(values.len() as f64)
/// }
/// assert_eq!(mean(&[1.0_f32, 2.0, 6.0]), 3.0);
/// ```
#[allow(private_bounds)]
pub trait Scalar:
    Real
    + Functions
    + Compiled
    + GemmScalar
    + Debug
    + Default
    + Display
    + Send
    + Sync
    + Sum
    + AddAssign
    + SubAssign
    + MulAssign
    + 'static
{
    /// The smallest positive number which is not subnormal.
    const MIN_POSITIVE: Self;
    /// From 1 to the next number.
    const EPSILON: Self;
    /// The type's name, `"f32"` or `"f64"`.
    const NAME: &'static str;
}

macro_rules! scalar {
    ($t:ident) => {
        impl Compiled for $t {
            #[track_caller]
            fn record(tape: &Tape<$t>, op: Op, location: &'static Location<'static>) -> Id {
                tape.record_tensor(op, location)
            }

            #[track_caller]
            fn record_unary(tape: &Tape<$t>, f: unary::Function, x: Id, p: f64, at: &'static Location<'static>) -> Id {
                tape.record_unary(Unary { f, x, p }, at)
            }

            #[track_caller]
            fn record_binary(tape: &Tape<$t>, f: binary::Function, a: Id, b: Id, at: &'static Location<'static>) -> Id {
                tape.record_binary(Binary { f, a, b }, at)
            }

            #[track_caller]
            fn replay(tape: &Tape<$t>) {
                tape.run_again();
            }

            fn sweep(sweep: &mut Plain<'_, $t>, root: Id, cotangent: Option<Id>) {
                sweep.run(root, cotangent);
            }

            fn sweep_recorded(sweep: &mut Recorder<'_, $t>, root: Id, cotangent: Id, wanted: &[Id]) {
                sweep.run(root, cotangent, wanted);
            }
        }

        impl Scalar for $t {
            const MIN_POSITIVE: Self = $t::MIN_POSITIVE;
            const EPSILON: Self = $t::EPSILON;
            const NAME: &'static str = stringify!($t);
        }
    };
}

scalar!(f32);
scalar!(f64);
