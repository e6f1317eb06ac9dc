//! The reference: a graph of single numbers, differentiated one by one.
//!
//! Numbers are dual (a value and its derivative along one direction of the
//! inputs), so the reverse sweep gives the gradient and, in the dual parts,
//! the product of the Hessian with that direction. Each node also carries a
//! bound of its rounding error, which says how closely anybody else's result
//! has to agree.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// A value, and its derivative along the direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dual {
    pub v: f64,
    pub d: f64,
}

/// A constant.
pub fn dual(v: f64) -> Dual {
    Dual { v, d: 0.0 }
}

impl Add for Dual {
    type Output = Dual;
    fn add(self, o: Dual) -> Dual {
        Dual { v: self.v + o.v, d: self.d + o.d }
    }
}

impl Sub for Dual {
    type Output = Dual;
    fn sub(self, o: Dual) -> Dual {
        Dual { v: self.v - o.v, d: self.d - o.d }
    }
}

impl Mul for Dual {
    type Output = Dual;
    fn mul(self, o: Dual) -> Dual {
        Dual { v: self.v * o.v, d: self.d * o.v + self.v * o.d }
    }
}

impl Div for Dual {
    type Output = Dual;
    fn div(self, o: Dual) -> Dual {
        Dual { v: self.v / o.v, d: self.d / o.v - self.v / o.v * (o.d / o.v) }
    }
}

impl Neg for Dual {
    type Output = Dual;
    fn neg(self) -> Dual {
        Dual { v: -self.v, d: -self.d }
    }
}

impl Dual {
    fn exp(self) -> Dual {
        let v = self.v.exp();
        Dual { v, d: v * self.d }
    }

    fn ln(self) -> Dual {
        Dual { v: self.v.ln(), d: self.d / self.v }
    }

    fn sqrt(self) -> Dual {
        let v = self.v.sqrt();
        Dual { v, d: self.d / (2.0 * v) }
    }

    fn tanh(self) -> Dual {
        let v = self.v.tanh();
        Dual { v, d: (1.0 - v * v) * self.d }
    }

    fn powf(self, p: f64) -> Dual {
        let slope = if p == 0.0 { 0.0 } else { p * self.v.powf(p - 1.0) };
        Dual { v: self.v.powf(p), d: slope * self.d }
    }
}

/// A function of one number.
#[derive(Clone, Copy, Debug)]
pub enum Unary {
    Neg,
    AddScalar(f64),
    SubScalar(f64),
    MulScalar(f64),
    DivScalar(f64),
    ScalarSub(f64),
    ScalarDiv(f64),
    Pow(f64),
    Exp,
    Ln,
    Sqrt,
    Square,
    Recip,
    Abs,
    Tanh,
    Sigmoid,
    Relu,
}

/// A function of two numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Maximum,
    Minimum,
    /// Cross-entropy of a logit with a target.
    Bce,
}

/// A function of many numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fold {
    Sum,
    Mean,
    Amax,
    Amin,
    LogSumExp,
}

struct Node {
    value: Dual,
    /// A bound of the rounding error of the value; infinite where unknown.
    err: f64,
    parents: Vec<(usize, Dual)>,
}

/// The graph.
#[derive(Default)]
pub struct Scalars {
    nodes: Vec<Node>,
    /// Something happened after which gradients of two correct programs may
    /// differ: a value at a kink within rounding, an overflow, a NaN.
    pub ill: bool,
}

/// An adjoint: the gradient and the Hessian product (`sum`), and the same
/// without any cancellation (`size`), which tolerances are relative to.
#[derive(Clone, Copy, Default)]
pub struct Adjoint {
    pub sum: Dual,
    pub size: Dual,
}

const EPS: f64 = f64::EPSILON;

impl Scalars {
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub fn value(&self, at: usize) -> Dual {
        self.nodes[at].value
    }

    pub fn err(&self, at: usize) -> f64 {
        self.nodes[at].err
    }

    /// An input, with its component of the direction.
    pub fn leaf(&mut self, v: f64, d: f64) -> usize {
        self.push(Dual { v, d }, 0.0, Vec::new())
    }

    /// An input whose value was computed.
    pub fn leaf_with_error(&mut self, v: f64, d: f64, err: f64) -> usize {
        self.push(Dual { v, d }, err, Vec::new())
    }

    /// The same value with no history.
    pub fn detach(&mut self, x: usize) -> usize {
        let Node { value, err, .. } = self.nodes[x];
        self.push(dual(value.v), err, Vec::new())
    }

    fn push(&mut self, value: Dual, err: f64, parents: Vec<(usize, Dual)>) -> usize {
        let huge = |x: Dual| !(x.v.abs() < 1e6 && x.d.abs() < 1e6);
        let rough = !(err <= 1e-10 * (1.0 + value.v.abs()));
        self.ill |= rough || huge(value) || parents.iter().any(|p| huge(p.1));
        self.nodes.push(Node { value, err, parents });
        self.nodes.len() - 1
    }

    /// A function of some numbers from its value and slopes.
    fn of(&mut self, value: Dual, parents: Vec<(usize, Dual)>) -> usize {
        let inherited = parents.iter().map(|&(x, p)| match self.nodes[x].err {
            0.0 => 0.0,
            err => err * p.v.abs(),
        });
        let err = inherited.fold(8.0 * EPS * value.v.abs(), |a, b| a + b);
        self.push(value, err, parents)
    }

    /// A function has a singularity at 0: its error is not to first order any
    /// more where its argument's relative error is large.
    fn keep_off_zero(&mut self, x: usize) {
        let Node { value, err, .. } = self.nodes[x];
        if !(err <= 1e-9 * value.v.abs()) || value.v == 0.0 {
            self.nodes[x].err = f64::INFINITY;
            self.ill = true;
        }
    }

    /// A decision is taken by comparing two numbers.
    fn compare(&mut self, a: usize, b: usize) {
        let err = self.nodes[a].err + self.nodes[b].err;
        let gap = (self.nodes[a].value.v - self.nodes[b].value.v).abs();
        if a != b && err > 0.0 && !(gap > 1e3 * err) {
            self.ill = true;
        }
    }

    fn compare_zero(&mut self, x: usize) {
        let Node { value, err, .. } = self.nodes[x];
        if err > 0.0 && !(value.v.abs() > 1e3 * err) {
            self.ill = true;
        }
    }

    pub fn unary(&mut self, f: Unary, x: usize) -> usize {
        let one = dual(1.0);
        let (two, value) = (dual(2.0), self.nodes[x].value);
        match f {
            Unary::ScalarDiv(_) | Unary::Ln | Unary::Sqrt | Unary::Recip => self.keep_off_zero(x),
            Unary::Pow(p) if p.fract() != 0.0 || p < 0.0 => self.keep_off_zero(x),
            Unary::Relu | Unary::Abs => self.compare_zero(x),
            _ => {}
        }
        let (y, slope) = match f {
            Unary::Neg => (-value, -one),
            Unary::AddScalar(p) => (value + dual(p), one),
            Unary::SubScalar(p) => (value - dual(p), one),
            Unary::MulScalar(p) => (value * dual(p), dual(p)),
            Unary::DivScalar(p) => (value / dual(p), dual(1.0 / p)),
            Unary::ScalarSub(p) => (dual(p) - value, -one),
            Unary::ScalarDiv(p) => (dual(p) / value, -(dual(p) / value / value)),
            Unary::Pow(0.0) => (value.powf(0.0), dual(0.0)),
            Unary::Pow(p) => (value.powf(p), dual(p) * value.powf(p - 1.0)),
            Unary::Exp => (value.exp(), value.exp()),
            Unary::Ln => (value.ln(), one / value),
            Unary::Sqrt => (value.sqrt(), one / (two * value.sqrt())),
            Unary::Square => (value * value, two * value),
            Unary::Recip => (one / value, -(one / (value * value))),
            Unary::Abs if value.v > 0.0 => (value, one),
            Unary::Abs if value.v < 0.0 => (-value, -one),
            Unary::Abs => (dual(value.v.abs()), dual(value.v * 0.0)),
            Unary::Tanh => (value.tanh(), one - value.tanh() * value.tanh()),
            Unary::Sigmoid => {
                let y = one / (one + (-value).exp());
                (y, y * (one - y))
            }
            Unary::Relu if value.v > 0.0 => (value, one),
            Unary::Relu if value.v <= 0.0 => (dual(0.0), dual(0.0)),
            Unary::Relu => (value, one),
        };
        let at = self.of(y, vec![(x, slope)]);
        if let Unary::AddScalar(p) | Unary::SubScalar(p) | Unary::ScalarSub(p) = f {
            self.nodes[at].err += EPS * (p.abs() + value.v.abs());
        }
        at
    }

    pub fn binary(&mut self, f: Binary, a: usize, b: usize) -> usize {
        let (x, y) = (self.nodes[a].value, self.nodes[b].value);
        let (one, zero) = (dual(1.0), dual(0.0));
        let (value, da, db) = match f {
            Binary::Add => (x + y, one, one),
            Binary::Sub => (x - y, one, -one),
            Binary::Mul => (x * y, y, x),
            Binary::Div => {
                self.keep_off_zero(b);
                (x / y, one / y, -(x / y / y))
            }
            Binary::Maximum | Binary::Minimum => {
                self.compare(a, b);
                let half = dual(0.5);
                let first = if f == Binary::Maximum { x.v > y.v } else { x.v < y.v };
                if x.v.is_nan() || y.v.is_nan() {
                    (dual(f64::NAN), dual(f64::NAN), dual(f64::NAN))
                } else if x.v == y.v {
                    (Dual { v: x.v, d: 0.5 * (x.d + y.d) }, half, half)
                } else if first {
                    (x, one, zero)
                } else {
                    (y, zero, one)
                }
            }
            Binary::Bce => {
                let hinge = if x.v < 0.0 { zero } else { x };
                let size = if x.v < 0.0 { x } else { -x };
                let value = hinge - x * y + (one + size.exp()).ln();
                (value, one / (one + (-x).exp()) - y, -x)
            }
        };
        let at = self.of(value, vec![(a, da), (b, db)]);
        self.nodes[at].err += match f {
            Binary::Add | Binary::Sub => EPS * (x.v.abs() + y.v.abs()),
            Binary::Bce => 8.0 * EPS * (1.0 + x.v.abs() + (x.v * y.v).abs()),
            _ => 0.0,
        };
        at
    }

    pub fn fold(&mut self, f: Fold, over: &[usize]) -> usize {
        let values: Vec<Dual> = over.iter().map(|&x| self.nodes[x].value).collect();
        let sum = |values: &[Dual]| values.iter().fold(dual(0.0), |a, &b| a + b);
        let n = over.len() as f64;
        let rounding = EPS * (n + 1.0) * values.iter().fold(0.0, |a, b| a + b.v.abs());
        let all = |slope: Dual| over.iter().map(|&x| (x, slope)).collect::<Vec<_>>();
        match f {
            Fold::Sum => {
                let at = self.of(sum(&values), all(dual(1.0)));
                self.nodes[at].err += rounding;
                at
            }
            Fold::Mean => {
                let at = self.of(sum(&values) / dual(n), all(dual(1.0 / n)));
                self.nodes[at].err += rounding / n.max(1.0);
                at
            }
            Fold::Amax | Fold::Amin => {
                let best = extreme(&values, f == Fold::Amax);
                let tied: Vec<usize> = (0..over.len()).filter(|&i| values[i].v == best).collect();
                // All but the winner are compared with it.
                if let Some(&first) = tied.first() {
                    for &x in over {
                        self.compare(over[first], x);
                    }
                }
                let share = dual(1.0 / tied.len() as f64);
                let d = tied.iter().map(|&i| values[i].d).sum::<f64>() * share.v;
                let hits = tied.iter().map(|&i| (over[i], share)).collect();
                self.of(Dual { v: best, d }, hits)
            }
            Fold::LogSumExp => {
                let value = log_sum_exp(&values);
                let slopes = over.iter().zip(&values).map(|(&x, &v)| (x, (v - value).exp())).collect();
                let at = self.of(value, slopes);
                self.nodes[at].err += 8.0 * EPS * (n + 1.0) + rounding / n.max(1.0);
                at
            }
        }
    }

    /// Softmax of a line, or its logarithm.
    pub fn softmax(&mut self, line: &[usize], log: bool) -> Vec<usize> {
        let values: Vec<Dual> = line.iter().map(|&x| self.nodes[x].value).collect();
        let max = dual(extreme(&values, true));
        let powers: Vec<Dual> = values.iter().map(|&v| (v - max).exp()).collect();
        let total = powers.iter().fold(dual(0.0), |a, &b| a + b);
        let soft: Vec<Dual> = powers.iter().map(|&p| p / total).collect();
        let size = values.iter().fold(1.0, |a: f64, v| a.max(v.v.abs()));
        (0..line.len())
            .map(|i| {
                let value = if log { values[i] - max - total.ln() } else { soft[i] };
                let slope = |j: usize| {
                    let hit = dual(f64::from(u8::from(i == j)));
                    if log { hit - soft[j] } else { soft[i] * (hit - soft[j]) }
                };
                let slopes = (0..line.len()).map(|j| (line[j], slope(j))).collect();
                let at = self.of(value, slopes);
                let scale = if log { 1.0 } else { value.v.abs() };
                self.nodes[at].err += 8.0 * EPS * size * (line.len() as f64 + 1.0) * scale;
                at
            })
            .collect()
    }

    /// Adjoints of all nodes, from cotangents of some.
    pub fn backward(&self, roots: &[(usize, f64)]) -> Vec<Adjoint> {
        let mut adjoints = vec![Adjoint::default(); self.nodes.len()];
        for &(root, c) in roots {
            adjoints[root].sum = adjoints[root].sum + dual(c);
            adjoints[root].size = adjoints[root].size + dual(c.abs());
        }
        for at in (0..self.nodes.len()).rev() {
            let Adjoint { sum, size } = adjoints[at];
            if size.v == 0.0 {
                continue;
            }
            for &(x, slope) in &self.nodes[at].parents {
                let to = &mut adjoints[x];
                to.sum = to.sum + sum * slope;
                // A slope may itself be a difference of numbers of size 1.
                let bound = Dual { v: slope.v.abs() + 1e-8, d: slope.d.abs() + 1e-8 };
                to.size = to.size + size * bound;
            }
        }
        adjoints
    }
}

fn extreme(values: &[Dual], max: bool) -> f64 {
    let start = if max { f64::NEG_INFINITY } else { f64::INFINITY };
    values.iter().fold(start, |a, b| match (a.is_nan() || b.v.is_nan(), max) {
        (true, _) => f64::NAN,
        (_, true) => a.max(b.v),
        (_, false) => a.min(b.v),
    })
}

fn log_sum_exp(values: &[Dual]) -> Dual {
    let max = extreme(values, true);
    let shift = dual(if max.is_finite() { max } else { 0.0 });
    values.iter().fold(dual(0.0), |a, &v| a + (v - shift).exp()).ln() + shift
}

/// A tensor: a shape over nodes, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Nd {
    pub shape: Vec<usize>,
    pub at: Vec<usize>,
}

/// All indices of a shape, row-major.
pub fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for &n in shape {
        all = all.iter().flat_map(|i| (0..n).map(move |k| [i.as_slice(), &[k]].concat())).collect();
    }
    all
}

/// Where an index stands in row-major order.
pub fn offset(shape: &[usize], index: &[usize]) -> usize {
    index.iter().zip(shape).fold(0, |at, (i, n)| at * n + i)
}

/// NumPy's rule.
pub fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let pad = |s: &[usize]| [vec![1; rank - s.len()], s.to_vec()].concat();
    let fit = |(x, y): (usize, usize)| match (x, y) {
        (1, n) | (n, 1) => Some(n),
        (x, y) => (x == y).then_some(x),
    };
    pad(a).into_iter().zip(pad(b)).map(fit).collect()
}

impl Nd {
    pub fn get(&self, index: &[usize]) -> usize {
        self.at[offset(&self.shape, index)]
    }

    /// The tensor of this shape whose element at an index is that of `self` at `f(index)`.
    pub fn gather(&self, shape: &[usize], f: impl Fn(&[usize]) -> Vec<usize>) -> Nd {
        let at = indices(shape).iter().map(|i| self.get(&f(i))).collect();
        Nd { shape: shape.to_vec(), at }
    }

    pub fn reshape(&self, shape: &[usize]) -> Nd {
        Nd { shape: shape.to_vec(), at: self.at.clone() }
    }

    pub fn permute(&self, axes: &[usize]) -> Nd {
        let shape: Vec<usize> = axes.iter().map(|&a| self.shape[a]).collect();
        self.gather(&shape, |index| {
            let mut from = vec![0; axes.len()];
            axes.iter().zip(index).for_each(|(&a, &i)| from[a] = i);
            from
        })
    }

    pub fn broadcast_to(&self, shape: &[usize]) -> Nd {
        let lead = shape.len() - self.shape.len();
        self.gather(shape, |index| {
            let clamp = |(&i, &n): (&usize, &usize)| if n == 1 { 0 } else { i };
            index[lead..].iter().zip(&self.shape).map(clamp).collect()
        })
    }

    pub fn map(&self, mut f: impl FnMut(usize) -> usize) -> Nd {
        Nd { shape: self.shape.clone(), at: self.at.iter().map(|&x| f(x)).collect() }
    }

    /// Elementwise with broadcasting; the shapes fit.
    pub fn zip(&self, other: &Nd, mut f: impl FnMut(usize, usize) -> usize) -> Nd {
        let shape = broadcast(&self.shape, &other.shape).expect("shapes fit");
        let (a, b) = (self.broadcast_to(&shape), other.broadcast_to(&shape));
        let at = a.at.iter().zip(&b.at).map(|(&x, &y)| f(x, y)).collect();
        Nd { shape, at }
    }

    /// Folds the axes of a mask.
    pub fn fold(&self, mask: u32, keep: bool, mut f: impl FnMut(&[usize]) -> usize) -> Nd {
        let reduced = |i: usize| mask >> i & 1 == 1;
        let kept: Vec<usize> = self.shape.iter().enumerate().map(|(i, &n)| if reduced(i) { 1 } else { n }).collect();
        let mut lines = vec![Vec::new(); kept.iter().product()];
        for (index, &x) in indices(&self.shape).iter().zip(&self.at) {
            let to: Vec<usize> = index.iter().enumerate().map(|(i, &k)| if reduced(i) { 0 } else { k }).collect();
            lines[offset(&kept, &to)].push(x);
        }
        let at = lines.iter().map(|line| f(line)).collect();
        let shape = kept.into_iter().enumerate().filter(|&(i, _)| keep || !reduced(i)).map(|(_, n)| n).collect();
        Nd { shape, at }
    }

    /// Applies `f` to every line along an axis.
    pub fn lines(&self, axis: usize, mut f: impl FnMut(&[usize]) -> Vec<usize>) -> Nd {
        let mut out = self.clone();
        for index in indices(&self.shape).iter().filter(|i| i[axis] == 0) {
            let along = |k: usize| {
                let mut index = index.clone();
                index[axis] = k;
                offset(&self.shape, &index)
            };
            let line: Vec<usize> = (0..self.shape[axis]).map(|k| self.at[along(k)]).collect();
            f(&line).into_iter().enumerate().for_each(|(k, x)| out.at[along(k)] = x);
        }
        out
    }

    /// The matrix product; `None` where shapes do not fit.
    pub fn matmul(&self, other: &Nd, s: &mut Scalars) -> Option<Nd> {
        let (mut a, mut b) = (self.clone(), other.clone());
        if a.shape.is_empty() || b.shape.is_empty() {
            return None;
        }
        let (row, column) = (a.shape.len() == 1, b.shape.len() == 1);
        if row {
            a.shape.insert(0, 1);
        }
        if column {
            b.shape.push(1);
        }
        let (i, j) = (a.shape.len() - 2, b.shape.len() - 2);
        if a.shape[i + 1] != b.shape[j] {
            return None;
        }
        let batch = broadcast(&a.shape[..i], &b.shape[..j])?;
        let (m, k, n) = (a.shape[i], b.shape[j], b.shape[j + 1]);
        let a = a.broadcast_to(&[batch.as_slice(), &[m, k]].concat());
        let b = b.broadcast_to(&[batch.as_slice(), &[k, n]].concat());
        let mut shape = [batch.as_slice(), &[m, n]].concat();
        let mut at = Vec::new();
        for index in indices(&shape) {
            let (batch, matrix) = index.split_at(index.len() - 2);
            let products: Vec<usize> = (0..k)
                .map(|p| {
                    let x = a.get(&[batch, &[matrix[0], p]].concat());
                    let y = b.get(&[batch, &[p, matrix[1]]].concat());
                    s.binary(Binary::Mul, x, y)
                })
                .collect();
            at.push(s.fold(Fold::Sum, &products));
        }
        if column {
            shape.pop();
        }
        if row {
            shape.remove(shape.len() - if column { 1 } else { 2 });
        }
        Some(Nd { shape, at })
    }
}
