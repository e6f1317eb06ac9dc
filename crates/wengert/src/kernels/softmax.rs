//! Softmax and its relatives along one axis.
//!
//! All are shifted by the largest element first, so that no exponential
//! overflows (Blanchard, Higham, Higham, IMA J. Numer. Anal. 41, 2021).

use super::reduce::{Max, Sum, tree};
use super::{Out, Value};
use crate::scalar::Scalar;
use crate::shape::contiguous_strides;

/// Calls `f` once per line along `axis`, with the position of the line's first
/// element in each operand and in the output, and the strides along the line.
///
/// # Safety
/// Operands and output have the shape `dims`, the output is contiguous.
#[inline(always)]
unsafe fn lines<T: Scalar, const N: usize>(
    inputs: [Value<'_, T>; N],
    axis: usize,
    out: Out<'_, T>,
    mut f: impl FnMut([Line<T>; N], LineMut<T>),
) {
    let to = contiguous_strides(out.dims);
    let mut dims = crate::shape::Dims::from_slice(out.dims);
    let n = std::mem::replace(&mut dims[axis], 1);
    if n == 0 {
        return;
    }
    // Lines are visited one axis at a time: the innermost loop of the nest
    // over all other axes is walked here.
    let visit = |offsets: [isize; N], to_offset: isize, f: &mut dyn FnMut([Line<T>; N], LineMut<T>)| {
        let from = std::array::from_fn(|k| Line {
            // SAFETY: the offset is a position of the layout.
            data: unsafe { inputs[k].data.offset(offsets[k]) },
            step: inputs[k].layout.strides[axis],
            len: n,
        });
        // SAFETY: likewise for the output.
        let data = unsafe { out.data.offset(to_offset) };
        f(from, LineMut { data, step: to[axis], len: n });
    };
    let total: usize = dims.iter().product();
    for line in 0..total {
        let (mut rest, mut offsets, mut to_offset) = (line, [0isize; N], 0isize);
        for i in (0..dims.len()).rev() {
            let at = (rest % dims[i]) as isize;
            rest /= dims[i];
            (0..N).for_each(|k| offsets[k] += at * inputs[k].layout.strides[i]);
            to_offset += at * to[i];
        }
        visit(offsets, to_offset, &mut f);
    }
}

/// One line of an operand.
#[derive(Clone, Copy)]
struct Line<T> {
    data: *const T,
    step: isize,
    len: usize,
}

/// One line of the output.
struct LineMut<T> {
    data: *mut T,
    step: isize,
    len: usize,
}

impl<T: Scalar> Line<T> {
    #[inline(always)]
    fn get(&self, i: usize) -> T {
        debug_assert!(i < self.len);
        // SAFETY: within the line, which lies within the operand.
        unsafe { *self.data.offset(i as isize * self.step) }
    }

    fn slice(&self) -> Option<&[T]> {
        // SAFETY: `len` elements without gaps, within the operand.
        (self.step == 1).then(|| unsafe { std::slice::from_raw_parts(self.data, self.len) })
    }

    fn max(&self) -> T {
        match self.slice() {
            Some(x) => tree::<T, Max>(x),
            None => (1..self.len).fold(self.get(0), |m, i| <Max as super::reduce::Fold<T>>::fold(m, self.get(i))),
        }
    }
}

impl<T: Scalar> LineMut<T> {
    #[inline(always)]
    fn set(&mut self, i: usize, value: T) {
        debug_assert!(i < self.len);
        // SAFETY: within the line, which lies within the output.
        unsafe { *self.data.offset(i as isize * self.step) = value }
    }

    #[inline(always)]
    fn get(&self, i: usize) -> T {
        // SAFETY: as above; callers read what they have set.
        unsafe { *self.data.offset(i as isize * self.step) }
    }

    fn sum(&self) -> T {
        if self.step == 1 {
            // SAFETY: the whole line has been set.
            return tree::<T, Sum>(unsafe { std::slice::from_raw_parts(self.data, self.len) });
        }
        (0..self.len).map(|i| self.get(i)).sum()
    }
}

/// `e^(x_i - max) / sum_j e^(x_j - max)`.
///
/// # Safety
/// The contract of [`crate::kernels`].
pub(crate) unsafe fn softmax<T: Scalar>(x: Value<'_, T>, axis: usize, out: Out<'_, T>) {
    // SAFETY: input and output have one shape.
    unsafe {
        lines([x], axis, out, |[x], mut y| {
            let max = x.max();
            (0..x.len).for_each(|i| y.set(i, (x.get(i) - max).exp()));
            let sum = y.sum();
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
        lines([x], axis, out, |[x], mut y| {
            let max = x.max();
            (0..x.len).for_each(|i| y.set(i, (x.get(i) - max).exp()));
            let ln_sum = y.sum().ln();
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
        lines([g, y], axis, out, |[g, y], mut d| {
            (0..g.len).for_each(|i| d.set(i, g.get(i) * y.get(i)));
            let dot = d.sum();
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
        lines([g, y], axis, out, |[g, y], mut d| {
            (0..g.len).for_each(|i| d.set(i, g.get(i)));
            let sum = d.sum();
            (0..g.len).for_each(|i| d.set(i, g.get(i) - y.get(i).exp() * sum));
        });
    }
}
