//! One contiguous, cache-line aligned buffer which is only reached by pointer.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use crate::arena::CACHE_LINE;
use crate::scalar::Scalar;

/// A growing buffer of numbers.
///
/// Unlike a `Vec`, it hands out pointers which stay valid (until it grows)
/// however its elements are borrowed in between: no reference to the elements
/// is held by the slab itself.
pub(crate) struct Slab<T> {
    data: NonNull<T>,
    len: usize,
    capacity: usize,
}

// SAFETY: a slab owns its numbers, as a `Vec` does.
unsafe impl<T: Scalar> Send for Slab<T> {}
// SAFETY: `&Slab` only reads; writing through `data()` is up to the `unsafe`
// code which does it.
unsafe impl<T: Scalar> Sync for Slab<T> {}

impl<T: Scalar> Slab<T> {
    pub(crate) fn new() -> Self {
        Slab { data: NonNull::dangling(), len: 0, capacity: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn data(&self) -> *mut T {
        self.data.as_ptr()
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        // SAFETY: `len` elements are initialised (grow writes zeros).
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as above, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }

    fn memory(capacity: usize) -> Layout {
        let bytes = capacity.checked_mul(size_of::<T>()).expect("the slab's size fits memory");
        Layout::from_size_align(bytes, CACHE_LINE).expect("the slab's size fits memory")
    }

    /// Makes the slab `len` elements long; new ones are zero.
    pub(crate) fn grow(&mut self, len: usize) {
        if len > self.capacity {
            let capacity = len.max(2 * self.capacity);
            let memory = Self::memory(capacity);
            // SAFETY: `len > capacity >= 0`, so the layout is not empty.
            let data = unsafe { alloc_zeroed(memory) }.cast::<T>();
            let Some(data) = NonNull::new(data) else { handle_alloc_error(memory) };
            // SAFETY: both hold `self.len` elements; one is new.
            unsafe { data.as_ptr().copy_from_nonoverlapping(self.data.as_ptr(), self.len) };
            *self = Slab { data, len: self.len, capacity };
        }
        self.len = self.len.max(len);
    }
}

impl<T> Drop for Slab<T> {
    fn drop(&mut self) {
        if self.capacity > 0 {
            let bytes = self.capacity * size_of::<T>();
            // SAFETY: allocated by `grow` with this layout, which was valid then.
            unsafe {
                dealloc(self.data.as_ptr().cast(), Layout::from_size_align_unchecked(bytes, CACHE_LINE));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_with_zeros() {
        let mut slab = Slab::<f32>::new();
        assert_eq!(slab.as_slice(), &[] as &[f32]);
        slab.grow(3);
        slab.as_mut_slice()[1] = 5.0;
        slab.grow(100);
        assert_eq!(&slab.as_slice()[..4], &[0.0, 5.0, 0.0, 0.0]);
        assert_eq!(slab.data() as usize % CACHE_LINE, 0);
        slab.grow(2);
        assert_eq!(slab.len(), 100);
    }
}
