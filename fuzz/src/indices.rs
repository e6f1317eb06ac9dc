//! Positions and ranges along an axis, valid or not: what is valid has to give
//! the elements which index arithmetic names, and gradients which count them;
//! what is not has to panic with the op's name, and leave the tape usable.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

use arbitrary::{Result, Unstructured};
use wengert::Tape;

use crate::nd::{indices, offset};
use crate::ops::{T, byte};

/// Runs the calls which these bytes are.
pub fn check(bytes: &[u8]) {
    let _ = calls(&mut Unstructured::new(bytes));
}

/// A call, and what it takes.
#[derive(Debug)]
enum Call {
    Slice(isize, [Bound<isize>; 2], isize),
    Select(isize, isize),
    Narrow(isize, usize, usize),
    Unfold(isize, usize, usize),
    Split(isize, Vec<usize>, usize),
    Chunk(isize, usize, usize),
    IndexSelect(isize, Vec<usize>),
    Gather(isize, Vec<usize>, Vec<usize>),
    Embedding(Vec<usize>, Vec<usize>),
    /// The source's shape follows the index, or not.
    IndexAdd(isize, Vec<usize>, Vec<usize>),
    ScatterAdd(isize, Vec<usize>, Vec<usize>),
}

/// What a valid call gives: a shape, and for every element the position in
/// `x` which it comes from; or, of one which adds a source to `x`, for every
/// element of the source the position it goes to.
enum Expected {
    Taken(Vec<usize>, Vec<usize>),
    Added(Vec<usize>),
}

fn number(u: &mut Unstructured<'_>) -> Result<isize> {
    let extremes = [isize::MIN, isize::MAX, isize::MIN + 1, 1 << 40, -(1 << 40)];
    let byte = byte(u)?;
    Ok(extremes.get(byte.wrapping_sub(250)).copied().unwrap_or(byte as isize % 11 - 5))
}

fn size(u: &mut Unstructured<'_>) -> Result<usize> {
    Ok(match byte(u)? {
        255 => usize::MAX,
        254 => 1 << 40,
        byte => byte % 6,
    })
}

/// An axis, mostly one which there is.
fn axis(u: &mut Unstructured<'_>, rank: usize) -> Result<isize> {
    let byte = byte(u)?;
    let all = 2 * rank.max(1);
    Ok(if byte >= 240 { number(u)? } else { (byte % all) as isize - rank.max(1) as isize })
}

/// So many positions along an axis of length `n`: all valid, but for one now
/// and then.
fn positions(u: &mut Unstructured<'_>, count: usize, n: usize) -> Result<Vec<usize>> {
    let mut all = Vec::new();
    for _ in 0..count {
        let byte = byte(u)?;
        all.push(if byte >= 250 { size(u)? } else { byte % n.max(1) });
    }
    Ok(all)
}

/// A shape near another.
fn near(u: &mut Unstructured<'_>, shape: &[usize]) -> Result<Vec<usize>> {
    let mut near = shape.to_vec();
    for n in &mut near {
        match byte(u)? {
            byte @ 0..60 => *n = byte % 4,
            _ => {}
        }
    }
    if byte(u)? >= 250 {
        near.push(1);
    }
    Ok(near)
}

/// The axis as the engine counts them, if there is one.
fn resolve(axis: isize, rank: usize) -> Option<usize> {
    let at = if axis < 0 { axis.checked_add(rank as isize)? } else { axis };
    (0..rank as isize).contains(&at).then_some(at as usize)
}

fn call(u: &mut Unstructured<'_>, shape: &[usize]) -> Result<Call> {
    let axis = axis(u, shape.len())?;
    let n = resolve(axis, shape.len()).map_or(1, |a| shape[a]);
    let bound = |u: &mut Unstructured<'_>| {
        Ok(match byte(u)? % 3 {
            0 => Bound::Included(number(u)?),
            1 => Bound::Excluded(number(u)?),
            _ => Bound::Unbounded,
        })
    };
    Ok(match byte(u)? % 11 {
        0 => Call::Slice(axis, [bound(u)?, bound(u)?], number(u)?),
        1 => Call::Select(axis, number(u)?),
        2 => Call::Narrow(axis, size(u)?, size(u)?),
        3 => Call::Unfold(axis, size(u)?, size(u)?),
        4 => {
            let first = byte(u)? % (n + 1);
            let mut lengths = vec![first, n - first];
            if byte(u)? > 200 {
                lengths.push(size(u)?);
            }
            Call::Split(axis, lengths, byte(u)?)
        }
        5 => Call::Chunk(axis, size(u)?, byte(u)?),
        6 => {
            let count = byte(u)? % 6;
            Call::IndexSelect(axis, positions(u, count, n)?)
        }
        7 => {
            let shape = near(u, shape)?;
            let count = shape.iter().product::<usize>() + usize::from(byte(u)? >= 250);
            Call::Gather(axis, shape, positions(u, count, n)?)
        }
        8 => {
            let shape = near(u, &[2, 2])?;
            let count = shape.iter().product::<usize>() + usize::from(byte(u)? >= 250);
            Call::Embedding(shape, positions(u, count, n)?)
        }
        9 => {
            let count = byte(u)? % 5;
            let mut source = shape.to_vec();
            if let Some(a) = resolve(axis, shape.len()) {
                source[a] = count;
            }
            let source = if byte(u)? >= 200 { near(u, &source)? } else { source };
            Call::IndexAdd(axis, source, positions(u, count, n)?)
        }
        _ => {
            let source = near(u, shape)?;
            let count = source.iter().product::<usize>() + usize::from(byte(u)? >= 250);
            Call::ScatterAdd(axis, source, positions(u, count, n)?)
        }
    })
}

fn with(index: &[usize], axis: usize, position: usize) -> Vec<usize> {
    let mut index = index.to_vec();
    index[axis] = position;
    index
}

/// The name with which a call refuses, and what it gives if it does not.
fn expect(call: &Call, shape: &[usize]) -> (&'static str, Option<Expected>) {
    let resolve = |axis: isize| resolve(axis, shape.len());
    // Positions along an axis, which stays.
    let along = |axis: usize, positions: &[usize]| {
        let mut to = shape.to_vec();
        to[axis] = positions.len();
        let from = indices(&to).iter().map(|i| offset(shape, &with(i, axis, positions[i[axis]]))).collect();
        Expected::Taken(to, from)
    };
    let range = |axis: usize, positions: std::ops::Range<usize>| along(axis, &positions.collect::<Vec<_>>());
    let placed = |axis: usize, of: &[usize], index: &[usize]| -> Vec<usize> {
        indices(of).iter().zip(index).map(|(i, &p)| offset(shape, &with(i, axis, p))).collect()
    };
    // As long as `x` along the other axes, at most; one valid index each.
    let fits = |axis: usize, of: &[usize], index: &[usize]| {
        of.len() == shape.len()
            && (0..of.len()).all(|i| i == axis || of[i] <= shape[i])
            && of.iter().product::<usize>() == index.len()
            && index.iter().all(|&i| i < shape[axis])
    };
    match call {
        &Call::Slice(axis, bounds, step) => {
            let found = resolve(axis).filter(|_| step != 0).map(|a| along(a, &sliced(shape[a], bounds, step)));
            ("slice", found)
        }
        &Call::Select(axis, index) => {
            let found = resolve(axis).and_then(|a| {
                let n = shape[a] as isize;
                let at = if index < 0 { index.checked_add(n)? } else { index };
                let Expected::Taken(mut to, from) = along(a, &[(0..n).contains(&at).then_some(at as usize)?]) else {
                    return None;
                };
                to.remove(a);
                Some(Expected::Taken(to, from))
            });
            ("select", found)
        }
        &Call::Narrow(axis, start, len) => {
            let fits = |a: &usize| start.checked_add(len).is_some_and(|end| end <= shape[*a]);
            ("narrow", resolve(axis).filter(fits).map(|a| range(a, start..start + len)))
        }
        &Call::Unfold(axis, size, step) => {
            let found = resolve(axis).filter(|&a| size <= shape[a] && step > 0).map(|a| {
                let mut to = shape.to_vec();
                to[a] = (shape[a] - size) / step + 1;
                to.push(size);
                let last = shape.len();
                let from = |i: &Vec<usize>| offset(shape, &with(&i[..last], a, i[a] * step + i[last]));
                let all = indices(&to).iter().map(from).collect();
                Expected::Taken(to, all)
            });
            ("unfold", found)
        }
        Call::Split(axis, lengths, k) => {
            let total = lengths.iter().try_fold(0usize, |sum, &n| sum.checked_add(n));
            let k = k % lengths.len();
            let start = lengths[..k].iter().fold(0usize, |sum, &n| sum.saturating_add(n));
            let found = resolve(*axis).filter(|&a| total == Some(shape[a]));
            ("split", found.map(|a| range(a, start..start + lengths[k])))
        }
        &Call::Chunk(axis, n, k) => {
            let found = resolve(axis).filter(|_| n > 0).map(|a| {
                let (start, end) = chunk(shape[a], n, k);
                range(a, start..end)
            });
            ("chunk", found)
        }
        Call::IndexSelect(axis, index) => {
            let found = resolve(*axis).filter(|&a| index.iter().all(|&i| i < shape[a]));
            ("index_select", found.map(|a| along(a, index)))
        }
        Call::Gather(axis, of, index) => {
            let found = resolve(*axis).filter(|&a| fits(a, of, index));
            ("gather", found.map(|a| Expected::Taken(of.clone(), placed(a, of, index))))
        }
        Call::Embedding(of, index) => {
            let valid =
                shape.len() == 2 && of.iter().product::<usize>() == index.len() && index.iter().all(|&i| i < shape[0]);
            let found = valid.then(|| {
                let Expected::Taken(_, from) = along(0, index) else { unreachable!("it takes") };
                Expected::Taken([&of[..], &[shape[1]]].concat(), from)
            });
            ("embedding", found)
        }
        Call::IndexAdd(axis, source, index) => {
            let found = resolve(*axis).filter(|&a| {
                let mut want = shape.to_vec();
                want[a] = index.len();
                *source == want && index.iter().all(|&i| i < shape[a])
            });
            (
                "index_add",
                found.map(|a| {
                    let to = indices(source).iter().map(|i| offset(shape, &with(i, a, index[i[a]]))).collect();
                    Expected::Added(to)
                }),
            )
        }
        Call::ScatterAdd(axis, source, index) => {
            let found = resolve(*axis).filter(|&a| fits(a, source, index));
            ("scatter_add", found.map(|a| Expected::Added(placed(a, source, index))))
        }
    }
}

/// Python's rule, with numbers which do not overflow.
fn sliced(n: usize, [start, end]: [Bound<isize>; 2], step: isize) -> Vec<usize> {
    let n = n as i128;
    // Bounds are cut off at the ends after all else.
    let at = |i: isize, past: i128| (if i < 0 { i as i128 + n } else { i as i128 } + past).clamp(0, n);
    let start = match start {
        Bound::Included(i) => at(i, 0),
        Bound::Excluded(i) => at(i, 1),
        Bound::Unbounded => 0,
    };
    let end = match end {
        Bound::Included(i) => at(i, 1),
        Bound::Excluded(i) => at(i, 0),
        Bound::Unbounded => n,
    };
    let all: Vec<usize> = (start..end).map(|i| i as usize).collect();
    let by = step.unsigned_abs();
    if step > 0 { all.into_iter().step_by(by).collect() } else { all.into_iter().rev().step_by(by).collect() }
}

/// Where the `k`-th of `n` chunks lies (counted modulo how many there are).
fn chunk(of: usize, n: usize, k: usize) -> (usize, usize) {
    let len = of.div_ceil(n).max(1);
    let k = k % of.div_ceil(len).max(1);
    (k * len, ((k + 1) * len).min(of))
}

fn run<'t>(x: T<'t>, source: Option<T<'t>>, call: &Call) -> T<'t> {
    match call {
        Call::Slice(axis, range, step) => x.slice_step(*axis, (range[0], range[1]), *step),
        Call::Select(axis, index) => x.select(*axis, *index),
        Call::Narrow(axis, start, len) => x.narrow(*axis, *start, *len),
        Call::Unfold(axis, size, step) => x.unfold(*axis, *size, *step),
        Call::Split(axis, lengths, k) => x.split(*axis, lengths)[k % lengths.len()],
        Call::Chunk(axis, n, k) => {
            let parts = x.chunk(*axis, *n);
            parts[k % parts.len()]
        }
        Call::IndexSelect(axis, index) => x.index_select(*axis, index),
        Call::Gather(axis, shape, index) => x.gather(*axis, shape, index),
        Call::Embedding(shape, index) => x.embedding(shape, index, None),
        Call::IndexAdd(axis, _, index) => x.index_add(*axis, index, source.expect("a source")),
        Call::ScatterAdd(axis, _, index) => x.scatter_add(*axis, index, source.expect("a source")),
    }
}

fn calls(u: &mut Unstructured<'_>) -> Result<()> {
    let rank = byte(u)? % 5;
    let mut shape = Vec::new();
    for _ in 0..rank {
        shape.push([2, 3, 1, 4, 5, 1, 2, 0][byte(u)? % 8]);
    }
    let tape = Tape::new_f64();
    let count: usize = shape.iter().product();
    let data: Vec<f64> = (0..count).map(|i| i as f64).collect();
    let x = tape.input(&shape, &data).require_grad();
    for _ in 0..8 {
        if u.is_empty() {
            break;
        }
        one(u, &tape, x, &data)?;
    }
    Ok(())
}

fn one<'t>(u: &mut Unstructured<'_>, tape: &'t Tape<f64>, x: T<'t>, data: &[f64]) -> Result<()> {
    let call = call(u, x.shape())?;
    let source = match &call {
        Call::IndexAdd(_, shape, _) | Call::ScatterAdd(_, shape, _) => {
            let values: Vec<f64> = (0..shape.iter().product()).map(|i: usize| (i % 7) as f64).collect();
            Some(tape.input(shape, &values).require_grad())
        }
        _ => None,
    };
    let what = || format!("{call:?} of {:?}", x.shape());
    let (name, expected) = expect(&call, x.shape());
    let Some(expected) = expected else {
        refused(|| run(x, source, &call), name, &what());
        assert_eq!((x * 2.0).sum().item(), 2.0 * data.iter().sum::<f64>(), "after {}", what());
        return Ok(());
    };
    let y = run(x, source, &call);
    let (shape, mut values) = match &expected {
        Expected::Taken(shape, from) => (&shape[..], from.iter().map(|&i| data[i]).collect()),
        Expected::Added(_) => (x.shape(), data.to_vec()),
    };
    if let (Expected::Added(to), Some(source)) = (&expected, source) {
        to.iter().zip(source.to_vec()).for_each(|(&i, v)| values[i] += v);
    }
    assert_eq!((y.shape(), &y.to_vec()), (shape, &values), "{}", what());
    // Whole numbers: every order of summing gives the same.
    let weights: Vec<f64> = (0..values.len()).map(|i| (i % 5) as f64 - 1.0).collect();
    let cotangent = tape.input(shape, &weights);
    let grads = y.backward_with(cotangent);
    let mut wanted = vec![0.0; data.len()];
    match &expected {
        Expected::Taken(_, from) => from.iter().zip(&weights).for_each(|(&i, w)| wanted[i] += w),
        Expected::Added(to) => {
            wanted.copy_from_slice(&weights);
            let source = source.expect("a source");
            let of_source: Vec<f64> = to.iter().map(|&i| weights[i]).collect();
            let got = grads.get(source).map_or(vec![0.0; to.len()], |g| g.as_slice().to_vec());
            assert_eq!(got, of_source, "the source's gradient: {}", what());
        }
    }
    let got = grads.get(x).map_or(vec![0.0; data.len()], |g| g.as_slice().to_vec());
    assert_eq!(got, wanted, "gradient: {}", what());
    let [recorded] = y.vjp(cotangent, [x]);
    assert_eq!(recorded.to_vec(), wanted, "recorded gradient: {}", what());
    Ok(())
}

/// The call panics, and the message says which op it was.
fn refused<'t>(run: impl FnOnce() -> T<'t>, name: &str, what: &str) {
    // The fuzzer's hook takes every panic for a failure.
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let outcome = catch_unwind(AssertUnwindSafe(|| run().to_vec()));
    set_hook(hook);
    let Err(panic) = outcome else { panic!("not refused: {what}") };
    let message = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    let message = message.unwrap_or_default();
    assert!(message.starts_with(name), "refused with \"{message}\": {what}");
}

#[cfg(test)]
mod tests {
    #[test]
    fn some_calls() {
        let mut state = 1u64;
        for _ in 0..20_000 {
            let mut bytes = [0u8; 96];
            for b in &mut bytes {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                *b = (state >> 56) as u8;
            }
            super::check(&bytes);
        }
    }
}
