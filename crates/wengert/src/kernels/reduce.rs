//! Reductions over any set of axes.

use std::array::from_fn;
use std::cmp::Reverse;

use smallvec::SmallVec;

use super::fold::{Fold, Halves, Sum, tree, tree_of};
use super::isa::{Isa, dispatched};
use super::map::{self, Elementwise};
use super::nest::Nest;
use super::{Out, Value};
use crate::scalar::Scalar;
use crate::shape::{Dims, Layout, Strides, contiguous_strides, reduced};

/// An output to fold into: empty, but for what it is added to.
///
/// # Safety
/// The output's part of the contract of [`crate::kernels`].
pub(crate) unsafe fn begin<T: Scalar, F: Fold<T>>(out: &Out<'_, T>) {
    if !out.add {
        // SAFETY: the caller's contract.
        (0..out.len).for_each(|i| unsafe { out.data.add(i).write(F::EMPTY) });
    }
}

/// Folds the axes of `mask` away.
///
/// # Safety
/// The contract of [`crate::kernels`]; `out` holds the kept axes.
pub(crate) unsafe fn reduce<T: Scalar, F: Fold<T>>(isa: Isa, x: Value<'_, T>, mask: u64, out: Out<'_, T>) {
    // SAFETY: the caller's contract.
    unsafe { begin::<T, F>(&out) };
    if let Some((together, rows, len)) = matrix(&x, mask) {
        // SAFETY: the caller's contract: rows of a contiguous tensor.
        return unsafe {
            match together {
                true => fold_columns::<T, F>(isa, x.data, len as isize, rows, len, out.data),
                false => fold_rows::<T, F>(isa, x.data, len as isize, rows, len, out.data, 1),
            }
        };
    }
    let kept = reduced(x.layout.dims, mask, true);
    let mut to: Strides = contiguous_strides(&kept);
    for (i, stride) in to.iter_mut().enumerate() {
        if mask >> i & 1 == 1 {
            *stride = 0;
        }
    }
    // An axis along which the same memory is read again and again is a factor.
    let mut dims = Dims::from_slice(x.layout.dims);
    let mut repeated = 1;
    for (i, dim) in dims.iter_mut().enumerate() {
        if mask >> i & 1 == 1 && x.layout.strides[i] == 0 && *dim > 1 {
            repeated *= std::mem::replace(dim, 1);
        }
    }
    // In the order of memory, whatever the order of the axes: so runs are found,
    // and what is folded is folded in blocks.
    let mut strides = Strides::from_slice(x.layout.strides);
    // What stands still is outermost, not innermost.
    let far = |stride: isize| stride.unsigned_abs().wrapping_sub(1);
    if !strides.is_sorted_by(|&a, &b| far(a) >= far(b)) {
        let mut order: SmallVec<[usize; 8]> = (0..dims.len()).collect();
        order.sort_by_key(|&axis| Reverse(far(strides[axis])));
        dims = order.iter().map(|&axis| dims[axis]).collect();
        strides = order.iter().map(|&axis| strides[axis]).collect();
        to = order.iter().map(|&axis| to[axis]).collect();
    }
    let nest = Nest::new(&dims, [&strides, &to]);
    let [(rows, [row, to_row]), (len, [step, to_step])] = nest.plane();
    // SAFETY: the nest visits positions of both layouts.
    unsafe {
        nest.for_each_plane(|[from, to]| {
            let (from, to) = (x.data.offset(from), out.data.offset(to));
            match (to_row, to_step, step) {
                (_, 0, 1) if repeated == 1 => fold_rows::<T, F>(isa, from, row, rows, len, to, to_row),
                (0, 1, 1) if repeated == 1 => fold_columns::<T, F>(isa, from, row, rows, len, to),
                (_, 0, _) if len > FEW => fold_apart::<T, F>(isa, from, (rows, row), (len, step), to, to_row, repeated),
                (0, _, _) if rows > FEW => {
                    fold_apart::<T, F>(isa, from, (len, step), (rows, row), to, to_step, repeated)
                }
                _ => fold_each::<T, F>(from, to, nest.plane(), repeated),
            }
        });
    }
}

/// A contiguous tensor as a matrix of so many rows of one length, if its first
/// axes or its last ones are folded: whether the rows are folded together, or
/// each for itself. This needs no nest.
fn matrix<T>(x: &Value<'_, T>, mask: u64) -> Option<(bool, usize, usize)> {
    let Layout { dims, len, contiguous, .. } = *x.layout;
    if !contiguous || len == 0 || mask == 0 {
        return None;
    }
    let (first, kept) = (mask.trailing_ones() as usize, mask.trailing_zeros() as usize);
    if mask.checked_shr(first as u32).unwrap_or(0) == 0 {
        let rows = dims[..first].iter().product();
        // What has one column is one run.
        Some(if rows == len { (false, 1, len) } else { (true, rows, len / rows) })
    } else if mask >> kept == u64::MAX >> (u64::BITS as usize - (dims.len() - kept)) {
        let rows = dims[..kept].iter().product();
        Some((false, rows, len / rows))
    } else {
        None
    }
}

/// Up to so many are folded one by one.
const FEW: usize = 16;

dispatched! {
    /// Folds every row of a plane into an element of the output, where a row's
    /// elements are apart, and each stands for so many: by blocks which are put
    /// side by side.
    unsafe fn fold_apart<T: Scalar, F: Fold<T>>(
        x: *const T, rows: (usize, isize), len: (usize, isize), to: *mut T, to_row: isize, times: usize,
    ) {
        let ((rows, row), (len, step)) = (rows, len);
        let mut block = [F::EMPTY; TREE];
        let mut halves = Halves::<T, F>::new();
        for i in 0..rows as isize {
            for start in (0..len).step_by(TREE) {
                let n = TREE.min(len - start);
                for (j, to) in block.iter_mut().enumerate().take(n) {
                    // SAFETY: an element of the plane.
                    *to = unsafe { *x.offset(i * row + (start + j) as isize * step) };
                    if times > 1 {
                        *to = F::repeat(*to, times);
                    }
                }
                halves.push(tree::<T, F>(&block[..n]));
            }
            // All rows may go to the same one.
            if to_row != 0 || i + 1 == rows as isize {
                // SAFETY: an element of the output.
                unsafe {
                    let to = to.offset(i * to_row);
                    *to = F::fold(*to, std::mem::replace(&mut halves, Halves::new()).finish());
                }
            }
        }
    }
}

/// Folds the elements of a plane one by one, each so many times.
///
/// # Safety
/// The contract of [`reduce`].
unsafe fn fold_each<T: Scalar, F: Fold<T>>(
    from: *const T,
    to: *mut T,
    [(rows, row), (len, step)]: [(usize, [isize; 2]); 2],
    times: usize,
) {
    for i in 0..rows as isize {
        for j in 0..len as isize {
            // SAFETY: positions of the nest.
            unsafe {
                let to = to.offset(i * row[1] + j * step[1]);
                let x = *from.offset(i * row[0] + j * step[0]);
                *to = F::fold(*to, F::repeat(x, times));
            }
        }
    }
}

dispatched! {
    /// Folds every row of a plane into an element of the output.
    unsafe fn fold_rows<T: Scalar, F: Fold<T>>(
        x: *const T, row: isize, rows: usize, len: usize, to: *mut T, to_row: isize,
    ) {
        // All rows may go to the same one.
        let mut halves = (to_row == 0 && rows > FEW).then(Halves::<T, F>::new);
        for i in 0..rows as isize {
            // SAFETY: the rows are in reach of both operands.
            unsafe {
                let row = tree::<T, F>(std::slice::from_raw_parts(x.offset(i * row), len));
                match &mut halves {
                    Some(halves) => halves.push(row),
                    None => *to.offset(i * to_row) = F::fold(*to.offset(i * to_row), row),
                }
            }
        }
        if let Some(halves) = halves {
            // SAFETY: the one element of the output.
            unsafe { *to = F::fold(*to, halves.finish()) }
        }
    }
}

dispatched! {
    /// Folds the rows of a plane together into one row.
    unsafe fn fold_columns<T: Scalar, F: Fold<T>>(x: *const T, row: isize, rows: usize, len: usize, to: *mut T) {
        // SAFETY: the caller's contract.
        unsafe { columns::<T, F, 1>([x], row, rows, len, to, &|[x]| x) }
    }
}

/// How many rows are folded before what they make is folded with others, how
/// many of these before that is folded with the rest, and how many columns at a
/// time.
const TREE: usize = 256;
const BRANCHES: usize = 32;
const STRIP: usize = 1024;

/// Folds `f` of the rows of planes together into one row, eight at a time; many
/// rows in blocks, as [`tree`] does.
///
/// # Safety
/// So many rows of `len` elements can be read from each plane; `to` has as
/// many and overlaps none.
#[inline(always)]
unsafe fn columns<T: Scalar, F: Fold<T>, const N: usize>(
    x: [*const T; N],
    row: isize,
    rows: usize,
    len: usize,
    to: *mut T,
    f: &impl Fn([T; N]) -> T,
) {
    if rows <= TREE {
        // SAFETY: the caller's contract.
        return unsafe { fold_block::<T, F, N>(x, row, rows, len, to, f) };
    }
    // Of a block, and of some blocks.
    let mut sums = [[F::EMPTY; STRIP]; 2];
    for at in (0..len).step_by(STRIP) {
        let n = STRIP.min(len - at);
        for (i, first) in (0..rows).step_by(TREE).enumerate() {
            let [block, blocks] = &mut sums;
            // SAFETY: rows and columns of the planes.
            unsafe {
                let x = x.map(|x| x.add(at).offset(first as isize * row));
                fold_block::<T, F, N>(x, row, TREE.min(rows - first), n, block.as_mut_ptr(), f);
                move_into::<T, F>(&mut blocks[..n], &mut block[..n]);
                if (i + 1) % BRANCHES == 0 || first + TREE >= rows {
                    move_into::<T, F>(std::slice::from_raw_parts_mut(to.add(at), n), &mut blocks[..n]);
                }
            }
        }
    }
}

/// Folds sums into others, and begins anew.
#[inline(always)]
fn move_into<T: Scalar, F: Fold<T>>(to: &mut [T], sums: &mut [T]) {
    for (to, sum) in to.iter_mut().zip(sums) {
        *to = F::fold(*to, *sum);
        *sum = F::EMPTY;
    }
}

/// One block of [`columns`].
///
/// # Safety
/// Its contract.
#[inline(always)]
unsafe fn fold_block<T: Scalar, F: Fold<T>, const N: usize>(
    x: [*const T; N],
    row: isize,
    rows: usize,
    len: usize,
    to: *mut T,
    f: &impl Fn([T; N]) -> T,
) {
    // SAFETY: elements of the planes, which do not overlap the output.
    let at = |i: usize, j: usize| f(from_fn(|n| unsafe { *x[n].offset(i as isize * row).add(j) }));
    // SAFETY: the caller's contract.
    let to = unsafe { std::slice::from_raw_parts_mut(to, len) };
    let mut i = 0;
    while i + 8 <= rows {
        fold_together::<T, F, 8>(to, &|k, j| at(i + k, j));
        i += 8;
    }
    if i + 4 <= rows {
        fold_together::<T, F, 4>(to, &|k, j| at(i + k, j));
        i += 4;
    }
    while i < rows {
        fold_together::<T, F, 1>(to, &|_, j| at(i, j));
        i += 1;
    }
}

/// Folds `K` rows, a power of two, in pairs and into one row.
#[inline(always)]
fn fold_together<T: Scalar, F: Fold<T>, const K: usize>(to: &mut [T], at: &impl Fn(usize, usize) -> T) {
    for (j, to) in to.iter_mut().enumerate() {
        let mut rows: [T; K] = from_fn(|k| at(k, j));
        let mut left = K;
        while left > 1 {
            left /= 2;
            (0..left).for_each(|k| rows[k] = F::fold(rows[2 * k], rows[2 * k + 1]));
        }
        *to = F::fold(*to, rows[0]);
    }
}

dispatched! {
    /// `Σ f` of two runs of `n` elements.
    pub(crate) unsafe fn sum_of<T: Scalar, F: Elementwise<T, 2>>(x: [*const T; 2], n: usize, f: F) -> T {
        // SAFETY: `n` elements may be read from each.
        let x = x.map(|x| unsafe { std::slice::from_raw_parts(x, n) });
        tree_of::<T, Sum, 2>(x, |x| f.at::<FMA>(x))
    }
}

/// `Σ a b` over the first axes: the output has the last ones. The bits are
/// those of a product and its sum.
///
/// # Safety
/// The contract of [`crate::kernels`]; the operands have one shape and are
/// contiguous, and the output's elements divide theirs.
pub(crate) unsafe fn sum_of_products<T: Scalar>(isa: Isa, x: [Value<'_, T>; 2], out: Out<'_, T>) {
    // SAFETY: the caller's contract.
    unsafe { begin::<T, Sum>(&out) };
    if let Some(rows) = x[0].layout.len.checked_div(out.len) {
        // SAFETY: the caller's contract.
        unsafe { add_products(isa, x.map(|x| x.data), out.len as isize, rows, out.len, out.data) }
    }
}

/// The derivative of `x b` by a cotangent `g`, where `b` is a row: `g b` to `x`,
/// and `Σ g x`, as [`sum_of_products`] has it, to the row. A few rows at a time,
/// so that `g` comes from far away once.
///
/// # Safety
/// The contract of [`crate::kernels`], for both outputs; all are contiguous, `g`
/// and `x` of one shape, of which that of `b` is the end.
pub(crate) unsafe fn product_with_row<T: Scalar>(
    isa: Isa,
    [g, x, b]: [Value<'_, T>; 3],
    to_x: Out<'_, T>,
    to_row: Out<'_, T>,
) {
    const ROWS: usize = 32;
    let (len, rows) = (b.layout.len, g.layout.len / b.layout.len);
    let mut sums = [T::ZERO; STRIP];
    // SAFETY: the caller's contract: these rows and columns exist.
    unsafe {
        begin::<T, Sum>(&to_row);
        for (at, block) in (0..len).step_by(STRIP).flat_map(|at| (0..rows).step_by(TREE).map(move |i| (at, i))) {
            let (n, end) = (STRIP.min(len - at), rows.min(block + TREE));
            for first in (block..end).step_by(ROWS) {
                let last = end.min(first + ROWS);
                let from = [g.data, x.data].map(|x| x.add(first * len + at));
                add_products(isa, from, len as isize, last - first, n, sums.as_mut_ptr());
                for i in (first..last).map(|i| i * len + at) {
                    let from = [g.data.add(i), b.data.add(at)];
                    map::run(isa, from, to_x.data.add(i), n, to_x.add, |[g, b]: [T; 2]| g * b);
                }
            }
            map::run(isa, [sums.as_ptr()], to_row.data.add(at), n, true, |[x]: [T; 1]| x);
            sums.fill(T::ZERO);
        }
    }
}

dispatched! {
    /// Adds the products of two planes, summed over the rows, to one row.
    unsafe fn add_products<T: Scalar>(x: [*const T; 2], row: isize, rows: usize, len: usize, to: *mut T) {
        // SAFETY: the caller's contract.
        unsafe {
            if len == 1 {
                let x = x.map(|x| std::slice::from_raw_parts(x, rows));
                *to += tree_of::<T, Sum, 2>(x, |[a, b]| a * b);
            } else {
                columns::<T, Sum, 2>(x, row, rows, len, to, &|[a, b]| a * b);
            }
        }
    }
}
