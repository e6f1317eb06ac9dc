//! Property-based gradient checks for [`wengert`], and [`proptest`] strategies
//! which make the arrays to check with.
//!
//! One call compares a function's derivatives with finite differences, and
//! with each other by every way there is to compute them:
//!
//! ```
//! use wengert::Array;
//! use wengert_check::check_gradients;
//!
//! let x = Array::from([[0.5, -1.0], [2.0, 0.1]]);
//! check_gradients([x], |_, [x]| x * x.sigmoid())?;
//! # Ok::<(), wengert_check::CheckError>(())
//! ```
//!
//! In a property the inputs are drawn at random, and a failure shrinks to the
//! smallest shape which still fails:
//!
//! ```
//! use proptest::prelude::*;
//! use wengert_check::{check_gradients, shapes, tensor};
//!
//! proptest! {
//!     # #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]
//!     # /*
//!     #[test]
//!     # */
//!     fn swish(x in tensor::<f64>(shapes(0..=4, 1..=5), -3.0..3.0)) {
//!         check_gradients([x], |_, [x]| x * x.sigmoid())?;
//!     }
//! }
//! # swish();
//! ```
//!
//! A derivative which is wrong is told apart from one which is right:
//!
//! ```
//! use wengert::Array;
//! use wengert_check::{CheckKind, check_gradients};
//!
//! // The factor is a constant as far as the tape knows.
//! let wrong = check_gradients([Array::from([1.0, 2.0])], |_, [x]| x * x.detach());
//! let error = wrong.unwrap_err();
//! assert_eq!((error.check, error.input), (CheckKind::FirstOrder, Some(0)));
//! ```
//!
//! # What is checked
//!
//! [`CheckKind`] lists it. [`Check`] has the options: steps, tolerance, order,
//! a reference for the value; [`Check::run_both`] compares `f32` with `f64` too,
//! [`Check::count`] counts allocations. A [`CheckError`] names the op, the
//! shapes, the input, the worst element and both numbers. Values must be where the function is smooth: [`away_from`] keeps clear of
//! kinks, [`distinct`] of ties, [`landing_on`] hits them on purpose, for tests
//! of conventions.

mod allocator;
mod check;
mod closeness;
mod differences;
mod error;
mod function;
mod strategies;
mod values;

pub use allocator::CountingAllocator;
pub use check::{Check, check_gradients};
pub use error::{CheckError, CheckKind};
pub use strategies::{Tensors, broadcastable, broadcastable_pair, broadcastable_triple, shapes, tensor, tensors};
pub use values::{AwayFrom, Distinct, LandingOn, Values, away_from, distinct, landing_on};
