//! Every op's derivatives, from one table: against finite differences, and
//! against each other by every way there is to compute them.

#![allow(clippy::eq_op, reason = "x - x and x / x are what is tested")]

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use wengert::{Array, Tape, Tensor};
use wengert_check::{CheckError, Values, away_from, broadcastable, check_gradients, distinct, shapes, tensor, tensors};

type T<'c> = Tensor<'c, f64>;

/// Where the elements of an op's inputs come from.
#[derive(Clone, Copy)]
enum Domain {
    All,
    Positive,
    /// Either sign, not near 0.
    NonZero,
    /// No two elements near each other.
    Distinct,
}

use Domain::*;

/// What shapes an op takes.
#[derive(Clone, Copy)]
enum Arity {
    /// One of any shape, zero-size ones included.
    One,
    /// One with elements in every axis.
    NonEmpty,
    /// One with at least one axis, of at least one element.
    Axis,
    /// One matrix, or a batch of them.
    Matrix,
    /// Two which broadcast together.
    Two,
    /// Two of one shape, of at least one element.
    Pair,
}

use Arity::*;

type Function = for<'c> fn(&'c Tape<f64>, &[T<'c>]) -> T<'c>;

struct Entry {
    /// The methods (or operators) which it checks.
    names: &'static [&'static str],
    arity: Arity,
    domain: Domain,
    f: Function,
}

const fn op(names: &'static [&'static str], arity: Arity, domain: Domain, f: Function) -> Entry {
    Entry { names, arity, domain, f }
}

/// Every op. A method of [`Tensor`] which is missing here fails
/// [`the_table_is_complete`].
const OPS: &[Entry] = &[
    // Arithmetic with tensors, scalars, and itself.
    op(&["add"], Two, All, |_, x| x[0] + x[1]),
    op(&["sub"], Two, All, |_, x| x[0] - x[1]),
    op(&["mul"], Two, All, |_, x| x[0] * x[1]),
    op(&["div"], Two, NonZero, |_, x| x[0] / x[1]),
    op(&["neg"], One, All, |_, x| -x[0]),
    op(&["add", "mul"], One, All, |_, x| 2.0 + x[0] * 3.0 + 1.0),
    op(&["sub", "div"], One, NonZero, |_, x| (1.0 - x[0]) / 3.0 - 2.0 + 5.0 / x[0]),
    op(&["add"], One, All, |_, x| x[0] + x[0]),
    op(&["sub"], One, All, |_, x| x[0] - x[0]),
    op(&["mul"], One, All, |_, x| x[0] * x[0]),
    op(&["div"], One, NonZero, |_, x| x[0] / x[0]),
    op(&["mul"], Two, All, |_, x| x[0] * x[1] * x[0] + x[1]),
    op(&["div"], Two, NonZero, |_, x| x[0] / x[1] / x[0]),
    op(&["maximum"], Pair, Distinct, |_, x| x[0].maximum(x[1] + 0.3)),
    op(&["minimum"], Pair, Distinct, |_, x| x[0].minimum(x[1] + 0.3)),
    op(&["maximum", "minimum"], One, NonZero, |_, x| x[0].maximum(0.0).minimum(10.0) * x[0]),
    // Element by element.
    op(&["exp"], One, All, |_, x| x[0].exp()),
    op(&["ln"], One, Positive, |_, x| x[0].ln()),
    op(&["sqrt"], One, Positive, |_, x| x[0].sqrt()),
    op(&["square"], One, All, |_, x| x[0].square()),
    op(&["recip"], One, NonZero, |_, x| x[0].recip()),
    op(&["abs"], One, NonZero, |_, x| x[0].abs() * x[0]),
    op(&["tanh"], One, All, |_, x| x[0].tanh()),
    op(&["sigmoid"], One, All, |_, x| x[0].sigmoid()),
    op(&["relu"], One, NonZero, |_, x| x[0].relu() * x[0]),
    op(&["powf"], One, Positive, |_, x| x[0].powf(2.5) + x[0].powf(-0.5) + x[0].powf(0.0)),
    op(&["powi"], One, NonZero, |_, x| x[0].powi(3) + x[0].powi(-2) + x[0].powi(1) + x[0].powi(2) + x[0].powi(0)),
    op(&["tanh", "exp"], One, All, |_, x| (x[0].tanh().exp() * x[0].sigmoid()).square()),
    // Functions of one tensor, away from their kinks and the ends of their domains.
    op(&["exp_m1"], One, All, |_, x| x[0].exp_m1()),
    op(&["exp2"], One, All, |_, x| x[0].exp2()),
    op(&["ln_1p"], One, Positive, |_, x| x[0].ln_1p()),
    op(&["log2", "log10"], One, Positive, |_, x| x[0].log2() * x[0].log10()),
    op(&["rsqrt"], One, Positive, |_, x| x[0].rsqrt()),
    op(&["sign"], One, NonZero, |_, x| x[0].sign() * x[0].square()),
    op(&["floor", "ceil", "round", "trunc"], One, NonZero, |_, x| {
        let y = x[0].detach() * 1e-3 + 0.3;
        (y.floor() + y.ceil() + y.round() + y.trunc()) * x[0].square()
    }),
    op(&["sin"], One, All, |_, x| x[0].sin()),
    op(&["cos"], One, All, |_, x| x[0].cos()),
    op(&["tan"], One, All, |_, x| (x[0] * 0.5).tan()),
    op(&["asin"], One, All, |_, x| (x[0] * 0.4).asin()),
    op(&["acos"], One, All, |_, x| (x[0] * 0.4).acos()),
    op(&["atan"], One, All, |_, x| x[0].atan()),
    op(&["sinh"], One, All, |_, x| x[0].sinh()),
    op(&["cosh"], One, All, |_, x| x[0].cosh()),
    op(&["asinh"], One, All, |_, x| x[0].asinh()),
    op(&["acosh"], One, Positive, |_, x| (x[0] + 1.0).acosh()),
    op(&["atanh"], One, All, |_, x| (x[0] * 0.4).atanh()),
    op(&["log_sigmoid"], One, All, |_, x| x[0].log_sigmoid()),
    op(&["relu6"], One, NonZero, |_, x| x[0].relu6() * x[0]),
    op(&["clamp"], One, NonZero, |_, x| (x[0] * 2.0).clamp(0.0, 9.0) * x[0]),
    op(&["leaky_relu"], One, NonZero, |_, x| x[0].leaky_relu(0.1) * x[0]),
    op(&["elu"], One, NonZero, |_, x| x[0].elu(0.7)),
    op(&["selu"], One, NonZero, |_, x| x[0].selu()),
    op(&["silu"], One, All, |_, x| x[0].silu()),
    op(&["mish"], One, All, |_, x| x[0].mish()),
    op(&["softplus"], One, All, |_, x| x[0].softplus(1.5, 20.0)),
    op(&["softsign"], One, NonZero, |_, x| x[0].softsign()),
    op(&["gelu"], One, All, |_, x| x[0].gelu()),
    op(&["gelu_tanh"], One, All, |_, x| x[0].gelu_tanh()),
    op(&["erf", "erfc"], One, All, |_, x| x[0].erf() * 2.0 + x[0].erfc() * 0.7),
    op(&["is_nan", "is_infinite", "is_finite"], One, All, |_, x| {
        (x[0].is_nan() + x[0].is_infinite() + x[0].is_finite()) * x[0].square()
    }),
    // Of two, comparisons, selection.
    op(&["pow"], Two, Positive, |_, x| x[0].pow(x[1])),
    op(&["atan2"], Two, Positive, |_, x| x[0].atan2(x[1])),
    op(&["hypot"], Two, Positive, |_, x| x[0].hypot(x[1])),
    op(&["eq", "ne", "lt", "le", "gt", "ge"], Pair, Distinct, |_, x| {
        let (a, b) = (x[0], x[1] + 0.3);
        (a.eq(b) + a.ne(b) * 2.0 + a.lt(b) + a.le(b) * 3.0 + a.gt(b) * 4.0 + a.ge(b)) * a * b
    }),
    op(&["where_mask"], Pair, NonZero, |_, x| x[0].square().where_mask(x[0].gt(0.0), x[1].exp())),
    op(&["masked_fill"], One, NonZero, |_, x| x[0].square().masked_fill(x[0].lt(0.0), 2.0) * x[0]),
    // Parts.
    op(&["squeeze", "unsqueeze"], One, All, |_, x| x[0].square().unsqueeze(0).unsqueeze(-1).squeeze()),
    op(&["squeeze_axis", "flatten"], Axis, All, |_, x| x[0].unsqueeze(1).square().squeeze_axis(1).flatten(0, -1)),
    op(&["narrow"], Axis, All, |_, x| x[0].square().narrow(0, 1, x[0].shape()[0] - 1).exp()),
    op(&["slice", "slice_step"], Axis, All, |_, x| {
        x[0].square().slice(-1, 1..).sum() * x[0].slice_step(0, .., -2).exp()
    }),
    op(&["select"], Axis, All, |_, x| x[0].select(0, -1).exp()),
    op(&["flip"], Axis, All, |_, x| x[0].flip([0]) * x[0].square() + x[0].flip(..)),
    op(&["split", "chunk"], Axis, All, |_, x| {
        let n = x[0].shape()[0];
        x[0].split(0, &[1, n - 1])[0].exp() + x[0].chunk(0, 2)[0].square().sum()
    }),
    op(&["concat"], Axis, All, |tape, x| tape.concat([x[0].square(), x[0], x[0].exp()], -1).square()),
    op(&["stack"], One, All, |tape, x| tape.stack([x[0].square(), x[0]], -1).exp()),
    op(&["index_select"], Axis, All, |_, x| x[0].square().index_select(0, &[0, 0, x[0].shape()[0] - 1]).exp()),
    op(&["index_add"], Axis, All, |_, x| {
        let last = x[0].shape()[0] - 1;
        x[0].square().index_add(0, &[last, last], x[0].index_select(0, &[0, 0]).exp()).square()
    }),
    op(&["gather"], Axis, All, |_, x| {
        let last = x[0].shape()[0] - 1;
        let index: Vec<usize> = (0..x[0].len()).map(|i| i * 7 % (last + 1)).collect();
        x[0].square().gather(0, x[0].shape(), &index).exp()
    }),
    // Reductions.
    op(&["sum"], One, All, |_, x| x[0].sum() * x[0].sum()),
    op(&["sum_axes"], Axis, All, |_, x| x[0].square().sum_axes(-1)),
    op(&["sum_keepdim"], Axis, All, |_, x| x[0].sum_keepdim(0) * x[0]),
    op(&["mean"], NonEmpty, All, |_, x| x[0].mean() * x[0].mean()),
    op(&["mean_axes"], Axis, All, |_, x| x[0].square().mean_axes(0)),
    op(&["mean_keepdim"], Axis, All, |_, x| x[0] - x[0].square().mean_keepdim([-1])),
    op(&["amax"], NonEmpty, Distinct, |_, x| x[0].amax().square()),
    op(&["amax_axes"], Axis, Distinct, |_, x| x[0].amax_axes(0).square()),
    op(&["amax_keepdim"], Axis, Distinct, |_, x| x[0].amax_keepdim(-1) * x[0]),
    op(&["amin"], NonEmpty, Distinct, |_, x| x[0].amin().square()),
    op(&["amin_axes"], Axis, Distinct, |_, x| x[0].amin_axes(-1).exp()),
    op(&["amin_keepdim"], Axis, Distinct, |_, x| x[0].amin_keepdim(..) * x[0]),
    op(&["logsumexp"], NonEmpty, All, |_, x| x[0].logsumexp()),
    op(&["logsumexp_axes"], Axis, All, |_, x| x[0].logsumexp_axes(0)),
    op(&["logsumexp_keepdim"], Axis, All, |_, x| x[0] * x[0].logsumexp_keepdim(-1)),
    // Views, each behind something which is not linear.
    op(&["reshape"], One, All, |_, x| x[0].tanh().reshape([x[0].len()]) * 2.0),
    op(&["transpose"], Matrix, All, |_, x| x[0].square().transpose(0, -1).exp()),
    op(&["t", "reshape"], Matrix, All, |_, x| x[0].t().square().reshape([x[0].len()]).square()),
    op(&["permute"], Matrix, All, |_, x| x[0].permute(&*reversed(x[0])).tanh() + 1.0),
    op(&["contiguous"], Matrix, All, |_, x| x[0].square().t().contiguous() * x[0].t()),
    op(&["broadcast_to"], One, All, |_, x| x[0].broadcast_to([&[2, 3], x[0].shape()].concat()).square()),
    op(&["broadcast_to", "reshape"], One, All, |_, x| {
        x[0].broadcast_to([&[2], x[0].shape()].concat()).reshape([2 * x[0].len()])
    }),
    // Products.
    op(&["matmul"], Matrix, All, |_, x| x[0].matmul(x[0].t())),
    op(&["matmul"], Matrix, All, |_, x| x[0].t().matmul(x[0])),
    op(&["matmul"], Matrix, All, |tape, x| x[0].matmul(tape.full([x[0].shape()[x[0].rank() - 1]], 0.5)).tanh()),
    op(&["matmul"], Matrix, All, |tape, x| tape.full([x[0].shape()[x[0].rank() - 2]], 0.5).matmul(x[0]).square()),
    // Softmax and losses.
    op(&["softmax"], Axis, All, |_, x| x[0].softmax(-1)),
    op(&["softmax"], Axis, All, |_, x| x[0].softmax(0) * x[0]),
    op(&["log_softmax"], Axis, All, |_, x| x[0].log_softmax(-1)),
    op(&["log_softmax"], Axis, All, |_, x| x[0].log_softmax(0).square()),
    op(&["mse_loss"], Pair, All, |_, x| x[0].mse_loss(x[1])),
    op(&["binary_cross_entropy_with_logits"], Pair, NonZero, |_, x| {
        x[0].binary_cross_entropy_with_logits(x[1].sigmoid())
    }),
    op(&["binary_cross_entropy_with_logits"], Pair, NonZero, |_, x| x[0].binary_cross_entropy_with_logits(x[1])),
    op(&["cross_entropy"], Axis, All, |_, x| x[0].cross_entropy(&labels(x[0]))),
    op(&["try_cross_entropy"], Matrix, All, |_, x| x[0].t().try_cross_entropy(&labels(x[0].t())).unwrap()),
    // What an input does not reach, or reaches by two ways.
    op(&["detach"], Two, All, |_, x| x[0].square() + 0.0 * x[1]),
    op(&[], Two, All, |tape, x| {
        let _ = x;
        tape.ones([2])
    }),
];

fn reversed(x: T<'_>) -> Vec<isize> {
    (0..x.rank() as isize).rev().collect()
}

fn labels(x: T<'_>) -> Vec<usize> {
    let (&classes, batch) = x.shape().split_last().unwrap();
    (0..batch.iter().product()).map(|row| row * 7 % classes).collect()
}

/// Methods of `Tensor` which are not ops: they look, or change what is tracked.
const NOT_OPS: &str = "tape shape rank len is_empty is_contiguous item as_slice to_vec copy_to to_array \
    require_grad requires_grad detach retain_grad is_leaf grad_fn index graph \
    backward backward_into backward_with backward_with_into grad vjp";

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

fn check(f: Function, inputs: Vec<Array<f64>>) -> Result<(), CheckError> {
    match <[Array<f64>; 2]>::try_from(inputs) {
        Ok(pair) => check_gradients(pair, |tape, x| f(tape, &x)),
        Err(one) => check_gradients(<[_; 1]>::try_from(one).expect("one or two inputs"), |tape, x| f(tape, &x)),
    }
}

#[test]
fn every_op() {
    let cases = if cfg!(miri) { 1 } else { 24 };
    let mut failures = String::new();
    for (i, entry) in OPS.iter().enumerate() {
        let mut runner =
            TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() });
        if let Err(e) = runner.run(&strategy(entry), |inputs| Ok(check(entry.f, inputs)?)) {
            failures += &format!("entry {i}, {:?}: {e}\n", entry.names);
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn the_table_is_complete() {
    let sources = [
        include_str!("../src/tensor.rs"),
        include_str!("../src/backward.rs"),
        include_str!("../src/graph.rs"),
        include_str!("../src/ops/binary.rs"),
        include_str!("../src/ops/unary.rs"),
        include_str!("../src/ops/functions.rs"),
        include_str!("../src/ops/elementwise.rs"),
        include_str!("../src/ops/slice.rs"),
        include_str!("../src/ops/reduce.rs"),
        include_str!("../src/ops/view.rs"),
        include_str!("../src/ops/matmul.rs"),
        include_str!("../src/ops/softmax.rs"),
        include_str!("../src/ops/loss.rs"),
        include_str!("../src/ops/index.rs"),
        include_str!("../src/ops/leaf.rs"),
    ];
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/ops")).unwrap().count();
    assert_eq!(files, sources.len() - 3 + 1, "a new file of ops: add it above (mod.rs is not read)");
    let known: BTreeSet<&str> =
        OPS.iter().flat_map(|op| op.names.iter().copied()).chain(NOT_OPS.split_whitespace()).collect();
    let missing: Vec<_> = sources.iter().flat_map(|s| methods(s)).filter(|m| !known.contains(m.as_str())).collect();
    assert!(missing.is_empty(), "not in the table: {missing:?}");
    // The scan sees what is there.
    let all: BTreeSet<String> = sources.iter().flat_map(|s| methods(s)).collect();
    for name in ["matmul", "tanh", "powf", "sum_axes", "amax_keepdim", "logsumexp", "item", "cross_entropy"] {
        assert!(all.contains(name), "{name} was not found: {all:?}");
    }
}

/// The public methods which a source file adds to `Tensor`, by the way they
/// are written: `pub fn name(self` or, in the lists of macros, `name = Name;`
/// and `Name: a b c,`.
fn methods(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let word = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit());
    for line in source.lines() {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("pub fn ") {
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let arguments = rest[name.len()..].trim_start_matches("<const N: usize>");
            if arguments.starts_with("(self") {
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
