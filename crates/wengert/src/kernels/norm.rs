//! Normalisation of rows: mean 0 (if centred) and mean square 1.
//!
//! With `m` the mean (0 if not centred), `r = 1 / √(mean((x - m)²) + eps)` and
//! `z = r (x - m)`, the result is `z w + b`. The derivative computes `m` and
//! `r` again: that costs a pass over a row in the first-level cache, and saves a
//! second output.

use super::isa::{Isa, dispatched};
use super::lines::{add_to, line, write};
use super::map::copy_run;
use super::reduce::{Sum, tree, tree_of, trees_of};
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
    /// `m` and `r` of a row.
    #[inline(always)]
    fn statistics(&self, x: &[T]) -> (T, T) {
        let m = self.shift(x);
        (m, self.factor(tree_of::<T, Sum, 1>([x], |[x]| (x - m) * (x - m))))
    }

    /// `m` of a row.
    #[inline(always)]
    fn shift(&self, x: &[T]) -> T {
        if self.centred { self.mean(tree::<T, Sum>(x)) } else { T::ZERO }
    }

    /// `r`, by the sum of squares.
    #[inline(always)]
    fn factor(&self, square: T) -> T {
        T::ONE / (self.mean(square) + self.eps).sqrt()
    }

    /// The mean of a row, by the sum.
    #[inline(always)]
    fn mean(&self, sum: T) -> T {
        sum / T::from_f64(self.len as f64)
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
                let ([x], to) = (line([of.x], i, of.len), to.add(i * of.len));
                let (m, r) = of.statistics(x);
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

/// Where the contributions go, or null: those to `x` in rows, those to `w` and
/// `b` in one row each, which they are added to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Targets<T> {
    pub(crate) x: *mut T,
    /// Add to what is in the rows of `x` instead of writing.
    pub(crate) add: bool,
    pub(crate) w: *mut T,
    pub(crate) b: *mut T,
}

/// So many rows are summed before the sum is added to what is there, so that
/// rounding errors grow with the number of blocks.
const BLOCK: usize = 64;

/// The contributions of the cotangents `g` (rows `step` apart) of `z w + b`.
/// With `u = g w`: to `x`, `r (u - mean(u) - z mean(u z))`, without `mean(u)` if
/// not centred; to `w`, `Σ g z` over rows; to `b`, `Σ g`.
///
/// # Safety
/// As [`normalize`], of all targets. They may be the same memory if all but the
/// first add. `sums` has two rows and overlaps nothing.
pub(crate) unsafe fn backward<T: Scalar>(
    isa: Isa,
    of: Rows<T>,
    g: *const T,
    step: usize,
    w: *const T,
    to: Targets<T>,
    sums: *mut T,
) {
    // Where the sums of `g z` and of `g` go, and where they are made.
    let both = [(to.w, sums), (to.b, sums.wrapping_add(of.len))];
    let wanted = both.into_iter().filter(|(to, _)| !to.is_null());
    let [gz, gs] = both.map(|(to, sum)| if to.is_null() { to } else { sum });
    // SAFETY: the caller's contract; sums are written first.
    unsafe {
        for first in (0..of.rows).step_by(BLOCK) {
            for (_, sum) in wanted.clone() {
                (0..of.len).for_each(|j| sum.add(j).write(T::ZERO));
            }
            for i in first..of.rows.min(first + BLOCK) {
                let ([x], [g]) = (line([of.x], i, of.len), line([g.add(i * step)], 0, of.len));
                let row = if to.x.is_null() {
                    statistics(isa, of, x)
                } else {
                    let row = moments(isa, of, x, g, w);
                    tilt(isa, row, x, g, w, to.x.add(i * of.len), to.add);
                    row
                };
                sum(isa, row, x, g, gz, gs);
            }
            for (to, sum) in wanted.clone() {
                copy_run(isa, (sum, 1), (to, 1), of.len, true);
            }
        }
    }
}

/// What is known of a row: `m`, `r`, `mean(u)` (0 if not centred) and `mean(u z)`.
#[derive(Clone, Copy, Debug)]
struct Moments<T> {
    m: T,
    r: T,
    mean: T,
    lean: T,
}

// The steps of `backward`, one function each: in one large one compilers do not
// find the vectors of sums in lanes.

dispatched! {
    /// [`Moments`] without those of `u`.
    unsafe fn statistics<T: Scalar>(of: Rows<T>, x: &[T]) -> Moments<T> {
        let (m, r) = of.statistics(x);
        Moments { m, r, mean: T::ZERO, lean: T::ZERO }
    }
}

dispatched! {
    unsafe fn moments<T: Scalar>(of: Rows<T>, x: &[T], g: &[T], w: *const T) -> Moments<T> {
        let m = of.shift(x);
        let [square, sum, product] = if w.is_null() {
            trees_of::<T, Sum, 2, 3>([x, g], |[x, g]| [(x - m) * (x - m), g, g * (x - m)])
        } else {
            // SAFETY: weights are one row.
            let [w] = unsafe { line([w], 0, x.len()) };
            trees_of::<T, Sum, 3, 3>([x, g, w], |[x, g, w]| [(x - m) * (x - m), g * w, g * w * (x - m)])
        };
        let r = of.factor(square);
        let mean = if of.centred { of.mean(sum) } else { T::ZERO };
        Moments { m, r, mean, lean: of.mean(product) * r }
    }
}

dispatched! {
    /// The contribution to a row of x.
    unsafe fn tilt<T: Scalar>(row: Moments<T>, x: &[T], g: &[T], w: *const T, to: *mut T, add: bool) {
        let Moments { m, r, mean, lean } = row;
        // SAFETY: weights are one row, and the caller's contract.
        unsafe {
            let tilted = |x: T, u: T| r * (u - mean - (x - m) * r * lean);
            match (w.is_null(), add) {
                (true, true) => add_to(to, [x, g], |[x, g]| tilted(x, g)),
                (true, false) => _ = write(to, [x, g], |[x, g]| tilted(x, g)),
                (false, true) => add_to(to, [x, g, line([w], 0, x.len())[0]], |[x, g, w]| tilted(x, g * w)),
                (false, false) => _ = write(to, [x, g, line([w], 0, x.len())[0]], |[x, g, w]| tilted(x, g * w)),
            }
        }
    }
}

dispatched! {
    /// Adds a row's `g z` and `g` to the sums which are not null.
    unsafe fn sum<T: Scalar>(row: Moments<T>, x: &[T], g: &[T], gz: *mut T, gs: *mut T) {
        let z = |x: T| (x - row.m) * row.r;
        // SAFETY: the caller's contract: sums are one row.
        unsafe {
            match (gz.is_null(), gs.is_null()) {
                (false, false) => {
                    for (j, (&x, &g)) in x.iter().zip(g).enumerate() {
                        *gz.add(j) += g * z(x);
                        *gs.add(j) += g;
                    }
                }
                (false, true) => add_to(gz, [x, g], |[x, g]| g * z(x)),
                (true, false) => add_to(gs, [g], |[g]| g),
                (true, true) => {}
            }
        }
    }
}
