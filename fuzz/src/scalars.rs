//! A graph of single numbers, differentiated one by one.
//!
//! Numbers are dual, so the reverse sweep gives the gradient and, in the dual
//! parts, the product of the Hessian with that direction. Each node also
//! carries a bound of its rounding error, which says how closely anybody
//! else's result has to agree.

use crate::dual::{Dual, dual};

/// Where a function of one number is not smooth: the nearest such point to an
/// argument, for a parameter.
#[derive(Clone, Copy)]
pub enum Edge {
    None,
    /// Its derivative jumps.
    Kink(fn(f64) -> f64),
    /// Its value jumps.
    Jump(fn(f64) -> f64),
    /// Its derivative is infinite.
    Pole(fn(f64, f64) -> f64),
}

/// The same for two.
#[derive(Clone, Copy, PartialEq)]
pub enum Edges {
    None,
    /// The derivative jumps where they are equal.
    Kink,
    /// The value jumps where they are equal.
    Jump,
    /// There is a pole where the second is 0.
    Second,
    /// There is one where both are 0.
    Origin,
    /// The same, and a jump where the first is 0 and the second negative.
    Angle,
}

/// A function of many numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fold {
    Sum,
    Mean,
    Prod,
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
        // The slope changes by about the error too, which is all there is at the
        // bottom of a parabola.
        let inherited = parents.iter().map(|&(x, p)| match self.nodes[x].err {
            0.0 => 0.0,
            err => err * (p.v.abs() + err),
        });
        let err = inherited.fold(8.0 * EPS * value.v.abs(), |a, b| a + b);
        self.push(value, err, parents)
    }

    /// The value of a node is not known.
    fn spoil(&mut self, at: usize) {
        self.nodes[at].err = f64::INFINITY;
        self.ill = true;
    }

    /// There is a singularity at `point`: an error is not to first order any
    /// more where it is large relative to the distance.
    fn keep_off(&mut self, x: usize, point: f64) {
        let Node { value, err, .. } = self.nodes[x];
        let distance = (value.v - point).abs();
        if err > 1e-9 * distance || distance == 0.0 {
            self.spoil(x);
        }
    }

    /// Whether an error may decide on which side of `point` the value lies.
    fn undecided(&self, x: usize, point: f64) -> bool {
        let Node { value, err, .. } = self.nodes[x];
        err > 0.0 && (value.v - point).abs() <= 1e3 * err || !err.is_finite()
    }

    fn undecided_order(&self, a: usize, b: usize) -> bool {
        let err = self.nodes[a].err + self.nodes[b].err;
        let gap = (self.nodes[a].value.v - self.nodes[b].value.v).abs();
        a != b && err > 0.0 && !(gap > 1e3 * err)
    }

    /// A function of one number, by its value and slope; `p` is a parameter
    /// which its edge may depend on.
    pub fn unary(&mut self, x: usize, [value, slope]: [Dual; 2], edge: Edge, p: f64) -> usize {
        let v = self.nodes[x].value.v;
        let mut jumps = false;
        match edge {
            Edge::None => {}
            Edge::Kink(nearest) => self.ill |= self.undecided(x, nearest(v)),
            Edge::Jump(nearest) => jumps = self.undecided(x, nearest(v)),
            Edge::Pole(nearest) => self.keep_off(x, nearest(v, p)),
        }
        let at = self.of(value, vec![(x, slope)]);
        if jumps {
            self.spoil(at);
        }
        at
    }

    /// A function of two numbers, by its value and slopes.
    pub fn binary(&mut self, a: usize, b: usize, [value, da, db]: [Dual; 3], edges: Edges) -> usize {
        let (x, y) = (self.nodes[a].value.v, self.nodes[b].value.v);
        let mut jumps = false;
        match edges {
            Edges::None => {}
            Edges::Kink => self.ill |= self.undecided_order(a, b),
            Edges::Jump => jumps = self.undecided_order(a, b),
            Edges::Second => self.keep_off(b, 0.0),
            Edges::Origin | Edges::Angle => {
                let distance = x.hypot(y);
                let err = self.nodes[a].err + self.nodes[b].err;
                jumps = err > 1e-9 * distance || distance == 0.0;
                jumps |= edges == Edges::Angle && y <= 0.0 && (x == 0.0 || self.undecided(a, 0.0));
            }
        }
        let at = self.of(value, vec![(a, da), (b, db)]);
        // What a sum of them loses.
        self.nodes[at].err += EPS * ((x * da.v).abs() + (y * db.v).abs());
        if jumps {
            self.spoil(at);
        }
        at
    }

    pub fn add(&mut self, a: usize, b: usize) -> usize {
        let value = self.nodes[a].value + self.nodes[b].value;
        self.binary(a, b, [value, dual(1.0), dual(1.0)], Edges::None)
    }

    pub fn mul(&mut self, a: usize, b: usize) -> usize {
        let (x, y) = (self.nodes[a].value, self.nodes[b].value);
        self.binary(a, b, [x * y, y, x], Edges::None)
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
            Fold::Prod => match over.split_first() {
                None => self.leaf(1.0, 0.0),
                Some((&first, rest)) => rest.iter().fold(first, |a, &b| self.mul(a, b)),
            },
            Fold::Amax | Fold::Amin => {
                let best = extreme(&values, f == Fold::Amax);
                let ties: Vec<usize> = (0..over.len()).filter(|&i| values[i].v == best).collect();
                // All but the winner are compared with it.
                if let Some(&first) = ties.first() {
                    self.ill |= over.iter().any(|&x| self.undecided_order(over[first], x));
                }
                let share = dual(1.0 / ties.len() as f64);
                let d = ties.iter().map(|&i| values[i].d).sum::<f64>() * share.v;
                self.of(Dual { v: best, d }, ties.iter().map(|&i| (over[i], share)).collect())
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

    /// The first position of the largest (or smallest) of some numbers, and
    /// whether it is sure.
    pub fn position(&self, over: &[usize], max: bool) -> (usize, bool) {
        let values: Vec<Dual> = over.iter().map(|&x| self.nodes[x].value).collect();
        let best = extreme(&values, max);
        let same = |v: &Dual| v.v == best || v.v.is_nan() && best.is_nan();
        let at = values.iter().position(same).unwrap_or(0);
        let sure = (0..over.len()).all(|i| i == at || !self.undecided_order(over[i], over[at]));
        (at, sure && !best.is_nan())
    }

    /// Marks the program as one whose gradients are not compared.
    pub fn doubt(&mut self, doubt: bool) {
        self.ill |= doubt;
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
