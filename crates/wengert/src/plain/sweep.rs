//! What a plain sweep keeps: adjoints by entry, and the memory they are in.

use std::cell::Cell;

use crate::ops::Id;
use crate::pool::{Held, Pool};
use crate::scalar::Scalar;

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
