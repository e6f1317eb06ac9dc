//! The list itself: entries which are appended and read, one at a time.

use std::cell::UnsafeCell;
use std::panic::Location;
use std::ptr::NonNull;

use crate::ops::{Id, Op};
use crate::shape::Layout;

/// One entry of the list: what was done, where its value lies, and which line
/// of the program did it. Plain data, a cache line at most.
pub(crate) struct Entry<T> {
    pub(crate) op: Op,
    pub(crate) data: *const T,
    pub(crate) layout: NonNull<Layout<'static>>,
    pub(crate) location: &'static Location<'static>,
    /// It has exactly one element.
    pub(crate) single: bool,
    /// A gradient flows through this entry to some leaf.
    pub(crate) tracked: bool,
    /// Keep the adjoint of this intermediate (`Tensor::retain_grad`).
    pub(crate) retained: bool,
    pub(crate) origin: Origin,
}

/// Whose memory an entry's values lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Its own, with what came from the host.
    Host,
    /// Its own, with what the op computed.
    Computed,
    /// That of another entry; or its own, with the result of an op which is not
    /// on the list.
    Shared,
    /// Not the arena's: it may be gone while the entry is still on the list, so
    /// it is read on behalf of a live handle alone.
    Parameter,
}

impl Origin {
    /// That of an entry which shows the memory of one of this origin.
    #[inline(always)]
    pub(crate) fn shown(self) -> Origin {
        if self == Origin::Parameter { self } else { Origin::Shared }
    }
}

const _: () = assert!(size_of::<Entry<f64>>() <= 64);

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Entry<T> {}

impl<T> Entry<T> {
    #[inline(always)]
    pub(crate) fn is_leaf(&self) -> bool {
        matches!(self.op, Op::Leaf(_))
    }
}

/// The entries, behind a shared reference.
///
/// Appending while others look is sound because nobody keeps looking: every
/// safe method copies what it gives out, and calls nothing in between. One
/// thread at a time, since this is not `Sync`.
pub(crate) struct Entries<T>(UnsafeCell<Vec<Entry<T>>>);

impl<T> Entries<T> {
    pub(crate) fn with_capacity(entries: usize) -> Self {
        Entries(UnsafeCell::new(Vec::with_capacity(entries)))
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        // SAFETY: no reference to the list outlives a method of this type, and
        // none of them runs other code while it has one; so here and below.
        unsafe { (&*self.0.get()).len() }
    }

    #[inline(always)]
    pub(crate) fn get(&self, id: Id) -> Entry<T> {
        // SAFETY: as in `len`.
        unsafe { (&*self.0.get())[id.index()] }
    }

    #[inline(always)]
    pub(crate) fn push(&self, entry: Entry<T>) -> Id {
        // SAFETY: as in `len`.
        let list = unsafe { &mut *self.0.get() };
        let id = Id::entry(list.len());
        list.push(entry);
        id
    }

    /// All of them.
    ///
    /// # Safety
    /// The list is not changed while the slice is in use.
    #[inline(always)]
    pub(crate) unsafe fn as_slice(&self) -> &[Entry<T>] {
        // SAFETY: the caller's.
        unsafe { (*self.0.get()).as_slice() }
    }

    pub(crate) fn retain(&self, id: Id) {
        // SAFETY: as in `len`.
        unsafe { (&mut *self.0.get())[id.index()].retained = true }
    }

    pub(crate) fn reserved_bytes(&self) -> usize {
        // SAFETY: as in `len`.
        unsafe { (&*self.0.get()).capacity() * size_of::<Entry<T>>() }
    }

    pub(crate) fn clear(&mut self) {
        self.0.get_mut().clear();
    }
}
