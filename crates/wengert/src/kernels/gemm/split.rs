//! Products which are put together before they run: large ones on several
//! threads, each a block of C at a time.

use core::mem::MaybeUninit;
use core::ops::Range;

use super::{GemmBackend, GemmScalar, Isa, Mat, Skip, direct, gemm, scratch_len};
use crate::kernels::Machine;
use crate::threads::{Pointer, Threads};

/// Multiply-adds from which on a block is worth handing to another thread:
/// some tens of microseconds.
const WORK: usize = 1 << 21;
/// The rows and columns of a block, where there are plenty of both: packing
/// them is then little beside the product.
const ROWS: usize = 256;
const COLUMNS: usize = 256;
/// The columns of the narrowest block. Those of all are a multiple of what the
/// widest tile takes.
const NARROW: usize = 64;

/// How C is cut into blocks. This depends on its shape, not on the number of
/// threads, and so does every rounding of the result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks {
    m: usize,
    n: usize,
    k: usize,
    rows: usize,
    columns: usize,
}

/// A product as [`gemm`] has it, C = A B or C = S + A B.
pub(crate) struct Product<T> {
    pub(crate) backend: GemmBackend,
    pub(crate) isa: Isa,
    /// m, n and k.
    pub(crate) shape: [usize; 3],
    pub(crate) a: Mat<T>,
    pub(crate) b: Mat<T>,
    pub(crate) c: *mut T,
    pub(crate) rsc: isize,
    pub(crate) start: Option<Mat<T>>,
    pub(crate) skip: Skip,
}

// SAFETY: pointers and numbers; reading and writing what they point to is up
// to the `unsafe` code which does it.
unsafe impl<T: Send + Sync> Sync for Product<T> {}

impl Blocks {
    /// The blocks of a product with a C of m x n, or `None` if it is too small
    /// to be cut.
    #[inline]
    pub(crate) fn of([m, n, k]: [usize; 3]) -> Option<Blocks> {
        if m.saturating_mul(n).saturating_mul(k) < 2 * WORK {
            return None;
        }
        let (rows, columns) = if m >= 2 * ROWS {
            (ROWS, COLUMNS)
        } else {
            (m, (WORK / m.saturating_mul(k).max(1)).next_multiple_of(NARROW).max(NARROW))
        };
        let blocks = Blocks { m, n, k, rows, columns };
        (blocks.count() > 1).then_some(blocks)
    }

    fn count(&self) -> usize {
        self.m.div_ceil(self.rows) * self.n.div_ceil(self.columns)
    }

    /// The rows and columns of a block. Blocks with the same columns of B
    /// follow one another.
    fn get(&self, block: usize) -> (Range<usize>, Range<usize>) {
        let down = self.m.div_ceil(self.rows);
        let (i, j) = (block % down * self.rows, block / down * self.columns);
        (i..self.m.min(i + self.rows), j..self.n.min(j + self.columns))
    }
}

impl<T: GemmScalar + Send + Sync> Product<T> {
    /// All of the product, written to rows of C at this distance, or added to
    /// them.
    #[inline(always)]
    pub(crate) fn new(
        machine: &Machine<T>,
        shape: [usize; 3],
        [a, b]: [Mat<T>; 2],
        c: *mut T,
        rsc: usize,
        add: bool,
    ) -> Self {
        let (backend, isa, start) = (machine.gemm.get(), machine.isa, add.then(|| Mat::rows(c, rsc)));
        Product { backend, isa, shape, a, b, c, rsc: rsc as isize, start, skip: Skip::Nothing }
    }

    /// How many elements of scratch it wants.
    #[inline]
    pub(crate) fn scratch_len(&self) -> usize {
        let [m, n, k] = self.shape;
        scratch_len::<T>(self.backend, self.isa, m, n, k, (self.a.rs, self.a.cs), (self.b.rs, self.b.cs))
    }

    /// Computes it.
    ///
    /// # Safety
    ///
    /// As for [`gemm`].
    ///
    /// # Panics
    ///
    /// If `scratch` is shorter than [`Product::scratch_len`].
    #[inline]
    pub(crate) unsafe fn run(&self, scratch: &mut [MaybeUninit<T>]) {
        let Product { backend, isa, shape: [m, n, k], a, b, c, rsc, start, skip } = *self;
        // SAFETY: the caller's contract.
        unsafe { gemm(backend, isa, m, n, k, a, b, c, rsc, start, skip, scratch) }
    }

    /// [`Product::run`], if that needs no scratch and is done by one call of a
    /// kernel. Says whether it was.
    ///
    /// # Safety
    ///
    /// As for [`gemm`].
    #[inline(always)]
    pub(crate) unsafe fn run_at_once(&self) -> bool {
        let Product { backend, isa, shape, a, b, c, rsc, start, .. } = *self;
        // SAFETY: the caller's contract.
        backend != GemmBackend::MatrixMultiply
            && !shape.contains(&0)
            && unsafe { direct::at_once(T::kernels(isa), shape, [a, b], c, rsc, start) }
    }

    /// The part of it which gives a block of C.
    fn part(&self, blocks: Blocks, block: usize) -> Self {
        let Product { backend, isa, a, b, c, rsc, start, skip, .. } = *self;
        let (rows, columns) = blocks.get(block);
        let shape = [rows.len(), columns.len(), blocks.k];
        let (a, b) = (a.from(rows.start, 0), b.from(0, columns.start));
        let c = c.wrapping_offset(rows.start as isize * rsc).wrapping_add(columns.start);
        let start = start.map(|start| start.from(rows.start, columns.start));
        let skip = skip.from(rows.start, columns.start);
        Product { backend, isa, shape, a, b, c, rsc, start, skip }
    }

    /// How many elements of scratch the product of any block wants.
    pub(crate) fn scratch_len_of(&self, blocks: Blocks) -> usize {
        (0..blocks.count()).map(|block| self.part(blocks, block).scratch_len()).max().unwrap_or(0)
    }

    /// Computes the blocks, with an equal part of `scratch` for each thread.
    ///
    /// # Safety
    ///
    /// As for [`gemm`].
    ///
    /// # Panics
    ///
    /// If a thread's part is shorter than [`Product::scratch_len_of`].
    pub(crate) unsafe fn run_blocks(&self, threads: &Threads, blocks: Blocks, scratch: &mut [MaybeUninit<T>]) {
        let each = scratch.len() / threads.count();
        let scratch = Pointer::new(scratch.as_mut_ptr());
        threads.run(blocks.count(), &|thread, block| {
            // SAFETY: the caller's contract for a part of C which no other
            // block has; no other task has the same number of thread at the
            // same time, so this part of the scratch memory is free.
            unsafe {
                let scratch = core::slice::from_raw_parts_mut(scratch.get().add(thread * each), each);
                self.part(blocks, block).run(scratch);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_products_are_cut() {
        assert!(Blocks::of([64, 64, 64]).is_none());
        assert!(Blocks::of([0, 1 << 20, 1 << 10]).is_none());
        assert!(Blocks::of([1 << 20, 1 << 20, 0]).is_none());
        assert!(Blocks::of([1 << 10, 10, 1 << 11]).is_some_and(|b| b.count() == 4));
        assert!(Blocks::of([64, 512, 784]).is_some_and(|b| b.count() > 1));
        assert!(Blocks::of([1 << 10; 3]).is_some_and(|b| b.count() == 16));
    }

    /// Blocks of every shape, on one thread and on three, give what the whole
    /// gives; of small integers, so that nothing is rounded.
    #[test]
    fn blocks_make_up_the_product() {
        let [m, n, k] = [7, 10, 5];
        let data = |len: usize| (0..len).map(|i| (i * 7 % 5) as f32 - 2.0).collect::<Vec<_>>();
        let (a, b) = (data(m * k), data(k * n));
        let want: Vec<f32> =
            (0..m * n).map(|at| (0..k).map(|p| a[at / n * k + p] * b[p * n + at % n]).sum::<f32>() + 1.0).collect();
        for threads in [1, 3].map(Threads::new) {
            for (rows, columns) in [(1, 1), (3, 4), (7, 3), (2, 10), (7, 10)] {
                let blocks = Blocks { m, n, k, rows, columns };
                let mut c = vec![1.0; m * n];
                let data = c.as_mut_ptr();
                let product = Product {
                    backend: GemmBackend::Direct,
                    isa: Isa::detect(),
                    shape: [m, n, k],
                    a: Mat { data: a.as_ptr(), rs: k as isize, cs: 1 },
                    b: Mat { data: b.as_ptr(), rs: n as isize, cs: 1 },
                    c: data,
                    rsc: n as isize,
                    start: Some(Mat { data, rs: n as isize, cs: 1 }),
                    skip: Skip::Nothing,
                };
                let len = product.scratch_len_of(blocks) * threads.count();
                let mut scratch = vec![MaybeUninit::uninit(); len];
                // SAFETY: the matrices are as large as they are said to be.
                unsafe { product.run_blocks(&threads, blocks, &mut scratch) };
                assert_eq!(c, want, "{blocks:?}");
            }
        }
    }
}
