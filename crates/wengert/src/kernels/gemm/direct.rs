//! Cuts a product into tiles, and decides what is packed.

use core::mem::MaybeUninit;

use super::kernels::{Kernels, Shape};
use super::tile::{Dots, Tile};
use super::{GemmScalar, Mat};

/// How much of B, in bytes, may be read in place again and again: what stays
/// in a second-level cache.
const B_IN_CACHE: usize = 1 << 20;
/// The k of a packed block: a sliver of B of this depth and two vectors of
/// columns stays in a first-level cache.
const KC: usize = 256;
/// The columns of a packed panel of B.
const NC: usize = 1024;
/// The rows of A which go over one packed panel: with KC, they stay in a
/// second-level cache. Divisible by the heights of the tallest tiles.
const MC: usize = 240;
/// From this many rows on, B is packed by whole panels.
const PANEL_ROWS: usize = 500;
/// Up to this many rows (or columns) a product is taken as dot products, if
/// both operands are contiguous along k.
const DOT_ROWS: usize = 4;
/// What packed memory is aligned to, in bytes: a line of cache, a vector.
const ALIGN: usize = 64;

/// The blocks a product is cut into: nc columns, then kc terms, then mc rows.
struct Plan {
    nc: usize,
    kc: usize,
    mc: usize,
    /// Whether each kc x nc block of B is packed.
    pack: bool,
}

impl Plan {
    fn new<T>(kernels: &Kernels<T>, [m, n, k]: [usize; 3], b_cs: isize) -> Plan {
        let tallest = kernels.main_shape(m).tiles.len();
        let width = kernels.main_shape(m).vectors * kernels.lanes;
        // What is read only once or twice is not worth a copy.
        let stays = n * k * size_of::<T>() <= B_IN_CACHE || m <= 2 * tallest;
        if n == 1 || (b_cs == 1 && stays) {
            Plan { nc: n, kc: k, mc: m, pack: false }
        } else if m <= PANEL_ROWS {
            // One sliver at a time, packed just before its use.
            Plan { nc: width, kc: KC, mc: m, pack: true }
        } else {
            Plan { nc: NC, kc: KC, mc: MC, pack: true }
        }
    }

    fn scratch_len<T>(&self, kernels: &Kernels<T>, n: usize, k: usize) -> usize {
        let columns = if self.pack {
            self.nc.min(n).next_multiple_of(kernels.lanes)
        } else if kernels.pads(n) {
            kernels.lanes
        } else {
            return 0;
        };
        self.kc.min(k) * columns + ALIGN / size_of::<T>()
    }
}

impl<T> Kernels<T> {
    /// The shape of tile for m rows and plenty of columns: the wide one if that
    /// takes all the rows at once, else the squarish one.
    fn main_shape(&self, m: usize) -> &Shape<T> {
        let [wide, square, _] = &self.shapes;
        if m <= wide.tiles.len() { wide } else { square }
    }

    /// Whether n columns leave some to be padded to a whole vector.
    fn pads(&self, n: usize) -> bool {
        !self.masks && n % self.lanes != 0
    }

    /// The next columns to compute, out of n: the kernels to use, the shape of
    /// their tiles, and how many columns those take.
    fn strip(&self, m: usize, n: usize) -> (&Kernels<T>, &Shape<T>, usize) {
        let vectors = match self.narrow {
            Some(narrow) if n <= narrow.lanes => return narrow.strip(m, n),
            // A last vector at most half full is left to the narrow kernels.
            Some(narrow) => (n + narrow.lanes - 1) / self.lanes,
            None if self.masks => n.div_ceil(self.lanes),
            None => n / self.lanes,
        };
        let widest = self.main_shape(m).vectors.min(vectors);
        let fits = |shape: &&Shape<T>| shape.vectors <= widest;
        let shape = self.shapes.iter().find(fits).unwrap_or(&self.shapes[2]);
        (self, shape, n.min(shape.vectors * self.lanes))
    }
}

/// Whether few rows meet few columns along contiguous k: then it is the k which
/// fill the vectors.
fn takes_dots<T>(kernels: &Kernels<T>, [m, n, k]: [usize; 3], a: (isize, isize), b: (isize, isize)) -> bool {
    m.min(n) <= DOT_ROWS && a.1 == 1 && b.0 == 1 && k >= kernels.lanes
}

/// See [`super::scratch_len`].
pub(super) fn scratch_len<T>(
    kernels: &Kernels<T>,
    [m, n, k]: [usize; 3],
    a: (isize, isize),
    b: (isize, isize),
) -> usize {
    if takes_dots(kernels, [m, n, k], a, b) {
        return 0;
    }
    let len = Plan::new(kernels, [m, n, k], b.1).scratch_len(kernels, n, k);
    if n == 1 {
        // A column may be computed as a row; C's stride decides.
        len.max(Plan::new(kernels, [1, m, k], a.0).scratch_len(kernels, m, k))
    } else {
        len
    }
}

/// [`super::gemm`] by the kernels of this crate, for m, n, k > 0.
///
/// # Safety
///
/// As for [`super::gemm`]; the machine has the kernels' instruction set.
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn gemm<T: GemmScalar>(
    kernels: &Kernels<T>,
    [m, n, k]: [usize; 3],
    a: Mat<T>,
    b: Mat<T>,
    c: *mut T,
    rsc: isize,
    add: bool,
    scratch: &mut [MaybeUninit<T>],
) {
    // SAFETY: the caller's contract, passed on; the transpose of C = A B is
    // C^T = B^T A^T.
    unsafe {
        if takes_dots(kernels, [m, n, k], (a.rs, a.cs), (b.rs, b.cs)) {
            let (a_rs, b_cs, add) = (a.rs, b.cs, add);
            let (a, b) = (a.data, b.data);
            if m <= DOT_ROWS {
                let d = Dots { n, k, a, a_rs, b, b_cs, c, c_rs: rsc, c_cs: 1, add };
                (kernels.dots[m - 1])(&d);
            } else {
                let (a, a_rs, b, b_cs) = (b, b_cs, a, a_rs);
                let d = Dots { n: m, k, a, a_rs, b, b_cs, c, c_rs: 1, c_cs: rsc, add };
                (kernels.dots[n - 1])(&d);
            }
        } else if n == 1 && rsc == 1 && a.rs == 1 {
            tiles(kernels, [1, m, k], b.transposed(), a.transposed(), c, 1, add, scratch);
        } else {
            tiles(kernels, [m, n, k], a, b, c, rsc, add, scratch);
        }
    }
}

/// The product by tiles.
///
/// # Safety
///
/// As for [`gemm`].
#[allow(clippy::too_many_arguments)]
unsafe fn tiles<T: GemmScalar>(
    kernels: &Kernels<T>,
    [m, n, k]: [usize; 3],
    a: Mat<T>,
    b: Mat<T>,
    c: *mut T,
    c_rs: isize,
    add: bool,
    scratch: &mut [MaybeUninit<T>],
) {
    let plan = Plan::new(kernels, [m, n, k], b.cs);
    let needed = plan.scratch_len(kernels, n, k);
    assert!(scratch.len() >= needed, "gemm: {} of {needed} elements of scratch", scratch.len());
    let packed = scratch.as_mut_ptr().cast::<T>();
    let packed = packed.wrapping_add(if needed > 0 { packed.align_offset(ALIGN) } else { 0 });

    for (jc, nc) in blocks(n, plan.nc) {
        for (pc, kc) in blocks(k, plan.kc) {
            let add = add || pc > 0;
            for (ic, mc) in blocks(m, plan.mc) {
                let mut j = 0;
                while j < nc {
                    let (kernels, shape, width) = kernels.strip(m, nc - j);
                    let mut sliver = b.from(pc, jc + j);
                    if plan.pack || kernels.pads(width) {
                        // Each sliver is packed just before its first use.
                        let to = packed.wrapping_add(if plan.pack { j * kc } else { 0 });
                        let padded = width.next_multiple_of(kernels.lanes);
                        if ic == 0 {
                            // SAFETY: B has these kc x width elements; slivers
                            // of `kc * padded` follow one another in scratch,
                            // whose length has been checked.
                            unsafe { (kernels.pack)(kc, width, sliver, to, padded) };
                        }
                        sliver = Mat { data: to, rs: padded as isize, cs: 1 };
                    }
                    // SAFETY: the caller's contract: this block of A and C exists.
                    unsafe {
                        let c = c.offset(ic as isize * c_rs).add(jc + j);
                        strip(shape, kernels.lanes, [mc, width, kc], a.from(ic, pc), sliver, c, c_rs, add);
                    }
                    j += width;
                }
            }
        }
    }
}

/// Columns which one tile spans, from the first row to the last.
///
/// # Safety
///
/// As for [`gemm`]; B has unit column stride, and whole vectors where the
/// kernels have no masks; n columns fill all of the shape's vectors but,
/// perhaps, the last.
#[allow(clippy::too_many_arguments)]
unsafe fn strip<T: GemmScalar>(
    shape: &Shape<T>,
    lanes: usize,
    [m, n, k]: [usize; 3],
    a: Mat<T>,
    b: Mat<T>,
    c: *mut T,
    c_rs: isize,
    add: bool,
) {
    let last = n - (shape.vectors - 1) * lanes;
    // Tiles of nearly equal height: a last one of a row or two would be slow.
    let count = m.div_ceil(shape.tiles.len());
    let (height, taller) = (m / count, m % count);
    let mut i = 0;
    for t in 0..count {
        let rows = height + usize::from(t < taller);
        // SAFETY: the caller's contract: rows i..i + rows of A and C exist.
        unsafe {
            let c = c.offset(i as isize * c_rs);
            let tile = Tile { k, a: a.from(i, 0), b: b.data, b_rs: b.rs, c, c_rs, last, add };
            (shape.tiles[rows - 1])(&tile);
        }
        i += rows;
    }
}

/// The starts and lengths of blocks of `size` which cover `0..len`.
fn blocks(len: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..len).step_by(size).map(move |start| (start, size.min(len - start)))
}
