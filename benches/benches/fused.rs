//! One expression by plain ops, as a fused op, and as a loop written by hand
//! (which is compiled for the same instruction set). Throughput counts
//! elements.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wengert::{Gradients, Real, Tape};
use wengert_benches::settings;
use wengert_benches::workloads::Form;

const FORMS: [(&str, Form); 2] = [("fused", Form::Fused), ("by ops", Form::Plain)];

/// Compiles a loop for AVX2 too, where the processor has it.
macro_rules! by_hand {
    (fn $name:ident($($x:ident: $X:ty),*) $body:block) => {
        fn $name($($x: $X),*) {
            #[inline(always)]
            fn body($($x: $X),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($x: $X),*) {
                    body($($x),*);
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: the processor has both.
                    return unsafe { avx2($($x),*) };
                }
            }
            body($($x),*);
        }
    };
}

const CUBIC: f32 = 0.044_715;
const ROOT: f32 = 2.0 * 0.797_884_6;

by_hand! {
    fn film_forward(x: &[f32], a: &[f32], b: &[f32], y: &mut [f32]) {
        let n = a.len();
        for (x, y) in x.chunks_exact(n).zip(y.chunks_exact_mut(n)) {
            for (((x, a), b), y) in x.iter().zip(a).zip(b).zip(y) {
                let u = x * a + b;
                *y = u * (ROOT * (u + CUBIC * u * u * u)).sigmoid();
            }
        }
    }
}

by_hand! {
    fn film_backward(x: &[f32], ab: [&[f32]; 2], g: &[f32], dx: &mut [f32], da: &mut [f32], db: &mut [f32]) {
        let n = ab[0].len();
        let (a, b, da, db) = (&ab[0][..n], &ab[1][..n], &mut da[..n], &mut db[..n]);
        da.fill(0.0);
        db.fill(0.0);
        for ((x, g), dx) in x.chunks_exact(n).zip(g.chunks_exact(n)).zip(dx.chunks_exact_mut(n)) {
            for j in 0..n {
                let u = x[j] * a[j] + b[j];
                let s = (ROOT * (u + CUBIC * u * u * u)).sigmoid();
                let du = g[j] * (s + u * s * (1.0 - s) * ROOT * (1.0 + 3.0 * CUBIC * u * u));
                dx[j] = du * a[j];
                da[j] += du * x[j];
                db[j] += du;
            }
        }
    }
}

by_hand! {
    fn rosenbrock_there_and_back(x: &[f32], g: &mut [f32], loss: &mut f32) {
        let n = x.len() - 1;
        let (x0, x1) = (&x[..n], &x[1..]);
        for i in 0..n {
            g[i] = -400.0 * x0[i] * (x1[i] - x0[i] * x0[i]) - 2.0 * (1.0 - x0[i]);
        }
        g[n] = 0.0;
        let later = &mut g[1..];
        for i in 0..n {
            later[i] += 200.0 * (x1[i] - x0[i] * x0[i]);
        }
        let mut lanes = [0.0; 16];
        for (x0, x1) in x0.chunks(16).zip(x1.chunks(16)) {
            for ((lane, x0), x1) in lanes.iter_mut().zip(x0).zip(x1) {
                let r = x1 - x0 * x0;
                *lane += 100.0 * r * r + (1.0 - x0) * (1.0 - x0);
            }
        }
        *loss = lanes.iter().sum();
    }
}

fn wave(len: usize, step: f32) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * step).sin() * 2.0).collect()
}

fn film_benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("gelu(x a + b)");
    for [m, n] in [[64, 64], [1024, 1024]] {
        let (x, g, a, b) = (wave(m * n, 0.37), wave(m * n, 0.17), wave(n, 0.77), wave(n, 0.57));
        group.throughput(Throughput::Elements((m * n) as u64));
        let (mut y, mut da, mut db) = (vec![0.0; m * n], vec![0.0; n], vec![0.0; n]);
        let id = |what: &str| BenchmarkId::new(what, format!("{m}x{n}"));
        group.bench_function(id("forward/by hand"), |bench| bench.iter(|| film_forward(&x, &a, &b, black_box(&mut y))));
        group.bench_function(id("backward/by hand"), |bench| {
            bench.iter(|| film_backward(&x, [&a, &b], &g, black_box(&mut y), black_box(&mut da), black_box(&mut db)));
        });
        for (name, form) in FORMS {
            for forward in [true, false] {
                let (mut tape, mut grads) = (Tape::new(), Gradients::new());
                let what = if forward { "forward" } else { "backward" };
                group.bench_function(id(&format!("{what}/{name}")), |bench| {
                    bench.iter_custom(|turns| {
                        let mut time = Duration::ZERO;
                        for _ in 0..turns {
                            tape.rewind();
                            grads.zero();
                            let x = tape.input([m, n], &x).require_grad();
                            let (a, b) = (tape.input([n], &a).require_grad(), tape.input([n], &b).require_grad());
                            let g = tape.input([m, n], &g);
                            let start = Instant::now();
                            let y = form.film(x, a, b);
                            let there = start.elapsed();
                            y.backward_with_into(g, &mut grads);
                            time += if forward { there } else { start.elapsed() - there };
                        }
                        time
                    });
                });
            }
        }
    }
    group.finish();
}

fn rosenbrock_benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("rosenbrock");
    let n = 10_000;
    let x = wave(n, 0.37);
    group.throughput(Throughput::Elements(n as u64));
    let (mut g, mut loss) = (vec![0.0; n], 0.0);
    group.bench_function("by hand", |bench| {
        bench.iter(|| rosenbrock_there_and_back(&x, black_box(&mut g), black_box(&mut loss)));
    });
    for (name, form) in FORMS {
        let (mut tape, mut grads) = (Tape::new(), Gradients::new());
        group.bench_function(name, |bench| {
            bench.iter(|| {
                tape.rewind();
                grads.zero();
                let x = tape.input([n], &x).require_grad();
                form.valley(x.slice(0, ..-1), x.slice(0, 1..)).sum().backward_into(&mut grads);
            });
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = settings(); targets = film_benches, rosenbrock_benches }
criterion_main!(benches);
