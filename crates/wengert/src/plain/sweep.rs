//! The plain sweep, and what it keeps: adjoints by entry, and the memory they
//! are in.

use std::cell::Cell;

use super::Plain;
use super::strips::{Below, Strip};
use crate::gradients::Gradients;
use crate::kernels::Out;
use crate::kernels::map::copy;
use crate::ops::{Id, Values};
use crate::pool::{Held, Pool};
use crate::scalar::Scalar;
use crate::singles::Singles;
use crate::tape::Tape;

/// What a plain sweep works with. It belongs to the tape and is lent to one
/// sweep at a time; a sweep which unwinds drops it.
pub(crate) struct Sweep<T> {
    pub(super) pool: Pool,
    /// Adjoints by entry. Views may show a `single` until the sweep ends, so
    /// none of them is borrowed mutably meanwhile: all fields are cells.
    pub(super) adjoints: Vec<Adjoint<T>>,
    pub(super) stamp: u32,
    /// How many are alive.
    pub(super) pending: usize,
    /// Temporaries of the rule under way.
    pub(super) temporaries: Vec<Held>,
    /// Leaves of one element with an adjoint.
    pub(super) leaves: Vec<Id>,
    /// Tensors below the run which is swept by strips.
    pub(super) below: Vec<Below>,
}

/// The adjoint of an entry; alive if the stamp is that of the sweep.
pub(crate) struct Adjoint<T> {
    stamp: Cell<u32>,
    /// The tensor, or none if it has one element, which is `single`.
    pub(super) held: Cell<Held>,
    pub(crate) single: Cell<T>,
}

impl<T> Adjoint<T> {
    #[inline(always)]
    pub(crate) fn is_pending(&self, stamp: u32) -> bool {
        self.stamp.get() == stamp
    }

    /// Brings it to life.
    #[inline(always)]
    pub(crate) fn set(&self, stamp: u32, held: Held) {
        self.stamp.set(stamp);
        self.held.set(held);
    }

    /// Ends its life, and gives the tensor.
    pub(super) fn take(&self) -> Held {
        self.stamp.set(0);
        self.held.replace(Held::NONE)
    }
}

impl<T> Default for Sweep<T> {
    fn default() -> Self {
        Sweep {
            pool: Pool::default(),
            adjoints: Vec::new(),
            stamp: 0,
            pending: 0,
            temporaries: Vec::new(),
            leaves: Vec::new(),
            below: Vec::new(),
        }
    }
}

impl<T: Scalar> Sweep<T> {
    pub(crate) fn reserved_bytes(&self) -> usize {
        self.pool.reserved_bytes()
    }

    /// What is noted down for every entry.
    pub(crate) fn list_bytes(&self) -> usize {
        self.adjoints.capacity() * size_of::<Adjoint<T>>()
            + self.temporaries.capacity() * size_of::<Held>()
            + self.leaves.capacity() * size_of::<Id>()
            + self.below.capacity() * size_of::<Below>()
            + self.pool.list_bytes()
    }

    /// Discards what an unfinished sweep left, and makes room for `len` entries.
    pub(super) fn begin(&mut self, len: usize) {
        self.pool.reset();
        self.temporaries.clear();
        self.leaves.clear();
        self.pending = 0;
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.adjoints.clear();
            self.stamp = 1;
        }
        if self.adjoints.len() < len {
            self.adjoints.resize_with(len, || Adjoint {
                stamp: Cell::new(0),
                held: Cell::new(Held::NONE),
                single: Cell::new(T::ZERO),
            });
        }
    }
}

impl<T: Scalar> Plain<'_, T> {
    /// Sweeps from the root down to the last entry which anything is pending
    /// for. Indices are the topological order.
    pub(crate) fn run(&mut self, root: Id, cotangent: Option<Id>) {
        let tape = self.tape;
        match cotangent {
            Some(cotangent) => {
                let cotangent = self.sweep.pool.view(tape.value(cotangent), Held::NONE);
                self.pass(root, cotangent);
            }
            // SAFETY: the adjoint of the root, which has one element then.
            None => unsafe { self.target(root).0.write(T::ONE) },
        }
        let mut index = root.index() + 1;
        while self.sweep.pending > 0 {
            index = self.singles(index);
            if self.sweep.pending == 0 {
                break;
            }
            index -= 1;
            let (y, g) = (Id::entry(index), Id::adjoint(index));
            let entry = tape.entry(y);
            if self.may_run_by_rows(&entry)
                && let Some(first) = self.run_by_rows(y)
            {
                index = first;
                continue;
            }
            self.sweep.pending -= 1;
            if entry.retained {
                self.deposit(y, g);
            }
            entry.op.rule(self, y, g);
            self.release_temporaries();
            let adjoint = self.held(g);
            self.sweep.pool.release(adjoint);
        }
        while let Some(x) = self.sweep.leaves.pop() {
            let (data, add) = self.gradient(x);
            let adjoint = self.sweep.adjoints[x.index()].single.get();
            // SAFETY: the one element of the leaf's gradient.
            unsafe { *data = if add { *data + adjoint } else { adjoint } };
        }
    }

    /// Sweeps on through ops on single numbers, and over entries without an
    /// adjoint: down to where an adjoint waits for the other interpreter.
    #[inline]
    fn singles(&mut self, mut index: usize) -> usize {
        while !self.is_pending(Id::entry(index - 1)) {
            index -= 1;
        }
        if !self.tape.entry(Id::entry(index - 1)).single {
            return index;
        }
        let Sweep { adjoints, stamp, pending, leaves, .. } = &mut *self.sweep;
        // SAFETY: rules of elementwise ops record nothing; and the root has a
        // handle, so what it was computed from may be read.
        let singles =
            unsafe { Singles::new(self.tape.machine.isa, self.tape.entries(), adjoints, *stamp, *pending, leaves) };
        let (index, left) = singles.run(index);
        *pending = left;
        index
    }

    /// Copies the adjoint of an intermediate into the gradients.
    fn deposit(&mut self, y: Id, adjoint: Id) {
        let (data, add) = self.grads.leaf(y, self.value(adjoint).layout.len);
        let from = self.value(adjoint);
        let out = Out { data, dims: from.layout.dims, len: from.layout.len, add };
        // SAFETY: the gradient of an entry of this shape.
        unsafe { copy(self.tape.machine.isa, from, out) }
    }
}

/// Adds the gradients of `root`, by a cotangent, to `grads`. Without one the
/// root has one element, and its cotangent is 1.
pub(crate) fn sweep<T: Scalar>(tape: &Tape<T>, root: Id, cotangent: Option<Id>, grads: &mut Gradients<T>) {
    let mut sweep = tape.sweep.take().unwrap_or_default();
    sweep.begin(root.index() + 1);
    grads.begin(tape.id(), tape.epoch());
    let mut plain = Plain { tape, sweep: &mut sweep, grads, store: None, strip: Strip::default() };
    T::sweep(&mut plain, root, cotangent);
    grads.end();
    tape.sweep.set(Some(sweep));
}
