//! Vectors as arrays, for targets without vectors of their own here, and Miri.

use super::GemmScalar;
use super::simd::Simd;

/// Lanes as an array, for targets without kernels of their own: fixed counts
/// and straight-line code, which LLVM turns into whatever vectors there are.
///
/// `FUSED` says whether the target multiplies and adds in one instruction
/// (elsewhere `mul_add` would call into libm for every lane), `MASKS` whether
/// it loads parts of vectors.
#[derive(Clone, Copy)]
pub(super) struct Lanes<T, const N: usize, const FUSED: bool, const MASKS: bool>([T; N]);

impl<T: GemmScalar, const N: usize, const FUSED: bool, const MASKS: bool> Simd for Lanes<T, N, FUSED, MASKS> {
    type Elem = T;

    const LANES: usize = N;
    const MASKS: bool = MASKS;

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
    unsafe fn store(self, to: *mut T) {
        // SAFETY: the caller vouches for N elements; an array of T is aligned as T is.
        unsafe { to.cast::<[T; N]>().write(self.0) }
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
