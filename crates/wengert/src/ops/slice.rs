//! Parts of a tensor along its axes: slices, selections, flips, splits.

use std::ops::{Bound, RangeBounds};

use smallvec::SmallVec;

use super::part::{Map, Placing, Step, place, straight};
use super::{Emit, Id, Inferred, List, Op, Ref, Values};
use crate::kernels::{Machine, Out};
use crate::scalar::Scalar;
use crate::shape::{self, Dims};
use crate::tensor::Tensor;

/// A view of a part of `x`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slice {
    pub(super) x: Id,
    pub(super) map: Ref<Map>,
}

/// The adjoint of [`Slice`]: zeros of the shape of the whole, with `g` added
/// in its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unslice {
    g: Id,
    map: Ref<Map>,
}

impl Slice {
    pub(crate) fn name(&self) -> &'static str {
        "slice"
    }

    pub(crate) fn operands(&self) -> [Id; 1] {
        [self.x]
    }

    #[track_caller]
    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        // SAFETY: a map of an op of this tape.
        let map = unsafe { self.map.get() };
        let (offset, strides) = map.of(v.value(self.x).layout.strides);
        Inferred::View { of: self.x, offset, layout: v.layouts().strided(map.part(), &strides) }
    }

    pub(crate) unsafe fn run<T: Scalar>(&self, _: &impl Values<T>, _: Out<'_, T>, _: &Machine<T>) {
        unreachable!("a view has the memory of its operand")
    }

    pub(crate) fn rule<E: Emit>(self, e: &mut E, _: Id, g: Id) {
        e.give(self.x, Op::Unslice(Unslice { g, map: self.map }));
    }
}

impl Unslice {
    pub(crate) fn name(&self) -> &'static str {
        "unslice"
    }

    pub(crate) fn operands(&self) -> [Id; 1] {
        [self.g]
    }

    #[track_caller]
    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        // SAFETY: a map of an op of this tape.
        Inferred::fresh(v, unsafe { self.map.get() }.whole())
    }

    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, m: &Machine<T>) {
        let g = v.value(self.g);
        // SAFETY: a map of an op of this tape; the part lies within the whole,
        // so every position of the nest lies within the output.
        unsafe {
            let how = if out.add { Placing::Add } else { Placing::AmongZeros };
            place(m.isa, g, self.map.get(), out, how);
        }
    }

    pub(crate) fn rule<E: Emit>(self, e: &mut E, _: Id, c: Id) {
        e.give(self.g, Op::Slice(Slice { x: c, map: self.map }));
    }
}

/// Parts. None of these copies.
impl<'t, T: Scalar> Tensor<'t, T> {
    /// The view which a [`Map`] describes: `self` is the whole. Every
    /// position of the part must lie within it.
    #[track_caller]
    pub(crate) fn part(self, starts: &[usize], part: &[usize], steps: &[Step]) -> Self {
        self.slice_by(self.tape().map(self.shape(), starts, part, steps))
    }

    /// The adjoint of [`Tensor::part`]: `self` is the part, and is added to
    /// zeros of the shape of the whole.
    #[track_caller]
    pub(crate) fn part_of(self, whole: &[usize], starts: &[usize], steps: &[Step]) -> Self {
        let map = self.tape().map(whole, starts, self.shape(), steps);
        self.record(Op::Unslice(Unslice { g: self.id(), map: Ref::new(self.tape().arena().store(map)) }))
    }

    /// `len` positions along an axis, from `start` on every `step`-th; or that at
    /// `start`, without the axis.
    #[track_caller]
    fn along(self, axis: usize, start: usize, step: isize, len: Option<usize>) -> Self {
        let (arena, whole) = (self.tape().arena(), self.shape());
        let rank = whole.len() - usize::from(len.is_none());
        // Which axis of the whole an axis of the part is.
        let of = |i: usize| if len.is_none() && i >= axis { i + 1 } else { i };
        let starts = arena.fill(whole.len(), |i| if i == axis { start } else { 0 });
        let part = arena.fill(rank, |i| len.filter(|_| i == axis).unwrap_or(whole[of(i)]));
        let steps = arena.fill(rank, |i| Step { part: i, whole: of(i), by: if of(i) == axis { step } else { 1 } });
        self.slice_by(Map::new([whole, starts, part].map(List::new), List::new(steps)))
    }

    /// The view which a map with this tensor as its whole describes.
    #[track_caller]
    fn slice_by(self, map: Map) -> Self {
        self.record(Op::Slice(Slice { x: self.id(), map: Ref::new(self.tape().arena().store(map)) }))
    }

    /// `len` positions along an axis, from `start` on.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// assert_eq!(tape.arange(0.0, 5.0, 1.0).narrow(0, 1, 3).to_vec(), [1.0, 2.0, 3.0]);
    /// ```
    ///
    /// # Panics
    /// If they reach past the end, or the axis is out of range.
    #[track_caller]
    pub fn narrow(self, axis: isize, start: usize, len: usize) -> Self {
        let axis = shape::axis("narrow", axis, self.rank());
        let of = self.shape()[axis];
        let fits = start.checked_add(len).is_some_and(|end| end <= of);
        assert!(fits, "narrow: {len} positions from {start} on do not fit axis {axis} of {:?}", self.shape());
        self.along(axis, start, 1, Some(len))
    }

    /// A range of positions along an axis, as Python's slices: negative bounds
    /// count from the end, and bounds are cut off at the ends.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let x = tape.arange(0.0, 5.0, 1.0);
    /// assert_eq!(x.slice(0, 1..-1).to_vec(), [1.0, 2.0, 3.0]);
    /// assert_eq!(x.slice(0, -2..).to_vec(), [3.0, 4.0]);
    /// ```
    ///
    /// # Panics
    /// If the axis is out of range.
    #[track_caller]
    pub fn slice(self, axis: isize, range: impl RangeBounds<isize>) -> Self {
        self.slice_step(axis, range, 1)
    }

    /// Every `step`-th position of a range along an axis. A negative step goes
    /// backwards from the end of the range, which is cut off first: `..` with
    /// step -1 reverses.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let x = tape.arange(0.0, 5.0, 1.0);
    /// assert_eq!(x.slice_step(0, .., 2).to_vec(), [0.0, 2.0, 4.0]);
    /// assert_eq!(x.slice_step(0, 1.., -2).to_vec(), [4.0, 2.0]);
    /// ```
    ///
    /// # Panics
    /// If the step is 0 or the axis is out of range.
    #[track_caller]
    pub fn slice_step(self, axis: isize, range: impl RangeBounds<isize>, step: isize) -> Self {
        assert!(step != 0, "slice_step: the step is 0");
        let axis = shape::axis("slice", axis, self.rank());
        let of = self.shape()[axis];
        let n = of as isize;
        // The position `i` counts from the end if it is negative, and may have to
        // be passed.
        let at = |i: isize, past: isize| (if i < 0 { i + n } else { i }).saturating_add(past).clamp(0, n);
        let start = match range.start_bound() {
            Bound::Included(&i) => at(i, 0),
            Bound::Excluded(&i) => at(i, 1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&i) => at(i, 1),
            Bound::Excluded(&i) => at(i, 0),
            Bound::Unbounded => n,
        };
        let len = ((end - start).max(0) as usize).div_ceil(step.unsigned_abs());
        let first = if step > 0 { start } else { end - 1 };
        self.along(axis, first.max(0) as usize, step, Some(len))
    }

    /// One position along an axis, which is dropped; negative ones count from
    /// the end.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let x = tape.tensor([[1.0, 2.0], [3.0, 4.0]]);
    /// assert_eq!(x.select(0, -1).to_vec(), [3.0, 4.0]);
    /// ```
    ///
    /// # Panics
    /// If the position or the axis is out of range.
    #[track_caller]
    pub fn select(self, axis: isize, index: isize) -> Self {
        let axis = shape::axis("select", axis, self.rank());
        let n = self.shape()[axis];
        let at = if index < 0 { index + n as isize } else { index };
        let fits = (0..n as isize).contains(&at);
        assert!(fits, "select: position {index} is out of range for axis {axis} of {:?}", self.shape());
        self.along(axis, at as usize, 1, None)
    }

    /// The axes in reverse.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let x = tape.tensor([[1.0, 2.0], [3.0, 4.0]]);
    /// assert_eq!(x.flip(-1).to_vec(), [2.0, 1.0, 4.0, 3.0]);
    /// ```
    ///
    /// # Panics
    /// If an axis is out of range or named twice.
    #[track_caller]
    pub fn flip(self, axes: impl shape::Axes) -> Self {
        let mask = axes.mask("flip", self.rank());
        let mut starts = Dims::from_elem(0, self.rank());
        let mut steps = straight(self.rank());
        for axis in (0..self.rank()).filter(|axis| mask >> axis & 1 == 1) {
            starts[axis] = self.shape()[axis].saturating_sub(1);
            steps[axis].by = -1;
        }
        self.part(&starts, self.shape(), &steps)
    }

    /// Windows of `size` positions which slide along an axis, `step` apart:
    /// the axis counts the windows, and a new last axis goes along them.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let x = tape.arange(0.0, 5.0, 1.0).unfold(0, 3, 2);
    /// assert_eq!(x.shape(), [2, 3]);
    /// assert_eq!(x.to_vec(), [0.0, 1.0, 2.0, 2.0, 3.0, 4.0]);
    /// ```
    ///
    /// # Panics
    /// If a window is longer than the axis or `step` is 0, or if the axis is
    /// out of range.
    #[doc(alias = "windows")]
    #[track_caller]
    pub fn unfold(self, axis: isize, size: usize, step: usize) -> Self {
        let axis = shape::axis("unfold", axis, self.rank());
        let n = self.shape()[axis];
        assert!(size <= n, "unfold: a window of {size} does not fit axis {axis} of {:?}", self.shape());
        assert!(step > 0, "unfold: the step is 0");
        let rank = self.rank();
        let mut part = Dims::from_slice(self.shape());
        part[axis] = (n - size) / step + 1;
        part.push(size);
        let mut steps = straight(rank);
        steps[axis].by = step as isize;
        steps.push(Step { part: rank, whole: axis, by: 1 });
        self.part(&Dims::from_elem(0, rank), &part, &steps)
    }

    /// Parts of these lengths along an axis, one after another.
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let parts = tape.arange(0.0, 5.0, 1.0).split(0, &[2, 3]);
    /// assert_eq!(parts[1].to_vec(), [2.0, 3.0, 4.0]);
    /// ```
    ///
    /// # Panics
    /// If the lengths do not add up to the axis's.
    #[track_caller]
    pub fn split(self, axis: isize, lengths: &[usize]) -> SmallVec<[Self; 4]> {
        let at = shape::axis("split", axis, self.rank());
        let total = lengths.iter().try_fold(0usize, |sum, &n| sum.checked_add(n));
        let fits = total == Some(self.shape()[at]);
        assert!(fits, "split: {lengths:?} does not add up to axis {at} of {:?}", self.shape());
        let mut start = 0;
        let mut parts = SmallVec::new();
        for &len in lengths {
            parts.push(self.narrow(at as isize, start, len));
            start += len;
        }
        parts
    }

    /// `n` parts of equal length along an axis, the last ones shorter where
    /// it does not divide (and fewer than `n` where it is too short).
    ///
    /// ```
    /// # let tape = wengert::Tape::new();
    /// let lengths: Vec<usize> = tape.zeros([5]).chunk(0, 2).iter().map(|x| x.len()).collect();
    /// assert_eq!(lengths, [3, 2]);
    /// ```
    ///
    /// # Panics
    /// If `n` is 0 or the axis is out of range.
    #[track_caller]
    pub fn chunk(self, axis: isize, n: usize) -> SmallVec<[Self; 4]> {
        assert!(n > 0, "chunk: into 0 parts");
        let at = shape::axis("chunk", axis, self.rank());
        let of = self.shape()[at];
        let len = of.div_ceil(n).max(1);
        let mut parts = SmallVec::new();
        for i in 0..of.div_ceil(len).max(1) {
            parts.push(self.narrow(at as isize, i * len, len.min(of - i * len)));
        }
        parts
    }
}
