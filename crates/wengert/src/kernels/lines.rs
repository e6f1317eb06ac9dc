//! Lines of several operands along one axis, without gaps.

use super::map::copy;
use super::nest::Nest;
use super::{Machine, Out, Value};
use crate::scalar::Scalar;
use crate::shape::{Dims, Layout, broadcast_strides, contiguous_strides};

/// Calls `kernel` with every line along `axis`: the number of the first line,
/// the operands' lines, the output's, and how many follow each other in all of
/// them. Lines with gaps are gathered first. Operands are broadcast to the
/// output, which is not added to.
///
/// # Safety
/// The contract of [`crate::kernels`].
pub(super) unsafe fn lines<T: Scalar, const N: usize>(
    m: &Machine<T>,
    inputs: [Value<'_, T>; N],
    axis: usize,
    out: Out<'_, T>,
    mut kernel: impl FnMut(usize, [*const T; N], *mut T, usize),
) {
    let mut others = Dims::from_slice(out.dims);
    let len = std::mem::replace(&mut others[axis], 1);
    assert!(len <= u32::MAX as usize, "lines of {len} elements");
    if out.len == 0 {
        return;
    }
    if axis + 1 == out.dims.len() && inputs.iter().all(|x| x.layout.contiguous && x.layout.len == out.len) {
        return kernel(0, inputs.map(|x| x.data), out.data, out.len / len);
    }
    let over = inputs.map(|x| broadcast_strides(x.layout.dims, x.layout.strides, out.dims));
    let to = contiguous_strides(out.dims);
    let nest = Nest::<N>::new(&others, std::array::from_fn(|k| &*over[k]));
    let (count, steps) = nest.inner();
    // Where the lines of the output start: all axes but one, in order.
    let (after, step) = (to[axis].unsigned_abs(), to[axis]);
    let mut number = 0;
    // One line of each operand, and one of the output.
    m.with_scratch((N + 1) * len, |scratch| {
        let scratch: *mut T = scratch.as_mut_ptr().cast();
        nest.for_each(|offsets| {
            for i in 0..count as isize {
                // SAFETY: the nest visits the first elements of lines of the
                // layouts, in the row-major order of the output; scratch holds
                // one line of each.
                unsafe {
                    let from = std::array::from_fn(|k| {
                        let (data, step) = (inputs[k].data.offset(offsets[k] + i * steps[k]), over[k][axis]);
                        if step == 1 || len == 1 {
                            return data;
                        }
                        let layout = Layout { dims: &[len], strides: &[step], len, contiguous: false };
                        let gathered = Out { data: scratch.add(k * len), dims: &[len], len, add: false };
                        copy(m.isa, Value { data, layout: &layout }, gathered);
                        gathered.data.cast_const()
                    });
                    let to = out.data.add(number / after * after * len + number % after);
                    if step == 1 {
                        kernel(number, from, to, 1);
                    } else {
                        let line = scratch.add(N * len);
                        kernel(number, from, line, 1);
                        (0..len as isize).for_each(|j| to.offset(j * step).write(*line.offset(j)));
                    }
                }
                number += 1;
            }
        });
    });
}

/// At most so many lines take each step together, and so many elements: the
/// steps of one line wait for each other, those of different lines do not.
pub(super) const LINES: usize = 16;
const ELEMENTS: usize = 2048;

/// The starts and lengths of groups of lines which take steps together.
#[inline(always)]
pub(super) fn groups(lines: usize, len: usize) -> impl Iterator<Item = (usize, usize)> {
    let most = (ELEMENTS / len.max(1)).clamp(1, LINES);
    (0..lines).step_by(most).map(move |first| (first, most.min(lines - first)))
}

/// The elements of one vector, or of two.
const LANES: usize = 16;

/// `len`, up to whole vectors: a remainder would take as long as several.
#[inline(always)]
pub(super) fn whole(len: usize) -> usize {
    len.next_multiple_of(LANES)
}

/// Lines up to this length are padded to whole vectors in memory of their own.
const SHORT: usize = 64;

/// Room for a short line.
pub(super) type Padded<T> = [T; SHORT];

/// Whether a line is better computed in a [`Padded`].
#[inline(always)]
pub(super) fn is_padded(len: usize) -> bool {
    len <= SHORT && !len.is_multiple_of(LANES)
}

/// The first `count` elements of a short line, and `other` up to whole vectors.
#[inline(always)]
pub(super) fn pad<'a, T: Scalar>(to: &'a mut Padded<T>, x: &[T], count: usize, other: T) -> &'a mut [T] {
    let to = &mut to[..whole(x.len())];
    to.fill(other);
    to[..count].copy_from_slice(&x[..count]);
    to
}

/// The lines number `i` of the operands.
///
/// # Safety
/// Each has more than `i` lines of `len` elements, which may be read.
#[inline(always)]
pub(super) unsafe fn line<'a, T, const N: usize>(from: [*const T; N], i: usize, len: usize) -> [&'a [T]; N] {
    // SAFETY: the caller's.
    from.map(|x| unsafe { std::slice::from_raw_parts(x.add(i * len), len) })
}

/// `i < count`, with numbers as wide as most elements: wider ones would take
/// twice as many vectors. Lines are shorter than 2^32: [`lines`] sees to that.
#[inline(always)]
pub(super) fn is_below(i: usize, count: usize) -> bool {
    (i as u32) < count as u32
}

/// Copies the first `count` elements of a line, and `other` for the rest.
///
/// # Safety
/// As for [`write`].
#[inline(always)]
pub(super) unsafe fn write_first<'a, T: Scalar>(to: *mut T, x: &[T], count: usize, other: T) -> &'a mut [T] {
    // SAFETY: the caller's contract; all elements have been written.
    unsafe {
        for (i, &x) in x.iter().enumerate() {
            to.add(i).write(if is_below(i, count) { x } else { other });
        }
        std::slice::from_raw_parts_mut(to, x.len())
    }
}

/// Writes `f` of the elements of some lines of one length.
///
/// # Safety
/// `to` may be written at as many elements, and overlaps none of them.
#[inline(always)]
pub(super) unsafe fn write<'a, T: Scalar, const N: usize>(
    to: *mut T,
    x: [&[T]; N],
    f: impl Fn([T; N]) -> T,
) -> &'a mut [T] {
    let len = x[0].len();
    let x = x.map(|x| &x[..len]);
    // SAFETY: the caller's contract; all elements have been written.
    unsafe {
        #[allow(clippy::needless_range_loop, reason = "several lines side by side")]
        for i in 0..len {
            to.add(i).write(f(std::array::from_fn(|k| x[k][i])));
        }
        std::slice::from_raw_parts_mut(to, len)
    }
}

/// [`write`], which adds to what is there.
///
/// # Safety
/// As for [`write`]; numbers are there.
#[inline(always)]
pub(super) unsafe fn add_to<T: Scalar, const N: usize>(to: *mut T, x: [&[T]; N], f: impl Fn([T; N]) -> T) {
    let len = x[0].len();
    let x = x.map(|x| &x[..len]);
    #[allow(clippy::needless_range_loop, reason = "several lines side by side")]
    for i in 0..len {
        // SAFETY: the caller's contract.
        unsafe { *to.add(i) += f(std::array::from_fn(|k| x[k][i])) };
    }
}
