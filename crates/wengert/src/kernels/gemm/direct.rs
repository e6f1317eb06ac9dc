//! Cuts a product into tiles, and packs what was decided to be packed.

use core::mem::MaybeUninit;
use core::ops::Range;

use super::dots::Dots;
use super::kernels::Kernels;
use super::plan::{Plan, Shape, dot_columns, one_packed_tile, takes_dots, whole_columns};
use super::tile::Tile;
use super::{GemmScalar, Mat, Skip, begin};

/// What a block of columns in [`dots`] may take, in bytes: it is read again for
/// every few rows, and should stay in a second-level cache.
const DOT_BLOCK: usize = 1 << 17;
/// Rows which are further apart than this, in bytes, the processor does not
/// foresee.
const APART: usize = 1024;

/// What is computed: C, or a block of it.
#[derive(Clone, Copy)]
struct Output<T> {
    c: *mut T,
    rs: isize,
    start: Option<Mat<T>>,
    skip: Skip,
}

impl<T: Copy> Output<T> {
    /// From row `i` and column `j` on, which exist.
    ///
    /// # Safety
    ///
    /// C has this element.
    unsafe fn from(self, i: usize, j: usize) -> Self {
        // SAFETY: the caller's contract.
        let c = unsafe { self.c.offset(i as isize * self.rs).add(j) };
        Output { c, start: self.start.map(|start| start.from(i, j)), skip: self.skip.from(i, j), ..self }
    }

    /// The same with the products from the term `p` on, which are added to `sum`.
    fn onwards(self, p: usize, sum: Mat<T>) -> Self {
        match p {
            0 => self,
            _ => Output { start: Some(sum), skip: self.skip.onwards(p), ..self },
        }
    }

    /// The tile of C which begins here.
    fn tile(self, k: usize, a: Mat<T>, b: *const T, b_rs: isize, last: usize) -> Tile<T> {
        let (start, start_rs) = self.start.map_or((core::ptr::null(), 0), |start| (start.data, start.rs));
        Tile { k, a, b, b_rs, c: self.c, c_rs: self.rs, last, start, start_rs }
    }

    /// Computes a tile of so many rows from row `i` on, and the first columns,
    /// without the terms which need not be added.
    ///
    /// # Safety
    ///
    /// As for [`gemm`]; C has this tile.
    #[inline(always)]
    unsafe fn run(self, shape: &Shape<T>, tile: &Tile<T>, i: usize, [rows, columns]: [usize; 2]) {
        let compute = shape.tiles[rows - 1];
        // SAFETY: the caller's contract.
        unsafe {
            match self.skip {
                Skip::Nothing => compute(tile),
                skip => run_part(compute, tile, skip.terms(i, [rows, columns], tile.k)),
            }
        }
    }
}

/// Computes a tile with some of its terms, or not at all.
///
/// # Safety
///
/// As for [`gemm`].
#[inline(never)]
unsafe fn run_part<T: Copy>(compute: unsafe fn(&Tile<T>), tile: &Tile<T>, terms: Option<Range<usize>>) {
    if let Some(terms) = terms {
        let b = tile.b.wrapping_offset(terms.start as isize * tile.b_rs);
        // SAFETY: the caller's contract.
        unsafe { compute(&Tile { k: terms.len(), a: tile.a.from(0, terms.start), b, ..*tile }) }
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
    start: Option<Mat<T>>,
    skip: Skip,
    scratch: &mut [MaybeUninit<T>],
) {
    // SAFETY: the caller's contract, passed on; the transpose of C = A B is
    // C^T = B^T A^T.
    unsafe {
        if at_once(kernels, [m, n, k], [a, b], c, rsc, start) {
            return;
        }
        if takes_dots(kernels, [m, n, k], a.cs, b.rs) {
            let d = Dots { n, k, a: a.data, a_rs: a.rs, b: b.data, b_cs: b.cs, c, c_rs: rsc, c_cs: 1, start };
            return if m <= n { dots(kernels, m, d) } else { dots(kernels, n, d.transposed(m)) };
        }
        if n == 1 && rsc == 1 && a.rs == 1 {
            // The one element of a row stands for all rows, which are columns now.
            begin([m, 1], c, 1, start);
            let start = start.map(|_| Mat { data: c.cast_const(), rs: 1, cs: 1 });
            let output = Output { c, rs: 1, start, skip: Skip::Nothing };
            return tiles(kernels, [1, m, k], b.transposed(), a.transposed(), output, scratch);
        }
        let last = dot_columns(kernels, [m, n, k], a.cs);
        let n = n - last;
        if last > 0 {
            let width = kernels.padded(k);
            let copied = room(scratch, last * width);
            // One by one: a square would be transposed for a few rows of it.
            for j in 0..last {
                for p in 0..k {
                    copied.add(j * width + p).write(*b.from(p, n + j).data);
                }
            }
            let (c, b_cs, start) = (c.add(n), width as isize, start.map(|start| start.from(0, n)));
            let d = Dots { n: last, k, a: a.data, a_rs: a.rs, b: copied, b_cs, c, c_rs: rsc, c_cs: 1, start };
            dots(kernels, last, d.transposed(m));
        }
        tiles(kernels, [m, n, k], a, b, Output { c, rs: rsc, start, skip }, scratch);
    }
}

/// [`gemm`] of what is computed by one call of one kernel, which needs no
/// scratch: small products, for which deciding how to cut them would take longer
/// than they do. Says whether it was.
///
/// # Safety
///
/// As for [`gemm`].
#[inline(always)]
pub(super) unsafe fn at_once<T: GemmScalar>(
    kernels: &Kernels<T>,
    [mut m, mut n, k]: [usize; 3],
    [mut a, mut b]: [Mat<T>; 2],
    c: *mut T,
    rsc: isize,
    start: Option<Mat<T>>,
) -> bool {
    if takes_dots(kernels, [m, n, k], a.cs, b.rs) {
        let mut d = Dots { n, k, a: a.data, a_rs: a.rs, b: b.data, b_cs: b.cs, c, c_rs: rsc, c_cs: 1, start };
        if m > n {
            (d, m, n) = (d.transposed(m), n, m);
        }
        let fits = m <= kernels.dots.len() && n * k * size_of::<T>() <= DOT_BLOCK;
        if fits {
            // SAFETY: the caller's contract.
            unsafe { (kernels.dots[m - 1])(&d) }
        }
        return fits;
    }
    if n == 1 && rsc == 1 && a.rs == 1 && start.is_none_or(|start| start.rs == 1) {
        // A column is computed as a row.
        (m, n, a, b) = (1, m, b.transposed(), a.transposed());
    }
    if !kernels.in_place(n, k, b.cs) || dot_columns(kernels, [m, n, k], a.cs) > 0 {
        return false;
    }
    let Some((kernels, shape)) = kernels.one_tile(m, n) else { return false };
    let last = kernels.last(&shape, n);
    let output = Output { c, rs: rsc, start, skip: Skip::Nothing };
    // SAFETY: the caller's contract: these are all rows and columns.
    unsafe { (shape.tiles[m - 1])(&output.tile(k, a, b.data, b.rs, last)) }
    true
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
                let start = d.start.map(|start| start.from(i, j));
                (kernels.dots[rows - 1])(&Dots { n, a, b, c, start, ..d });
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
unsafe fn tiles<T: GemmScalar>(
    kernels: &Kernels<T>,
    [m, n, k]: [usize; 3],
    a: Mat<T>,
    b: Mat<T>,
    c: Output<T>,
    scratch: &mut [MaybeUninit<T>],
) {
    if kernels.in_place(n, k, b.cs) {
        // SAFETY: the caller's contract.
        return unsafe { down(kernels, [m, n, k], a, b, c) };
    }
    if let Some((kernels, shape)) = one_packed_tile(kernels, [m, n, k], b.cs) {
        let (width, last) = (kernels.padded(n), kernels.last(&shape, n));
        let packed = room(scratch, k * width);
        // SAFETY: the caller's contract: these are all rows and columns; scratch
        // has room for them.
        return unsafe {
            (kernels.pack)(k, n, b, packed, width);
            (shape.tiles[m - 1])(&c.tile(k, a, packed, width as isize, last));
        };
    }
    let [whole, rest] = whole_columns(kernels, n, b.cs);
    // SAFETY: the caller's contract, for some of the columns.
    unsafe {
        if whole > 0 {
            blocks_of_tiles(kernels, [m, whole, k], a, b, c, scratch);
        }
        if rest > 0 {
            blocks_of_tiles(kernels, [m, rest, k], a, b.from(0, whole), c.from(0, whole), scratch);
        }
    }
}

/// The product by blocks which fit caches, packed as planned, and these by tiles.
///
/// # Safety
///
/// As for [`gemm`]; either all vectors of columns are whole or none is, where
/// the kernels have no masks.
unsafe fn blocks_of_tiles<T: GemmScalar>(
    kernels: &Kernels<T>,
    [m, n, k]: [usize; 3],
    a: Mat<T>,
    b: Mat<T>,
    c: Output<T>,
    scratch: &mut [MaybeUninit<T>],
) {
    let plan = Plan::new(kernels, [m, n, k], a.cs, (b.rs, b.cs));
    // The first terms are added to the start, the others to what is there then.
    let sum = Mat { data: c.c.cast_const(), rs: c.rs, cs: 1 };
    let sums = |pc| c.onwards(pc, sum);
    // A shallow last block would read and write C for little.
    let depth = equal(k, plan.kc);
    if !plan.pack_b {
        for (pc, kc) in blocks(k, depth) {
            // SAFETY: the caller's contract: this block of A, B and C exists.
            unsafe { down(kernels, [m, n, kc], a.from(0, pc), b.from(pc, 0), sums(pc)) };
        }
        return;
    }
    let [of_b, of_a] = plan.packed(kernels, [m, n, k]);
    let packed_b = room(scratch, of_b + of_a);
    let packed_a = packed_b.wrapping_add(of_b);
    let height = if plan.pack_a { kernels.packed_height() } else { kernels.strip(m, n, 1).1.tiles.len() };
    // Blocks of equal height, but for whole tiles.
    let band = equal(m, plan.mc).next_multiple_of(height);
    for (jc, nc) in blocks(n, plan.nc) {
        for (pc, kc) in blocks(k, depth) {
            // SAFETY: the caller's contract: B has this block; scratch has room
            // for it, by the check of its length.
            unsafe { pack_columns(kernels, [m, nc, kc], height, b.from(pc, jc), packed_b) };
            for (ic, mc) in blocks(m, band) {
                let mut rows = Rows { m: mc, height, a: a.from(ic, pc), step: None };
                // SAFETY: as above, of A and C.
                unsafe {
                    if plan.pack_a {
                        rows = pack_rows(kernels, rows, kc, packed_a);
                    }
                    across(kernels, [m, nc, kc], rows, packed_b, sums(pc).from(ic, jc));
                }
            }
        }
    }
}

/// Packs the columns of each strip side by side, padded to whole vectors: those
/// of the strip from column j on begin at j k. Strips are those for tiles of
/// `height` rows.
///
/// # Safety
///
/// The machine has the kernels' instruction set; B exists; `to` has room as
/// [`Plan::packed`] counts it.
unsafe fn pack_columns<T: GemmScalar>(
    kernels: &Kernels<T>,
    [m, n, k]: [usize; 3],
    height: usize,
    b: Mat<T>,
    to: *mut T,
) {
    for (p, depth) in blocks(k, pack_depth(k, b.cs)) {
        let mut j = 0;
        while j < n {
            let (kernels, _, width) = kernels.strip(m, n - j, height);
            let padded = kernels.padded(width);
            // SAFETY: the caller's contract.
            unsafe { (kernels.pack)(depth, width, b.from(p, j), to.add(j * k + p * padded), padded) };
            j += width;
        }
    }
}

/// How many of k rows are packed at a time, with columns at stride `cs`. Rows
/// which are contiguous are few, and read from end to end: their strips, one
/// below the other, would be at distances which fill few sets of a cache.
fn pack_depth(k: usize, cs: isize) -> usize {
    if cs == 1 { 16 } else { k }
}

/// A block of A, of m rows.
struct Rows<T> {
    m: usize,
    /// Tiles take this many rows at most, whatever their shape.
    height: usize,
    /// All the rows; if packed, those of the first tile.
    a: Mat<T>,
    /// If packed, how far it is from one tile's rows to the next's, in elements.
    step: Option<usize>,
}

/// Packs the rows of each tile, with the rows side by side.
///
/// # Safety
///
/// The machine has the kernels' instruction set; A exists; `to` has room as
/// [`Plan::packed`] counts it.
unsafe fn pack_rows<T: GemmScalar>(kernels: &Kernels<T>, rows: Rows<T>, k: usize, to: *mut T) -> Rows<T> {
    let width = kernels.padded(rows.height);
    for (p, depth) in blocks(k, pack_depth(k, rows.a.rs)) {
        let (mut i, mut end) = (0, to.wrapping_add(p * width));
        for tile in even(rows.m, rows.height) {
            // SAFETY: the caller's contract.
            unsafe { (kernels.pack)(depth, tile, rows.a.from(i, p).transposed(), end, width) };
            end = end.wrapping_add(width * k);
            i += tile;
        }
    }
    Rows { a: Mat { data: to, rs: 1, cs: width as isize }, step: Some(width * k), ..rows }
}

/// A block of C over a B which is read in place, down one strip of columns as
/// wide as a tile after the other.
///
/// # Safety
///
/// As for [`gemm`]; where the kernels have no masks, all vectors of columns are
/// whole.
unsafe fn down<T: GemmScalar>(kernels: &Kernels<T>, [m, n, k]: [usize; 3], a: Mat<T>, b: Mat<T>, c: Output<T>) {
    let mut j = 0;
    while j < n {
        let (kernels, shape, width) = kernels.strip(m, n - j, 1);
        let b = b.from(0, j);
        let height = shape.tiles.len();
        // Each tile asks for a part of what the next strip reads, if B is large
        // and there are tiles enough for that to take little of their time.
        let apart = b.rs > (APART / size_of::<T>()) as isize && !kernels.in_place(n, k, 1);
        let next = if m > 2 * height && apart { width.min(n - j - width) } else { 0 };
        let part = if next > 0 { k.div_ceil(m.div_ceil(height)) } else { 0 };
        // SAFETY: the caller's contract: this is in the first row.
        let c = unsafe { c.from(0, j) };
        let mut tile = c.tile(k, a, b.data, b.rs, kernels.last(&shape, width));
        let mut i = 0;
        for (t, rows) in even(m, height).enumerate() {
            if t * part < k && next > 0 {
                b.from(t * part, width).ask(part.min(k - t * part), next);
            }
            // SAFETY: the caller's contract: these rows and columns exist.
            unsafe { c.run(&shape, &tile, i, [rows, width]) }
            tile.move_down(rows);
            i += rows;
        }
        j += width;
    }
}

/// A block of C over columns as [`pack_columns`] leaves them, along the rows of
/// one tile after the other: what the processor fetches ahead of a row of C is
/// where the next tile is. The shape of tiles is that for `m` rows, of which
/// the block may have a part.
///
/// # Safety
///
/// As for [`gemm`].
unsafe fn across<T: GemmScalar>(kernels: &Kernels<T>, [m, n, k]: [usize; 3], rows: Rows<T>, b: *const T, c: Output<T>) {
    let mut i = 0;
    for (t, tile_rows) in even(rows.m, rows.height).enumerate() {
        let a = rows.step.map_or(rows.a.from(i, 0), |step| rows.a.at((t * step) as isize));
        let mut j = 0;
        while j < n {
            let (kernels, shape, width) = kernels.strip(m, n - j, rows.height);
            // SAFETY: the caller's contract: these rows and columns exist.
            unsafe {
                let last = kernels.last(&shape, width);
                let b_rs = kernels.padded(width) as isize;
                let c = c.from(i, j);
                c.run(&shape, &c.tile(k, a, b.wrapping_add(j * k), b_rs, last), 0, [tile_rows, width]);
            }
            j += width;
        }
        i += tile_rows;
    }
}

/// Where scratch begins, which has room for so many elements.
fn room<T>(scratch: &mut [MaybeUninit<T>], needed: usize) -> *mut T {
    assert!(scratch.len() >= needed, "gemm: {} of {needed} elements of scratch", scratch.len());
    scratch.as_mut_ptr().cast()
}

/// How many parts of at most `most` make `len`. Most products are small, and
/// division is slow.
fn parts(len: usize, most: usize) -> usize {
    if len <= most { 1 } else { len.div_ceil(most) }
}

/// Cuts `len` into as few parts of at most `most` as can be, nearly equal ones:
/// a last one of a row or two would be slow.
fn even(len: usize, most: usize) -> impl Iterator<Item = usize> {
    let parts = parts(len, most);
    let (size, larger) = if parts == 1 { (len, 0) } else { (len / parts, len % parts) };
    (0..parts).map(move |part| size + usize::from(part < larger))
}

/// The size of blocks which make `len`, all but the last equal, of at most `most`.
fn equal(len: usize, most: usize) -> usize {
    match parts(len, most) {
        1 => len,
        parts => len.div_ceil(parts),
    }
}

/// The starts and lengths of blocks of `size` which cover `0..len`.
fn blocks(len: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut start = 0;
    core::iter::from_fn(move || {
        let from = start;
        start += size;
        (from < len).then(|| (from, size.min(len - from)))
    })
}
