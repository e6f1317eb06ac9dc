//! Cuts a product into tiles, and decides what is packed.

use core::mem::MaybeUninit;

use super::kernels::{Kernels, Shape};
use super::tile::{Dots, Tile};
use super::{GemmScalar, Mat};

/// How much of B, in bytes, may be read in place again and again: half of what
/// a second-level cache holds.
const B_IN_CACHE: usize = 1 << 19;
/// Up to this many rows, a larger B is not worth a copy either.
const FEW_ROWS: usize = 96;
/// The k of a block of B, when B is larger: a sliver of two vectors of columns
/// then stays in a first-level cache.
const KC: usize = 256;
/// From this many rows on, B is packed by whole panels, and A too if enough
/// columns use it.
const PANEL_ROWS: usize = 500;
const PANEL_COLUMNS: usize = 256;
/// The columns of a panel of B, and its k in bytes of one column.
const NC: usize = 1024;
const KC_BYTES: usize = 2048;
/// The rows of A which go over one panel of B: with `KC_BYTES`, they stay in a
/// second-level cache. A multiple of the heights of the tallest tiles.
const MC: usize = 192;
/// What a block of columns in [`dots`] may take, in bytes: it is read again for
/// every few rows, and should stay in a second-level cache.
const DOT_BLOCK: usize = 1 << 17;
/// What packed memory is aligned to, in bytes: a line of cache, a vector.
const ALIGN: usize = 64;

/// The blocks a product is cut into: nc columns, then kc terms, then mc rows.
struct Plan {
    nc: usize,
    kc: usize,
    mc: usize,
    /// Whether each kc x nc block of B is packed, and each mc x kc block of A.
    pack_b: bool,
    pack_a: bool,
}

impl Plan {
    fn new<T>(kernels: &Kernels<T>, [m, n, k]: [usize; 3], b_cs: isize) -> Plan {
        let whole = Plan { nc: n, kc: k, mc: m, pack_b: false, pack_a: false };
        let in_cache = n * k * size_of::<T>() <= B_IN_CACHE;
        if n == 1 || (b_cs == 1 && in_cache) {
            whole
        } else if b_cs == 1 && m <= FEW_ROWS {
            Plan { kc: KC, ..whole }
        } else if m <= PANEL_ROWS {
            // One sliver at a time, packed just before its use.
            let width = kernels.main_shape(m).vectors * kernels.lanes;
            Plan { nc: width, kc: KC, pack_b: true, ..whole }
        } else {
            let kc = KC_BYTES / size_of::<T>();
            Plan { nc: NC, kc, mc: MC, pack_b: true, pack_a: n >= PANEL_COLUMNS }
        }
    }

    /// How many elements of scratch a block of B takes, and one of A.
    fn packed<T>(&self, kernels: &Kernels<T>, [m, n, k]: [usize; 3]) -> [usize; 2] {
        let kc = self.kc.min(k);
        let columns = if self.pack_b {
            self.nc.min(n).next_multiple_of(kernels.lanes)
        } else if kernels.pads(n) {
            kernels.lanes
        } else {
            0
        };
        let rows = if self.pack_a {
            let height = kernels.main_shape(PANEL_ROWS).tiles.len();
            self.mc.min(m).div_ceil(height) * height.next_multiple_of(kernels.lanes)
        } else {
            0
        };
        [columns * kc, rows * kc]
    }

    fn scratch_len<T>(&self, kernels: &Kernels<T>, mnk: [usize; 3]) -> usize {
        match self.packed(kernels, mnk) {
            [0, 0] => 0,
            [b, a] => b + a + ALIGN / size_of::<T>(),
        }
    }
}

impl<T> Kernels<T> {
    /// The shape of tile for m rows and n whole vectors of columns: a wide one
    /// if that takes all the rows at once, else a squarish one.
    fn shape(&self, m: usize, n: usize) -> &Shape<T> {
        let fits = |s: &&Shape<T>| s.vectors <= n && (s.vectors <= 2 || m <= s.tiles.len());
        self.shapes.iter().find(fits).unwrap_or(&self.shapes[self.shapes.len() - 1])
    }

    /// The shape for m rows and plenty of columns.
    fn main_shape(&self, m: usize) -> &Shape<T> {
        self.shape(m, usize::MAX)
    }

    /// Whether n columns leave some to be padded to a whole vector.
    fn pads(&self, n: usize) -> bool {
        !self.masks && !n.is_multiple_of(self.lanes)
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
        let shape = self.shape(m, vectors);
        (self, shape, n.min(shape.vectors * self.lanes))
    }
}

/// Whether few rows meet few columns along contiguous k: then it is the k which
/// fill the vectors.
fn takes_dots<T>(kernels: &Kernels<T>, [m, n, k]: [usize; 3], a: (isize, isize), b: (isize, isize)) -> bool {
    // Tiles spend on transposing what dot products spend on the sums over
    // lanes: the more rows, the longer k must be.
    let pays = match m.min(n) {
        0..=4 => k >= kernels.lanes,
        5..=16 => k >= 8 * kernels.lanes,
        _ => false,
    };
    pays && a.1 == 1 && b.0 == 1
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
    let len = Plan::new(kernels, [m, n, k], b.1).scratch_len(kernels, [m, n, k]);
    if n == 1 && a.0 == 1 {
        // The column may be computed as a row; C's stride decides.
        len.max(Plan::new(kernels, [1, m, k], a.0).scratch_len(kernels, [1, m, k]))
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
            let d = Dots { n, k, a: a.data, a_rs: a.rs, b: b.data, b_cs: b.cs, c, c_rs: rsc, c_cs: 1, add };
            if m <= n {
                dots(kernels, m, d);
            } else {
                let (a, a_rs, b, b_cs) = (d.b, d.b_cs, d.a, d.a_rs);
                dots(kernels, n, Dots { n: m, a, a_rs, b, b_cs, c_rs: 1, c_cs: rsc, ..d });
            }
        } else if n == 1 && rsc == 1 && a.rs == 1 {
            tiles(kernels, [1, m, k], b.transposed(), a.transposed(), c, 1, add, scratch);
        } else {
            tiles(kernels, [m, n, k], a, b, c, rsc, add, scratch);
        }
    }
}

/// The product by dot products, a few rows at a time.
///
/// # Safety
///
/// As for [`gemm`]; A and B are contiguous along k.
unsafe fn dots<T: GemmScalar>(kernels: &Kernels<T>, m: usize, d: Dots<T>) {
    let columns = (DOT_BLOCK / (d.k * size_of::<T>())).max(8);
    for (j, n) in blocks(d.n, columns) {
        let mut i = 0;
        for rows in even(m, kernels.dots.len()) {
            let (row, column) = (i as isize, j as isize);
            // SAFETY: the caller's contract: these rows and columns exist.
            unsafe {
                let a = d.a.offset(row * d.a_rs);
                let b = d.b.offset(column * d.b_cs);
                let c = d.c.offset(row * d.c_rs + column * d.c_cs);
                (kernels.dots[rows - 1])(&Dots { n, a, b, c, ..d });
            }
            i += rows;
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
    let needed = plan.scratch_len(kernels, [m, n, k]);
    assert!(scratch.len() >= needed, "gemm: {} of {needed} elements of scratch", scratch.len());
    let packed_b = scratch.as_mut_ptr().cast::<T>();
    let packed_b = packed_b.wrapping_add(if needed > 0 { packed_b.align_offset(ALIGN) } else { 0 });
    let packed_a = packed_b.wrapping_add(plan.packed(kernels, [m, n, k])[0]);

    for (jc, nc) in blocks(n, plan.nc) {
        for (pc, kc) in blocks(k, plan.kc) {
            let add = add || pc > 0;
            for (ic, mc) in blocks(m, plan.mc) {
                let mut rows = Rows { m: mc, a: a.from(ic, pc), packed: None };
                if plan.pack_a {
                    // SAFETY: the caller's contract: A has these rows; scratch
                    // has room for them, by the check of its length.
                    rows = unsafe { pack_rows(kernels, rows, kc, packed_a) };
                }
                let mut j = 0;
                while j < nc {
                    let (kernels, shape, width) = kernels.strip(m, nc - j);
                    let mut sliver = b.from(pc, jc + j);
                    if plan.pack_b || kernels.pads(width) {
                        // Each sliver is packed just before its first use.
                        let to = packed_b.wrapping_add(if plan.pack_b { j * kc } else { 0 });
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
                        let last = width - (shape.vectors - 1) * kernels.lanes;
                        strip(shape, last, kc, &rows, sliver, c, c_rs, add);
                    }
                    j += width;
                }
            }
        }
    }
}

/// A block of A, of m rows.
struct Rows<T> {
    m: usize,
    /// All the rows; if packed, those of the first tile.
    a: Mat<T>,
    packed: Option<Packed>,
}

/// How rows were packed.
struct Packed {
    /// Tiles take this many rows at most, whatever their shape.
    height: usize,
    /// From one tile's rows to the next's, in elements.
    step: usize,
}

/// Packs the rows of each tile, with the rows side by side.
///
/// # Safety
///
/// The machine has the kernels' instruction set; A exists; `to` has room as
/// [`Plan::packed`] counts it.
unsafe fn pack_rows<T: GemmScalar>(kernels: &Kernels<T>, rows: Rows<T>, k: usize, to: *mut T) -> Rows<T> {
    // Of many rows, even in a last block of few.
    let height = kernels.main_shape(PANEL_ROWS).tiles.len();
    let width = height.next_multiple_of(kernels.lanes);
    let (mut i, mut end) = (0, to);
    for tile in even(rows.m, height) {
        // SAFETY: the caller's contract.
        unsafe {
            (kernels.pack)(k, tile, rows.a.from(i, 0).transposed(), end, width);
            end = end.add(width * k);
        }
        i += tile;
    }
    let a = Mat { data: to, rs: 1, cs: width as isize };
    Rows { m: rows.m, a, packed: Some(Packed { height, step: width * k }) }
}

/// Columns which one tile spans, from the first row to the last.
///
/// # Safety
///
/// As for [`gemm`]; B has unit column stride, and whole vectors where the
/// kernels have no masks; `last` columns are in the shape's last vector.
#[allow(clippy::too_many_arguments)]
unsafe fn strip<T: GemmScalar>(
    shape: &Shape<T>,
    last: usize,
    k: usize,
    rows: &Rows<T>,
    b: Mat<T>,
    c: *mut T,
    c_rs: isize,
    add: bool,
) {
    let height = rows.packed.as_ref().map_or(shape.tiles.len(), |packed| packed.height);
    let mut i = 0;
    for (t, tile_rows) in even(rows.m, height).enumerate() {
        let a = match &rows.packed {
            None => rows.a.from(i, 0),
            Some(packed) => Mat { data: rows.a.data.wrapping_add(t * packed.step), ..rows.a },
        };
        // SAFETY: the caller's contract: these rows of A and C exist.
        unsafe {
            let c = c.offset(i as isize * c_rs);
            (shape.tiles[tile_rows - 1])(&Tile { k, a, b: b.data, b_rs: b.rs, c, c_rs, last, add });
        }
        i += tile_rows;
    }
}

/// Cuts `len` into as few parts of at most `most` as can be, nearly equal ones:
/// a last one of a row or two would be slow.
fn even(len: usize, most: usize) -> impl Iterator<Item = usize> {
    let parts = len.div_ceil(most);
    let (size, larger) = (len / parts, len % parts);
    (0..parts).map(move |part| size + usize::from(part < larger))
}

/// The starts and lengths of blocks of `size` which cover `0..len`.
fn blocks(len: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..len).step_by(size).map(move |start| (start, size.min(len - start)))
}
