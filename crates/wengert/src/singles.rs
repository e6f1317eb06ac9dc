//! The plain interpreter of derivative rules, where tensors are single numbers.
//!
//! If the result of an elementwise op has one element, so has everything which
//! its rule refers to: operands broadcast to the result, and what the rule
//! emits is elementwise again. There, ids name numbers, no layout is looked at
//! and no loop runs.

use crate::entries::Entry;
use crate::kernels::isa::Isa;
use crate::ops::binary::Binary;
use crate::ops::unary::Unary;
use crate::ops::view::View;
use crate::ops::{Emit, Id, Op, Place};
use crate::plain::Adjoint;
use crate::pool::Held;
use crate::scalar::Scalar;

/// More than any elementwise rule has.
const TEMPORARIES: usize = 16;

/// A plain sweep, while it goes through elementwise ops of one element.
pub(crate) struct Singles<'a, T> {
    isa: Isa,
    entries: &'a [Entry<T>],
    adjoints: &'a [Adjoint<T>],
    stamp: u32,
    pending: usize,
    leaves: &'a mut Vec<Id>,
    /// The adjoint of the entry whose rule is under way.
    g: T,
    temporaries: [T; TEMPORARIES],
    used: usize,
}

impl<T: Scalar> Emit for Singles<'_, T> {
    #[inline(always)]
    fn wants(&self, x: Id) -> bool {
        self.entries[x.index()].tracked
    }

    #[inline(always)]
    fn op(&mut self, op: Op) -> Id {
        let id = Id::temporary(self.used);
        self.temporaries[self.used] = self.result(op);
        self.used += 1;
        id
    }

    #[inline(always)]
    fn give(&mut self, x: Id, op: Op) {
        let entry = &self.entries[x.index()];
        if !entry.tracked {
            return;
        }
        let contribution = self.result(op);
        let adjoint = &self.adjoints[x.index()];
        if adjoint.is_pending(self.stamp) {
            return adjoint.single.set(adjoint.single.get() + contribution);
        }
        adjoint.single.set(contribution);
        adjoint.set(self.stamp, Held::NONE);
        if entry.is_leaf() {
            self.leaves.push(x);
        } else {
            self.pending += 1;
        }
    }
}

impl<'a, T: Scalar> Singles<'a, T> {
    /// # Safety
    /// The values of entries which lead to the root of the sweep may be read.
    #[inline(always)]
    pub(crate) unsafe fn new(
        isa: Isa,
        entries: &'a [Entry<T>],
        adjoints: &'a [Adjoint<T>],
        stamp: u32,
        pending: usize,
        leaves: &'a mut Vec<Id>,
    ) -> Self {
        Singles {
            isa,
            entries,
            adjoints,
            stamp,
            pending,
            leaves,
            g: T::ZERO,
            temporaries: [T::ZERO; TEMPORARIES],
            used: 0,
        }
    }

    #[inline(always)]
    fn number(&self, id: Id) -> T {
        match id.place() {
            // SAFETY: the contract of `new`.
            Place::Entry(i) => unsafe { *self.entries[i].data },
            Place::Adjoint(_) => self.g,
            Place::Temporary(i) => self.temporaries[i],
        }
    }

    /// The same bits as [`Op::run`] gives.
    #[inline(always)]
    fn result(&self, op: Op) -> T {
        match op {
            Op::Unary(op) => op.at(self.isa, self.number(op.x)),
            Op::UnaryGrad(op) => op.at(self.isa, self.number(op.g), self.number(op.t)),
            Op::Binary(op) => op.at(self.isa, self.number(op.a), self.number(op.b)),
            Op::Share(op) => op.at(op.operands().map(|x| self.number(x))),
            Op::View(View::Same { x }) => self.number(x),
            _ => unreachable!("rules of elementwise ops are elementwise"),
        }
    }

    /// Sweeps from below `index` down to the first entry with an adjoint which
    /// is not for this interpreter, or to the end. Gives the index after it,
    /// and how many adjoints are pending.
    #[inline(always)]
    pub(crate) fn run(mut self, mut index: usize) -> (usize, usize) {
        while self.pending > 0 {
            let at = index - 1;
            let adjoint = &self.adjoints[at];
            if adjoint.is_pending(self.stamp) {
                let entry = &self.entries[at];
                let (y, g) = (Id::entry(at), Id::adjoint(at));
                self.g = adjoint.single.get();
                self.used = 0;
                match entry.op {
                    Op::Leaf(_) => {}
                    _ if !entry.single || entry.retained => break,
                    Op::Unary(Unary { f, x, p }) => {
                        self.pending -= 1;
                        Unary { f, x: x.known_entry(), p }.rule(&mut self, y, g);
                    }
                    Op::Binary(Binary { f, a, b }) => {
                        self.pending -= 1;
                        Binary { f, a: a.known_entry(), b: b.known_entry() }.rule(&mut self, y, g);
                    }
                    _ => break,
                }
            }
            index = at;
        }
        (index, self.pending)
    }
}
