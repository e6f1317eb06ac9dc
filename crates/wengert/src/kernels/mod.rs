//! Loops over strided memory, which know nothing of tapes.
//!
//! Every kernel reads [`Value`]s and writes one [`Out`], a contiguous buffer.
//! All are `unsafe` for the same reason and under the same contract:
//!
//! * each input's `data` may be read at every position of its layout;
//! * the output may be written (and, when `add` is set, read) at
//!   `data[..len]`, and overlaps no input (`map` has the one exception);
//! * shapes have been checked by the op's layout inference.

pub(crate) mod attention;
pub(crate) mod double;
pub(crate) mod fold;
pub(crate) mod fused;
pub(crate) mod gemm;
pub(crate) mod isa;
pub(crate) mod largest;
pub(crate) mod linalg;
mod lines;
pub(crate) mod map;
mod math;
pub(crate) mod nest;
pub(crate) mod norm;
pub(crate) mod reduce;
pub(crate) mod single;
pub(crate) mod softmax;
pub(crate) mod windows;

use std::cell::{Cell, RefCell};
use std::mem::MaybeUninit;

use crate::arena::CACHE_LINE;
use crate::scalar::Scalar;
use crate::shape::Layout;
use crate::threads::Threads;
use gemm::GemmBackend;
use isa::Isa;

/// A tensor to read.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a, T> {
    pub(crate) data: *const T,
    pub(crate) layout: &'a Layout<'a>,
}

/// A contiguous buffer to write, or to add to.
#[derive(Clone, Copy)]
pub(crate) struct Out<'a, T> {
    pub(crate) data: *mut T,
    pub(crate) dims: &'a [usize],
    pub(crate) len: usize,
    /// Add to what is there instead of writing.
    pub(crate) add: bool,
}

/// What kernels run on.
pub(crate) struct Machine<T> {
    pub(crate) isa: Isa,
    pub(crate) gemm: Cell<GemmBackend>,
    /// Who computes large matrix products.
    pub(crate) threads: RefCell<Threads>,
    /// See [`Machine::with_scratch`].
    scratch: Cell<Vec<MaybeUninit<T>>>,
}

impl<T: Copy> Machine<T> {
    pub(crate) fn new() -> Self {
        Machine { isa: Isa::detect(), gemm: Cell::default(), threads: RefCell::default(), scratch: Cell::default() }
    }

    /// Takes over what was set of another.
    pub(crate) fn follow(&self, other: &Self) {
        self.gemm.set(other.gemm.get());
        self.threads.borrow_mut().clone_from(&other.threads.borrow());
    }

    /// Lends `len` elements of scratch memory, kept for the next call, which begin
    /// with a line of cache: vectors across two lines take twice as long.
    #[inline(always)]
    pub(crate) fn with_scratch(&self, len: usize, f: impl FnOnce(&mut [MaybeUninit<T>])) {
        if len == 0 { f(&mut []) } else { self.lend(len, f) }
    }

    #[inline(never)]
    fn lend(&self, len: usize, f: impl FnOnce(&mut [MaybeUninit<T>])) {
        let mut scratch = self.scratch.take();
        let most = len + CACHE_LINE / size_of::<T>();
        if scratch.len() < most {
            scratch.resize(most, MaybeUninit::uninit());
        }
        let start = scratch.as_ptr().align_offset(CACHE_LINE).min(most - len);
        f(&mut scratch[start..start + len]);
        self.scratch.set(scratch);
    }
}

/// Calls `f` with operands as plain runs, those which are not copied into
/// scratch memory first, and with `extra` elements of scratch, as
/// [`Machine::with_scratch`] lends it. An operand without memory stays null.
///
/// # Safety
/// The inputs' part of the contract above.
pub(crate) unsafe fn with_runs<T: Scalar, const N: usize>(
    m: &Machine<T>,
    inputs: [Value<'_, T>; N],
    extra: usize,
    f: impl FnOnce([*const T; N], &mut [MaybeUninit<T>]),
) {
    let copied = |x: &Value<'_, T>| !x.data.is_null() && !x.layout.contiguous;
    let room: usize = inputs.iter().filter(|x| copied(x)).map(|x| x.layout.len).sum();
    let room = room.next_multiple_of(CACHE_LINE / size_of::<T>());
    m.with_scratch(room + extra, |scratch| {
        let (mut room, extra) = scratch.split_at_mut(room);
        let runs = inputs.map(|x| {
            if !copied(&x) {
                return x.data;
            }
            let (run, rest) = std::mem::take(&mut room).split_at_mut(x.layout.len);
            room = rest;
            let out = Out { data: run.as_mut_ptr().cast(), dims: x.layout.dims, len: run.len(), add: false };
            // SAFETY: the caller's contract; scratch is nobody else's.
            unsafe { map::copy(m.isa, x, out) };
            out.data.cast_const()
        });
        f(runs, extra);
    });
}

impl<'a, T> Value<'a, T> {
    /// What stands for an operand which is not there.
    pub(crate) fn none() -> Self {
        Value { data: std::ptr::null(), layout: &Layout::SCALAR }
    }
}

impl<T: Copy> Value<'_, T> {
    /// Visits every element in row-major order. Values are alive by
    /// construction: whoever made this one had a handle for it.
    pub(crate) fn for_each(self, mut f: impl FnMut(T)) {
        let nest = nest::Nest::new(self.layout.dims, [self.layout.strides]);
        let (len, [step]) = nest.inner();
        nest.for_each(|[offset]| {
            // SAFETY: the nest visits positions of the layout.
            (0..len as isize).for_each(|i| f(unsafe { *self.data.offset(offset + i * step) }));
        });
    }
}
