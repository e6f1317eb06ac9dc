//! Parts, arrangements, positions, selection.

use arbitrary::{Result, Unstructured};
use wengert::Padding;

use super::{Made, byte, signed};
use crate::nd::{Nd, broadcast, indices, offset};
use crate::program::{MAX_ELEMENTS, Run, Value};
use crate::scalars::Fold;

/// Positions along an axis of length `n` by Python's rule for slices.
fn sliced(n: usize, start: isize, end: isize, step: isize) -> Vec<usize> {
    let at = |i: isize| if i < 0 { (i + n as isize).max(0) } else { i.min(n as isize) };
    let all: Vec<usize> = (at(start)..at(end)).map(|i| i as usize).collect();
    let by = step.unsigned_abs();
    if step > 0 { all.into_iter().step_by(by).collect() } else { all.into_iter().rev().step_by(by).collect() }
}

/// One op on `x` along an axis, or on several.
pub fn step<'t>(run: &mut Run<'t>, u: &mut Unstructured<'_>, x: &Value<'t>) -> Result<Made<'t>> {
    let (code, t, nd, rank) = (byte(u)? % 24, x.tensor, &x.nd, x.nd.rank());
    if rank == 0 && code != 22 && code != 23 {
        return Ok(None);
    }
    let axis = if rank == 0 { 0 } else { byte(u)? % rank };
    let (n, at) = (nd.shape.get(axis).copied().unwrap_or(1), signed(u, axis, rank)?);
    let (a, b) = (byte(u)?, byte(u)?);
    let some = |k: usize| k % n.max(1);
    let (tensor, made) = match code {
        0 => {
            let (start, len) = (a % (n + 1), b % (n - a % (n + 1) + 1));
            (t.narrow(at, start, len), nd.select(axis, &(start..start + len).collect::<Vec<_>>()))
        }
        1 => {
            let (start, end) = (a as isize % 9 - 4, b as isize % 9 - 4);
            let step = [1, 2, -1, -2, 3, 1][byte(u)? % 6];
            (t.slice_step(at, start..end, step), nd.select(axis, &sliced(n, start, end, step)))
        }
        2 if n > 0 => (t.select(at, signed(u, some(a), n)?), nd.slice(axis, some(a))),
        3 => (t.flip(at), nd.select(axis, &(0..n).rev().collect::<Vec<_>>())),
        4 => {
            let (size, step) = (a % (n + 1), b % 3 + 1);
            let windows: Vec<Nd> =
                (0..=n - size).step_by(step).map(|s| nd.select(axis, &(s..s + size).collect::<Vec<_>>())).collect();
            // [.., windows, .., size]
            let mut shape = nd.shape.clone();
            shape[axis] = windows.len();
            shape.push(size);
            let element = |i: &Vec<usize>| {
                let mut from = i[..rank].to_vec();
                from[axis] = i[rank];
                windows[i[axis]].get(&from)
            };
            (t.unfold(at, size, step), nd.with(&shape, indices(&shape).iter().map(element).collect()))
        }
        5 => {
            let first = a % (n + 1);
            let parts = t.split(at, &[first, n - first]);
            (parts[1], nd.select(axis, &(first..n).collect::<Vec<_>>()))
        }
        6 => {
            let parts = t.chunk(at, a % 4 + 1);
            let len = n.div_ceil(a % 4 + 1).max(1);
            let k = b % parts.len();
            (parts[k], nd.select(axis, &(k * len..((k + 1) * len).min(n)).collect::<Vec<_>>()))
        }
        7 | 8 => {
            let same = |a: &Value<'t>, b: &Value<'t>| a.nd.shape == b.nd.shape;
            let y = run.partner(u, x, same)?;
            if code == 7 {
                (run.tape.concat([t, y.tensor, t], at), Nd::concat(&[nd.clone(), y.nd.clone(), nd.clone()], axis))
            } else {
                let mut shape = nd.shape.clone();
                shape.insert(axis, 1);
                let parts = [nd.reshape(&shape), y.nd.reshape(&shape)];
                (run.tape.stack([t, y.tensor], axis as isize), Nd::concat(&parts, axis))
            }
        }
        9 if n > 0 => {
            let index: Vec<usize> = (0..a % 5).map(|k| some(b + k * 3)).collect();
            (t.index_select(at, &index), nd.select(axis, &index))
        }
        10 if n > 0 => {
            let index: Vec<usize> = (0..a % 4).map(|k| some(b + k * 3)).collect();
            let (source, from) = (t.index_select(at, &index).exp(), nd.select(axis, &index).f("exp"));
            (t.index_add(at, &index, source), scattered(nd, &from, |i| with(i, axis, index[i[axis]])))
        }
        11 if n > 0 => {
            let mut shape = nd.shape.clone();
            shape[axis] = a % 4;
            let index: Vec<usize> = (0..shape.iter().product()).map(|k: usize| some(b + k * 7)).collect();
            let made = nd.gather(&shape, |i| with(i, axis, index[offset(&shape, i)]));
            (t.gather(at, &shape, &index), made)
        }
        12 if n > 0 => {
            let index: Vec<usize> = (0..nd.at.len()).map(|k| some(b + k * 7)).collect();
            let source = (t.square(), nd.f("square"));
            let made = scattered(nd, &source.1, |i| with(i, axis, index[offset(&nd.shape, i)]));
            (t.scatter_add(at, &index, source.0), made)
        }
        13 => {
            let shift = a as isize % 9 - 4;
            let from: Vec<usize> = (0..n as isize).map(|i| (i - shift).rem_euclid(n as isize) as usize).collect();
            (t.roll(shift, at), nd.select(axis, &from))
        }
        14 => (
            t.repeat_interleave(a % 3, at),
            nd.select(axis, &(0..n * (a % 3)).map(|i| i / (a % 3)).collect::<Vec<_>>()),
        ),
        15 => {
            let mut counts = vec![1; rank + b % 2];
            let lead = counts.len() - rank;
            counts[lead + axis] = a % 3;
            if lead > 0 {
                counts[0] = 2;
            }
            let shape: Vec<usize> =
                (0..counts.len()).map(|k| counts[k] * if k < lead { 1 } else { nd.shape[k - lead] }).collect();
            let wrap = |i: &[usize]| i[lead..].iter().zip(&nd.shape).map(|(i, n)| i % n).collect();
            (t.repeat(&counts), nd.gather(&shape, wrap))
        }
        16 => return Ok(padded(u, x, a, b)?.map(|(what, t, nd)| (format!("{what} of {}", x.name), t, nd))),
        17 | 18 if rank > 1 => {
            let shift = a as isize % 5 - 2;
            let keep = |i: &[usize]| {
                let above = i[rank - 1] as isize - i[rank - 2] as isize;
                if code == 17 { above <= shift } else { above >= shift }
            };
            let holds: Vec<f64> = indices(&nd.shape).iter().map(|i| f64::from(u8::from(keep(i)))).collect();
            let mask = Nd::constant(&nd.graph, &nd.shape, &holds);
            (if code == 17 { t.tril(shift) } else { t.triu(shift) }, nd.choose(&mask, &nd.number(0.0)))
        }
        19 if rank > 1 => {
            let other = (axis + 1) % rank;
            let shift = a as isize % 5 - 2;
            let (down, right) = ((-shift).max(0) as usize, shift.max(0) as usize);
            let len = nd.shape[axis].saturating_sub(down).min(nd.shape[other].saturating_sub(right));
            let mut shape: Vec<usize> = (0..rank).filter(|&k| k != axis && k != other).map(|k| nd.shape[k]).collect();
            shape.push(len);
            let from = |i: &[usize]| {
                let mut rest = i.iter();
                let mut pick = |k| match k {
                    k if k == axis => i[rank - 2] + down,
                    k if k == other => i[rank - 2] + right,
                    _ => *rest.next().expect("an axis"),
                };
                (0..rank).map(&mut pick).collect()
            };
            (t.diagonal(shift, at, other as isize), nd.gather(&shape, from))
        }
        20 => {
            let shift = a as isize % 5 - 2;
            let size = nd.shape[rank - 1] + shift.unsigned_abs();
            let shape = [&nd.shape[..rank - 1], &[size, size]].concat();
            let zero = nd.number(0.0).at[0];
            let element = |i: &Vec<usize>| {
                let (row, column) = (i[rank - 1] as isize, i[rank] as isize);
                let k = row.min(column) as usize;
                let from = [&i[..rank - 1], &[k]].concat();
                if column - row == shift { nd.get(&from) } else { zero }
            };
            (t.diag_embed(shift, -2, -1), nd.with(&shape, indices(&shape).iter().map(element).collect()))
        }
        21 => {
            let two = [&nd.shape[..], &[1, 1]].concat();
            (t.unsqueeze(-1).unsqueeze(-1).squeeze_axis(-1).flatten(-2, -1), nd.reshape(&two[..rank]))
        }
        22 => {
            let kept: Vec<usize> = nd.shape.iter().copied().filter(|&n| n != 1).collect();
            (t.squeeze(), nd.reshape(&kept))
        }
        _ => {
            let fits = |a: &Value<'t>, b: &Value<'t>| {
                broadcast(&a.nd.shape, &b.nd.shape).is_some_and(|s| s.iter().product::<usize>() <= MAX_ELEMENTS)
            };
            let y = run.partner(u, x, fits)?;
            let mask = (y.tensor.gt(0.25), y.nd.mask("gt", 0.25));
            if a % 2 == 0 {
                (t.square().where_mask(mask.0, y.tensor), nd.f("square").choose(&mask.1, &y.nd))
            } else {
                (t.masked_fill(mask.0, 0.5), nd.number(0.5).choose(&mask.1, nd))
            }
        }
    };
    Ok(Some((format!("part {code}({}, axis {at}, {a}, {b})", x.name), tensor, made)))
}

fn with(index: &[usize], axis: usize, position: usize) -> Vec<usize> {
    let mut index = index.to_vec();
    index[axis] = position;
    index
}

/// `to` with every element of `source` added where `place` says.
fn scattered(to: &Nd, source: &Nd, place: impl Fn(&[usize]) -> Vec<usize>) -> Nd {
    let mut sums: Vec<Vec<usize>> = to.at.iter().map(|_| Vec::new()).collect();
    for (index, &x) in indices(&source.shape).iter().zip(&source.at) {
        sums[offset(&to.shape, &place(index))].push(x);
    }
    let sum = |(&x, terms): (&usize, &Vec<usize>)| {
        let s = &mut *to.graph.borrow_mut();
        let sum = s.fold(Fold::Sum, terms);
        s.add(x, sum)
    };
    to.with(&to.shape, to.at.iter().zip(&sums).map(sum).collect())
}

/// Padding of the last axis (and by a constant of the one before).
fn padded<'t>(u: &mut Unstructured<'_>, x: &Value<'t>, a: usize, b: usize) -> Result<Made<'t>> {
    let (t, nd, axis) = (x.tensor, &x.nd, x.nd.rank() - 1);
    let n = nd.shape[axis] as isize;
    let (before, after) = (a as isize % 4, b as isize % 4);
    let positions = |f: &dyn Fn(isize) -> isize| (-before..n + after).map(|i| f(i) as usize).collect::<Vec<_>>();
    let amounts = [(before, after)];
    Ok(match byte(u)? % 4 {
        0 if n > before && n > after => {
            let mirror = |i: isize| (n - 1) - ((n - 1) - i.abs()).abs();
            Some((
                format!("pad reflect {amounts:?}"),
                t.pad(&amounts, Padding::Reflect),
                nd.select(axis, &positions(&mirror)),
            ))
        }
        1 if n > 0 => {
            let clamp = |i: isize| i.clamp(0, n - 1);
            Some((
                format!("pad replicate {amounts:?}"),
                t.pad(&amounts, Padding::Replicate),
                nd.select(axis, &positions(&clamp)),
            ))
        }
        2 if n > 0 && before <= n && after <= n => {
            let wrap = |i: isize| i.rem_euclid(n);
            Some((
                format!("pad circular {amounts:?}"),
                t.pad(&amounts, Padding::Circular),
                nd.select(axis, &positions(&wrap)),
            ))
        }
        _ => {
            // Negative amounts cut off.
            let (before, after) = (before - 1, after - 1);
            if n + before.min(0) + after.min(0) < 0 {
                return Ok(None);
            }
            let value = nd.number(0.5).at[0];
            let mut shape = nd.shape.clone();
            shape[axis] = (n + before + after) as usize;
            let element = |i: &Vec<usize>| match i[axis] as isize - before {
                k if (0..n).contains(&k) => nd.get(&with(i, axis, k as usize)),
                _ => value,
            };
            let made = nd.with(&shape, indices(&shape).iter().map(element).collect());
            let what = format!("pad constant {:?}", (before, after));
            Some((what, t.pad(&[(before, after)], Padding::Constant(0.5)), made))
        }
    })
}
