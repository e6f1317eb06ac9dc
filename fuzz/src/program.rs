//! Random programs of ops.
//!
//! A program is decoded and run in lock step: the shapes which are there say
//! what may come next, so nothing is built which the engine documents to
//! refuse. Every op runs on the engine and on the reference, and every value
//! is compared; at the end, gradients of every leaf by the plain sweep, by the
//! recorded one, and products of the Hessian with a direction.
//!
//! Tame programs start from small multiples of 1/4, so that ties and zeros
//! are frequent and exact. Wild ones start from infinities, NaN and ±1e4:
//! values have to agree, and the two sweeps with each other.

use arbitrary::{Result, Unstructured};
use wengert::{Gradients, Param, Params, Tape, Tensor};

use crate::reference::{Binary, Fold, Nd, Scalars, Unary, broadcast};

const MAX_ELEMENTS: usize = 128;
const MAX_NODES: usize = 6000;
const MAX_STEPS: usize = 14;

/// What an input is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Leaf,
    Constant,
    Param(Param),
}

/// A tensor of the program, on both sides.
#[derive(Clone)]
struct Value<'t> {
    tensor: Tensor<'t, f64>,
    nd: Nd,
    /// Used as `&params[p]` where it stands on the right of an operator.
    param: Option<Param>,
}

/// A program under way.
struct Run<'t> {
    tape: &'t Tape<f64>,
    params: &'t Params<f64>,
    scalars: Scalars,
    values: Vec<Value<'t>>,
    /// Those which want their gradient, as positions in `values`.
    leaves: Vec<usize>,
    log: Vec<String>,
}

/// Runs the program which these bytes are, twice over one tape.
pub fn check(bytes: &[u8]) {
    let mut u = Unstructured::new(bytes);
    let Ok((params, inputs, wild)) = inputs(&mut u) else { return };
    let mut tape = Tape::new_f64();
    let mut first: Option<Vec<u64>> = None;
    for _ in 0..2 {
        tape.rewind();
        let mut u = Unstructured::new(u.peek_bytes(u.len()).unwrap_or(&[]));
        let Ok(bits) = run(&tape, &params, &inputs, wild, &mut u) else { return };
        match &first {
            Some(first) => assert_eq!(*first, bits, "the second turn gives other bits"),
            None => first = Some(bits),
        }
    }
}

type Input = (Vec<usize>, Vec<f64>, Kind);

fn inputs(u: &mut Unstructured<'_>) -> Result<(Params<f64>, Vec<Input>, bool)> {
    let mut params = Params::new_f64();
    let wild = u.arbitrary::<u8>()? % 8 == 7;
    let mut inputs = Vec::new();
    for _ in 0..1 + u.arbitrary::<u8>()? % 4 {
        let shape = shape(u)?;
        let values = (0..shape.iter().product()).map(|_| number(u, wild)).collect::<Result<Vec<f64>>>()?;
        let kind = match u.arbitrary::<u8>()? % 8 {
            0 => Kind::Constant,
            1..4 => Kind::Leaf,
            k => {
                let p = params.add("p", &shape, &values);
                if k == 7 {
                    params.freeze(p);
                }
                Kind::Param(p)
            }
        };
        inputs.push((shape, values, kind));
    }
    Ok((params, inputs, wild))
}

/// A shape of rank 0 to 4, of lengths 0 to 4: seldom empty, often the same.
fn shape(u: &mut Unstructured<'_>) -> Result<Vec<usize>> {
    let rank = [0, 1, 1, 2, 2, 2, 3, 4][usize::from(u.arbitrary::<u8>()? % 8)];
    let mut shape = Vec::new();
    for _ in 0..rank {
        let n = [2, 3, 1, 2, 3, 1, 4, 0][usize::from(u.arbitrary::<u8>()? % 8)];
        shape.push(n);
    }
    if shape.iter().product::<usize>() > MAX_ELEMENTS {
        shape.truncate(2);
    }
    Ok(shape)
}

fn number(u: &mut Unstructured<'_>, wild: bool) -> Result<f64> {
    let byte = u.arbitrary::<u8>()?;
    let special = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e4, -1e4, 0.0, -0.0, 1e-300];
    Ok(match wild && byte & 1 == 1 {
        true => special[usize::from(byte >> 1) % special.len()],
        false => f64::from(byte as i8 >> 2) / 4.0 - if byte & 2 == 2 { 0.1 } else { 0.0 },
    })
}

/// A component of the direction along which second derivatives are taken.
fn direction(i: usize) -> f64 {
    ((i * 7 + 3) % 11) as f64 / 5.0 - 1.0
}

/// The root's cotangent.
fn cotangent(i: usize) -> f64 {
    ((i * 5 + 2) % 7) as f64 / 4.0 - 0.5
}

fn run<'t>(
    tape: &'t Tape<f64>,
    params: &'t Params<f64>,
    inputs: &[Input],
    wild: bool,
    u: &mut Unstructured<'_>,
) -> Result<Vec<u64>> {
    let mut run =
        Run { tape, params, scalars: Scalars::default(), values: Vec::new(), leaves: Vec::new(), log: Vec::new() };
    for (shape, values, kind) in inputs {
        let (tensor, param) = match *kind {
            Kind::Leaf => (tape.input(shape, values).require_grad(), None),
            Kind::Constant => (tape.input(shape, values), None),
            Kind::Param(p) => (tape.param(&params[p]), Some(p)),
        };
        let tracked = tensor.requires_grad();
        let scalars = &mut run.scalars;
        let leaf = |(i, &v): (usize, &f64)| scalars.leaf(v, if tracked { direction(i) } else { 0.0 });
        let at = values.iter().enumerate().map(leaf).collect();
        if tracked {
            run.leaves.push(run.values.len());
        }
        run.log.push(format!("#{} = {kind:?} {shape:?} {values:?}", run.values.len()));
        run.values.push(Value { tensor, nd: Nd { shape: shape.clone(), at }, param });
    }
    for _ in 0..MAX_STEPS {
        if u.is_empty() || run.scalars.len() > MAX_NODES {
            break;
        }
        run.step(u)?;
    }
    Ok(run.finish(wild))
}

impl<'t> Run<'t> {
    fn push(&mut self, what: String, tensor: Tensor<'t, f64>, nd: Nd) {
        self.log.push(format!("#{} = {what}", self.values.len()));
        assert_eq!(tensor.shape(), nd.shape, "shapes differ\n{}", self.log.join("\n"));
        for (i, (&at, got)) in nd.at.iter().zip(tensor.to_vec()).enumerate() {
            let (want, err) = (self.scalars.value(at).v, self.scalars.err(at));
            let close = (want - got).abs() <= 1e3 * err + f64::MIN_POSITIVE;
            if !(close || same(want, got) || !err.is_finite() || want.abs() > 1e300) {
                panic!("element {i} is {got}, not {want} (err {err:e})\n{}", self.log.join("\n"));
            }
        }
        self.values.push(Value { tensor, nd, param: None });
    }

    fn pick(&self, u: &mut Unstructured<'_>) -> Result<usize> {
        // Late values first, so that programs grow deep.
        let back = usize::from(u.arbitrary::<u8>()?);
        Ok(self.values.len() - 1 - back % self.values.len())
    }

    /// A second operand from `start` on which fits; the first always does.
    fn partner(&self, a: usize, start: usize, fits: impl Fn(&Nd, &Nd) -> bool) -> usize {
        let n = self.values.len();
        (0..n).map(|k| (start + k) % n).find(|&b| fits(&self.values[a].nd, &self.values[b].nd)).unwrap_or(a)
    }

    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let (code, i) = (u.arbitrary::<u8>()?, self.pick(u)?);
        let x = self.values[i].clone();
        match code % 16 {
            0..4 => self.binary(u, i),
            4..8 => self.unary(u, i),
            8 => self.with_scalar(u, i),
            9 => self.matmul(u, i),
            10 | 11 => self.reduce(u, i),
            12 | 13 => self.view(u, i),
            14 => self.loss(u, i),
            _ => {
                let (what, tensor, nd) = match u.arbitrary::<u8>()? % 4 {
                    0 => ("detach", x.tensor.detach(), x.nd.map(|x| self.scalars.detach(x))),
                    1 => {
                        let y = self.tape.no_grad(|| x.tensor.tanh() * x.tensor);
                        let nd = x.nd.map(|x| {
                            let t = self.scalars.unary(Unary::Tanh, x);
                            let y = self.scalars.binary(Binary::Mul, t, x);
                            self.scalars.detach(y)
                        });
                        ("no_grad(tanh(x) x)", y, nd)
                    }
                    2 if self.scalars.ill => return Ok(()),
                    2 => {
                        let y = x.tensor.detach().require_grad();
                        let mut k = 0;
                        let nd = x.nd.map(|x| {
                            k += 1;
                            let (v, err) = (self.scalars.value(x).v, self.scalars.err(x));
                            self.scalars.leaf_with_error(v, direction(k), err)
                        });
                        self.leaves.push(self.values.len());
                        ("detach, require_grad", y, nd)
                    }
                    _ if x.tensor.requires_grad() => ("retain_grad", x.tensor.retain_grad(), x.nd),
                    _ => return Ok(()),
                };
                self.push(format!("{what}(#{i})"), tensor, nd);
                Ok(())
            }
        }
    }

    fn binary(&mut self, u: &mut Unstructured<'_>, i: usize) -> Result<()> {
        let (code, start) = (u.arbitrary::<u8>()? % 8, self.pick(u)?);
        let fits =
            |a: &Nd, b: &Nd| broadcast(&a.shape, &b.shape).is_some_and(|s| s.iter().product::<usize>() <= MAX_ELEMENTS);
        let j = self.partner(i, start, fits);
        let (a, b) = (self.values[i].clone(), self.values[j].clone());
        let (f, name) = [
            (Binary::Add, "add"),
            (Binary::Sub, "sub"),
            (Binary::Mul, "mul"),
            (Binary::Div, "div"),
            (Binary::Maximum, "maximum"),
            (Binary::Minimum, "minimum"),
            (Binary::Mul, "mul"),
            (Binary::Add, "add"),
        ][usize::from(code)];
        let x = a.tensor;
        let tensor = match (f, b.param) {
            (Binary::Add, Some(p)) => x + &self.params[p],
            (Binary::Mul, Some(p)) => x * &self.params[p],
            (Binary::Sub, Some(p)) => x - &self.params[p],
            (Binary::Add, None) => x + b.tensor,
            (Binary::Sub, None) => x - b.tensor,
            (Binary::Mul, None) => x * b.tensor,
            (Binary::Div, _) => x / b.tensor,
            (Binary::Maximum, _) => x.maximum(b.tensor),
            (_, _) => x.minimum(b.tensor),
        };
        let nd = a.nd.zip(&b.nd, |x, y| self.scalars.binary(f, x, y));
        self.push(format!("{name}(#{i}, #{j})"), tensor, nd);
        Ok(())
    }

    fn unary(&mut self, u: &mut Unstructured<'_>, mut i: usize) -> Result<()> {
        let code = u.arbitrary::<u8>()? % 16;
        let power = f64::from(u.arbitrary::<u8>()? % 11) / 2.0 - 1.5;
        let n = power.floor() as i32;
        // Mostly keep those with a pole away from it.
        if matches!(code, 1 | 2 | 7 | 9) && u.arbitrary::<u8>()? % 4 > 0 {
            let x = self.values[i].clone();
            let nd = x.nd.map(|x| {
                let s = self.scalars.unary(Unary::Square, x);
                self.scalars.unary(Unary::AddScalar(0.5), s)
            });
            self.push(format!("#{i}^2 + 0.5"), x.tensor.square() + 0.5, nd);
            i = self.values.len() - 1;
        }
        let x = self.values[i].tensor;
        let (tensor, f) = match code {
            0 => (x.exp(), Unary::Exp),
            1 => (x.ln(), Unary::Ln),
            2 => (x.sqrt(), Unary::Sqrt),
            3 => (x.square(), Unary::Square),
            4 => (x.tanh(), Unary::Tanh),
            5 => (x.sigmoid(), Unary::Sigmoid),
            6 => (x.relu(), Unary::Relu),
            7 => (x.recip(), Unary::Recip),
            8 => (x.abs(), Unary::Abs),
            9 => (x.powf(power), Unary::Pow(power)),
            10 => (x.powi(n), if n == 2 { Unary::Square } else { Unary::Pow(n.into()) }),
            11 => (-x, Unary::Neg),
            12 => (x.tanh(), Unary::Tanh),
            13 => (x.sigmoid(), Unary::Sigmoid),
            14 => (x.relu(), Unary::Relu),
            _ => (x.abs(), Unary::Abs),
        };
        let nd = self.values[i].nd.clone();
        let nd = nd.map(|x| self.scalars.unary(f, x));
        self.push(format!("{f:?}(#{i})"), tensor, nd);
        Ok(())
    }

    fn with_scalar(&mut self, u: &mut Unstructured<'_>, i: usize) -> Result<()> {
        let (code, p) = (u.arbitrary::<u8>()? % 10, f64::from(u.arbitrary::<i8>()? >> 2) / 8.0);
        let p = if p == 0.0 { 0.75 } else { p };
        let x = self.values[i].tensor;
        let (tensor, f) = match code {
            0 => (x + p, Unary::AddScalar(p)),
            1 => (p + x, Unary::AddScalar(p)),
            2 => (x - p, Unary::SubScalar(p)),
            3 => (p - x, Unary::ScalarSub(p)),
            4 => (x * p, Unary::MulScalar(p)),
            5 => (p * x, Unary::MulScalar(p)),
            6 => (x / p, Unary::DivScalar(p)),
            7 => (p / x, Unary::ScalarDiv(p)),
            _ => {
                let f = if code == 8 { Binary::Maximum } else { Binary::Minimum };
                let tensor = if code == 8 { x.maximum(p) } else { x.minimum(p) };
                let p_at = self.scalars.leaf(p, 0.0);
                let nd = self.values[i].nd.clone().map(|x| self.scalars.binary(f, x, p_at));
                self.push(format!("{f:?}(#{i}, {p})"), tensor, nd);
                return Ok(());
            }
        };
        let nd = self.values[i].nd.clone().map(|x| self.scalars.unary(f, x));
        self.push(format!("{f:?}(#{i})"), tensor, nd);
        Ok(())
    }

    fn matmul(&mut self, u: &mut Unstructured<'_>, i: usize) -> Result<()> {
        let (turn, start) = (u.arbitrary::<u8>()?, self.pick(u)?);
        let mut a = self.values[i].clone();
        if a.nd.shape.is_empty() {
            return Ok(());
        }
        let swap = |v: &Value<'t>| {
            let rank = v.nd.shape.len();
            let mut axes: Vec<usize> = (0..rank).collect();
            axes.swap(rank - 2, rank - 1);
            Value { tensor: v.tensor.t(), nd: v.nd.permute(&axes), param: None }
        };
        if turn & 1 == 1 && a.nd.shape.len() > 1 {
            a = swap(&a);
        }
        let n = self.values.len();
        let small = |nd: &Nd| {
            let k = a.nd.shape[a.nd.shape.len() - 1].max(1);
            let rows = a.nd.at.len() / k;
            rows * nd.at.len().max(1) * 4 <= MAX_NODES
        };
        for k in 0..n {
            let j = (start + k) % n;
            let mut b = self.values[j].clone();
            if turn & 2 == 2 && b.nd.shape.len() > 1 {
                b = swap(&b);
            }
            if !small(&b.nd) {
                continue;
            }
            let Some(nd) = a.nd.matmul(&b.nd, &mut self.scalars) else { continue };
            let tensor = match b.param {
                Some(p) => a.tensor.matmul(&self.params[p]),
                None => a.tensor.matmul(b.tensor),
            };
            let t = ["", "^T"];
            let (t1, t2) = (t[usize::from(turn & 1)], t[usize::from(turn >> 1 & 1)]);
            self.push(format!("matmul(#{i}{t1}, #{j}{t2})"), tensor, nd);
            break;
        }
        Ok(())
    }

    fn reduce(&mut self, u: &mut Unstructured<'_>, i: usize) -> Result<()> {
        let (code, mask, keep) = (u.arbitrary::<u8>()? % 6, u32::from(u.arbitrary::<u8>()?), u.arbitrary::<bool>()?);
        let Value { tensor: x, nd, .. } = self.values[i].clone();
        let rank = nd.shape.len();
        let mask = mask & ((1 << rank) - 1);
        let axes: Vec<isize> = (0..rank as isize).filter(|a| mask >> a & 1 == 1).collect();
        let axes = axes.as_slice();
        let nothing = (0..rank).any(|a| mask >> a & 1 == 1 && nd.shape[a] == 0);
        let (f, tensor) = match (code, keep) {
            // Choosing from nothing is refused.
            (2 | 3, _) if nothing => return Ok(()),
            (0, false) => (Fold::Sum, x.sum_axes(axes)),
            (0, true) => (Fold::Sum, x.sum_keepdim(axes)),
            (1, false) => (Fold::Mean, x.mean_axes(axes)),
            (1, true) => (Fold::Mean, x.mean_keepdim(axes)),
            (2, false) => (Fold::Amax, x.amax_axes(axes)),
            (2, true) => (Fold::Amax, x.amax_keepdim(axes)),
            (3, false) => (Fold::Amin, x.amin_axes(axes)),
            (3, true) => (Fold::Amin, x.amin_keepdim(axes)),
            (4, false) => (Fold::LogSumExp, x.logsumexp_axes(axes)),
            (4, true) => (Fold::LogSumExp, x.logsumexp_keepdim(axes)),
            _ if rank == 0 => return Ok(()),
            _ => {
                let (axis, log) = (mask as usize % rank, keep);
                let negative = axis as isize - rank as isize;
                let tensor = if log { x.log_softmax(negative) } else { x.softmax(axis as isize) };
                let nd = nd.lines(axis, |line| self.scalars.softmax(line, log));
                self.push(format!("softmax(#{i}, axis {axis}, log {log})"), tensor, nd);
                return Ok(());
            }
        };
        let nd = nd.fold(mask, keep, |line| self.scalars.fold(f, line));
        self.push(format!("{f:?}(#{i}, axes {axes:?}, keep {keep})"), tensor, nd);
        Ok(())
    }

    fn view(&mut self, u: &mut Unstructured<'_>, i: usize) -> Result<()> {
        let v = &self.values[i];
        let Some((what, tensor, nd)) = crate::shapes::view(u, v.tensor, &v.nd, MAX_ELEMENTS)? else { return Ok(()) };
        self.push(format!("{what} of #{i}"), tensor, nd);
        Ok(())
    }

    fn loss(&mut self, u: &mut Unstructured<'_>, i: usize) -> Result<()> {
        let (code, start) = (u.arbitrary::<u8>()? % 3, self.pick(u)?);
        let j = self.partner(i, start, |a, b| a.shape == b.shape);
        let (x, y) = (self.values[i].clone(), self.values[j].clone());
        let s = &mut self.scalars;
        let (tensor, nd) = match code {
            0 => {
                let nd = x.nd.zip(&y.nd, |a, b| {
                    let d = s.binary(Binary::Sub, a, b);
                    s.unary(Unary::Square, d)
                });
                (x.tensor.mse_loss(y.tensor), nd)
            }
            1 => {
                let nd = x.nd.zip(&y.nd, |a, b| s.binary(Binary::Bce, a, b));
                (x.tensor.binary_cross_entropy_with_logits(y.tensor), nd)
            }
            _ => {
                let Some((&classes, rows)) = x.nd.shape.split_last() else { return Ok(()) };
                let rows: usize = rows.iter().product();
                // Labels for no classes are out of range, which is refused.
                if classes == 0 && rows > 0 {
                    return Ok(());
                }
                let label = |_| Ok(usize::from(u.arbitrary::<u8>()?) % classes);
                let labels = (0..rows).map(label).collect::<Result<Vec<usize>>>()?;
                let soft = x.nd.lines(x.nd.shape.len() - 1, |line| s.softmax(line, true));
                let picked = (0..rows).map(|r| soft.at[r * classes + labels[r]]);
                let at = picked.map(|p| s.unary(Unary::Neg, p)).collect();
                (x.tensor.cross_entropy(&labels), Nd { shape: vec![rows], at })
            }
        };
        let at = vec![s.fold(Fold::Mean, &nd.at)];
        let name = ["mse", "bce", "cross_entropy"][usize::from(code)];
        self.push(format!("{name}(#{i}, #{j})"), tensor, Nd { shape: vec![], at });
        Ok(())
    }

    /// Differentiates the last value which can be.
    fn finish(mut self, wild: bool) -> Vec<u64> {
        let mut bits: Vec<u64> = Vec::new();
        let Some(at) = (0..self.values.len()).rev().find(|&i| self.values[i].tensor.requires_grad()) else {
            return bits;
        };
        let root = self.values[at].clone();
        let ill = self.scalars.ill || wild;
        self.log.push(format!("root #{at}, ill {ill}"));
        let log = self.log.join("\n");

        let c: Vec<f64> = (0..root.nd.at.len()).map(cotangent).collect();
        let cotangent = self.tape.input(&root.nd.shape, &c);
        let roots: Vec<(usize, f64)> = root.nd.at.iter().copied().zip(c).collect();
        let adjoints = self.scalars.backward(&roots);

        let mut grads = Gradients::new();
        root.tensor.backward_with_into(cotangent, &mut grads);
        let mut twice = Gradients::new();
        root.tensor.backward_with_into(cotangent, &mut twice);
        root.tensor.backward_with_into(cotangent, &mut twice);

        let leaves: Vec<Value<'t>> = self.leaves.iter().map(|&i| self.values[i].clone()).collect();
        let mut directional: Option<Tensor<'t, f64>> = None;
        let mut all = Vec::new();
        for (leaf, name) in leaves.iter().zip(&self.leaves) {
            let plain = grads.get(leaf.tensor).map(|g| g.as_slice().to_vec());
            let double = twice.get(leaf.tensor).map(|g| g.as_slice().to_vec());
            let [recorded] = root.tensor.vjp(cotangent, [leaf.tensor]);
            assert_eq!(recorded.shape(), leaf.nd.shape, "recorded gradient of #{name}\n{log}");
            let zeros = vec![0.0; leaf.nd.at.len()];
            let (plain, double) = (plain.unwrap_or(zeros.clone()), double.unwrap_or(zeros));
            let recorded_values = recorded.to_vec();
            for (k, &x) in leaf.nd.at.iter().enumerate() {
                let (p, r, d) = (plain[k], recorded_values[k], double[k]);
                let a = adjoints[x];
                let near = |x: f64, y: f64, size: f64| same(x, y) || (x - y).abs() <= 1e-7 * size + 1e-12;
                let what = format!("gradient of #{name} at {k}: plain {p}, recorded {r}, twice {d}");
                if !ill {
                    assert!(near(p, a.sum.v, a.size.v), "{what}, reference {}\n{log}", a.sum.v);
                    assert!(near(r, p, a.size.v), "{what}\n{log}");
                    assert!(near(d, 2.0 * p, a.size.v), "{what}\n{log}");
                } else if !huge(&self.scalars) {
                    assert!(class(p) == class(r) && class(p) == class(d), "{what}\n{log}");
                }
                bits.extend([p.to_bits(), r.to_bits()]);
            }
            let v: Vec<f64> = leaf.nd.at.iter().map(|&x| self.scalars.value(x).d).collect();
            let part = (recorded * self.tape.input(&leaf.nd.shape, &v)).sum();
            directional = Some(directional.map_or(part, |d| d + part));
            all.push(leaf.clone());
        }

        let Some(directional) = directional.filter(|d| d.requires_grad()) else { return bits };
        let mut second = Gradients::new();
        directional.backward_into(&mut second);
        for (leaf, name) in all.iter().zip(&self.leaves) {
            let got = second.get(leaf.tensor).map(|g| g.as_slice().to_vec());
            let got = got.unwrap_or(vec![0.0; leaf.nd.at.len()]);
            for (k, &x) in leaf.nd.at.iter().enumerate() {
                let a = adjoints[x];
                let (want, size) = (a.sum.d, a.size.d.abs() + a.size.v);
                let near = same(got[k], want) || (got[k] - want).abs() <= 1e-6 * size + 1e-10;
                assert!(ill || near, "second derivative of #{name} at {k}: {}, reference {want}\n{log}", got[k]);
                bits.push(got[k].to_bits());
            }
        }
        bits
    }
}

fn same(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan()
}

/// NaN, or an infinity, or a number.
fn class(x: f64) -> u8 {
    match x {
        _ if x.is_nan() => 0,
        _ if x == f64::INFINITY => 1,
        _ if x == f64::NEG_INFINITY => 2,
        _ => 3,
    }
}

/// Whether some number is so large or small that the order of a sum decides
/// over an overflow.
fn huge(scalars: &Scalars) -> bool {
    (0..scalars.len()).any(|i| {
        let v = scalars.value(i).v.abs();
        v.is_finite() && (v > 1e30 || v < 1e-30 && v != 0.0)
    })
}
