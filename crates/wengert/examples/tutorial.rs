//! PyTorch's autograd tutorial, in this library.
//!
//! ```text
//! cargo run --example tutorial
//! ```
//!
//! It follows "Automatic Differentiation with `torch.autograd`" of PyTorch's
//! tutorials, with fixed numbers for `w` and `b` instead of random ones. Every
//! value and gradient on the way is checked against what PyTorch 2.15.0 gave
//! for them in `float64`, to 1e-12.

use std::fs;

use wengert::{Array, ArrayView, Gradients, Params, Tape, Tensor};

const W: [[f64; 3]; 5] =
    [[0.5, -1.25, 0.75], [1.5, 0.25, -0.5], [-0.75, 1.0, 0.125], [0.3, -0.6, 0.9], [-1.1, 0.7, 0.2]];
const B: [f64; 3] = [0.1, -0.2, 0.3];

/// What PyTorch gave, printed with all digits which a `float64` has.
mod pytorch {
    pub(crate) const Z: [f64; 3] = [0.5499999999999999, -0.10000000000000003, 1.775];
    pub(crate) const LOSS: f64 = 1.193817098901384;
    /// The gradient of `b`, and of every row of `w`, as all of `x` is 1.
    pub(crate) const GRAD: [f64; 3] = [0.21137853033693357, 0.15834027084035332, 0.28502612283739237];
    /// `out.backward(v)` for `out = (inp + 1)²` transposed, with
    /// `v = arange(20).reshape(5, 4) / 10`.
    pub(crate) const PRODUCT: [[f64; 5]; 4] =
        [[0.0, 0.8, 1.6, 2.4, 3.2], [0.2, 2.0, 1.8, 2.6, 3.4], [0.4, 1.2, 4.0, 2.8, 3.6], [0.6, 1.4, 2.2, 6.0, 3.8]];
}

/// Refuses what is not PyTorch's number, to 1e-12.
#[track_caller]
fn check(what: &str, got: &[f64], pytorch: &[f64]) {
    assert_eq!(got.len(), pytorch.len(), "{what}");
    for (a, b) in got.iter().zip(pytorch) {
        assert!((a - b).abs() <= 1e-12, "{what}: {got:?}, but PyTorch has {pytorch:?}");
    }
}

fn title(text: &str) {
    println!("\n{text}\n{}", "─".repeat(text.chars().count()));
}

fn main() {
    one_layer();
    not_tracking();
    frozen_parameters();
    jacobian_products();
    println!("\nEvery number agrees with PyTorch's to 1e-12.");
}

/// The one-layer network of the tutorial: `z = x w + b`.
fn one_layer() {
    let tape = Tape::new_f64();
    let x = tape.ones([5]); // input
    let y = tape.zeros([3]); // expected output
    let w = tape.tensor(W).require_grad();
    let b = tape.tensor(B).require_grad();
    let z = x.matmul(w) + b;
    let loss = z.binary_cross_entropy_with_logits(y);

    title("A layer and its loss");
    println!("z    = {z:.4}");
    println!("loss = {loss:.4}");
    check("z", z.as_slice(), &pytorch::Z);
    check("loss", &[loss.item()], &[pytorch::LOSS]);

    title("What made them");
    println!("z was made by    {}", made_by(z));
    println!("loss was made by {}", made_by(loss));
    println!("w was made by    {}", made_by(w));

    title("Computing gradients");
    let grads = loss.backward();
    let (dw, db) = (grads.get(w).unwrap(), grads.get(b).unwrap());
    println!("dloss/dw =\n{dw:.4}");
    println!("dloss/db = {db:.4}");
    check("the gradient of w", dw.as_slice(), pytorch::GRAD.repeat(5).as_slice());
    check("the gradient of b", db.as_slice(), &pytorch::GRAD);

    title("The graph, from the leaves to the root");
    let graph = loss.graph();
    print!("{graph}");
    draw(&graph.dot().to_string());
}

fn made_by(x: Tensor<'_, f64>) -> String {
    match x.grad_fn() {
        Some(op) => op.to_string(),
        None => "nothing: it is a leaf".into(),
    }
}

/// Writes the graph where Graphviz may draw it.
fn draw(dot: &str) {
    let written = fs::create_dir_all("out").and_then(|()| fs::write("out/tutorial.dot", dot));
    match written {
        Ok(()) => println!("wrote out/tutorial.dot; dot -Tsvg out/tutorial.dot > out/tutorial.svg draws it"),
        Err(error) => eprintln!("out/tutorial.dot cannot be written: {error}"),
    }
}

/// Two ways to stop tracking: a scope, and one tensor.
fn not_tracking() {
    let tape = Tape::new_f64();
    let (x, w, b) = (tape.ones([5]), tape.tensor(W).require_grad(), tape.tensor(B).require_grad());

    title("Not tracking gradients");
    let z = x.matmul(w) + b;
    println!("x w + b              requires a gradient: {}", z.requires_grad());
    assert!(z.requires_grad());

    let free = tape.no_grad(|| x.matmul(w) + b);
    println!("  ... inside no_grad requires a gradient: {}", free.requires_grad());
    assert!(!free.requires_grad());
    check("z without a gradient", free.as_slice(), &pytorch::Z);

    let detached = z.detach();
    println!("  ... detached       requires a gradient: {}", detached.requires_grad());
    assert!(!detached.requires_grad());
    check("the detached z", detached.as_slice(), &pytorch::Z);
}

/// Long-lived weights are parameters of a store, and can be frozen there.
fn frozen_parameters() {
    let mut params = Params::new_f64();
    let w = params.add("w", [5, 3], W.as_flattened());
    let b = params.add("b", [3], &B);
    params.freeze(w);

    let tape = Tape::new_f64();
    let z = tape.ones([5]).matmul(&params[w]) + &params[b];
    let loss = z.binary_cross_entropy_with_logits(tape.zeros([3]));
    let grads = loss.backward();

    title("Frozen parameters");
    for (param, parameter) in params.iter() {
        match grads.get(&params[param]) {
            Some(gradient) => println!("{}: {gradient:.4}", parameter.name()),
            None => println!("{}: no gradient", parameter.name()),
        }
    }
    assert!(grads.get(&params[w]).is_none());
    check("loss", &[loss.item()], &[pytorch::LOSS]);
    check("the gradient of b", grads.get(&params[b]).unwrap().as_slice(), &pytorch::GRAD);
}

/// A result which is not a scalar needs a cotangent `v`: what comes back is
/// the product of `v` with the Jacobian.
fn jacobian_products() {
    let tape = Tape::new_f64();
    let eye = Array::from_fn([4, 5], |at| if at[0] == at[1] { 1.0 } else { 0.0 });
    let inp = tape.tensor(eye).require_grad();
    let out = (inp + 1.0).square().t();
    let ones = tape.ones([5, 4]);

    title("Jacobian products, and accumulation");
    let mut grads = Gradients::new();
    out.backward_with_into(ones, &mut grads);
    println!("First call\n{:.0}", gradient(&grads, inp));
    check("the first call", gradient(&grads, inp).as_slice(), &twos_and_fours(1.0));

    out.backward_with_into(ones, &mut grads);
    println!("Second call: gradients accumulate\n{:.0}", gradient(&grads, inp));
    check("the second call", gradient(&grads, inp).as_slice(), &twos_and_fours(2.0));

    grads.zero();
    out.backward_with_into(ones, &mut grads);
    println!("Call after zeroing gradients\n{:.0}", gradient(&grads, inp));
    check("the call after zeroing", gradient(&grads, inp).as_slice(), &twos_and_fours(1.0));

    let v = tape.arange(0.0, 20.0, 1.0).reshape([5, 4]) / 10.0;
    let grads = out.backward_with(v);
    println!("With v = 0, 0.1, ... 1.9\n{:.1}", gradient(&grads, inp));
    check("the product with v", gradient(&grads, inp).as_slice(), pytorch::PRODUCT.as_flattened());
}

fn gradient<'g>(grads: &'g Gradients<f64>, x: Tensor<'g, f64>) -> ArrayView<'g, f64> {
    grads.get(x).expect("a gradient flowed here")
}

/// What the tutorial prints, `[4, 5]`: 4 on the diagonal and 2 elsewhere, times
/// the number of calls which accumulated.
fn twos_and_fours(calls: f64) -> Vec<f64> {
    (0..20).map(|i| if i / 5 == i % 5 { 4.0 * calls } else { 2.0 * calls }).collect()
}
