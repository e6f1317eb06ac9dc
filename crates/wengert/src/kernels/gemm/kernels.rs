//! The inner loops compiled for each instruction set, as tables of functions:
//! which tile is called is decided at run time, its size is compiled in.

#[cfg(all(target_arch = "x86_64", not(miri)))]
use core::arch::x86_64::{__m128, __m128d, __m256, __m256d, __m512, __m512d};

use super::dots::{self, Dots};
#[cfg(any(not(target_arch = "x86_64"), miri, test))]
use super::lanes::Lanes;
use super::pack;
use super::plan::Caches;
use super::simd::Simd;
use super::tile::{self, Tile};
#[cfg(all(target_arch = "x86_64", not(miri)))]
use super::x86::Masked;
use super::{Isa, Mat};

/// The inner loops for one element type on one instruction set.
///
/// # Safety
///
/// Every function requires that the machine has the instruction set, and what
/// its counterpart in [`tile`], [`dots`] or [`pack`](super::pack) requires.
pub(crate) struct Kernels<T: 'static> {
    pub(super) lanes: usize,
    /// See [`Simd::MASKS`].
    pub(super) masks: bool,
    pub(super) caches: &'static Caches,
    /// `tiles[v]` are v + 1 vectors wide. The tallest of a width is what registers
    /// hold; there are those of one vector at least.
    pub(super) tiles: [Tiles<T>; MAX_VECTORS],
    /// `dots[i]` computes i + 1 rows.
    pub(super) dots: &'static [unsafe fn(&Dots<T>)],
    pub(super) pack: unsafe fn(usize, usize, Mat<T>, *mut T, usize),
    /// The kernels with vectors of half the width, for the last few columns,
    /// where narrower vectors are cheaper.
    pub(super) narrow: Option<&'static Kernels<T>>,
}

/// `tiles[i]` computes i + 1 rows.
pub(super) type Tiles<T> = &'static [unsafe fn(&Tile<T>)];

/// As many vectors as the widest tile has.
pub(super) const MAX_VECTORS: usize = 4;

macro_rules! kernels {
    (
        $([enable = $features:literal])?
        $name:ident: $elem:ident in $vector:ty, narrow: $narrow:expr, caches: $caches:expr,
        $($vectors:literal wide: [$($rows:literal)*],)*
        dots: [$($dot_rows:literal x $dot_columns:literal)*],
    ) => {
        pub(super) static $name: Kernels<$elem> = {
            /// # Safety
            ///
            /// See [`tile::tile`].
            $(#[target_feature(enable = $features)])?
            unsafe fn tile<const MR: usize, const NV: usize>(t: &Tile<$elem>) {
                // SAFETY: the caller's contract; the target's features are enabled here.
                unsafe { tile::tile::<$vector, MR, NV>(t) }
            }

            /// # Safety
            ///
            /// See [`dots::dots`].
            $(#[target_feature(enable = $features)])?
            unsafe fn dots<const MR: usize, const NC: usize>(d: &Dots<$elem>) {
                // SAFETY: the caller's contract; the target's features are enabled here.
                unsafe { dots::dots::<$vector, MR, NC>(d) }
            }

            /// # Safety
            ///
            /// See [`pack::pack`].
            $(#[target_feature(enable = $features)])?
            unsafe fn pack(k: usize, n: usize, b: Mat<$elem>, to: *mut $elem, width: usize) {
                // SAFETY: the caller's contract; the target's features are enabled here.
                unsafe { pack::pack::<$vector>(k, n, b, to, width) }
            }

            Kernels {
                lanes: <$vector>::LANES,
                masks: <$vector>::MASKS,
                caches: $caches,
                tiles: {
                    let mut tiles: [Tiles<$elem>; MAX_VECTORS] = [&[]; MAX_VECTORS];
                    $(tiles[$vectors - 1] = &[$(tile::<$rows, $vectors>),*];)*
                    tiles
                },
                dots: &[$(dots::<$dot_rows, $dot_columns>),*],
                pack,
                narrow: $narrow,
            }
        };
    };
}

macro_rules! instruction_set {
    (
        $(#[$cfg:meta])? $([enable = $features:literal])?
        $f32:ident in $f32s:ty, narrow: $narrow32:expr;
        $f64:ident in $f64s:ty, narrow: $narrow64:expr;
        caches: $caches:expr,
        $($shapes:tt)*
    ) => {
        $(#[$cfg])?
        kernels! { $([enable = $features])? $f32: f32 in $f32s, narrow: $narrow32, caches: $caches, $($shapes)* }
        $(#[$cfg])?
        kernels! { $([enable = $features])? $f64: f64 in $f64s, narrow: $narrow64, caches: $caches, $($shapes)* }
    };
}

/// 48 and 1024 KiB.
#[cfg(any(all(target_arch = "x86_64", not(miri)), test))]
static LARGE: Caches = Caches {
    b_in_place: 1 << 15,
    few_rows: 128,
    sliver_rows: 96,
    apart_sliver_rows: 96,
    nc: 512,
    panel_kc: 2048,
    mc: 192,
    pack_a: usize::MAX,
    pack_apart_a: 512,
    apart_panel_kc: 1024,
    dots_from: [1, 1, 4, 8],
    dot_columns_from: [16, 40],
};

/// 32 and 512 KiB.
static SMALL: Caches = Caches {
    b_in_place: 1 << 15,
    few_rows: 16,
    sliver_rows: 300,
    apart_sliver_rows: 64,
    nc: 256,
    panel_kc: 1024,
    mc: 192,
    pack_a: 256,
    pack_apart_a: 64,
    apart_panel_kc: 1024,
    dots_from: [1, 3, 32, 32],
    dot_columns_from: [8, usize::MAX],
};

// 32 registers: 24 of C, 2 of B and one of A leave some to spare. Narrow
// vectors are for the last columns.
macro_rules! avx512_shapes {
    (
        #[$cfg:meta] $([enable = $features:literal])?
        $f32:ident in $f32s:ty, narrow: $narrow32:ident in $narrow32s:ty;
        $f64:ident in $f64s:ty, narrow: $narrow64:ident in $narrow64s:ty;
    ) => {
        instruction_set! {
            #[$cfg]
            $([enable = $features])?
            $f32 in $f32s, narrow: Some(&$narrow32);
            $f64 in $f64s, narrow: Some(&$narrow64);
            caches: &LARGE,
            4 wide: [1 2 3 4 5 6],
            3 wide: [1 2 3 4 5 6 7 8],
            2 wide: [1 2 3 4 5 6 7 8 9 10 11 12],
            1 wide: [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16],
            dots: [1 x 8  2 x 8  3 x 4  4 x 4],
        }
        instruction_set! {
            #[$cfg]
            $([enable = $features])?
            $narrow32 in $narrow32s, narrow: None;
            $narrow64 in $narrow64s, narrow: None;
            caches: &LARGE,
            1 wide: [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16],
            dots: [1 x 8],
        }
    };
}

avx512_shapes! {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    [enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma"]
    AVX512_F32 in Masked<__m512>, narrow: NARROW_F32 in Masked<__m256>;
    AVX512_F64 in Masked<__m512d>, narrow: NARROW_F64 in Masked<__m256d>;
}

// The same by arrays, for machines without it.
avx512_shapes! {
    #[cfg(test)]
    WIDE_F32 in Lanes<f32, 16, true, true>, narrow: HALF_F32 in Lanes<f32, 8, true, true>;
    WIDE_F64 in Lanes<f64, 8, true, true>, narrow: HALF_F64 in Lanes<f64, 4, true, true>;
}

// 16 registers.
instruction_set! {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    [enable = "avx2,fma"]
    AVX2_F32 in __m256, narrow: None;
    AVX2_F64 in __m256d, narrow: None;
    caches: &SMALL,
    4 wide: [1 2 3],
    2 wide: [1 2 3 4 5 6],
    1 wide: [1 2 3 4 5 6 7 8 9 10 11 12],
    dots: [1 x 8  2 x 4  3 x 3],
}

// 16 registers. Every x86-64 has these.
instruction_set! {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    SSE2_F32 in __m128, narrow: None;
    SSE2_F64 in __m128d, narrow: None;
    caches: &SMALL,
    4 wide: [1 2 3],
    2 wide: [1 2 3 4 5 6],
    1 wide: [1 2 3 4 5 6 7 8 9 10 11 12],
    dots: [1 x 8  2 x 4  3 x 3],
}

// 32 registers.
instruction_set! {
    #[cfg(any(all(target_arch = "aarch64", not(miri)), test))]
    NEON_F32 in Lanes<f32, 4, true, false>, narrow: None;
    NEON_F64 in Lanes<f64, 2, true, false>, narrow: None;
    caches: &SMALL,
    4 wide: [1 2 3 4 5 6],
    2 wide: [1 2 3 4 5 6 7 8 9 10 11 12],
    1 wide: [1 2 3 4 5 6 7 8 9 10 11 12],
    dots: [1 x 8  2 x 4  3 x 4  4 x 4],
}

// Who knows how many registers.
instruction_set! {
    #[cfg(any(not(target_arch = "x86_64"), miri, test))]
    PLAIN_F32 in Lanes<f32, 4, false, false>, narrow: None;
    PLAIN_F64 in Lanes<f64, 2, false, false>, narrow: None;
    caches: &SMALL,
    4 wide: [1 2],
    2 wide: [1 2 3 4],
    1 wide: [1 2 3 4 5 6],
    dots: [1 x 4  2 x 2],
}

macro_rules! select {
    ($name:ident: $elem:ident, $avx512:ident, $avx2:ident, $sse2:ident, $neon:ident, $plain:ident) => {
        /// The kernels for an instruction set; where the target cannot have
        /// it, the portable ones.
        pub(super) fn $name(isa: Isa) -> &'static Kernels<$elem> {
            match isa {
                #[cfg(all(target_arch = "x86_64", not(miri)))]
                Isa::Avx512 => &$avx512,
                #[cfg(all(target_arch = "x86_64", not(miri)))]
                Isa::Avx2 => &$avx2,
                #[cfg(all(target_arch = "x86_64", not(miri)))]
                _ => &$sse2,
                #[cfg(all(target_arch = "aarch64", not(miri)))]
                Isa::Neon => &$neon,
                #[cfg(any(not(target_arch = "x86_64"), miri))]
                _ => &$plain,
            }
        }
    };
}

select!(for_f32: f32, AVX512_F32, AVX2_F32, SSE2_F32, NEON_F32, PLAIN_F32);
select!(for_f64: f64, AVX512_F64, AVX2_F64, SSE2_F64, NEON_F64, PLAIN_F64);
