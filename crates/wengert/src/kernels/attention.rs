//! Attention, a block of queries at a time: scores and weights of a block stay
//! in the nearest caches, and derivatives compute them anew (Dao et al.,
//! arXiv:2205.14135). A block meets all of its keys at once, so its weights are
//! those of a plain softmax.

use std::mem::MaybeUninit;

use super::fold::Sum;
use super::gemm::split::Product;
use super::gemm::{Mat, Skip};
use super::nest::Nest;
use super::reduce::begin;
use super::softmax::{Scores, softmax_scores, softmax_scores_grad};
use super::{Machine, Out, Value};
use crate::scalar::Scalar;

/// A block has so many queries at most, and so many scores unless it has few.
const ROWS: usize = 64;
const SCORES: usize = 1 << 15;
const FEW_ROWS: usize = 16;

/// What attention computes `softmax(q kᵀ scale) v` of: queries `[.., l, e]`,
/// keys `[.., s, e]` and values `[.., s, f]`, with the same axes before.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a, T> {
    pub(crate) qkv: [Value<'a, T>; 3],
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

impl Sizes {
    fn rows(self) -> usize {
        (SCORES / self.keys.max(1)).clamp(FEW_ROWS, ROWS)
    }

    /// Blocks of queries, with the keys which any of them looks at.
    fn blocks(self) -> impl DoubleEndedIterator<Item = Scores> {
        let step = self.rows();
        (0..self.queries.div_ceil(step)).map(move |block| {
            let first = block * step;
            let rows = step.min(self.queries - first);
            let keys = if self.causal { self.keys.min(first + rows) } else { self.keys };
            Scores { first, rows, keys, width: Scores::width(keys), causal: self.causal }
        })
    }

    /// How many scores a block has at most.
    fn room(self) -> usize {
        self.rows().min(self.queries) * Scores::width(self.keys)
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

/// Calls `f` with the matrices of every head, and its number.
fn for_each_head<T: Scalar, const N: usize>(x: [Value<'_, T>; N], mut f: impl FnMut(usize, [Mat<T>; N])) {
    let batch = x[0].layout.rank() - 2;
    let nest = Nest::<N>::new(&x[0].layout.dims[..batch], std::array::from_fn(|i| &x[i].layout.strides[..batch]));
    let (count, steps) = nest.inner();
    let mut head = 0;
    nest.for_each(|offsets| {
        for i in 0..count as isize {
            f(head, std::array::from_fn(|j| first_matrix(x[j]).at(offsets[j] + i * steps[j])));
            head += 1;
        }
    });
}

fn first_matrix<T: Scalar>(x: Value<'_, T>) -> Mat<T> {
    let [rs, cs] = last(x.layout.strides);
    Mat { data: x.data, rs, cs }
}

/// A matrix without gaps between its columns.
fn rows<T>(data: *const T, rs: usize) -> Mat<T> {
    Mat { data, rs: rs as isize, cs: 1 }
}

/// A product to be written to rows of C, or added to them.
fn product<T: Scalar>(
    m: &Machine<T>,
    shape: [usize; 3],
    [a, b]: [Mat<T>; 2],
    c: *mut T,
    rsc: usize,
    add: bool,
    skip: Skip,
) -> Product<T> {
    let start = add.then(|| rows(c, rsc));
    Product { backend: m.gemm.get(), isa: m.isa, shape, a, b, c, rsc: rsc as isize, start, skip }
}

impl Scores {
    fn skip(self, of: fn(isize) -> Skip) -> Skip {
        if self.causal { of(self.first as isize) } else { Skip::Nothing }
    }
}

/// The scores of a block, before their factor.
fn scores<T: Scalar>(m: &Machine<T>, block: Scores, e: usize, [q, k]: [Mat<T>; 2], to: *mut T) -> Product<T> {
    let ab = [q.from(block.first, 0), k.transposed()];
    product(m, [block.rows, block.keys, e], ab, to, block.width, false, block.skip(Skip::AboveC))
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
    let products = |block: Scores, [q, k, v]: [Mat<T>; 3], weights: *mut T, head: usize| {
        let c = out.data.wrapping_add((head * queries + block.first) * f);
        [
            scores(m, block, e, [q, k], weights),
            product(
                m,
                [block.rows, f, block.keys],
                [rows(weights, block.width), v],
                c,
                f,
                out.add,
                block.skip(Skip::AboveA),
            ),
        ]
    };
    let (room, any) = (sizes.room(), std::ptr::null_mut());
    let scratch = most_scratch(sizes.blocks().map(|block| products(block, qkv.map(first_matrix), any, 0)));
    m.with_scratch(room + scratch, |scratch| {
        let (weights, scratch) = scratch.split_at_mut(room);
        weights.fill(MaybeUninit::new(T::ZERO));
        let weights = weights.as_mut_ptr().cast();
        for_each_head(qkv, |head, qkv| {
            for block in sizes.blocks() {
                let [scores, sum] = products(block, qkv, weights, head);
                // SAFETY: the caller's contract; scratch has room for a block.
                unsafe {
                    scores.run(scratch);
                    softmax_scores(m.isa, weights, block, scale);
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
    let wanted = to.map(|out| out.is_some());
    let [to_q, to_k, to_v] = to.map(|out| out.map_or((std::ptr::null_mut(), false), |out| (out.data, out.add)));
    let products = |block: Scores, [q, k, v, g]: [Mat<T>; 4], [weights, d]: [*mut T; 2], head: usize| {
        let Scores { first, rows: n, keys: seen, width, .. } = block;
        let [q_block, g_block] = [q, g].map(|x| x.from(first, 0));
        let [weights_block, d_block] = [weights, d].map(|x| rows(x, width));
        // The last block is the first to be computed, and meets as many keys as any.
        let adds = first + n < queries;
        let to_query = |ab, columns| {
            let c = to_q.0.wrapping_add((head * queries + first) * columns);
            product(m, [n, columns, seen], ab, c, columns, to_q.1, block.skip(Skip::AboveA))
        };
        let to_keys = |ab, columns, (data, add): (*mut T, bool)| {
            let c = data.wrapping_add(head * keys * columns);
            product(m, [seen, columns, n], ab, c, columns, add || adds, block.skip(Skip::BelowA))
        };
        [
            scores(m, block, e, [q, k], weights),
            to_keys([weights_block.transposed(), g_block], f, to_v),
            product(m, [n, seen, f], [g_block, v.transposed()], d, width, false, block.skip(Skip::AboveC)),
            to_query([d_block, k], e),
            to_keys([d_block.transposed(), q_block], e, to_k),
        ]
    };
    let (inputs, room, any) = ([q, k, v, g], sizes.room(), std::ptr::null_mut());
    let all = sizes.blocks().map(|block| products(block, inputs.map(first_matrix), [any; 2], 0));
    m.with_scratch(2 * room + most_scratch(all), |scratch| {
        let (blocks, scratch) = scratch.split_at_mut(2 * room);
        blocks.fill(MaybeUninit::new(T::ZERO));
        let weights: *mut T = blocks.as_mut_ptr().cast();
        let d = weights.wrapping_add(room);
        for_each_head(inputs, |head, inputs| {
            for block in sizes.blocks().rev() {
                let [scores, to_v, to_weights, to_q, to_k] = products(block, inputs, [weights, d], head);
                // SAFETY: the caller's contract; scratch has room for two blocks.
                unsafe {
                    scores.run(scratch);
                    softmax_scores(m.isa, weights, block, scale);
                    if wanted[2] {
                        to_v.run(scratch);
                    }
                    if wanted[0] || wanted[1] {
                        to_weights.run(scratch);
                        softmax_scores_grad(m.isa, d, weights, block, scale);
                    }
                    if wanted[0] {
                        to_q.run(scratch);
                    }
                    if wanted[1] {
                        to_k.run(scratch);
                    }
                }
            }
            // What no query looks at.
            let seen = sizes.blocks().next_back().map_or(0, |block| block.keys);
            for (wanted, (data, add), columns) in [(wanted[1], to_k, e), (wanted[2], to_v, f)] {
                if wanted && !add {
                    let [from, to] = [seen, keys].map(|key| (head * keys + key) * columns);
                    // SAFETY: the output has so many elements.
                    (from..to).for_each(|i| unsafe { data.add(i).write(T::ZERO) });
                }
            }
        });
    });
}
