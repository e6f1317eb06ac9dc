//! The tensors of a sweep: memory handed out, shared, and taken back
//! last-in-first-out.

use std::ptr::NonNull;

use crate::arena::Arena;
use crate::kernels::Value;
use crate::scalar::Scalar;
use crate::shape::Layout;

/// A tensor of a [`Pool`] (an adjoint or a temporary), by index.
///
/// Four bytes which are cheap to hand on: the tensor itself stays where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held(u32);

impl Held {
    pub(crate) const NONE: Held = Held(u32::MAX);
}

#[derive(Clone, Copy)]
struct Slot {
    data: NonNull<u8>,
    layout: NonNull<Layout<'static>>,
    /// How many use it; 0 when it is free.
    users: u32,
    /// The size class of its memory, or [`BORROWED`].
    class: u8,
    /// The next free slot of its class.
    next: Held,
    /// Whose memory it shows, if not its own.
    owner: Held,
}

/// The class of a slot without memory of its own.
const BORROWED: u8 = 0;

/// Reference-counted tensors, kept in free lists by size class.
///
/// The memory given back last is given out first, so a sweep works in memory
/// which is still in cache, and the peak of what is alive is all it takes.
pub(crate) struct Pool {
    arena: Arena,
    slots: Vec<Slot>,
    free: [Held; CLASSES],
    /// The largest class in use.
    largest: u8,
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
        Pool { arena: Arena::default(), slots: Vec::new(), free: [Held::NONE; CLASSES], largest: 0 }
    }
}

impl Pool {
    /// Takes everything back, with the arena's memory.
    pub(crate) fn reset(&mut self) {
        self.arena.reset();
        self.slots.clear();
        self.free[..=self.largest as usize].fill(Held::NONE);
        self.largest = 0;
    }

    /// What is noted down of the tensors, beside their memory.
    pub(crate) fn list_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
    }

    pub(crate) fn reserved_bytes(&self) -> usize {
        self.arena.reserved_bytes()
    }

    /// A slot of a class: one which was freed, or a new one with this memory.
    #[inline(always)]
    fn slot(&mut self, class: u8, memory: impl FnOnce(&Arena) -> NonNull<u8>) -> (Held, &mut Slot) {
        let free = self.free[class as usize];
        let held = if free != Held::NONE {
            self.free[class as usize] = self.slots[free.0 as usize].next;
            free
        } else {
            self.largest = self.largest.max(class);
            self.slots.push(Slot {
                data: memory(&self.arena),
                layout: NonNull::from(&Layout::SCALAR),
                users: 0,
                class,
                next: Held::NONE,
                owner: Held::NONE,
            });
            Held(self.slots.len() as u32 - 1)
        };
        let slot = &mut self.slots[held.0 as usize];
        slot.users = 1;
        (held, slot)
    }

    /// A tensor of this layout, which is contiguous, and its memory to write.
    #[inline]
    pub(crate) fn fresh<T: Scalar>(&mut self, layout: &Layout<'_>) -> (Held, *mut T) {
        debug_assert!(layout.contiguous);
        let (class, size) = class(layout.len * size_of::<T>());
        let (held, slot) = self.slot(class, |arena| arena.alloc_lines(size));
        slot.layout = NonNull::from(layout).cast();
        (held, slot.data.as_ptr().cast())
    }

    /// A view of memory of `owner`, or of memory which outlives the sweep.
    pub(crate) fn view<T: Scalar>(&mut self, value: Value<'_, T>, owner: Held) -> Held {
        self.retain(owner);
        let (held, slot) = self.slot(BORROWED, |_| NonNull::dangling());
        slot.data = NonNull::new(value.data.cast_mut()).expect("the address of a tensor").cast();
        (slot.layout, slot.owner) = (NonNull::from(value.layout).cast(), owner);
        held
    }

    /// One more user.
    #[inline(always)]
    pub(crate) fn retain(&mut self, held: Held) {
        if held != Held::NONE {
            self.slots[held.0 as usize].users += 1;
        }
    }

    /// One user less; the last one frees it, and what it holds in turn.
    #[inline(always)]
    pub(crate) fn release(&mut self, held: Held) {
        if held != Held::NONE {
            self.release_tensor(held);
        }
    }

    fn release_tensor(&mut self, held: Held) {
        let slot = &mut self.slots[held.0 as usize];
        slot.users -= 1;
        if slot.users > 0 {
            return;
        }
        let class = slot.class as usize;
        slot.next = self.free[class];
        self.free[class] = held;
        // One step deep: views of views own the first memory.
        let owner = std::mem::replace(&mut slot.owner, Held::NONE);
        self.release(owner);
    }

    /// The tensor, to read.
    ///
    /// # Safety
    /// It is held, for as long as the result is used.
    #[inline(always)]
    pub(crate) unsafe fn value<'a, T>(&self, held: Held) -> Value<'a, T> {
        let slot = &self.slots[held.0 as usize];
        // SAFETY: the layout is one of the tape's, which outlive the sweep.
        Value { data: slot.data.as_ptr().cast(), layout: unsafe { slot.layout.as_ref() } }
    }

    /// The memory to write, if it is the tensor's own and has no other user.
    #[inline(always)]
    pub(crate) fn exclusive<T>(&self, held: Held) -> Option<*mut T> {
        let slot = &self.slots[held.0 as usize];
        (slot.users == 1 && slot.class != BORROWED).then_some(slot.data.as_ptr().cast())
    }

    /// Whose memory a view of this tensor shows.
    pub(crate) fn owner(&self, held: Held) -> Held {
        let slot = &self.slots[held.0 as usize];
        if slot.class == BORROWED { slot.owner } else { held }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layouts::Layouts;

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
        let layouts = Layouts::default();
        let [(a, at), (b, _)] = [(); 2].map(|()| pool.fresh::<f32>(layouts.contiguous(&[25])));
        // SAFETY: held.
        let value = unsafe { pool.value::<f32>(a) };
        assert_eq!((value.data, value.layout.dims), (at.cast_const(), &[25][..]));
        pool.retain(b);
        assert!(pool.exclusive::<f32>(b).is_none());
        pool.release(b);
        assert!(pool.exclusive::<f32>(b).is_some());
        pool.release(a);
        assert_eq!(pool.fresh::<f32>(layouts.contiguous(&[32])), (a, at));
        // A view holds what it shows.
        // SAFETY: held.
        let data = unsafe { pool.value::<f32>(b).data };
        let view = pool.view(Value { data, layout: layouts.strided(&[5, 5], &[1, 5]) }, pool.owner(b));
        pool.release(b);
        assert!(pool.exclusive::<f32>(view).is_none());
        assert_ne!(pool.fresh::<f32>(layouts.contiguous(&[25])).0, b);
        pool.release(view);
        assert_eq!(pool.fresh::<f32>(layouts.contiguous(&[32])).0, b);
    }
}
