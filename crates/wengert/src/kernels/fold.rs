//! How runs of elements are folded: in lanes, which become vectors, and in
//! halves, so that sums keep their digits.

use std::array::from_fn;

use crate::scalar::Scalar;

/// How elements are folded together.
pub(crate) trait Fold<T> {
    /// The result over no elements.
    const EMPTY: T;
    fn fold(a: T, b: T) -> T;
    /// `n` times the same element, `n > 0`.
    fn repeat(a: T, n: usize) -> T;
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
    fn repeat(a: T, n: usize) -> T {
        a * T::from_f64(n as f64)
    }
}

// A comparison with NaN is false, so both operands are asked: NaN stays.
impl<T: Scalar> Fold<T> for Max {
    const EMPTY: T = T::NEG_INFINITY;
    #[inline(always)]
    fn fold(a: T, b: T) -> T {
        if a > b || a.is_nan() { a } else { b }
    }
    fn repeat(a: T, _: usize) -> T {
        a
    }
}

/// The largest number, where NaN need not stay: one instruction instead of five.
pub(crate) struct Bound;

impl<T: Scalar> Fold<T> for Bound {
    const EMPTY: T = T::NEG_INFINITY;
    #[inline(always)]
    fn fold(a: T, b: T) -> T {
        if a > b { a } else { b }
    }
    fn repeat(a: T, _: usize) -> T {
        a
    }
}

impl<T: Scalar> Fold<T> for Min {
    const EMPTY: T = T::INFINITY;
    #[inline(always)]
    fn fold(a: T, b: T) -> T {
        if a < b || a.is_nan() { a } else { b }
    }
    fn repeat(a: T, _: usize) -> T {
        a
    }
}

/// How many elements are folded in lanes before halves are.
pub(crate) const BLOCK: usize = 1024;

/// Folds blocks in halves as they come, like a binary counter: pairwise
/// summation (Higham, SIAM J. Sci. Comput. 14, 1993), so that the rounding
/// error of a sum grows with the logarithm of its length.
pub(super) struct Halves<T, F> {
    /// Of `2^i` blocks each, where the bit `i` of `count` is set.
    parts: [T; usize::BITS as usize],
    count: usize,
    fold: std::marker::PhantomData<F>,
}

impl<T: Scalar, F: Fold<T>> Halves<T, F> {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Halves { parts: [F::EMPTY; usize::BITS as usize], count: 0, fold: std::marker::PhantomData }
    }

    #[inline(always)]
    pub(super) fn push(&mut self, mut block: T) {
        let full = self.count.trailing_ones() as usize;
        for part in &self.parts[..full] {
            block = F::fold(*part, block);
        }
        self.parts[full] = block;
        self.count += 1;
    }

    #[inline(always)]
    pub(super) fn finish(mut self) -> T {
        let mut sum = F::EMPTY;
        while self.count > 0 {
            sum = F::fold(self.parts[self.count.trailing_zeros() as usize], sum);
            self.count &= self.count - 1;
        }
        sum
    }
}

/// Folds a run.
#[inline(always)]
pub(crate) fn tree<T: Scalar, F: Fold<T>>(x: &[T]) -> T {
    tree_of::<T, F, 1>([x], |[x]| x)
}

/// Folds `f` of the elements of runs of one length: blocks in lanes, which
/// become vectors, and blocks in halves.
#[inline(always)]
pub(crate) fn tree_of<T: Scalar, F: Fold<T>, const N: usize>(x: [&[T]; N], f: impl Fn([T; N]) -> T) -> T {
    let [sum] = trees_of::<T, F, N, 1>(x, |x| [f(x)]);
    sum
}

/// [`tree_of`], of several functions at once.
#[inline(always)]
pub(crate) fn trees_of<T: Scalar, F: Fold<T>, const N: usize, const S: usize>(
    x: [&[T]; N],
    f: impl Fn([T; N]) -> [T; S],
) -> [T; S] {
    let len = x[0].len();
    if len <= BLOCK {
        return lanes::<T, F, N, S>(x, &f);
    }
    let mut halves: [_; S] = from_fn(|_| Halves::<T, F>::new());
    for at in (0..len).step_by(BLOCK) {
        let end = len.min(at + BLOCK);
        let block = lanes::<T, F, N, S>(x.map(|x| &x[at..end]), &f);
        halves.iter_mut().zip(block).for_each(|(halves, block)| halves.push(block));
    }
    halves.map(Halves::finish)
}

/// How many elements are folded at a time into as many sums: a vector or more
/// of any instruction set.
const LANES: usize = 16;

/// So many sums of each of `S` functions.
type Lanes<T, const S: usize> = [[T; LANES]; S];

/// Folds one block. `f` stands in several places: what is too long to be
/// inlined in all of them would be compiled for the baseline.
#[inline(always)]
fn lanes<T: Scalar, F: Fold<T>, const N: usize, const S: usize>(x: [&[T]; N], f: &impl Fn([T; N]) -> [T; S]) -> [T; S] {
    let len = x[0].len();
    // So that none is checked in the loops.
    let x = x.map(|x| &x[..len]);
    let mut at = 0;
    let mut narrow = [[F::EMPTY; LANES]; S];
    // Four or more which do not wait for each other, and have registers.
    if S == 1 && len >= 4 * LANES {
        let [mut a, mut b, mut c, mut d] = [narrow; 4];
        while at + 4 * LANES <= len {
            a = step::<T, F, N, S>(a, x, at, f);
            b = step::<T, F, N, S>(b, x, at + LANES, f);
            c = step::<T, F, N, S>(c, x, at + 2 * LANES, f);
            d = step::<T, F, N, S>(d, x, at + 3 * LANES, f);
            at += 4 * LANES;
        }
        narrow = both::<T, F, S>(both::<T, F, S>(a, b), both::<T, F, S>(c, d));
    } else if S > 1 && len >= 2 * LANES {
        let [mut a, mut b] = [narrow; 2];
        while at + 2 * LANES <= len {
            a = step::<T, F, N, S>(a, x, at, f);
            b = step::<T, F, N, S>(b, x, at + LANES, f);
            at += 2 * LANES;
        }
        narrow = both::<T, F, S>(a, b);
    }
    while at + LANES <= len {
        narrow = step::<T, F, N, S>(narrow, x, at, f);
        at += LANES;
    }
    if at < len {
        // In lanes of their own: the others then never leave their registers.
        let mut rest = [[F::EMPTY; LANES]; S];
        let x = x.map(|x| &x[at..]);
        for j in 0..len - at {
            let y = f(from_fn(|k| x[k][j]));
            for (lanes, y) in rest.iter_mut().zip(y) {
                lanes[j] = F::fold(lanes[j], y);
            }
        }
        // So few are folded before vectors have been halved.
        if len < LANES / 2 {
            return rest.map(|lanes| lanes[..len].iter().fold(F::EMPTY, |sum, &x| F::fold(sum, x)));
        }
        narrow = both::<T, F, S>(narrow, rest);
    }
    // The compiler shall see whole vectors go to memory here: from the halves
    // alone it would think in pairs, back through all of the loop. From there on
    // by value, since halves in memory would wait for each other's stores.
    std::hint::black_box(&mut narrow).map(|lanes| {
        let lanes: [T; LANES / 2] = from_fn(|j| F::fold(lanes[j], lanes[j + LANES / 2]));
        let lanes: [T; LANES / 4] = from_fn(|j| F::fold(lanes[j], lanes[j + LANES / 4]));
        F::fold(F::fold(lanes[0], lanes[2]), F::fold(lanes[1], lanes[3]))
    })
}

/// Folds the elements from `at` on, one into each lane. By value, and of a
/// length which the compiler knows: else lanes would be in memory, and every
/// step would wait for the one before it to get there.
#[inline(always)]
fn step<T: Scalar, F: Fold<T>, const N: usize, const S: usize>(
    mut lanes: Lanes<T, S>,
    x: [&[T]; N],
    at: usize,
    f: &impl Fn([T; N]) -> [T; S],
) -> Lanes<T, S> {
    let x = x.map(|x| &x[at..at + LANES]);
    for j in 0..LANES {
        let y = f(from_fn(|k| x[k][j]));
        for s in 0..S {
            lanes[s][j] = F::fold(lanes[s][j], y[s]);
        }
    }
    lanes
}

/// Folds lanes in pairs.
#[inline(always)]
fn both<T: Scalar, F: Fold<T>, const S: usize>(mut a: Lanes<T, S>, b: Lanes<T, S>) -> Lanes<T, S> {
    for s in 0..S {
        for j in 0..LANES {
            a[s][j] = F::fold(a[s][j], b[s][j]);
        }
    }
    a
}
