//! Fused expressions: against the same expressions by plain ops, to every
//! order, in every layout.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use wengert::{Array, Element, Expression, Gradients, Params, Tape, Tensor, Term, fused};
use wengert_check::{CountingAllocator, broadcastable, check_gradients, distinct, tensors};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

type T<'t> = Tensor<'t, f64>;

/// One expression, fused and by plain ops.
macro_rules! both {
    ($($name:ident($first:ident $(, $input:ident)*) $body:block)*) => {$(
        mod $name {
            wengert::fused! {
                pub(crate) fn fused($first $(, $input)*) $body
            }

            #[allow(clippy::too_many_arguments)]
            pub(crate) fn plain<'t>($first: super::T<'t> $(, $input: super::T<'t>)*) -> super::T<'t> {
                $body
            }
        }
    )*};
}

both! {
    film(x, a, b) { (x * a + b).gelu_tanh() }
    gate(x, h, z) {
        let z = z.sigmoid();
        (1.0 - z) * x.tanh() + z * h
    }
    rosenbrock(x, y) {
        let r = y - x.square();
        100.0 * r.square() + (1.0 - x).square()
    }
    kinked(x, a) { x.maximum(a).relu() - (x * a).abs() + x.minimum(0.5).clamp(-1.0, 0.25) }
    chosen(x, a, b) { (x * a).where_mask(x.gt(b), b.exp() - x) }
    powers(x, y) { (x.square() + 0.5).pow(y) + x.powi(3) - y.powi(-2) / 3.0 + (1.0 + x * x).powf(0.75) }
    angles(x, y) { y.atan2(x) + x.hypot(y) * x.sin() - (x / y).cos() + 2.0 / y }
    unused(x, a) { let _ = a; x.exp() }
    itself(x) { x }
    many(a, b, c, d, e, f, g, h) { a * b - c / (1.5 + d.tanh()) + e * (f - g) * h.softplus(2.0, 20.0) }
}

fn values(shape: &[usize], seed: f64) -> Array<f64> {
    let len = shape.iter().product::<usize>();
    Array::new(shape, (0..len).map(|i| ((i as f64 + seed) * 1.7).sin() * 1.5).collect::<Vec<_>>())
}

#[track_caller]
fn close(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        let fits = (a - b).abs() <= 1e-11 * a.abs().max(b.abs()).max(1.0) || a.is_nan() && b.is_nan();
        assert!(fits, "{i}: {a} {b}");
    }
}

fn squares<'t, const N: usize>(g: [T<'t>; N]) -> T<'t> {
    g.iter().map(|g| g.square().sum()).reduce(|a, b| a + b).expect("an input")
}

type Pair<const N: usize> = [for<'t> fn([T<'t>; N]) -> T<'t>; 2];

/// Values, gradients, recorded gradients and two orders more are those of the
/// plain ops.
fn compare<const N: usize>([fused, plain]: Pair<N>, shapes: [&[usize]; N]) {
    let tape = Tape::new_f64();
    let x: [T<'_>; N] = std::array::from_fn(|i| tape.tensor(values(shapes[i], 0.3 + 7.0 * i as f64)).require_grad());
    let (y, z) = (fused(x), plain(x));
    // Plain ops do not broadcast to what they do not use.
    let z = z.broadcast_to(y.shape());
    close(&y.to_vec(), &z.to_vec());
    let weights = tape.tensor(values(y.shape(), 0.9));
    let all = |y: T<'_>| {
        let grads = y.backward_with(weights);
        x.map(|x| grads.get(x).map(|g| g.as_slice().to_vec()).unwrap_or_else(|| vec![0.0; x.len()]))
    };
    let (a, b) = (all(y), all(z));
    (0..N).for_each(|i| close(&a[i], &b[i]));
    // To one input, and from there to all.
    let [[a], [b]] = [y, z].map(|y| y.vjp(weights, [x[0]]));
    if a.requires_grad() {
        let (a, b) = (a.square().sum().grad(x), b.square().sum().grad(x));
        (0..N).for_each(|i| close(&a[i].to_vec(), &b[i].to_vec()));
    }
    let (mut a, mut b) = (y.vjp(weights, x), z.vjp(weights, x));
    for _ in 0..3 {
        (0..N).for_each(|i| close(&a[i].to_vec(), &b[i].to_vec()));
        let (sa, sb) = (squares(a), squares(b));
        if !sa.requires_grad() {
            break;
        }
        (a, b) = (sa.grad(x), sb.grad(x));
    }
}

#[test]
fn fused_and_plain_agree_to_the_third_order() {
    let three: [[&[usize]; 3]; 5] = [
        [&[4, 5], &[4, 5], &[4, 5]],
        [&[4, 5], &[5], &[]],
        [&[4, 1], &[1, 5], &[3, 1, 1]],
        [&[0, 3], &[3], &[1, 3]],
        [&[], &[], &[]],
    ];
    for shapes in three {
        compare([|[x, a, b]| film::fused(x, a, b), |[x, a, b]| film::plain(x, a, b)], shapes);
        compare([|[x, a, b]| gate::fused(x, a, b), |[x, a, b]| gate::plain(x, a, b)], shapes);
        compare([|[x, a, b]| chosen::fused(x, a, b), |[x, a, b]| chosen::plain(x, a, b)], shapes);
        let shapes = [shapes[0], shapes[1]];
        compare([|[x, y]| rosenbrock::fused(x, y), |[x, y]| rosenbrock::plain(x, y)], shapes);
        compare([|[x, y]| kinked::fused(x, y), |[x, y]| kinked::plain(x, y)], shapes);
        compare([|[x, y]| powers::fused(x, y), |[x, y]| powers::plain(x, y)], shapes);
        compare([|[x, y]| angles::fused(x, y), |[x, y]| angles::plain(x, y)], shapes);
        compare([|[x, y]| unused::fused(x, y), |[x, y]| unused::plain(x, y)], shapes);
        compare([|[x]| itself::fused(x), |[x]| itself::plain(x)], [shapes[0]]);
        // One tensor in several places, one which depends on another.
        compare([|[x]| film::fused(x, x, x), |[x]| film::plain(x, x, x)], [shapes[0]]);
        compare([|[x, y]| gate::fused(x, y, x.exp()), |[x, y]| gate::plain(x, y, x.exp())], shapes);
        compare([|[x, y]| rosenbrock::fused(x, y) * y, |[x, y]| rosenbrock::plain(x, y) * y], shapes);
    }
    compare(
        [
            |[a, b, c, d, e, f, g, h]| many::fused(a, b, c, d, e, f, g, h),
            |[a, b, c, d, e, f, g, h]| many::plain(a, b, c, d, e, f, g, h),
        ],
        [&[2, 3], &[3], &[2, 1], &[], &[1, 3], &[2, 3], &[1], &[2, 3]],
    );
}

#[test]
fn runs_longer_than_a_block() {
    let n = if cfg!(miri) { 300 } else { 1000 };
    compare([|[x, a, b]| film::fused(x, a, b), |[x, a, b]| film::plain(x, a, b)], [&[2, n], &[n], &[]]);
    compare([|[x, a, b]| gate::fused(x, a, b), |[x, a, b]| gate::plain(x, a, b)], [&[n, 2], &[n, 1], &[1, 2]]);
}

/// Every function of a term beside that of a tensor, at kinks and beyond all
/// bounds too: the same bits of values, the same derivatives.
#[test]
fn functions_are_those_of_tensors() {
    let ends =
        [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -3.0, 6.0, 20.0, 30.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
    macro_rules! check {
        ($($name:ident $(($($p:expr),*))?)*) => {$({
            fused! {
                fn function(x) { x.$name($($($p),*)?) }
            }
            let tape = Tape::new_f64();
            let x = tape.tensor(ends).require_grad();
            let (y, z) = (function(x), x.$name($($($p),*)?));
            let bits = |y: T<'_>| y.to_vec().iter().map(|y| y.to_bits()).collect::<Vec<_>>();
            if stringify!($name) != "powi" && !cfg!(miri) {
                let nan_or = |b: u64| if f64::from_bits(b).is_nan() { 0 } else { b };
                let [y, z] = [bits(y), bits(z)].map(|b| b.into_iter().map(nan_or).collect::<Vec<_>>());
                assert_eq!(y, z, stringify!($name));
            }
            let slopes = |y: T<'_>| y.sum().backward().get(x).unwrap().as_slice().to_vec();
            let (a, b) = (slopes(y), slopes(z));
            for ((a, b), x) in a.iter().zip(&b).zip(ends) {
                let same = a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-14 * b.abs();
                assert!(same, "{} at {x}: {a} {b}", stringify!($name));
            }
        })*};
    }
    check! {
        exp exp_m1 exp2 ln ln_1p log2 log10 sqrt rsqrt square recip abs sign floor ceil round trunc
        sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh
        sigmoid log_sigmoid relu silu mish softsign gelu gelu_tanh erf erfc is_nan is_infinite is_finite
        relu6 selu leaky_relu(0.1) elu(0.7) clamp(-1.0, 2.0) softplus(1.0, 20.0) softplus(2.0, 10.0)
        powf(0.0) powf(1.0) powf(2.5) powf(-1.0) powi(0) powi(1) powi(2) powi(3) powi(-2) powi(7)
        maximum(0.5) minimum(-0.5) atan2(1.0) hypot(2.0) eq(0.5) ne(0.5) lt(0.5) le(0.5) gt(0.5) ge(0.5)
    }
}

/// What competes with a tensor, at ties and at the corners.
#[test]
fn conventions_at_ties() {
    macro_rules! check {
        ($($name:ident)*) => {$({
            fused! {
                fn function(x, y) { x.$name(y) }
            }
            let tape = Tape::new_f64();
            let x = tape.tensor([0.0, 0.0, 0.0, 1.0, 2.0, -1.0, f64::NAN, 1.0]).require_grad();
            let y = tape.tensor([0.0, 1.0, -1.0, 1.0, 0.0, -1.0, 1.0, f64::NAN]).require_grad();
            let [fused, plain] = [function(x, y), x.$name(y)].map(|z| {
                let grads = z.sum().backward();
                let [a, b] = [x, y].map(|x| grads.get(x).unwrap().as_slice().to_vec());
                [z.to_vec(), a, b].concat()
            });
            for (i, (a, b)) in fused.iter().zip(&plain).enumerate() {
                assert!(a == b || a.is_nan() && b.is_nan(), "{} {i}: {a} {b}", stringify!($name));
            }
        })*};
    }
    check! { maximum minimum pow atan2 hypot eq lt ge }
}

/// Not in the expression: constants of the program.
#[derive(Clone, Copy)]
struct Step {
    dt: f64,
    leap: bool,
}

impl Expression<2> for Step {
    fn name(&self) -> &'static str {
        "step"
    }

    #[inline(always)]
    fn eval<E: Element>(self, [x, v]: [Term<E>; 2]) -> Term<E> {
        let x = x + self.dt * v;
        if self.leap { x + x } else { x }
    }
}

fused! {
    /// `x` where it is larger than `limit`, n-th powers below.
    fn soft(x, a; limit: f64, n: i32) {
        let (x, low) = (x * a, x.powi(n));
        x.where_mask(x.gt(limit), low)
    }
}

#[test]
fn constants() {
    let tape = Tape::new();
    let x = tape.tensor([1.0, -2.0]).require_grad();
    for leap in [false, true] {
        let y = tape.fused(Step { dt: 0.5, leap }, [x, x]);
        let by = if leap { 3.0 } else { 1.5 };
        assert_eq!(y.to_vec(), [by, -2.0 * by]);
        assert_eq!(y.sum().backward().get(x).unwrap().as_slice(), [by, by]);
    }
    let y = soft(x, 3.0, 0.5, 3);
    assert_eq!(y.to_vec(), [3.0, -8.0]);
    assert_eq!(y.sum().backward().get(x).unwrap().as_slice(), [3.0, 12.0]);
    assert!(tape.dump().to_string().contains("soft"));
    assert_eq!(y.grad_fn().unwrap().name(), "soft");
}

#[test]
fn in_every_scope() {
    let mut params = Params::new();
    let (a, b) = (params.full("a", [3], 0.5), params.full("b", [], -0.25));
    params.freeze(b);
    let tape = Tape::new_f64();
    let mut params64 = Params::<f64>::default();
    let c = params64.full("c", [3], 0.5);
    let x = tape.tensor(values(&[2, 3], 0.1)).require_grad();
    let y = film::fused(x, &params64[c], 2.0);
    assert!(!tape.no_grad(|| film::fused(x, x, x)).requires_grad());
    assert_eq!(tape.no_grad(|| film::fused(x, x, x)).to_vec(), film::fused(x, x, x).to_vec());
    let inner = tape.evaluate(|scope| film::fused(scope.constant(x), scope.constant(x), 1.0).to_vec());
    assert_eq!(inner, film::fused(x, x, 1.0).to_vec());
    let block = tape.checkpoint([x], |_, x| film::fused(x[0], x[0].exp(), 1.0));
    let whole = film::fused(x, x.exp(), 1.0);
    let gradients = |y: T<'_>| y.sum().backward().get(x).unwrap().as_slice().to_vec();
    assert_eq!(gradients(block), gradients(whole));
    assert_eq!(gradients(y).len(), 6);

    // Parameters, one of them frozen, of f32; gradients add up.
    let tape = Tape::new();
    let mut grads = Gradients::new();
    for turn in 1..=2 {
        let x = tape.tensor([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.0]]);
        rosenbrock::fused(tape.param(&params[a]), x * &params[b]).sum().backward_into(&mut grads);
        let y = {
            let r = x * &params[b] - tape.param(&params[a]).square();
            100.0 * r.square() + (1.0 - tape.param(&params[a])).square()
        }
        .sum()
        .backward();
        let (got, expected) = (grads.get(&params[a]).unwrap(), y.get(&params[a]).unwrap());
        got.iter().zip(expected.iter()).for_each(|(g, e)| assert!((g - turn as f32 * e).abs() < 1e-3, "{g} {e}"));
        assert!(grads.get(&params[b]).is_none());
    }
}

#[test]
fn shapes_which_do_not_fit_are_refused() {
    let tape = Tape::new_f64();
    let (x, a) = (tape.ones([2, 3]).require_grad(), tape.ones([2]));
    let panic = catch_unwind(AssertUnwindSafe(|| rosenbrock::fused(x, a))).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert_eq!(message, "fused: shapes do not broadcast: [2, 3] and [2]");
    let other = Tape::new_f64();
    assert!(catch_unwind(AssertUnwindSafe(|| rosenbrock::fused(x, other.scalar(1.0)))).is_err());
    // The tape goes on.
    assert_eq!(rosenbrock::fused(x, x).sum().backward().get(x).unwrap().len(), 6);
}

/// A panic in the expression, in the middle of a sweep.
#[derive(Clone, Copy)]
struct Breaks(&'static std::sync::atomic::AtomicBool);

impl Expression<1> for Breaks {
    fn name(&self) -> &'static str {
        "breaks"
    }

    fn eval<E: Element>(self, [x]: [Term<E>; 1]) -> Term<E> {
        assert!(!self.0.load(std::sync::atomic::Ordering::Relaxed), "in the middle");
        x * x
    }
}

#[test]
fn a_panic_leaves_the_tape_usable() {
    static BREAK: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    let tape = Tape::new_f64();
    let x = tape.tensor([1.0, 2.0]).require_grad();
    let mut grads = Gradients::new();
    let y = tape.fused(Breaks(&BREAK), [x]).sum() + x.sum();
    for broken in [true, false, true, false] {
        BREAK.store(broken, std::sync::atomic::Ordering::Relaxed);
        let swept = catch_unwind(AssertUnwindSafe(|| y.backward_into(&mut grads)));
        assert_eq!(swept.is_err(), broken);
        assert_eq!(catch_unwind(AssertUnwindSafe(|| y.grad([x])[0].sum().item())).is_err(), broken);
        if !broken {
            assert_eq!(grads.get(x).unwrap().as_slice(), [3.0, 5.0]);
            grads.zero();
        }
    }
}

#[test]
fn a_layout_does_not_change_the_bits() {
    let tape = Tape::new();
    let x = tape.linspace(-3.0, 3.0, 77 * 5).reshape([77, 5]);
    let whole = film::fused(x, x, 0.5);
    let turned = film::fused(x.t(), x.t(), 0.5).t().contiguous();
    let split = tape.concat(
        [
            film::fused(x.narrow(0, 0, 1), x.narrow(0, 0, 1), 0.5),
            film::fused(x.narrow(0, 1, 76), x.narrow(0, 1, 76), 0.5),
        ],
        0,
    );
    assert_eq!(whole.to_vec(), turned.to_vec());
    assert_eq!(whole.to_vec(), split.to_vec());
}

/// Rows longer than a block, one or many, alone, added to what is there, and the
/// same one twice: what is summed over the rows goes to each as by plain ops.
#[test]
fn inputs_which_are_rows() {
    for shape in [[70, 5], [3, 600], [1, 300]] {
        let tape = Tape::new_f64();
        let [x, g] = [0.3, 0.7].map(|seed| tape.tensor(values(&shape, seed)).require_grad());
        let [a, b] = [0.2, 0.9].map(|seed| tape.tensor(values(&shape[1..], seed)).require_grad());
        let column = tape.tensor(values(&[shape[0], 1], 0.5)).require_grad();
        let compare = |fused: T<'_>, plain: T<'_>| {
            for more in [0.0, 1.0] {
                let also = (a.sum() + b.sum() + x.sum() + column.sum()) * more;
                let [got, want] = [fused, plain].map(|y| ((y * g).sum() + also).backward());
                for x in [x, a, b, column] {
                    match (got.get(x), want.get(x)) {
                        (Some(got), Some(want)) => {
                            let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-11 * (1.0 + b.abs());
                            assert!(got.as_slice().iter().zip(want.as_slice()).all(near), "{shape:?}");
                        }
                        (got, want) => assert!(got.is_none() && want.is_none(), "{shape:?}"),
                    }
                }
            }
        };
        compare(film::fused(x, a, b), film::plain(x, a, b));
        compare(film::fused(x, a, a), film::plain(x, a, a));
        compare(film::fused(x, x, b), film::plain(x, x, b));
        compare(film::fused(a, x, b), film::plain(a, x, b));
        compare(film::fused(x, a, column), film::plain(x, a, column));
        compare(film::fused(x, a.detach(), b), film::plain(x, a.detach(), b));
        compare(film::fused(x.detach(), a, b), film::plain(x.detach(), a, b));
        compare(film::fused(x * 2.0, a * 2.0, b), film::plain(x * 2.0, a * 2.0, b));
    }
}

#[test]
fn a_loop_over_fused_ops_allocates_nothing() {
    fn turn<'t>(x: T<'t>, a: T<'t>, b: T<'t>) -> T<'t> {
        film::fused(x, a, b) + gate::fused(x.t(), b, a.sum()).t() + soft(x, a, 0.5, 3)
    }
    let data = values(&[5, 5], 0.4);
    for recorded in [false, true] {
        let (mut tape, mut grads) = (Tape::new_f64(), Gradients::new());
        for i in 1..=6 {
            let before = CountingAllocator::requests();
            tape.rewind();
            grads.zero();
            let x = tape.input([5, 5], data.as_slice()).require_grad();
            let (a, b) = (tape.input([5], &data.as_slice()[..5]).require_grad(), tape.scalar(0.5).require_grad());
            let y = turn(x, a, b).sum();
            match recorded {
                false => y.backward_into(&mut grads),
                true => {
                    let [dx, da, db] = y.grad([x, a, b]);
                    (dx.square().sum() + da.sum() * db).backward_into(&mut grads);
                }
            }
            let made = CountingAllocator::requests() - before;
            assert!(i < 3 || made == 0, "{made} requests in turn {i}, recorded: {recorded}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 32 }, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn the_checks_pass(inputs in tensors::<f64, 3>(broadcastable(0..=4, 0..=3), -2.0..2.0)) {
        check_gradients(inputs.clone(), |_, [x, a, b]| film::fused(x, a, b))?;
        check_gradients(inputs.clone(), |_, [x, a, b]| gate::fused(x, a * b, b).sin())?;
        check_gradients(inputs, |_, [x, a, _]| film::fused(x, x, a))?;
    }

    #[test]
    fn the_checks_pass_away_from_kinks(inputs in tensors::<f64, 2>(broadcastable(0..=3, 1..=3), distinct(0.3..2.0))) {
        check_gradients(inputs.clone(), |_, [x, a]| powers::fused(x, a) + angles::fused(a, x))?;
        check_gradients(inputs, |_, [x, a]| soft(x, a + 5.0, 0.7, 3))?;
    }
}

#[test]
fn powers_which_are_roots_are_those_of_tensors() {
    fused! {
        fn root(x) { x.powf(0.5) }
        fn reciprocal_root(x) { x.powf(-0.5) }
        fn odd(x) { x.powi(16_777_217) }
    }
    let tape = Tape::new();
    let x = tape.tensor([f32::NEG_INFINITY, 4.0, 0.0, -0.0]);
    let bits = |x: Tensor<'_>| x.to_vec().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(root(x)), bits(x.powf(0.5)));
    assert_eq!(bits(reciprocal_root(x)), bits(x.powf(-0.5)));
    assert_eq!(odd(tape.tensor([-1.0])).to_vec(), [-1.0]);
}
