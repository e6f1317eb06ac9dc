//! The recorded interpreter of derivative rules.

use std::panic::Location;

use smallvec::SmallVec;

use crate::ops::attention::Attend;
use crate::ops::custom::Custom;
use crate::ops::fused::Fused;
use crate::ops::norm::Norm;
use crate::ops::{Emit, Id, Interpreter, List, Op, Values, binary, reduce, view};
use crate::plain::broadcast_axes;
use crate::scalar::Scalar;
use crate::tape::Tape;
use crate::tensor::Tensor;

/// What a recorded sweep works with: for every entry, whether it leads to a
/// wanted input, and its adjoint so far.
#[derive(Default)]
pub(crate) struct Recording {
    marks: Vec<Mark>,
    stamp: u64,
    ancestors: Vec<Id>,
    /// That of a sweep inside this one (a checkpoint's), kept for the next.
    inner: Option<Box<Recording>>,
}

impl Recording {
    /// What is noted down for every entry.
    pub(crate) fn list_bytes(&self) -> usize {
        self.marks.capacity() * size_of::<Mark>()
            + self.ancestors.capacity() * size_of::<Id>()
            + self.inner.as_ref().map_or(0, |inner| inner.list_bytes())
    }
}

#[derive(Clone, Copy)]
struct Mark {
    /// A gradient flows from the root to this entry, in this sweep.
    visited: u64,
    /// And on to a wanted input.
    needed: u64,
    adjoint: Option<Id>,
}

/// The recorded interpreter: an emitted op is appended to the tape, so that
/// derivatives can be differentiated again.
pub(crate) struct Recorder<'t, T: Scalar> {
    tape: &'t Tape<T>,
    state: Box<Recording>,
    pending: usize,
    location: &'static Location<'static>,
}

impl<T: Scalar> Emit for Recorder<'_, T> {
    fn wants(&self, x: Id) -> bool {
        self.state.marks.get(x.index()).is_some_and(|m| m.needed == self.state.stamp)
    }

    fn op(&mut self, op: Op) -> Id {
        self.tape.record(op, self.location)
    }

    fn give(&mut self, x: Id, op: Op) {
        if !self.wants(x) {
            return;
        }
        let mut id = match op {
            Op::View(view::View::Same { x }) => x,
            _ => self.op(op),
        };
        let dims = self.dims(x);
        let (from, to) = (self.tape.value(x).layout.dims, self.tape.value(id).layout.dims);
        if from != to {
            let mask = broadcast_axes(from, to);
            id = self.op(reduce::sum(id, mask, false));
            if self.tape.value(id).layout.dims != from {
                id = self.op(view::reshape(id, dims));
            }
        }
        match self.state.marks[x.index()].adjoint {
            Some(so_far) => id = self.op(binary::add(so_far, id)),
            None => self.pending += usize::from(!matches!(self.tape.entry(x).op, Op::Leaf(_))),
        }
        self.state.marks[x.index()].adjoint = Some(id);
    }
}

impl<T: Scalar> Interpreter for Recorder<'_, T> {
    fn custom(&mut self, op: Custom, y: Id, g: Id) {
        let tape = self.tape;
        let inputs: SmallVec<[_; 8]> = op.operands().map(|x| Tensor::new(tape, x)).collect();
        let (output, cotangent) = (Tensor::new(tape, y), Tensor::new(tape, g));
        op.backward(&inputs, output, cotangent, |x, contribution| {
            let lost = tape.is_recording() && cotangent.requires_grad() && !contribution.requires_grad();
            assert!(!lost, "{}: its derivative cannot be differentiated: make it of tensors", op.name());
            self.give(x, view::same(contribution.id()));
        });
    }

    fn fused(&mut self, op: Fused, g: Id) {
        let wants: SmallVec<[Id; 8]> = op.operands().filter(|&x| self.wants(x)).collect();
        op.record(self.tape, g, |x| wants.contains(&x), |x, contribution| self.give(x, view::same(contribution)));
    }

    fn attend(&mut self, op: Attend, g: Id) {
        op.one_by_one(self, g);
    }

    fn norm(&mut self, op: Norm, g: Id) {
        op.one_by_one(self, g);
    }

    fn dims(&self, x: Id) -> List<usize> {
        List::new(self.tape.value(x).layout.dims)
    }
}

impl<T: Scalar> Recorder<'_, T> {
    /// Marks the entries between the root and the wanted inputs. Only
    /// ancestors of the root are looked at.
    fn mark(&mut self, root: Id, wanted: &[Id]) {
        let Recording { marks, stamp, ancestors, .. } = &mut *self.state;
        *stamp += 1;
        ancestors.clear();
        let none = Mark { visited: 0, needed: 0, adjoint: None };
        if marks.len() <= root.index() {
            marks.resize(root.index() + 1, none);
        }
        let first = wanted.iter().map(|x| x.index()).min().unwrap_or(0);
        let visited = Mark { visited: *stamp, ..none };
        marks[root.index()] = visited;
        let (mut pending, mut index) = (1, root.index() + 1);
        while pending > 0 && index > first {
            index -= 1;
            if marks[index].visited != *stamp {
                continue;
            }
            let id = Id::entry(index);
            let op = self.tape.entry(id).op;
            // Leaves lead nowhere, so nobody waits for them (but for the root).
            if index != root.index() && matches!(op, Op::Leaf(_)) {
                continue;
            }
            pending -= 1;
            ancestors.push(id);
            op.operands(|x| {
                if marks[x.index()].visited != *stamp && x.index() >= first {
                    marks[x.index()] = visited;
                    pending += usize::from(!matches!(self.tape.entry(x).op, Op::Leaf(_)));
                }
            });
        }
        for x in wanted {
            if let Some(mark) = marks.get_mut(x.index()) {
                if mark.visited != *stamp {
                    // The adjoint is that of a sweep before: nothing reaches it in this one.
                    *mark = none;
                }
                mark.needed = *stamp;
            }
        }
        for &id in ancestors.iter().rev() {
            let mut needed = false;
            self.tape.entry(id).op.operands(|x| needed |= marks[x.index()].needed == *stamp);
            if needed {
                marks[id.index()].needed = *stamp;
            }
        }
    }

    pub(crate) fn run(&mut self, root: Id, cotangent: Id, wanted: &[Id]) {
        self.mark(root, wanted);
        self.give(root, view::same(cotangent));
        let mut index = root.index() + 1;
        while self.pending > 0 {
            index -= 1;
            let mark = self.state.marks[index];
            let Some(g) = mark.adjoint.filter(|_| mark.needed == self.state.stamp) else { continue };
            let y = Id::entry(index);
            let entry = self.tape.entry(y);
            if matches!(entry.op, Op::Leaf(_)) {
                continue;
            }
            self.pending -= 1;
            // A derivative is an act of the line which it is the derivative of.
            self.location = entry.location;
            entry.op.rule(self, y, g);
        }
    }
}

/// The adjoints of some entries, recorded; `None` for one which nothing
/// reaches.
#[track_caller]
pub(crate) fn sweep<T: Scalar, const N: usize>(
    tape: &Tape<T>,
    root: Id,
    cotangent: Id,
    inputs: [Id; N],
) -> [Option<Id>; N] {
    let mut state = tape.marks.take().unwrap_or_default();
    tape.marks.set(state.inner.take());
    let mut recorder = Recorder { tape, state, pending: 0, location: Location::caller() };
    T::sweep_recorded(&mut recorder, root, cotangent, &inputs);
    let mut state = recorder.state;
    let adjoint = |x: Id| {
        let mark = state.marks.get(x.index()).filter(|m| m.needed == state.stamp);
        mark.and_then(|m| m.adjoint)
    };
    let found = inputs.map(adjoint);
    state.inner = tape.marks.take();
    tape.marks.set(Some(state));
    found
}
