//! Products with Jacobians and Hessians, of tensors on a tape.

use std::ops::Range;

use crate::scalar::Scalar;
use crate::shape::Dims;
use crate::tensor::Tensor;

/// Derivatives as tensors on the tape: they can be differentiated again.
/// From the third turn on, none of them allocates.
impl<'t, T: Scalar> Tensor<'t, T> {
    /// The Jacobian-vector product: how this tensor changes when the inputs
    /// move along the tangents. Two reverse sweeps, the second through the
    /// first.
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// let x = tape.tensor([1.0, 2.0]).require_grad();
    /// let change = x.square().jvp([x], [tape.tensor([1.0, 10.0])]);
    /// assert_eq!(change.to_vec(), [2.0, 40.0]);
    /// ```
    ///
    /// # Panics
    /// If a tangent differs in shape from its input, if this tensor does not
    /// require a gradient, or an input does not.
    #[track_caller]
    pub fn jvp<const N: usize>(self, inputs: [Self; N], tangents: [Self; N]) -> Self {
        // J^T v is linear in v, and its derivative in v along the tangents is J t.
        let v = self.tape().zeros(self.shape()).require_grad();
        let along = self.vjp(v, inputs).along("jvp", inputs, tangents);
        along.derivative(v)
    }

    /// The product of the Hessian of this scalar with vectors, one for each
    /// input; zeros where the scalar is linear.
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// let x = tape.tensor([1.0, 2.0]).require_grad();
    /// let [hv] = x.powi(3).sum().hvp([x], [tape.tensor([1.0, 1.0])]);
    /// assert_eq!(hv.to_vec(), [6.0, 12.0]);
    /// ```
    ///
    /// # Panics
    /// If this tensor has more than one element, or as [`Tensor::jvp`].
    #[track_caller]
    pub fn hvp<const N: usize>(self, inputs: [Self; N], vectors: [Self; N]) -> [Self; N] {
        let along = self.grad(inputs).along("hvp", inputs, vectors);
        if along.requires_grad() {
            return along.grad(inputs);
        }
        inputs.map(|x| x.tape().zeros(x.shape()))
    }

    /// All derivatives of this tensor by an input: its shape, then the
    /// input's. One sweep for each element of this tensor.
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// let x = tape.tensor([1.0, 2.0]).require_grad();
    /// let y = tape.stack([x.sum(), x.square().sum()], 0);
    /// assert_eq!(y.jacobian(x).to_vec(), [1.0, 1.0, 2.0, 4.0]);
    /// ```
    ///
    /// # Panics
    /// If the input does not require a gradient.
    #[track_caller]
    pub fn jacobian(self, input: Self) -> Self {
        let tape = self.tape();
        let mut dims = Dims::from_slice(self.shape());
        dims.extend_from_slice(input.shape());
        let rows = self.len();
        if rows == 0 || input.is_empty() || !self.requires_grad() {
            return tape.zeros(dims);
        }
        self.reshape([rows]).rows_of_jacobian(input, 0..rows).reshape(dims)
    }

    /// The derivatives of some elements of this vector, a row each. By halves,
    /// so that no row is copied more often than the logarithm of their number,
    /// and no list of them is needed.
    #[track_caller]
    fn rows_of_jacobian(self, input: Self, rows: Range<usize>) -> Self {
        let tape = self.tape();
        if rows.len() == 1 {
            let [row] = self.narrow(0, rows.start, 1).vjp(tape.ones([1]), [input]);
            return row.reshape([1, input.len()]);
        }
        let middle = rows.start.midpoint(rows.end);
        let halves = [rows.start..middle, middle..rows.end];
        tape.concat(halves.map(|half| self.rows_of_jacobian(input, half)), 0)
    }

    /// The second derivatives of this scalar by an input: the input's shape
    /// twice. One sweep for each element of the input, after a first.
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// let x = tape.tensor([1.0, 2.0]).require_grad();
    /// let f = x.prod() + x.powi(3).sum();
    /// assert_eq!(f.hessian(x).to_vec(), [6.0, 1.0, 1.0, 12.0]);
    /// ```
    ///
    /// # Panics
    /// If this tensor has more than one element, does not require a gradient,
    /// or the input does not.
    #[track_caller]
    pub fn hessian(self, input: Self) -> Self {
        self.grad([input])[0].jacobian(input)
    }

    /// The derivative of a scalar by an input, or zeros if there is none.
    #[track_caller]
    fn derivative(self, input: Self) -> Self {
        match self.requires_grad() {
            true => self.grad([input])[0],
            false => self.tape().zeros(input.shape()),
        }
    }
}

/// Gradients which are contracted with vectors.
trait Along<'t, T: Scalar, const N: usize> {
    fn along(self, op: &str, inputs: [Tensor<'t, T>; N], vectors: [Tensor<'t, T>; N]) -> Tensor<'t, T>;
}

impl<'t, T: Scalar, const N: usize> Along<'t, T, N> for [Tensor<'t, T>; N] {
    /// The sum of the products of these with vectors of their shapes.
    #[track_caller]
    fn along(self, op: &str, inputs: [Tensor<'t, T>; N], vectors: [Tensor<'t, T>; N]) -> Tensor<'t, T> {
        assert!(N > 0, "{op}: of no inputs");
        let mut sum = None;
        for i in 0..N {
            let (x, v) = (inputs[i].shape(), vectors[i].shape());
            assert!(x == v, "{op}: input {i} has shape {x:?}, its vector {v:?}");
            let term = (self[i] * vectors[i]).sum();
            sum = Some(match sum {
                Some(sum) => term + sum,
                None => term,
            });
        }
        sum.expect("at least one input")
    }
}
