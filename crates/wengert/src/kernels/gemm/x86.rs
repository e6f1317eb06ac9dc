//! The vectors of SSE2, AVX2 and AVX-512, behind [`Simd`].

use core::arch::x86_64::*;

use super::simd::Simd;

/// A register of AVX-512, which has masks: of 512 bits, or half of that.
#[derive(Clone, Copy)]
pub(super) struct Masked<V>(V);

macro_rules! avx512 {
    (
        $register:ident of $lanes:literal $elem:ident, mask $mask:ident,
        $splat:ident, $load:ident, $load_masked:ident, $store:ident, $store_masked:ident,
        $add:ident, $fma:ident, $permute:ident by $index:ident $load_index:ident
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
        }
    };
}

avx512! {
    __m512 of 16 f32, mask __mmask16,
    _mm512_set1_ps, _mm512_loadu_ps, _mm512_maskz_loadu_ps, _mm512_storeu_ps, _mm512_mask_storeu_ps,
    _mm512_add_ps, _mm512_fmadd_ps, _mm512_permutex2var_ps by i32 _mm512_loadu_si512
}

avx512! {
    __m512d of 8 f64, mask __mmask8,
    _mm512_set1_pd, _mm512_loadu_pd, _mm512_maskz_loadu_pd, _mm512_storeu_pd, _mm512_mask_storeu_pd,
    _mm512_add_pd, _mm512_fmadd_pd, _mm512_permutex2var_pd by i64 _mm512_loadu_si512
}

avx512! {
    __m256 of 8 f32, mask __mmask8,
    _mm256_set1_ps, _mm256_loadu_ps, _mm256_maskz_loadu_ps, _mm256_storeu_ps, _mm256_mask_storeu_ps,
    _mm256_add_ps, _mm256_fmadd_ps, _mm256_permutex2var_ps by i32 _mm256_loadu_si256
}

avx512! {
    __m256d of 4 f64, mask __mmask8,
    _mm256_set1_pd, _mm256_loadu_pd, _mm256_maskz_loadu_pd, _mm256_storeu_pd, _mm256_mask_storeu_pd,
    _mm256_add_pd, _mm256_fmadd_pd, _mm256_permutex2var_pd by i64 _mm256_loadu_si256
}

// A mask of the first n lanes is what starts n places before the middle.
static RAMP_32: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
static RAMP_64: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];

macro_rules! avx2 {
    (
        $vector:ident of $lanes:literal $elem:ident, mask $ramp:ident,
        $splat:ident, $load:ident, $load_masked:ident, $store:ident, $store_masked:ident,
        $add:ident, $fma:ident, $zip_low:ident, $zip_high:ident, $swap:ident
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
                // Masked stores take tens of cycles on AMD: not for whole vectors.
                if n == $lanes {
                    // SAFETY: the trait's contract: AVX2 is there, the pointer is valid.
                    return unsafe { $store(to, self) };
                }
                // SAFETY: as for `load_first`.
                unsafe {
                    let mask = _mm256_loadu_si256($ramp.as_ptr().add($lanes - n).cast());
                    $store_masked(to, mask, self)
                }
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
        }
    };
}

avx2! {
    __m256 of 8 f32, mask RAMP_32,
    _mm256_set1_ps, _mm256_loadu_ps, _mm256_maskload_ps, _mm256_storeu_ps, _mm256_maskstore_ps,
    _mm256_add_ps, _mm256_fmadd_ps, _mm256_unpacklo_ps, _mm256_unpackhi_ps, _mm256_permute2f128_ps
}

avx2! {
    __m256d of 4 f64, mask RAMP_64,
    _mm256_set1_pd, _mm256_loadu_pd, _mm256_maskload_pd, _mm256_storeu_pd, _mm256_maskstore_pd,
    _mm256_add_pd, _mm256_fmadd_pd, _mm256_unpacklo_pd, _mm256_unpackhi_pd, _mm256_permute2f128_pd
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
