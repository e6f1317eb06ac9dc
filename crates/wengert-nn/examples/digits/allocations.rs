//! Counts what the calling thread asks of the heap.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, with a count of each thread's requests.
pub(crate) struct Counting;

thread_local! {
    // Constant, and without a destructor: reading it allocates nothing, at any
    // time in the life of a thread.
    static REQUESTS: Cell<u64> = const { Cell::new(0) };
}

/// How many times the calling thread has asked for memory so far.
pub(crate) fn requests() -> u64 {
    REQUESTS.get()
}

fn count() {
    REQUESTS.set(REQUESTS.get() + 1);
}

// SAFETY: every request is handed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's contract.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(old, layout) }
    }
}
