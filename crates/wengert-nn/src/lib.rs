//! Layers, initialisation and optimizers for [`wengert`].
//!
//! A layer is a plain struct of [`Param`](wengert::Param) indices: it holds no
//! values, so the same layer runs on any store of parameters which has its
//! shape (a clone, an average, a target network). Layers come from a
//! constructor which adds their parameters to a [`Params`](wengert::Params);
//! an [`Optimizer`] walks over that store's flat slab.
//!
//! ```
//! use rand::{SeedableRng, rngs::StdRng};
//! use wengert::{Gradients, Params, Tape};
//! use wengert_nn::{Adam, Linear, Optimizer};
//!
//! let rng = &mut StdRng::seed_from_u64(0);
//! let mut params = Params::new();
//! let hidden = Linear::new(&mut params, "hidden", 2, 16, rng);
//! let output = Linear::new(&mut params, "output", 16, 2, rng);
//!
//! // Exclusive or.
//! let (x, y) = ([0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], [0, 1, 1, 0]);
//! let (mut tape, mut grads, mut opt) = (Tape::new(), Gradients::new(), Adam::new(0.05));
//! let mut last = f32::INFINITY;
//! for _ in 0..200 {
//!     tape.rewind();
//!     let h = hidden.forward(&params, tape.input([4, 2], &x)).tanh();
//!     let loss = output.forward(&params, h).cross_entropy(&y);
//!     last = loss.item();
//!     grads.zero();
//!     loss.backward_into(&mut grads);
//!     opt.step(&mut params, &grads);
//! }
//! assert!(last < 0.05);
//! ```

pub mod init;
mod linear;
mod module;
mod optim;

pub use linear::Linear;
pub use module::{Module, Relu, Sequential, Sigmoid, Tanh};
pub use optim::{Adam, AdamW, Optimizer, Sgd};
