//! The largest elements of windows.

use super::{Emit, Id, Inferred, Op, Ref, Values};
use crate::kernels::largest::{NOWHERE, largest};
use crate::kernels::map::copy_run;
use crate::kernels::windows::Windows;
use crate::kernels::{Machine, Out, with_runs};
use crate::scalar::Scalar;
use crate::shape::Dims;

/// In every window over the last axes of `by` one element is chosen: the
/// largest, the first if tied. Which one it is, is locally constant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MaxPool {
    /// The elements of `x` in the chosen places.
    Choose { x: Id, by: Id, how: Ref<Pooling> },
    /// Its adjoint in `x`: zeros, with the elements of `g` added in the chosen
    /// places.
    Unchoose { g: Id, by: Id, how: Ref<Pooling> },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Pooling {
    pub(super) windows: Windows,
    /// One or two: with one, the first of the windows' axes has length 1.
    pub(super) axes: usize,
}

use MaxPool::*;

/// Windows which are looked at together.
const TOGETHER: usize = 256;

impl MaxPool {
    /// The tensor which decides, and the other one.
    fn parts(&self) -> (Id, Id, &Pooling) {
        let (Choose { x: other, by, how } | Unchoose { g: other, by, how }) = self;
        // SAFETY: what an op of this tape refers to.
        (*by, *other, unsafe { how.get() })
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Choose { .. } => "max_pool",
            Unchoose { .. } => "max_pool_grad",
        }
    }

    pub(crate) fn operands(&self) -> impl Iterator<Item = Id> + use<> {
        let (by, other, _) = self.parts();
        [Some(other), (by != other).then_some(by)].into_iter().flatten()
    }

    #[track_caller]
    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        let (by, _, how) = self.parts();
        let mut dims = Dims::from_slice(v.value(by).layout.dims);
        if let Choose { .. } = self {
            dims.truncate(dims.len() - how.axes);
            dims.extend_from_slice(&how.windows.places[2 - how.axes..]);
        }
        Inferred::fresh(v, &dims)
    }

    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, m: &Machine<T>) {
        let (by, other, Pooling { windows, .. }) = self.parts();
        let (image, count) = (windows.image_len(), windows.count());
        assert!(image < NOWHERE as usize, "{}: an image of {image} elements", self.name());
        let images = v.value(by).layout.len.checked_div(image).unwrap_or(0);
        // SAFETY: the caller's contract; operands without gaps, one image and
        // one element for each of its windows at a time.
        unsafe {
            if let (Unchoose { .. }, false) = (self, out.add) {
                (0..out.len).for_each(|i| out.data.add(i).write(T::ZERO));
            }
            let itself = by == other;
            with_runs(m, [v.value(by), v.value(other)], 0, |[by, other], _| {
                let (mut best, mut chosen) = ([T::ZERO; TOGETHER], [0; TOGETHER]);
                let blocks = |n| (0..count).step_by(TOGETHER).map(move |first| (n, first));
                for (n, first) in (0..images).flat_map(blocks) {
                    let len = TOGETHER.min(count - first);
                    let (best, chosen) = (&mut best[..len], &mut chosen[..len]);
                    largest(m.isa, windows, by.add(n * image), first, best, chosen);
                    let (start, at) = (n * image, n * count + first);
                    let places = chosen.iter().enumerate().filter(|&(_, &place)| place != NOWHERE);
                    match self {
                        Choose { .. } => {
                            if !itself {
                                best.fill(T::ZERO);
                                places.for_each(|(k, &place)| best[k] = *other.add(start + place as usize));
                            }
                            copy_run(m.isa, (best.as_ptr(), 1), (out.data.add(at), 1), len, out.add);
                        }
                        Unchoose { .. } => {
                            let to = out.data.add(start);
                            places.for_each(|(k, &place)| *to.add(place as usize) += *other.add(at + k));
                        }
                    }
                }
            });
        }
    }

    pub(crate) fn rule<E: Emit>(self, e: &mut E, _: Id, c: Id) {
        match self {
            Choose { x, by, how } => e.give(x, Op::MaxPool(Unchoose { g: c, by, how })),
            Unchoose { g, by, how } => e.give(g, Op::MaxPool(Choose { x: c, by, how })),
        }
    }
}
