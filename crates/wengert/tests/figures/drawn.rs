//! Cases drawn at random over all ops, their options and the edges of their
//! domains (rank 0 to 6, axes of length 0, NaN and infinities, ties), each run
//! with contiguous operands, with operands which are not, with parameters, and
//! in `f32`.

use wengert::{Array, GradFn, Params, Scalar, Tape, Tensor};

use crate::{arrays, cases, close};

/// Where the memory of an operand is, and how it lies.
#[derive(Clone, Copy, Debug)]
enum Layout {
    Contiguous,
    /// In a store of parameters.
    Parameter,
    /// Its axes in reverse order.
    Transposed,
    /// Backward, with gaps.
    Sparse,
}

fn laid_out<'t, T: Scalar>(x: Tensor<'t, T>, layout: Layout) -> Tensor<'t, T> {
    let reversed: Vec<isize> = (0..x.rank() as isize).rev().collect();
    match layout {
        Layout::Contiguous | Layout::Parameter => x,
        Layout::Transposed => x.permute(&reversed[..]).contiguous().permute(&reversed[..]),
        Layout::Sparse => x.tape().stack([x.flip(..), x.flip(..)], -1).select(-1, 1).flip(..),
    }
}

/// Every entry names a line of the program, not of the library.
fn check_locations<T: Scalar>(case: &str, node: GradFn<'_, T>) {
    let file = node.location().file();
    let ours = file.ends_with("cases.rs") || file.ends_with("drawn.rs");
    assert!(ours, "{case}: {} was recorded at {}", node.name(), node.location());
    node.operands().for_each(|operand| check_locations(case, operand));
}

/// What is wrong with one line of the drawn cases.
fn differences<T: Scalar>(line: &str, layout: Layout, tolerance: f64) -> String {
    let [name, inputs, value, first, second] = line.split('|').collect::<Vec<_>>().try_into().unwrap();
    // The operands: constants, leaves, or parameters of a store.
    let mut params = Params::<T>::default();
    let operands: Vec<_> = inputs
        .split(' ')
        .filter(|t| !t.is_empty())
        .map(|text| {
            let constant = text.starts_with('!');
            let array = arrays(text.trim_start_matches('!')).remove(0).map(T::from_f64);
            let stored = !constant && matches!(layout, Layout::Parameter);
            let param = stored.then(|| params.add("x", array.shape(), array.as_slice()));
            (array, constant, param)
        })
        .collect();
    let tape = Tape::<T>::with_capacity(0, 0);
    let mut wrong = String::new();
    let mut compare = |what: &str, got: Tensor<'_, T>, expected: &Array<f64>| {
        if got.shape() != expected.shape() {
            wrong += &format!("  {what}: shape {:?}, PyTorch {:?}\n", got.shape(), expected.shape());
            return;
        }
        // A second derivative which PyTorch itself does not have is anybody's.
        let open = |x: f64| what.starts_with("second") && x.is_nan();
        for (i, (got, &expected)) in got.to_vec().into_iter().zip(expected.as_slice()).enumerate() {
            if !open(expected) && !close(got.to_f64(), expected, tolerance) {
                wrong += &format!("  {what} [{i}]: {got}, PyTorch {expected}\n");
            }
        }
    };
    let weights = |x: Tensor<'_, T>, a: f64, b: f64| -> Vec<T> {
        (0..x.len()).map(|i| T::from_f64((a * i as f64 + b).cos())).collect()
    };
    let mut leaves = Vec::new();
    let mut x = Vec::new();
    for (array, constant, param) in &operands {
        let leaf = match param {
            Some(param) => tape.param(&params[*param]),
            None if *constant => tape.tensor(array.clone()),
            None => tape.tensor(array.clone()).require_grad(),
        };
        leaves.extend((!constant).then_some((leaf, *param)));
        x.push(laid_out(leaf, layout));
    }
    let case = cases::Case::new(name);
    let y = cases::run(&tape, &case, &x);
    y.grad_fn().into_iter().for_each(|node| check_locations(name, node));
    compare("value", y, &arrays(value)[0]);
    if first == "-" {
        return wrong;
    }
    if !y.requires_grad() {
        let zero = arrays(first).iter().all(|g| g.iter().all(|&g| g == 0.0));
        assert!(zero, "{line}: no gradient flows");
        return wrong;
    }
    let loss = (y * tape.input(y.shape(), &weights(y, 0.7, 0.3))).sum();
    let plain = loss.backward();
    let mut total = tape.scalar(T::ZERO);
    for (i, (&(x, param), expected)) in leaves.iter().zip(arrays(first)).enumerate() {
        let [g] = loss.grad([x]);
        compare(&format!("gradient {i}"), g, &expected);
        let p = param.map_or_else(|| plain.get(x), |param| plain.get(&params[param]));
        let p = p.map_or_else(|| tape.zeros(x.shape()), |p| tape.input(p.shape(), p.as_slice()));
        compare(&format!("plain gradient {i}"), p, &expected);
        total = total + (g * tape.input(g.shape(), &weights(g, 1.1, 0.5))).sum();
    }
    if second != "-" {
        for (i, (&(x, _), expected)) in leaves.iter().zip(arrays(second)).enumerate() {
            let h = if total.requires_grad() { total.grad([x])[0] } else { tape.zeros(x.shape()) };
            compare(&format!("second {i}"), h, &expected);
        }
    }
    wrong
}

/// What is wrong with one line, in every layout and in `f32`.
pub(crate) fn line(line: &str) -> String {
    let mut wrong = String::new();
    let mut note = |what: String, found: String| {
        if !found.is_empty() {
            wrong += &format!("{what} {line}\n{found}");
        }
    };
    for layout in [Layout::Contiguous, Layout::Parameter, Layout::Transposed, Layout::Sparse] {
        note(format!("{layout:?}"), differences::<f64>(line, layout, 1e-9));
    }
    // Not what f32 cannot hold, or holds badly.
    if !line.contains("f64=") {
        note("f32".to_owned(), differences::<f32>(line, Layout::Contiguous, 1e-3));
    }
    wrong
}

#[test]
fn values_and_derivatives() {
    let figures = include_str!("../fixtures/cases.txt");
    let wrong: String = figures.lines().filter(|l| !l.starts_with('#')).map(line).collect();
    assert!(wrong.is_empty(), "{wrong}");
}
