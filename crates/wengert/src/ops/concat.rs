//! Tensors one after another, or side by side.

use smallvec::SmallVec;

use super::part::{Map, Placing, place, straight};
use super::slice::Slice;
use super::{Emit, Id, Inferred, List, Op, Ref, Values};
use crate::kernels::{Machine, Out};
use crate::scalar::Scalar;
use crate::shape::{self, Dims};
use crate::tape::Tape;
use crate::tensor::{Operand, Tensor};

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

    #[track_caller]
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

impl<T: Scalar> Tape<T> {
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
