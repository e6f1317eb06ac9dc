//! Attention, a block of queries at a time: scores and weights of a block stay
//! in the nearest caches, and derivatives compute them anew (Dao et al.,
//! arXiv:2205.14135). A block meets all of its keys at once, so its weights are
//! those of a plain softmax.
//!
//! Scores are kept by rows of keys and columns of queries: vectors lie across
//! queries, so that sums over keys are sums of vectors.

use std::array::from_fn;
use std::mem::MaybeUninit;

use super::fold::Sum;
use super::gemm::split::Product;
use super::gemm::{Mat, Skip};
use super::isa::dispatched;
use super::nest::Nest;
use super::reduce::begin;
use super::{Machine, Out, Value};
use crate::real::exp;
use crate::scalar::Scalar;

/// A block has so many queries at most, and so many scores unless it has few
/// queries.
const QUERIES: usize = 64;
const SCORES: usize = 1 << 15;
const FEW_QUERIES: usize = 2 * LANES;

/// The queries which are looked at together: a vector or more of any instruction
/// set.
const LANES: usize = 16;

/// Up to so many elements of each matrix of the next head are asked for.
const NEXT: usize = 1 << 12;

/// So many terms are summed one by one; their sums are, again.
const TERMS: usize = 64;

/// What attention computes `softmax(q kᵀ scale) v` of: queries `[.., l, e]`,
/// keys `[.., s, e]` and values `[.., s, f]`, with the same axes before.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a, T> {
    pub(crate) qkv: [Value<'a, T>; 3],
    /// More than 0.
    pub(crate) scale: T,
    /// Query `i` looks at keys up to `i`.
    pub(crate) causal: bool,
}

/// The sizes of a head.
#[derive(Clone, Copy)]
struct Sizes {
    queries: usize,
    keys: usize,
    /// Features of queries and keys, and of values.
    e: usize,
    f: usize,
    causal: bool,
}

/// A block of queries, and the keys which any of them looks at: the first ones.
#[derive(Clone, Copy)]
struct Block {
    first: usize,
    queries: usize,
    keys: usize,
    causal: bool,
}

impl Sizes {
    fn block(self) -> usize {
        (SCORES / self.keys.max(1) / LANES * LANES).clamp(FEW_QUERIES, QUERIES)
    }

    fn blocks(self) -> impl DoubleEndedIterator<Item = Block> {
        let most = self.block();
        (0..self.queries.div_ceil(most)).map(move |block| {
            let first = block * most;
            let queries = most.min(self.queries - first);
            let keys = if self.causal { self.keys.min(first + queries) } else { self.keys };
            Block { first, queries, keys, causal: self.causal }
        })
    }

    /// How many scores a block has at most.
    fn room(self) -> usize {
        self.keys * self.block().min(self.queries).next_multiple_of(LANES)
    }
}

impl<T: Scalar> Inputs<'_, T> {
    fn sizes(&self) -> Sizes {
        let [[queries, e], [keys, _], [_, f]] = self.qkv.map(|x| last(x.layout.dims));
        Sizes { queries, keys, e, f, causal: self.causal }
    }
}

/// The last two of a list.
fn last<X: Copy>(list: &[X]) -> [X; 2] {
    let [.., a, b] = list else { unreachable!("matrices have two axes") };
    [*a, *b]
}

/// Scores of a block at `x`, or their cotangents.
#[derive(Clone, Copy)]
struct Scores<T> {
    x: *mut T,
    block: Block,
}

impl Block {
    /// From one key's scores to the next key's.
    fn width(self) -> usize {
        self.queries.next_multiple_of(LANES)
    }

    fn skip(self, what: fn(isize) -> Skip) -> Skip {
        if self.causal { what(self.first as isize) } else { Skip::Nothing }
    }

    /// How many keys any of the queries from `query` on looks at.
    #[inline(always)]
    fn seen(self, query: usize) -> usize {
        if self.causal { self.keys.min(self.first + query + LANES) } else { self.keys }
    }
}

impl<T: Scalar> Scores<T> {
    /// As a matrix with a row for each key.
    fn by_key(self) -> Mat<T> {
        Mat::rows(self.x, self.block.width())
    }

    /// Those of [`LANES`] queries with a key.
    ///
    /// # Safety
    /// They are there, and nobody else has them.
    #[inline(always)]
    unsafe fn lanes<'a>(self, key: usize, query: usize) -> &'a mut [T; LANES] {
        // SAFETY: the caller's contract.
        unsafe { &mut *self.x.add(key * self.block.width() + query).cast() }
    }

    /// Fills the scores of [`LANES`] queries with those keys which not all of
    /// them look at, where they do not.
    ///
    /// # Safety
    /// As for [`Scores::lanes`].
    #[inline(always)]
    unsafe fn fill_unseen(self, query: usize, with: T) {
        if self.block.causal {
            let all = self.block.first + query;
            for key in all + 1..self.block.seen(query) {
                // SAFETY: the caller's contract.
                unsafe { self.lanes(key, query)[..key - all].fill(with) }
            }
        }
    }

    /// Writes 0 for keys which none of [`LANES`] queries looks at.
    ///
    /// # Safety
    /// As for [`Scores::lanes`].
    #[inline(always)]
    unsafe fn clear_unseen(self, query: usize) {
        for key in self.block.seen(query)..self.block.keys {
            // SAFETY: the caller's contract.
            unsafe { *self.lanes(key, query) = [T::ZERO; LANES] }
        }
    }
}

/// Sums by lanes `f` of every term, which are done one after the other.
#[inline(always)]
fn sum_lanes<T: Scalar>(terms: usize, mut f: impl FnMut(usize) -> [T; LANES]) -> [T; LANES] {
    let mut sum = [T::ZERO; LANES];
    for from in (0..terms).step_by(TERMS) {
        let mut part = [T::ZERO; LANES];
        for term in from..terms.min(from + TERMS) {
            let term = f(term);
            for l in 0..LANES {
                part[l] += term[l];
            }
        }
        for l in 0..LANES {
            sum[l] += part[l];
        }
    }
    sum
}

dispatched! {
    /// Softmax of scores by a factor over keys, in place.
    unsafe fn softmax<T: Scalar>(scores: Scores<T>, factor: T) {
        for query in (0..scores.block.queries).step_by(LANES) {
            let seen = scores.block.seen(query);
            // SAFETY: the caller's scores, which are there in whole vectors.
            unsafe {
                scores.fill_unseen(query, T::NEG_INFINITY);
                let mut max = [T::NEG_INFINITY; LANES];
                for key in 0..seen {
                    let x = *scores.lanes(key, query);
                    for l in 0..LANES {
                        let x = x[l] * factor;
                        max[l] = if max[l] > x { max[l] } else { x };
                    }
                }
                if scores.block.causal {
                    max = max.map(|max| if max == T::NEG_INFINITY { T::ZERO } else { max });
                }
                let sum = sum_lanes(seen, |key| {
                    let e = scores.lanes(key, query);
                    for l in 0..LANES {
                        e[l] = exp::<T, FMA>(e[l] * factor - max[l]);
                    }
                    *e
                });
                let by = sum.map(|sum| if scores.block.causal && sum == T::ZERO { T::ZERO } else { T::ONE / sum });
                for key in 0..seen {
                    let e = scores.lanes(key, query);
                    for l in 0..LANES {
                        e[l] *= by[l];
                    }
                }
                scores.fill_unseen(query, T::ZERO);
                scores.clear_unseen(query);
            }
        }
    }
}

dispatched! {
    /// The derivative of [`softmax`], whose result are `weights`, in the place of
    /// the cotangents.
    unsafe fn softmax_grad<T: Scalar>(cotangents: Scores<T>, weights: Scores<T>, factor: T) {
        for query in (0..weights.block.queries).step_by(LANES) {
            let seen = weights.block.seen(query);
            // SAFETY: the caller's scores, which are there in whole vectors.
            unsafe {
                cotangents.fill_unseen(query, T::ZERO);
                let dot = sum_lanes(seen, |key| {
                    let (g, y) = (*cotangents.lanes(key, query), *weights.lanes(key, query));
                    from_fn(|l| g[l] * y[l])
                });
                for key in 0..seen {
                    let (g, y) = (cotangents.lanes(key, query), *weights.lanes(key, query));
                    for l in 0..LANES {
                        g[l] = y[l] * (g[l] - dot[l]) * factor;
                    }
                }
                cotangents.clear_unseen(query);
            }
        }
    }
}

/// Calls `f` with the matrices of every head, and its number. Those of the next
/// are asked for meanwhile: their rows may be far apart.
fn for_each_head<T: Scalar, const N: usize>(x: [Value<'_, T>; N], mut f: impl FnMut(usize, [Mat<T>; N])) {
    let batch = x[0].layout.rank() - 2;
    let nest = Nest::<N>::new(&x[0].layout.dims[..batch], from_fn(|i| &x[i].layout.strides[..batch]));
    let (count, steps) = nest.inner();
    let (mut head, mut known) = (0, None);
    nest.for_each(|offsets| {
        for i in 0..count as isize {
            let next: [Mat<T>; N] = from_fn(|j| first_matrix(x[j]).at(offsets[j] + i * steps[j]));
            for (next, x) in next.iter().zip(&x) {
                let [rows, columns] = last(x.layout.dims);
                if next.cs == 1 && rows * columns <= NEXT {
                    next.ask(rows, columns);
                }
            }
            if let Some(matrices) = known.replace(next) {
                f(head, matrices);
                head += 1;
            }
        }
    });
    if let Some(matrices) = known {
        f(head, matrices);
    }
}

fn first_matrix<T: Scalar>(x: Value<'_, T>) -> Mat<T> {
    let [rs, cs] = last(x.layout.strides);
    Mat { data: x.data, rs, cs }
}

impl<T: Scalar> Scores<T> {
    /// The products of keys and queries, or of values and cotangents, which have
    /// so many features.
    fn of(self, m: &Machine<T>, features: usize, keys: Mat<T>, queries: Mat<T>) -> Product<T> {
        let Block { first, queries: n, keys: seen, .. } = self.block;
        let ab = [keys, queries.from(first, 0).transposed()];
        let product = Product::new(m, [seen, n, features], ab, self.x, self.block.width(), false);
        Product { skip: self.block.skip(Skip::BelowC), ..product }
    }

    /// For every query the sum of what belongs to keys, by these weights.
    fn to_queries(self, m: &Machine<T>, columns: usize, keys: Mat<T>, (out, add): (*mut T, bool)) -> Product<T> {
        let Block { first, queries: n, keys: seen, .. } = self.block;
        let (ab, c) = ([self.by_key().transposed(), keys], out.wrapping_add(first * columns));
        let product = Product::new(m, [n, columns, seen], ab, c, columns, add);
        Product { skip: self.block.skip(Skip::AboveA), ..product }
    }

    /// For every key the sum of what belongs to queries.
    fn to_keys(self, m: &Machine<T>, columns: usize, queries: Mat<T>, (out, add): (*mut T, bool)) -> Product<T> {
        let Block { first, queries: n, keys: seen, .. } = self.block;
        let ab = [self.by_key(), queries.from(first, 0)];
        let product = Product::new(m, [seen, columns, n], ab, out, columns, add);
        Product { skip: self.block.skip(Skip::BelowA), ..product }
    }
}

fn most_scratch<T: Scalar, const N: usize>(products: impl Iterator<Item = [Product<T>; N]>) -> usize {
    products.flatten().map(|product| product.scratch_len()).max().unwrap_or(0)
}

/// Attention.
///
/// # Safety
/// The contract of [`crate::kernels`].
pub(crate) unsafe fn attention<T: Scalar>(m: &Machine<T>, inputs: Inputs<'_, T>, out: Out<'_, T>) {
    let (Inputs { qkv, scale, .. }, sizes) = (inputs, inputs.sizes());
    let Sizes { queries, e, f, .. } = sizes;
    let products = |weights: Scores<T>, [q, k, v]: [Mat<T>; 3], head: usize| {
        let to = (out.data.wrapping_add(head * queries * f), out.add);
        [weights.of(m, e, k, q), weights.to_queries(m, f, v, to)]
    };
    let (matrices, x) = (qkv.map(first_matrix), std::ptr::null_mut());
    let scratch = most_scratch(sizes.blocks().map(|block| products(Scores { x, block }, matrices, 0)));
    m.with_scratch(sizes.room() + scratch, |scratch| {
        let (weights, scratch) = scratch.split_at_mut(sizes.room());
        // Lanes are read whole, also where products leave some out.
        weights.fill(MaybeUninit::new(T::ZERO));
        let x = weights.as_mut_ptr().cast();
        for_each_head(qkv, |head, qkv| {
            for block in sizes.blocks() {
                let weights = Scores { x, block };
                let [scores, sum] = products(weights, qkv, head);
                // SAFETY: the caller's contract; scratch has room for a block.
                unsafe {
                    scores.run(scratch);
                    softmax(m.isa, weights, scale);
                    sum.run(scratch);
                }
            }
        });
    });
}

/// The cotangent `g` of attention taken to queries, keys and values, to those
/// which have an output.
///
/// # Safety
/// The contract of [`crate::kernels`]; outputs may be the same memory.
pub(crate) unsafe fn attention_grad<T: Scalar>(
    m: &Machine<T>,
    inputs: Inputs<'_, T>,
    g: Value<'_, T>,
    mut to: [Option<Out<'_, T>>; 3],
) {
    let (Inputs { qkv: [q, k, v], scale, .. }, sizes) = (inputs, inputs.sizes());
    let Sizes { queries, keys, e, f, .. } = sizes;
    let all = to.map(|out| out.map(|out| out.data));
    for out in to.iter_mut().flatten() {
        if all.iter().filter(|&&data| data == Some(out.data)).count() > 1 {
            // Blocks write to them by turns: all have to add.
            // SAFETY: the caller's contract.
            unsafe { begin::<T, Sum>(out) };
            out.add = true;
        }
    }
    let [wants_q, wants_k, wants_v] = to.map(|out| out.is_some());
    let [to_q, to_k, to_v] = to.map(|out| out.map_or((std::ptr::null_mut(), false), |out| (out.data, out.add)));
    let products = |weights: Scores<T>, d: Scores<T>, [q, k, v, g]: [Mat<T>; 4], head: usize| {
        let Block { first, queries: n, .. } = weights.block;
        // The last block is the first to be computed, and meets as many keys as any.
        let adds = first + n < queries;
        let of_query = |(data, add): (*mut T, bool), columns| (data.wrapping_add(head * queries * columns), add);
        let of_key = |(data, add): (*mut T, bool), columns| (data.wrapping_add(head * keys * columns), add || adds);
        [
            weights.of(m, e, k, q),
            weights.to_keys(m, f, g, of_key(to_v, f)),
            d.of(m, f, v, g),
            d.to_queries(m, e, k, of_query(to_q, e)),
            d.to_keys(m, e, q, of_key(to_k, e)),
        ]
    };
    let (inputs, room) = ([q, k, v, g], sizes.room());
    let matrices = inputs.map(first_matrix);
    let scratch = most_scratch(sizes.blocks().map(|block| {
        let none = Scores { x: std::ptr::null_mut(), block };
        products(none, none, matrices, 0)
    }));
    m.with_scratch(2 * room + scratch, |scratch| {
        let (blocks, scratch) = scratch.split_at_mut(2 * room);
        // As in `attention`.
        blocks.fill(MaybeUninit::new(T::ZERO));
        let x: *mut T = blocks.as_mut_ptr().cast();
        for_each_head(inputs, |head, inputs| {
            for block in sizes.blocks().rev() {
                let (weights, d) = (Scores { x, block }, Scores { x: x.wrapping_add(room), block });
                let [scores, to_v, to_weights, to_q, to_k] = products(weights, d, inputs, head);
                // SAFETY: the caller's contract; scratch has room for two blocks.
                unsafe {
                    scores.run(scratch);
                    softmax(m.isa, weights, scale);
                    if wants_v {
                        to_v.run(scratch);
                    }
                    if wants_q || wants_k {
                        to_weights.run(scratch);
                        softmax_grad(m.isa, d, weights, scale);
                    }
                    if wants_q {
                        to_q.run(scratch);
                    }
                    if wants_k {
                        to_k.run(scratch);
                    }
                }
            }
            // What no query looks at.
            let seen = sizes.blocks().next_back().map_or(0, |block| block.keys);
            for (wanted, (data, add), columns) in [(wants_k, to_k, e), (wants_v, to_v, f)] {
                if wanted && !add {
                    let [from, to] = [seen, keys].map(|key| (head * keys + key) * columns);
                    // SAFETY: the output has so many elements.
                    (from..to).for_each(|i| unsafe { data.add(i).write(T::ZERO) });
                }
            }
        });
    });
}
