//! Vectors of lanes: what a kernel needs from an instruction set, and hints.

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
    /// Whether there are loads of part of a vector. Where there are none, the
    /// last columns of B are packed and padded.
    const MASKS: bool;

    unsafe fn splat(x: Self::Elem) -> Self;
    unsafe fn load(from: *const Self::Elem) -> Self;
    /// Loads the first `n` lanes, `n <= LANES`, and zeroes the others.
    #[inline(always)]
    unsafe fn load_first(from: *const Self::Elem, n: usize) -> Self {
        let mut lanes = [Self::Elem::default(); MAX_LANES];
        for (i, lane) in lanes.iter_mut().enumerate().take(n) {
            // SAFETY: the caller vouches for n elements.
            *lane = unsafe { from.add(i).read() };
        }
        // SAFETY: the array has as many elements as any vector.
        unsafe { Self::load(lanes.as_ptr()) }
    }
    /// Loads `n` lanes, which the compiler mostly knows to be all of them.
    #[inline(always)]
    unsafe fn load_some(from: *const Self::Elem, n: usize) -> Self {
        // SAFETY: the caller's contract.
        unsafe { if n == Self::LANES { Self::load(from) } else { Self::load_first(from, n) } }
    }
    unsafe fn store(self, to: *mut Self::Elem);
    /// Stores the first `n` lanes, `n <= LANES`.
    #[inline(always)]
    unsafe fn store_first(self, to: *mut Self::Elem, n: usize) {
        if n == Self::LANES {
            // SAFETY: the caller vouches for n elements.
            return unsafe { self.store(to) };
        }
        let mut lanes = [Self::Elem::default(); MAX_LANES];
        // SAFETY: the array has as many elements as any vector, and the caller
        // vouches for n elements.
        unsafe {
            self.store(lanes.as_mut_ptr());
            for (i, &lane) in lanes.iter().enumerate().take(n) {
                to.add(i).write(lane);
            }
        }
    }
    unsafe fn add(self, other: Self) -> Self;
    /// `self + x * y`.
    unsafe fn add_product(self, x: Self, y: Self) -> Self;
    /// Interleaves: `[a0, b0, a1, b1, ..]`, first half and second half.
    unsafe fn zip(self, other: Self) -> (Self, Self);
    /// The sums over the lanes of each of the first `count` vectors, a power of two
    /// which the compiler knows.
    #[inline(always)]
    unsafe fn sum_each(mut parts: [Self; MAX_LANES], count: usize) -> [Self::Elem; MAX_LANES] {
        // Vectors are zipped in pairs and their halves added, until one is left or
        // every lane is of another: then lane t of vector i is of i + t * left, and
        // of t - span too. Spelled out, since a loop over counts would not be unrolled.
        let (left, span) = ((count / Self::LANES).max(1), count.min(Self::LANES));
        let mut stored = [Self::Elem::default(); MAX_LANES];
        // SAFETY: the trait's contract; left * LANES <= MAX_LANES.
        unsafe {
            if left <= 8 && 8 < count {
                zip_and_add::<Self, 8>(&mut parts);
            }
            if left <= 4 && 4 < count {
                zip_and_add::<Self, 4>(&mut parts);
            }
            if left <= 2 && 2 < count {
                zip_and_add::<Self, 2>(&mut parts);
            }
            if left <= 1 && 1 < count {
                zip_and_add::<Self, 1>(&mut parts);
            }
            for (i, part) in parts.iter().enumerate().take(left) {
                part.store(stored.as_mut_ptr().add(i * Self::LANES));
            }
        }
        let mut sums = stored;
        for (at, sum) in sums.iter_mut().enumerate().take(count) {
            let (i, t) = (at % left, at / left);
            *sum = stored[i * Self::LANES + t];
            for again in 1..Self::LANES / span {
                *sum = *sum + stored[i * Self::LANES + t + again * span];
            }
        }
        sums
    }
    /// Exchanges rows and columns of the first LANES vectors.
    #[inline(always)]
    unsafe fn transpose(square: &mut [Self; MAX_LANES]) {
        // Riffling the rows like a deck of cards does it, as often as the
        // number of lanes has bits.
        let mut riffles = Self::LANES;
        while riffles > 1 {
            let before = *square;
            for i in 0..Self::LANES / 2 {
                // SAFETY: the caller's contract.
                (square[2 * i], square[2 * i + 1]) = unsafe { before[i].zip(before[i + Self::LANES / 2]) };
            }
            riffles /= 2;
        }
    }
    /// Loads a square, LANES rows so many elements apart, with rows and columns
    /// exchanged.
    #[inline(always)]
    unsafe fn load_transposed(from: *const Self::Elem, stride: isize) -> [Self; MAX_LANES] {
        // SAFETY: the caller's contract. Only the first LANES are used; the
        // compiler drops the others.
        unsafe {
            let mut square = [Self::splat(Self::Elem::default()); MAX_LANES];
            for (i, row) in square.iter_mut().enumerate().take(Self::LANES) {
                *row = Self::load(from.offset(i as isize * stride));
            }
            Self::transpose(&mut square);
            square
        }
    }
}

/// Half as many vectors, with the lanes of two in each.
///
/// # Safety
///
/// As for [`Simd`].
#[inline(always)]
unsafe fn zip_and_add<V: Simd, const COUNT: usize>(parts: &mut [V; MAX_LANES]) {
    for i in 0..COUNT {
        // SAFETY: the caller's contract.
        unsafe {
            let (low, high) = parts[i].zip(parts[i + COUNT]);
            parts[i] = low.add(high);
        }
    }
}

/// `N` pointers at equal distances which move together: one per four is kept,
/// the others are 1, 2 or 3 distances from it, which is what an address can
/// hold. Left to itself the compiler keeps one pointer each, or one per step of
/// a loop too, for which there are too few registers.
pub(super) struct Pointers<T, const N: usize> {
    bases: [*const T; MAX_LANES / 4],
    /// In bytes.
    distance: isize,
}

impl<T, const N: usize> Pointers<T, N> {
    /// The first one, and how many elements it is to the next.
    #[inline(always)]
    pub(super) fn new(first: *const T, distance: isize) -> Self {
        let mut bases = [first; MAX_LANES / 4];
        for (group, base) in bases.iter_mut().enumerate().take(N.div_ceil(4)) {
            *base = opaque(first.wrapping_offset(4 * group as isize * distance));
        }
        Pointers { bases, distance: distance * size_of::<T>() as isize }
    }

    #[inline(always)]
    pub(super) fn at(&self, i: usize) -> *const T {
        let base = self.bases[i / 4];
        match i % 4 {
            0 => base,
            1 => base.wrapping_byte_offset(self.distance),
            2 => base.wrapping_byte_offset(2 * self.distance),
            _ => base.wrapping_byte_offset(3 * self.distance),
        }
    }

    /// Moves them so many bytes: past the end after the last step.
    #[inline(always)]
    pub(super) fn advance(&mut self, bytes: isize) {
        for base in self.bases.iter_mut().take(N.div_ceil(4)) {
            *base = opaque(base.wrapping_byte_offset(bytes));
        }
    }
}

/// Hides from the compiler where a pointer comes from, so that it stays in a
/// register of its own.
#[inline(always)]
pub(super) fn opaque<T>(x: *const T) -> *const T {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        let mut x = x;
        // SAFETY: an empty instruction on a register.
        unsafe {
            core::arch::asm!("/* {0} */", inout(reg) x, options(pure, readonly, nostack, preserves_flags));
        }
        x
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    x
}

/// Asks for a line of memory to be in the first-level cache soon; any address will do.
#[inline(always)]
pub(super) fn prefetch<T>(at: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: SSE is part of x86-64, and a prefetch never faults.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = at;
}
