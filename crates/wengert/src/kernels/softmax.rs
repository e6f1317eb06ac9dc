//! Softmax and its relatives along one axis.
//!
//! All are shifted by the largest element first, so that no exponential
//! overflows (Blanchard, Higham, Higham, IMA J. Numer. Anal. 41, 2021).

use super::fold::{Bound, Max, Sum, tree, tree_of};
use super::isa::dispatched;
use super::lines::{LINES, groups, is_below, is_padded, line, lines, pad, whole, write, write_first};
use super::map::copy;
use super::nest::Nest;
use super::{Machine, Out, Value};
use crate::real::exp;
use crate::scalar::Scalar;
use crate::shape::{Dims, Layout, Strides, is_contiguous};

/// Which elements of a line count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mask {
    /// All.
    Nothing,
    /// All; a line of negative infinities gives 0, not NaN.
    Infinities,
    /// Of the line `i` of every matrix those up to `i`; the rest gives 0, and
    /// so does a line of negative infinities.
    Future,
}

/// A mask, and how many lines a matrix has.
#[derive(Clone, Copy)]
struct Masking(Mask, usize);

impl Masking {
    fn new(mask: Mask, dims: &[usize]) -> Self {
        Masking(mask, dims.len().checked_sub(2).map_or(1, |i| dims[i]))
    }

    /// How many elements of a line count, and how many to compute.
    #[inline(always)]
    fn count(self, line: usize, len: usize) -> [usize; 2] {
        match self.0 {
            Mask::Nothing | Mask::Infinities => [len; 2],
            Mask::Future => {
                let count = len.min(line % self.1 + 1);
                [count, len.min(whole(count))]
            }
        }
    }
}

/// `e^(x_i - max) / Σ_j e^(x_j - max)`. Only the last axis can be masked.
///
/// # Safety
/// The contract of [`crate::kernels`].
pub(crate) unsafe fn softmax<T: Scalar>(m: &Machine<T>, x: Value<'_, T>, axis: usize, mask: Mask, out: Out<'_, T>) {
    let (len, mask) = (out.dims[axis], Masking::new(mask, out.dims));
    // SAFETY: input and output have one shape.
    unsafe {
        lines(m, [x], axis, out, |first, [x], y, n| softmax_lines(m.isa, x, y, first, n, len, mask));
    }
}

dispatched! {
    unsafe fn softmax_lines<T: Scalar>(
        x: *const T, y: *mut T, first: usize, lines: usize, len: usize, mask: Masking,
    ) {
        let mut padded = [[T::ZERO; _]; LINES];
        let (mut counts, mut max, mut sum) = ([0; LINES], [T::ZERO; LINES], [T::ZERO; LINES]);
        for (group, n) in groups(lines, len) {
            // SAFETY: the caller has as many lines; they are written first.
            unsafe {
                let (x, y) = (x.add(group * len), y.add(group * len));
                let mut exponentials: [&mut [T]; LINES] = std::array::from_fn(|_| &mut [][..]);
                for (i, padded) in padded.iter_mut().enumerate().take(n) {
                    let ([x], [count, counted]) = (line([x], i, len), mask.count(first + group + i, len));
                    let e = match is_padded(len) {
                        true => pad(padded, x, count, T::NEG_INFINITY),
                        false => write_first(y.add(i * len), &x[..counted], count, T::NEG_INFINITY),
                    };
                    max[i] = tree::<T, Bound>(e);
                    (counts[i], exponentials[i]) = (count, e);
                }
                // Where all is masked, the sum of nothing.
                let none = |i: usize| mask.0 != Mask::Nothing && max[i] == T::NEG_INFINITY;
                for (i, e) in exponentials.iter_mut().enumerate().take(n) {
                    let max = if none(i) { T::ZERO } else { max[i] };
                    e.iter_mut().for_each(|e| *e = exp::<T, FMA>(*e - max));
                }
                for (i, e) in exponentials.iter_mut().enumerate().take(n) {
                    sum[i] = tree::<T, Sum>(e);
                    if none(i) && sum[i] == T::ZERO {
                        sum[i] = T::ONE;
                    }
                }
                for (i, e) in exponentials.iter_mut().enumerate().take(n) {
                    let ([x], count, sum, y) = (line([x], i, len), counts[i], sum[i], y.add(i * len));
                    for (j, e) in e.iter_mut().enumerate() {
                        *e = if is_below(j, count) { *e / sum } else { T::ZERO };
                    }
                    match is_padded(len) {
                        true => write(y, [&e[..len]], |[e]| e),
                        false => write(y.add(e.len()), [&x[e.len()..]], |_| T::ZERO),
                    };
                }
            }
        }
    }
}

/// `x_i - max - ln Σ_j e^(x_j - max)`.
///
/// # Safety
/// The contract of [`crate::kernels`].
pub(crate) unsafe fn log_softmax<T: Scalar>(m: &Machine<T>, x: Value<'_, T>, axis: usize, out: Out<'_, T>) {
    let len = out.dims[axis];
    // SAFETY: input and output have one shape.
    unsafe {
        lines(m, [x], axis, out, |_, [x], y, n| log_softmax_lines(m.isa, x, y, n, len));
    }
}

dispatched! {
    unsafe fn log_softmax_lines<T: Scalar>(x: *const T, y: *mut T, lines: usize, len: usize) {
        let mut padded = [[T::ZERO; _]; LINES];
        let (mut max, mut sum) = ([T::ZERO; LINES], [T::ZERO; LINES]);
        for (group, n) in groups(lines, len) {
            // SAFETY: the caller has as many lines.
            unsafe {
                let (x, y) = (x.add(group * len), y.add(group * len));
                let mut whole: [&[T]; LINES] = [&[]; LINES];
                for (i, padded) in padded.iter_mut().enumerate().take(n) {
                    let [x] = line([x], i, len);
                    whole[i] = if is_padded(len) { pad(padded, x, len, T::NEG_INFINITY) } else { x };
                    max[i] = tree::<T, Bound>(whole[i]);
                }
                for (i, x) in whole.iter().enumerate().take(n) {
                    let max = max[i];
                    sum[i] = tree_of::<T, Sum, 1>([x], |[x]| exp::<T, FMA>(x - max));
                }
                for i in 0..n {
                    let (max, ln_sum) = (max[i], sum[i].ln());
                    write(y.add(i * len), line([x], i, len), |[x]| x - max - ln_sum);
                }
            }
        }
    }
}

/// The derivative of softmax: `y_i (g_i - Σ_j g_j y_j)`, 0 where it is masked.
///
/// # Safety
/// The contract of [`crate::kernels`].
pub(crate) unsafe fn softmax_grad<T: Scalar>(
    m: &Machine<T>,
    g: Value<'_, T>,
    y: Value<'_, T>,
    axis: usize,
    mask: Mask,
    out: Out<'_, T>,
) {
    let (len, mask) = (out.dims[axis], Masking::new(mask, out.dims));
    // SAFETY: inputs and output have one shape.
    unsafe {
        lines(m, [g, y], axis, out, |first, gy, d, n| grad_lines(m.isa, gy, d, first, n, len, mask));
    }
}

dispatched! {
    unsafe fn grad_lines<T: Scalar>(
        gy: [*const T; 2], d: *mut T, first: usize, lines: usize, len: usize, mask: Masking,
    ) {
        for i in 0..lines {
            let [count, counted] = mask.count(first + i, len);
            // SAFETY: the caller has as many lines.
            unsafe {
                let ([g, y], d) = (line(gy, i, len), d.add(i * len));
                let (y, rest) = y.split_at(counted);
                let g = write_first(d, &g[..counted], count, T::ZERO);
                let dot = tree_of::<T, Sum, 2>([g, y], |[g, y]| g * y);
                for (j, (d, &y)) in g.iter_mut().zip(y).enumerate() {
                    *d = if is_below(j, count) { y * (*d - dot) } else { T::ZERO };
                }
                write(d.add(counted), [rest], |_| T::ZERO);
            }
        }
    }
}

/// The derivative of log-softmax: `g_i - e^(y_i) Σ_j g_j`.
///
/// # Safety
/// The contract of [`crate::kernels`].
pub(crate) unsafe fn log_softmax_grad<T: Scalar>(
    m: &Machine<T>,
    g: Value<'_, T>,
    y: Value<'_, T>,
    axis: usize,
    out: Out<'_, T>,
) {
    let len = out.dims[axis];
    // SAFETY: inputs and output have one shape.
    unsafe {
        lines(m, [g, y], axis, out, |_, gy, d, n| log_grad_lines(m.isa, gy, d, n, len));
    }
}

dispatched! {
    unsafe fn log_grad_lines<T: Scalar>(gy: [*const T; 2], d: *mut T, lines: usize, len: usize) {
        let mut sum = [T::ZERO; LINES];
        for (group, n) in groups(lines, len) {
            // SAFETY: the caller has as many lines.
            unsafe {
                for (i, sum) in sum.iter_mut().enumerate().take(n) {
                    *sum = tree::<T, Sum>(line(gy, group + i, len)[0]);
                }
                for (i, &sum) in sum.iter().enumerate().take(n) {
                    let i = group + i;
                    write(d.add(i * len), line(gy, i, len), |[g, y]| g - exp::<T, FMA>(y) * sum);
                }
            }
        }
    }
}

/// `ln Σ e^x` over the axes of `mask`, shifted by the largest element.
///
/// # Safety
/// The contract of [`crate::kernels`]; `out` holds the kept axes.
pub(crate) unsafe fn log_sum_exp<T: Scalar>(m: &Machine<T>, x: Value<'_, T>, mask: u64, out: Out<'_, T>) {
    let pick = |reduced: bool| -> (Dims, Strides) {
        let axes = x.layout.dims.iter().zip(x.layout.strides).enumerate();
        axes.filter(|(i, _)| (mask >> i & 1 == 1) == reduced).map(|(_, (&d, &s))| (d, s)).unzip()
    };
    let ((dims, strides), (kept, over)) = (pick(true), pick(false));
    let len = dims.iter().product();
    let line = Layout { dims: &dims, strides: &strides, len, contiguous: false };
    let straight = is_contiguous(&dims, &strides);
    let kept = Nest::new(&kept, [&over]);
    let (n, [step]) = kept.inner();
    let mut to = out.data;
    m.with_scratch(if straight { 0 } else { len }, |scratch| {
        kept.for_each(|[offset]| {
            // SAFETY: the nest visits positions of the layout; the output
            // holds one element for each line, scratch one line.
            unsafe {
                // Not read where nothing is folded: then it may lie anywhere.
                let from = x.data.wrapping_offset(offset);
                if straight {
                    log_sum_exp_rows(m.isa, from, step, n, len, to);
                } else {
                    for i in 0..n as isize {
                        let (from, scratch) = (from.wrapping_offset(i * step), scratch.as_mut_ptr().cast());
                        let gathered = Out { data: scratch, dims: &dims, len, add: false };
                        copy(m.isa, Value { data: from, layout: &line }, gathered);
                        log_sum_exp_rows(m.isa, scratch, 0, 1, len, to.offset(i));
                    }
                }
                to = to.add(n);
            }
        });
    });
}

dispatched! {
    /// [`log_sum_exp`] of every row of a plane.
    unsafe fn log_sum_exp_rows<T: Scalar>(x: *const T, row: isize, rows: usize, len: usize, to: *mut T) {
        for i in 0..rows {
            // SAFETY: the rows are in reach, the output holds one element for
            // each.
            unsafe {
                let x = std::slice::from_raw_parts(x.wrapping_offset(i as isize * row), len);
                let max = tree::<T, Max>(x);
                // An infinite maximum is the result, not a shift.
                let shift = if max.is_finite() { max } else { T::ZERO };
                let sum = tree_of::<T, Sum, 1>([x], |[x]| exp::<T, FMA>(x - shift));
                to.add(i).write(sum.ln() + shift);
            }
        }
    }
}
