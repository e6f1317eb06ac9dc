//! The tensors of a sweep: memory handed out, shared, and taken back
//! last-in-first-out.

use std::ptr::NonNull;

use crate::arena::Arena;
use crate::kernels::Value;
use crate::scalar::Scalar;
use crate::shape::{Dims, Layout, Strides};

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
    /// Whose memory its layout lies in, if it is the pool's.
    layout_owner: Held,
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
        Pool { arena: Arena::default(), slots: Vec::new(), free: [Held::NONE; CLASSES] }
    }
}

impl Pool {
    /// Takes everything back, with the arena's memory.
    pub(crate) fn reset(&mut self) {
        self.arena.reset();
        self.slots.clear();
        self.free = [Held::NONE; CLASSES];
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
            self.slots.push(Slot {
                data: memory(&self.arena),
                layout: NonNull::from(&Layout::SCALAR),
                users: 0,
                class,
                next: Held::NONE,
                owner: Held::NONE,
                layout_owner: Held::NONE,
            });
            Held(self.slots.len() as u32 - 1)
        };
        let slot = &mut self.slots[held.0 as usize];
        slot.users = 1;
        (held, slot)
    }

    /// Memory with one user.
    #[inline(always)]
    fn alloc(&mut self, bytes: usize) -> (Held, &mut Slot) {
        let (class, size) = class(bytes);
        self.slot(class, |arena| arena.alloc_lines(size))
    }

    /// Room for a tensor laid out like `layout`, which is contiguous and lies
    /// in memory of `layout_owner`, or outlives the sweep.
    #[inline]
    pub(crate) fn like<T: Scalar>(&mut self, layout: &Layout<'_>, layout_owner: Held) -> Held {
        debug_assert!(layout.contiguous);
        self.retain(layout_owner);
        let (held, slot) = self.alloc(layout.len * size_of::<T>());
        slot.layout = NonNull::from(layout).cast();
        slot.layout_owner = layout_owner;
        held
    }

    /// Room for a tensor of this shape.
    pub(crate) fn fresh<T: Scalar>(&mut self, dims: &Dims) -> Held {
        let len = dims.iter().product::<usize>();
        let (layout_owner, layout) = self.layout(dims, len, None);
        let (held, slot) = self.alloc(len * size_of::<T>());
        (slot.layout, slot.layout_owner) = (layout, layout_owner);
        held
    }

    /// A view of memory of `owner`, or of memory which outlives the sweep.
    pub(crate) fn view<T: Scalar>(&mut self, data: *const T, owner: Held, dims: &Dims, strides: &Strides) -> Held {
        self.retain(owner);
        let (layout_owner, layout) = self.layout(dims, dims.iter().product(), Some(strides));
        self.borrowed(data, owner, layout, layout_owner)
    }

    /// A tensor whose memory and layout outlive the sweep.
    pub(crate) fn constant<T: Scalar>(&mut self, value: Value<'_, T>) -> Held {
        self.borrowed(value.data, Held::NONE, NonNull::from(value.layout).cast(), Held::NONE)
    }

    fn borrowed<T: Scalar>(
        &mut self,
        data: *const T,
        owner: Held,
        layout: NonNull<Layout<'static>>,
        layout_owner: Held,
    ) -> Held {
        let (held, slot) = self.slot(BORROWED, |_| NonNull::dangling());
        slot.data = NonNull::new(data.cast_mut()).expect("the address of a tensor").cast();
        (slot.layout, slot.owner, slot.layout_owner) = (layout, owner, layout_owner);
        held
    }

    /// A layout in memory of its own.
    fn layout(&mut self, dims: &[usize], len: usize, strides: Option<&[isize]>) -> (Held, NonNull<Layout<'static>>) {
        let (held, slot) = self.alloc(Layout::bytes(dims.len()));
        // SAFETY: memory of that size from the start of a cache line on, with
        // one user; it stays as long as it is held.
        (held, NonNull::from(unsafe { Layout::place(slot.data, dims, len, strides) }))
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
        if slot.owner != Held::NONE || slot.layout_owner != Held::NONE {
            let held = [slot.layout_owner, slot.owner];
            (slot.owner, slot.layout_owner) = (Held::NONE, Held::NONE);
            // One step deep in practice: views of views own the first memory.
            held.into_iter().for_each(|h| self.release(h));
        }
    }

    /// The tensor, to read.
    ///
    /// # Safety
    /// It is held, for as long as the result is used.
    #[inline(always)]
    pub(crate) unsafe fn value<'a, T>(&self, held: Held) -> Value<'a, T> {
        let slot = &self.slots[held.0 as usize];
        // SAFETY: the layout lives as long as the tensor does: in a tape's
        // arena, or in memory which the tensor holds.
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

    /// Whose memory its layout lies in.
    #[inline(always)]
    pub(crate) fn layout_owner(&self, held: Held) -> Held {
        self.slots[held.0 as usize].layout_owner
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
        let (a, b) = (pool.fresh::<f32>(&Dims::from_slice(&[25])), pool.fresh::<f32>(&Dims::from_slice(&[25])));
        // SAFETY: held.
        let (at, shape) = unsafe { (pool.value::<f32>(a).data, pool.value::<f32>(a).layout) };
        assert_eq!(shape.dims, [25]);
        pool.retain(b);
        assert!(pool.exclusive::<f32>(b).is_none());
        pool.release(b);
        assert!(pool.exclusive::<f32>(b).is_some());
        let layout = Layout { dims: &[32], strides: &[1], len: 32, contiguous: true };
        pool.release(a);
        let c = pool.like::<f32>(&layout, Held::NONE);
        assert_eq!(pool.exclusive::<f32>(c).unwrap().cast_const(), at);
        // A view holds what it shows.
        // SAFETY: held.
        let data = unsafe { pool.value::<f32>(b).data };
        let view = pool.view(data, pool.owner(b), &Dims::from_slice(&[5, 5]), &Strides::from_slice(&[1, 5]));
        pool.release(b);
        assert!(pool.exclusive::<f32>(view).is_none());
        assert_ne!(pool.fresh::<f32>(&Dims::from_slice(&[25])), b);
        pool.release(view);
        assert_eq!(pool.like::<f32>(&layout, Held::NONE), b);
    }
}
