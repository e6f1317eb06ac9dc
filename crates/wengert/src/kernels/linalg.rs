//! Factorisations of small dense matrices, column by column.
//!
//! Matrices are row-major slices of `n * n` elements. The loops run along rows,
//! which are contiguous.

use crate::scalar::Scalar;

/// The lower Cholesky factor, in place; the upper triangle becomes 0. `Err` has
/// the index of the first pivot which is not positive (Golub and Van Loan,
/// "Matrix Computations", 4th edition, algorithm 4.2.1, by rows).
pub(crate) fn cholesky<T: Scalar>(a: &mut [T], n: usize) -> Result<(), usize> {
    for i in 0..n {
        for j in 0..=i {
            let mut sum = a[i * n + j];
            for k in 0..j {
                sum -= a[i * n + k] * a[j * n + k];
            }
            if i > j {
                a[i * n + j] = sum / a[j * n + j];
            } else if sum > T::ZERO {
                a[i * n + i] = sum.sqrt();
            } else {
                return Err(i);
            }
        }
        a[i * n + i + 1..(i + 1) * n].fill(T::ZERO);
    }
    Ok(())
}

/// L and U of the rows in the order `rows`, in place, with partial pivoting
/// (algorithm 3.4.1). The result is the sign of the permutation; a zero pivot
/// stays on the diagonal.
pub(crate) fn lu<T: Scalar>(a: &mut [T], n: usize, rows: &mut [usize]) -> T {
    let mut sign = T::ONE;
    rows.iter_mut().enumerate().for_each(|(i, r)| *r = i);
    for k in 0..n {
        let mut best = k;
        for i in k + 1..n {
            if a[i * n + k].abs() > a[best * n + k].abs() || a[i * n + k].is_nan() {
                best = i;
            }
        }
        if best != k {
            sign = -sign;
            rows.swap(k, best);
            (0..n).for_each(|j| a.swap(k * n + j, best * n + j));
        }
        let pivot = a[k * n + k];
        if pivot == T::ZERO {
            continue;
        }
        for i in k + 1..n {
            let factor = a[i * n + k] / pivot;
            a[i * n + k] = factor;
            for j in k + 1..n {
                a[i * n + j] -= factor * a[k * n + j];
            }
        }
    }
    sign
}

/// A triangular matrix which is read by rows or by columns.
#[derive(Clone, Copy)]
pub(crate) struct Triangle<'a, T> {
    pub(crate) a: &'a [T],
    pub(crate) n: usize,
    /// The triangle of the matrix as it is read: below the diagonal, or above.
    pub(crate) lower: bool,
    pub(crate) transposed: bool,
    /// The diagonal counts as 1.
    pub(crate) unit: bool,
}

impl<T: Scalar> Triangle<'_, T> {
    fn get(&self, i: usize, j: usize) -> T {
        let (i, j) = if self.transposed { (j, i) } else { (i, j) };
        self.a[i * self.n + j]
    }

    /// Solves for `columns` right-hand sides at once, in place: `x` is row-major.
    pub(crate) fn solve(&self, x: &mut [T], columns: usize) {
        let n = self.n;
        for step in 0..n {
            let i = if self.lower { step } else { n - 1 - step };
            let known = if self.lower { 0..i } else { i + 1..n };
            for k in known {
                let factor = self.get(i, k);
                for j in 0..columns {
                    x[i * columns + j] -= factor * x[k * columns + j];
                }
            }
            if !self.unit {
                let pivot = self.get(i, i);
                x[i * columns..(i + 1) * columns].iter_mut().for_each(|x| *x = *x / pivot);
            }
        }
    }
}
