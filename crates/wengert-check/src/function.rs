//! A function at its inputs, computed in every way there is.

use wengert::{Array, ArrayView, Gradients, Scalar, Tape, Tensor};

use crate::values::Stream;

/// How inputs lie in memory.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Form {
    Contiguous,
    /// The axes in reverse.
    Reversed,
    /// The last axis in front of the others.
    Rotated,
}

impl Form {
    /// Which axis stands where in memory; undone by [`inverse`].
    fn order(self, rank: usize) -> Vec<isize> {
        let mut axes: Vec<isize> = (0..rank as isize).collect();
        match self {
            Form::Contiguous => {}
            Form::Reversed => axes.reverse(),
            Form::Rotated => axes.rotate_right(rank.min(1)),
        }
        axes
    }
}

fn inverse(axes: &[isize]) -> Vec<isize> {
    let mut back = vec![0; axes.len()];
    axes.iter().enumerate().for_each(|(i, &axis)| back[axis as usize] = i as isize);
    back
}

/// A value, and gradients: zeros where nothing flows.
pub(crate) struct Plain<T: Scalar, const N: usize> {
    pub(crate) value: Array<T>,
    pub(crate) gradients: [Array<T>; N],
}

pub(crate) struct Function<F, T: Scalar, const N: usize> {
    f: F,
    tape: Tape<T>,
    pub(crate) inputs: [Array<T>; N],
}

/// The inputs on the tape, those of the mask tracked.
fn place<'t, T: Scalar, const N: usize>(
    tape: &'t Tape<T>,
    inputs: &[Array<T>; N],
    tracked: u32,
    form: Form,
) -> [Tensor<'t, T>; N] {
    std::array::from_fn(|i| {
        let straight = tape.input(inputs[i].shape(), inputs[i].as_slice());
        let x = if form == Form::Contiguous { straight } else { laid_out(straight, form) };
        if tracked >> i & 1 == 1 { x.require_grad() } else { x }
    })
}

fn laid_out<T: Scalar>(x: Tensor<'_, T>, form: Form) -> Tensor<'_, T> {
    let order = form.order(x.rank());
    x.permute(&order).contiguous().permute(inverse(&order))
}

/// A fixed pseudo-random cotangent.
pub(crate) fn cotangent<T: Scalar>(shape: &[usize]) -> Array<T> {
    let mut stream = Stream(shape.len() as u64 + 1);
    Array::from_fn(shape, |_| T::from_f64(stream.cotangent()))
}

fn zeros_or<T: Scalar>(gradient: Option<ArrayView<'_, T>>, shape: &[usize]) -> Array<T> {
    gradient.map_or_else(|| Array::zeros(shape), |g| g.to_array())
}

impl<F, T: Scalar, const N: usize> Function<F, T, N>
where
    F: for<'c> Fn(&'c Tape<T>, [Tensor<'c, T>; N]) -> Tensor<'c, T>,
{
    pub(crate) const ALL: u32 = {
        assert!(N <= 16, "at most 16 inputs: every subset of them is tried");
        (1 << N) - 1
    };

    pub(crate) fn new(f: F, inputs: [Array<T>; N]) -> Self {
        Function { f, tape: Tape::default(), inputs }
    }

    /// What made the output.
    pub(crate) fn op(&mut self) -> String {
        self.tape.rewind();
        let x = place(&self.tape, &self.inputs, Self::ALL, Form::Contiguous);
        (self.f)(&self.tape, x).grad_fn().map_or("a constant", |entry| entry.name()).to_owned()
    }

    /// Under `no_grad`.
    pub(crate) fn value(&mut self) -> Array<T> {
        self.tape.rewind();
        let x = place(&self.tape, &self.inputs, 0, Form::Contiguous);
        self.tape.no_grad(|| (self.f)(&self.tape, x)).to_array()
    }

    /// With `sweeps` plain backward sweeps into the same gradients.
    pub(crate) fn plain(&mut self, tracked: u32, form: Form, sweeps: usize) -> Plain<T, N> {
        self.tape.rewind();
        let x = place(&self.tape, &self.inputs, tracked, form);
        let y = (self.f)(&self.tape, x);
        let mut grads = Gradients::new();
        if y.requires_grad() {
            for _ in 0..sweeps {
                y.backward_with_into(self.tape.tensor(cotangent(y.shape())), &mut grads);
            }
        }
        let gradient = |i: usize| match tracked >> i & 1 {
            1 => zeros_or(grads.get(x[i]), x[i].shape()),
            _ => Array::zeros(x[i].shape()),
        };
        Plain { value: y.to_array(), gradients: std::array::from_fn(gradient) }
    }

    pub(crate) fn recorded(&mut self) -> [Array<T>; N] {
        self.tape.rewind();
        let x = place(&self.tape, &self.inputs, Self::ALL, Form::Contiguous);
        let y = (self.f)(&self.tape, x);
        if !y.requires_grad() {
            return x.map(|x| Array::zeros(x.shape()));
        }
        y.vjp(self.tape.tensor(cotangent(y.shape())), x).map(Tensor::to_array)
    }

    /// The requests to the allocator of three turns, after two: of plain
    /// sweeps, or of recorded ones which are differentiated again.
    pub(crate) fn allocations(&self, recorded: bool, count: fn() -> u64) -> u64 {
        let (mut tape, mut grads) = (Tape::<T>::default(), Gradients::new());
        let mut start = 0;
        for turn in 0..5 {
            if turn == 2 {
                start = count();
            }
            tape.rewind();
            grads.zero();
            let x = place(&tape, &self.inputs, Self::ALL, Form::Contiguous);
            let y = (self.f)(&tape, x);
            if !y.requires_grad() {
                continue;
            }
            if recorded {
                let total = y.vjp(tape.ones(y.shape()), x).map(Tensor::sum).into_iter().reduce(|a, b| a + b);
                if let Some(total) = total.filter(|total| total.requires_grad()) {
                    total.backward_into(&mut grads);
                }
            } else {
                y.backward_with_into(tape.ones(y.shape()), &mut grads);
            }
        }
        count() - start
    }

    /// `J v` by differentiating the recorded `Jᵀ u` in `u`.
    pub(crate) fn directional(&mut self, direction: &[Array<T>; N]) -> Array<T> {
        self.tape.rewind();
        let tape = &self.tape;
        let x = place(tape, &self.inputs, Self::ALL, Form::Contiguous);
        let y = (self.f)(tape, x);
        if !y.requires_grad() {
            return Array::zeros(y.shape());
        }
        let u = tape.tensor(cotangent(y.shape())).require_grad();
        let contracted = contract(tape, y.vjp(u, x), direction);
        if !contracted.requires_grad() {
            return Array::zeros(y.shape());
        }
        contracted.grad([u])[0].to_array()
    }

    /// The gradient of the recorded gradient, contracted with a direction.
    pub(crate) fn second(&mut self, direction: &[Array<T>; N]) -> [Array<T>; N] {
        self.tape.rewind();
        let tape = &self.tape;
        let x = place(tape, &self.inputs, Self::ALL, Form::Contiguous);
        let y = (self.f)(tape, x);
        let zeros = || x.map(|x| Array::zeros(x.shape()));
        if !y.requires_grad() {
            return zeros();
        }
        let contracted = contract(tape, y.vjp(tape.tensor(cotangent(y.shape())), x), direction);
        if !contracted.requires_grad() {
            return zeros();
        }
        let grads = contracted.backward();
        x.map(|x| zeros_or(grads.get(x), x.shape()))
    }
}

/// `Σ gᵢ · vᵢ` on the tape.
fn contract<'t, T: Scalar, const N: usize>(
    tape: &'t Tape<T>,
    gradients: [Tensor<'t, T>; N],
    direction: &[Array<T>; N],
) -> Tensor<'t, T> {
    let terms = gradients.into_iter().zip(direction);
    let products = terms.map(|(g, v)| (g * tape.input(v.shape(), v.as_slice())).sum());
    products.reduce(|a, b| a + b).unwrap_or_else(|| tape.scalar(T::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_give_the_same_values_in_other_places() {
        let tape = Tape::new_f64();
        let x = tape.arange(0.0, 24.0, 1.0).reshape([2, 3, 4]);
        for form in [Form::Reversed, Form::Rotated] {
            let y = laid_out(x, form);
            assert!(!y.is_contiguous());
            assert_eq!((y.shape(), y.to_vec()), (x.shape(), x.to_vec()));
            assert_eq!(laid_out(tape.scalar(2.0), form).item(), 2.0);
        }
    }
}
