//! How near to the peak of the processor the kernels come, which no benchmark of
//! the public interface can tell: there, small products are mostly recording.
//!
//! ```sh
//! cargo test --release -p wengert --lib shares -- --ignored --nocapture
//! ```
//!
//! `WENGERT_ISA=avx2` measures that instruction set, against its own peak.

use core::mem::MaybeUninit;
use std::hint::black_box;
use std::time::Instant;

use super::kernels::Kernels;
use super::simd::Simd;
use super::x86::Masked;
use super::{GemmBackend, GemmScalar, Isa, Mat, Skip, gemm, scratch_len};

/// m, k, n
const SHAPES: [[usize; 3]; 14] = [
    [16, 16, 16],
    [32, 32, 32],
    [33, 33, 33],
    [50, 50, 50],
    [64, 64, 64],
    [100, 100, 100],
    [128, 128, 128],
    [256, 256, 256],
    [512, 512, 512],
    [1024, 1024, 1024],
    [64, 784, 512],
    [64, 256, 10],
    [64, 32, 64],
    [64, 64, 32],
];
/// Multiply-adds of vectors which do not wait for each other.
const CHAINS: usize = 12;
/// Each figure is the median of so many, each of about this many operations.
const TIMES: usize = 41;
const OPERATIONS: usize = 20_000_000;

/// `n` times `CHAINS` multiply-adds of vectors.
///
/// # Safety
///
/// As for [`Simd`].
#[inline(always)]
unsafe fn multiply_adds<V: Simd>(n: usize) {
    // SAFETY: the caller's contract.
    unsafe {
        let zero = V::splat(V::Elem::default());
        let (x, y) = (black_box(zero), black_box(zero));
        let mut sums = [zero; CHAINS];
        for _ in 0..n {
            for sum in &mut sums {
                *sum = sum.add_product(x, y);
            }
        }
        black_box(sums);
    }
}

#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
unsafe fn avx512<V: Simd>(n: usize) {
    // SAFETY: the instruction set is there.
    unsafe { multiply_adds::<V>(n) }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<V: Simd>(n: usize) {
    // SAFETY: as above.
    unsafe { multiply_adds::<V>(n) }
}

/// Operations in a second, where nothing but multiply-adds is done.
fn peak<T: GemmScalar>(kernels: &Kernels<T>, multiply_adds: unsafe fn(usize)) -> f64 {
    let n = OPERATIONS / (2 * CHAINS * kernels.lanes);
    let start = Instant::now();
    // SAFETY: the instruction set was chosen since the machine has it.
    unsafe { multiply_adds(n) }
    (2 * n * CHAINS * kernels.lanes) as f64 / start.elapsed().as_secs_f64()
}

/// Memory which begins with a line of cache, as a tape's does.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Lines<T>([T; 64]);

/// `len` elements.
fn lines<T: Copy>(len: usize, x: T) -> Vec<Lines<T>> {
    vec![Lines([x; 64]); len.div_ceil(64)]
}

/// The median share of the peak; the two are measured in turns, since the clock
/// moves. `batch` products have operands of their own.
fn share<T: GemmScalar>(
    isa: Isa,
    loops: unsafe fn(usize),
    [m, k, n]: [usize; 3],
    transposed: bool,
    batch: usize,
) -> f64 {
    let [a, b, mut c] = [m * k, k * n, m * n].map(|len| lines(batch * len, T::UNIT));
    let (a, b, c) = (a.as_ptr().cast(), b.as_ptr().cast(), c.as_mut_ptr().cast::<T>());
    let (of_a, of_b) = ((k as isize, 1), if transposed { (1, k as isize) } else { (n as isize, 1) });
    let len = scratch_len::<T>(GemmBackend::Direct, isa, m, n, k, of_a, of_b);
    let mut scratch = lines(len, MaybeUninit::<T>::uninit());
    // SAFETY: lines have no gaps between them.
    let scratch = unsafe { core::slice::from_raw_parts_mut(scratch.as_mut_ptr().cast(), 64 * scratch.len()) };
    let operations = 2 * m * n * k;
    let turns = (OPERATIONS / operations / batch).max(1);
    let mut shares = [0.0; TIMES];
    for share in &mut shares {
        let before = peak(T::kernels(isa), loops);
        let start = Instant::now();
        for i in (0..turns).flat_map(|_| 0..batch) {
            let a = Mat { data: a, rs: of_a.0, cs: of_a.1 }.at((i * m * k) as isize);
            let b = Mat { data: b, rs: of_b.0, cs: of_b.1 }.at((i * k * n) as isize);
            // SAFETY: matrices of these shapes, in memory of their own.
            unsafe {
                let c = c.add(i * m * n);
                gemm(GemmBackend::Direct, isa, m, n, k, a, b, c, n as isize, None, Skip::Nothing, scratch);
            }
        }
        let rate = (turns * batch * operations) as f64 / start.elapsed().as_secs_f64();
        *share = 2.0 * rate / (before + peak(T::kernels(isa), loops));
    }
    shares.sort_by(f64::total_cmp);
    shares[TIMES / 2]
}

fn table<T: GemmScalar>(isa: Isa, loops: unsafe fn(usize)) {
    let gigaflops = peak(T::kernels(isa), loops) / 1e9;
    println!("\n{}, {isa:?}, a peak of {gigaflops:.0} GFLOP/s\n", core::any::type_name::<T>());
    println!("| m x k x n | share of the peak | B transposed | 64 of them | B transposed |\n|---|---:|---:|---:|---:|");
    for shape @ [m, k, n] in SHAPES {
        let percent = |transposed, batch| format!("{:.0} %", 100.0 * share::<T>(isa, loops, shape, transposed, batch));
        let [many, many_t] = match m * k * n {
            ..=300_000 => [false, true].map(|t| percent(t, 64)),
            _ => [String::new(), String::new()],
        };
        println!("| {m} x {k} x {n} | {} | {} | {many} | {many_t} |", percent(false, 1), percent(true, 1));
    }
}

#[test]
#[ignore = "it measures, and asserts nothing"]
fn shares() {
    use core::arch::x86_64::{__m256, __m256d, __m512, __m512d};
    match Isa::detect() {
        Isa::Avx512 => {
            table::<f32>(Isa::Avx512, avx512::<Masked<__m512>>);
            table::<f64>(Isa::Avx512, avx512::<Masked<__m512d>>);
        }
        Isa::Avx2 => {
            table::<f32>(Isa::Avx2, avx2::<__m256>);
            table::<f64>(Isa::Avx2, avx2::<__m256d>);
        }
        _ => println!("no vectors whose peak would be known"),
    }
}
