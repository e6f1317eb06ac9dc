//! Buffers for adjoints: handed out, shared, and taken back last-in-first-out.

use std::ptr::NonNull;

use crate::arena::Arena;
use crate::scalar::Scalar;
use crate::shape::{Dims, Layout, Strides, contiguous_strides, is_contiguous};

/// A buffer of a [`Pool`], by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Buffer(u32);

impl Buffer {
    /// No buffer: the memory belongs to somebody else.
    pub(crate) const NONE: Buffer = Buffer(u32::MAX);
}

#[derive(Clone, Copy)]
struct Slot {
    data: NonNull<u8>,
    class: u8,
    /// How many adjoints use it; 0 when it is free.
    users: u32,
    /// The next free buffer of its class.
    next: Buffer,
}

/// Reference-counted buffers, kept in free lists by size class.
///
/// The buffer given back last is given out first, so a sweep works in memory
/// which is still in cache, and the peak of what is alive is all it takes.
pub(crate) struct Pool {
    arena: Arena,
    slots: Vec<Slot>,
    free: [Buffer; CLASSES],
}

const CLASSES: usize = 256;

/// Classes of 64 bytes at least, then four to the octave: at most a quarter of
/// a buffer is spare.
fn class(bytes: usize) -> (u8, usize) {
    let lines = bytes.div_ceil(64).max(1);
    if lines <= 4 {
        return (lines as u8, lines * 64);
    }
    let octave = (lines - 1).ilog2();
    let step = 1usize << (octave - 2);
    let quarters = (lines - (1 << octave)).div_ceil(step);
    ((4 * octave as usize + quarters) as u8, ((1 << octave) + quarters * step) * 64)
}

impl Default for Pool {
    fn default() -> Self {
        Pool { arena: Arena::default(), slots: Vec::new(), free: [Buffer::NONE; CLASSES] }
    }
}

impl Pool {
    /// Takes every buffer back, with the arena's memory.
    pub(crate) fn reset(&mut self) {
        self.arena.reset();
        self.slots.clear();
        self.free = [Buffer::NONE; CLASSES];
    }

    /// A buffer with one user.
    #[inline]
    pub(crate) fn alloc(&mut self, bytes: usize) -> (Buffer, NonNull<u8>) {
        let (class, size) = class(bytes);
        let free = self.free[class as usize];
        if free != Buffer::NONE {
            let slot = &mut self.slots[free.0 as usize];
            self.free[class as usize] = slot.next;
            slot.users = 1;
            return (free, slot.data);
        }
        let data = self.arena.alloc_lines(size);
        let buffer = Buffer(self.slots.len() as u32);
        self.slots.push(Slot { data, class, users: 1, next: Buffer::NONE });
        (buffer, data)
    }

    /// One more user.
    #[inline]
    pub(crate) fn retain(&mut self, buffer: Buffer) {
        if buffer != Buffer::NONE {
            self.slots[buffer.0 as usize].users += 1;
        }
    }

    /// One user less; the last one frees it.
    #[inline]
    pub(crate) fn release(&mut self, buffer: Buffer) {
        if buffer == Buffer::NONE {
            return;
        }
        let slot = &mut self.slots[buffer.0 as usize];
        slot.users -= 1;
        if slot.users == 0 {
            slot.next = self.free[slot.class as usize];
            self.free[slot.class as usize] = buffer;
        }
    }

    /// Whether there is one user alone, who may therefore write.
    pub(crate) fn is_exclusive(&self, buffer: Buffer) -> bool {
        buffer != Buffer::NONE && self.slots[buffer.0 as usize].users == 1
    }

    /// A layout in a buffer of its own.
    pub(crate) fn layout(&mut self, dims: &[usize], strides: &[isize]) -> (Buffer, NonNull<Layout<'static>>) {
        let rank = dims.len();
        let (buffer, data) = self.alloc(size_of::<Layout<'_>>() + 2 * rank * size_of::<usize>());
        let header = data.cast::<Layout<'static>>();
        // SAFETY: the buffer has room for the header and both lists behind it,
        // which are aligned like it; nobody else uses the buffer.
        unsafe {
            let to = header.as_ptr().add(1).cast::<usize>();
            to.copy_from_nonoverlapping(dims.as_ptr(), rank);
            to.add(rank).cast::<isize>().copy_from_nonoverlapping(strides.as_ptr(), rank);
            header.write(Layout {
                dims: std::slice::from_raw_parts(to, rank),
                strides: std::slice::from_raw_parts(to.add(rank).cast(), rank),
                len: dims.iter().product(),
                contiguous: is_contiguous(dims, strides),
            });
        }
        (buffer, header)
    }

    pub(crate) fn reserved_bytes(&self) -> usize {
        self.arena.reserved_bytes()
    }
}

/// A tensor of a sweep: an adjoint or a temporary.
#[derive(Clone, Copy)]
pub(crate) struct Temporary<T> {
    pub(crate) data: *mut T,
    pub(crate) layout: NonNull<Layout<'static>>,
    /// Who owns the elements, and the layout.
    pub(crate) buffers: [Buffer; 2],
}

impl Pool {
    /// Room for a tensor laid out like `layout`, which is contiguous and
    /// outlives the result.
    #[inline]
    pub(crate) fn like<T: Scalar>(&mut self, layout: &Layout<'_>) -> Temporary<T> {
        debug_assert!(layout.contiguous);
        let (buffer, data) = self.alloc(layout.len * size_of::<T>());
        Temporary { data: data.as_ptr().cast(), layout: NonNull::from(layout).cast(), buffers: [buffer, Buffer::NONE] }
    }

    /// Room for a tensor of this shape.
    pub(crate) fn fresh<T: Scalar>(&mut self, dims: &Dims) -> Temporary<T> {
        let (layout_buffer, layout) = self.layout(dims, &contiguous_strides(dims));
        let len: usize = dims.iter().product();
        let (buffer, data) = self.alloc(len * size_of::<T>());
        Temporary { data: data.as_ptr().cast(), layout, buffers: [buffer, layout_buffer] }
    }

    /// A view of memory whose owner is `owner`.
    pub(crate) fn view<T: Scalar>(
        &mut self,
        data: *mut T,
        owner: Buffer,
        dims: &Dims,
        strides: &Strides,
    ) -> Temporary<T> {
        self.retain(owner);
        let (layout_buffer, layout) = self.layout(dims, strides);
        Temporary { data, layout, buffers: [owner, layout_buffer] }
    }

    pub(crate) fn share<T: Scalar>(&mut self, t: Temporary<T>) -> Temporary<T> {
        t.buffers.into_iter().for_each(|b| self.retain(b));
        t
    }

    pub(crate) fn drop<T: Scalar>(&mut self, t: Temporary<T>) {
        t.buffers.into_iter().for_each(|b| self.release(b));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_waste_at_most_a_quarter() {
        let mut last = (0, 0);
        for bytes in (0..40_000).chain((1..1000).map(|i| i * 1_000_003)) {
            let (class, size) = class(bytes);
            assert!(size >= bytes && (size <= bytes + bytes / 4 + 64), "{bytes} {size}");
            assert!((class, size) >= last || bytes == 1_000_003);
            last = (class, size);
        }
        assert!((super::class(usize::MAX / 2).0 as usize) < CLASSES);
    }

    #[test]
    fn last_in_first_out_and_shared() {
        let mut pool = Pool::default();
        let (a, pa) = pool.alloc(100);
        let (b, _) = pool.alloc(100);
        pool.retain(b);
        pool.release(b);
        pool.release(a);
        assert_eq!(pool.alloc(128), (a, pa));
        assert!(pool.is_exclusive(b));
        pool.release(b);
        assert_eq!(pool.alloc(70).0, b);
    }
}
