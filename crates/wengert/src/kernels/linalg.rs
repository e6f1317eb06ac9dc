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

/// A matrix as L D U with unit triangles L and U and a diagonal D, all in its
/// place, its rows and columns in another order.
pub(crate) struct Ldu<'a, T> {
    a: &'a [T],
    n: usize,
    rows: &'a [usize],
    columns: &'a [usize],
    /// Of both permutations.
    sign: T,
}

impl<'a, T: Scalar> Ldu<'a, T> {
    /// By complete pivoting (section 3.4.8): of a matrix without full rank, D
    /// ends in zeros, while L and U are as good as those of any other.
    pub(crate) fn new(a: &'a mut [T], n: usize, rows: &'a mut [usize], columns: &'a mut [usize]) -> Self {
        let mut sign = T::ONE;
        (0..n).for_each(|i| (rows[i], columns[i]) = (i, i));
        for k in 0..n {
            let (mut row, mut column) = (k, k);
            for i in k..n {
                for j in k..n {
                    let x = a[i * n + j].abs();
                    if x > a[row * n + column].abs() || x.is_nan() {
                        (row, column) = (i, j);
                    }
                }
            }
            if row != k {
                sign = -sign;
                rows.swap(k, row);
                (0..n).for_each(|j| a.swap(k * n + j, row * n + j));
            }
            if column != k {
                sign = -sign;
                columns.swap(k, column);
                (0..n).for_each(|i| a.swap(i * n + k, i * n + column));
            }
            let pivot = a[k * n + k];
            if pivot == T::ZERO {
                break;
            }
            (k + 1..n).for_each(|j| a[k * n + j] = a[k * n + j] / pivot);
            for i in k + 1..n {
                let x = a[i * n + k];
                (k + 1..n).for_each(|j| a[i * n + j] -= x * a[k * n + j]);
                a[i * n + k] = x / pivot;
            }
        }
        Ldu { a, n, rows, columns, sign }
    }

    /// The product of D's elements other than these two (which may be one).
    fn product_without(&self, i: usize, j: usize) -> T {
        let others = (0..self.n).filter(|&k| k != i && k != j);
        others.fold(self.sign, |product, k| product * self.a[k * self.n + k])
    }

    fn triangle(&self, lower: bool, transposed: bool) -> Triangle<'_, T> {
        Triangle { a: self.a, n: self.n, lower, transposed, unit: true }
    }

    /// The cofactors, into `to`: those of a product are the product of those
    /// of its factors, L⁻ᵀ cof(D) U⁻ᵀ. No pivot is divided by.
    pub(crate) fn cofactors(&self, work: &mut [T], to: &mut [T]) {
        work.fill(T::ZERO);
        (0..self.n).for_each(|i| work[i * self.n + i] = self.product_without(i, i));
        self.unfold(work, to);
    }

    /// How the cofactors change when the matrix moves along `to`, in its place.
    ///
    /// With K = L⁻¹ H U⁻¹ they are L⁻ᵀ S U⁻ᵀ, where S is how those of the
    /// diagonal D change along K: -K_ji times the product of the others off
    /// the diagonal, and on it the sum over j of K_jj times that of the others.
    pub(crate) fn cofactors_along(&self, work: &mut [T], to: &mut [T]) {
        let n = self.n;
        for i in 0..n {
            (0..n).for_each(|j| work[i * n + j] = to[self.rows[i] * n + self.columns[j]]);
        }
        self.triangle(true, false).solve(work, n);
        transpose(work, n);
        self.triangle(true, true).solve(work, n);
        // `work` is the transpose of K.
        let diagonal = &mut to[..n];
        (0..n).for_each(|i| diagonal[i] = work[i * n + i]);
        for i in 0..n {
            work[i * n + i] = T::ZERO;
            for j in (0..n).filter(|&j| j != i) {
                let others = self.product_without(i, j);
                work[i * n + j] = -(work[i * n + j] * others);
                work[i * n + i] += diagonal[j] * others;
            }
        }
        self.unfold(work, to);
    }

    /// L⁻ᵀ X U⁻ᵀ of X in `work`, rows and columns back in their order.
    fn unfold(&self, work: &mut [T], to: &mut [T]) {
        let n = self.n;
        self.triangle(false, true).solve(work, n);
        transpose(work, n);
        self.triangle(false, false).solve(work, n);
        for i in 0..n {
            (0..n).for_each(|j| to[self.rows[i] * n + self.columns[j]] = work[j * n + i]);
        }
    }
}

fn transpose<T>(x: &mut [T], n: usize) {
    for i in 0..n {
        (0..i).for_each(|j| x.swap(i * n + j, j * n + i));
    }
}
