//! Elementwise kernels: one function over the elements of `N` operands.

use std::array::from_fn;
use std::mem::MaybeUninit;

use super::isa::{BASELINE_FMA, Isa, dispatched};
use super::nest::Nest;
use super::{Out, Value};
use crate::arena::CACHE_LINE;
use crate::scalar::Scalar;
use crate::shape::broadcast_strides;

/// Elements which are gathered at a time where an operand is not a plain run:
/// a kilobyte or two per operand stays in the first-level cache.
pub(super) const BLOCK: usize = 256;

/// A function of the elements of `N` operands: a closure, or one which asks
/// whether it is compiled for fused multiply-adds.
pub(crate) trait Elementwise<T, const N: usize>: Copy {
    /// Whether that makes a difference.
    const FUSES: bool;
    /// Whether the output is often the memory of the first operand: then there
    /// is a loop for that.
    const IN_PLACE: bool = false;
    fn at<const FMA: bool>(self, x: [T; N]) -> T;
}

impl<T, const N: usize, F: Fn([T; N]) -> T + Copy> Elementwise<T, N> for F {
    const FUSES: bool = false;

    #[inline(always)]
    fn at<const FMA: bool>(self, x: [T; N]) -> T {
        self(x)
    }
}

/// `out[i] = f([x0[i], x1[i], ...])`, the operands broadcast to the output.
///
/// The innermost loop sees plain runs only: an operand with another stride, or
/// one which is broadcast, is gathered block by block. So a function is
/// compiled once per instruction set, and gives the same bits for every layout.
///
/// # Safety
/// The contract of [`crate::kernels`]; but if nothing is added, the output may be
/// the first operand, element by element.
pub(crate) unsafe fn map<T: Scalar, const N: usize>(
    isa: Isa,
    inputs: [Value<'_, T>; N],
    out: Out<'_, T>,
    f: impl Elementwise<T, N>,
) {
    if inputs.iter().all(|x| x.layout.contiguous && x.layout.len == out.len) {
        // SAFETY: same length and no gaps, so operands and output are runs.
        return unsafe { run(isa, inputs.map(|x| x.data), out.data, out.len, out.add, f) };
    }
    // SAFETY: the caller's contract.
    unsafe { strided(inputs, out, &|from, to, n| run(isa, from, to, n, out.add, f)) }
}

/// A kernel over plain runs: operands, output, length.
pub(super) type Run<'a, T, const N: usize> = dyn Fn([*const T; N], *mut T, usize) + 'a;

/// [`map`] where some operand is not a plain run.
#[inline(never)]
pub(super) unsafe fn strided<T: Scalar, const N: usize>(
    inputs: [Value<'_, T>; N],
    out: Out<'_, T>,
    run: &Run<'_, T, N>,
) {
    // SAFETY: the caller's contract.
    if unsafe { rows(&inputs, &out, run) } {
        return;
    }
    let strides = inputs.map(|x| broadcast_strides(x.layout.dims, x.layout.strides, out.dims));
    let nest = Nest::new(out.dims, from_fn::<_, N, _>(|k| &*strides[k]));
    let (len, steps) = nest.inner();
    let mut buffers = [[MaybeUninit::<T>::uninit(); BLOCK]; N];
    let plain = steps.iter().all(|&s| s == 1);
    let mut to = out.data;
    nest.for_each(|offsets| {
        // SAFETY: the nest visits positions of the layouts, in the row-major
        // order of the output.
        unsafe {
            let mut from = from_fn::<_, N, _>(|k| inputs[k].data.offset(offsets[k]));
            if plain {
                run(from, to, len);
                to = to.add(len);
                return;
            }
            for k in 0..N {
                if steps[k] == 0 {
                    buffers[k][..len.min(BLOCK)].fill(MaybeUninit::new(*from[k]));
                }
            }
            let mut left = len;
            while left > 0 {
                let n = left.min(BLOCK);
                let block = from_fn::<_, N, _>(|k| {
                    if steps[k] == 1 {
                        return from[k];
                    }
                    if steps[k] != 0 {
                        for (i, b) in buffers[k][..n].iter_mut().enumerate() {
                            b.write(*from[k].offset(i as isize * steps[k]));
                        }
                    }
                    buffers[k].as_ptr().cast()
                });
                run(block, to, n);
                to = to.add(n);
                left -= n;
                for k in 0..N {
                    from[k] = from[k].wrapping_offset(n as isize * steps[k]);
                }
            }
        }
    });
}

/// How an operand is read where the output is cut into rows.
#[derive(Clone, Copy, PartialEq)]
enum Course {
    /// In step with the output.
    Along,
    /// From its start again in every row: it has the shape of the last axes.
    Again,
    /// It is one number.
    Constant,
}

/// The length of the rows, and how each operand is read; `None` if some
/// operand is read otherwise.
fn courses<T, const N: usize>(inputs: &[Value<'_, T>; N], out: &Out<'_, T>) -> Option<(usize, [Course; N])> {
    let (mut row, mut courses) = (out.len, [Course::Along; N]);
    for (x, course) in inputs.iter().map(|x| x.layout).zip(&mut courses) {
        if x.contiguous && x.len == out.len {
            continue;
        }
        if x.repeats() {
            *course = Course::Constant;
            continue;
        }
        let lead = x.dims.iter().take_while(|&&dim| dim == 1).count();
        let repeats = out.dims.ends_with(&x.dims[lead..]) && (row == out.len || row == x.len);
        if !(x.contiguous && repeats) {
            return None;
        }
        (row, *course) = (x.len, Course::Again);
    }
    Some((row, courses))
}

/// [`strided`] where every operand has the output's shape, or that of its last
/// axes, or is one number: no nest is needed. Says whether that is so.
unsafe fn rows<T: Scalar, const N: usize>(inputs: &[Value<'_, T>; N], out: &Out<'_, T>, run: &Run<'_, T, N>) -> bool {
    if out.len == 0 {
        return true;
    }
    let Some((mut row, mut courses)) = courses(inputs, out) else { return false };
    // What is repeated often is repeated in a buffer, so that runs are long.
    const SHORT: usize = 16;
    let period = if row < SHORT { row } else { 1 };
    let mut block = (BLOCK / period * period).min(out.len);
    let mut buffers = [[MaybeUninit::<T>::uninit(); BLOCK]; N];
    for k in 0..N {
        let (buffer, from) = (&mut buffers[k][..block], inputs[k].data);
        match courses[k] {
            // SAFETY: the operand has an element.
            Course::Constant => buffer.fill(MaybeUninit::new(unsafe { *from })),
            Course::Again if row < SHORT => {
                for repeat in buffer.chunks_mut(period) {
                    for (i, to) in repeat.iter_mut().enumerate() {
                        // SAFETY: the operand has `period` elements in a run.
                        to.write(unsafe { *from.add(i) });
                    }
                }
            }
            _ => {}
        }
    }
    if row < SHORT {
        courses = courses.map(|c| if c == Course::Again { Course::Constant } else { c });
        row = out.len;
    } else if !courses.contains(&Course::Constant) {
        block = row;
    }
    for start in (0..out.len).step_by(row) {
        for at in (0..row).step_by(block) {
            // SAFETY: within the output, the operands, or `block` elements
            // which were written to a buffer.
            unsafe {
                let from = from_fn(|k| match courses[k] {
                    Course::Along => inputs[k].data.add(start + at),
                    Course::Again => inputs[k].data.add(at),
                    Course::Constant => buffers[k].as_ptr().cast(),
                });
                run(from, out.data.add(start + at), block.min(row - at));
            }
        }
    }
    true
}

dispatched! {
    /// [`map`] over plain runs of `n` elements.
    #[inline]
    pub(super) unsafe fn run<T: Scalar, F: Elementwise<T, N>; const N: usize>(
        from: [*const T; N], to: *mut T, n: usize, add: bool, f: F,
    ) {
        // SAFETY: `n` elements may be read from each operand and written.
        unsafe {
            if add {
                for i in 0..n {
                    *to.add(i) += f.at::<FMA>(from_fn(|k| *from[k].add(i)));
                }
            } else if F::IN_PLACE && std::ptr::eq(from[0], to) {
                // Named as what it is, so that the loop is seen to be one over
                // elements which do not depend on each other.
                for i in 0..n {
                    to.add(i).write(f.at::<FMA>(from_fn(|k| if k == 0 { *to.add(i) } else { *from[k].add(i) })));
                }
            } else {
                for i in 0..n {
                    to.add(i).write(f.at::<FMA>(from_fn(|k| *from[k].add(i))));
                }
            }
        }
    }
}

/// The function at one element, where no loop is wanted: the same bits.
#[inline(always)]
pub(crate) fn at<T: Scalar, F: Elementwise<T, N>, const N: usize>(isa: Isa, x: [T; N], f: F) -> T {
    match isa {
        // SAFETY: the machine has the instruction set; AVX-512 is only ever
        // chosen beside AVX2 and FMA.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx2 if F::FUSES => unsafe { at_avx2(x, f) },
        _ if F::FUSES => at_baseline(x, f),
        _ => f.at::<BASELINE_FMA>(x),
    }
}

/// Functions with polynomials stay out of line: some seventy of them in one
/// function took the compiler minutes.
#[inline(never)]
fn at_baseline<T: Scalar, const N: usize>(x: [T; N], f: impl Elementwise<T, N>) -> T {
    f.at::<BASELINE_FMA>(x)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn at_avx2<T: Scalar, const N: usize>(x: [T; N], f: impl Elementwise<T, N>) -> T {
    f.at::<true>(x)
}

/// Copies (or adds) `n` elements of steps of their own.
///
/// # Safety
/// `n` elements may be read and written; they do not overlap.
pub(crate) unsafe fn copy_run<T: Scalar>(
    isa: Isa,
    (from, step): (*const T, isize),
    (to, to_step): (*mut T, isize),
    n: usize,
    add: bool,
) {
    // SAFETY: the caller's contract.
    unsafe {
        if step == 1 && to_step == 1 {
            let head = before_line(to, n);
            if head > 0 {
                run(isa, [from], to, head, add, |[x]: [T; 1]| x);
            }
            return run(isa, [from.add(head)], to.add(head), n - head, add, |[x]: [T; 1]| x);
        }
        for i in 0..n as isize {
            let (x, to) = (*from.offset(i * step), to.offset(i * to_step));
            if add { *to += x } else { to.write(x) }
        }
    }
}

/// How many of `n` elements stand before the first which begins a line of cache,
/// if that matters: every store across the end of a line takes the time of two.
#[inline(always)]
fn before_line<T>(to: *const T, n: usize) -> usize {
    const LONG: usize = 256;
    if n < LONG { 0 } else { to.align_offset(CACHE_LINE).min(n) }
}

/// Copies (or adds) a strided value into a contiguous buffer.
///
/// # Safety
/// The contract of [`crate::kernels`].
pub(crate) unsafe fn copy<T: Scalar>(isa: Isa, x: Value<'_, T>, out: Out<'_, T>) {
    if !out.add && x.layout.contiguous && x.layout.len == out.len {
        // SAFETY: both hold `len` elements and do not overlap.
        return unsafe { out.data.copy_from_nonoverlapping(x.data, out.len) };
    }
    // SAFETY: the caller's contract.
    unsafe { map(isa, [x], out, |[x]: [T; 1]| x) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::{Layout, contiguous_strides, element_count};

    /// Every way of broadcasting gives what the nest of loops gives.
    #[test]
    fn rows_are_the_nest() {
        let shapes: [(&[usize], &[usize]); 10] = [
            (&[4, 16], &[16]),
            (&[4, 16], &[1, 16]),
            (&[5, 3], &[3]),
            (&[300, 7], &[7]),
            (&[2, 3, 40], &[3, 40]),
            (&[700], &[]),
            (&[3, 300], &[1, 1]),
            (&[3, 4], &[3, 1]),
            (&[2, 0, 3], &[3]),
            (&[1], &[1, 1]),
        ];
        for (long, short) in shapes {
            let dims = if long.len() >= short.len() { long } else { short };
            let data = |dims: &[usize]| (0..element_count(dims)).map(|i| i as f32 + 0.5).collect::<Vec<_>>();
            let (a, b, len) = (data(long), data(short), element_count(dims));
            let strides = [long, short].map(contiguous_strides);
            let layout =
                |dims, k: usize| Layout { dims, strides: &strides[k], len: element_count(dims), contiguous: true };
            let layouts = [layout(long, 0), layout(short, 1)];
            for swap in [false, true] {
                let mut inputs =
                    [Value { data: a.as_ptr(), layout: &layouts[0] }, Value { data: b.as_ptr(), layout: &layouts[1] }];
                if swap {
                    inputs.swap(0, 1);
                }
                let f = |[a, b]: [f32; 2]| a - 3.0 * b;
                let mut got = vec![1.0; len];
                let out = Out { data: got.as_mut_ptr(), dims, len, add: true };
                // SAFETY: operands and output are as large as their shapes.
                unsafe { map(Isa::detect(), inputs, out, f) };
                let over = inputs.map(|x| broadcast_strides(x.layout.dims, x.layout.strides, dims));
                let mut at = 0;
                let nest = Nest::new(dims, [&over[0], &over[1]]);
                let (n, steps) = nest.inner();
                nest.for_each(|offsets| {
                    for i in 0..n as isize {
                        // SAFETY: the nest visits positions of the layouts.
                        let x = from_fn(|k| unsafe { *inputs[k].data.offset(offsets[k] + i * steps[k]) });
                        assert_eq!(got[at], 1.0 + f(x), "{long:?} {short:?} {at}");
                        at += 1;
                    }
                });
                assert_eq!(at, len);
            }
        }
    }
}
