//! Parts of a tensor along its axes: slices, selections, flips, splits.

use std::ops::{Bound, RangeBounds};

use smallvec::SmallVec;

use super::{Emit, Id, Inferred, List, Op, Ref, Values};
use crate::kernels::isa::Isa;
use crate::kernels::map::copy_run;
use crate::kernels::nest::Nest;
use crate::kernels::{Machine, Out, Value};
use crate::scalar::Scalar;
use crate::shape::{self, Dims, Strides, contiguous_strides};
use crate::tape::Tape;
use crate::tensor::{Operand, Tensor};

/// One step along an axis of the part is `by` steps along an axis of the whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) part: usize,
    pub(crate) whole: usize,
    pub(crate) by: isize,
}

/// Which element of a whole each element of a part is: along an axis of the
/// whole, the axis's start and what the [`Step`]s along it add up to.
///
/// A slice has one step for each axis. Two steps from one axis of the part
/// make a diagonal, two to one axis of the whole a sliding window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Map {
    /// The shape of the whole, and where the part starts.
    whole: List<usize>,
    starts: List<usize>,
    /// The shape of the part.
    part: List<usize>,
    steps: List<Step>,
}

impl Map {
    /// The one place where maps come from: none leads outside the whole, however
    /// its numbers came about. The lists are those of a tape.
    #[track_caller]
    fn new([whole, starts, part]: [List<usize>; 3], steps: List<Step>) -> Self {
        let map = Map { whole, starts, part, steps };
        let (whole, starts, part) = (map.whole(), map.starts(), map.part());
        let within = lies_within(whole, starts, part, map.steps());
        assert!(within, "a part of shape {part:?} from {starts:?} on does not lie within {whole:?}");
        map
    }

    fn whole(&self) -> &[usize] {
        // SAFETY: lists of an op of this tape, here and below.
        unsafe { self.whole.get() }
    }

    fn part(&self) -> &[usize] {
        // SAFETY: as above.
        unsafe { self.part.get() }
    }

    fn starts(&self) -> &[usize] {
        // SAFETY: as above.
        unsafe { self.starts.get() }
    }

    fn steps(&self) -> &[Step] {
        // SAFETY: as above.
        unsafe { self.steps.get() }
    }

    /// Whether two elements of the part may be the same element of the whole.
    fn overlaps(&self) -> bool {
        let steps = self.steps();
        steps.iter().enumerate().any(|(i, a)| steps[..i].iter().any(|b| a.whole == b.whole))
    }

    /// Whether the elements of the part stand in the whole in the same order.
    fn ascends(&self) -> bool {
        let steps = self.steps();
        steps.iter().enumerate().all(|(i, s)| s.part == i && s.by > 0) && steps.is_sorted_by(|a, b| a.whole < b.whole)
    }

    /// Offset and strides of the part of a whole with these strides.
    fn of(&self, strides: &[isize]) -> (isize, Strides) {
        let (starts, steps) = (self.starts(), self.steps());
        let mut part = Strides::from_elem(0, self.part().len());
        // An empty part starts nowhere, and has no steps to take.
        if self.part().contains(&0) {
            return (0, part);
        }
        // Nor has an axis of length 1, whose step may be any number.
        let stride = |s: &Step| s.by.wrapping_mul(strides[s.whole]);
        steps.iter().for_each(|s| part[s.part] = part[s.part].wrapping_add(stride(s)));
        let offset = starts.iter().zip(strides).map(|(&start, stride)| start as isize * stride).sum();
        (offset, part)
    }
}

/// A view of a part of `x`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slice {
    x: Id,
    map: Ref<Map>,
}

/// The adjoint of [`Slice`]: zeros of the shape of the whole, with `g` added
/// in its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unslice {
    g: Id,
    map: Ref<Map>,
}

/// What happens to the output of [`place`].
#[derive(Clone, Copy, PartialEq)]
enum Placing {
    /// The part is written, the rest stays.
    Write,
    /// The part is added, the rest stays.
    Add,
    /// The part is written, and zeros everywhere else.
    AmongZeros,
}

/// Puts the elements of `x` in the places of a part of the output.
///
/// # Safety
/// The contract of [`crate::kernels`]; `x` has the shape of the part, which
/// lies within the output.
unsafe fn place<T: Scalar>(isa: Isa, x: Value<'_, T>, map: &Map, out: Out<'_, T>, mut how: Placing) {
    let (offset, to) = map.of(&contiguous_strides(out.dims));
    let nest = Nest::new(x.layout.dims, [x.layout.strides, &to]);
    let (len, [step, to_step]) = nest.inner();
    // SAFETY: within the output.
    let zeros = |from: usize, to: usize| unsafe { out.data.add(from).write_bytes(0, to - from) };
    let gaps = how == Placing::AmongZeros && to_step == 1 && map.ascends();
    if how == Placing::AmongZeros && !gaps {
        zeros(0, out.len);
        how = if map.overlaps() { Placing::Add } else { Placing::Write };
    }
    // Up to where the output is written, if gaps are.
    let mut end = 0;
    nest.for_each(|[from, to]| {
        let to = offset + to;
        if gaps {
            zeros(end, to as usize);
            end = to as usize + len;
        }
        // SAFETY: positions of both layouts.
        unsafe {
            let (from, to) = (x.data.offset(from), out.data.offset(to));
            copy_run(isa, (from, step), (to, to_step), len, how == Placing::Add);
        }
    });
    if gaps {
        zeros(end, out.len);
    }
}

impl Slice {
    pub(crate) fn name(&self) -> &'static str {
        "slice"
    }

    pub(crate) fn operands(&self) -> [Id; 1] {
        [self.x]
    }

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

/// Tensors one after another along an axis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Concat {
    parts: List<Part>,
}

/// An operand, and which part of the whole it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    x: Id,
    map: Map,
}

impl Concat {
    pub(crate) fn name(&self) -> &'static str {
        "concat"
    }

    fn parts(&self) -> &[Part] {
        // SAFETY: a list of an op of this tape.
        unsafe { self.parts.get() }
    }

    pub(crate) fn operands(&self) -> impl Iterator<Item = Id> {
        self.parts().iter().map(|p| p.x)
    }

    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        Inferred::fresh(v, self.parts()[0].map.whole())
    }

    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, m: &Machine<T>) {
        let how = if out.add { Placing::Add } else { Placing::Write };
        for p in self.parts() {
            // SAFETY: the parts lie side by side within the output, which
            // may hold no number yet.
            unsafe { place(m.isa, v.value(p.x), &p.map, out, how) }
        }
    }

    pub(crate) fn rule<E: Emit>(self, e: &mut E, _: Id, g: Id) {
        for p in self.parts() {
            e.give(p.x, Op::Slice(Slice { x: g, map: Ref::new(&p.map) }));
        }
    }
}

/// Every axis of the part goes along the same axis of the whole.
pub(crate) fn straight(rank: usize) -> SmallVec<[Step; 8]> {
    (0..rank).map(|axis| Step { part: axis, whole: axis, by: 1 }).collect()
}

/// Whether every element of a part is one of the whole.
fn lies_within(whole: &[usize], starts: &[usize], part: &[usize], steps: &[Step]) -> bool {
    // The least and the largest position along an axis; `None` beyond any number.
    let ends = |axis: usize| {
        let start = isize::try_from(starts[axis]).ok()?;
        steps.iter().filter(|s| s.whole == axis).try_fold([start; 2], |[low, high], s| {
            let reach = s.by.checked_mul(isize::try_from(part[s.part]).ok()? - 1)?;
            Some([low.checked_add(reach.min(0))?, high.checked_add(reach.max(0))?])
        })
    };
    let inside = |axis| ends(axis).is_some_and(|[low, high]| low >= 0 && (high as usize) < whole[axis]);
    part.contains(&0) || (0..whole.len()).all(inside)
}

impl<T: Scalar> Tape<T> {
    /// A map, with its lists in the arena.
    #[track_caller]
    fn map(&self, whole: &[usize], starts: &[usize], part: &[usize], steps: &[Step]) -> Map {
        let list = |x: &[usize]| List::new(self.arena().copy(x));
        Map::new([list(whole), list(starts), list(part)], List::new(self.arena().copy(steps)))
    }

    /// Tensors one after another along an axis, which they may differ in.
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// let (a, b) = (tape.ones([2, 1]), tape.zeros([2, 2]));
    /// assert_eq!(tape.concat([a, b], 1).to_vec(), [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
    /// ```
    ///
    /// # Panics
    /// If there are none, if their shapes differ elsewhere, or the axis is out
    /// of range.
    #[doc(alias = "cat")]
    #[track_caller]
    pub fn concat<'t>(&'t self, tensors: impl AsRef<[Tensor<'t, T>]>, axis: isize) -> Tensor<'t, T> {
        let tensors = tensors.as_ref();
        assert!(!tensors.is_empty(), "concat: of no tensors");
        let first = tensors[0].shape();
        let axis = shape::axis("concat", axis, first.len());
        let mut whole = Dims::from_slice(first);
        whole[axis] = 0;
        for x in tensors {
            let dims = Operand::tensor(*x, self).shape();
            let fits = dims.len() == first.len() && (0..dims.len()).all(|i| i == axis || dims[i] == first[i]);
            assert!(fits, "concat: shapes differ beside axis {axis}: {first:?} and {dims:?}");
            whole[axis] += dims[axis];
        }
        shape::element_count(&whole);
        let mut starts = Dims::from_elem(0, whole.len());
        let steps = straight(whole.len());
        let part = |x: &Tensor<'t, T>| {
            let map = self.map(&whole, &starts, x.shape(), &steps);
            starts[axis] += x.shape()[axis];
            Part { x: x.id(), map }
        };
        let parts: SmallVec<[Part; 8]> = tensors.iter().map(part).collect();
        tensors[0].record(Op::Concat(Concat { parts: List::new(self.arena().copy(&parts)) }))
    }

    /// Tensors of one shape side by side along a new axis.
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// let (a, b) = (tape.tensor([1.0, 2.0]), tape.tensor([3.0, 4.0]));
    /// assert_eq!(tape.stack([a, b], -1).to_vec(), [1.0, 3.0, 2.0, 4.0]);
    /// ```
    ///
    /// # Panics
    /// If there are none, if their shapes differ, or the axis is out of range.
    #[track_caller]
    pub fn stack<'t>(&'t self, tensors: impl AsRef<[Tensor<'t, T>]>, axis: isize) -> Tensor<'t, T> {
        let tensors = tensors.as_ref();
        assert!(!tensors.is_empty(), "stack: of no tensors");
        let first = tensors[0].shape();
        let axis = shape::axis("stack", axis, first.len() + 1) as isize;
        if let Some(other) = tensors.iter().find(|x| x.shape() != first) {
            panic!("stack: shapes differ: {first:?} and {:?}", other.shape());
        }
        let mut rows: SmallVec<[Tensor<'t, T>; 8]> = SmallVec::new();
        for x in tensors {
            rows.push(x.unsqueeze(axis));
        }
        self.concat(rows, axis)
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

    /// `len` positions along an axis: from `start` on every `step`-th.
    #[track_caller]
    fn along(self, axis: usize, start: usize, step: isize, len: usize) -> Self {
        let (arena, whole) = (self.tape().arena(), self.shape());
        let starts = arena.fill(whole.len(), |i| if i == axis { start } else { 0 });
        let part = arena.fill(whole.len(), |i| if i == axis { len } else { whole[i] });
        let steps = arena.fill(whole.len(), |i| Step { part: i, whole: i, by: if i == axis { step } else { 1 } });
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
        self.along(axis, start, 1, len)
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
        let at = |i: isize| (if i < 0 { i + n } else { i }).clamp(0, n);
        let start = match range.start_bound() {
            Bound::Included(&i) => at(i),
            Bound::Excluded(&i) => (at(i) + 1).min(n),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            // `..=-1` ends with the last position.
            Bound::Included(&i) => {
                if i == -1 {
                    n
                } else {
                    at(i.saturating_add(1))
                }
            }
            Bound::Excluded(&i) => at(i),
            Bound::Unbounded => n,
        };
        let len = ((end - start).max(0) as usize).div_ceil(step.unsigned_abs());
        let first = if step > 0 { start } else { end - 1 };
        self.along(axis, first.max(0) as usize, step, len)
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
        let (arena, whole) = (self.tape().arena(), self.shape());
        // Which axis of the whole an axis of the part is.
        let of = |i: usize| if i < axis { i } else { i + 1 };
        let starts = arena.fill(whole.len(), |i| if i == axis { at as usize } else { 0 });
        let part = arena.fill(whole.len() - 1, |i| whole[of(i)]);
        let steps = arena.fill(whole.len() - 1, |i| Step { part: i, whole: of(i), by: 1 });
        self.slice_by(Map::new([whole, starts, part].map(List::new), List::new(steps)))
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
