//! The inner loop of most products: a tile of C in registers.

use super::Mat;
use super::simd::{Pointers, Simd};

/// Up to this k, tiles are done before lines of C which are asked for could come.
const SHALLOW: usize = 64;

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
    /// What the products are added to, `MR` x columns with unit column stride,
    /// or null.
    pub(super) start: *const T,
    pub(super) start_rs: isize,
}

impl<T> Tile<T> {
    /// Moves it so many rows down: past the end after the last.
    pub(super) fn move_down(&mut self, rows: usize) {
        let rows = rows as isize;
        self.a.data = self.a.data.wrapping_offset(rows * self.a.rs);
        self.c = self.c.wrapping_offset(rows * self.c_rs);
        self.start = self.start.wrapping_offset(rows * self.start_rs);
    }
}

/// Computes a tile.
///
/// # Safety
///
/// As for [`Simd`]; A, B and C are valid as [`Tile`] describes them, and B to
/// whole vectors where `V::MASKS` is not set.
#[inline(always)]
pub(super) unsafe fn tile<V: Simd, const MR: usize, const NV: usize>(t: &Tile<V::Elem>) {
    // Compiled apart, since on AVX2 masks make that much of a difference.
    // SAFETY: the caller's contract.
    unsafe { if V::MASKS && t.last == V::LANES { finish::<V, MR, NV, false>(t) } else { finish::<V, MR, NV, true>(t) } }
}

/// Computes a tile; `PARTIAL` if the last vector may be.
///
/// # Safety
///
/// As for [`tile`].
#[inline(always)]
unsafe fn finish<V: Simd, const MR: usize, const NV: usize, const PARTIAL: bool>(t: &Tile<V::Elem>) {
    // By the time they are written, these lines have come from whichever cache
    // or memory they are in.
    if t.k > SHALLOW {
        Mat { data: t.c.cast_const(), rs: t.c_rs, cs: 1 }.ask(MR, NV * V::LANES);
    }
    // SAFETY: the caller's contract.
    let sums = unsafe { walk::<V, MR, NV, PARTIAL>(t) };
    let starts = !t.start.is_null();
    for (i, row) in sums.iter().enumerate() {
        for (v, &sum) in row.iter().enumerate() {
            // SAFETY: the caller's contract: C has `MR` rows of `last` lanes
            // after `NV - 1` whole vectors, and so has the start if there is one.
            unsafe {
                let to = t.c.offset(i as isize * t.c_rs).add(v * V::LANES);
                let start = t.start.wrapping_offset(i as isize * t.start_rs).wrapping_add(v * V::LANES);
                if PARTIAL && v == NV - 1 {
                    let sum = if starts { sum.add(V::load_first(start, t.last)) } else { sum };
                    sum.store_first(to, t.last);
                } else {
                    let sum = if starts { sum.add(V::load(start)) } else { sum };
                    sum.store(to);
                }
            }
        }
    }
}

/// Sums a tile along k; `PARTIAL` if B's last vector may be.
///
/// # Safety
///
/// As for [`tile`].
#[inline(always)]
unsafe fn walk<V: Simd, const MR: usize, const NV: usize, const PARTIAL: bool>(t: &Tile<V::Elem>) -> [[V; NV]; MR] {
    // Fewer accumulators than the multiply-add unit has in flight would wait
    // for themselves: such tiles sum the even and the odd k apart.
    let two_chains = MR * NV <= 6;
    let mut at = Cursor::<V, MR>::new(t);
    // SAFETY: the caller's contract: `V` can be used here, and A and B go on to k.
    unsafe {
        let zero = V::splat(V::Elem::default());
        let (mut even, mut odd) = ([[zero; NV]; MR], [[zero; NV]; MR]);
        let mut k = t.k;
        // Four steps at a time take a twentieth less than one.
        while k >= 4 {
            at.step::<NV, PARTIAL>(&mut even);
            at.step::<NV, PARTIAL>(if two_chains { &mut odd } else { &mut even });
            at.step::<NV, PARTIAL>(&mut even);
            at.step::<NV, PARTIAL>(if two_chains { &mut odd } else { &mut even });
            k -= 4;
        }
        while k > 0 {
            at.step::<NV, PARTIAL>(&mut even);
            k -= 1;
        }
        if two_chains {
            for i in 0..MR {
                for v in 0..NV {
                    even[i][v] = even[i][v].add(odd[i][v]);
                }
            }
        }
        even
    }
}

/// Where a tile stands in its walk along k.
struct Cursor<V: Simd, const MR: usize> {
    a: Pointers<V::Elem, MR>,
    /// In bytes.
    a_cs: isize,
    b: *const V::Elem,
    b_rs: isize,
    last: usize,
}

impl<V: Simd, const MR: usize> Cursor<V, MR> {
    #[inline(always)]
    fn new(t: &Tile<V::Elem>) -> Self {
        let a_cs = t.a.cs * size_of::<V::Elem>() as isize;
        Cursor { a: Pointers::new(t.a.data, t.a.rs), a_cs, b: t.b, b_rs: t.b_rs, last: t.last }
    }

    /// Adds one column of A times one row of B, and moves to the next.
    ///
    /// # Safety
    ///
    /// As for [`tile`]; fewer than k steps have been taken.
    #[inline(always)]
    unsafe fn step<const NV: usize, const PARTIAL: bool>(&mut self, acc: &mut [[V; NV]; MR]) {
        // SAFETY: the caller's contract: B's row has whole vectors, or `last`
        // lanes in the last of them.
        let columns = unsafe {
            let mut columns = [V::splat(V::Elem::default()); NV];
            for (v, column) in columns.iter_mut().enumerate() {
                let from = self.b.add(v * V::LANES);
                *column =
                    if V::MASKS && PARTIAL && v == NV - 1 { V::load_first(from, self.last) } else { V::load(from) };
            }
            columns
        };
        for (i, row) in acc.iter_mut().enumerate() {
            // SAFETY: the caller's contract: this is an element of A's row i.
            let x = unsafe { V::splat(*self.a.at(i)) };
            for (sum, &column) in row.iter_mut().zip(&columns) {
                // SAFETY: the caller's contract: `V` can be used here.
                *sum = unsafe { sum.add_product(x, column) };
            }
        }
        self.a.advance(self.a_cs);
        self.b = self.b.wrapping_offset(self.b_rs);
    }
}
