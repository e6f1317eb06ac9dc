//! The inner loop of products along contiguous k: blocks of dot products.

use super::Mat;
use super::simd::{MAX_LANES, Simd};

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
    let mut j = 0;
    // SAFETY: the caller's contract, for columns j.. of B and C.
    unsafe {
        // The compiler knows how many columns these have.
        while j + NC <= d.n {
            dot_block::<V, MR, NC, 1>(d, j, NC);
            j += NC;
        }
        match d.n - j {
            0 => {}
            1 => dot_block::<V, MR, 1, 4>(d, j, 1),
            rest => dot_block::<V, MR, NC, 1>(d, j, rest),
        }
    }
}

/// `MR` x `NC` dot products, or as many of them as there are `columns`, each
/// summed in `CHAINS` chains.
///
/// # Safety
///
/// As for [`dots`]; `columns` columns from j on exist.
#[inline(always)]
unsafe fn dot_block<V: Simd, const MR: usize, const NC: usize, const CHAINS: usize>(
    d: &Dots<V::Elem>,
    j: usize,
    columns: usize,
) {
    let b = d.b.wrapping_offset(j as isize * d.b_cs);
    let (mut rows, mut at) = ([d.a; MR], [b; NC]);
    for (i, row) in rows.iter_mut().enumerate() {
        *row = d.a.wrapping_offset(i as isize * d.a_rs);
    }
    // Columns which do not exist are computed as the last which does.
    for (v, column) in at.iter_mut().enumerate() {
        *column = b.wrapping_offset(v.min(columns - 1) as isize * d.b_cs);
    }
    // SAFETY: the caller's contract: `V` can be used here, every step stays
    // below k, and the columns of C exist.
    unsafe {
        let zero = V::splat(V::Elem::default());
        let mut chains = [[[zero; NC]; MR]; CHAINS];
        let mut p = 0;
        while CHAINS > 1 && p + CHAINS * V::LANES <= d.k {
            for acc in &mut chains {
                dot_step::<V, MR, NC>(acc, &rows, &at, p, V::LANES);
                p += V::LANES;
            }
        }
        while p + V::LANES <= d.k {
            dot_step::<V, MR, NC>(&mut chains[0], &rows, &at, p, V::LANES);
            p += V::LANES;
        }
        if p < d.k {
            dot_step::<V, MR, NC>(&mut chains[0], &rows, &at, p, d.k - p);
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
        let sums = sum_each(parts, (MR * NC).next_power_of_two());
        for i in 0..MR {
            if d.c_cs == 1 && columns >= NC && d.start.is_none() {
                // Known to be so many, and side by side: a vector, or part of one.
                let to = d.c.offset(i as isize * d.c_rs).add(j);
                to.copy_from_nonoverlapping(sums[i * NC..].as_ptr(), NC);
                continue;
            }
            for v in 0..NC.min(columns) {
                let to = d.c.offset(i as isize * d.c_rs + (j + v) as isize * d.c_cs);
                let sum = sums[i * NC + v];
                to.write(match d.start {
                    Some(start) => start.from(i, j + v).data.read() + sum,
                    None => sum,
                });
            }
        }
    }
}

/// The sums over the lanes of each of the first `count` vectors, a power of two
/// which the compiler knows.
///
/// # Safety
///
/// As for [`Simd`].
#[inline(always)]
unsafe fn sum_each<V: Simd>(mut parts: [V; MAX_LANES], count: usize) -> [V::Elem; MAX_LANES] {
    // Vectors are zipped in pairs and their halves added, until one is left or
    // every lane is of another: then lane t of vector i is of i + t * left, and
    // of t - span too. Spelled out, since a loop over counts would not be unrolled.
    let (left, span) = ((count / V::LANES).max(1), count.min(V::LANES));
    let mut stored = [V::Elem::default(); MAX_LANES];
    // SAFETY: the caller's contract; left * LANES <= MAX_LANES.
    unsafe {
        if left <= 8 && 8 < count {
            zip_and_add::<V, 8>(&mut parts);
        }
        if left <= 4 && 4 < count {
            zip_and_add::<V, 4>(&mut parts);
        }
        if left <= 2 && 2 < count {
            zip_and_add::<V, 2>(&mut parts);
        }
        if left <= 1 && 1 < count {
            zip_and_add::<V, 1>(&mut parts);
        }
        for (i, part) in parts.iter().enumerate().take(left) {
            part.store(stored.as_mut_ptr().add(i * V::LANES));
        }
    }
    let mut sums = stored;
    for (at, sum) in sums.iter_mut().enumerate().take(count) {
        let (i, t) = (at % left, at / left);
        *sum = stored[i * V::LANES + t];
        for again in 1..V::LANES / span {
            *sum = *sum + stored[i * V::LANES + t + again * span];
        }
    }
    sums
}

/// Half as many vectors, with the lanes of two in each.
///
/// # Safety
///
/// As for [`Simd`].
#[inline(always)]
unsafe fn zip_and_add<V: Simd, const COUNT: usize>(parts: &mut [V; MAX_LANES]) {
    for i in 0..COUNT {
        // SAFETY: the caller's contract.
        unsafe {
            let (low, high) = parts[i].zip(parts[i + COUNT]);
            parts[i] = low.add(high);
        }
    }
}

/// Adds the products of `lanes` elements along k, from `p` on.
///
/// # Safety
///
/// As for [`Simd`]; the rows and columns are valid for `p + lanes` elements.
#[inline(always)]
unsafe fn dot_step<V: Simd, const MR: usize, const NC: usize>(
    acc: &mut [[V; NC]; MR],
    rows: &[*const V::Elem; MR],
    columns: &[*const V::Elem; NC],
    p: usize,
    lanes: usize,
) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut loaded = [V::splat(V::Elem::default()); NC];
        for v in 0..NC {
            loaded[v] = V::load_some(columns[v].add(p), lanes);
        }
        for i in 0..MR {
            let x = V::load_some(rows[i].add(p), lanes);
            for v in 0..NC {
                acc[i][v] = acc[i][v].add_product(x, loaded[v]);
            }
        }
    }
}
