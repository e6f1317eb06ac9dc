//! Reductions, scans, softmax.

use arbitrary::{Result, Unstructured};

use super::{Made, byte, signed};
use crate::nd::Nd;
use crate::program::Value;
use crate::scalars::{Fold, Scalars};

/// The engine's reduction with axes dropped or kept, and its name.
macro_rules! reduce {
    ($x:ident, $keep:ident, $axes:expr, $name:literal: $drop:ident $stay:ident $(($p:expr))?) => {
        ($name, if $keep { $x.$stay($($p,)? $axes) } else { $x.$drop($($p,)? $axes) })
    };
}

/// The squares of what is off the mean, added up and divided.
fn variance(nd: &Nd, mask: u32, keep: bool, correction: f64) -> Nd {
    let mean = nd.fold(mask, true, |s, line| s.fold(Fold::Mean, line));
    let squares = (nd - &mean).f("square");
    let n = nd.shape.iter().enumerate().filter(|&(i, _)| mask >> i & 1 == 1).map(|(_, n)| n).product::<usize>();
    let sum = squares.fold(mask, keep, |s, line| s.fold(Fold::Sum, line));
    sum / (n as f64 - correction).max(0.0)
}

fn norm(nd: &Nd, mask: u32, keep: bool, p: f64) -> Nd {
    let fold = |nd: &Nd, f| nd.fold(mask, keep, |s, line| s.fold(f, line));
    let size = nd.f("abs");
    match p {
        f64::INFINITY => fold(&size, Fold::Amax),
        f64::NEG_INFINITY => fold(&size, Fold::Amin),
        0.0 => fold(&size.mask("gt", 0.0), Fold::Sum),
        1.0 => fold(&size, Fold::Sum),
        2.0 => fold(&nd.f("square"), Fold::Sum).f("sqrt"),
        p => fold(&size.f_with("powf", p), Fold::Sum).f_with("powf", 1.0 / p),
    }
}

/// One op on `x`.
pub fn step<'t>(u: &mut Unstructured<'_>, x: &Value<'t>) -> Result<Made<'t>> {
    if byte(u)? % 3 == 0 {
        return along(u, x);
    }
    let (code, mask, keep) = (byte(u)? % 9, u32::from(u.arbitrary::<u8>()?), u.arbitrary::<bool>()?);
    let p = [0.0, 1.0, 2.0, 3.0, f64::INFINITY, f64::NEG_INFINITY, 2.0, 1.5][byte(u)? % 8];
    let (nd, rank) = (&x.nd, x.nd.rank());
    let mask = mask & ((1 << rank) - 1);
    let axes: Vec<isize> = (0..rank as isize).filter(|a| mask >> a & 1 == 1).collect();
    let axes = axes.as_slice();
    let nothing = (0..rank).any(|a| mask >> a & 1 == 1 && nd.shape[a] == 0);
    // Choosing from nothing is refused.
    let chooses = matches!(code, 2 | 3) || code == 8 && p.is_infinite();
    if chooses && nothing {
        return Ok(None);
    }
    let correction = f64::from(u8::from(p == 1.0));
    let t = x.tensor;
    let (name, tensor) = match code {
        0 => reduce!(t, keep, axes, "sum": sum_axes sum_keepdim),
        1 => reduce!(t, keep, axes, "mean": mean_axes mean_keepdim),
        2 => reduce!(t, keep, axes, "amax": amax_axes amax_keepdim),
        3 => reduce!(t, keep, axes, "amin": amin_axes amin_keepdim),
        4 => reduce!(t, keep, axes, "logsumexp": logsumexp_axes logsumexp_keepdim),
        5 => reduce!(t, keep, axes, "prod": prod_axes prod_keepdim),
        6 => reduce!(t, keep, axes, "var": var_axes var_keepdim(correction)),
        7 => reduce!(t, keep, axes, "std": std_axes std_keepdim(correction)),
        _ => reduce!(t, keep, axes, "norm": norm_axes norm_keepdim(p)),
    };
    let fold = |f| nd.fold(mask, keep, |s: &mut Scalars, line: &[usize]| s.fold(f, line));
    let made = match code {
        0 => fold(Fold::Sum),
        1 => fold(Fold::Mean),
        2 => fold(Fold::Amax),
        3 => fold(Fold::Amin),
        4 => fold(Fold::LogSumExp),
        5 => fold(Fold::Prod),
        6 => variance(nd, mask, keep, correction),
        7 => variance(nd, mask, keep, correction).f("sqrt"),
        _ => norm(nd, mask, keep, p),
    };
    Ok(Some((format!("{name}({}, axes {axes:?}, keep {keep}, {p})", x.name), tensor, made)))
}

/// Along one axis: softmax, scans, extremes with their position.
fn along<'t>(u: &mut Unstructured<'_>, x: &Value<'t>) -> Result<Made<'t>> {
    let (code, rank, t, nd) = (byte(u)? % 9, x.nd.rank(), x.tensor, &x.nd);
    if rank == 0 {
        return Ok(None);
    }
    let axis = byte(u)? % rank;
    let at = signed(u, axis, rank)?;
    if code >= 5 && nd.shape[axis] == 0 {
        return Ok(None);
    }
    let scan = |f: Fold| nd.lines(axis, |s, line| (1..=line.len()).map(|n| s.fold(f, &line[..n])).collect());
    let extreme = |max: bool| {
        nd.fold(1 << axis, false, |s, line| {
            let (at, sure) = s.position(line, max);
            s.doubt(!sure);
            line[at]
        })
    };
    let position = |max: bool| {
        nd.fold(1 << axis, false, |s, line| {
            let (at, sure) = s.position(line, max);
            s.leaf_with_error(at as f64, 0.0, if sure { 0.0 } else { f64::INFINITY })
        })
    };
    let positions = |at: wengert::Indices<'t>| {
        let values: Vec<f64> = at.as_slice().iter().map(|&i| i as f64).collect();
        t.tape().input(at.shape(), &values)
    };
    let (name, tensor, made) = match code {
        0 => ("softmax", t.softmax(at), nd.softmax(axis, false)),
        1 => ("log_softmax", t.log_softmax(at), nd.softmax(axis, true)),
        2 => ("cumsum", t.cumsum(at), scan(Fold::Sum)),
        3 => ("cumprod", t.cumprod(at), scan(Fold::Prod)),
        4 => ("logcumsumexp", t.logcumsumexp(at), scan(Fold::LogSumExp)),
        5 => ("max_axis", t.max_axis(at).0, extreme(true)),
        6 => ("min_axis", t.min_axis(at).0, extreme(false)),
        7 => ("argmax", positions(t.argmax(at)), position(true)),
        _ => ("argmin", positions(t.argmin(at)), position(false)),
    };
    Ok(Some((format!("{name}({}, axis {at})", x.name), tensor, made)))
}
