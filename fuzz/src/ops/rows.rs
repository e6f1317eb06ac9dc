//! Ops which want certain shapes: a row each, with the engine's call and the
//! reference's formula. Any value is brought to a shape by taking its
//! elements over and over.

use arbitrary::{Result, Unstructured};
use wengert::{Reduction, Tape};

use super::{Made, T, byte, linear, networks};
use crate::nd::Nd;
use crate::program::{Run, Value};

pub struct Row {
    pub name: &'static str,
    pub shapes: &'static [&'static [usize]],
    /// The engine's call; the number chooses between options.
    pub engine: for<'t> fn(&'t Tape<f64>, &[T<'t>], usize) -> T<'t>,
    pub reference: fn(&[Nd], usize) -> Nd,
}

/// Rows: name, shapes of the operands, the engine's call, the formula.
macro_rules! rows {
    ($($name:literal $shapes:expr, |$tape:pat_param, $t:ident, $k:pat_param| $engine:expr, |$x:ident, $n:pat_param| $formula:expr;)*) => {
        &[$($crate::ops::rows::Row {
            name: $name,
            shapes: &$shapes,
            engine: |$tape, $t, $k| $engine,
            reference: |$x, $n| $formula,
        }),*]
    };
}
pub(crate) use rows;

/// The choice of a reduction.
pub fn reduction(k: usize) -> Reduction {
    [Reduction::Mean, Reduction::Sum, Reduction::None][k % 3]
}

/// What it does.
pub fn reduced(losses: Nd, k: usize) -> Nd {
    match k % 3 {
        0 => losses.mean(),
        1 => losses.sum(),
        _ => losses,
    }
}

/// A value brought to a shape.
fn fit<'t>(x: &Value<'t>, shape: &[usize], shift: usize) -> (T<'t>, Nd) {
    if x.nd.shape == shape {
        return (x.tensor, x.nd.clone());
    }
    let n = x.nd.at.len();
    let index: Vec<usize> = (0..shape.iter().product()).map(|i: usize| (i + shift) % n).collect();
    let tensor = x.tensor.reshape([n]).index_select(0, &index).reshape(shape);
    (tensor, x.nd.reshape(&[n]).select(0, &index).reshape(shape))
}

/// One row, on values of the program.
pub fn step<'t>(run: &mut Run<'t>, u: &mut Unstructured<'_>, x: &Value<'t>) -> Result<Made<'t>> {
    let tables = [linear::ROWS, networks::LOSSES, networks::LAYERS];
    let all: usize = tables.iter().map(|t| t.len()).sum();
    let pick = byte(u)? % all;
    let row = tables.into_iter().flatten().nth(pick).expect("a row");
    let k = byte(u)?;
    let (mut tensors, mut nds, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for (i, shape) in row.shapes.iter().enumerate() {
        let value = if i == 0 { x.clone() } else { run.partner(u, x, |_, b| !b.nd.at.is_empty())? };
        if value.nd.at.is_empty() {
            return Ok(None);
        }
        let (tensor, nd) = fit(&value, shape, i);
        tensors.push(tensor);
        nds.push(nd);
        names.push(value.name);
    }
    let made = (row.reference)(&nds, k);
    let tensor = (row.engine)(run.tape, &tensors, k);
    Ok(Some((format!("{}({}; {k})", row.name, names.join(", ")), tensor, made)))
}
