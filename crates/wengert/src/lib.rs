//! Reverse-mode automatic differentiation on a Wengert list, kept in an arena:
//! record, sweep back, rewind. A training loop which repeats its shapes makes
//! no heap allocation from its third turn on.
//!
//! R. E. Wengert (1964) wrote down differentiation by machine as a list of
//! elementary operations, run forward for the value and backward for the
//! derivative. Here the list is a [`Tape`], its elements are the operations on
//! [`Tensor`]s of `f32` or `f64`, and everything is named by index.
//!
//! | | what it is | lives |
//! |---|---|---|
//! | [`Params`], [`Param`] | values which outlast a step: one slab, and plain indices into it | as long as the model |
//! | [`Tape`], [`Tensor`] | one step: the list of operations and their values in an arena; a tensor is an index and a reference | until [`Tape::rewind`] |
//! | [`Gradients`] | adjoints of parameters, in a slab laid out like [`Params`], and of leaves | reused from step to step |
//!
//! # A leaf, and back
//!
//! Every operation on a tensor runs at once and is written down. A tensor is a
//! constant until [`Tensor::require_grad`] makes it a leaf which wants its
//! gradient; [`Tensor::backward`] sweeps the list from the end to the start.
//!
//! ```
//! use wengert::Tape;
//!
//! let tape = Tape::new();
//! let x = tape.tensor([[1.0, 2.0], [3.0, 4.0]]).require_grad();
//! let y = (x * x + 2.0 * x).sum();
//! assert_eq!(y.item(), 50.0);
//!
//! let grads = y.backward();
//! assert_eq!(grads.get(x).unwrap().as_slice(), &[4.0, 6.0, 8.0, 10.0]);
//! ```
//!
//! Operators work between tensors, parameters and numbers, and broadcast by
//! NumPy's rule. What is not a scalar needs a cotangent
//! ([`Tensor::backward_with`]): the product of a vector with the Jacobian.
//!
//! # Parameters, and a training loop
//!
//! A parameter is an index into a [`Params`]. `&params[w]` is an operand like
//! any tensor, and its memory is used in place. [`Gradients`] accumulate until
//! [`Gradients::zero`]; those of the parameters lie in one slab in the same
//! order as the values, so that an optimizer is one pass over two slices.
//!
//! ```
//! use wengert::{Gradients, Params, Tape};
//!
//! let mut params = Params::new();
//! let w = params.zeros("w", [2, 1]);
//! let b = params.zeros("b", [1]);
//!
//! // y = 3 x0 - x1 + 0.5
//! let (x, y) = ([0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0], [0.5, 3.5, -0.5, 2.5]);
//!
//! let mut tape = Tape::new();
//! let mut grads = Gradients::new();
//! for _ in 0..500 {
//!     tape.rewind();
//!     let out = tape.input([4, 2], &x).matmul(&params[w]) + &params[b];
//!     let loss = out.mse_loss(tape.input([4, 1], &y));
//!     grads.zero();
//!     loss.backward_into(&mut grads);
//!     // No tensor is used below, so the parameters may change.
//!     let slab = grads.slab(&params).unwrap();
//!     for (value, gradient) in params.values_mut().iter_mut().zip(slab) {
//!         *value -= 0.3 * gradient;
//!     }
//! }
//! let w = params[w].as_slice();
//! assert!((w[0] - 3.0).abs() < 1e-3 && (w[1] + 1.0).abs() < 1e-3);
//! ```
//!
//! [`Tape::rewind`] takes `&mut self`: a tensor of the step before does not
//! compile. State is carried over a rewind by [`Tensor::copy_to`] and
//! [`Tape::input`].
//!
//! # Without gradients
//!
//! Inside [`Tape::no_grad`] values are computed and no operation is recorded.
//! [`Tensor::detach`] cuts one tensor off; [`Params::freeze`] does it to a
//! parameter, on behalf of which nothing is computed any more.
//! [`Tape::evaluate`] is a scope which gives its memory back.
//!
//! ```
//! use wengert::{Params, Tape};
//!
//! let mut params = Params::new();
//! let (w, v) = (params.full("w", [], 2.0), params.full("v", [], 5.0));
//! params.freeze(v);
//!
//! let tape = Tape::new();
//! let x = tape.scalar(3.0);
//! let y = tape.param(&params[w]) * x * &params[v];
//! let constant = tape.no_grad(|| y * y);
//! assert!(!constant.requires_grad());
//!
//! let grads = y.backward();
//! assert_eq!(grads.get(&params[w]).unwrap().item(), 15.0);
//! assert!(grads.get(&params[v]).is_none());
//!
//! let entries = tape.stats().entries;
//! let doubled = tape.evaluate(|scope| (scope.constant(y) * 2.0).item());
//! assert_eq!((doubled, tape.stats().entries), (60.0, entries));
//! ```
//!
//! # Derivatives of derivatives
//!
//! [`Tensor::grad`] records its sweep: what comes out are tensors like any
//! other, to build on and to differentiate again, as often as you like.
//!
//! ```
//! use wengert::Tape;
//!
//! let tape = Tape::new_f64();
//! let x = tape.tensor([0.5, 1.0, 2.0]).require_grad();
//! let u = x.powi(4).sum();
//! let [du] = u.grad([x]); // 4 x^3
//! let [d2u] = du.sum().grad([x]); // 12 x^2
//! assert_eq!(d2u.to_vec(), [3.0, 12.0, 48.0]);
//!
//! let loss = (d2u - x).square().mean(); // (12 x^2 - x)^2
//! let grads = loss.backward();
//! let slope = |x: f64| 2.0 * (12.0 * x * x - x) * (24.0 * x - 1.0) / 3.0;
//! let found = grads.get(x).unwrap();
//! assert!([0.5, 1.0, 2.0].iter().zip(found.iter()).all(|(&x, g)| (g - slope(x)).abs() < 1e-9));
//! ```
//!
//! # Errors
//!
//! A mistake in the program panics at the line which made it, with the name of
//! the operation and the shapes. What only the data can tell has a fallible
//! form, `try_..`, which returns an [`Error`].
//!
//! ```should_panic
//! let tape = wengert::Tape::new();
//! // matmul: inner dimensions differ: [32, 784] x [512, 10]
//! tape.zeros([32, 784]).matmul(tape.zeros([512, 10]));
//! ```
//!
//! ```
//! let tape = wengert::Tape::new();
//! let error = tape.zeros([2, 10]).try_cross_entropy(&[3, 10]).unwrap_err();
//! assert_eq!(error.to_string(), "cross_entropy: label 10 at position 1 is out of range for 10 classes");
//! ```
//!
//! Every entry of the list knows which line of the program recorded it.
//! [`Tape::first_non_finite`] and [`Tape::set_check_finite`] find where a NaN
//! came from; [`Tape::dump`] and [`Tensor::graph`] write the list down, as text
//! or as a drawing. After a panic which was caught, the tape can be used on.

mod arena;
mod array;
mod backward;
mod create;
mod derivatives;
mod display;
mod entries;
mod error;
pub mod functional;
mod gradients;
mod graph;
mod kernels;
mod layouts;
mod ops;
mod params;
mod plain;
mod pool;
mod real;
mod recorded;
mod scalar;
mod shape;
mod singles;
mod slab;
mod tape;
mod tensor;
mod threads;
mod workers;

pub use array::{Array, ArrayView};
pub use backward::Cotangent;
pub use error::Error;
pub use gradients::{Gradients, Key};
pub use kernels::gemm::GemmBackend;
pub use kernels::isa::{Vectorize, vectorize};
pub use ops::arrange::Padding;
pub use ops::attention::Attention;
pub use ops::conv::{Conv, Pool};
pub use ops::custom::CustomOp;
pub use ops::fused::Expression;
pub use ops::layers::RecurrentCell;
pub use ops::losses::{CrossEntropy, Reduction};
pub use ops::solve::Triangular;
pub use ops::statistics::Indices;
pub use ops::term::{Element, Term, TermOperand};
pub use params::{Param, Parameter, Params};
pub use real::Real;
pub use scalar::Scalar;
pub use shape::{Axes, MAX_RANK};
pub use tape::{NonFinite, Replay, Slot, Stats, Tape};
pub use tensor::{GradFn, Operand, Tensor};
pub use threads::Threads;
pub use workers::Workers;
