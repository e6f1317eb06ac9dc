//! The plain sweep's handling of buffers: shared, viewed, handed over.

use wengert::Tape;

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
