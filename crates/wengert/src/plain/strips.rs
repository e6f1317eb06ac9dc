//! Runs of ops by rows, swept a strip of rows at a time.
//!
//! The adjoint of a large tensor goes to memory between one rule and the next,
//! and comes back. Where rules in a row take every row for itself, they are run
//! for some rows, then for the next ones: adjoints stay in the second-level
//! cache, and a strip of each is all there ever is. The rules know nothing of
//! it, they see tensors of fewer rows.

use super::Plain;
use crate::entries::Entry;
use crate::kernels::Value;
use crate::ops::{Id, Values};
use crate::scalar::Scalar;
use crate::shape::{Dims, Layout};

/// Tensors of fewer bytes than this stay in the second-level cache whole.
const LARGE: usize = (1 << 20) / SMALLER;
/// The bytes of a strip, of which a rule works with three or four.
const STRIP: usize = (1 << 17) / SMALLER;
/// Miri would take hours for large tensors.
const SMALLER: usize = if cfg!(miri) { 1 << 10 } else { 1 };
/// Strips are of so many rows, or of a multiple: sums over rows are made of
/// sums over so many (and rounded as often as those of a normalisation).
const ROWS: usize = 64;
/// So many entries are looked at for a run.
const SPAN: usize = 64;

/// The rows which a sweep is at, of the entries of a run.
#[derive(Default)]
pub(super) struct Strip {
    /// The axes of the tensors which are cut, and the length of their first.
    rank: usize,
    rows: usize,
    /// The rows of the strip.
    first: usize,
    count: usize,
    /// The first entry of the run and the last, whose adjoint is whole.
    low: usize,
    top: usize,
}

/// A tensor below a run, to whose rows the run contributes.
pub(super) struct Below {
    x: Id,
    /// Something was there before the run.
    before: bool,
    /// The first row of the strip which has contributed last.
    last: usize,
}

impl Strip {
    /// Whether a tensor of this shape is cut.
    fn cuts(&self, dims: &[usize]) -> bool {
        dims.len() == self.rank && dims[0] == self.rows
    }
}

impl<'a, T: Scalar, const STRIPS: bool> Plain<'a, T, STRIPS> {
    /// What the rules see of a value.
    #[inline(always)]
    pub(super) fn seen<'v>(&self, value: Value<'v, T>) -> Value<'v, T>
    where
        'a: 'v,
    {
        if STRIPS && self.strip.cuts(value.layout.dims) { self.strip_of(value) } else { value }
    }

    fn strip_of<'v>(&self, value: Value<'v, T>) -> Value<'v, T>
    where
        'a: 'v,
    {
        let Layout { dims, strides, contiguous, .. } = *value.layout;
        let (layouts, mut cut) = (self.tape.layouts(), Dims::from_slice(dims));
        cut[0] = self.strip.count;
        let layout = if contiguous { layouts.contiguous(&cut) } else { layouts.strided(&cut, strides) };
        // SAFETY: the tensor has these rows.
        Value { data: unsafe { value.data.offset(self.strip.first as isize * strides[0]) }, layout }
    }

    /// The layout which the rules see of an entry.
    #[inline(always)]
    pub(super) fn layout(&self, x: Id) -> &'a Layout<'a> {
        self.seen(self.tape.value(x)).layout
    }

    /// Whether an adjoint is whole beside others which are strips.
    #[inline(always)]
    pub(super) fn is_whole(&self, g: Id) -> bool {
        STRIPS && g == Id::adjoint(self.strip.top)
    }

    /// Whether the adjoint of an entry is whole, as it outlasts the run.
    #[inline(always)]
    pub(super) fn is_below(&self, x: Id) -> bool {
        STRIPS && (x.index() < self.strip.low || self.tape.entry(x).is_leaf())
    }

    /// The rows of an adjoint below the run, and whether to add to them.
    #[inline(always)]
    pub(super) fn rows_of(&mut self, x: Id, data: *mut T, add: bool) -> (*mut T, bool) {
        if STRIPS && self.is_below(x) { self.rows_below(x, data, add) } else { (data, add) }
    }

    fn rows_below(&mut self, x: Id, data: *mut T, add: bool) -> (*mut T, bool) {
        let Layout { dims, len, .. } = *self.tape.value(x).layout;
        let Strip { rows, first, .. } = self.strip;
        if !self.strip.cuts(dims) {
            return (data, add);
        }
        let below = &mut self.sweep.below;
        let add = match below.iter_mut().find(|known| known.x == x) {
            Some(known) => known.before | (std::mem::replace(&mut known.last, first) == first),
            None => {
                below.push(Below { x, before: add, last: first });
                add
            }
        };
        // SAFETY: an adjoint, or a gradient, has as many elements as its entry,
        // without gaps.
        (unsafe { data.add(len / rows * first) }, add)
    }
}

impl<T: Scalar> Plain<'_, T> {
    /// Whether there may be a run of ops by rows which ends with this entry.
    #[inline(always)]
    pub(super) fn may_run_by_rows(&self, entry: &Entry<T>) -> bool {
        !entry.single && self.tape.layout(entry).len * size_of::<T>() >= LARGE
    }

    /// Sweeps the run of ops by rows which ends with an entry, if there is one,
    /// and gives its first entry.
    #[inline(never)]
    pub(super) fn run_by_rows(&mut self, top: Id) -> Option<usize> {
        let tape = self.tape;
        let layout = tape.layout(&tape.entry(top));
        let (rank, rows) = (layout.rank(), layout.dims[0]);
        let bytes = layout.len / rows * size_of::<T>();
        let step = (STRIP / bytes).next_multiple_of(ROWS).max(ROWS);
        if rows < 2 * step {
            return None;
        }
        let mut strip = Strip { rank, rows, top: top.index(), ..Strip::default() };
        let low = self.first_of_run(&strip)?;
        strip.low = low;

        self.sweep.below.clear();
        let mut plain = Plain::<T, true> { tape, sweep: self.sweep, grads: self.grads, store: self.store, strip };
        for first in (0..rows).step_by(step) {
            (plain.strip.first, plain.strip.count) = (first, step.min(rows - first));
            plain.sweep_strip();
        }
        self.sweep.pending -= 1;
        let adjoint = self.held(Id::adjoint(top.index()));
        self.sweep.pool.release(adjoint);
        Some(low)
    }

    /// The first entry of the run which ends with the strip's, if it has more.
    fn first_of_run(&self, strip: &Strip) -> Option<usize> {
        let tape = self.tape;
        // Operands are broadcast to the result: they have all rows, or are the
        // same for all of them.
        let joins = |entry: &Entry<T>| {
            strip.cuts(tape.layout(entry).dims) && entry.op.is_by_rows(strip.rank) && !entry.retained
        };
        let mut low = strip.top;
        if !joins(&tape.entry(Id::entry(low))) {
            return None;
        }
        for index in (0..low).rev().take(SPAN) {
            let id = Id::entry(index);
            let entry = tape.entry(id);
            if entry.is_leaf() || !entry.tracked {
                continue;
            }
            if self.is_pending(id) || !joins(&entry) {
                break;
            }
            low = index;
        }
        (low < strip.top).then_some(low)
    }
}

impl<T: Scalar> Plain<'_, T, true> {
    /// Runs the rules of a run for one strip.
    fn sweep_strip(&mut self) {
        for index in (self.strip.low..=self.strip.top).rev() {
            let (y, g) = (Id::entry(index), Id::adjoint(index));
            let entry = self.tape.entry(y);
            if entry.is_leaf() || !self.is_pending(y) {
                continue;
            }
            entry.op.rule_by_rows(self, y, g);
            self.release_temporaries();
            if !self.is_whole(g) {
                let adjoint = self.sweep.adjoints[index].take();
                self.sweep.pool.release(adjoint);
                self.sweep.pending -= 1;
            }
        }
    }
}
