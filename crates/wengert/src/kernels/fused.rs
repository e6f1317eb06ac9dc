//! Kernels for fused expressions, which users write: generic code, compiled in
//! their crates, once per instruction set as in [`map`](super::map).

use std::array::from_fn;
use std::mem::MaybeUninit;
use std::slice::{from_raw_parts, from_raw_parts_mut};

use super::fold::{Sum, tree};
use super::isa::{Isa, dispatched};
use super::map::{self, BLOCK, Elementwise};
use super::nest::Nest;
use super::reduce::begin;
use super::{Out, Value};
use crate::scalar::Scalar;
use crate::shape::{broadcast_strides, contiguous_strides, zeros};

/// The most inputs an expression may have.
pub(crate) const MAX_INPUTS: usize = 8;

/// For [`Pointwise::products`]: the derivatives to every input.
pub(crate) const ALL: usize = MAX_INPUTS;

/// An expression, element by element.
pub(crate) trait Pointwise<T, const N: usize>: Elementwise<T, N> {
    /// `g` times the derivatives: to every input, or to the input `ONLY`
    /// (the others are 0 then).
    fn products<const FMA: bool, const ONLY: usize>(self, x: [T; N], g: T) -> [T; N];
}

/// A block of the products for one input.
type Row<'a, T> = &'a mut [MaybeUninit<T>];

/// The products of `g` with the derivatives of `f` to the inputs which have a
/// target, in one pass. Axes along which an input was broadcast are summed
/// away on the way.
///
/// # Safety
/// The contract of [`crate::kernels`] for every target, where several may be
/// the same memory: all but the first add then. `g` has the shape `dims`, to
/// which the inputs broadcast.
pub(crate) unsafe fn backward<T: Scalar, const N: usize>(
    isa: Isa,
    inputs: [Value<'_, T>; N],
    g: Value<'_, T>,
    targets: [Option<Out<'_, T>>; N],
    f: impl Pointwise<T, N>,
) {
    let mut wanted = (0..N).filter(|&k| targets[k].is_some());
    let only = match (wanted.next(), wanted.next()) {
        (Some(k), None) => k,
        _ => ALL,
    };
    // SAFETY: the caller's contract.
    unsafe {
        sums(isa, &inputs, g, &targets, &|from, rows, n, adds| {
            let (from, g) = (from_fn(|k| from[k]), from[N]);
            let [a, b, c, d, e, h, j, l] = rows;
            macro_rules! one_of {
                ($($k:literal)*) => {
                    match only {
                        $($k if const { $k < N } => products::<T, _, N, { $k }, 0>(isa, from, g, a, b, c, d, e, h, j, l, n, f),)*
                        _ if const { N == 1 } => unreachable!("the only input has no target"),
                        _ if adds => products::<T, _, N, ALL, 1>(isa, from, g, a, b, c, d, e, h, j, l, n, f),
                        _ => products::<T, _, N, ALL, 0>(isa, from, g, a, b, c, d, e, h, j, l, n, f),
                    }
                };
            }
            one_of!(0 1 2 3 4 5 6 7);
        });
    }
}

/// Computes a block of products: from the inputs and the cotangent (plain runs
/// of so many elements) into rows, of which it adds to all but the first if so
/// told.
type Products<'a, T> = dyn Fn(&[*const T; MAX_INPUTS + 1], [Row<'_, T>; MAX_INPUTS], usize, bool) + 'a;

/// Inputs and the cotangent, then targets.
const OPERANDS: usize = 2 * MAX_INPUTS + 1;

/// Goes over the products block by block and adds them to their targets.
unsafe fn sums<T: Scalar>(
    isa: Isa,
    inputs: &[Value<'_, T>],
    g: Value<'_, T>,
    targets: &[Option<Out<'_, T>>],
    products: &Products<'_, T>,
) {
    let (dims, size) = (g.layout.dims, g.layout.len);
    let count = inputs.len() + 1;
    let read = |k: usize| if k < inputs.len() { inputs[k] } else { g };
    let wanted = targets.iter().enumerate().filter_map(|(k, t)| t.map(|t| (k, t)));
    // Every element of a target of full size is met once; the others are sums.
    let writes = |t: Out<'_, T>| !t.add && t.len == size;
    for (_, t) in wanted.clone().filter(|(_, t)| t.len != size) {
        // SAFETY: the target's memory.
        unsafe { begin::<T, Sum>(&t) }
    }

    // The most common case: the first input has the full size, and all others
    // are rows, each of its own.
    let full = |k: usize| targets[k].is_some_and(writes);
    let apart = |k: usize| targets[k].is_some_and(|t| targets[..k].iter().flatten().all(|u| u.data != t.data));
    let rows_alone = targets.len() > 1 && full(0) && (1..targets.len()).all(|k| apart(k) && !full(k));

    let mut gathered = [[MaybeUninit::<T>::uninit(); BLOCK]; MAX_INPUTS + 1];
    // What a buffer is full of.
    let mut repeated = [std::ptr::null(); MAX_INPUTS + 1];
    let mut rows = [[MaybeUninit::uninit(); BLOCK]; MAX_INPUTS];
    let mut run = |offsets: [isize; OPERANDS], steps: [isize; OPERANDS], len: usize| {
        let mut totals = [T::ZERO; MAX_INPUTS];
        let adds = rows_alone && steps[count + 1..count + targets.len()].iter().all(|&step| step == 1);
        // Buffers are as long as a block; without them there is no need to stop.
        let straight = (0..count).all(|k| steps[k] == 1) && wanted.clone().all(|(_, t)| adds || writes(t));
        let block = if straight { len.max(1) } else { BLOCK };
        for start in (0..len).step_by(block) {
            let n = block.min(len - start);
            let mut from = [std::ptr::null(); MAX_INPUTS + 1];
            // SAFETY: the nest visits positions of the layouts.
            unsafe {
                for k in 0..count {
                    let (step, buffer) = (steps[k], &mut gathered[k]);
                    let x = read(k).data.offset(offsets[k] + start as isize * step);
                    match step {
                        1 => {
                            from[k] = x;
                            continue;
                        }
                        0 if repeated[k] == x => {}
                        0 => {
                            buffer[..n].fill(MaybeUninit::new(*x));
                            repeated[k] = x;
                        }
                        _ => (0..n).for_each(|i| _ = buffer[i].write(*x.offset(i as isize * step))),
                    }
                    from[k] = buffer.as_ptr().cast();
                }
                // First contributions need no row in between.
                let to = |k: usize, t: Out<'_, T>| t.data.offset(offsets[count + k]).add(start);
                let mut row = rows.iter_mut();
                products(
                    &from,
                    from_fn(|k| match (row.next(), targets.get(k)) {
                        (_, Some(&Some(t))) if writes(t) || adds => from_raw_parts_mut(to(k, t).cast(), n),
                        (Some(row), _) => &mut row[..n.min(BLOCK)],
                        _ => &mut [],
                    }),
                    n,
                    adds,
                );
                for (k, t) in wanted.clone().filter(|&(_, t)| !writes(t) && !adds) {
                    let row = rows[k].as_ptr().cast::<T>();
                    if steps[count + k] == 0 {
                        totals[k] += tree::<T, Sum>(from_raw_parts(row, n));
                    } else {
                        map::run(isa, [row], to(k, t), n, true, |[x]: [T; 1]| x);
                    }
                }
            }
        }
        for (k, t) in wanted.clone().filter(|(k, _)| steps[count + k] == 0) {
            // SAFETY: a position of the target, which holds a number.
            unsafe { *t.data.offset(offsets[count + k]) += totals[k] };
        }
    };

    let plain = |k: usize| read(k).layout.contiguous && read(k).layout.len == size;
    if (0..count).all(|k| plain(k) || read(k).layout.repeats()) && wanted.clone().all(|(_, t)| t.len == size) {
        let steps = from_fn(|k| isize::from(k >= count || plain(k)));
        return run([0; OPERANDS], steps, size);
    }
    let strides: [_; OPERANDS] = from_fn(|k| match k.checked_sub(count) {
        None => broadcast_strides(read(k).layout.dims, read(k).layout.strides, dims),
        Some(k) => match targets.get(k) {
            Some(Some(t)) => broadcast_strides(t.dims, &contiguous_strides(t.dims), dims),
            _ => zeros(dims.len()),
        },
    });
    let nest = Nest::new(dims, from_fn::<_, OPERANDS, _>(|k| &*strides[k]));
    let (len, steps) = nest.inner();
    nest.for_each(|offsets| run(offsets, steps, len));
}

dispatched! {
    /// The products over plain runs of `n` elements. Rows are arguments one by
    /// one, so that the compiler knows that they do not overlap.
    #[inline]
    unsafe fn products<T: Scalar, F: Pointwise<T, N>; const N: usize, const ONLY: usize, const ADDS: usize>(
        from: [*const T; N], g: *const T,
        a: Row<'_, T>, b: Row<'_, T>, c: Row<'_, T>, d: Row<'_, T>,
        e: Row<'_, T>, h: Row<'_, T>, j: Row<'_, T>, l: Row<'_, T>,
        n: usize, f: F,
    ) {
        // SAFETY: `n` elements may be read from each operand, and the rows of
        // the inputs hold as many, which are numbers where they are added to.
        unsafe {
            for i in 0..n {
                let products = f.products::<FMA, ONLY>(from_fn(|k| *from[k].add(i)), *g.add(i));
                macro_rules! write {
                    ($($k:literal $row:ident)*) => {$(
                        if $k < N && (ONLY == ALL || ONLY == $k) {
                            let to = $row.get_unchecked_mut(i);
                            to.write(if ADDS == 1 && $k > 0 { to.assume_init() + products[$k] } else { products[$k] });
                        }
                    )*};
                }
                write!(0 a 1 b 2 c 3 d 4 e 5 h 6 j 7 l);
            }
        }
    }
}
