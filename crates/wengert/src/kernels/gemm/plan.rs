//! Decides how a product is cut into blocks and tiles, and what is packed.

use super::kernels::{Kernels, Tiles};

/// How products are cut and packed for the caches which come with an
/// instruction set, by measurement.
pub(super) struct Caches {
    /// How much of B, in bytes, may be read in place again and again.
    pub(super) b_in_place: usize,
    /// Up to this many rows, a larger B is not worth a copy either.
    pub(super) few_rows: usize,
    /// Up to this many rows, B is packed by slivers just before their use, with
    /// more by panels.
    pub(super) sliver_rows: usize,
    /// The same where the rows of A are not contiguous.
    pub(super) apart_sliver_rows: usize,
    /// The columns of a panel of B, and its k in bytes of one column: it stays in
    /// a second-level cache, as every tile of rows reads all of it.
    pub(super) nc: usize,
    pub(super) panel_kc: usize,
    /// The rows of A which are packed at a time, next to a panel of B. A multiple
    /// of the heights of the tallest tiles.
    pub(super) mc: usize,
    /// From this many columns on, A is packed too where B is by panels.
    pub(super) pack_a: usize,
    /// The same where the rows of A are not contiguous.
    pub(super) pack_apart_a: usize,
    /// The k of a panel, in bytes of one column, where these are read in place.
    pub(super) apart_panel_kc: usize,
    /// From how many vectors of k on dot products beat tiles, for up to 1, 4, 8
    /// and 16 rows.
    pub(super) dots_from: [usize; 4],
    /// From which k on they beat tiles for the last columns, if these are up to 2
    /// and up to 4.
    pub(super) dot_columns_from: [usize; 2],
}

/// The k of a block of B, in bytes of one column, when B is larger than it may be
/// in place: a sliver and the rows of A then stay in a first-level cache.
const KC: usize = 800;

/// The same in elements.
const fn kc<T>() -> usize {
    KC / size_of::<T>()
}

/// Rows at multiples of this distance, in bytes, share a few sets of a cache: in
/// place, B does not stay there.
const ALIAS: isize = 1 << 13;

/// The blocks a product is cut into: nc columns, then kc terms, then mc rows.
pub(super) struct Plan {
    pub(super) nc: usize,
    pub(super) kc: usize,
    pub(super) mc: usize,
    /// Whether each kc x nc block of B is packed, and each mc x kc block of A.
    pub(super) pack_b: bool,
    pub(super) pack_a: bool,
}

impl Plan {
    pub(super) fn new<T>(
        kernels: &Kernels<T>,
        [m, n, k]: [usize; 3],
        a_cs: isize,
        (b_rs, b_cs): (isize, isize),
    ) -> Plan {
        let caches = kernels.caches;
        let whole = Plan { nc: n, kc: k, mc: m, pack_b: false, pack_a: false };
        // One column has any stride, but kernels without masks read whole vectors.
        if n == 1 && !kernels.pads(1) || kernels.in_place(n, k, b_cs) {
            return whole;
        }
        let few_rows = match b_rs % (ALIAS / size_of::<T>() as isize) {
            0 => caches.few_rows / 2,
            _ => caches.few_rows,
        };
        if kernels.reads(n, b_cs) && m <= few_rows {
            return Plan { kc: kc::<T>(), ..whole };
        }
        let (sliver_rows, pack_a, unpacked_kc) = match a_cs {
            1 => (caches.sliver_rows, caches.pack_a, caches.panel_kc),
            _ => (caches.apart_sliver_rows, caches.pack_apart_a, caches.apart_panel_kc),
        };
        if m <= sliver_rows {
            let shape = kernels.shape(m, kernels.vectors(n), 1);
            Plan { nc: shape.vectors * kernels.lanes, kc: kc::<T>(), pack_b: true, ..whole }
        } else {
            let pack_a = n >= pack_a;
            let kc = if pack_a { caches.panel_kc } else { unpacked_kc } / size_of::<T>();
            Plan { nc: caches.nc, kc, mc: if pack_a { caches.mc } else { m }, pack_b: true, pack_a }
        }
    }

    /// How many elements of scratch a block of B takes, and one of A.
    pub(super) fn packed<T>(&self, kernels: &Kernels<T>, [m, n, k]: [usize; 3]) -> [usize; 2] {
        let kc = self.kc.min(k);
        let columns = if self.pack_b { kernels.padded(self.nc.min(n)) } else { 0 };
        let rows = if self.pack_a {
            let height = kernels.packed_height();
            self.mc.min(m).div_ceil(height) * kernels.padded(height)
        } else {
            0
        };
        [columns * kc, rows * kc]
    }

    pub(super) fn scratch_len<T>(&self, kernels: &Kernels<T>, mnk: [usize; 3]) -> usize {
        if !self.pack_b {
            return 0;
        }
        let [b, a] = self.packed(kernels, mnk);
        b + a
    }
}

/// The tiles of one width.
pub(super) struct Shape<T: 'static> {
    pub(super) vectors: usize,
    pub(super) tiles: Tiles<T>,
}

impl<T> Kernels<T> {
    /// The tiles for m rows and n whole vectors of columns, which take `height`
    /// rows if there are as many: wide ones if they take all the rows at once,
    /// else squarish ones. Three vectors are not left to tiles of two and of
    /// one, which would read A for little.
    fn shape(&self, m: usize, n: usize, height: usize) -> Shape<T> {
        let [one, two, three, four] = self.tiles;
        let (vectors, tiles) = match n {
            4.. if m <= four.len() => (4, four),
            3 if !three.is_empty() && height.min(m) <= three.len() => (3, three),
            2.. if !two.is_empty() => (2, two),
            _ => (1, one),
        };
        Shape { vectors, tiles }
    }

    /// How many rows a tile of packed rows has at most.
    pub(super) fn packed_height(&self) -> usize {
        self.shape(usize::MAX, usize::MAX, 1).tiles.len()
    }

    /// Whether n columns leave some to be padded to a whole vector.
    pub(super) fn pads(&self, n: usize) -> bool {
        !self.masks && n & (self.lanes - 1) != 0
    }

    /// Whether tiles can read n columns of B with this stride in place.
    fn reads(&self, n: usize, b_cs: isize) -> bool {
        b_cs == 1 && !self.pads(n)
    }

    /// Whether a k x n matrix B with this column stride is read in place, in
    /// one block: then no plan is needed.
    pub(super) fn in_place(&self, n: usize, k: usize, b_cs: isize) -> bool {
        self.reads(n, b_cs) && n * k * size_of::<T>() <= self.caches.b_in_place
    }

    /// How many vectors n columns fill, the last perhaps in part.
    fn vectors(&self, n: usize) -> usize {
        // A shift, since lanes are a power of two and division is slow.
        (n + self.lanes - 1) >> self.lanes.trailing_zeros()
    }

    /// How many lanes of the last vector a strip of this width fills: 1 to all.
    pub(super) fn last(&self, shape: &Shape<T>, width: usize) -> usize {
        width - (shape.vectors - 1) * self.lanes
    }

    /// n columns, padded to whole vectors.
    pub(super) fn padded(&self, n: usize) -> usize {
        (n + self.lanes - 1) & !(self.lanes - 1)
    }

    /// The next columns to compute, out of n: the kernels to use, the shape of
    /// their tiles, as in [`Kernels::shape`], and how many columns those take.
    pub(super) fn strip(&self, m: usize, n: usize, height: usize) -> (&Kernels<T>, Shape<T>, usize) {
        let vectors = match self.narrow {
            Some(narrow) if n <= narrow.lanes => return narrow.strip(m, n, height),
            // A last vector at most half full is left to the narrow kernels.
            Some(narrow) => self.vectors(n - narrow.lanes),
            None if self.masks => self.vectors(n),
            None => n >> self.lanes.trailing_zeros(),
        };
        let shape = self.shape(m, vectors, height);
        let width = n.min(shape.vectors * self.lanes);
        (self, shape, width)
    }

    /// The tile which takes all of an m x n matrix C, if there is one.
    pub(super) fn one_tile(&self, m: usize, n: usize) -> Option<(&Kernels<T>, Shape<T>)> {
        let (kernels, shape, width) = self.strip(m, n, 1);
        (width == n && m <= shape.tiles.len()).then_some((kernels, shape))
    }
}

/// Whether few rows meet few columns along contiguous k: then it is the k which
/// fill the vectors.
pub(super) fn takes_dots<T>(kernels: &Kernels<T>, [m, n, k]: [usize; 3], a_cs: isize, b_rs: isize) -> bool {
    if a_cs != 1 || b_rs != 1 {
        return false;
    }
    // Tiles spend on transposing what dot products spend on the sums over
    // lanes: the more rows, the longer k must be.
    let [one, few, some, more] = kernels.caches.dots_from;
    let vectors = match m.min(n) {
        1 => one,
        2..=4 => few,
        5..=8 => some,
        9..=16 => more,
        _ => return false,
    };
    k >= vectors * kernels.lanes
}

/// How many of the last columns are left to dot products, since they would
/// fill so little of a vector.
pub(super) fn dot_columns<T>(kernels: &Kernels<T>, [m, n, k]: [usize; 3], a_cs: isize) -> usize {
    let [two, four] = kernels.caches.dot_columns_from;
    match n & (kernels.lanes - 1) {
        last @ 1..=4 if n > last && m > 4 && k >= (if last <= 2 { two } else { four }) && a_cs == 1 => last,
        _ => 0,
    }
}

/// The tile which takes all of a small product, if B has to be packed for it: to
/// plan how it is cut would take as long as it does.
pub(super) fn one_packed_tile<T>(
    kernels: &Kernels<T>,
    [m, n, k]: [usize; 3],
    b_cs: isize,
) -> Option<(&Kernels<T>, Shape<T>)> {
    if n == 1 || k > kc::<T>() || kernels.reads(n, b_cs) {
        return None;
    }
    kernels.one_tile(m, n)
}

/// The columns which fill whole vectors, and the others if these have to be
/// padded although B is read in place.
pub(super) fn whole_columns<T>(kernels: &Kernels<T>, n: usize, b_cs: isize) -> [usize; 2] {
    let rest = if b_cs == 1 && kernels.pads(n) { n & (kernels.lanes - 1) } else { 0 };
    [n - rest, rest]
}

/// See [`super::scratch_len`].
pub(super) fn scratch_len<T>(
    kernels: &Kernels<T>,
    [m, n, k]: [usize; 3],
    a: (isize, isize),
    b: (isize, isize),
) -> usize {
    let tiles = |m, n, a_cs, b: (isize, isize)| {
        let parts = whole_columns(kernels, n, b.1);
        let len = |n| Plan::new(kernels, [m, n, k], a_cs, b).scratch_len(kernels, [m, n, k]);
        len(parts[0]).max(if parts[1] > 0 { len(parts[1]) } else { 0 })
    };
    if takes_dots(kernels, [m, n, k], a.1, b.0) {
        return 0;
    }
    let last = dot_columns(kernels, [m, n, k], a.1);
    if n > 1 && last == 0 && kernels.in_place(n, k, b.1) {
        return 0;
    }
    let len = tiles(m, n - last, a.1, b).max(last * kernels.padded(k));
    // A column may be computed as a row; C's stride decides.
    if n == 1 && a.0 == 1 { len.max(tiles(1, m, b.0, (a.1, a.0))) } else { len }
}
