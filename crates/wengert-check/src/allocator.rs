//! An allocator which counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static REQUESTS: Cell<u64> = const { Cell::new(0) };
    static HELD: Cell<i64> = const { Cell::new(0) };
}

/// The system's allocator, with a count of every request which the calling
/// thread makes of it, to see that a loop allocates nothing, and of the bytes
/// it holds.
///
/// ```
/// use wengert_check::CountingAllocator;
/// #[global_allocator]
/// static ALLOCATOR: CountingAllocator = CountingAllocator;
///
/// let before = CountingAllocator::requests();
/// let kept = std::hint::black_box(Box::new(1));
/// assert_eq!(CountingAllocator::requests() - before, 1);
/// # drop(kept);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct CountingAllocator;

impl CountingAllocator {
    /// The requests of this thread so far.
    pub fn requests() -> u64 {
        REQUESTS.with(Cell::get)
    }

    /// The bytes this thread asked for so far, less those it gave back: below 0
    /// if it gave back what another had asked for.
    ///
    /// ```
    /// use wengert_check::CountingAllocator;
    /// #[global_allocator]
    /// static ALLOCATOR: CountingAllocator = CountingAllocator;
    ///
    /// let before = CountingAllocator::held_bytes();
    /// let kept = std::hint::black_box(vec![0_u64; 10]);
    /// assert_eq!(CountingAllocator::held_bytes() - before, 80);
    /// drop(kept);
    /// assert_eq!(CountingAllocator::held_bytes() - before, 0);
    /// ```
    pub fn held_bytes() -> i64 {
        HELD.with(Cell::get)
    }

    fn count(size: usize) {
        REQUESTS.with(|n| n.set(n.get() + 1));
        HELD.with(|n| n.set(n.get() + size as i64));
    }

    fn give_back(size: usize) {
        HELD.with(|n| n.set(n.get() - size as i64));
    }
}

// SAFETY: hands on to the system's allocator; counting touches a thread-local
// which needs no memory of its own.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size());
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size());
        // SAFETY: the caller's contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, data: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        Self::count(new_size);
        Self::give_back(layout.size());
        // SAFETY: the caller's contract.
        unsafe { System.realloc(data, layout, new_size) }
    }

    unsafe fn dealloc(&self, data: *mut u8, layout: Layout) {
        Self::give_back(layout.size());
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(data, layout) }
    }
}
