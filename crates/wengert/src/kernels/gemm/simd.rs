//! Vectors of lanes: what a kernel needs from an instruction set.

use super::GemmScalar;

/// As many lanes as the widest vector has.
pub(super) const MAX_LANES: usize = 16;

/// A vector register of some instruction set.
///
/// # Safety
///
/// Every method requires that the machine has that instruction set, and that
/// the code it ends up in is compiled for it: the methods are `inline(always)`,
/// as is everything between them and a function with `#[target_feature]`.
/// Pointers are valid for the lanes named; they need no alignment.
pub(super) trait Simd: Copy {
    type Elem: GemmScalar;

    const LANES: usize;
    /// Whether loading part of a vector costs no more than loading all of it.
    /// Where it does, the last columns of B are packed and padded instead.
    const MASKS: bool;

    unsafe fn splat(x: Self::Elem) -> Self;
    unsafe fn load(from: *const Self::Elem) -> Self;
    /// Loads the first `n` lanes, `n <= LANES`, and zeroes the others.
    unsafe fn load_first(from: *const Self::Elem, n: usize) -> Self;
    unsafe fn store(self, to: *mut Self::Elem);
    /// Stores the first `n` lanes, `n <= LANES`.
    unsafe fn store_first(self, to: *mut Self::Elem, n: usize);
    unsafe fn add(self, other: Self) -> Self;
    /// `self + x * y`.
    unsafe fn add_product(self, x: Self, y: Self) -> Self;
    unsafe fn sum(self) -> Self::Elem;
    /// Interleaves: `[a0, b0, a1, b1, ..]`, first half and second half.
    unsafe fn zip(self, other: Self) -> (Self, Self);
}

/// Lanes as an array, for targets without kernels of their own: fixed counts
/// and straight-line code, which LLVM turns into whatever vectors there are.
///
/// `FUSED` says whether the target multiplies and adds in one instruction
/// (elsewhere `mul_add` would call into libm for every lane).
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(super) struct Lanes<T, const N: usize, const FUSED: bool>([T; N]);

impl<T: GemmScalar, const N: usize, const FUSED: bool> Simd for Lanes<T, N, FUSED> {
    type Elem = T;

    const LANES: usize = N;
    const MASKS: bool = false;

    #[inline(always)]
    unsafe fn splat(x: T) -> Self {
        Lanes([x; N])
    }

    #[inline(always)]
    unsafe fn load(from: *const T) -> Self {
        // SAFETY: the caller vouches for N elements; an array of T is aligned as T is.
        Lanes(unsafe { from.cast::<[T; N]>().read() })
    }

    #[inline(always)]
    unsafe fn load_first(from: *const T, n: usize) -> Self {
        let mut lanes = [T::default(); N];
        for (i, lane) in lanes.iter_mut().enumerate().take(n) {
            // SAFETY: the caller vouches for n elements.
            *lane = unsafe { from.add(i).read() };
        }
        Lanes(lanes)
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut T) {
        // SAFETY: the caller vouches for N elements; an array of T is aligned as T is.
        unsafe { to.cast::<[T; N]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut T, n: usize) {
        for (i, lane) in self.0.into_iter().enumerate().take(n) {
            // SAFETY: the caller vouches for n elements.
            unsafe { to.add(i).write(lane) }
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        let mut out = self;
        for i in 0..N {
            out.0[i] = self.0[i] + other.0[i];
        }
        out
    }

    #[inline(always)]
    unsafe fn add_product(self, x: Self, y: Self) -> Self {
        let mut out = self;
        for i in 0..N {
            out.0[i] = if FUSED { x.0[i].fused(y.0[i], self.0[i]) } else { x.0[i] * y.0[i] + self.0[i] };
        }
        out
    }

    #[inline(always)]
    unsafe fn sum(self) -> T {
        self.0.into_iter().fold(T::default(), |sum, x| sum + x)
    }

    #[inline(always)]
    unsafe fn zip(self, other: Self) -> (Self, Self) {
        let (mut low, mut high) = (self, self);
        for i in 0..N / 2 {
            low.0[2 * i] = self.0[i];
            low.0[2 * i + 1] = other.0[i];
            high.0[2 * i] = self.0[N / 2 + i];
            high.0[2 * i + 1] = other.0[N / 2 + i];
        }
        (low, high)
    }
}
