//! Copies of operands, laid out as the inner loops read them.

use super::Mat;
use super::simd::{MAX_LANES, Simd, prefetch};

/// Copies B (k x n, any strides) to `to`, row after row, each padded with
/// zeros to `width` columns.
///
/// # Safety
///
/// As for [`Simd`]; B is valid, `to` is valid for `k * width` elements, and
/// `width` is a multiple of the lanes and at least `n`.
#[inline(always)]
pub(super) unsafe fn pack<V: Simd>(k: usize, n: usize, b: Mat<V::Elem>, to: *mut V::Elem, width: usize) {
    let mut j = 0;
    while j < width {
        let n = n.saturating_sub(j).min(V::LANES);
        // SAFETY: the caller's contract, for columns j..j + LANES of both.
        unsafe {
            let b = b.from(0, j);
            let to = to.add(j);
            if b.cs == 1 {
                copy_columns::<V>(k, n, b, to, width);
            } else if b.rs == 1 {
                transpose_columns::<V>(k, n, b, to, width);
            } else {
                gather_columns::<V>(k, n, b, to, width);
            }
        }
        j += V::LANES;
    }
}

/// One vector's width of columns from a B with unit column stride.
///
/// # Safety
///
/// As for [`pack`], with `n <= LANES`.
#[inline(always)]
unsafe fn copy_columns<V: Simd>(k: usize, n: usize, b: Mat<V::Elem>, to: *mut V::Elem, width: usize) {
    for p in 0..k {
        // SAFETY: the caller's contract: row p has n columns here, and LANES there.
        unsafe {
            let from = b.data.offset(p as isize * b.rs);
            // Rows come too far apart for the processor to foresee: these columns
            // of the k rows below are what the next call reads, or one soon after.
            prefetch(from.wrapping_offset(k as isize * b.rs));
            let row = V::load_some(from, n);
            row.store(to.add(p * width));
        }
    }
}

/// One vector's width of columns from a B with unit row stride: squares of
/// lanes are transposed in registers.
///
/// # Safety
///
/// As for [`pack`], with `n <= LANES`.
#[inline(always)]
unsafe fn transpose_columns<V: Simd>(k: usize, n: usize, b: Mat<V::Elem>, to: *mut V::Elem, width: usize) {
    let mut p = 0;
    while p < k {
        let depth = (k - p).min(V::LANES);
        // SAFETY: the caller's contract: n columns of `depth` elements from p
        // on, to as many rows of LANES.
        unsafe {
            let from = b.data.add(p);
            let square = if n == V::LANES && depth == V::LANES {
                V::load_transposed(from, b.cs)
            } else {
                let mut square = [V::splat(V::Elem::default()); MAX_LANES];
                for (j, column) in square.iter_mut().enumerate().take(V::LANES) {
                    if j < n {
                        *column = V::load_first(from.offset(j as isize * b.cs), depth);
                    }
                }
                V::transpose(&mut square);
                square
            };
            let to = to.add(p * width);
            if depth == V::LANES {
                for (i, row) in square.iter().enumerate().take(V::LANES) {
                    row.store(to.add(i * width));
                }
            } else {
                for (i, row) in square.iter().enumerate().take(V::LANES) {
                    if i < depth {
                        row.store(to.add(i * width));
                    }
                }
            }
        }
        p += depth;
    }
}

/// One vector's width of columns from any B.
///
/// # Safety
///
/// As for [`pack`], with `n <= LANES`.
#[inline(always)]
unsafe fn gather_columns<V: Simd>(k: usize, n: usize, b: Mat<V::Elem>, to: *mut V::Elem, width: usize) {
    for p in 0..k {
        for j in 0..V::LANES {
            // SAFETY: the caller's contract: row p has n columns here, and LANES there.
            unsafe {
                let x = if j < n {
                    b.data.offset(p as isize * b.rs + j as isize * b.cs).read()
                } else {
                    V::Elem::default()
                };
                to.add(p * width + j).write(x);
            }
        }
    }
}
