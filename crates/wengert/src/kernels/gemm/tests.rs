//! Products against a plain sum in f64, for every instruction set this machine has.

use core::mem::MaybeUninit;

use super::kernels::{self, Kernels};
use super::{GemmBackend, GemmScalar, Isa, Mat, Skip, direct, gemm, plan, scratch_len};

/// What the tests need of f32 and f64.
trait Element: GemmScalar {
    const EPSILON: f64;
    const NAN: Self;
    fn new(x: f64) -> Self;
    fn get(self) -> f64;
}

impl Element for f32 {
    const EPSILON: f64 = f32::EPSILON as f64;
    const NAN: f32 = f32::NAN;
    fn new(x: f64) -> f32 {
        x as f32
    }
    fn get(self) -> f64 {
        self.into()
    }
}

impl Element for f64 {
    const EPSILON: f64 = f64::EPSILON;
    const NAN: f64 = f64::NAN;
    fn new(x: f64) -> f64 {
        x
    }
    fn get(self) -> f64 {
        self
    }
}

/// A matrix with memory of its own: nothing but its elements is allocated, so
/// that tools which check memory see a read past them.
struct Operand<T> {
    data: Vec<T>,
    first: usize,
    rs: isize,
    cs: isize,
}

/// How an operand lies in memory.
#[derive(Clone, Copy, Debug)]
enum Lie {
    Rows,
    Columns,
    /// Row-major with gaps between rows, and between elements.
    Apart,
    /// Both directions backwards.
    Backwards,
    /// One row, for every row.
    SameRow,
    /// One column, for every column.
    SameColumn,
    /// One element.
    Same,
}

const LIES: [Lie; 7] = [Lie::Rows, Lie::Columns, Lie::Apart, Lie::Backwards, Lie::SameRow, Lie::SameColumn, Lie::Same];

impl<T: Element> Operand<T> {
    fn new(rows: usize, columns: usize, lie: Lie, seed: usize) -> Self {
        let (r, c) = (rows as isize, columns as isize);
        let (rs, cs) = match lie {
            Lie::Rows => (c, 1),
            Lie::Columns => (1, r),
            Lie::Apart => (3 * c + 1, 3),
            Lie::Backwards => (-c, -1),
            Lie::SameRow => (0, 1),
            Lie::SameColumn => (1, 0),
            Lie::Same => (0, 0),
        };
        let reach = if rows * columns == 0 { 0 } else { (r - 1) * rs + (c - 1) * cs };
        let len = if rows * columns == 0 { 0 } else { reach.unsigned_abs() + 1 };
        let mut state = seed as u32 | 1;
        let data = (0..len).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            T::new(f64::from(state >> 8) / f64::from(1 << 23) - 1.0)
        });
        Operand { data: data.collect(), first: if reach < 0 { len - 1 } else { 0 }, rs, cs }
    }

    fn mat(&self) -> Mat<T> {
        Mat { data: self.data.as_ptr().wrapping_add(self.first), rs: self.rs, cs: self.cs }
    }

    fn get(&self, i: usize, j: usize) -> f64 {
        let at = self.first as isize + i as isize * self.rs + j as isize * self.cs;
        self.data[at as usize].get()
    }
}

/// One product, from every start, by each of `machines`.
fn check<T: Element>(machines: &[(GemmBackend, Isa)], [m, n, k]: [usize; 3], lie_a: Lie, lie_b: Lie, gap: usize) {
    let a = Operand::<T>::new(m, k, lie_a, 7 * m + k);
    let b = Operand::<T>::new(k, n, lie_b, 11 * n + 3 * k + 5);
    let rsc = n + gap;
    let c_len = if m * n == 0 { 0 } else { (m - 1) * rsc + n };

    let mut expected = vec![(0.0, 0.0); m * n];
    for i in 0..m {
        for p in 0..k {
            let x = a.get(i, p);
            for j in 0..n {
                let product = x * b.get(p, j);
                let (sum, size) = &mut expected[i * n + j];
                *sum += product;
                *size += product.abs();
            }
        }
    }

    for &(backend, isa) in machines {
        for start in ["nothing", "what is there", "a row"] {
            let add = start == "what is there";
            let before = if add { T::new(0.75) } else { T::NAN };
            let row: Vec<T> = (0..n).map(|j| T::new(j as f64 - 1.5)).collect();
            let start_at = |j: usize| {
                if add {
                    0.75
                } else if start == "a row" {
                    row[j].get()
                } else {
                    0.0
                }
            };
            let mut c = vec![before; c_len];
            let len = scratch_len::<T>(backend, isa, m, n, k, (a.rs, a.cs), (b.rs, b.cs));
            let mut scratch = vec![MaybeUninit::<T>::uninit(); len];
            // SAFETY: the operands own what their strides reach, C has m rows of
            // n, and only instruction sets which are available are tried.
            unsafe {
                let c = c.as_mut_ptr();
                let start = match start {
                    "nothing" => None,
                    "a row" => Some(Mat { data: row.as_ptr(), rs: 0, cs: 1 }),
                    _ => Some(Mat { data: c.cast_const(), rs: rsc as isize, cs: 1 }),
                };
                gemm(backend, isa, m, n, k, a.mat(), b.mat(), c, rsc as isize, start, Skip::Nothing, &mut scratch);
            }
            let what = format!(
                "{m}x{n}x{k} {lie_a:?} {lie_b:?} {backend:?} {isa:?} to {start} {}",
                core::any::type_name::<T>()
            );
            for (at, &x) in c.iter().enumerate() {
                let (i, j) = (at / rsc, at % rsc);
                if j >= n {
                    let same = x.get() == before.get() || (x.get().is_nan() && !add);
                    assert!(same, "{what}: wrote between rows at ({i}, {j})");
                    continue;
                }
                let (sum, size) = expected[i * n + j];
                let (sum, size) = (sum + start_at(j), size + start_at(j).abs());
                // Each of k + 1 roundings is of a part of the sum of magnitudes.
                let bound = size * (k + 1) as f64 * T::EPSILON;
                let error = (x.get() - sum).abs();
                assert!(error <= bound, "{what}: ({i}, {j}) is {} not {sum}", x.get());
            }
        }
    }
}

/// Every instruction set this machine has, and the other backend.
fn machines() -> Vec<(GemmBackend, Isa)> {
    let isas = [Isa::Portable, Isa::Neon, Isa::Avx2, Isa::Avx512];
    let direct = isas.into_iter().filter(|isa| isa.is_available());
    let mut machines: Vec<_> = direct.map(|isa| (GemmBackend::Direct, isa)).collect();
    // Miri does not run matrixmultiply's inline assembly and intrinsics.
    if !cfg!(miri) {
        machines.push((GemmBackend::MatrixMultiply, Isa::Portable));
    }
    machines
}

const TRANSPOSES: [[Lie; 2]; 4] =
    [[Lie::Rows, Lie::Rows], [Lie::Rows, Lie::Columns], [Lie::Columns, Lie::Rows], [Lie::Columns, Lie::Columns]];

fn every_size<T: Element>(sizes: &[usize]) {
    let machines = machines();
    for &m in sizes {
        for &n in sizes {
            for &k in sizes {
                for [a, b] in TRANSPOSES {
                    check::<T>(&machines, [m, n, k], a, b, 0);
                }
            }
        }
    }
}

#[cfg(not(miri))]
const SIZES: [usize; 15] = [0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 64, 65];
#[cfg(miri)]
const SIZES: [usize; 5] = [0, 1, 3, 5, 7];

#[test]
fn every_size_f32() {
    every_size::<f32>(&SIZES);
}

#[test]
fn every_size_f64() {
    every_size::<f64>(&SIZES);
}

#[test]
fn every_stride() {
    let machines = machines();
    let sizes: &[[usize; 3]] = if cfg!(miri) {
        &[[3, 5, 4], [1, 6, 5]]
    } else {
        &[[1, 1, 1], [1, 40, 37], [40, 1, 37], [5, 3, 70], [13, 20, 9], [34, 37, 41], [70, 70, 20]]
    };
    for &size in sizes {
        for a in LIES {
            for b in LIES {
                for gap in [0, 3] {
                    check::<f32>(&machines, size, a, b, gap);
                    check::<f64>(&machines, size, a, b, gap);
                }
            }
        }
    }
}

/// Sizes which are cut into several blocks in each direction, and remainders.
#[test]
#[cfg(not(miri))]
fn several_blocks() {
    let machines = machines();
    for [a, b] in TRANSPOSES {
        check::<f32>(&machines, [70, 1100, 600], a, b, 0);
        check::<f32>(&machines, [530, 1050, 300], a, b, 5);
        check::<f64>(&machines, [505, 65, 530], a, b, 0);
        check::<f64>(&machines, [7, 530, 530], a, b, 0);
    }
}

/// Columns left to dot products, beside others which are packed or not.
#[test]
#[cfg(not(miri))]
fn few_columns_beside_whole_vectors() {
    let machines = machines();
    for [a, b] in TRANSPOSES {
        for n in [9, 10, 12, 17, 18, 19, 33, 34, 36, 65, 66, 68] {
            check::<f32>(&machines, [9, n, 75], a, b, 1);
            check::<f64>(&machines, [9, n, 75], a, b, 0);
            check::<f32>(&machines, [70, n, 300], a, b, 0);
            check::<f64>(&machines, [330, n, 40], a, b, 2);
        }
    }
}

/// Long sums, few of them.
#[test]
#[cfg(not(miri))]
fn long_k() {
    let machines = machines();
    for [a, b] in TRANSPOSES {
        for [m, n] in [[1, 1], [1, 3], [3, 1], [2, 9], [17, 4]] {
            check::<f32>(&machines, [m, n, 20_000], a, b, 0);
            check::<f64>(&machines, [m, n, 20_001], a, b, 0);
        }
    }
}

/// Zeros do not hide what is not a number, on whichever side it is.
#[test]
fn nan_times_zero_is_nan() {
    fn check<T: Element>() {
        for (backend, isa) in machines() {
            for size in [1, 4, 9, 20] {
                for (x, y) in [(T::NAN, T::new(0.0)), (T::new(0.0), T::NAN)] {
                    for (rs, cs) in [(size as isize, 1), (1, size as isize)] {
                        let (a, b) = (vec![x; size * size], vec![y; size * size]);
                        let mut c = vec![T::new(0.0); size * size];
                        let len = scratch_len::<T>(backend, isa, size, size, size, (rs, cs), (cs, rs));
                        let mut scratch = vec![MaybeUninit::uninit(); len];
                        let (a, b) = (Mat { data: a.as_ptr(), rs, cs }, Mat { data: b.as_ptr(), rs: cs, cs: rs });
                        let c_data = c.as_mut_ptr();
                        // SAFETY: squares with all their elements, on what this machine has.
                        unsafe {
                            gemm(
                                backend,
                                isa,
                                size,
                                size,
                                size,
                                a,
                                b,
                                c_data,
                                size as isize,
                                None,
                                Skip::Nothing,
                                &mut scratch,
                            );
                        }
                        assert!(c.iter().all(|c| c.get().is_nan()), "{size} {backend:?} {isa:?}");
                    }
                }
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

/// A tile which is too tall or too wide for a shape would be found here.
#[test]
#[cfg(not(miri))]
fn every_edge() {
    let machines = machines();
    for m in 1..=26 {
        for n in 1..=70 {
            check::<f32>(&machines, [m, n, 3], Lie::Rows, Lie::Rows, 0);
            check::<f64>(&machines, [m, n, 2], Lie::Columns, Lie::Columns, 0);
        }
    }
}

#[test]
fn auto_is_direct_and_the_other_backend_needs_no_scratch() {
    let isa = Isa::detect();
    let len = |backend| scratch_len::<f32>(backend, isa, 70, 70, 70, (70, 1), (1, 70));
    assert_eq!(GemmBackend::default(), GemmBackend::Auto);
    assert_eq!(len(GemmBackend::Auto), len(GemmBackend::Direct));
    assert_eq!(len(GemmBackend::MatrixMultiply), 0);
}

/// The kernels of other targets, which run here too.
#[test]
#[cfg(not(miri))]
fn kernels_of_other_targets() {
    fn check<T: Element>(kernels: &Kernels<T>) {
        for m in [1, 2, 3, 5, 8, 13, 21, 34] {
            for n in [1, 2, 3, 5, 8, 13, 21, 34, 71] {
                let (k, lies) = (m / 2 + n, TRANSPOSES[(m + n) % 4]);
                let a = Operand::<T>::new(m, k, lies[0], m);
                let b = Operand::<T>::new(k, n, lies[1], n);
                let mut c = vec![T::NAN; m * n];
                let steps = [&a, &b].map(|x| (x.mat().rs, x.mat().cs));
                let mut scratch =
                    vec![MaybeUninit::uninit(); plan::scratch_len(kernels, [m, n, k], steps[0], steps[1])];
                // SAFETY: the operands own what their strides reach, C has m rows
                // of n, and these kernels ask for nothing special of the machine.
                unsafe {
                    direct::gemm(
                        kernels,
                        [m, n, k],
                        a.mat(),
                        b.mat(),
                        c.as_mut_ptr(),
                        n as isize,
                        None,
                        Skip::Nothing,
                        &mut scratch,
                    );
                }
                for (at, x) in c.iter().enumerate() {
                    let sum: f64 = (0..k).map(|p| a.get(at / n, p) * b.get(p, at % n)).sum();
                    let error = (x.get() - sum).abs();
                    assert!(error <= (k * k) as f64 * T::EPSILON, "{m}x{n}x{k} {lies:?}: {} not {sum}", x.get());
                }
            }
        }
    }
    check(&kernels::PLAIN_F32);
    check(&kernels::PLAIN_F64);
    check(&kernels::NEON_F32);
    check(&kernels::NEON_F64);
    check(&kernels::WIDE_F32);
    check(&kernels::WIDE_F64);
}

/// What may be left out makes no difference to what is wanted, and is left out.
#[test]
fn triangular_matrices() {
    fn check<T: Element>([m, n, k]: [usize; 3], d: isize, transposed: bool) {
        let distance = |i: usize, j: usize| j as isize - i as isize;
        for skip in [Skip::Nothing, Skip::BelowC(d), Skip::AboveA(d), Skip::BelowA(d)] {
            let lies = if transposed { [Lie::Columns, Lie::Columns] } else { [Lie::Rows, Lie::Rows] };
            let mut a = Operand::<T>::new(m, k, lies[0], 5);
            let b = Operand::<T>::new(k, n, lies[1], 9);
            for (i, p) in (0..m).flat_map(|i| (0..k).map(move |p| (i, p))) {
                let zero = match skip {
                    Skip::AboveA(d) => distance(i, p) > d,
                    Skip::BelowA(d) => distance(i, p) < -d,
                    _ => false,
                };
                if zero {
                    a.data[(i as isize * a.rs + p as isize * a.cs) as usize] = T::new(0.0);
                }
            }
            for (backend, isa) in machines() {
                let len = scratch_len::<T>(backend, isa, m, n, k, (a.rs, a.cs), (b.rs, b.cs));
                let mut scratch = vec![MaybeUninit::<T>::uninit(); len];
                let mut c = vec![T::NAN; m * n];
                // SAFETY: the operands own what their strides reach, and C has m
                // rows of n.
                unsafe {
                    let (a, b, c) = (a.mat(), b.mat(), c.as_mut_ptr());
                    gemm(backend, isa, m, n, k, a, b, c, n as isize, None, skip, &mut scratch);
                }
                for (at, c) in c.iter().enumerate() {
                    let (i, j) = (at / n, at % n);
                    let wanted = !matches!(skip, Skip::BelowC(d) if distance(i, j) < -d);
                    let sum: f64 = (0..k).map(|p| a.get(i, p) * b.get(p, j)).sum();
                    let right = (c.get() - sum).abs() <= (k + 1) as f64 * k as f64 * T::EPSILON;
                    assert!(
                        right || !wanted && c.get().is_nan(),
                        "{m}x{n}x{k} {skip:?} {isa:?}: ({i}, {j}) {}",
                        c.get()
                    );
                }
                let left_out = c.iter().any(|c| c.get().is_nan());
                let much = backend == GemmBackend::Direct && n >= 64 && m >= 100 && d == 0;
                assert!(left_out || !(much && skip == Skip::BelowC(0)), "{m}x{n}x{k} {isa:?}: all was computed");
            }
        }
    }
    let shapes: &[[usize; 3]] = match cfg!(miri) {
        true => &[[17, 20, 9]],
        false => &[[1, 1, 1], [5, 70, 3], [64, 64, 32], [64, 32, 64], [100, 64, 40], [130, 70, 300], [200, 150, 130]],
    };
    for &shape in shapes {
        for d in [0, 3, 40, -2] {
            for transposed in [false, true] {
                check::<f32>(shape, d, transposed);
                check::<f64>(shape, d, transposed);
            }
        }
    }
}
