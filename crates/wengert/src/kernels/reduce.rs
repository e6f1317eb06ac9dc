//! Reductions over any set of axes.

use super::nest::Nest;
use super::{Out, Value};
use crate::scalar::Scalar;
use crate::shape::{Dims, Strides, contiguous_strides, reduced};

/// How elements are folded together.
pub(crate) trait Fold<T> {
    /// The result over no elements.
    const EMPTY: T;
    fn fold(a: T, b: T) -> T;
}

pub(crate) struct Sum;
pub(crate) struct Max;
pub(crate) struct Min;

impl<T: Scalar> Fold<T> for Sum {
    const EMPTY: T = T::ZERO;
    #[inline(always)]
    fn fold(a: T, b: T) -> T {
        a + b
    }
}

// A comparison with NaN is false, so both operands are asked: NaN stays.
impl<T: Scalar> Fold<T> for Max {
    const EMPTY: T = T::NEG_INFINITY;
    #[inline(always)]
    fn fold(a: T, b: T) -> T {
        if a > b || a.is_nan() { a } else { b }
    }
}

impl<T: Scalar> Fold<T> for Min {
    const EMPTY: T = T::INFINITY;
    #[inline(always)]
    fn fold(a: T, b: T) -> T {
        if a < b || a.is_nan() { a } else { b }
    }
}

/// Folds the axes of `mask` away.
///
/// Runs along reduced axes are folded in a fixed tree of sixteen lanes and
/// halves (pairwise summation: Higham, SIAM J. Sci. Comput. 14, 1993), so the
/// rounding error of a sum grows with the logarithm of its length.
///
/// # Safety
/// The contract of [`crate::kernels`]; `out` holds the kept axes.
pub(crate) unsafe fn reduce<T: Scalar, F: Fold<T>>(x: Value<'_, T>, mask: u64, out: Out<'_, T>) {
    let kept = reduced(x.layout.dims, mask, true);
    let mut to: Strides = contiguous_strides(&kept);
    for (i, stride) in to.iter_mut().enumerate() {
        if mask >> i & 1 == 1 {
            *stride = 0;
        }
    }
    let nest = Nest::new(x.layout.dims, [x.layout.strides, &to]);
    let (len, [step, to_step]) = nest.inner();
    // SAFETY: the nest visits positions of both layouts.
    unsafe {
        if !out.add {
            for i in 0..out.len {
                out.data.add(i).write(F::EMPTY);
            }
        }
        nest.for_each(|[from, to]| {
            let from = x.data.offset(from);
            let to = out.data.offset(to);
            match (to_step, step) {
                (0, 1) => *to = F::fold(*to, tree::<T, F>(std::slice::from_raw_parts(from, len))),
                (0, _) => {
                    let mut acc = F::EMPTY;
                    (0..len as isize).for_each(|i| acc = F::fold(acc, *from.offset(i * step)));
                    *to = F::fold(*to, acc);
                }
                _ => {
                    for i in 0..len as isize {
                        let to = to.offset(i * to_step);
                        *to = F::fold(*to, *from.offset(i * step));
                    }
                }
            }
        });
    }
}

/// Folds a run: blocks in sixteen lanes, blocks in halves.
pub(crate) fn tree<T: Scalar, F: Fold<T>>(x: &[T]) -> T {
    const LANES: usize = 16;
    if x.len() > 1024 {
        let (a, b) = x.split_at((x.len() / 2).next_multiple_of(LANES));
        return F::fold(tree::<T, F>(a), tree::<T, F>(b));
    }
    let mut lanes = [F::EMPTY; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        (0..LANES).for_each(|i| lanes[i] = F::fold(lanes[i], chunk[i]));
    }
    rest.iter().enumerate().for_each(|(i, &v)| lanes[i] = F::fold(lanes[i], v));
    let mut n = LANES;
    while n > 1 {
        n /= 2;
        (0..n).for_each(|i| lanes[i] = F::fold(lanes[i], lanes[i + n]));
    }
    lanes[0]
}

/// `ln Σ e^x` over the axes of `mask`, shifted by the largest element.
///
/// # Safety
/// The contract of [`crate::kernels`]; `out` holds the kept axes.
pub(crate) unsafe fn log_sum_exp<T: Scalar>(x: Value<'_, T>, mask: u64, out: Out<'_, T>) {
    let pick = |reduced: bool| -> (Dims, Strides) {
        let axes = x.layout.dims.iter().zip(x.layout.strides).enumerate();
        axes.filter(|(i, _)| (mask >> i & 1 == 1) == reduced).map(|(_, (&d, &s))| (d, s)).unzip()
    };
    let (dims, strides) = pick(true);
    let line = Nest::new(&dims, [&strides]);
    let (len, [step]) = line.inner();
    let fold = |from: *const T, init: T, f: &dyn Fn(T, T) -> T| {
        let mut acc = init;
        line.for_each(|[offset]| {
            // SAFETY: the nest visits positions of the layout.
            (0..len as isize).for_each(|i| acc = f(acc, unsafe { *from.offset(offset + i * step) }));
        });
        acc
    };
    let (dims, strides) = pick(false);
    let kept = Nest::new(&dims, [&strides]);
    let (n, [step]) = kept.inner();
    let mut to = out.data;
    kept.for_each(|[offset]| {
        for i in 0..n as isize {
            // SAFETY: the nest visits positions of the layout; the output
            // holds one element for each.
            unsafe {
                // Not read where nothing is folded: then it may lie anywhere.
                let from = x.data.wrapping_offset(offset + i * step);
                let max = fold(from, T::NEG_INFINITY, &<Max as Fold<T>>::fold);
                // An infinite maximum is the result, not a shift.
                let shift = if max.is_finite() { max } else { T::ZERO };
                let sum = fold(from, T::ZERO, &|a, x| a + (x - shift).exp());
                to.write(sum.ln() + shift);
                to = to.add(1);
            }
        }
    });
}
