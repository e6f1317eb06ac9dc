//! The reverse sweep: one rule per op, several interpreters. Here are the methods
//! which start a plain or a recorded one; `plain.rs` (with `singles.rs`) and
//! `recorded.rs` have them.

use crate::gradients::Gradients;
use crate::scalar::Scalar;
use crate::tape::Tape;
use crate::tensor::{Operand, Sealed, Tensor};
use crate::{plain, recorded};

impl<'t, T: Scalar> Tensor<'t, T> {
    /// The gradients of this scalar with respect to every tracked leaf and
    /// parameter it depends on.
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// let x = tape.tensor([1.0, 2.0]).require_grad();
    /// let grads = x.square().sum().backward();
    /// assert_eq!(grads.get(x).unwrap().as_slice(), &[2.0, 4.0]);
    /// ```
    ///
    /// # Panics
    /// If it has more than one element (see [`Tensor::backward_with`]), or if
    /// nothing it depends on requires a gradient.
    #[track_caller]
    pub fn backward(self) -> Gradients<T> {
        let mut grads = Gradients::new();
        self.backward_into(&mut grads);
        grads
    }

    /// [`Tensor::backward`] which adds to `grads`, as PyTorch adds to `.grad`.
    /// Allocates nothing in the steady state.
    ///
    /// # Panics
    /// As [`Tensor::backward`].
    #[track_caller]
    pub fn backward_into(self, grads: &mut Gradients<T>) {
        let shape = self.shape();
        assert!(self.len() == 1, "backward: a root of shape {shape:?} needs a cotangent: see backward_with");
        self.sweep(None, grads);
    }

    /// The vector-Jacobian product with a cotangent of this tensor's shape.
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// let x = tape.tensor([1.0, 2.0]).require_grad();
    /// let grads = x.square().backward_with([1.0, 10.0]);
    /// assert_eq!(grads.get(x).unwrap().as_slice(), &[2.0, 40.0]);
    /// ```
    ///
    /// # Panics
    /// If the cotangent has another shape, or nothing requires a gradient.
    #[track_caller]
    pub fn backward_with(self, cotangent: impl Cotangent<'t, T>) -> Gradients<T> {
        let mut grads = Gradients::new();
        self.backward_with_into(cotangent, &mut grads);
        grads
    }

    /// [`Tensor::backward_with`] which adds to `grads`.
    ///
    /// # Panics
    /// As [`Tensor::backward_with`].
    #[track_caller]
    pub fn backward_with_into(self, cotangent: impl Cotangent<'t, T>, grads: &mut Gradients<T>) {
        let cotangent = self.operand(cotangent.on(self.tape()));
        let (shape, given) = (self.shape(), cotangent.shape());
        assert!(shape == given, "backward: a root of shape {shape:?}, but a cotangent of shape {given:?}");
        self.sweep(Some(cotangent), grads);
    }

    /// A plain sweep, from 1 if there is no cotangent.
    #[track_caller]
    fn sweep(self, cotangent: Option<Self>, grads: &mut Gradients<T>) {
        assert!(self.requires_grad(), "backward: nothing this tensor depends on requires a gradient");
        plain::sweep(self.tape(), self.id(), cotangent.map(Tensor::id), grads);
    }

    /// The gradients of this scalar with respect to some tensors, as tensors
    /// on the tape: they can be differentiated again. Zeros for an input which
    /// nothing reaches.
    ///
    /// ```
    /// let tape = wengert::Tape::new_f64();
    /// let x = tape.scalar(3.0).require_grad();
    /// let [dy] = x.powi(3).grad([x]);
    /// let [d2y] = dy.grad([x]);
    /// assert_eq!((dy.item(), d2y.item()), (27.0, 18.0));
    /// ```
    ///
    /// # Panics
    /// If it has more than one element (see [`Tensor::vjp`]), if it does not
    /// require a gradient, or an input does not.
    #[doc(alias = "autograd.grad")]
    #[track_caller]
    pub fn grad<const N: usize>(self, inputs: [Self; N]) -> [Self; N] {
        let shape = self.shape();
        assert!(self.len() == 1, "grad: a root of shape {shape:?} needs a cotangent: see vjp");
        self.vjp(self.tape().ones(shape), inputs)
    }

    /// The vector-Jacobian product with a cotangent, recorded as
    /// [`Tensor::grad`] is; differentiable in the cotangent too.
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// let x = tape.tensor([1.0, 2.0]).require_grad();
    /// let [g] = x.square().vjp(tape.tensor([1.0, 10.0]), [x]);
    /// assert_eq!(g.to_vec(), [2.0, 40.0]);
    /// ```
    ///
    /// # Panics
    /// If the cotangent has another shape, if this tensor does not require a
    /// gradient, or an input does not.
    #[track_caller]
    pub fn vjp<const N: usize>(self, cotangent: impl Cotangent<'t, T>, inputs: [Self; N]) -> [Self; N] {
        let tape = self.tape();
        let cotangent = self.operand(cotangent.on(tape));
        let (shape, given) = (self.shape(), cotangent.shape());
        assert!(shape == given, "grad: a root of shape {shape:?}, but a cotangent of shape {given:?}");
        assert!(self.requires_grad(), "grad: nothing this tensor depends on requires a gradient");
        for (i, x) in inputs.iter().enumerate() {
            let x = self.operand(*x);
            assert!(x.requires_grad(), "grad: input {i} of shape {:?} does not require a gradient", x.shape());
        }
        let found = recorded::sweep(tape, self.id(), cotangent.id(), inputs.map(Tensor::id));
        std::array::from_fn(|i| match found[i] {
            Some(id) => Tensor::new(tape, id),
            None => tape.zeros(inputs[i].shape()),
        })
    }
}

/// What a sweep starts from: a tensor, or host values which become one.
pub trait Cotangent<'t, T: Scalar>: Sealed {
    /// The cotangent on the tape.
    #[doc(hidden)]
    fn on(self, tape: &'t Tape<T>) -> Tensor<'t, T>;
}

impl<T: Scalar, const N: usize> Sealed for [T; N] {}

impl<'t, T: Scalar> Cotangent<'t, T> for Tensor<'t, T> {
    #[track_caller]
    fn on(self, tape: &'t Tape<T>) -> Tensor<'t, T> {
        Operand::tensor(self, tape)
    }
}

impl<'t, T: Scalar, const N: usize> Cotangent<'t, T> for [T; N] {
    #[track_caller]
    fn on(self, tape: &'t Tape<T>) -> Tensor<'t, T> {
        tape.input([N], &self)
    }
}
