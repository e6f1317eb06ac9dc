//! Normalisation of rows: mean 0 (if centred) and mean square 1.
//!
//! With `m` the mean (0 if not centred), `r = 1 / √(mean((x - m)²) + eps)` and
//! `z = r (x - m)`, the result is `z w + b`. The derivative computes `m` and
//! `r` again: that costs a pass over a row in the first-level cache, and saves a
//! second output.

use super::fold::{Sum, tree, tree_of, trees_of};
use super::isa::{Isa, dispatched};
use super::lines::{LINES, add_to, groups, line, write};
use super::map::copy_run;
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
    /// Rows of these, from `first` on.
    ///
    /// # Safety
    /// There are so many.
    #[inline(always)]
    unsafe fn part(self, first: usize, rows: usize) -> Self {
        // SAFETY: the caller's contract.
        Rows { x: unsafe { self.x.add(first * self.len) }, rows, ..self }
    }

    /// `m` and `r` of every row.
    ///
    /// # Safety
    /// The rows exist.
    #[inline(always)]
    unsafe fn statistics(&self, known: &mut [Moments<T>]) {
        // SAFETY: the caller's contract.
        let row = |i| unsafe { line([self.x], i, self.len)[0] };
        for (i, known) in known.iter_mut().enumerate() {
            known.m = self.shift(row(i));
        }
        for (i, known) in known.iter_mut().enumerate() {
            let (x, m) = (row(i), known.m);
            known.r = self.factor(tree_of::<T, Sum, 1>([x], |[x]| (x - m) * (x - m)));
        }
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
            let mut known = [Moments::NOTHING; LINES];
            for (first, n) in groups(of.rows, of.len) {
                let (of, to, known) = (of.part(first, n), to.add(first * of.len), &mut known[..n]);
                of.statistics(known);
                for (i, &Moments { m, r, .. }) in known.iter().enumerate() {
                    let ([x], to) = (line([of.x], i, of.len), to.add(i * of.len));
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
        let mut known = [Moments::NOTHING; LINES];
        for first in (0..of.rows).step_by(BLOCK) {
            for (_, sum) in wanted.clone() {
                (0..of.len).for_each(|j| sum.add(j).write(T::ZERO));
            }
            for (group, n) in groups(BLOCK.min(of.rows - first), of.len) {
                let at = first + group;
                let rows = Pairs { of: of.part(at, n), g: g.add(at * step), step };
                let known = &mut known[..n];
                if to.x.is_null() {
                    statistics(isa, rows, known);
                } else {
                    moments(isa, rows, w, known);
                    tilt(isa, rows, w, known, to.x.add(at * of.len), to.add);
                }
                sum(isa, rows, known, gz, gs);
            }
            for (to, sum) in wanted.clone() {
                copy_run(isa, (sum, 1), (to, 1), of.len, true);
            }
        }
    }
}

/// Some rows, and their cotangents.
#[derive(Clone, Copy)]
struct Pairs<T> {
    of: Rows<T>,
    g: *const T,
    step: usize,
}

impl<T: Scalar> Pairs<T> {
    /// Row `i` of both.
    ///
    /// # Safety
    /// There is this row.
    #[inline(always)]
    unsafe fn row<'a>(&self, i: usize) -> [&'a [T]; 2] {
        // SAFETY: the caller's contract.
        unsafe { [line([self.of.x], i, self.of.len)[0], line([self.g.add(i * self.step)], 0, self.of.len)[0]] }
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

impl<T: Scalar> Moments<T> {
    /// What is known before anything is computed.
    const NOTHING: Self = Moments { m: T::ZERO, r: T::ZERO, mean: T::ZERO, lean: T::ZERO };
}

// The steps of `backward`, one function each: in one large one compilers do not
// find the vectors of sums in lanes. All take as many rows as are known.

dispatched! {
    /// [`Moments`] without those of `u`.
    unsafe fn statistics<T: Scalar>(rows: Pairs<T>, known: &mut [Moments<T>]) {
        // SAFETY: the caller's contract.
        unsafe { rows.of.statistics(known) }
    }
}

dispatched! {
    unsafe fn moments<T: Scalar>(rows: Pairs<T>, w: *const T, known: &mut [Moments<T>]) {
        let of = rows.of;
        // SAFETY: the caller's contract; weights are one row.
        unsafe {
            for (i, known) in known.iter_mut().enumerate() {
                known.m = of.shift(rows.row(i)[0]);
            }
            for (i, known) in known.iter_mut().enumerate() {
                let ([x, g], m) = (rows.row(i), known.m);
                let [square, sum, product] = if w.is_null() {
                    trees_of::<T, Sum, 2, 3>([x, g], |[x, g]| [(x - m) * (x - m), g, g * (x - m)])
                } else {
                    let [w] = line([w], 0, of.len);
                    trees_of::<T, Sum, 3, 3>([x, g, w], |[x, g, w]| [(x - m) * (x - m), g * w, g * w * (x - m)])
                };
                let r = of.factor(square);
                let mean = if of.centred { of.mean(sum) } else { T::ZERO };
                *known = Moments { m, r, mean, lean: of.mean(product) * r };
            }
        }
    }
}

dispatched! {
    /// The contributions to rows of x.
    unsafe fn tilt<T: Scalar>(rows: Pairs<T>, w: *const T, known: &[Moments<T>], to: *mut T, add: bool) {
        let len = rows.of.len;
        for (i, &Moments { m, r, mean, lean }) in known.iter().enumerate() {
            // SAFETY: the caller's contract; weights are one row.
            unsafe {
                let ([x, g], to) = (rows.row(i), to.add(i * len));
                let tilted = |x: T, u: T| r * (u - mean - (x - m) * r * lean);
                match (w.is_null(), add) {
                    (true, true) => add_to(to, [x, g], |[x, g]| tilted(x, g)),
                    (true, false) => _ = write(to, [x, g], |[x, g]| tilted(x, g)),
                    (false, true) => add_to(to, [x, g, line([w], 0, len)[0]], |[x, g, w]| tilted(x, g * w)),
                    (false, false) => _ = write(to, [x, g, line([w], 0, len)[0]], |[x, g, w]| tilted(x, g * w)),
                }
            }
        }
    }
}

dispatched! {
    /// Adds the `g z` and the `g` of rows to the sums which are not null.
    unsafe fn sum<T: Scalar>(rows: Pairs<T>, known: &[Moments<T>], gz: *mut T, gs: *mut T) {
        let len = rows.of.len;
        for (i, &Moments { m, r, .. }) in known.iter().enumerate() {
            // SAFETY: the caller's contract: sums are one row.
            unsafe {
                let [x, g] = rows.row(i);
                let gz_of = |[x, g]: [T; 2]| g * ((x - m) * r);
                match (gz.is_null(), gs.is_null()) {
                    (false, false) => {
                        let sums = (std::slice::from_raw_parts_mut(gz, len), std::slice::from_raw_parts_mut(gs, len));
                        for (((&x, &g), gz), gs) in x.iter().zip(g).zip(sums.0).zip(sums.1) {
                            *gz += gz_of([x, g]);
                            *gs += g;
                        }
                    }
                    (false, true) => add_to(gz, [x, g], gz_of),
                    (true, false) => add_to(gs, [g], |[g]| g),
                    (true, true) => {}
                }
            }
        }
    }
}
