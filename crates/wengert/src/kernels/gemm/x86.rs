//! The vectors of SSE2, AVX2 and AVX-512, behind [`Simd`].

use core::arch::x86_64::*;

use super::simd::{MAX_LANES, Simd, opaque};

/// A register of AVX-512, which has masks: of 512 bits, or half of that.
#[derive(Clone, Copy)]
pub(super) struct Masked<V>(V);

/// [`Simd::load_transposed`] of vectors of parts of 128 bits, of `per` elements
/// each: parts which come to lie side by side are loaded side by side, which
/// takes no shuffle; those then exchange rows and columns within themselves.
macro_rules! load_transposed {
    ($elem:ident, $lanes:literal by $per:literal, $wrap:path, $splat:ident, $load_parts:ident, $zip_low:ident, $zip_high:ident) => {
        #[inline(always)]
        unsafe fn load_transposed(from: *const $elem, stride: isize) -> [Self; MAX_LANES] {
            const PARTS: usize = $lanes / $per;
            // SAFETY: the trait's contract: the instruction set is there, and the
            // pointers are those of LANES elements in each of LANES rows.
            unsafe {
                let mut square = [Self::splat(0.0); MAX_LANES];
                let mut at = [from; PARTS];
                for (q, at) in at.iter_mut().enumerate() {
                    *at = opaque(from.offset((q * $per) as isize * stride));
                }
                for c in 0..PARTS {
                    let mut rows = [$splat(0.0); $per];
                    for (r, row) in rows.iter_mut().enumerate() {
                        *row = $load_parts(at.map(|at| at.offset(r as isize * stride).add(c * $per)));
                    }
                    let mut riffles = $per;
                    while riffles > 1 {
                        let before = rows;
                        for i in 0..$per / 2 {
                            rows[2 * i] = $zip_low(before[i], before[i + $per / 2]);
                            rows[2 * i + 1] = $zip_high(before[i], before[i + $per / 2]);
                        }
                        riffles /= 2;
                    }
                    for (to, row) in square[c * $per..].iter_mut().zip(rows) {
                        *to = $wrap(row);
                    }
                }
                square
            }
        }
    };
}

/// # Safety
///
/// The machine has AVX-512, and every pointer is valid for a quarter of a vector.
#[inline(always)]
unsafe fn load_quarters_ps(at: [*const f32; 4]) -> __m512 {
    // SAFETY: the caller's contract.
    unsafe {
        let x = _mm512_castps128_ps512(_mm_loadu_ps(at[0]));
        let x = _mm512_insertf32x4::<1>(x, _mm_loadu_ps(at[1]));
        let x = _mm512_insertf32x4::<2>(x, _mm_loadu_ps(at[2]));
        _mm512_insertf32x4::<3>(x, _mm_loadu_ps(at[3]))
    }
}

/// # Safety
///
/// As for [`load_quarters_ps`].
#[inline(always)]
unsafe fn load_quarters_pd(at: [*const f64; 4]) -> __m512d {
    // SAFETY: the caller's contract.
    unsafe { _mm512_castps_pd(load_quarters_ps(at.map(|at| at.cast()))) }
}

/// # Safety
///
/// The machine has AVX2, and every pointer is valid for half a vector.
#[inline(always)]
unsafe fn load_halves_ps(at: [*const f32; 2]) -> __m256 {
    // SAFETY: the caller's contract.
    unsafe { _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(_mm_loadu_ps(at[0])), _mm_loadu_ps(at[1])) }
}

/// # Safety
///
/// As for [`load_halves_ps`].
#[inline(always)]
unsafe fn load_halves_pd(at: [*const f64; 2]) -> __m256d {
    // SAFETY: the caller's contract.
    unsafe { _mm256_castps_pd(load_halves_ps(at.map(|at| at.cast()))) }
}

/// Vectors i and i + bit become one, for each bit below the size of the group:
/// in the end lane t of the first is of vector t. Spelled out, since a loop over
/// bits would not be unrolled.
macro_rules! fold_pairs {
    ($parts:ident, $group:ident, $($bit:literal)*) => {$(
        if $bit < $group {
            for i in 0..$bit {
                $parts[i] = $parts[i].fold::<$bit>($parts[i + $bit]);
            }
        }
    )*};
}

/// Adds up the lanes which are of the same vector.
macro_rules! fold_rest {
    ($parts:ident, $group:ident, $($bit:literal)*) => {$(
        if $bit >= $group && $bit < Self::LANES {
            $parts[0] = $parts[0].fold::<$bit>($parts[0]);
        }
    )*};
}

macro_rules! avx512 {
    (
        $register:ident of $lanes:literal $elem:ident, mask $mask:ident,
        $splat:ident, $load:ident, $load_masked:ident, $store:ident, $store_masked:ident,
        $add:ident, $fma:ident, $permute:ident by $index:ident $load_index:ident,
        parts of $per:literal, $load_parts:ident, $zip_low:ident, $zip_high:ident, $blend:ident
    ) => {
        impl Simd for Masked<$register> {
            type Elem = $elem;

            const LANES: usize = $lanes;
            const MASKS: bool = true;

            #[inline(always)]
            unsafe fn splat(x: $elem) -> Self {
                // SAFETY: the trait's contract: AVX-512 is there.
                Masked(unsafe { $splat(x) })
            }

            #[inline(always)]
            unsafe fn load(from: *const $elem) -> Self {
                // SAFETY: the trait's contract: AVX-512 is there, the pointer is valid.
                Masked(unsafe { $load(from) })
            }

            #[inline(always)]
            unsafe fn load_first(from: *const $elem, n: usize) -> Self {
                // SAFETY: the trait's contract: AVX-512 is there; masked lanes are not touched.
                Masked(unsafe { $load_masked(((1_u32 << n) - 1) as $mask, from) })
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut $elem) {
                // SAFETY: the trait's contract: AVX-512 is there, the pointer is valid.
                unsafe { $store(to, self.0) }
            }

            #[inline(always)]
            unsafe fn store_first(self, to: *mut $elem, n: usize) {
                // SAFETY: the trait's contract: AVX-512 is there; masked lanes are not touched.
                unsafe { $store_masked(to, ((1_u32 << n) - 1) as $mask, self.0) }
            }

            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                // SAFETY: the trait's contract: AVX-512 is there.
                Masked(unsafe { $add(self.0, other.0) })
            }

            #[inline(always)]
            unsafe fn add_product(self, x: Self, y: Self) -> Self {
                // SAFETY: the trait's contract: AVX-512 is there.
                Masked(unsafe { $fma(x.0, y.0, self.0) })
            }

            #[inline(always)]
            unsafe fn zip(self, other: Self) -> (Self, Self) {
                const HALVES: [[$index; $lanes]; 2] = {
                    let mut halves = [[0; $lanes]; 2];
                    let mut i = 0;
                    while i < $lanes {
                        // Even places take from the first vector, odd ones from
                        // the second, whose lanes are numbered from $lanes on.
                        let from = (i / 2 + i % 2 * $lanes) as $index;
                        halves[0][i] = from;
                        halves[1][i] = from + $lanes / 2;
                        i += 1;
                    }
                    halves
                };
                // SAFETY: the trait's contract: AVX-512 is there; each row of
                // the table fills one register.
                unsafe {
                    let low = $load_index(HALVES[0].as_ptr().cast());
                    let high = $load_index(HALVES[1].as_ptr().cast());
                    (Masked($permute(self.0, low, other.0)), Masked($permute(self.0, high, other.0)))
                }
            }

            // One shuffle for each pair, where zipping takes two: all shuffles
            // of such vectors have to go through one port.
            #[inline(always)]
            unsafe fn sum_each(mut parts: [Self; MAX_LANES], count: usize) -> [$elem; MAX_LANES] {
                let group = count.min($lanes);
                let mut sums = [0.0; MAX_LANES];
                for first in (0..count).step_by(group) {
                    let parts = &mut parts[first..];
                    // SAFETY: the trait's contract: AVX-512 is there; the array
                    // has as many elements as any vector.
                    unsafe {
                        fold_pairs!(parts, group, 8 4 2 1);
                        fold_rest!(parts, group, 1 2 4 8);
                        let mut stored = [0.0; MAX_LANES];
                        parts[0].store(stored.as_mut_ptr());
                        sums[first..first + group].copy_from_slice(&stored[..group]);
                    }
                }
                sums
            }

            load_transposed! { $elem, $lanes by $per, Masked, $splat, $load_parts, $zip_low, $zip_high }
        }

        impl Masked<$register> {
            /// Where the number of a lane has the bit, lanes of `other`, else of
            /// `self`: each plus the lane whose number differs in that bit.
            ///
            /// # Safety
            ///
            /// The machine has AVX-512.
            #[inline(always)]
            unsafe fn fold<const BIT: usize>(self, other: Self) -> Self {
                struct Table<const BIT: usize>;
                impl<const BIT: usize> Table<BIT> {
                    const FROM: [$index; $lanes] = {
                        let mut from = [0; $lanes];
                        let mut lane = 0;
                        while lane < $lanes {
                            // Those of `other` are numbered from $lanes on.
                            let whose = if lane & BIT == 0 { 0 } else { $lanes };
                            from[lane] = (whose + (lane ^ BIT)) as $index;
                            lane += 1;
                        }
                        from
                    };
                    const OTHERS: $mask = {
                        let mut mask = 0;
                        let mut lane = 0;
                        while lane < $lanes {
                            mask |= ((lane & BIT != 0) as $mask) << lane;
                            lane += 1;
                        }
                        mask
                    };
                }
                // SAFETY: the caller's contract; the table fills one register.
                unsafe {
                    let from = $load_index(Table::<BIT>::FROM.as_ptr().cast());
                    let own = $blend(Table::<BIT>::OTHERS, self.0, other.0);
                    Masked($add(own, $permute(self.0, from, other.0)))
                }
            }
        }
    };
}

avx512! {
    __m512 of 16 f32, mask __mmask16,
    _mm512_set1_ps, _mm512_loadu_ps, _mm512_maskz_loadu_ps, _mm512_storeu_ps, _mm512_mask_storeu_ps,
    _mm512_add_ps, _mm512_fmadd_ps, _mm512_permutex2var_ps by i32 _mm512_loadu_si512,
    parts of 4, load_quarters_ps, _mm512_unpacklo_ps, _mm512_unpackhi_ps, _mm512_mask_blend_ps
}

avx512! {
    __m512d of 8 f64, mask __mmask8,
    _mm512_set1_pd, _mm512_loadu_pd, _mm512_maskz_loadu_pd, _mm512_storeu_pd, _mm512_mask_storeu_pd,
    _mm512_add_pd, _mm512_fmadd_pd, _mm512_permutex2var_pd by i64 _mm512_loadu_si512,
    parts of 2, load_quarters_pd, _mm512_unpacklo_pd, _mm512_unpackhi_pd, _mm512_mask_blend_pd
}

avx512! {
    __m256 of 8 f32, mask __mmask8,
    _mm256_set1_ps, _mm256_loadu_ps, _mm256_maskz_loadu_ps, _mm256_storeu_ps, _mm256_mask_storeu_ps,
    _mm256_add_ps, _mm256_fmadd_ps, _mm256_permutex2var_ps by i32 _mm256_loadu_si256,
    parts of 4, load_halves_ps, _mm256_unpacklo_ps, _mm256_unpackhi_ps, _mm256_mask_blend_ps
}

avx512! {
    __m256d of 4 f64, mask __mmask8,
    _mm256_set1_pd, _mm256_loadu_pd, _mm256_maskz_loadu_pd, _mm256_storeu_pd, _mm256_mask_storeu_pd,
    _mm256_add_pd, _mm256_fmadd_pd, _mm256_permutex2var_pd by i64 _mm256_loadu_si256,
    parts of 2, load_halves_pd, _mm256_unpacklo_pd, _mm256_unpackhi_pd, _mm256_mask_blend_pd
}

// A mask of the first n lanes is what starts n places before the middle.
static RAMP_32: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
static RAMP_64: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];

macro_rules! avx2 {
    (
        $vector:ident of $lanes:literal $elem:ident, mask $ramp:ident,
        $splat:ident, $load:ident, $load_masked:ident, $store:ident, $store_parts:ident,
        $add:ident, $fma:ident, $zip_low:ident, $zip_high:ident, $swap:ident,
        parts of $per:literal, $load_parts:ident
    ) => {
        impl Simd for $vector {
            type Elem = $elem;

            const LANES: usize = $lanes;
            const MASKS: bool = true;

            #[inline(always)]
            unsafe fn splat(x: $elem) -> Self {
                // SAFETY: the trait's contract: AVX2 is there.
                unsafe { $splat(x) }
            }

            #[inline(always)]
            unsafe fn load(from: *const $elem) -> Self {
                // SAFETY: the trait's contract: AVX2 is there, the pointer is valid.
                unsafe { $load(from) }
            }

            #[inline(always)]
            unsafe fn load_first(from: *const $elem, n: usize) -> Self {
                // SAFETY: the trait's contract: AVX2 is there; n <= LANES keeps
                // within the ramp; masked lanes are not touched.
                unsafe {
                    let mask = _mm256_loadu_si256($ramp.as_ptr().add($lanes - n).cast());
                    $load_masked(from, mask)
                }
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut $elem) {
                // SAFETY: the trait's contract: AVX2 is there, the pointer is valid.
                unsafe { $store(to, self) }
            }

            #[inline(always)]
            unsafe fn store_first(self, to: *mut $elem, n: usize) {
                // Masked stores take tens of cycles on AMD: halves instead.
                // SAFETY: the trait's contract: AVX2 is there, and the pointer
                // is valid for n elements.
                unsafe { $store_parts(to, self, n) }
            }

            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                // SAFETY: the trait's contract: AVX2 is there.
                unsafe { $add(self, other) }
            }

            #[inline(always)]
            unsafe fn add_product(self, x: Self, y: Self) -> Self {
                // SAFETY: the trait's contract: FMA is there.
                unsafe { $fma(x, y, self) }
            }

            #[inline(always)]
            unsafe fn zip(self, other: Self) -> (Self, Self) {
                // SAFETY: the trait's contract: AVX2 is there.
                unsafe {
                    // These interleave within halves of 128 bits, which then change places.
                    let (low, high) = ($zip_low(self, other), $zip_high(self, other));
                    ($swap::<0x20>(low, high), $swap::<0x31>(low, high))
                }
            }

            load_transposed! { $elem, $lanes by $per, core::convert::identity, $splat, $load_parts, $zip_low, $zip_high }
        }
    };
}

avx2! {
    __m256 of 8 f32, mask RAMP_32,
    _mm256_set1_ps, _mm256_loadu_ps, _mm256_maskload_ps, _mm256_storeu_ps, store_first_ps,
    _mm256_add_ps, _mm256_fmadd_ps, _mm256_unpacklo_ps, _mm256_unpackhi_ps, _mm256_permute2f128_ps,
    parts of 4, load_halves_ps
}

avx2! {
    __m256d of 4 f64, mask RAMP_64,
    _mm256_set1_pd, _mm256_loadu_pd, _mm256_maskload_pd, _mm256_storeu_pd, store_first_pd,
    _mm256_add_pd, _mm256_fmadd_pd, _mm256_unpacklo_pd, _mm256_unpackhi_pd, _mm256_permute2f128_pd,
    parts of 2, load_halves_pd
}

/// Stores the first n of 8 lanes.
///
/// # Safety
///
/// The machine has AVX2, and `to` is valid for n <= 8 elements.
#[inline(always)]
unsafe fn store_first_ps(mut to: *mut f32, x: __m256, n: usize) {
    // SAFETY: the caller's contract; the parts stored are n elements.
    unsafe {
        if n >= 8 {
            return _mm256_storeu_ps(to, x);
        }
        let mut low = _mm256_castps256_ps128(x);
        if n & 4 != 0 {
            _mm_storeu_ps(to, low);
            (to, low) = (to.add(4), _mm256_extractf128_ps::<1>(x));
        }
        if n & 2 != 0 {
            _mm_storel_pd(to.cast(), _mm_castps_pd(low));
            (to, low) = (to.add(2), _mm_movehl_ps(low, low));
        }
        if n & 1 != 0 {
            _mm_store_ss(to, low);
        }
    }
}

/// Stores the first n of 4 lanes.
///
/// # Safety
///
/// The machine has AVX2, and `to` is valid for n <= 4 elements.
#[inline(always)]
unsafe fn store_first_pd(mut to: *mut f64, x: __m256d, n: usize) {
    // SAFETY: the caller's contract; the parts stored are n elements.
    unsafe {
        if n >= 4 {
            return _mm256_storeu_pd(to, x);
        }
        let mut low = _mm256_castpd256_pd128(x);
        if n & 2 != 0 {
            _mm_storeu_pd(to, low);
            (to, low) = (to.add(2), _mm256_extractf128_pd::<1>(x));
        }
        if n & 1 != 0 {
            _mm_store_sd(to, low);
        }
    }
}

macro_rules! sse2 {
    (
        $vector:ident of $lanes:literal $elem:ident, $splat:ident, $load:ident, $store:ident,
        $add:ident, $mul:ident, $zip_low:ident, $zip_high:ident
    ) => {
        impl Simd for $vector {
            type Elem = $elem;

            const LANES: usize = $lanes;
            const MASKS: bool = false;

            #[inline(always)]
            unsafe fn splat(x: $elem) -> Self {
                // SAFETY: x86-64 has SSE2.
                unsafe { $splat(x) }
            }

            #[inline(always)]
            unsafe fn load(from: *const $elem) -> Self {
                // SAFETY: x86-64 has SSE2; the trait's contract: the pointer is valid.
                unsafe { $load(from) }
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut $elem) {
                // SAFETY: x86-64 has SSE2; the trait's contract: the pointer is valid.
                unsafe { $store(to, self) }
            }

            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                // SAFETY: x86-64 has SSE2.
                unsafe { $add(self, other) }
            }

            #[inline(always)]
            unsafe fn add_product(self, x: Self, y: Self) -> Self {
                // SAFETY: x86-64 has SSE2.
                unsafe { $add(self, $mul(x, y)) }
            }

            #[inline(always)]
            unsafe fn zip(self, other: Self) -> (Self, Self) {
                // SAFETY: x86-64 has SSE2.
                unsafe { ($zip_low(self, other), $zip_high(self, other)) }
            }
        }
    };
}

sse2! {
    __m128 of 4 f32, _mm_set1_ps, _mm_loadu_ps, _mm_storeu_ps,
    _mm_add_ps, _mm_mul_ps, _mm_unpacklo_ps, _mm_unpackhi_ps
}

sse2! {
    __m128d of 2 f64, _mm_set1_pd, _mm_loadu_pd, _mm_storeu_pd,
    _mm_add_pd, _mm_mul_pd, _mm_unpacklo_pd, _mm_unpackhi_pd
}
