//! Normalisation of rows: mean 0 (if centred) and mean square 1.
//!
//! With `m` the mean (0 if not centred), `r = 1 / √(mean((x - m)²) + eps)` and
//! `z = r (x - m)`, the result is `z w + b`. Gradient kernels compute `m` and
//! `r` again: that costs two passes over a row in the first-level cache, and
//! saves a second output.

use super::isa::dispatched;
use super::lines::{line, write};
use super::reduce::{Sum, tree, tree_of};
use crate::scalar::Scalar;

/// What is normalised, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<T> {
    pub(crate) x: *const T,
    pub(crate) rows: usize,
    pub(crate) len: usize,
    pub(crate) centred: bool,
    pub(crate) eps: T,
}

impl<T: Scalar> Rows<T> {
    /// The row number `i`, its `m` and its `r`.
    ///
    /// # Safety
    /// There are as many rows.
    #[inline(always)]
    unsafe fn row<'a>(&self, i: usize) -> (&'a [T], T, T) {
        // SAFETY: the caller's.
        let [x] = unsafe { line([self.x], i, self.len) };
        let n = T::from_f64(self.len as f64);
        let m = if self.centred { tree::<T, Sum>(x) / n } else { T::ZERO };
        let square = tree_of::<T, Sum, 1>([x], |[x]| (x - m) * (x - m)) / n;
        (x, m, T::ONE / (square + self.eps).sqrt())
    }
}

dispatched! {
    /// `z w + b`
    ///
    /// # Safety
    /// `of.x` and `to` have `of.rows` rows of `of.len` elements, `w` and `b`
    /// one (or are null, for 1 and 0); the output overlaps no operand.
    pub(crate) unsafe fn normalize<T: Scalar>(of: Rows<T>, w: *const T, b: *const T, to: *mut T) {
        // SAFETY: the caller's contract.
        unsafe {
            for i in 0..of.rows {
                let (x, m, r) = of.row(i);
                let to = to.add(i * of.len);
                match (w.is_null(), b.is_null()) {
                    (true, true) => write(to, [x], |[x]| (x - m) * r),
                    (false, true) => write(to, [x, line([w], 0, of.len)[0]], |[x, w]| (x - m) * r * w),
                    (true, false) => write(to, [x, line([b], 0, of.len)[0]], |[x, b]| (x - m) * r + b),
                    (false, false) => {
                        let [w, b] = line([w, b], 0, of.len);
                        write(to, [x, w, b], |[x, w, b]| (x - m) * r * w + b)
                    }
                };
            }
        }
    }
}

/// One row of [`to_input`]: of x and what `u` is made of.
///
/// # Safety
/// `to` may be written at as many elements, and overlaps none of them.
#[inline(always)]
unsafe fn tilt<T: Scalar, const N: usize>(
    of: &Rows<T>,
    row: [&[T]; N],
    m: T,
    r: T,
    to: *mut T,
    u: impl Fn([T; N]) -> T,
) {
    let n = T::from_f64(of.len as f64);
    let mean = if of.centred { tree_of::<T, Sum, N>(row, &u) / n } else { T::ZERO };
    let lean = tree_of::<T, Sum, N>(row, |row| u(row) * ((row[0] - m) * r)) / n;
    // SAFETY: the caller's contract.
    unsafe { write(to, row, |row| r * (u(row) - mean - (row[0] - m) * r * lean)) };
}

dispatched! {
    /// The cotangents `g` (rows `step` apart) taken to `x`: with `u = g w`,
    /// `r (u - mean(u) - z mean(u z))`, without `mean(u)` if not centred.
    ///
    /// # Safety
    /// As [`normalize`].
    pub(crate) unsafe fn to_input<T: Scalar>(of: Rows<T>, g: *const T, step: usize, w: *const T, to: *mut T) {
        // SAFETY: the caller's contract.
        unsafe {
            for i in 0..of.rows {
                let (x, m, r) = of.row(i);
                let ([g], to) = (line([g.add(i * step)], 0, of.len), to.add(i * of.len));
                // `u` is computed again and again: cheaper than kept.
                match w.is_null() {
                    true => tilt(&of, [x, g], m, r, to, |[_, g]| g),
                    false => tilt(&of, [x, g, line([w], 0, of.len)[0]], m, r, to, |[_, g, w]| g * w),
                }
            }
        }
    }
}

dispatched! {
    /// The cotangents `g` (rows `step` apart) taken to `w`: `Σ g z` over rows,
    /// four at a time.
    ///
    /// # Safety
    /// As [`normalize`]; the output has one row.
    pub(crate) unsafe fn to_weight<T: Scalar>(of: Rows<T>, g: *const T, step: usize, to: *mut T) {
        // SAFETY: the caller's contract; the output is written first.
        unsafe {
            for j in 0..of.len {
                to.add(j).write(T::ZERO);
            }
            let to = std::slice::from_raw_parts_mut(to, of.len);
            let cotangent = |i: usize| line([g.add(i * step)], 0, of.len)[0];
            let mut i = 0;
            while i + 4 <= of.rows {
                let [(a, ma, ra), (b, mb, rb)] = [of.row(i), of.row(i + 1)];
                let [(c, mc, rc), (d, md, rd)] = [of.row(i + 2), of.row(i + 3)];
                let g = [cotangent(i), cotangent(i + 1), cotangent(i + 2), cotangent(i + 3)];
                for (j, to) in to.iter_mut().enumerate() {
                    let front = g[0][j] * ((a[j] - ma) * ra) + g[1][j] * ((b[j] - mb) * rb);
                    let back = g[2][j] * ((c[j] - mc) * rc) + g[3][j] * ((d[j] - md) * rd);
                    *to += front + back;
                }
                i += 4;
            }
            while i < of.rows {
                let ((x, m, r), g) = (of.row(i), cotangent(i));
                for (to, (&x, &g)) in to.iter_mut().zip(x.iter().zip(g)) {
                    *to += g * ((x - m) * r);
                }
                i += 1;
            }
        }
    }
}
