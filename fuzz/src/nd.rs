//! Tensors of the reference: a shape over node numbers, row-major. A view is a
//! rearrangement of numbers, and everything else a loop over them.

use std::cell::RefCell;
use std::ops::{Add, Div, Mul, Neg, Sub};
use std::rc::Rc;

use crate::ops::elementwise;
use crate::scalars::{Fold, Scalars};

pub type Graph = Rc<RefCell<Scalars>>;

#[derive(Clone)]
pub struct Nd {
    pub graph: Graph,
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
    pub fn constant(graph: &Graph, shape: &[usize], values: &[f64]) -> Nd {
        let at = values.iter().map(|&v| graph.borrow_mut().leaf(v, 0.0)).collect();
        Nd { graph: graph.clone(), shape: shape.to_vec(), at }
    }

    /// A constant which goes with `self`.
    pub fn number(&self, value: f64) -> Nd {
        Nd::constant(&self.graph, &[], &[value])
    }

    pub fn with(&self, shape: &[usize], at: Vec<usize>) -> Nd {
        assert_eq!(shape.iter().product::<usize>(), at.len());
        Nd { graph: self.graph.clone(), shape: shape.to_vec(), at }
    }

    pub fn values(&self) -> Vec<f64> {
        self.at.iter().map(|&x| self.graph.borrow().value(x).v).collect()
    }

    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    pub fn get(&self, index: &[usize]) -> usize {
        self.at[offset(&self.shape, index)]
    }

    /// The tensor of this shape whose element at an index is that of `self` at `f(index)`.
    pub fn gather(&self, shape: &[usize], f: impl Fn(&[usize]) -> Vec<usize>) -> Nd {
        self.with(shape, indices(shape).iter().map(|i| self.get(&f(i))).collect())
    }

    pub fn reshape(&self, shape: &[usize]) -> Nd {
        self.with(shape, self.at.clone())
    }

    pub fn permute(&self, axes: &[usize]) -> Nd {
        let shape: Vec<usize> = axes.iter().map(|&a| self.shape[a]).collect();
        self.gather(&shape, |index| {
            let mut from = vec![0; axes.len()];
            axes.iter().zip(index).for_each(|(&a, &i)| from[a] = i);
            from
        })
    }

    /// The last two axes swapped.
    pub fn t(&self) -> Nd {
        let mut axes: Vec<usize> = (0..self.rank()).collect();
        axes.swap(self.rank() - 2, self.rank() - 1);
        self.permute(&axes)
    }

    pub fn broadcast_to(&self, shape: &[usize]) -> Nd {
        let lead = shape.len() - self.rank();
        self.gather(shape, |index| {
            let clamp = |(&i, &n): (&usize, &usize)| if n == 1 { 0 } else { i };
            index[lead..].iter().zip(&self.shape).map(clamp).collect()
        })
    }

    /// The slices at some positions along an axis.
    pub fn select(&self, axis: usize, positions: &[usize]) -> Nd {
        let mut shape = self.shape.clone();
        shape[axis] = positions.len();
        self.gather(&shape, |index| {
            let mut from = index.to_vec();
            from[axis] = positions[index[axis]];
            from
        })
    }

    /// One slice, without its axis.
    pub fn slice(&self, axis: usize, position: usize) -> Nd {
        let one = self.select(axis, &[position]);
        let mut shape = one.shape.clone();
        shape.remove(axis);
        one.reshape(&shape)
    }

    pub fn concat(parts: &[Nd], axis: usize) -> Nd {
        let mut shape = parts[0].shape.clone();
        shape[axis] = parts.iter().map(|p| p.shape[axis]).sum();
        let find = |index: &Vec<usize>| {
            let mut index = index.clone();
            for part in parts {
                if index[axis] < part.shape[axis] {
                    return part.get(&index);
                }
                index[axis] -= part.shape[axis];
            }
            unreachable!("an index beyond all parts")
        };
        parts[0].with(&shape, indices(&shape).iter().map(find).collect())
    }

    /// Element by element.
    pub fn map(&self, mut f: impl FnMut(&mut Scalars, usize) -> usize) -> Nd {
        let at = self.at.iter().map(|&x| f(&mut self.graph.borrow_mut(), x)).collect();
        self.with(&self.shape, at)
    }

    /// Element by element with broadcasting; the shapes fit.
    pub fn zip(&self, other: &Nd, mut f: impl FnMut(&mut Scalars, usize, usize) -> usize) -> Nd {
        let shape = broadcast(&self.shape, &other.shape).expect("shapes fit");
        let (a, b) = (self.broadcast_to(&shape), other.broadcast_to(&shape));
        let at = a.at.iter().zip(&b.at).map(|(&x, &y)| f(&mut self.graph.borrow_mut(), x, y)).collect();
        self.with(&shape, at)
    }

    /// A function of one tensor, by its name in the table.
    pub fn f(&self, name: &str) -> Nd {
        self.f_with(name, 0.0)
    }

    pub fn f_with(&self, name: &str, p: f64) -> Nd {
        let row = elementwise::one(name);
        self.map(|s, x| row.apply(s, x, p))
    }

    /// A function of two, by its name in the table.
    pub fn g(&self, name: &str, other: &Nd) -> Nd {
        let row = elementwise::two(name);
        self.zip(other, |s, x, y| row.apply(s, x, y))
    }

    /// A mask: 1 where a comparison with a number holds.
    pub fn mask(&self, comparison: &str, with: f64) -> Nd {
        self.g(comparison, &self.number(with))
    }

    /// `self` where a mask is not 0, `other` elsewhere. All broadcast.
    pub fn choose(&self, mask: &Nd, other: &Nd) -> Nd {
        let shape = broadcast(&self.shape, &mask.shape).and_then(|s| broadcast(&s, &other.shape)).expect("shapes fit");
        let [x, m, y] = [self, mask, other].map(|nd| nd.broadcast_to(&shape));
        let pick = |i: usize| if self.graph.borrow().value(m.at[i]).v == 0.0 { y.at[i] } else { x.at[i] };
        self.with(&shape, (0..x.at.len()).map(pick).collect())
    }

    /// Folds the axes of a mask.
    pub fn fold(&self, mask: u32, keep: bool, mut f: impl FnMut(&mut Scalars, &[usize]) -> usize) -> Nd {
        let reduced = |i: usize| mask >> i & 1 == 1;
        let kept: Vec<usize> = self.shape.iter().enumerate().map(|(i, &n)| if reduced(i) { 1 } else { n }).collect();
        let mut lines = vec![Vec::new(); kept.iter().product()];
        for (index, &x) in indices(&self.shape).iter().zip(&self.at) {
            let to: Vec<usize> = index.iter().enumerate().map(|(i, &k)| if reduced(i) { 0 } else { k }).collect();
            lines[offset(&kept, &to)].push(x);
        }
        let at = lines.iter().map(|line| f(&mut self.graph.borrow_mut(), line)).collect();
        let all = kept.into_iter().enumerate().filter(|&(i, _)| keep || !reduced(i));
        self.with(&all.map(|(_, n)| n).collect::<Vec<_>>(), at)
    }

    /// Folds one axis, which is dropped.
    pub fn fold_axis(&self, f: Fold, axis: usize) -> Nd {
        self.fold(1 << axis, false, |s, line| s.fold(f, line))
    }

    /// Folds the last axes, which stay.
    pub fn fold_last(&self, f: Fold, axes: usize) -> Nd {
        let mask = (0..self.rank()).skip(self.rank() - axes).fold(0, |mask, i| mask | 1 << i);
        self.fold(mask, true, |s, line| s.fold(f, line))
    }

    pub fn sum(&self) -> Nd {
        self.fold(u32::MAX, false, |s, line| s.fold(Fold::Sum, line))
    }

    pub fn mean(&self) -> Nd {
        self.fold(u32::MAX, false, |s, line| s.fold(Fold::Mean, line))
    }

    /// Applies `f` to every line along an axis.
    pub fn lines(&self, axis: usize, mut f: impl FnMut(&mut Scalars, &[usize]) -> Vec<usize>) -> Nd {
        let mut out = self.clone();
        for index in indices(&self.shape).iter().filter(|i| i[axis] == 0) {
            let along = |k: usize| {
                let mut index = index.clone();
                index[axis] = k;
                offset(&self.shape, &index)
            };
            let line: Vec<usize> = (0..self.shape[axis]).map(|k| self.at[along(k)]).collect();
            let made = f(&mut self.graph.borrow_mut(), &line);
            made.into_iter().enumerate().for_each(|(k, x)| out.at[along(k)] = x);
        }
        out
    }

    pub fn softmax(&self, axis: usize, log: bool) -> Nd {
        self.lines(axis, |s, line| s.softmax(line, log))
    }

    /// A tensor whose elements are sums of products of nodes.
    pub fn products(&self, shape: &[usize], mut pairs: impl FnMut(&[usize]) -> Vec<(usize, usize)>) -> Nd {
        let element = |index: &Vec<usize>| {
            let pairs = pairs(index);
            let s = &mut *self.graph.borrow_mut();
            let products: Vec<usize> = pairs.into_iter().map(|(x, y)| s.mul(x, y)).collect();
            s.fold(Fold::Sum, &products)
        };
        self.with(shape, indices(shape).iter().map(element).collect())
    }

    /// The matrix product; `None` where shapes do not fit.
    pub fn matmul(&self, other: &Nd) -> Option<Nd> {
        let (mut a, mut b) = (self.clone(), other.clone());
        if a.shape.is_empty() || b.shape.is_empty() {
            return None;
        }
        let (row, column) = (a.rank() == 1, b.rank() == 1);
        if row {
            a.shape.insert(0, 1);
        }
        if column {
            b.shape.push(1);
        }
        let (i, j) = (a.rank() - 2, b.rank() - 2);
        if a.shape[i + 1] != b.shape[j] {
            return None;
        }
        let batch = broadcast(&a.shape[..i], &b.shape[..j])?;
        let (m, k, n) = (a.shape[i], b.shape[j], b.shape[j + 1]);
        let a = a.broadcast_to(&[batch.as_slice(), &[m, k]].concat());
        let b = b.broadcast_to(&[batch.as_slice(), &[k, n]].concat());
        let product = a.products(&[batch.as_slice(), &[m, n]].concat(), |index| {
            let (batch, matrix) = index.split_at(index.len() - 2);
            let pair = |p| (a.get(&[batch, &[matrix[0], p]].concat()), b.get(&[batch, &[p, matrix[1]]].concat()));
            (0..k).map(pair).collect()
        });
        let mut shape = product.shape.clone();
        if column {
            shape.pop();
        }
        if row {
            shape.remove(shape.len() - if column { 1 } else { 2 });
        }
        Some(product.reshape(&shape))
    }
}

impl Neg for &Nd {
    type Output = Nd;
    fn neg(self) -> Nd {
        self.f("neg")
    }
}

impl Neg for Nd {
    type Output = Nd;
    fn neg(self) -> Nd {
        -&self
    }
}

macro_rules! operators {
    ($($Trait:ident $method:ident)*) => {$(
        impl $Trait<&Nd> for &Nd {
            type Output = Nd;
            fn $method(self, other: &Nd) -> Nd {
                self.g(stringify!($method), other)
            }
        }
        operators!(forward $Trait $method: Nd, Nd, |a, b| $Trait::$method(&a, &b));
        operators!(forward $Trait $method: Nd, &Nd, |a, b| $Trait::$method(&a, b));
        operators!(forward $Trait $method: &Nd, Nd, |a, b| $Trait::$method(a, &b));
        operators!(forward $Trait $method: Nd, f64, |a, b| $Trait::$method(&a, &a.number(b)));
        operators!(forward $Trait $method: &Nd, f64, |a, b| $Trait::$method(a, &a.number(b)));
        operators!(forward $Trait $method: f64, Nd, |a, b| $Trait::$method(&b.number(a), &b));
        operators!(forward $Trait $method: f64, &Nd, |a, b| $Trait::$method(&b.number(a), b));
    )*};
    (forward $Trait:ident $method:ident: $A:ty, $B:ty, |$a:ident, $b:ident| $body:expr) => {
        impl $Trait<$B> for $A {
            type Output = Nd;
            fn $method(self, other: $B) -> Nd {
                let ($a, $b) = (self, other);
                $body
            }
        }
    };
}

operators! { Add add Sub sub Mul mul Div div }
