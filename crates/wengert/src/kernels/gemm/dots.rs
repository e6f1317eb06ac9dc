//! The inner loop of products along contiguous k: blocks of dot products.

use super::Mat;
use super::simd::{MAX_LANES, Pointers, Simd};

/// `MR` rows of C as dot products along k.
#[derive(Clone, Copy)]
pub(super) struct Dots<T> {
    pub(super) n: usize,
    pub(super) k: usize,
    /// `MR` x k, unit column stride.
    pub(super) a: *const T,
    pub(super) a_rs: isize,
    /// k x n, unit row stride.
    pub(super) b: *const T,
    pub(super) b_cs: isize,
    /// `MR` x n, any strides.
    pub(super) c: *mut T,
    pub(super) c_rs: isize,
    pub(super) c_cs: isize,
    /// What the products are added to, `MR` x n, any strides.
    pub(super) start: Option<Mat<T>>,
}

impl<T> Dots<T> {
    /// The same products with A's `m` rows as columns: C^T = B^T A^T.
    pub(super) fn transposed(self, m: usize) -> Self {
        let Dots { n: _, k, a, a_rs, b, b_cs, c, c_rs, c_cs, start } = self;
        let start = start.map(Mat::transposed);
        Dots { n: m, k, a: b, a_rs: b_cs, b: a, b_cs: a_rs, c, c_rs: c_cs, c_cs: c_rs, start }
    }
}

/// Computes rows of C as dot products, `NC` columns at a time.
///
/// # Safety
///
/// As for [`Simd`]; A, B and C are valid as [`Dots`] describes them.
#[inline(always)]
pub(super) unsafe fn dots<V: Simd, const MR: usize, const NC: usize>(d: &Dots<V::Elem>) {
    // SAFETY: the caller's contract, for as many columns as there are.
    unsafe {
        match d.n {
            n if n >= NC => across::<V, MR, NC>(d),
            4.. => across::<V, MR, 4>(d),
            2.. => across::<V, MR, 2>(d),
            _ => block::<V, MR, 1, 4>(d, 0, 0),
        }
    }
}

/// Computes rows of C, which has `NC` columns at least.
///
/// # Safety
///
/// As for [`dots`].
#[inline(always)]
unsafe fn across<V: Simd, const MR: usize, const NC: usize>(d: &Dots<V::Elem>) {
    let mut j = 0;
    // SAFETY: the caller's contract; no column is past the last.
    unsafe {
        while j + NC <= d.n {
            block::<V, MR, NC, 1>(d, j, 0);
            j += NC;
        }
        match d.n - j {
            0 => {}
            1 => block::<V, MR, 1, 4>(d, j, 0),
            // With some columns before them, so that they are as many as ever.
            rest => block::<V, MR, NC, 1>(d, d.n - NC, NC - rest),
        }
    }
}

/// `MR` x `NC` dot products, each summed in `CHAINS` chains, from column j on;
/// the first `known` of these columns are computed already.
///
/// # Safety
///
/// As for [`dots`]; these columns exist.
#[inline(always)]
unsafe fn block<V: Simd, const MR: usize, const NC: usize, const CHAINS: usize>(
    d: &Dots<V::Elem>,
    j: usize,
    known: usize,
) {
    let mut at = Cursor::<V, MR, NC> {
        rows: Pointers::new(d.a, d.a_rs),
        columns: Pointers::new(d.b.wrapping_offset(j as isize * d.b_cs), d.b_cs),
    };
    // SAFETY: the caller's contract: `V` can be used here, every step stays
    // below k, and the columns of C exist.
    unsafe {
        let zero = V::splat(V::Elem::default());
        let mut chains = [[[zero; NC]; MR]; CHAINS];
        let mut left = d.k;
        while CHAINS > 1 && left >= CHAINS * V::LANES {
            for acc in &mut chains {
                at.step(acc, V::LANES);
            }
            left -= CHAINS * V::LANES;
        }
        while left >= V::LANES {
            at.step(&mut chains[0], V::LANES);
            left -= V::LANES;
        }
        if left > 0 {
            at.step(&mut chains[0], left);
        }

        let mut parts = [zero; MAX_LANES];
        for i in 0..MR {
            for v in 0..NC {
                let mut sum = chains[0][i][v];
                for acc in &chains[1..] {
                    sum = sum.add(acc[i][v]);
                }
                parts[i * NC + v] = sum;
            }
        }
        let sums = V::sum_each(parts, (MR * NC).next_power_of_two());
        for i in 0..MR {
            let mut to = d.c.offset(i as isize * d.c_rs + j as isize * d.c_cs);
            if d.c_cs == 1 && known == 0 && d.start.is_none() {
                // Side by side: a vector, or part of one.
                to.copy_from_nonoverlapping(sums[i * NC..].as_ptr(), NC);
                continue;
            }
            for (v, &sum) in sums[i * NC..][..NC].iter().enumerate() {
                if v >= known {
                    to.write(match d.start {
                        Some(start) => start.from(i, j + v).data.read() + sum,
                        None => sum,
                    });
                }
                to = to.wrapping_offset(d.c_cs);
            }
        }
    }
}

/// Where a block stands in its walk along k.
struct Cursor<V: Simd, const MR: usize, const NC: usize> {
    rows: Pointers<V::Elem, MR>,
    columns: Pointers<V::Elem, NC>,
}

impl<V: Simd, const MR: usize, const NC: usize> Cursor<V, MR, NC> {
    /// Adds the products of the next `lanes` elements along k.
    ///
    /// # Safety
    ///
    /// As for [`Simd`]; so many are left of the rows and columns.
    #[inline(always)]
    unsafe fn step(&mut self, acc: &mut [[V; NC]; MR], lanes: usize) {
        // SAFETY: the caller's contract.
        unsafe {
            let mut columns = [V::splat(V::Elem::default()); NC];
            for (v, column) in columns.iter_mut().enumerate() {
                *column = V::load_some(self.columns.at(v), lanes);
            }
            for (i, row) in acc.iter_mut().enumerate() {
                let x = V::load_some(self.rows.at(i), lanes);
                for (sum, &column) in row.iter_mut().zip(&columns) {
                    *sum = sum.add_product(x, column);
                }
            }
        }
        let bytes = (V::LANES * size_of::<V::Elem>()) as isize;
        self.rows.advance(bytes);
        self.columns.advance(bytes);
    }
}
