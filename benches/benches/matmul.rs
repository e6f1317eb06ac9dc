//! Matrix products through the public API, on both backends. Throughput counts
//! floating-point operations (2 m k n), so `Gelem/s` reads as GFLOP/s.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wengert::{GemmBackend, Tape};
use wengert_benches::{rng, settings};

/// (m, k, n), and which operands are transposed views.
const SHAPES: [([usize; 3], bool, bool); 9] = [
    ([4, 16, 16], false, false),
    ([16, 16, 16], false, false),
    ([64, 64, 64], false, false),
    ([64, 256, 10], false, false),
    ([64, 784, 512], false, false),
    ([64, 512, 784], false, true),
    ([784, 64, 512], true, false),
    ([256, 256, 256], false, false),
    ([512, 512, 512], false, false),
];

fn matmul(c: &mut Criterion) {
    let mut group = c.benchmark_group("matmul_f32");
    for ([m, k, n], left, right) in SHAPES {
        group.throughput(Throughput::Elements(2 * (m * k * n) as u64));
        let kind = format!("{}{}", if left { 'T' } else { 'N' }, if right { 'T' } else { 'N' });
        for (name, backend) in [("direct", GemmBackend::Direct), ("matrixmultiply", GemmBackend::MatrixMultiply)] {
            group.bench_function(BenchmarkId::new(name, format!("{m}x{k}x{n}_{kind}")), |b| {
                let data = Tape::new();
                let mut rng = rng();
                let a = data.randn(if left { [k, m] } else { [m, k] }, &mut rng);
                let b_ = data.randn(if right { [n, k] } else { [k, n] }, &mut rng);
                // The operands stay where they are; the products go round in
                // memory which is taken back every few hundred turns.
                let mut tape = Tape::new();
                tape.set_gemm_backend(backend);
                b.iter_custom(|turns| {
                    let mut left_over = turns;
                    let mut time = std::time::Duration::ZERO;
                    while left_over > 0 {
                        tape.rewind();
                        let x = tape.constant(a);
                        let y = tape.constant(b_);
                        let x = if left { x.t() } else { x };
                        let y = if right { y.t() } else { y };
                        let round = left_over.min(100);
                        let start = std::time::Instant::now();
                        for _ in 0..round {
                            std::hint::black_box(x.matmul(y));
                        }
                        time += start.elapsed();
                        left_over -= round;
                    }
                    time
                });
            });
        }
    }
    group.finish();
}

criterion_group! { name = benches; config = settings(); targets = matmul }
criterion_main!(benches);
