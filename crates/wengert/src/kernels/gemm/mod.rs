//! Matrix products: C = A B, or C += A B.
//!
//! * `simd.rs` says what a vector can do; `x86.rs` has those of SSE2, AVX2 and
//!   AVX-512, `lanes.rs` arrays for all other targets;
//! * `tile.rs` has the inner loops, generic over the vector;
//! * `kernels.rs` compiles them for each instruction set;
//! * `direct.rs` cuts a product into tiles;
//! * `mm.rs` hands it to the matrixmultiply crate instead;
//! * `split.rs` cuts a large product into blocks for several threads.

mod direct;
mod kernels;
#[cfg(any(not(target_arch = "x86_64"), miri, test))]
mod lanes;
mod mm;
mod simd;
pub(crate) mod split;
#[cfg(test)]
mod tests;
mod tile;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86;

use core::mem::MaybeUninit;
use core::ops::{Add, Mul};

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
    fn transposed(self) -> Self {
        Mat { data: self.data, rs: self.cs, cs: self.rs }
    }

    /// From row `i` and column `j` on; anything at or past the end is never read.
    fn from(self, i: usize, j: usize) -> Self {
        let data = self.data.wrapping_offset(i as isize * self.rs + j as isize * self.cs);
        Mat { data, ..self }
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
    #[cfg(any(not(target_arch = "x86_64"), miri, test))]
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
    #[cfg(any(not(target_arch = "x86_64"), miri, test))]
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
    #[cfg(any(not(target_arch = "x86_64"), miri, test))]
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
        GemmBackend::Auto | GemmBackend::Direct => direct::scratch_len(T::kernels(isa), [m, n, k], a, b),
    }
}

/// C = A B, or C += A B when `add` is set.
///
/// A is m x k, B is k x n, C is m x n with unit column stride and row stride
/// `rsc`. With k = 0 the product is zero. Without `add`, C is only written, so
/// it may be uninitialised.
///
/// # Safety
///
/// * the machine has the instruction set `isa`, as what [`Isa::detect`] returns;
/// * A and B may be read, and C written, at every element;
/// * with `add`, C is initialised;
/// * C overlaps neither operand, and its rows do not overlap.
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
    add: bool,
    scratch: &mut [MaybeUninit<T>],
) {
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !add {
            for i in 0..m {
                // SAFETY: C may be written; row i has n elements.
                unsafe {
                    let row = c.offset(i as isize * rsc);
                    core::slice::from_raw_parts_mut(row.cast::<MaybeUninit<T>>(), n)
                        .fill(MaybeUninit::new(T::default()));
                }
            }
        }
        return;
    }
    // SAFETY: the caller's contract, passed on.
    unsafe {
        match backend {
            GemmBackend::MatrixMultiply => mm::gemm([m, n, k], a, b, c, rsc, add),
            GemmBackend::Auto | GemmBackend::Direct => {
                direct::gemm(T::kernels(isa), [m, n, k], a, b, c, rsc, add, scratch);
            }
        }
    }
}
