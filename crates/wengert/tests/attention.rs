//! Attention in one op, against the same by ops on whole matrices of scores: a
//! bias of 0 makes it that.

use wengert::{Attention, Gradients, Scalar, Tape, Tensor};

/// Queries, keys and values.
type Qkv<'t, T> = [Tensor<'t, T>; 3];

fn wave<'t, T: Scalar>(tape: &'t Tape<T>, dims: &[usize], step: f64) -> Tensor<'t, T> {
    let len: usize = dims.iter().product();
    let values: Vec<T> = (0..len).map(|i| T::from_f64((i as f64 * step).sin())).collect();
    tape.input(dims, &values).require_grad()
}

fn leaves<'t, T: Scalar>(tape: &'t Tape<T>, [l, s, e, f]: [usize; 4]) -> Qkv<'t, T> {
    [wave(tape, &[2, l, e], 0.37), wave(tape, &[2, s, e], 0.83), wave(tape, &[2, s, f], 0.59)]
}

fn at_length<'t, T: Scalar>([q, k, v]: Qkv<'t, T>, options: Attention<'t, T>) -> Tensor<'t, T> {
    let lengths = [q, k].map(|x| x.shape()[x.rank() - 2]);
    q.attention(k, v, Attention { bias: Some(q.tape().zeros(lengths)), ..options })
}

fn near<T: Scalar>(what: &str, got: &[T], expected: &[T], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let most = expected.iter().fold(1e-2, |most: f64, x| most.max(x.to_f64().abs()));
    for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (got.to_f64() - expected.to_f64()).abs();
        assert!(error <= most * tolerance, "{what}, {}: {got} {expected} at {at}", T::NAME);
    }
}

/// Compares values, and gradients of a sweep (run twice, into the same) and of a
/// recorded one, of attention over what `make` makes of leaves.
fn compare<T: Scalar>(
    what: &str,
    leaves: Qkv<'_, T>,
    make: for<'t> fn(Qkv<'t, T>) -> Qkv<'t, T>,
    causal: bool,
    tolerance: f64,
) {
    let what = format!("{what}, {:?}, causal: {causal}", leaves.map(|x| x.shape().to_vec()));
    let options = Attention { causal, ..Attention::default() };
    let [q, k, v] = make(leaves);
    let (y, z) = (q.attention(k, v, options), at_length([q, k, v], options));
    assert_eq!((y.shape(), y.grad_fn().map(|f| f.name())), (z.shape(), Some("attention")), "{what}");
    near(&what, &y.to_vec(), &z.to_vec(), tolerance);

    let weight = wave(q.tape(), y.shape(), 0.71).detach();
    let [y, z] = [y, z].map(|y| (y * weight).sum());
    let mut grads = Gradients::new();
    for times in 1..=2_i32 {
        y.backward_into(&mut grads);
        for (i, &x) in leaves.iter().enumerate().filter(|(_, x)| x.requires_grad()) {
            let (what, [recorded]) = (format!("{what}, to {i}"), z.grad([x]));
            let got = grads.get(x).map_or(vec![T::ZERO; x.len()], |g| g.as_slice().to_vec());
            near(&what, &got, &(recorded * T::from_f64(times.into())).to_vec(), tolerance);
            near(&what, &y.grad([x])[0].to_vec(), &recorded.to_vec(), tolerance);
        }
    }
}

#[test]
fn the_same_as_at_length() {
    // Lengths beside those of vectors and of blocks; more keys and fewer; keys so
    // many that blocks are small; no keys, no features.
    let sizes: &[[usize; 4]] = match cfg!(miri) {
        true => &[[9, 17, 1, 1]],
        false => &[
            [8, 8, 1, 1],
            [16, 16, 4, 4],
            [17, 33, 3, 5],
            [33, 17, 5, 3],
            [64, 64, 8, 8],
            [65, 70, 2, 9],
            [130, 131, 7, 2],
            [40, 600, 3, 4],
            [100, 1100, 2, 2],
            [9, 0, 2, 2],
            [9, 9, 2, 0],
        ],
    };
    for &sizes in sizes {
        for causal in [false, true] {
            compare("f32", leaves(&Tape::<f32>::new(), sizes), |x| x, causal, 2e-5);
            if !cfg!(miri) {
                compare("f64", leaves(&Tape::new_f64(), sizes), |x| x, causal, 1e-13);
            }
        }
    }
}

#[test]
fn operands_of_all_kinds() {
    if cfg!(miri) {
        return compare("one tensor", leaves(&Tape::<f32>::new(), [9, 9, 2, 2]), |[x, ..]| [x, x, x], true, 2e-5);
    }
    for causal in [false, true] {
        let tape = Tape::new_f64();
        let [q, k, v] = leaves(&tape, [20, 20, 4, 4]);
        compare("one tensor", [q, k, v], |[x, ..]| [x, x, x], causal, 1e-13);
        compare("keys are values", [q, k, v], |[q, k, _]| [q, k, k], causal, 1e-13);
        compare(
            "batches which are broadcast",
            [q, k, v],
            |[q, k, v]| [q, k.select(0, 0), v.unsqueeze(1)],
            causal,
            1e-13,
        );
        for constants in [[true, false, true], [true, true, false], [false, true, true]] {
            let [q, k, v] = [(q, constants[0]), (k, constants[1]), (v, constants[2])]
                .map(|(x, constant)| if constant { x.detach() } else { x });
            compare("some are constants", [q, k, v], |x| x, causal, 1e-13);
        }
        // Backwards, by columns, and heads side by side as a transformer has them.
        compare(
            "with gaps",
            [q, k, v],
            |[q, k, v]| [q.flip(1), k.t().contiguous().t(), v.t().contiguous().t()],
            causal,
            1e-13,
        );
        let x = wave(&tape, &[2, 20, 3 * 2 * 4], 0.37);
        compare("heads", [x, k, v], split, causal, 1e-13);
    }
}

fn split<T: Scalar>([x, _, _]: Qkv<'_, T>) -> Qkv<'_, T> {
    let x = x.reshape([2, 20, 3, 2, 4]);
    [0, 1, 2].map(|i| x.select(2, i).transpose(1, 2))
}

#[test]
#[cfg_attr(miri, ignore = "slow, and nothing of it is not in the others")]
fn second_derivatives() {
    let tape = Tape::new_f64();
    let x = leaves(&tape, [9, 10, 2, 3]);
    for causal in [false, true] {
        let options = Attention { causal, ..Attention::default() };
        let [a, b] = [x[0].attention(x[1], x[2], options), at_length(x, options)].map(|y| {
            let slopes = y.square().sum().grad(x);
            (slopes[0].square().sum() + slopes[1].square().sum() + slopes[2].square().sum()).grad(x)
        });
        a.iter().zip(b).for_each(|(a, b)| near("second", &a.to_vec(), &b.to_vec(), 1e-12));
    }
}

#[test]
#[cfg_attr(miri, ignore = "slow, and nothing of it is not in the others")]
fn scores_without_bound() {
    let tape = Tape::<f32>::new();
    let values = wave(&tape, &[20, 2], 0.3);
    for causal in [false, true] {
        let options = Attention { causal, ..Attention::default() };
        // Far apart: one key has all the weight.
        let x = wave(&tape, &[20, 2], 0.9);
        let far = (x * 1e4).attention(x, values, options);
        near("far", &far.to_vec(), &at_length([x * 1e4, x, values], options).to_vec(), 1e-6);
        // All are -inf: a query which may look at nothing, if there is a mask.
        let none = tape.full([20, 2], f32::NEG_INFINITY).attention(tape.ones([20, 2]), values, options);
        let grads = none.sum().backward();
        let all = |ok: fn(&f32) -> bool, x: &[f32]| x.iter().all(ok);
        let zero = all(|x| *x == 0.0, &none.to_vec()) && all(|x| *x == 0.0, grads.get(values).unwrap().as_slice());
        assert!(if causal { zero } else { all(|x| x.is_nan(), &none.to_vec()) });
        // What is no number stays with its query.
        let mut queries = x.to_vec();
        queries[2 * 7] = f32::NAN;
        let y = tape.input([20, 2], &queries).attention(x, values, options).to_vec();
        assert!(y.iter().enumerate().all(|(at, y)| y.is_nan() == (at / 2 == 7)));
    }
}

#[test]
#[cfg_attr(miri, ignore = "slow, and nothing of it is not in the others")]
fn other_scales() {
    let tape = Tape::new_f64();
    let x = leaves(&tape, [20, 20, 2, 2]);
    for scale in [-1.5, 0.0, 2.5] {
        let options = Attention { scale: Some(scale), causal: true, ..Attention::default() };
        near("scale", &x[0].attention(x[1], x[2], options).to_vec(), &at_length(x, options).to_vec(), 1e-13);
    }
}
