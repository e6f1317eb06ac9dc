//! The plain sweep's handling of buffers: shared, viewed, handed over.

use wengert::{Scalar, Tape, Tensor};

/// The adjoint of the quotient is a contiguous view with a layout of its own;
/// what is computed from it must not outlive that layout.
#[test]
fn layouts_outlive_what_is_laid_out_by_them() {
    let tape = Tape::new_f64();
    let x = tape.linspace(0.1, 0.6, 6).reshape([2, 3]).require_grad();
    let b = tape.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).require_grad();
    let c = tape.linspace(1.0, 2.0, 6);
    let exp = x.exp();
    let noise = x.t().reshape([6]);
    let loss = (((exp / b).reshape([6]) * c).reshape([3, 2]).t().square()).sum() + noise.square().sum();
    let grads = loss.backward();
    let [dx, db] = loss.grad([x, b]);
    let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
    assert!(close(grads.get(x).unwrap().as_slice(), &dx.to_vec()));
    assert!(close(grads.get(b).unwrap().as_slice(), &db.to_vec()));
    for (i, &x) in x.as_slice().iter().enumerate() {
        let (b, c) = (b.as_slice()[i], c.as_slice()[i]);
        let q = x.exp() / b;
        let expected = 2.0 * (q * c) * c * q + 2.0 * x;
        assert!((dx.to_vec()[i] - expected).abs() < 1e-12);
    }
}

/// Two operands get the same cotangent; adding to one must not change the other.
#[test]
fn a_shared_adjoint_is_copied_before_it_is_added_to() {
    let tape = Tape::new_f64();
    let x = tape.tensor([1.0, 2.0]).require_grad();
    let (a, b) = (x * 2.0, x * 3.0);
    let sum = a + b;
    let loss = (sum + a * 5.0).sum();
    let grads = loss.backward();
    assert_eq!(grads.get(x).unwrap().as_slice(), &[15.0, 15.0]);
}

/// `x + x` gives one buffer twice.
#[test]
fn one_operand_twice() {
    let tape = Tape::new_f64();
    let x = tape.tensor([1.0, 2.0]).require_grad();
    let y = x.exp();
    let grads = (y + y).sum().backward();
    assert_eq!(grads.get(x).unwrap().as_slice(), (y * 2.0).as_slice());
}

#[test]
fn a_leaf_of_one_element_between_entries_is_none_of_them() {
    // The sweep meets the leaf before the product, which still waits.
    let tape = Tape::new();
    let w = tape.tensor([[2.0], [3.0]]).require_grad();
    let product = tape.tensor([[1.0, 2.0], [3.0, 4.0]]).matmul(w);
    let bias = tape.scalar(0.5).require_grad();
    let grads = (product + bias).sum().backward();
    assert_eq!(grads.get(w).unwrap().as_slice(), [4.0, 6.0]);
    assert_eq!(grads.get(bias).unwrap().item(), 2.0);
}

/// The adjoint of a sum is one number everywhere, and stays so through what
/// scales it; where another contribution comes, it is spread out.
#[test]
fn one_number_everywhere_stays_one_number() {
    let tape = Tape::new();
    let x = tape.zeros([50, 20]).require_grad();
    let y = x.exp();
    let grads = (-(y * 3.0)).sum().backward();
    assert!(grads.get(x).unwrap().as_slice().iter().all(|&g| g == -3.0));
    assert!(tape.stats().sweep_bytes < 4000, "{:?}", tape.stats());
    for z in [(y * 3.0).sum() + (y * y).sum(), (y * y).sum() + (y * 3.0).sum()] {
        assert!(z.backward().get(x).unwrap().as_slice().iter().all(|&g| g == 5.0));
    }
    // Retained on its way, and with an axis of one element.
    let y = x.exp().unsqueeze(1).retain_grad();
    let grads = (y * 2.0).mean().backward();
    assert!(grads.get(y).unwrap().as_slice().iter().all(|&g| g == 0.002));
}

/// A factor which was broadcast along its first axes gets a sum of products,
/// which are not stored in between: to the bits of the two operations.
#[test]
fn products_are_summed_at_once() {
    let sizes: &[[usize; 2]] = if cfg!(miri) {
        &[[9, 2], [2, 1]]
    } else {
        &[[1, 1], [9, 3], [300, 1], [1030, 5], [600, 1100], [0, 3], [3, 0]]
    };
    for &[rows, columns] in sizes {
        let tape = Tape::new();
        let values = |seed: usize| -> Vec<f32> {
            (0..rows * columns).map(|i| ((i * seed) % 1009) as f32 / 500.0 - 1.0).collect()
        };
        let (x, g) = (tape.input([rows, columns], &values(7)), tape.input([rows, columns], &values(13)));
        let factors = [vec![columns], vec![1, columns]].map(|shape| tape.full(shape, 0.5).require_grad());
        let expected = (g * x).sum_axes(0);
        for w in factors {
            // Adjoints of inner nodes are stored, those of leaves added to.
            let inner = w * 1.0;
            let mut grads = (x * inner).backward_with(g);
            assert_eq!(grads.get(w).unwrap().as_slice(), expected.as_slice());
            (x * w).backward_with_into(g, &mut grads);
            let twice: Vec<f32> = expected.as_slice().iter().map(|e| e + e).collect();
            let close = grads
                .get(w)
                .unwrap()
                .as_slice()
                .iter()
                .zip(&twice)
                .all(|(a, b)| (a - b).abs() <= 1e-3 * (1.0 + b.abs()));
            assert!(close, "{rows} x {columns}");
        }
        let number = tape.scalar(0.5).require_grad();
        let grads = (number * x).backward_with(g);
        assert_eq!(grads.get(number).unwrap().item(), (g * x).sum().item());
    }
}

/// The inputs of a normalisation which are wanted get their contributions in
/// one pass: those of the recorded sweep, and of the operations it is made of.
#[test]
fn normalisations_give_to_all_they_want_at_once() {
    fn compare<T: Scalar>(size: [usize; 2], centred: bool, wanted: usize, tolerance: f64) {
        on(&Tape::<T>::default(), size, centred, wanted, tolerance);
    }
    fn on<'t, T: Scalar>(tape: &'t Tape<T>, [rows, len]: [usize; 2], centred: bool, wanted: usize, tolerance: f64) {
        let eps = T::from_f64(1e-3);
        let input = |i: usize, shape: &[usize]| {
            let at = |k: usize| T::from_f64(((k + 1) as f64 * (0.37 + i as f64)).sin() + 0.5);
            let x = tape.from_fn(shape, at);
            if wanted >> i & 1 == 1 { x.require_grad() } else { x }
        };
        let (x, w, b) = (input(0, &[rows, len]), input(1, &[len]), input(2, &[len]));
        let root = |x: Tensor<'t, T>| (x.square().mean_keepdim(1) + eps).sqrt();
        let (y, expected) = if centred {
            let d = x - x.mean_keepdim(1);
            (x.layer_norm(1, Some(w), Some(b), eps), d / root(d) * w + b)
        } else {
            (x.rms_norm(1, Some(w), eps), x / root(x) * w)
        };
        let g = input(3, &[rows, len]);
        // A number everywhere, a tensor, and one with gaps.
        let cotangents = [tape.scalar(T::from_f64(0.5)).broadcast_to([rows, len]), g, input(4, &[len, rows]).t()];
        for g in cotangents {
            let (got, expected) = (y.backward_with(g), expected.backward_with(g));
            let mut twice = y.backward_with(g);
            y.backward_with_into(g, &mut twice);
            for x in [x, w, b].into_iter().filter(|x| x.requires_grad()) {
                let [recorded] = y.vjp(g, [x]);
                let (Some(got), Some(expected)) = (got.get(x), expected.get(x)) else {
                    assert!(!centred, "only a bias is not there");
                    continue;
                };
                let twice = twice.get(x).unwrap();
                let all = [expected.as_slice(), recorded.as_slice()].map(|other| got.as_slice().iter().zip(other));
                let scale = expected.as_slice().iter().fold(1.0, |max, x| x.to_f64().abs().max(max));
                for (a, b) in all.into_iter().flatten() {
                    let error = (*a - *b).to_f64().abs() / scale;
                    assert!(error <= tolerance, "{rows} x {len}, {wanted:b}, {centred}: {a:?} and {b:?}");
                }
                for (a, b) in got.as_slice().iter().zip(twice.as_slice()) {
                    let error = (*a + *a - *b).to_f64().abs() / scale;
                    assert!(error <= tolerance, "{rows} x {len}, {wanted:b}, added: {a:?} and {b:?}");
                }
            }
        }
    }
    let sizes: &[[usize; 2]] = if cfg!(miri) {
        &[[65, 3], [2, 33]]
    } else {
        &[[1, 1], [1, 5], [3, 1], [0, 3], [3, 0], [2, 16], [63, 33], [64, 64], [65, 100], [200, 7], [3, 2100]]
    };
    for &size in sizes {
        for centred in [false, true] {
            for wanted in 1..if centred { 8 } else { 4 } {
                compare::<f32>(size, centred, wanted, 2e-5);
                compare::<f64>(size, centred, wanted, 1e-13);
            }
        }
    }
}

/// A cotangent whose memory becomes its result's: not if another has it too, if
/// something is there to add to, or if it was asked for.
#[test]
fn memory_of_cotangents_is_handed_over() {
    let tape = Tape::new_f64();
    let x = tape.linspace(-1.0, 1.0, 40).reshape([5, 8]).require_grad();
    let through = |f: &dyn for<'t> Fn(Tensor<'t, f64>) -> Tensor<'t, f64>| {
        let loss = (f(x).square() * tape.linspace(1.0, 2.0, 40).reshape([5, 8])).sum();
        let ([dx], grads) = (loss.grad([x]), loss.backward());
        let got = grads.get(x).unwrap();
        assert!(got.as_slice().iter().zip(dx.to_vec()).all(|(a, b)| (a - b).abs() < 1e-14));
    };
    through(&|x| (x * 2.0).tanh().sigmoid().exp());
    // From and to other layouts.
    through(&|x| (x * 2.0).t().tanh().t());
    through(&|x| (x * 2.0).t().tanh().contiguous().sigmoid().reshape([5, 8]));
    // Shared by two, and met twice.
    through(&|x| {
        let (a, b) = ((x * 2.0).tanh(), (x * 3.0).tanh());
        a + b
    });
    through(&|x| {
        let y = x * 2.0;
        y.tanh() + y.sigmoid() * y.gelu()
    });

    let y = x * 2.0;
    let t = y.tanh();
    t.retain_grad();
    let grads = t.square().sum().backward();
    assert_eq!(grads.get(t).unwrap().as_slice(), (t * 2.0).as_slice());
}

/// The derivative of a product with a row, to both in one pass: of more rows
/// and columns than are summed at a time.
#[test]
fn a_product_with_a_long_row() {
    let shapes: &[(&[usize], &[usize])] = if cfg!(miri) {
        &[(&[3, 130], &[130])]
    } else {
        &[(&[600, 150], &[150]), (&[3, 40, 1100], &[1, 1100]), (&[2, 3, 130], &[3, 130])]
    };
    for &(dims, row) in shapes {
        let tape = Tape::new_f64();
        let count = dims.iter().product();
        let x = tape.linspace(-1.0, 1.0, count).reshape(dims).require_grad();
        let b = tape.linspace(0.5, 1.5, row.iter().product()).reshape(row).require_grad();
        let g = tape.linspace(1.0, 3.0, count).sin().reshape(dims);
        for flip in [false, true] {
            // Once alone, once where something is there already.
            for again in [0.0, 0.25] {
                let product = if flip { b * x } else { x * b };
                let loss = (product * g).sum() + (x.sum() + b.sum()) * again;
                let ([dx, db], grads) = (loss.grad([x, b]), loss.backward());
                for (x, want) in [(x, dx), (b, db)] {
                    let got = grads.get(x).unwrap();
                    let close = |(a, b): (&f64, f64)| (a - b).abs() < 1e-12 * (1.0 + b.abs());
                    assert!(got.as_slice().iter().zip(want.to_vec()).all(close), "{dims:?} {flip} {again}");
                }
            }
        }
        let want: Vec<f64> = (g * b).to_vec();
        assert_eq!((x * b * g).sum().backward().get(x).unwrap().as_slice(), want);
    }
}

/// The adjoint of a part is zero beside it, wherever the part lies, in memory
/// which other adjoints have left.
#[test]
fn the_adjoint_of_a_part_is_zero_beside_it() {
    let mut tape = Tape::new_f64();
    let shape = [2, 3, 4];
    for axis in 0..3 {
        let n = shape[axis];
        let ranges = (0..n).flat_map(|from| (from..=n).map(move |to| from as isize..to as isize));
        for (range, step) in ranges.flat_map(|range| [1, 2, -1].map(|step| (range.clone(), step))) {
            for selected in [false, true] {
                tape.rewind();
                let x = tape.arange(1.0, 25.0, 1.0).reshape(shape).require_grad();
                let [y, x_part] = [(x * 2.0).exp().ln(), x].map(|y| match selected && !range.is_empty() {
                    true => y.select(axis as isize, range.start),
                    false => y.slice_step(axis as isize, range.clone(), step),
                });
                let kept = x_part.to_vec();
                let grads = (y * y).sum().backward();
                let expected = x.to_vec().into_iter().map(|x| if kept.contains(&x) { 8.0 * x } else { 0.0 });
                for (got, expected) in grads.get(x).unwrap().iter().zip(expected) {
                    assert!((got - expected).abs() < 1e-9, "{axis} {range:?} {step} {selected}: {got}, not {expected}");
                }
            }
        }
    }
}
