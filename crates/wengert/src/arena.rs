//! Memory which is handed out piece by piece and taken back all at once.

use std::alloc::Layout as Memory;
use std::cell::Cell;
use std::ptr::NonNull;

use bumpalo::Bump;

/// Buffers from this many bytes on start on a cache line of their own; smaller
/// ones are packed at their natural alignment.
const LARGE: usize = 256;
/// A line of cache, in bytes.
pub(crate) const CACHE_LINE: usize = 64;

/// A [`Bump`] which settles to one chunk of the size it needs, and counts.
///
/// What it hands out stays put and stays valid until [`Arena::reset`], which
/// takes `&mut self`: nothing borrowed from the arena can be alive then.
#[derive(Default)]
pub(crate) struct Arena {
    bump: Bump,
    live: Cell<usize>,
    high_water: usize,
}

impl Arena {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Arena { bump: Bump::with_capacity(bytes), ..Arena::default() }
    }

    /// Room for `len` elements, uninitialised.
    #[inline]
    pub(crate) fn alloc<T: Copy>(&self, len: usize) -> NonNull<T> {
        let bytes = len * size_of::<T>();
        let align = if bytes >= LARGE { CACHE_LINE.max(align_of::<T>()) } else { align_of::<T>() };
        debug_assert!(bytes <= isize::MAX as usize - CACHE_LINE);
        // SAFETY: `align` is a power of two, and every length has passed
        // `element_count`, which keeps `bytes` rounded up below `isize::MAX`.
        let memory = unsafe { Memory::from_size_align_unchecked(bytes, align) };
        // Counted once it is there: a request beyond all memory panics.
        let data = self.bump.alloc_layout(memory).cast();
        self.live.set(self.live.get() + bytes);
        data
    }

    /// Room for `bytes` bytes from the start of a cache line on.
    pub(crate) fn alloc_lines(&self, bytes: usize) -> NonNull<u8> {
        let memory = Memory::from_size_align(bytes, CACHE_LINE).expect("the size of a tensor fits memory");
        let data = self.bump.alloc_layout(memory);
        self.live.set(self.live.get() + bytes);
        data
    }

    /// A copy of a slice, which may be written to.
    #[inline]
    pub(crate) fn place<T: Copy>(&self, values: &[T]) -> NonNull<T> {
        let to = self.alloc::<T>(values.len());
        // SAFETY: fresh memory for `values.len()` elements, which nobody else has.
        unsafe { to.as_ptr().copy_from_nonoverlapping(values.as_ptr(), values.len()) }
        to
    }

    /// A copy of a slice.
    #[inline]
    pub(crate) fn copy<'a, T: Copy>(&'a self, values: &[T]) -> &'a [T] {
        // SAFETY: so many elements, which live as long as the borrow of the arena.
        unsafe { std::slice::from_raw_parts(self.place(values).as_ptr(), values.len()) }
    }

    /// `n` values made by a function.
    pub(crate) fn fill<T: Copy>(&self, n: usize, mut f: impl FnMut(usize) -> T) -> &[T] {
        let to = self.alloc::<T>(n);
        // SAFETY: fresh memory for `n` elements, all of which are written.
        unsafe {
            (0..n).for_each(|i| to.add(i).write(f(i)));
            std::slice::from_raw_parts(to.as_ptr(), n)
        }
    }

    /// A copy of one value.
    #[inline]
    pub(crate) fn store<T: Copy>(&self, value: T) -> &T {
        &self.copy(&[value])[0]
    }

    /// Takes everything back. Capacity is kept, in one chunk.
    pub(crate) fn reset(&mut self) {
        self.high_water = self.high_water.max(self.live.get());
        self.live.set(0);
        // `Bump::reset` keeps the newest chunk alone. If this turn needed more
        // than one, a single chunk of the sum holds the next turn like it.
        let total = self.bump.allocated_bytes();
        self.bump.reset();
        if self.bump.allocated_bytes() < total {
            // Dropping first lets the allocator reuse the old pages.
            self.bump = Bump::new();
            self.bump = Bump::with_capacity(total);
        }
    }

    /// Writes to every page of the reserve, so that later first writes do not
    /// wait for the operating system.
    pub(crate) fn touch(&mut self) {
        self.reset();
        let bytes = self.bump.chunk_capacity();
        let memory = Memory::from_size_align(bytes, 1).expect("a chunk's size fits a layout");
        let start = self.bump.alloc_layout(memory);
        // SAFETY: `bytes` bytes just allocated, given back by the reset below.
        unsafe { start.as_ptr().write_bytes(0, bytes) };
        self.bump.reset();
    }

    /// Bytes handed out since the last reset.
    pub(crate) fn live_bytes(&self) -> usize {
        self.live.get()
    }

    /// The most bytes ever handed out between two resets.
    pub(crate) fn high_water_bytes(&self) -> usize {
        self.high_water.max(self.live.get())
    }

    /// Bytes taken from the system.
    pub(crate) fn reserved_bytes(&self) -> usize {
        self.bump.allocated_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settles_to_one_chunk() {
        let mut arena = Arena::default();
        let turn = |arena: &Arena| {
            for i in 0..100 {
                let p = arena.alloc::<f32>(1000 + i);
                assert_eq!(p.as_ptr() as usize % CACHE_LINE, 0);
            }
        };
        turn(&arena);
        arena.reset();
        let reserved = arena.reserved_bytes();
        for _ in 0..3 {
            turn(&arena);
            assert_eq!(arena.reserved_bytes(), reserved);
            arena.reset();
        }
        assert_eq!(arena.live_bytes(), 0);
        assert!(arena.high_water_bytes() >= 400_000);
    }

    #[test]
    fn small_buffers_are_packed() {
        let arena = Arena::default();
        for i in 0..10 {
            arena.alloc::<f64>(1);
            assert_eq!(arena.live_bytes(), 8 * (i + 1));
        }
    }
}
