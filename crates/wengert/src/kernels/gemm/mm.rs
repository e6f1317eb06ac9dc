//! The matrixmultiply crate as a backend.

use super::{GemmScalar, Mat, begin};

pub(super) use matrixmultiply::{dgemm, sgemm};

/// The signature of [`sgemm`] and [`dgemm`].
pub(super) type Gemm<T> =
    unsafe fn(usize, usize, usize, T, *const T, isize, isize, *const T, isize, isize, T, *mut T, isize, isize);

/// [`super::gemm`] by matrixmultiply, for m, n, k > 0.
///
/// It allocates a buffer to pack both operands, at every call. With beta = 0
/// it does not read C.
///
/// # Safety
///
/// As for [`super::gemm`].
pub(super) unsafe fn gemm<T: GemmScalar>(
    [m, n, k]: [usize; 3],
    a: Mat<T>,
    b: Mat<T>,
    c: *mut T,
    rsc: isize,
    start: Option<Mat<T>>,
) {
    let beta = if start.is_some() { T::UNIT } else { T::default() };
    // SAFETY: the caller's contract, passed on.
    unsafe {
        begin([m, n], c, rsc, start);
        (T::MATRIXMULTIPLY)(m, k, n, T::UNIT, a.data, a.rs, a.cs, b.data, b.rs, b.cs, beta, c, rsc, 1);
    }
}
