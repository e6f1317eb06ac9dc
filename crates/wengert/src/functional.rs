//! Derivatives of functions of host arrays: a closure goes in, numbers come
//! out. Each call has a tape of its own, so these allocate; a loop does better
//! with a tape which it keeps.
//!
//! ```
//! use wengert::{Array, functional};
//! let x = Array::new([2], vec![1.0, 2.0]);
//! let [g] = functional::grad(|_, [x]| x.powi(3).sum(), [&x]);
//! assert_eq!(g.as_slice(), &[3.0, 12.0]);
//! let h = functional::hessian(|_, x| x.powi(3).sum(), &x);
//! assert_eq!(h.as_slice(), &[6.0, 0.0, 0.0, 12.0]);
//! ```

use crate::array::Array;
use crate::scalar::Scalar;
use crate::tape::Tape;
use crate::tensor::Tensor;

/// The inputs on a tape, tracked.
#[track_caller]
fn lift<'c, T: Scalar, const N: usize>(tape: &'c Tape<T>, inputs: [&Array<T>; N]) -> [Tensor<'c, T>; N] {
    inputs.map(|x| tape.input(x.shape(), x.as_slice()).require_grad())
}

/// The value of a scalar function and its gradients.
///
/// # Panics
/// If the result has more than one element.
#[track_caller]
pub fn value_and_grad<T: Scalar, const N: usize>(
    f: impl for<'c> FnOnce(&'c Tape<T>, [Tensor<'c, T>; N]) -> Tensor<'c, T>,
    inputs: [&Array<T>; N],
) -> (T, [Array<T>; N]) {
    let tape = Tape::default();
    let x = lift(&tape, inputs);
    let y = f(&tape, x);
    if !y.requires_grad() {
        return (y.item(), x.map(|x| tape.zeros(x.shape()).to_array()));
    }
    (y.item(), y.grad(x).map(Tensor::to_array))
}

/// The gradients of a scalar function.
///
/// # Panics
/// If the result has more than one element.
#[track_caller]
pub fn grad<T: Scalar, const N: usize>(
    f: impl for<'c> FnOnce(&'c Tape<T>, [Tensor<'c, T>; N]) -> Tensor<'c, T>,
    inputs: [&Array<T>; N],
) -> [Array<T>; N] {
    value_and_grad(f, inputs).1
}

/// The value of a function, and its Jacobian's product from the left with a
/// cotangent, for each input.
///
/// # Panics
/// If the cotangent has not the shape of the value.
#[track_caller]
pub fn vjp<T: Scalar, const N: usize>(
    f: impl for<'c> FnOnce(&'c Tape<T>, [Tensor<'c, T>; N]) -> Tensor<'c, T>,
    inputs: [&Array<T>; N],
    cotangent: &Array<T>,
) -> (Array<T>, [Array<T>; N]) {
    let tape = Tape::default();
    let x = lift(&tape, inputs);
    let y = f(&tape, x);
    let g = match y.requires_grad() {
        true => y.vjp(tape.input(cotangent.shape(), cotangent.as_slice()), x),
        false => x.map(|x| tape.zeros(x.shape())),
    };
    (y.to_array(), g.map(Tensor::to_array))
}

/// The value of a function, and its change along tangents.
///
/// ```
/// use wengert::{Array, functional};
/// let (x, t) = (Array::new([2], vec![1.0, 2.0]), Array::new([2], vec![1.0, 0.5]));
/// let (y, change) = functional::jvp(|_, [x]| x.square(), [&x], [&t]);
/// assert_eq!((y.as_slice(), change.as_slice()), (&[1.0, 4.0][..], &[2.0, 2.0][..]));
/// ```
///
/// # Panics
/// If a tangent has not the shape of its input.
#[track_caller]
pub fn jvp<T: Scalar, const N: usize>(
    f: impl for<'c> FnOnce(&'c Tape<T>, [Tensor<'c, T>; N]) -> Tensor<'c, T>,
    inputs: [&Array<T>; N],
    tangents: [&Array<T>; N],
) -> (Array<T>, Array<T>) {
    let tape = Tape::default();
    let x = lift(&tape, inputs);
    let y = f(&tape, x);
    let change = match y.requires_grad() {
        true => y.jvp(x, tangents.map(|t| tape.input(t.shape(), t.as_slice()))),
        false => tape.zeros(y.shape()),
    };
    (y.to_array(), change.to_array())
}

/// The products of the Hessian of a scalar function with vectors.
///
/// # Panics
/// If the result has more than one element, or a vector has not the shape of
/// its input.
#[track_caller]
pub fn hvp<T: Scalar, const N: usize>(
    f: impl for<'c> FnOnce(&'c Tape<T>, [Tensor<'c, T>; N]) -> Tensor<'c, T>,
    inputs: [&Array<T>; N],
    vectors: [&Array<T>; N],
) -> [Array<T>; N] {
    let tape = Tape::default();
    let x = lift(&tape, inputs);
    let y = f(&tape, x);
    if !y.requires_grad() {
        return x.map(|x| tape.zeros(x.shape()).to_array());
    }
    y.hvp(x, vectors.map(|v| tape.input(v.shape(), v.as_slice()))).map(Tensor::to_array)
}

/// All derivatives of a function of one array: the shape of the result, then
/// that of the input.
#[track_caller]
pub fn jacobian<T: Scalar>(
    f: impl for<'c> FnOnce(&'c Tape<T>, Tensor<'c, T>) -> Tensor<'c, T>,
    input: &Array<T>,
) -> Array<T> {
    let tape = Tape::default();
    let [x] = lift(&tape, [input]);
    f(&tape, x).jacobian(x).to_array()
}

/// The second derivatives of a scalar function of one array.
///
/// # Panics
/// If the result has more than one element.
#[track_caller]
pub fn hessian<T: Scalar>(
    f: impl for<'c> FnOnce(&'c Tape<T>, Tensor<'c, T>) -> Tensor<'c, T>,
    input: &Array<T>,
) -> Array<T> {
    let tape = Tape::default();
    let [x] = lift(&tape, [input]);
    let y = f(&tape, x);
    if !y.requires_grad() {
        let dims = [x.shape(), x.shape()].concat();
        return tape.zeros(dims).to_array();
    }
    y.hessian(x).to_array()
}
