//! Products, equations, linear algebra, and what records a block.

use arbitrary::{Result, Unstructured};
use wengert::{Tape, Triangular};

use super::rows::{Row, rows};
use super::{Made, T, byte};
use crate::nd::Nd;
use crate::program::{MAX_NODES, Run, Value};
use crate::scalars::Fold;

const SQUARE: &[usize] = &[3, 3];

/// Diagonally dominant, whatever `x` is.
fn regular<'t>(tape: &'t Tape<f64>, x: T<'t>) -> T<'t> {
    x.tanh() * 0.3 + tape.eye(3) * 2.0
}

fn definite<'t>(tape: &'t Tape<f64>, x: T<'t>) -> T<'t> {
    let x = x.tanh();
    x.matmul(x.t()) + tape.eye(3) * 4.0
}

fn eye(like: &Nd) -> Nd {
    Nd::constant(&like.graph, SQUARE, &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0])
}

fn regular_nd(x: &Nd) -> Nd {
    x.f("tanh") * 0.3 + eye(x) * 2.0
}

fn definite_nd(x: &Nd) -> Nd {
    let x = x.f("tanh");
    x.matmul(&x.t()).expect("square") + eye(&x) * 4.0
}

/// Rows of single numbers.
type Table = Vec<Vec<Nd>>;

fn table(x: &Nd) -> Table {
    let number = |i, j| x.with(&[], vec![x.get(&[i, j])]);
    (0..x.shape[0]).map(|i| (0..x.shape[1]).map(|j| number(i, j)).collect()).collect()
}

fn assemble(table: &Table) -> Nd {
    let at = table.iter().flatten().map(|x| x.at[0]).collect();
    table[0][0].with(&[table.len(), table[0].len()], at)
}

fn cholesky(x: &Nd) -> Nd {
    let a = table(x);
    let mut l: Table = vec![vec![x.number(0.0); 3]; 3];
    for i in 0..3 {
        for j in 0..=i {
            let rest = (0..j).fold(a[i][j].clone(), |sum, k| sum - &l[i][k] * &l[j][k]);
            l[i][j] = if i == j { rest.f("sqrt") } else { rest / &l[j][j] };
        }
    }
    // What has no factor has none in part.
    if (0..3).any(|i| l[i][i].values()[0].is_nan()) {
        (0..3).for_each(|i| l[i][..=i].fill(x.number(f64::NAN)));
    }
    assemble(&l)
}

/// Gauss's elimination without pivoting: the upper triangle, and `b` after it.
fn eliminated(a: &Nd, b: &Nd) -> (Table, Table) {
    let (mut a, mut b) = (table(a), table(b));
    for k in 0..3 {
        for i in k + 1..3 {
            let factor = &a[i][k] / &a[k][k];
            for j in k..3 {
                a[i][j] = &a[i][j] - &factor * &a[k][j];
            }
            for j in 0..b[i].len() {
                b[i][j] = &b[i][j] - &factor * &b[k][j];
            }
        }
    }
    (a, b)
}

/// Substitution in a triangle, from the end or from the start.
fn substituted(a: &Table, mut b: Table, upper: bool, unit: bool) -> Nd {
    let order: Vec<usize> = if upper { (0..3).rev().collect() } else { (0..3).collect() };
    for (done, &i) in order.iter().enumerate() {
        for j in 0..b[i].len() {
            let rest = order[..done].iter().fold(b[i][j].clone(), |sum, &k| sum - &a[i][k] * &b[k][j]);
            b[i][j] = if unit { rest } else { rest / &a[i][i] };
        }
    }
    assemble(&b)
}

fn solve(a: &Nd, b: &Nd) -> Nd {
    let (a, b) = eliminated(a, b);
    substituted(&a, b, true, false)
}

fn det(x: &Nd) -> Nd {
    let a = table(x);
    let minor = |i: usize, j: usize| &a[1][i] * &a[2][j] - &a[1][j] * &a[2][i];
    &a[0][0] * minor(1, 2) - &a[0][1] * minor(0, 2) + &a[0][2] * minor(0, 1)
}

/// Every matrix of a batch by itself.
fn each(x: &Nd, f: impl Fn(&Nd) -> Nd) -> Nd {
    let made: Vec<Nd> = (0..x.shape[0]).map(|i| f(&x.slice(0, i))).collect();
    let stacked: Vec<Nd> = made.iter().map(|m| m.reshape(&[&[1], &m.shape[..]].concat())).collect();
    Nd::concat(&stacked, 0)
}

fn triangle(k: usize) -> Triangular {
    [Triangular::Lower, Triangular::Upper, Triangular::UnitLower, Triangular::UnitUpper][k % 4]
}

fn product(a: &Nd, b: &Nd) -> Nd {
    a.matmul(b).expect("shapes which fit")
}

pub const ROWS: &[Row] = rows! {
    "dot" [&[4], &[4]], |_, t, _| t[0].dot(t[1]), |x, _| (&x[0] * &x[1]).sum();
    "outer" [&[3], &[2]], |_, t, _| t[0].outer(t[1]), |x, _| x[0].reshape(&[3, 1]) * &x[1];
    "trace" [&[2, 3, 3]], |_, t, _| t[0].trace(), |x, _| (&x[0] * eye(&x[0])).fold(6, false, |s, line| s.fold(Fold::Sum, line));
    "cholesky" [SQUARE], |tape, t, _| definite(tape, t[0]).cholesky(), |x, _| cholesky(&definite_nd(&x[0]));
    "solve" [SQUARE, &[3, 2]], |tape, t, _| regular(tape, t[0]).solve(t[1]), |x, _| solve(&regular_nd(&x[0]), &x[1]);
    "solve a vector" [SQUARE, &[3]], |tape, t, _| regular(tape, t[0]).solve(t[1]),
        |x, _| solve(&regular_nd(&x[0]), &x[1].reshape(&[3, 1])).reshape(&[3]);
    "solve_triangular" [SQUARE, &[3, 2]], |tape, t, k| regular(tape, t[0]).solve_triangular(t[1], triangle(k)),
        |x, k| substituted(&table(&regular_nd(&x[0])), table(&x[1]), k % 2 == 1, k % 4 > 1);
    "inverse" [&[2, 3, 3]], |tape, t, _| regular(tape, t[0]).inverse(),
        |x, _| each(&x[0], |m| solve(&regular_nd(m), &eye(m)));
    "det" [&[2, 3, 3]], |_, t, _| t[0].det(), |x, _| each(&x[0], det);
    "logdet" [SQUARE], |tape, t, _| definite(tape, t[0]).logdet(), |x, _| det(&definite_nd(&x[0])).f("ln");
    "slogdet" [SQUARE], |tape, t, _| {
        let (sign, log) = regular(tape, t[0]).slogdet();
        log * sign
    }, |x, _| det(&regular_nd(&x[0])).f("ln");
    "einsum ij,jk->ki" [&[2, 3], &[3, 4]], |tape, t, _| tape.einsum("ij,jk->ki", [t[0], t[1]]),
        |x, _| product(&x[0], &x[1]).t();
    "einsum ...i,i" [&[2, 2, 3], &[3]], |tape, t, _| tape.einsum("...i,i", [t[0], t[1]]), |x, _| product(&x[0], &x[1]);
    "einsum ii,i->i" [SQUARE, &[3]], |tape, t, _| tape.einsum("ii,i->i", [t[0], t[1]]),
        |x, _| (&x[0] * eye(&x[0])).fold_axis(Fold::Sum, 1) * &x[1];
    "einsum i,j,ij->" [&[2], &[3], &[2, 3]], |tape, t, _| tape.einsum("i,j,ij->", [t[0], t[1], t[2]]),
        |x, _| (x[0].reshape(&[2, 1]) * &x[1] * &x[2]).sum();
    "checkpoint" [&[2, 3], &[3]], |tape, t, _| tape.checkpoint([t[0], t[1]], |_, x| (x[0].tanh() * x[1]).sigmoid() + x[0]),
        |x, _| (x[0].f("tanh") * &x[1]).f("sigmoid") + &x[0];
    "on_backward" [&[2, 3]], |_, t, _| t[0].sin().on_backward(|g| g + g * 0.0), |x, _| x[0].f("sin");
};

/// A product of any two values which fit, of either transposed.
pub fn matmul<'t>(run: &mut Run<'t>, u: &mut Unstructured<'_>, x: &Value<'t>) -> Result<Made<'t>> {
    let (turn, start) = (byte(u)?, byte(u)?);
    if x.nd.shape.is_empty() {
        return Ok(None);
    }
    let turned = |v: &Value<'t>, turn: bool| match turn && v.nd.rank() > 1 {
        true => Value { tensor: v.tensor.t(), nd: v.nd.t(), param: None, name: format!("{}^T", v.name) },
        false => v.clone(),
    };
    let a = turned(x, turn & 1 == 1);
    let rows = a.nd.at.len() / a.nd.shape[a.nd.rank() - 1].max(1);
    for k in 0..run.values.len() {
        let b = turned(&run.values[(start + k) % run.values.len()], turn & 2 == 2);
        if rows * b.nd.at.len().max(1) * 4 > MAX_NODES {
            continue;
        }
        let Some(nd) = a.nd.matmul(&b.nd) else { continue };
        let tensor = match b.param {
            Some(p) => a.tensor.matmul(&run.params[p]),
            None => a.tensor.matmul(b.tensor),
        };
        return Ok(Some((format!("matmul({}, {})", a.name, b.name), tensor, nd)));
    }
    Ok(None)
}
