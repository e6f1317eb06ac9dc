//! Layouts, one for each shape which comes up, and not one for each tensor.

use std::cell::{Cell, RefCell};
use std::ptr::NonNull;

use crate::arena::Arena;
use crate::shape::{Layout, element_count};

/// Layouts which a tape has needed, to be handed out again.
///
/// A loop repeats its shapes, so in the steady state nothing is written here:
/// they outlast [`Tape::rewind`](crate::Tape::rewind). Where shapes never
/// repeat, [`Layouts::trim`] forgets them.
#[derive(Default)]
pub(crate) struct Layouts {
    arena: Arena,
    contiguous: Table,
    strided: Table,
}

/// How many bytes of layouts outlast a rewind.
const KEPT: usize = 1 << 16;

impl Layouts {
    /// The row-major layout of a shape.
    #[track_caller]
    pub(crate) fn contiguous(&self, dims: &[usize]) -> &Layout<'_> {
        self.look_up(dims)
    }

    /// [`Layouts::contiguous`] where the number of axes is compiled in.
    #[track_caller]
    #[inline(always)]
    pub(crate) fn contiguous_axes<const N: usize>(&self, dims: [usize; N]) -> &Layout<'_> {
        self.look_up(&dims)
    }

    #[track_caller]
    #[inline(always)]
    fn look_up(&self, dims: &[usize]) -> &Layout<'_> {
        let hash = dims.iter().fold(0, |hash, &dim| mix(hash, dim));
        match self.contiguous.find(hash, |layout| same(layout.dims, dims)) {
            Some(layout) => layout,
            None => self.add_contiguous(hash, dims),
        }
    }

    /// The layout of a view. It may have more elements than its memory, but not
    /// more than there are numbers for.
    #[track_caller]
    #[inline]
    pub(crate) fn strided(&self, dims: &[usize], strides: &[isize]) -> &Layout<'_> {
        let hash = dims.iter().zip(strides).fold(0, |hash, (&dim, &stride)| mix(mix(hash, dim), stride as usize));
        match self.strided.find(hash, |layout| same(layout.dims, dims) && same(layout.strides, strides)) {
            Some(layout) => layout,
            None => self.add(&self.strided, hash, dims, element_count(dims), Some(strides)),
        }
    }

    #[track_caller]
    #[cold]
    fn add_contiguous(&self, hash: usize, dims: &[usize]) -> &Layout<'_> {
        self.add(&self.contiguous, hash, dims, element_count(dims), None)
    }

    #[cold]
    fn add(&self, table: &Table, hash: usize, dims: &[usize], len: usize, strides: Option<&[isize]>) -> &Layout<'_> {
        let layout = match dims {
            [] => &Layout::SCALAR,
            _ => {
                let words = Layout::bytes(dims.len()) / size_of::<usize>();
                // SAFETY: fresh memory of this size, which lives as long as
                // the borrow of the arena.
                unsafe { Layout::place(self.arena.alloc::<usize>(words).cast(), dims, len, strides) }
            }
        };
        table.insert(hash, layout);
        layout
    }

    /// Forgets all layouts if they have become many; says whether it did.
    pub(crate) fn trim(&mut self) -> bool {
        let many = self.arena.live_bytes() > KEPT;
        if many {
            self.contiguous.clear();
            self.strided.clear();
            self.arena.reset();
        }
        many
    }

    /// Bytes taken from the system.
    pub(crate) fn reserved_bytes(&self) -> usize {
        self.arena.reserved_bytes() + self.contiguous.bytes() + self.strided.bytes()
    }
}

/// One step of a hash, by a multiplication which carries upwards.
#[inline(always)]
fn mix(hash: usize, word: usize) -> usize {
    (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as usize)
}

/// A loop for lists of two or three, for which a call would cost more.
#[inline(always)]
fn same<T: PartialEq>(a: &[T], b: &[T]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b)
}

/// A hash table with open addressing: a power of two of places, of which half
/// at least are free. It points into the arena it stands beside.
#[derive(Default)]
struct Table {
    places: RefCell<Vec<Option<Place>>>,
    used: Cell<usize>,
}

#[derive(Clone, Copy)]
struct Place {
    hash: usize,
    layout: NonNull<Layout<'static>>,
}

impl Table {
    /// The layout of this hash which is the one.
    #[inline(always)]
    fn find<'a>(&'a self, hash: usize, is: impl Fn(&Layout<'a>) -> bool) -> Option<&'a Layout<'a>> {
        let places = self.places.borrow();
        let mut at = first(hash, places.len());
        while let Some(place) = places.get(at).copied().flatten() {
            if place.hash == hash {
                // SAFETY: what is in the table lies in the arena beside it, which
                // is not reset while the table is borrowed.
                let layout = unsafe { place.layout.cast::<Layout<'a>>().as_ref() };
                if is(layout) {
                    return Some(layout);
                }
            }
            at = (at + 1) & (places.len() - 1);
        }
        None
    }

    fn insert(&self, hash: usize, layout: &Layout<'_>) {
        let places = &mut *self.places.borrow_mut();
        self.used.set(self.used.get() + 1);
        if 2 * self.used.get() > places.len() {
            let more = vec![None; (2 * places.len()).max(64)];
            let old = std::mem::replace(places, more);
            old.into_iter().flatten().for_each(|place| put(places, place));
        }
        put(places, Place { hash, layout: NonNull::from(layout).cast() });
    }

    fn clear(&mut self) {
        self.places.get_mut().fill(None);
        self.used.set(0);
    }

    fn bytes(&self) -> usize {
        self.places.borrow().capacity() * size_of::<Option<Place>>()
    }
}

/// Where the search for a hash begins: at its high bits, which all of its words
/// have reached.
#[inline(always)]
fn first(hash: usize, places: usize) -> usize {
    hash >> (usize::BITS / 2) & places.wrapping_sub(1)
}

/// Puts a layout into the first place which is free.
fn put(places: &mut [Option<Place>], place: Place) {
    let mut at = first(place.hash, places.len());
    while places[at].is_some() {
        at = (at + 1) & (places.len() - 1);
    }
    places[at] = Some(place);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_for_each_shape() {
        let mut layouts = Layouts::default();
        let l = layouts.contiguous(&[2, 3]);
        assert_eq!((l.dims, l.strides, l.len, l.contiguous), (&[2, 3][..], &[3, 1][..], 6, true));
        assert!(std::ptr::eq(l, layouts.contiguous(&[2, 3])));
        let v = layouts.strided(&[3, 2], &[1, 3]);
        assert!(!v.contiguous && std::ptr::eq(v, layouts.strided(&[3, 2], &[1, 3])));
        // Strides along an axis of length 1 are kept as they are.
        let (row_major, other) = (layouts.contiguous(&[4, 1]), layouts.strided(&[4, 1], &[1, 9]));
        assert!(other.contiguous && row_major.strides != other.strides);
        assert_eq!(layouts.contiguous(&[]).len, 1);
        let used = layouts.arena.live_bytes();
        assert!(!layouts.trim());
        layouts.contiguous(&[2, 3]);
        assert_eq!(layouts.arena.live_bytes(), used);
    }

    #[test]
    fn many_are_found_again_and_forgotten() {
        let mut layouts = Layouts::default();
        for _ in 0..2 {
            for n in 0..1000 {
                assert_eq!(layouts.contiguous(&[n, 3]).dims, [n, 3]);
                assert_eq!(layouts.strided(&[n, 3], &[0, n as isize]).strides, [0, n as isize]);
            }
            assert_eq!(layouts.contiguous.used.get(), 1000);
        }
        assert!(layouts.trim());
        assert_eq!((layouts.contiguous.used.get(), layouts.arena.live_bytes()), (0, 0));
        assert_eq!(layouts.contiguous(&[7, 3]).dims, [7, 3]);
    }
}
