//! Determinants and their logarithms.

use super::linalg::Linalg::Determinant;
use super::linalg::op;
use crate::scalar::Scalar;
use crate::tensor::Tensor;

/// Determinants of the matrices along the last two axes.
impl<T: Scalar> Tensor<'_, T> {
    /// The determinant. Its gradient, the cofactors, and its second derivatives
    /// are right for matrices of any rank; third derivatives take an inverse.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([[2.0, 1.0], [1.0, 3.0]]).det().item(), 5.0);
    /// ```
    ///
    /// # Panics
    /// If a matrix is not square.
    #[track_caller]
    pub fn det(self) -> Self {
        self.square_matrices("det");
        self.without_matrix(self.record(op(Determinant { a: self.id(), log: false })))
    }

    /// `[.., 1, 1]` as `[..]`.
    #[track_caller]
    fn without_matrix(self, x: Self) -> Self {
        x.reshape(&self.shape()[..self.rank() - 2])
    }

    /// The sign of the determinant, a constant, and the logarithm of its size.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let (sign, log) = tape.tensor([[0.0, 1.0], [1.0, 0.0]]).slogdet();
    /// assert_eq!((sign.item(), log.item()), (-1.0, 0.0));
    /// ```
    ///
    /// # Panics
    /// If a matrix is not square.
    #[track_caller]
    pub fn slogdet(self) -> (Self, Self) {
        let n = self.square_matrices("slogdet");
        let log = self.without_matrix(self.record(op(Determinant { a: self.id(), log: true })));
        // Scaled so that the determinant is 1 or -1 and does not leave the
        // range of the numbers; a singular matrix has no such scale.
        let size = log.detach();
        let scale = (size / -T::from_f64(n.max(1) as f64)).exp().masked_fill(size.eq(T::NEG_INFINITY), T::ZERO);
        let scaled = self.detach() * scale.unsqueeze(-1).unsqueeze(-1);
        let det = self.without_matrix(self.record(op(Determinant { a: scaled.id(), log: false })));
        (det.sign(), log)
    }

    /// The logarithm of the determinant: NaN where that is negative, -∞ where
    /// it is 0.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.tensor([[2.0, 0.0], [0.0, 0.5]]).logdet().item(), 0.0);
    /// ```
    ///
    /// # Panics
    /// If a matrix is not square.
    #[track_caller]
    pub fn logdet(self) -> Self {
        let (sign, log) = self.slogdet();
        log.where_mask(sign.ge(T::ZERO), T::NAN)
    }
}
