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
use wengert::{Gradients, Param, Params, Tape};

use crate::nd::{Graph, Nd};
use crate::ops::{self, T, byte};
use crate::scalars::Scalars;

pub const MAX_ELEMENTS: usize = 128;
pub const MAX_NODES: usize = 6000;
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
pub struct Value<'t> {
    pub tensor: T<'t>,
    pub nd: Nd,
    /// Used as `&params[p]` where it stands on the right of an operator.
    pub param: Option<Param>,
    /// What the log calls it.
    pub name: String,
}

/// A program under way.
pub struct Run<'t> {
    pub tape: &'t Tape<f64>,
    pub params: &'t Params<f64>,
    graph: Graph,
    pub values: Vec<Value<'t>>,
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
    let graph = Graph::default();
    let mut run = Run { tape, params, graph, values: Vec::new(), leaves: Vec::new(), log: Vec::new() };
    for (shape, values, kind) in inputs {
        let (tensor, param) = match *kind {
            Kind::Leaf => (tape.input(shape, values).require_grad(), None),
            Kind::Constant => (tape.input(shape, values), None),
            Kind::Param(p) => (tape.param(&params[p]), Some(p)),
        };
        let tracked = tensor.requires_grad();
        let leaf = |(i, &v)| run.graph.borrow_mut().leaf(v, if tracked { direction(i) } else { 0.0 });
        let at = values.iter().enumerate().map(leaf).collect();
        if tracked {
            run.leaves.push(run.values.len());
        }
        let name = format!("#{}", run.values.len());
        run.log.push(format!("{name} = {kind:?} {shape:?} {values:?}"));
        let nd = Nd { graph: run.graph.clone(), shape: shape.clone(), at };
        run.values.push(Value { tensor, nd, param, name });
    }
    for _ in 0..MAX_STEPS {
        if u.is_empty() || run.graph.borrow().len() > MAX_NODES {
            break;
        }
        run.step(u)?;
    }
    Ok(run.finish(wild))
}

impl<'t> Run<'t> {
    /// Compares what an op gave, and takes it into the program.
    pub fn push(&mut self, what: String, tensor: T<'t>, nd: Nd) {
        let name = format!("#{}", self.values.len());
        self.log.push(format!("{name} = {what}"));
        assert_eq!(tensor.shape(), nd.shape, "shapes differ\n{}", self.log.join("\n"));
        for (i, (&at, got)) in nd.at.iter().zip(tensor.to_vec()).enumerate() {
            let (want, err) = (self.graph.borrow().value(at).v, self.graph.borrow().err(at));
            let close = (want - got).abs() <= 1e3 * err + f64::MIN_POSITIVE;
            if !(close || same(want, got) || !err.is_finite() || want.abs() > 1e300) {
                panic!("element {i} is {got}, not {want} (err {err:e})\n{}", self.log.join("\n"));
            }
        }
        if nd.at.len() <= MAX_ELEMENTS {
            self.values.push(Value { tensor, nd, param: None, name });
        }
    }

    /// A second operand which fits; `x` itself always does.
    pub fn partner(
        &self,
        u: &mut Unstructured<'_>,
        x: &Value<'t>,
        fits: impl Fn(&Value<'t>, &Value<'t>) -> bool,
    ) -> Result<Value<'t>> {
        let (start, n) = (self.pick(u)?, self.values.len());
        let found = (0..n).map(|k| &self.values[(start + k) % n]).find(|b| fits(x, b));
        Ok(found.unwrap_or(x).clone())
    }

    fn pick(&self, u: &mut Unstructured<'_>) -> Result<usize> {
        // Late values first, so that programs grow deep.
        let back = byte(u)?;
        Ok(self.values.len() - 1 - back % self.values.len())
    }

    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let (code, i) = (byte(u)? % 16, self.pick(u)?);
        let x = self.values[i].clone();
        let made = match code {
            0..5 => return ops::elementwise::step(self, u, i),
            5 => ops::linear::matmul(self, u, &x)?,
            6 | 7 => ops::reductions::step(u, &x)?,
            8 | 9 => crate::shapes::view(u, x.tensor, &x.nd, MAX_ELEMENTS)?,
            10 | 11 => ops::parts::step(self, u, &x)?,
            12..15 => ops::rows::step(self, u, &x)?,
            _ => self.tracking(u, &x)?,
        };
        if let Some((what, tensor, nd)) = made {
            self.push(what, tensor, nd);
        }
        Ok(())
    }

    /// What is tracked changes.
    fn tracking(&mut self, u: &mut Unstructured<'_>, x: &Value<'t>) -> Result<ops::Made<'t>> {
        let detached = |nd: &Nd| nd.map(|s, x| s.detach(x));
        let (what, tensor, nd) = match byte(u)? % 4 {
            0 => ("detach", x.tensor.detach(), detached(&x.nd)),
            1 => {
                let y = self.tape.no_grad(|| x.tensor.tanh() * x.tensor);
                ("no_grad(tanh(x) x)", y, detached(&(x.nd.f("tanh") * &x.nd)))
            }
            2 if self.graph.borrow().ill => return Ok(None),
            2 => {
                let mut k = 0;
                let nd = x.nd.map(|s, x| {
                    k += 1;
                    s.leaf_with_error(s.value(x).v, direction(k), s.err(x))
                });
                if nd.at.len() <= MAX_ELEMENTS {
                    self.leaves.push(self.values.len());
                }
                ("detach, require_grad", x.tensor.detach().require_grad(), nd)
            }
            _ if x.tensor.requires_grad() => ("retain_grad", x.tensor.retain_grad(), x.nd.clone()),
            _ => return Ok(None),
        };
        Ok(Some((format!("{what}({})", x.name), tensor, nd)))
    }

    /// Differentiates the last value which can be.
    fn finish(mut self, wild: bool) -> Vec<u64> {
        let mut bits: Vec<u64> = Vec::new();
        let Some(at) = (0..self.values.len()).rev().find(|&i| self.values[i].tensor.requires_grad()) else {
            return bits;
        };
        let root = self.values[at].clone();
        let ill = self.graph.borrow().ill || wild;
        self.log.push(format!("root {}, ill {ill}", root.name));
        let log = self.log.join("\n");

        let c: Vec<f64> = (0..root.nd.at.len()).map(cotangent).collect();
        let cotangent = self.tape.input(&root.nd.shape, &c);
        let roots: Vec<(usize, f64)> = root.nd.at.iter().copied().zip(c).collect();
        let adjoints = self.graph.borrow().backward(&roots);

        let mut grads = Gradients::new();
        root.tensor.backward_with_into(cotangent, &mut grads);
        let mut twice = Gradients::new();
        root.tensor.backward_with_into(cotangent, &mut twice);
        root.tensor.backward_with_into(cotangent, &mut twice);

        let leaves: Vec<Value<'t>> = self.leaves.iter().map(|&i| self.values[i].clone()).collect();
        let mut directional: Option<T<'t>> = None;
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
                } else if !huge(&self.graph.borrow()) {
                    assert!(class(p) == class(r) && class(p) == class(d), "{what}\n{log}");
                }
                bits.extend([p.to_bits(), r.to_bits()]);
            }
            let v: Vec<f64> = leaf.nd.at.iter().map(|&x| self.graph.borrow().value(x).d).collect();
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
