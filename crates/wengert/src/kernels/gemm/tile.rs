//! The inner loops: a tile of C in registers, a block of dot products, and
//! packing. Generic over the vector; `kernels.rs` compiles them per target.

use super::Mat;
use super::simd::{MAX_LANES, Simd};

/// A tile of C to compute: `MR` rows, and columns which fill `NV` vectors, the
/// last of them perhaps in part.
#[derive(Clone, Copy)]
pub(super) struct Tile<T> {
    pub(super) k: usize,
    /// `MR` x k, any strides.
    pub(super) a: Mat<T>,
    /// k x columns, unit column stride.
    pub(super) b: *const T,
    pub(super) b_rs: isize,
    /// `MR` x columns, unit column stride.
    pub(super) c: *mut T,
    pub(super) c_rs: isize,
    /// How many lanes of the last vector are columns: 1 to all.
    pub(super) last: usize,
    /// Add to C instead of writing it.
    pub(super) add: bool,
}

/// Computes a tile.
///
/// # Safety
///
/// As for [`Simd`]; A, B and C are valid as [`Tile`] describes them, and B to
/// whole vectors where `V::MASKS` is not set.
#[inline(always)]
pub(super) unsafe fn tile<V: Simd, const MR: usize, const NV: usize>(t: &Tile<V::Elem>) {
    // Fewer accumulators than the multiply-add unit has in flight would wait
    // for themselves: such tiles sum the even and the odd k apart.
    let chains = if MR * NV <= 6 { 2 } else { 1 };

    // Two loops, since on AVX2 the masked load makes that much of a difference.
    // SAFETY: the caller's contract.
    let [even, odd] = unsafe {
        if V::MASKS && t.last < V::LANES {
            walk::<V, MR, NV, true>(t, chains)
        } else {
            walk::<V, MR, NV, false>(t, chains)
        }
    };

    for (i, (row, odd_row)) in even.into_iter().zip(odd).enumerate() {
        for (v, (mut sum, odd)) in row.into_iter().zip(odd_row).enumerate() {
            let lanes = if v == NV - 1 { t.last } else { V::LANES };
            // SAFETY: the caller's contract: C has `MR` rows of `last` lanes
            // after `NV - 1` whole vectors; only `add` reads it.
            unsafe {
                let to = t.c.offset(i as isize * t.c_rs).add(v * V::LANES);
                if chains > 1 {
                    sum = sum.add(odd);
                }
                if t.add {
                    sum = sum.add(V::load_first(to, lanes));
                }
                sum.store_first(to, lanes);
            }
        }
    }
}

/// Sums a tile along k, in one chain or two; `MASKED` if B's last vector is partial.
///
/// # Safety
///
/// As for [`tile`].
#[inline(always)]
unsafe fn walk<V: Simd, const MR: usize, const NV: usize, const MASKED: bool>(
    t: &Tile<V::Elem>,
    chains: usize,
) -> [[[V; NV]; MR]; 2] {
    let mut at = Cursor::<V, MR>::new(t);
    // SAFETY: the caller's contract: `V` can be used here, and A and B go on to k.
    unsafe {
        let mut acc = [[[V::splat(V::Elem::default()); NV]; MR]; 2];
        let mut k = t.k;
        while k >= chains {
            for chain in acc.iter_mut().take(chains) {
                at.step::<NV, MASKED>(chain);
            }
            k -= chains;
        }
        if k > 0 {
            at.step::<NV, MASKED>(&mut acc[0]);
        }
        acc
    }
}

/// Where a tile stands in its walk along k.
struct Cursor<V: Simd, const MR: usize> {
    /// Rows are addressed from one pointer per four rows, plus 0, 1, 2 or 3
    /// strides, which is what an address can hold. Left to itself the compiler
    /// derives each row's pointer from the row before it, a chain of additions
    /// as long as the tile is tall.
    a: [*const V::Elem; 4],
    /// A's strides, in bytes.
    a_rs: isize,
    a_cs: isize,
    b: *const V::Elem,
    b_rs: isize,
    last: usize,
}

impl<V: Simd, const MR: usize> Cursor<V, MR> {
    #[inline(always)]
    fn new(t: &Tile<V::Elem>) -> Self {
        let bytes = size_of::<V::Elem>() as isize;
        let mut a = [t.a.data; 4];
        for (group, base) in a.iter_mut().enumerate().take(MR.div_ceil(4)) {
            *base = opaque(t.a.data.wrapping_offset(4 * group as isize * t.a.rs));
        }
        let (a_rs, a_cs) = (t.a.rs * bytes, t.a.cs * bytes);
        Cursor { a, a_rs, a_cs, b: t.b, b_rs: t.b_rs, last: t.last }
    }

    /// Adds one column of A times one row of B, and moves to the next.
    ///
    /// # Safety
    ///
    /// As for [`tile`]; fewer than k steps have been taken.
    #[inline(always)]
    unsafe fn step<const NV: usize, const MASKED: bool>(&mut self, acc: &mut [[V; NV]; MR]) {
        // SAFETY: the caller's contract: B's row has whole vectors, or `last`
        // lanes in the last of them.
        let columns = unsafe {
            let mut columns = [V::splat(V::Elem::default()); NV];
            for (v, column) in columns.iter_mut().enumerate() {
                let from = self.b.add(v * V::LANES);
                *column = if MASKED && v == NV - 1 { V::load_first(from, self.last) } else { V::load(from) };
            }
            columns
        };
        for (i, row) in acc.iter_mut().enumerate() {
            let base = self.a[i / 4];
            let from = match i % 4 {
                0 => base,
                1 => base.wrapping_byte_offset(self.a_rs),
                2 => base.wrapping_byte_offset(2 * self.a_rs),
                _ => base.wrapping_byte_offset(3 * self.a_rs),
            };
            // SAFETY: the caller's contract: this is an element of A's row i.
            let x = unsafe { V::splat(*from) };
            for (sum, &column) in row.iter_mut().zip(&columns) {
                // SAFETY: the caller's contract: `V` can be used here.
                *sum = unsafe { sum.add_product(x, column) };
            }
        }
        // Wrapping, since after the last step there is nothing to point to.
        for base in self.a.iter_mut().take(MR.div_ceil(4)) {
            *base = base.wrapping_byte_offset(self.a_cs);
        }
        self.b = self.b.wrapping_offset(self.b_rs);
    }
}

/// Hides from the compiler where a pointer comes from, so that it stays in a
/// register of its own.
#[inline(always)]
fn opaque<T>(x: *const T) -> *const T {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        let mut x = x;
        // SAFETY: an empty instruction on a register.
        unsafe {
            core::arch::asm!("/* {0} */", inout(reg) x, options(pure, readonly, nostack, preserves_flags));
        }
        x
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    x
}

/// `MR` rows of C as dot products along k.
#[derive(Clone, Copy)]
pub(super) struct Dots<T> {
    pub(super) n: usize,
    pub(super) k: usize,
    /// `MR` x k, unit column stride.
    pub(super) a: *const T,
    pub(super) a_rs: isize,
    /// k x n, unit row stride.
    pub(super) b: *const T,
    pub(super) b_cs: isize,
    /// `MR` x n, any strides.
    pub(super) c: *mut T,
    pub(super) c_rs: isize,
    pub(super) c_cs: isize,
    /// Add to C instead of writing it.
    pub(super) add: bool,
}

/// Computes rows of C as dot products, `NC` columns at a time.
///
/// # Safety
///
/// As for [`Simd`]; A, B and C are valid as [`Dots`] describes them.
#[inline(always)]
pub(super) unsafe fn dots<V: Simd, const MR: usize, const NC: usize>(d: &Dots<V::Elem>) {
    let mut j = 0;
    // SAFETY: the caller's contract, for columns j.. of B and C.
    unsafe {
        while j + NC <= d.n {
            dot_block::<V, MR, NC, 1>(d, j);
            j += NC;
        }
        while j < d.n {
            dot_block::<V, MR, 1, 4>(d, j);
            j += 1;
        }
    }
}

/// `MR` x `NC` dot products, each summed in `CHAINS` chains.
///
/// # Safety
///
/// As for [`dots`]; columns `j..j + NC` exist.
#[inline(always)]
unsafe fn dot_block<V: Simd, const MR: usize, const NC: usize, const CHAINS: usize>(d: &Dots<V::Elem>, j: usize) {
    let b = d.b.wrapping_offset(j as isize * d.b_cs);
    // SAFETY: the caller's contract: `V` can be used here, every step stays
    // below k, and the block of C exists.
    unsafe {
        let zero = V::splat(V::Elem::default());
        let mut chains = [[[zero; NC]; MR]; CHAINS];
        let mut p = 0;
        while CHAINS > 1 && p + CHAINS * V::LANES <= d.k {
            for acc in &mut chains {
                dot_step::<V, MR, NC>(acc, d, b, p, V::LANES);
                p += V::LANES;
            }
        }
        while p + V::LANES <= d.k {
            dot_step::<V, MR, NC>(&mut chains[0], d, b, p, V::LANES);
            p += V::LANES;
        }
        if p < d.k {
            dot_step::<V, MR, NC>(&mut chains[0], d, b, p, d.k - p);
        }

        let mut parts = [zero; MAX_LANES];
        for i in 0..MR {
            for v in 0..NC {
                let mut sum = chains[0][i][v];
                for acc in &chains[1..] {
                    sum = sum.add(acc[i][v]);
                }
                parts[i * NC + v] = sum;
            }
        }
        let sums = sum_each(parts);
        for i in 0..MR {
            for v in 0..NC {
                let to = d.c.offset(i as isize * d.c_rs + (j + v) as isize * d.c_cs);
                let sum = sums[i * NC + v];
                to.write(if d.add { to.read() + sum } else { sum });
            }
        }
    }
}

/// The sums over the lanes of each vector.
///
/// # Safety
///
/// As for [`Simd`].
#[inline(always)]
unsafe fn sum_each<V: Simd>(mut parts: [V; MAX_LANES]) -> [V::Elem; MAX_LANES] {
    // Vectors are zipped in pairs and their halves added, until every lane is
    // of another vector: then lane t of vector i is the sum of i + t * count.
    // Spelled out, since a loop over counts would not be unrolled.
    let count = MAX_LANES / V::LANES;
    let mut stored = [V::Elem::default(); MAX_LANES];
    // SAFETY: the caller's contract; count * LANES = MAX_LANES.
    unsafe {
        zip_and_add::<V, 8>(&mut parts);
        if V::LANES >= 4 {
            zip_and_add::<V, 4>(&mut parts);
        }
        if V::LANES >= 8 {
            zip_and_add::<V, 2>(&mut parts);
        }
        if V::LANES >= 16 {
            zip_and_add::<V, 1>(&mut parts);
        }
        for (i, part) in parts.iter().enumerate().take(count) {
            part.store(stored.as_mut_ptr().add(i * V::LANES));
        }
    }
    let mut sums = stored;
    for (at, sum) in sums.iter_mut().enumerate() {
        *sum = stored[at % count * V::LANES + at / count];
    }
    sums
}

/// Half as many vectors, with the lanes of two in each.
///
/// # Safety
///
/// As for [`Simd`].
#[inline(always)]
unsafe fn zip_and_add<V: Simd, const COUNT: usize>(parts: &mut [V; MAX_LANES]) {
    for i in 0..COUNT {
        // SAFETY: the caller's contract.
        unsafe {
            let (low, high) = parts[i].zip(parts[i + COUNT]);
            parts[i] = low.add(high);
        }
    }
}

/// Adds the products of `lanes` elements along k, from `p` on.
///
/// # Safety
///
/// As for [`dots`]; `b` points to `NC` columns, and `p + lanes <= k`.
#[inline(always)]
unsafe fn dot_step<V: Simd, const MR: usize, const NC: usize>(
    acc: &mut [[V; NC]; MR],
    d: &Dots<V::Elem>,
    b: *const V::Elem,
    p: usize,
    lanes: usize,
) {
    // SAFETY: the caller's contract: `lanes` elements from p on, in MR rows of
    // A and NC columns of B.
    unsafe {
        let mut columns = [V::splat(V::Elem::default()); NC];
        for (j, column) in columns.iter_mut().enumerate() {
            *column = load_some(b.offset(j as isize * d.b_cs).add(p), lanes);
        }
        for (i, row) in acc.iter_mut().enumerate() {
            let x: V = load_some(d.a.offset(i as isize * d.a_rs).add(p), lanes);
            for (sum, &column) in row.iter_mut().zip(&columns) {
                *sum = sum.add_product(x, column);
            }
        }
    }
}

/// Loads `n` lanes, which the compiler mostly knows to be all of them.
///
/// # Safety
///
/// As for [`Simd::load_first`].
#[inline(always)]
unsafe fn load_some<V: Simd>(from: *const V::Elem, n: usize) -> V {
    // SAFETY: the caller's contract.
    unsafe { if n == V::LANES { V::load(from) } else { V::load_first(from, n) } }
}

/// Copies B (k x n, any strides) to `to`, row after row, each padded with
/// zeros to `width` columns.
///
/// # Safety
///
/// As for [`Simd`]; B is valid, `to` is valid for `k * width` elements, and
/// `width` is a multiple of the lanes and at least `n`.
#[inline(always)]
pub(super) unsafe fn pack<V: Simd>(k: usize, n: usize, b: Mat<V::Elem>, to: *mut V::Elem, width: usize) {
    let mut j = 0;
    while j < width {
        let n = n.saturating_sub(j).min(V::LANES);
        // SAFETY: the caller's contract, for columns j..j + LANES of both.
        unsafe {
            let b = b.from(0, j);
            let to = to.add(j);
            if b.cs == 1 {
                copy_columns::<V>(k, n, b, to, width);
            } else if b.rs == 1 {
                transpose_columns::<V>(k, n, b, to, width);
            } else {
                gather_columns::<V>(k, n, b, to, width);
            }
        }
        j += V::LANES;
    }
}

/// One vector's width of columns from a B with unit column stride.
///
/// # Safety
///
/// As for [`pack`], with `n <= LANES`.
#[inline(always)]
unsafe fn copy_columns<V: Simd>(k: usize, n: usize, b: Mat<V::Elem>, to: *mut V::Elem, width: usize) {
    for p in 0..k {
        // SAFETY: the caller's contract: row p has n columns here, and LANES there.
        unsafe {
            let from = b.data.offset(p as isize * b.rs);
            let row: V = load_some(from, n);
            row.store(to.add(p * width));
        }
    }
}

/// One vector's width of columns from a B with unit row stride: squares of
/// lanes are transposed in registers.
///
/// # Safety
///
/// As for [`pack`], with `n <= LANES`.
#[inline(always)]
unsafe fn transpose_columns<V: Simd>(k: usize, n: usize, b: Mat<V::Elem>, to: *mut V::Elem, width: usize) {
    // SAFETY: the caller's contract: `V` can be used here.
    let zero = unsafe { V::splat(V::Elem::default()) };
    let mut p = 0;
    while p < k {
        let depth = (k - p).min(V::LANES);
        // Only the first LANES are used; the compiler drops the others.
        let mut square = [zero; MAX_LANES];
        // SAFETY: the caller's contract: n columns of `depth` elements from p
        // on, to as many rows of LANES.
        unsafe {
            let from = b.data.add(p);
            if n == V::LANES && depth == V::LANES {
                for (j, column) in square.iter_mut().enumerate().take(V::LANES) {
                    *column = V::load(from.offset(j as isize * b.cs));
                }
            } else {
                for (j, column) in square.iter_mut().enumerate().take(V::LANES) {
                    if j < n {
                        *column = V::load_first(from.offset(j as isize * b.cs), depth);
                    }
                }
            }
            // Riffling the columns like a deck of cards, as often as the number
            // of lanes has bits, exchanges rows and columns.
            let mut riffles = V::LANES;
            while riffles > 1 {
                let before = square;
                for i in 0..V::LANES / 2 {
                    (square[2 * i], square[2 * i + 1]) = before[i].zip(before[i + V::LANES / 2]);
                }
                riffles /= 2;
            }
            let to = to.add(p * width);
            if depth == V::LANES {
                for (i, row) in square.iter().enumerate().take(V::LANES) {
                    row.store(to.add(i * width));
                }
            } else {
                for (i, row) in square.iter().enumerate().take(V::LANES) {
                    if i < depth {
                        row.store(to.add(i * width));
                    }
                }
            }
        }
        p += depth;
    }
}

/// One vector's width of columns from any B.
///
/// # Safety
///
/// As for [`pack`], with `n <= LANES`.
#[inline(always)]
unsafe fn gather_columns<V: Simd>(k: usize, n: usize, b: Mat<V::Elem>, to: *mut V::Elem, width: usize) {
    for p in 0..k {
        for j in 0..V::LANES {
            // SAFETY: the caller's contract: row p has n columns here, and LANES there.
            unsafe {
                let x = if j < n {
                    b.data.offset(p as isize * b.rs + j as isize * b.cs).read()
                } else {
                    V::Elem::default()
                };
                to.add(p * width + j).write(x);
            }
        }
    }
}
