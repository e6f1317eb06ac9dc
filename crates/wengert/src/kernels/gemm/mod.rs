//! Matrix products: C = A B, or C = S + A B, where S may be C itself.
//!
//! * `simd.rs` says what a vector can do; `x86.rs` has those of SSE2, AVX2 and
//!   AVX-512, `lanes.rs` arrays for all other targets;
//! * `tile.rs`, `dots.rs` and `pack.rs` have the inner loops, generic over the
//!   vector;
//! * `kernels.rs` compiles them for each instruction set;
//! * `plan.rs` decides how a product is cut and what is packed, `direct.rs` does it;
//! * `mm.rs` hands it to the matrixmultiply crate instead;
//! * `split.rs` cuts a large product into blocks for several threads;
//! * `shares.rs` measures what share of the processor's peak they reach.

mod direct;
mod dots;
mod kernels;
#[cfg(any(not(target_arch = "x86_64"), miri, test))]
mod lanes;
mod mm;
mod pack;
mod plan;
#[cfg(all(test, target_arch = "x86_64", not(miri)))]
mod shares;
mod simd;
pub(crate) mod split;
#[cfg(test)]
mod tests;
mod tile;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86;

use core::mem::MaybeUninit;
use core::ops::{Add, Mul, Range};

use crate::arena::CACHE_LINE;
pub(crate) use crate::kernels::isa::Isa;

/// A strided matrix operand: element (i, j) is at `data + i * rs + j * cs`.
/// Strides count elements, and may be zero or negative.
#[derive(Clone, Copy)]
pub(crate) struct Mat<T> {
    pub(crate) data: *const T,
    pub(crate) rs: isize,
    pub(crate) cs: isize,
}

impl<T> Mat<T> {
    /// Rows at this distance, without gaps between their elements.
    pub(crate) fn rows(data: *const T, rs: usize) -> Self {
        Mat { data, rs: rs as isize, cs: 1 }
    }

    pub(crate) fn transposed(self) -> Self {
        Mat { data: self.data, rs: self.cs, cs: self.rs }
    }

    /// From row `i` and column `j` on; anything at or past the end is never read.
    pub(crate) fn from(self, i: usize, j: usize) -> Self {
        let offset = i as isize * self.rs + j as isize * self.cs;
        self.at(offset)
    }

    /// Asks for it to be in the caches soon, if it has `rows` and `columns` and
    /// unit column stride.
    #[inline(always)]
    pub(crate) fn ask(self, rows: usize, columns: usize) {
        for i in 0..rows {
            let row = self.data.wrapping_offset(i as isize * self.rs);
            (0..columns).step_by(CACHE_LINE / size_of::<T>()).for_each(|j| simd::prefetch(row.wrapping_add(j)));
        }
    }

    /// The matrix which begins so many elements further on.
    pub(crate) fn at(self, offset: isize) -> Self {
        Mat { data: self.data.wrapping_offset(offset), ..self }
    }
}

/// What need not be computed of a product, since a matrix is triangular. It may
/// be computed all the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Skip {
    Nothing,
    /// C is wanted, of row i, from column i - d on. The others may be left as they
    /// are.
    BelowC(isize),
    /// A is 0, in row i, after column i + d.
    AboveA(isize),
    /// A is 0, in row i, before column i - d.
    BelowA(isize),
}

impl Skip {
    /// That of C from row `i` and column `j` on.
    #[inline(always)]
    fn from(self, i: usize, j: usize) -> Self {
        let (i, j) = (i as isize, j as isize);
        match self {
            Skip::Nothing => self,
            Skip::BelowC(d) => Skip::BelowC(d - i + j),
            Skip::AboveA(d) => Skip::AboveA(d + i),
            Skip::BelowA(d) => Skip::BelowA(d - i),
        }
    }

    /// That of the terms from `p` on.
    fn onwards(self, p: usize) -> Self {
        let p = p as isize;
        match self {
            Skip::Nothing | Skip::BelowC(_) => self,
            Skip::AboveA(d) => Skip::AboveA(d - p),
            Skip::BelowA(d) => Skip::BelowA(d + p),
        }
    }

    /// Which of k terms count for some rows from `i` on, and the first
    /// columns; `None` if those are not wanted.
    #[inline(always)]
    fn terms(self, i: usize, [rows, columns]: [usize; 2], k: usize) -> Option<Range<usize>> {
        let to = |at: isize| at.clamp(0, k as isize) as usize;
        match self {
            Skip::BelowC(d) if columns as isize <= i as isize - d => None,
            Skip::Nothing | Skip::BelowC(_) => Some(0..k),
            Skip::AboveA(d) => Some(0..to((i + rows) as isize + d)),
            Skip::BelowA(d) => Some(to(i as isize - d)..k),
        }
    }
}

/// Which implementation computes matrix products.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum GemmBackend {
    /// [`Direct`](GemmBackend::Direct), on every instruction set and for every
    /// shape: a training loop which does not allocate is worth more than what
    /// the other could gain anywhere.
    #[default]
    Auto,
    /// The kernels of this crate, compiled for AVX-512, AVX2, NEON and plain
    /// code. They read operands through their strides, pack only where that
    /// pays, and then into the tape's scratch memory: never on the heap.
    Direct,
    /// The `matrixmultiply` crate. It allocates a packing buffer on the heap at
    /// every product, however small, so the loop is no longer free of
    /// allocation. It finds out by itself what the machine can do.
    MatrixMultiply,
}

/// An element type with matrix products.
pub(crate) trait GemmScalar: Copy + Default + Add<Output = Self> + Mul<Output = Self> + 'static {
    /// `self * x + y`, rounded once: fast only where the target has it.
    fn fused(self, x: Self, y: Self) -> Self;

    /// The kernels compiled for an instruction set.
    fn kernels(isa: Isa) -> &'static kernels::Kernels<Self>;

    /// matrixmultiply's product, `m, k, n, alpha`, A, B, `beta`, C, each
    /// matrix with its strides.
    const MATRIXMULTIPLY: mm::Gemm<Self>;

    /// 1.
    const UNIT: Self;
}

impl GemmScalar for f32 {
    #[inline(always)]
    fn fused(self, x: f32, y: f32) -> f32 {
        self.mul_add(x, y)
    }

    fn kernels(isa: Isa) -> &'static kernels::Kernels<f32> {
        kernels::for_f32(isa)
    }

    const MATRIXMULTIPLY: mm::Gemm<f32> = mm::sgemm;
    const UNIT: f32 = 1.0;
}

impl GemmScalar for f64 {
    #[inline(always)]
    fn fused(self, x: f64, y: f64) -> f64 {
        self.mul_add(x, y)
    }

    fn kernels(isa: Isa) -> &'static kernels::Kernels<f64> {
        kernels::for_f64(isa)
    }

    const MATRIXMULTIPLY: mm::Gemm<f64> = mm::dgemm;
    const UNIT: f64 = 1.0;
}

/// How many elements of scratch [`gemm`] wants for a product of this shape,
/// with operands of these (row, column) strides.
pub(crate) fn scratch_len<T: GemmScalar>(
    backend: GemmBackend,
    isa: Isa,
    m: usize,
    n: usize,
    k: usize,
    a: (isize, isize),
    b: (isize, isize),
) -> usize {
    match backend {
        GemmBackend::MatrixMultiply => 0,
        GemmBackend::Auto | GemmBackend::Direct => plan::scratch_len(T::kernels(isa), [m, n, k], a, b),
    }
}

/// C = A B, or C = S + A B with a `start` S.
///
/// A is m x k, B is k x n, C is m x n with unit column stride and row stride
/// `rsc`; S is m x n with unit column stride: C itself, or a row which stands
/// for all of them, with row stride 0. With k = 0 the product is zero. Without
/// a start, or with another than C, C is only written, so it may be
/// uninitialised.
///
/// It is fastest if `scratch` begins with a line of cache, as lent by
/// [`Machine`](crate::kernels::Machine).
///
/// # Safety
///
/// * the machine has the instruction set `isa`, as what [`Isa::detect`] returns;
/// * A, B and S may be read, and C written, at every element;
/// * C overlaps neither operand, its rows do not overlap, and S is C or does
///   not overlap it.
///
/// # Panics
///
/// If `scratch` is shorter than [`scratch_len`].
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn gemm<T: GemmScalar>(
    backend: GemmBackend,
    isa: Isa,
    m: usize,
    n: usize,
    k: usize,
    a: Mat<T>,
    b: Mat<T>,
    c: *mut T,
    rsc: isize,
    start: Option<Mat<T>>,
    skip: Skip,
    scratch: &mut [MaybeUninit<T>],
) {
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        let zero = [T::default()];
        let zero = Mat { data: zero.as_ptr(), rs: 0, cs: 0 };
        // SAFETY: the caller's contract, passed on.
        return unsafe { begin([m, n], c, rsc, Some(start.unwrap_or(zero))) };
    }
    // SAFETY: the caller's contract, passed on.
    unsafe {
        match backend {
            GemmBackend::MatrixMultiply => mm::gemm([m, n, k], a, b, c, rsc, start),
            GemmBackend::Auto | GemmBackend::Direct => {
                direct::gemm(T::kernels(isa), [m, n, k], a, b, c, rsc, start, skip, scratch);
            }
        }
    }
}

/// Copies a start to C, unless that is what it is.
///
/// # Safety
///
/// As for [`gemm`], of C and the start, which may have any strides here.
unsafe fn begin<T: Copy>([m, n]: [usize; 2], c: *mut T, rsc: isize, start: Option<Mat<T>>) {
    let Some(start) = start.filter(|start| !core::ptr::eq(start.data, c)) else { return };
    for i in 0..m {
        for j in 0..n {
            // SAFETY: the caller's contract: both have this element.
            unsafe { c.offset(i as isize * rsc).add(j).write(*start.from(i, j).data) };
        }
    }
}
