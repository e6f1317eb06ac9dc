//! Factorisations, and systems of equations which are solved by them.

use super::linalg::Linalg::{Cholesky, Inverse, Solve, SolveTriangular};
use super::linalg::{Form, op};
use crate::error::{Error, raise};
use crate::scalar::Scalar;
use crate::tensor::{Operand, Tensor};

/// Linear algebra. Matrices lie along the last two axes, the axes before them
/// are a batch.
impl<'t, T: Scalar> Tensor<'t, T> {
    /// Refuses what is not square matrices.
    #[track_caller]
    pub(super) fn square_matrices(self, op: &str) -> usize {
        match *self.shape() {
            [.., m, n] if m == n => n,
            _ => panic!("{op}: needs square matrices, got {:?}", self.shape()),
        }
    }

    /// The lower factor L of A = L Lᵀ, for symmetric positive definite
    /// matrices. Only the lower triangle is read; the gradient is symmetric. A
    /// matrix with a NaN gives a triangle of NaN.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let a = tape.tensor([[4.0, 2.0], [2.0, 5.0]]);
    /// assert_eq!(a.cholesky().to_vec(), [2.0, 0.0, 1.0, 2.0]);
    /// ```
    ///
    /// # Panics
    /// If a matrix is not square or not positive definite; see
    /// [`Tensor::try_cholesky`].
    #[track_caller]
    pub fn cholesky(self) -> Self {
        match self.try_cholesky() {
            Ok(factor) => factor,
            Err(error) => raise(error),
        }
    }

    /// [`Tensor::cholesky`] for matrices which come from data.
    ///
    /// # Errors
    /// [`Error::Singular`] if a matrix is not positive definite.
    #[track_caller]
    pub fn try_cholesky(self) -> Result<Self, Error> {
        self.square_matrices("cholesky");
        let factor = self.record(op(Cholesky { a: self.id() }));
        factor.refuse_singular(self, "cholesky", "is not positive definite")
    }

    /// A result which is not finite, of a matrix which is, tells that the
    /// matrix could not be factorised.
    fn refuse_singular(self, a: Self, op: &'static str, why: &'static str) -> Result<Self, Error> {
        let size = self.shape()[self.rank() - 2..].iter().product::<usize>().max(1);
        let values = self.as_slice();
        match values.chunks(size).position(|m| m.iter().any(|x| !x.is_finite())) {
            Some(matrix) if a.all_finite() => Err(Error::Singular { op, matrix, why }),
            _ => Ok(self),
        }
    }

    fn all_finite(self) -> bool {
        let mut finite = true;
        self.value().for_each(|x| finite &= x.is_finite());
        finite
    }

    /// The matrices with the batch axes of both operands, broadcast.
    #[track_caller]
    fn with_batch_of(self, name: &str, other: Self) -> Self {
        let (from, of) = (self.shape(), other.shape());
        let (lead, matrix) = from.split_at(from.len() - 2);
        let Some(mut dims) = crate::shape::try_broadcast(lead, &of[..of.len() - 2]) else {
            panic!("{name}: batches do not broadcast: {from:?} and {of:?}");
        };
        if dims.as_slice() == lead {
            return self;
        }
        dims.extend_from_slice(matrix);
        self.broadcast_to(dims)
    }

    /// The operands of a solver, batches broadcast: a right-hand side of one
    /// axis becomes a column.
    #[track_caller]
    fn system(self, name: &str, b: Self) -> (Self, Self, bool) {
        let n = self.square_matrices(name);
        let vector = b.rank() == 1 || b.shape() == &self.shape()[..self.rank() - 1];
        let column = if vector { b.unsqueeze(-1) } else { b };
        let fits = column.rank() >= 2 && column.shape()[column.rank() - 2] == n;
        assert!(fits, "{name}: a right-hand side of {:?} does not fit {:?}", b.shape(), self.shape());
        (self.with_batch_of(name, column), column.with_batch_of(name, self), vector)
    }

    /// X of A X = B, where `self` is A, a triangle; what is on its other side
    /// is not read. `b` is one vector or matrices; batches broadcast.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let a = tape.tensor([[2.0, 0.0], [1.0, 4.0]]);
    /// let lower = wengert::Triangular::Lower;
    /// assert_eq!(a.solve_triangular(tape.tensor([2.0, 9.0]), lower).to_vec(), [1.0, 2.0]);
    /// ```
    ///
    /// # Panics
    /// If the shapes do not fit. A zero on the diagonal gives infinities.
    #[track_caller]
    pub fn solve_triangular(self, b: impl Operand<'t, T>, triangle: Triangular) -> Self {
        let (a, b, vector) = self.system("solve_triangular", self.operand(b));
        let (lower, unit) = match triangle {
            Triangular::Lower => (true, false),
            Triangular::Upper => (false, false),
            Triangular::UnitLower => (true, true),
            Triangular::UnitUpper => (false, true),
        };
        let form = Form { lower, unit, transposed: false };
        let x = self.record(op(SolveTriangular { a: a.id(), b: b.id(), form }));
        if vector { x.squeeze_axis(-1) } else { x }
    }

    /// X of A X = B, where `self` is A. `b` is one vector, a batch of them of
    /// the shape of A without its last axis, or matrices; batches broadcast.
    /// By LU with partial pivoting.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let a = tape.tensor([[2.0, 1.0], [1.0, 3.0]]);
    /// assert_eq!(a.solve(tape.tensor([3.0, 4.0])).to_vec(), [1.0, 1.0]);
    /// ```
    ///
    /// # Panics
    /// If the shapes do not fit, or a matrix is singular; see
    /// [`Tensor::try_solve`].
    #[track_caller]
    pub fn solve(self, b: impl Operand<'t, T>) -> Self {
        match self.try_solve(b) {
            Ok(x) => x,
            Err(error) => raise(error),
        }
    }

    /// [`Tensor::solve`] for matrices which come from data.
    ///
    /// # Errors
    /// [`Error::Singular`] if a matrix is singular.
    #[track_caller]
    pub fn try_solve(self, b: impl Operand<'t, T>) -> Result<Self, Error> {
        let (a, b, vector) = self.system("solve", self.operand(b));
        let x = self.record(op(Solve { a: a.id(), b: b.id(), transposed: false }));
        // NaN and infinities on the right say nothing about the matrix.
        let x = if b.all_finite() { x.refuse_singular(a, "solve", "is singular")? } else { x };
        Ok(if vector { x.squeeze_axis(-1) } else { x })
    }

    /// The inverse. To solve a system, [`Tensor::solve`] is better.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([[2.0, 0.0], [0.0, 4.0]]).inverse().to_vec(), [0.5, 0.0, 0.0, 0.25]);
    /// ```
    ///
    /// # Panics
    /// If a matrix is not square, or is singular.
    #[doc(alias = "inv")]
    #[track_caller]
    pub fn inverse(self) -> Self {
        self.square_matrices("inverse");
        match self.record(op(Inverse { a: self.id() })).refuse_singular(self, "inverse", "is singular") {
            Ok(x) => x,
            Err(error) => raise(error),
        }
    }
}

/// Which triangle [`Tensor::solve_triangular`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Triangular {
    /// On and below the diagonal.
    Lower,
    /// On and above the diagonal.
    Upper,
    /// Below the diagonal, which counts as 1.
    UnitLower,
    /// Above the diagonal, which counts as 1.
    UnitUpper,
}
