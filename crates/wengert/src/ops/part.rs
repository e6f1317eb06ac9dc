//! Which element of a whole each element of a part is, and how a part is put
//! in its place.

use smallvec::SmallVec;

use super::List;
use crate::kernels::isa::Isa;
use crate::kernels::map::copy_run;
use crate::kernels::nest::Nest;
use crate::kernels::{Out, Value};
use crate::scalar::Scalar;
use crate::shape::{Strides, contiguous_strides};
use crate::tape::Tape;

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
    pub(super) fn new([whole, starts, part]: [List<usize>; 3], steps: List<Step>) -> Self {
        let map = Map { whole, starts, part, steps };
        let (whole, starts, part) = (map.whole(), map.starts(), map.part());
        let within = lies_within(whole, starts, part, map.steps());
        assert!(within, "a part of shape {part:?} from {starts:?} on does not lie within {whole:?}");
        map
    }

    pub(super) fn whole(&self) -> &[usize] {
        // SAFETY: lists of an op of this tape, here and below.
        unsafe { self.whole.get() }
    }

    pub(super) fn part(&self) -> &[usize] {
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
    pub(super) fn of(&self, strides: &[isize]) -> (isize, Strides) {
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
    pub(super) fn map(&self, whole: &[usize], starts: &[usize], part: &[usize], steps: &[Step]) -> Map {
        let list = |x: &[usize]| List::new(self.arena().copy(x));
        Map::new([list(whole), list(starts), list(part)], List::new(self.arena().copy(steps)))
    }
}

/// What happens to the output of [`place`].
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Placing {
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
pub(super) unsafe fn place<T: Scalar>(isa: Isa, x: Value<'_, T>, map: &Map, out: Out<'_, T>, mut how: Placing) {
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
