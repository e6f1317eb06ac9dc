//! Every op's derivatives, from one table: against finite differences, and
//! against each other by every way there is to compute them.

#![allow(clippy::eq_op, reason = "x - x and x / x are what is tested")]

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use wengert::{Array, Scalar, Tape};
use wengert_check::{
    Check, CheckError, CountingAllocator, Values, away_from, broadcastable, check_gradients, distinct, shapes, tensor,
    tensors,
};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

mod basics;
mod fused;
mod linear;
mod networks;
mod reductions;
mod table;

use table::*;

/// Every op, by area. A method of [`Tensor`] which is missing fails
/// [`the_table_is_complete`].
const TABLES: &[&[Entry]] =
    &[basics::ELEMENTWISE, basics::OPS, reductions::OPS, linear::OPS, networks::OPS, fused::OPS];

fn ops() -> impl Iterator<Item = &'static Entry> {
    TABLES.iter().copied().flatten()
}

/// Methods which are not ops: they look, or change what is tracked. Ops of
/// users are checked in `tests/custom.rs`.
const NOT_OPS: &str = "tape shape rank len is_empty is_contiguous item as_slice to_vec copy_to to_array \
    require_grad requires_grad detach retain_grad is_leaf grad_fn index graph \
    backward backward_into backward_with backward_with_into grad vjp custom";

fn one(
    ranks: std::ops::RangeInclusive<usize>,
    dims: std::ops::RangeInclusive<usize>,
    values: impl Values<f64> + 'static,
) -> BoxedStrategy<Vec<Array<f64>>> {
    tensor::<f64>(shapes(ranks, dims), values).prop_map(|x| vec![x]).boxed()
}

fn inputs(entry: &Entry, values: impl Values<f64> + 'static) -> BoxedStrategy<Vec<Array<f64>>> {
    match entry.arity {
        One => prop_oneof![4 => one(0..=4, 0..=3, values.clone()), 1 => one(5..=6, 1..=2, values)].boxed(),
        NonEmpty => one(0..=4, 1..=3, values),
        Axis => prop_oneof![4 => one(1..=4, 1..=4, values.clone()), 1 => one(5..=6, 1..=2, values)].boxed(),
        Matrix => one(2..=4, 1..=4, values),
        Two => tensors::<f64, 2>(broadcastable(0..=4, 0..=3), values).prop_map(Vec::from).boxed(),
        Pair => {
            let same = shapes(0..=3, 1..=3).prop_map(|s| [s.clone(), s]);
            tensors::<f64, 2>(same, values).prop_map(Vec::from).boxed()
        }
        Shapes(shapes) => {
            let all: Vec<_> = shapes.iter().map(|s| tensor::<f64>(Just(s.to_vec()), values.clone())).collect();
            all.boxed()
        }
    }
}

fn strategy(entry: &Entry) -> BoxedStrategy<Vec<Array<f64>>> {
    match entry.domain {
        All => inputs(entry, -2.0..2.0),
        Positive => inputs(entry, 0.3..2.0),
        NonZero => inputs(entry, away_from(-2.0..2.0, [0.0], 0.3)),
        Distinct => inputs(entry, distinct(-2.0..2.0)),
    }
}

fn check(entry: &Entry, inputs: Vec<Array<f64>>) -> Result<(), CheckError> {
    fn checked<const N: usize>(entry: &Entry, inputs: Vec<Array<f64>>) -> Result<(), CheckError> {
        let inputs = <[_; N]>::try_from(inputs).expect("N inputs");
        let check = Check::new().name(entry.names.join(", ")).count(CountingAllocator::requests);
        check.run_both(inputs, |tape, x| (entry.double)(tape, &x), |tape, x| (entry.single)(tape, &x))
    }
    match inputs.len() {
        1 => checked::<1>(entry, inputs),
        2 => checked::<2>(entry, inputs),
        3 => checked::<3>(entry, inputs),
        _ => checked::<4>(entry, inputs),
    }
}

#[test]
fn every_op() {
    let cases = if cfg!(miri) { 1 } else { 24 };
    let mut failures = String::new();
    for entry in ops() {
        let mut runner =
            TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() });
        if let Err(e) = runner.run(&strategy(entry), |inputs| Ok(check(entry, inputs)?)) {
            failures += &format!("{e}\n");
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// Numbers take a shorter way than tensors, to the same bits.
#[test]
fn numbers_as_tensors() {
    fn gradients<T: Scalar>(f: Function<T>, inputs: &[Vec<f64>]) -> Vec<Vec<T>> {
        let tape = Tape::<T>::default();
        let leaf = |x: &Vec<f64>| {
            let x: Vec<T> = x.iter().map(|&x| T::from_f64(x)).collect();
            tape.input([x.len()], &x).require_grad()
        };
        let inputs: Vec<_> = inputs.iter().map(leaf).collect();
        let y = f(&tape, &inputs);
        let grads = (y * y.detach()).sum().backward();
        inputs.iter().map(|&x| grads.get(x).map_or(vec![], |g| g.as_slice().to_vec())).collect()
    }
    fn compare<T: Scalar>(entry: &Entry, f: Function<T>, inputs: &[Vec<f64>]) {
        let bits = |x: T| (x.to_f64() + 0.0).to_bits();
        let together = gradients(f, inputs);
        for i in 0..inputs[0].len() {
            let one: Vec<_> = inputs.iter().map(|x| vec![x[i]]).collect();
            for (k, alone) in gradients(f, &one).iter().enumerate() {
                let (alone, together) = (alone.first().copied(), together[k].get(i).copied());
                let same = alone.map(bits) == together.map(bits);
                assert!(same, "{:?} of {one:?}, {}: {alone:?} and {together:?}", entry.names, T::NAME);
            }
        }
    }
    let values = |k: f64| (1..40).map(|i| 0.3 + 1.7 * (f64::from(i) * (0.37 + k)).fract()).collect::<Vec<_>>();
    for entry in basics::ELEMENTWISE {
        let count = if matches!(entry.arity, One) { 1 } else { 2 };
        let inputs = &[values(0.0), values(0.21)][..count];
        compare::<f32>(entry, entry.single, inputs);
        compare::<f64>(entry, entry.double, inputs);
    }
}

#[test]
fn the_table_is_complete() {
    let source = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
    let files = std::fs::read_dir(source.join("ops")).unwrap().map(|file| file.unwrap().path());
    let others = ["tensor.rs", "backward.rs", "graph.rs"].map(|name| source.join(name));
    let sources: Vec<String> = files.chain(others).map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let known: BTreeSet<&str> =
        ops().flat_map(|op| op.names.iter().copied()).chain(NOT_OPS.split_whitespace()).collect();
    let missing: Vec<_> = sources.iter().flat_map(|s| methods(s)).filter(|m| !known.contains(m.as_str())).collect();
    assert!(missing.is_empty(), "not in the table: {missing:?}");
    // The scan sees what is there.
    let all: BTreeSet<String> = sources.iter().flat_map(|s| methods(s)).collect();
    for name in [
        "matmul",
        "tanh",
        "powf",
        "sum_axes",
        "amax_keepdim",
        "logsumexp",
        "item",
        "cross_entropy",
        "concat",
        "on_backward",
        "try_einsum",
    ] {
        assert!(all.contains(name), "{name} was not found: {all:?}");
    }
}

/// The public methods which a source file adds to `Tensor` (or to `Tape`, if
/// they take tensors), by the way they are written: `pub fn name(self`,
/// `pub fn name<'t>(&'t self` or, in the lists of macros, `name = Name;` and
/// `Name: a b c,`.
fn methods(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let word = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit());
    // Receivers which stand on a line of their own come to the function's.
    let source = source.replace("(\n        ", "(");
    for line in source.lines() {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("pub fn ") {
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let arguments = &rest[rest.find('(').unwrap_or(rest.len())..];
            if arguments.starts_with("(self") || arguments.starts_with("(&'t self") {
                found.push(name);
            }
        } else if let Some((name, function)) = line.strip_suffix(';').and_then(|l| l.split_once(" = ")) {
            if word(name) && function.chars().all(char::is_alphanumeric) && function.starts_with(char::is_uppercase) {
                found.push(name.to_owned());
            }
        } else if let Some((function, names)) = line.strip_suffix(',').and_then(|l| l.split_once(": ")) {
            let names: Vec<_> = names.split(' ').collect();
            if function.starts_with(char::is_uppercase) && names.len() == 3 && names.iter().all(|n| word(n)) {
                found.extend(names.iter().map(|n| (*n).to_owned()));
            }
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

/// Products of every combination of ranks, with shapes that fit.
fn product() -> impl Strategy<Value = (Array<f64>, Array<f64>)> {
    let batches = broadcastable::<2>(0..=2, 0..=2);
    (batches, prop::array::uniform3(0usize..=4), 0..4).prop_flat_map(|([mut a, mut b], [m, k, n], vector)| {
        match vector {
            0 => a = vec![k],
            1 => a.extend([m, k]),
            _ => a.extend([m, k]),
        }
        match vector {
            1 => b = vec![k],
            _ => b.extend([k, n]),
        }
        (tensor::<f64>(Just(a), -2.0..2.0), tensor::<f64>(Just(b), -2.0..2.0))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn products((a, b) in product()) {
        check_gradients([a.clone(), b.clone()], |_, [a, b]| a.matmul(b))?;
        check_gradients([a, b], |_, [a, b]| a.tanh().matmul(b.square()).sigmoid())?;
    }

    #[test]
    fn products_of_transposed_operands(
        [m, k, n] in prop::array::uniform3(0usize..=5), seed in 0u64..1000
    ) {
        let draw = |shape: [usize; 2], seed| Array::new(shape, (-2.0..2.0).draw(shape[0] * shape[1], seed));
        check_gradients([draw([k, m], seed), draw([k, n], !seed)], |_, [a, b]| a.t().matmul(b))?;
        check_gradients([draw([m, k], seed), draw([n, k], !seed)], |_, [a, b]| a.matmul(b.t()).square())?;
    }

    #[test]
    fn a_small_network(
        x in tensor::<f64>(Just([3, 4]), -2.0..2.0),
        w in tensor::<f64>(Just([4, 5]), -1.0..1.0),
        b in tensor::<f64>(Just([5]), -1.0..1.0),
    ) {
        check_gradients([x, w, b], |_, [x, w, b]| (x.matmul(w) + b).tanh().cross_entropy(&[0, 4, 2]))?;
    }

    #[test]
    fn third_derivatives(x in tensor::<f64>(shapes(0..=2, 1..=3), away_from(-2.0..2.0, [0.0], 0.3))) {
        let tape = Tape::new_f64();
        let x = tape.tensor(x).require_grad();
        let [d1] = (x.powi(4) + x.recip()).sum().grad([x]);
        let [d2] = d1.sum().grad([x]);
        let [d3] = d2.sum().grad([x]);
        for (got, x) in d3.to_vec().into_iter().zip(x.to_vec()) {
            let expected = 24.0 * x - 6.0 / x.powi(4);
            prop_assert!((got - expected).abs() <= 1e-10 * expected.abs().max(1.0), "{} {}", got, expected);
        }
    }

    #[test]
    fn the_checks_see_a_derivative_which_is_missing(x in tensor::<f64>(shapes(0..=3, 1..=3), 0.5..2.0)) {
        let wrong = check_gradients([x], |_, [x]| x.exp() * x.detach());
        prop_assert!(wrong.is_err());
    }
}
