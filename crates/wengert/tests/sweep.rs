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
