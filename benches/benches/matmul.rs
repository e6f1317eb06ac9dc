//! Matrix products through the public API, on both backends, f32 and f64.
//! Throughput counts floating-point operations (2 m k n per product), so
//! `Gelem/s` reads as GFLOP/s.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::RngExt;
use wengert::{GemmBackend, Scalar, Tape};
use wengert_benches::rng;

/// m, k, n; which operands are transposed views; and how many products.
type Case = ([usize; 3], &'static str, usize);

const CASES: [Case; 25] = [
    ([4, 2, 16], "NN", 1),
    ([4, 16, 16], "NN", 1),
    ([4, 16, 1], "NN", 1),
    ([16, 16, 16], "NN", 1),
    ([16, 16, 16], "NT", 1),
    ([32, 32, 32], "NN", 1),
    ([32, 32, 32], "NT", 1),
    ([33, 33, 33], "NN", 1),
    ([50, 50, 50], "NN", 1),
    ([64, 64, 64], "NN", 1),
    ([64, 64, 64], "NT", 1),
    ([100, 100, 100], "NN", 1),
    ([256, 256, 256], "NN", 1),
    ([512, 512, 512], "NN", 1),
    ([1024, 1024, 1024], "NN", 1),
    ([64, 256, 10], "NN", 1),
    ([64, 784, 512], "NN", 1),
    ([64, 512, 784], "NT", 1),
    ([784, 64, 512], "TN", 1),
    ([1024, 128, 512], "NN", 1),
    ([1024, 512, 128], "NT", 1),
    ([128, 1024, 512], "TN", 1),
    ([64, 32, 64], "NT", 64),
    ([64, 64, 32], "NN", 64),
    ([1, 256, 256], "NN", 1),
];

fn products<T: Scalar>(c: &mut Criterion, element: &str, tape: impl Fn() -> Tape<T>) {
    let mut group = c.benchmark_group(format!("matmul_{element}"));
    for ([m, k, n], kind, batch) in CASES {
        let operations = 2 * (m * k * n * batch) as u64;
        group.throughput(Throughput::Elements(operations));
        let name = format!("{batch}x{m}x{k}x{n}_{kind}");
        for (backend, gemm) in [("direct", GemmBackend::Direct), ("matrixmultiply", GemmBackend::MatrixMultiply)] {
            group.bench_function(BenchmarkId::new(backend, &name), |b| {
                let mut rng = rng();
                let mut operand = |rows: usize, columns: usize, transposed: bool| {
                    let shape = if transposed { [batch, columns, rows] } else { [batch, rows, columns] };
                    let values: Vec<T> =
                        (0..batch * rows * columns).map(|_| T::from_f64(rng.random_range(-1.0..1.0))).collect();
                    (shape, values, transposed)
                };
                let (left, right) = (operand(m, k, kind == "TN"), operand(k, n, kind == "NT"));
                let mut tape = tape();
                tape.set_gemm_backend(gemm);
                // Products go round in memory which is taken back after about
                // 10 million operations.
                let round = (10_000_000 / operations).clamp(1, 1000);
                b.iter_custom(|turns| {
                    let mut time = Duration::ZERO;
                    let mut left_over = turns;
                    while left_over > 0 {
                        tape.rewind();
                        let [x, y] = [&left, &right].map(|(shape, values, transposed)| {
                            let x = tape.input(*shape, values);
                            let x = if batch == 1 { x.reshape(&shape[1..]) } else { x };
                            if *transposed { x.t() } else { x }
                        });
                        let turns = left_over.min(round);
                        let start = Instant::now();
                        for _ in 0..turns {
                            std::hint::black_box(x.matmul(y));
                        }
                        time += start.elapsed();
                        left_over -= turns;
                    }
                    time
                });
            });
        }
    }
    group.finish();
}

fn matmul(c: &mut Criterion) {
    products(c, "f32", Tape::new);
    products(c, "f64", Tape::new_f64);
}

/// A hundred products in about two minutes.
fn settings() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(700))
        .sample_size(10)
        .without_plots()
}

criterion_group! { name = benches; config = settings(); targets = matmul }
criterion_main!(benches);
