//! Einstein's summation convention: equations such as `bij,bjk->bik`, carried
//! out by views, sums and matrix products.

use smallvec::SmallVec;

use super::part::Step;
use crate::error::{Error, raise};
use crate::scalar::Scalar;
use crate::shape::{Dims, Strides};
use crate::tape::Tape;
use crate::tensor::{Operand, Tensor};

/// One label per axis: a letter, or 128 + k for the k-th axis from the right
/// of those which `...` stands for.
type Labels = SmallVec<[u8; 16]>;

/// A tensor whose axes have labels, each at most once.
struct Term<'t, T: Scalar> {
    x: Tensor<'t, T>,
    labels: Labels,
}

/// What is wrong with an equation.
type Fault = String;

impl<T: Scalar> Tape<T> {
    /// Sums of products by an equation: each operand's axes get letters, and
    /// letters which the result does not have are summed over.
    ///
    /// `...` stands for any number of axes, which broadcast; a letter twice in
    /// one operand takes the diagonal; without `->` the result has `...` and
    /// then the letters which occur once, in alphabetical order. Spaces are
    /// skipped, and axes of length 1 broadcast, as in PyTorch. Operands are
    /// contracted from left to right.
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// let a = tape.tensor([[1.0, 2.0], [3.0, 4.0]]);
    /// assert_eq!(tape.einsum("ij,jk->ik", [a, a]).to_vec(), a.matmul(a).to_vec());
    /// assert_eq!(tape.einsum("ii", [a]).item(), 5.0);
    /// assert_eq!(tape.einsum("ij->ji", [a]).to_vec(), [1.0, 3.0, 2.0, 4.0]);
    /// ```
    ///
    /// # Panics
    /// If the equation is malformed or does not fit the operands; see
    /// [`Tape::try_einsum`].
    #[track_caller]
    pub fn einsum<'t>(&'t self, equation: &str, operands: impl AsRef<[Tensor<'t, T>]>) -> Tensor<'t, T> {
        match self.try_einsum(equation, operands) {
            Ok(x) => x,
            Err(error) => raise(error),
        }
    }

    /// [`Tape::einsum`] for equations which come from outside.
    ///
    /// # Errors
    /// [`Error::Equation`] says what is wrong.
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// let error = tape.try_einsum("ij->k", [tape.ones([2, 2])]).unwrap_err();
    /// assert_eq!(error.to_string(), "einsum: `ij->k`: no operand has the letter k of the result");
    /// ```
    #[track_caller]
    pub fn try_einsum<'t>(
        &'t self,
        equation: &str,
        operands: impl AsRef<[Tensor<'t, T>]>,
    ) -> Result<Tensor<'t, T>, Error> {
        let operands = operands.as_ref();
        for x in operands {
            let _ = Operand::tensor(*x, self);
        }
        match evaluate(equation, operands) {
            Ok(x) => Ok(x),
            Err(why) => Err(Error::Equation { equation: equation.to_owned(), why }),
        }
    }
}

/// The axes which `...` stands for in one operand.
const DOTS: u8 = 128;

fn name(label: u8) -> char {
    if label >= DOTS { '.' } else { label.into() }
}

/// The labels of one side of an equation; `dots` axes stand behind `...`.
fn labels(text: &str, dots: usize) -> Result<Labels, Fault> {
    let mut labels = Labels::new();
    let mut rest = text.trim();
    let mut seen = false;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("...") {
            if std::mem::replace(&mut seen, true) {
                return Err(format!("`...` twice in `{text}`"));
            }
            labels.extend((0..dots).rev().map(|k| DOTS + k as u8));
            rest = after;
        } else if c.is_ascii_alphabetic() {
            labels.push(c as u8);
            rest = &rest[1..];
        } else if c == ' ' {
            rest = &rest[1..];
        } else {
            return Err(format!("unexpected {c:?}"));
        }
    }
    Ok(labels)
}

#[track_caller]
fn evaluate<'t, T: Scalar>(equation: &str, operands: &[Tensor<'t, T>]) -> Result<Tensor<'t, T>, Fault> {
    let (inputs, output) = match equation.split_once("->") {
        Some((inputs, output)) => (inputs, Some(output)),
        None => (equation, None),
    };
    let count = inputs.split(',').count();
    if count != operands.len() {
        return Err(format!("it names {count} operands, and {} are given", operands.len()));
    }
    let mut terms: SmallVec<[Term<'t, T>; 4]> = SmallVec::new();
    // The length of every label, 1 if all who have it have 1.
    let mut lengths = [None::<usize>; 256];
    let mut most = 0;
    for (text, &x) in inputs.split(',').zip(operands) {
        let letters = text.chars().filter(char::is_ascii_alphabetic).count();
        let dots = if text.contains("...") { x.rank().saturating_sub(letters) } else { 0 };
        most = most.max(dots);
        let labels = labels(text, dots)?;
        if labels.len() != x.rank() {
            return Err(format!("`{}` does not fit a tensor of shape {:?}", text.trim(), x.shape()));
        }
        for (&label, &n) in labels.iter().zip(x.shape()) {
            let known = lengths[usize::from(label)].get_or_insert(n);
            if *known == 1 {
                *known = n;
            } else if n != 1 && n != *known {
                return Err(format!("{} has lengths {} and {n}", name(label), *known));
            }
        }
        terms.push(Term { x, labels });
    }
    let output = match output {
        Some(text) => labels(text, most)?,
        None => implicit(&terms, most),
    };
    for (i, &label) in output.iter().enumerate() {
        if output[..i].contains(&label) {
            return Err(format!("the letter {} twice in the result", name(label)));
        }
        if label < DOTS && lengths[usize::from(label)].is_none() {
            return Err(format!("no operand has the letter {} of the result", name(label)));
        }
    }
    let mut rest: SmallVec<[Term<'t, T>; 4]> = SmallVec::new();
    for term in terms {
        rest.push(term.diagonal()?);
    }
    // An equation names one operand at least.
    let mut product = rest.remove(0);
    for i in 0..rest.len() {
        let needed = |label: u8| output.contains(&label) || rest[i + 1..].iter().any(|t| t.labels.contains(&label));
        product = product.times(&rest[i], needed);
    }
    let product = product.summed(|label| output.contains(&label));
    // Every axis of the result, `...` which no operand fills included.
    let order: Strides = output
        .iter()
        .filter_map(|label| product.labels.iter().position(|l| l == label))
        .map(|at| at as isize)
        .collect();
    Ok(product.x.permute(order))
}

/// `...`, then the letters which occur once, in alphabetical order.
fn implicit<T: Scalar>(terms: &[Term<'_, T>], dots: usize) -> Labels {
    let mut counts = [0u32; 128];
    let letters = terms.iter().flat_map(|t| t.labels.iter()).filter(|&&label| label < DOTS);
    letters.for_each(|&label| counts[usize::from(label)] += 1);
    let once = (0..DOTS).filter(|&label| counts[usize::from(label)] == 1);
    (0..dots).rev().map(|k| DOTS + k as u8).chain(once).collect()
}

impl<'t, T: Scalar> Term<'t, T> {
    /// The diagonal along axes of one label.
    #[track_caller]
    fn diagonal(self) -> Result<Self, Fault> {
        let Term { mut x, labels } = self;
        let mut once = Labels::new();
        let (mut part, mut steps) = (Dims::new(), SmallVec::<[Step; 8]>::new());
        for (axis, &label) in labels.iter().enumerate() {
            let n = x.shape()[axis];
            let at = once.iter().position(|&l| l == label).unwrap_or_else(|| {
                once.push(label);
                part.push(n);
                once.len() - 1
            });
            if part[at] != n {
                return Err(format!("the letter {} has lengths {} and {n} in one operand", name(label), part[at]));
            }
            steps.push(Step { part: at, whole: axis, by: 1 });
        }
        if once.len() < labels.len() {
            x = x.part(&Dims::from_elem(0, labels.len()), &part, &steps);
        }
        Ok(Term { x, labels: once })
    }

    /// Labels which are not needed summed away.
    #[track_caller]
    fn summed(self, needed: impl Fn(u8) -> bool) -> Self {
        let gone: Strides = (0..self.labels.len()).filter(|&i| !needed(self.labels[i])).map(|i| i as isize).collect();
        if gone.is_empty() {
            return self;
        }
        let labels = self.labels.iter().copied().filter(|&label| needed(label)).collect();
        Term { x: self.x.sum_axes(&gone[..]), labels }
    }

    /// The product with another term; labels which are not needed are summed
    /// over.
    #[track_caller]
    fn times(self, other: &Self, needed: impl Fn(u8) -> bool) -> Self {
        let a = self.summed(|label| needed(label) || other.labels.contains(&label));
        let both = |label: &u8| a.labels.contains(label);
        let b = Term { x: other.x, labels: other.labels.clone() };
        let b = b.summed(|label| needed(label) || a.labels.contains(&label));
        let kept: Labels = a.labels.iter().copied().filter(|&l| b.labels.contains(&l) && needed(l)).collect();
        let summed: Labels = a.labels.iter().copied().filter(|&l| b.labels.contains(&l) && !needed(l)).collect();
        let left: Labels = a.labels.iter().copied().filter(|l| !b.labels.contains(l)).collect();
        let right: Labels = b.labels.iter().copied().filter(|l| !both(l)).collect();
        // An axis of length 1 takes the other's length.
        let length = |label: u8| {
            let of = |t: &Self| t.labels.iter().position(|&l| l == label).map(|at| t.x.shape()[at]);
            match (of(&a), of(&b)) {
                (Some(1) | None, Some(n)) | (Some(n), _) => n,
                (None, None) => 1,
            }
        };
        let volume = |labels: &Labels| labels.iter().map(|&l| length(l)).product::<usize>();
        let [batch, m, k, n] = [&kept, &left, &summed, &right].map(volume);
        let x = a.arranged(&[&kept, &left, &summed], length).reshape([batch, m, k]);
        let y = b.arranged(&[&kept, &summed, &right], length).reshape([batch, k, n]);
        let labels: Labels = [&kept, &left, &right].into_iter().flatten().copied().collect();
        let dims: Dims = labels.iter().map(|&l| length(l)).collect();
        // Nothing to sum over: a product of elements, not of matrices.
        let product = match summed.is_empty() {
            true => x * y,
            false => x.matmul(y),
        };
        Term { x: product.reshape(dims), labels }
    }

    /// The axes in the order of these groups, each of its full length.
    #[track_caller]
    fn arranged(&self, groups: &[&Labels], length: impl Fn(u8) -> usize) -> Tensor<'t, T> {
        let order = || groups.iter().flat_map(|g| g.iter().copied());
        let axes: Strides =
            order().filter_map(|l| self.labels.iter().position(|&own| own == l)).map(|at| at as isize).collect();
        let dims: Dims = order().map(length).collect();
        let x = self.x.permute(axes);
        if x.shape() == dims.as_slice() { x } else { x.broadcast_to(dims) }
    }
}
