//! Softmax and its relatives along one axis.
//!
//! All are shifted by the largest element first, so that no exponential
//! overflows (Blanchard, Higham, Higham, IMA J. Numer. Anal. 41, 2021).

use super::nest::Nest;
use super::reduce::{Fold, Max, Sum, tree};
use super::{Out, Value};
use crate::scalar::Scalar;
use crate::shape::{Dims, contiguous_strides};

/// The elements of one operand along the axis.
#[derive(Clone, Copy)]
struct Line<T> {
    data: *mut T,
    step: isize,
    len: usize,
}

impl<T: Scalar> Line<T> {
    #[inline(always)]
    fn at(&self, i: usize) -> *mut T {
        debug_assert!(i < self.len);
        self.data.wrapping_offset(i as isize * self.step)
    }

    #[inline(always)]
    fn get(&self, i: usize) -> T {
        // SAFETY: within a line of an operand, or of the output where it has
        // been set (see `lines`).
        unsafe { *self.at(i) }
    }

    /// Called for the line of the output alone.
    #[inline(always)]
    fn set(&self, i: usize, value: T) {
        // SAFETY: within a line of the output (see `lines`).
        unsafe { self.at(i).write(value) }
    }

    #[inline(always)]
    fn fold<F: Fold<T>>(&self) -> T {
        if self.step == 1 {
            // SAFETY: `len` elements without gaps, all initialised.
            return tree::<T, F>(unsafe { std::slice::from_raw_parts(self.data, self.len) });
        }
        (0..self.len).fold(F::EMPTY, |acc, i| F::fold(acc, self.get(i)))
    }
}

/// An operand, or the output, as memory which is walked line by line.
type Memory<'a, T> = (*mut T, &'a [isize]);

/// Calls `f` once per line along `axis`, with the line of each operand and (as
/// the last one) of the output.
///
/// # Safety
/// The contract of [`crate::kernels`], operands and output of the shape
/// `dims`; `f` sets the output's line alone.
#[inline(always)]
unsafe fn lines<T: Scalar, const N: usize>(
    dims: &[usize],
    axis: usize,
    memory: [Memory<'_, T>; N],
    mut f: impl FnMut([Line<T>; N]),
) {
    let mut others = Dims::from_slice(dims);
    let len = std::mem::replace(&mut others[axis], 1);
    if len == 0 {
        return;
    }
    let nest = Nest::new(&others, memory.map(|(_, strides)| strides));
    let (count, steps) = nest.inner();
    nest.for_each(|offsets| {
        for i in 0..count as isize {
            f(std::array::from_fn(|k| {
                let (data, strides) = memory[k];
                Line { data: data.wrapping_offset(offsets[k] + i * steps[k]), step: strides[axis], len }
            }));
        }
    });
}

fn read<'a, T>(x: Value<'a, T>) -> Memory<'a, T> {
    (x.data.cast_mut(), x.layout.strides)
}

/// `e^(x_i - max) / sum_j e^(x_j - max)`.
///
/// # Safety
/// The contract of [`crate::kernels`].
pub(crate) unsafe fn softmax<T: Scalar>(x: Value<'_, T>, axis: usize, out: Out<'_, T>) {
    // SAFETY: input and output have one shape.
    unsafe {
        lines(out.dims, axis, [read(x), (out.data, &contiguous_strides(out.dims))], |[x, y]| {
            let max = x.fold::<Max>();
            (0..x.len).for_each(|i| y.set(i, (x.get(i) - max).exp()));
            let sum = y.fold::<Sum>();
            (0..x.len).for_each(|i| y.set(i, y.get(i) / sum));
        });
    }
}

/// `x_i - max - ln sum_j e^(x_j - max)`.
///
/// # Safety
/// The contract of [`crate::kernels`].
pub(crate) unsafe fn log_softmax<T: Scalar>(x: Value<'_, T>, axis: usize, out: Out<'_, T>) {
    // SAFETY: input and output have one shape.
    unsafe {
        lines(out.dims, axis, [read(x), (out.data, &contiguous_strides(out.dims))], |[x, y]| {
            let max = x.fold::<Max>();
            (0..x.len).for_each(|i| y.set(i, (x.get(i) - max).exp()));
            let ln_sum = y.fold::<Sum>().ln();
            (0..x.len).for_each(|i| y.set(i, x.get(i) - max - ln_sum));
        });
    }
}

/// The derivative of softmax: `y_i (g_i - sum_j g_j y_j)`.
///
/// # Safety
/// The contract of [`crate::kernels`].
pub(crate) unsafe fn softmax_grad<T: Scalar>(g: Value<'_, T>, y: Value<'_, T>, axis: usize, out: Out<'_, T>) {
    // SAFETY: inputs and output have one shape.
    unsafe {
        lines(out.dims, axis, [read(g), read(y), (out.data, &contiguous_strides(out.dims))], |[g, y, d]| {
            (0..g.len).for_each(|i| d.set(i, g.get(i) * y.get(i)));
            let dot = d.fold::<Sum>();
            (0..g.len).for_each(|i| d.set(i, y.get(i) * (g.get(i) - dot)));
        });
    }
}

/// The derivative of log-softmax: `g_i - e^(y_i) sum_j g_j`.
///
/// # Safety
/// The contract of [`crate::kernels`].
pub(crate) unsafe fn log_softmax_grad<T: Scalar>(g: Value<'_, T>, y: Value<'_, T>, axis: usize, out: Out<'_, T>) {
    // SAFETY: inputs and output have one shape.
    unsafe {
        lines(out.dims, axis, [read(g), read(y), (out.data, &contiguous_strides(out.dims))], |[g, y, d]| {
            let sum = g.fold::<Sum>();
            (0..g.len).for_each(|i| d.set(i, g.get(i) - y.get(i).exp() * sum));
        });
    }
}
