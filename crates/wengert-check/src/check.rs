//! The checks.

use wengert::{Array, Gradients, Tape, Tensor};

use crate::error::{CheckError, CheckKind};
use crate::values::Stream;

/// Every check there is, with the default options of [`Check`].
///
/// The function is given a tape and its inputs on it; an output which is not a
/// scalar is contracted with a fixed pseudo-random cotangent.
///
/// ```
/// use wengert::Array;
/// use wengert_check::check_gradients;
/// let (a, b) = (Array::from([[1.0, 2.0], [3.0, 4.0]]), Array::from([0.5, -0.5]));
/// check_gradients([a, b], |_, [a, b]| a.matmul(b).tanh())?;
/// # Ok::<(), wengert_check::CheckError>(())
/// ```
///
/// # Errors
/// The first check which fails, at the element where it fails most.
pub fn check_gradients<const N: usize, F>(inputs: [Array<f64>; N], f: F) -> Result<(), CheckError>
where
    F: for<'c> Fn(&'c Tape<f64>, [Tensor<'c, f64>; N]) -> Tensor<'c, f64>,
{
    Check::new().run(inputs, f)
}

/// The checks with options.
///
/// ```
/// use wengert::Array;
/// use wengert_check::Check;
/// let x = Array::from([1.0, -2.0]);
/// let square = Array::from([1.0, 4.0]);
/// Check::new().order(1).tolerance(1e-8).reference(square).run([x], |_, [x]| x.square())?;
/// # Ok::<(), wengert_check::CheckError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Check {
    step: f64,
    tolerance: f64,
    order: u32,
    probes: usize,
    reference: Option<Array<f64>>,
    count: Option<fn() -> u64>,
}

impl Default for Check {
    fn default() -> Self {
        Self::new()
    }
}

impl Check {
    /// A step of 1e-4, a tolerance of 1e-6, second order, 32 elements probed.
    pub fn new() -> Self {
        Check { step: 1e-4, tolerance: 1e-6, order: 2, probes: 32, reference: None, count: None }
    }

    /// The step `h` of finite differences, for `|x| <= 1`; it grows with `|x|`
    /// above. Differences over `h` and `2h` are extrapolated to an error of
    /// order `h⁴`, so inputs are moved by up to `2h`.
    pub fn step(mut self, step: f64) -> Self {
        self.step = step;
        self
    }

    /// What counts as equal to a finite difference: within `tolerance`, or a
    /// part `tolerance` of the larger number.
    pub fn tolerance(mut self, tolerance: f64) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// 1 for gradients alone, 2 for derivatives of gradients too.
    ///
    /// # Panics
    /// For another number.
    pub fn order(mut self, order: u32) -> Self {
        assert!((1..=2).contains(&order), "order: 1 or 2, not {order}");
        self.order = order;
        self
    }

    /// How many elements of each input are moved one by one, at most. Where
    /// there are more, all are moved together once as well.
    pub fn probes(mut self, probes: usize) -> Self {
        self.probes = probes;
        self
    }

    /// What the function's value should be.
    pub fn reference(mut self, value: Array<f64>) -> Self {
        self.reference = Some(value);
        self
    }

    /// Checks too that a loop over the function allocates nothing from its
    /// third turn on, forward and backward. `count` gives the requests to the
    /// allocator so far: [`CountingAllocator::requests`](crate::CountingAllocator::requests),
    /// where that is the program's allocator. The function itself must not
    /// allocate then.
    pub fn count(mut self, count: fn() -> u64) -> Self {
        self.count = Some(count);
        self
    }

    /// [`Check::run`], and the same function in `f32`, whose value and
    /// gradients have to agree within `rounding` (a part of the larger number,
    /// or of 1).
    ///
    /// ```
    /// use wengert::Array;
    /// use wengert_check::Check;
    /// let x = Array::from([1.0, -2.0]);
    /// Check::new().run_both([x], 1e-5, |_, [x]| x.exp().tanh(), |_, [x]| x.exp().tanh())?;
    /// # Ok::<(), wengert_check::CheckError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Check::run`].
    pub fn run_both<const N: usize, F, G>(
        &self,
        inputs: [Array<f64>; N],
        rounding: f64,
        f: F,
        single: G,
    ) -> Result<(), CheckError>
    where
        F: for<'c> Fn(&'c Tape<f64>, [Tensor<'c, f64>; N]) -> Tensor<'c, f64>,
        G: for<'c> Fn(&'c Tape<f32>, [Tensor<'c, f32>; N]) -> Tensor<'c, f32>,
    {
        // Inputs which f32 has too: what differs is the function alone.
        let inputs = inputs.map(|x| x.map(|x| f64::from(x as f32)));
        self.run(inputs.clone(), &f)?;
        let mut function = Function { f: &f, tape: Tape::new_f64(), inputs };
        let exact = function.plain((1u32 << N) - 1, Form::Contiguous);
        let tape = Tape::new();
        let x = function.inputs.each_ref().map(|x| {
            let values: Vec<f32> = x.iter().map(|&x| x as f32).collect();
            tape.input(x.shape(), &values).require_grad()
        });
        let y = single(&tape, x);
        let widen = |shape: &[usize], values: &[f32]| {
            Array::new(shape, values.iter().map(|&x| f64::from(x)).collect::<Vec<_>>())
        };
        let closeness = Closeness { relative: rounding, absolute: rounding };
        let value = widen(y.shape(), &y.to_vec());
        closeness.compare(CheckKind::SinglePrecision, None, &value, &exact.value)?;
        if !y.requires_grad() {
            return Ok(());
        }
        let weights: Vec<f32> = cotangent(y.shape()).iter().map(|&x| x as f32).collect();
        let grads = y.backward_with(tape.input(y.shape(), &weights));
        (0..N).try_for_each(|i| {
            let gradient = grads.get(x[i]).map_or_else(|| vec![0.0; x[i].len()], |g| g.as_slice().to_vec());
            let gradient = widen(x[i].shape(), &gradient);
            closeness.compare(CheckKind::SinglePrecision, Some(i), &gradient, &exact.gradients[i])
        })
    }

    /// Checks a function at some inputs.
    ///
    /// # Errors
    /// The first check which fails, at the element where it fails most.
    pub fn run<const N: usize, F>(&self, inputs: [Array<f64>; N], f: F) -> Result<(), CheckError>
    where
        F: for<'c> Fn(&'c Tape<f64>, [Tensor<'c, f64>; N]) -> Tensor<'c, f64>,
    {
        let mut function = Function { f, tape: Tape::new_f64(), inputs };
        let rounding = Closeness { relative: 1e-11, absolute: 1e-11 };
        let numeric = Closeness { relative: self.tolerance, absolute: self.tolerance };
        let all = (1u32 << N) - 1;

        let plain = function.plain(all, Form::Contiguous);
        if let Some(reference) = &self.reference {
            let same = reference.shape() == plain.value.shape();
            assert!(same, "the reference has shape {:?}, the value {:?}", reference.shape(), plain.value.shape());
            numeric.compare(CheckKind::Reference, None, &plain.value, reference)?;
        }
        let silent = function.value(true);
        Closeness::EXACT.compare(CheckKind::NoGrad, None, &silent, &plain.value)?;
        let recorded = function.recorded();
        function.each(CheckKind::Recorded, rounding, &recorded, &plain.gradients)?;
        let twice = function.plain(all, Form::Twice).gradients;
        let double = plain.gradients.each_ref().map(|g| g.map(|x| 2.0 * x));
        function.each(CheckKind::Accumulation, rounding, &twice, &double)?;

        let mut variants = vec![(CheckKind::Strided, all, Form::Strided)];
        variants.extend((0..all).rev().take(63).map(|tracked| (CheckKind::Subsets, tracked, Form::Contiguous)));
        for (kind, tracked, form) in variants {
            let variant = function.plain(tracked, form);
            rounding.compare(kind, None, &variant.value, &plain.value)?;
            for i in (0..N).filter(|i| tracked >> i & 1 == 1) {
                rounding.compare(kind, Some(i), &variant.gradients[i], &plain.gradients[i])?;
            }
        }

        if let Some(count) = self.count {
            let made = function.allocations(count) as f64;
            Closeness::EXACT.judge(CheckKind::Allocations, None, &[], [(0, made, 0.0)].into_iter())?;
        }
        let cotangent = cotangent(plain.value.shape());
        let value = |function: &mut Function<F, N>| vec![function.value(true)];
        function.differences(
            CheckKind::FirstOrder,
            self,
            numeric,
            std::slice::from_ref(&cotangent),
            &plain.gradients,
            value,
        )?;
        let direction = function.directions();
        let moved = function.along(&direction, self.step, value).remove(0);
        if self.order > 1 {
            let product = function.directional(&direction);
            numeric.compare(CheckKind::Directional, None, &product, &moved)?;
            let left = dot(&cotangent, &product);
            let right: f64 = (0..N).map(|i| dot(&plain.gradients[i], &direction[i])).sum();
            let size: f64 = plain.gradients.iter().flat_map(|g| g.iter()).map(|g| 1.0 + g.abs()).sum();
            let rounding = Closeness { absolute: rounding.absolute * (1.0 + size), ..rounding };
            rounding.judge(CheckKind::DotProduct, None, &[], [(0, left, right)].into_iter())?;
            let second = function.second(&direction);
            let gradient = |function: &mut Function<F, N>| function.plain(all, Form::Contiguous).gradients.to_vec();
            function.differences(CheckKind::SecondOrder, self, numeric, &direction, &second, gradient)?;
        }
        Ok(())
    }
}

/// When two numbers count as equal.
#[derive(Clone, Copy)]
struct Closeness {
    relative: f64,
    absolute: f64,
}

impl Closeness {
    const EXACT: Closeness = Closeness { relative: 0.0, absolute: 0.0 };

    /// How far apart they are, as a multiple of what is allowed.
    fn excess(self, got: f64, expected: f64) -> f64 {
        if got == expected || got.is_nan() && expected.is_nan() {
            return 0.0;
        }
        let allowed = self.absolute + self.relative * got.abs().max(expected.abs());
        let excess = (got - expected).abs() / allowed;
        if excess.is_finite() { excess } else { f64::INFINITY }
    }

    fn compare(
        self,
        check: CheckKind,
        input: Option<usize>,
        got: &Array<f64>,
        expected: &Array<f64>,
    ) -> Result<(), CheckError> {
        let pairs = got.iter().copied().zip(expected.iter().copied()).enumerate();
        self.judge(check, input, got.shape(), pairs.map(|(i, (got, expected))| (i, got, expected)))
    }

    fn judge(
        self,
        check: CheckKind,
        input: Option<usize>,
        shape: &[usize],
        triples: impl Iterator<Item = (usize, f64, f64)>,
    ) -> Result<(), CheckError> {
        let (mut worst, mut wrong, mut compared) = (None, 0, 0);
        let mut most = 1.0;
        for (i, got, expected) in triples {
            let excess = self.excess(got, expected);
            compared += 1;
            if excess > 1.0 {
                wrong += 1;
                if excess > most || worst.is_none() {
                    most = excess;
                    worst = Some((i, got, expected));
                }
            }
        }
        let Some((i, got, expected)) = worst else { return Ok(()) };
        let element = index_of(i, shape);
        Err(CheckError { check, input, shape: shape.to_vec(), element, got, expected, wrong, compared })
    }
}

fn index_of(mut i: usize, shape: &[usize]) -> Vec<usize> {
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&d| {
            let at = i % d;
            i /= d;
            at
        })
        .collect();
    index.reverse();
    index
}

/// A fixed pseudo-random cotangent.
fn cotangent(shape: &[usize]) -> Array<f64> {
    let mut stream = Stream(shape.len() as u64 + 1);
    Array::from_fn(shape, |_| stream.cotangent())
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Contiguous,
    /// Inputs of more than one axis lie in memory in another order.
    Strided,
    /// The sweep is done twice.
    Twice,
}

struct Plain<const N: usize> {
    value: Array<f64>,
    /// Zeros where nothing flows.
    gradients: [Array<f64>; N],
}

/// A function at its inputs, with a tape to compute it on.
struct Function<F, const N: usize> {
    f: F,
    tape: Tape<f64>,
    inputs: [Array<f64>; N],
}

/// The inputs on the tape, those of the mask tracked.
fn place<'t, const N: usize>(
    tape: &'t Tape<f64>,
    inputs: &[Array<f64>; N],
    tracked: u32,
    form: Form,
) -> [Tensor<'t, f64>; N] {
    std::array::from_fn(|i| {
        let x = match form {
            Form::Strided => strided(tape, &inputs[i]),
            _ => tape.input(inputs[i].shape(), inputs[i].as_slice()),
        };
        if tracked >> i & 1 == 1 { x.require_grad() } else { x }
    })
}

/// The same values with the axes in memory in reverse.
fn strided<'t>(tape: &'t Tape<f64>, x: &Array<f64>) -> Tensor<'t, f64> {
    let straight = tape.input(x.shape(), x.as_slice());
    let reverse: Vec<isize> = (0..x.rank() as isize).rev().collect();
    let copy = straight.permute(&reverse).contiguous();
    copy.permute(&reverse)
}

fn zeros_or(gradient: Option<wengert::ArrayView<'_, f64>>, shape: &[usize]) -> Array<f64> {
    gradient.map_or_else(|| Array::zeros(shape), |g| g.to_array())
}

impl<F, const N: usize> Function<F, N>
where
    F: for<'c> Fn(&'c Tape<f64>, [Tensor<'c, f64>; N]) -> Tensor<'c, f64>,
{
    fn value(&mut self, silent: bool) -> Array<f64> {
        self.tape.rewind();
        let x = place(&self.tape, &self.inputs, 0, Form::Contiguous);
        let compute = || (self.f)(&self.tape, x);
        if silent { self.tape.no_grad(compute).to_array() } else { compute().to_array() }
    }

    fn plain(&mut self, tracked: u32, form: Form) -> Plain<N> {
        self.tape.rewind();
        let x = place(&self.tape, &self.inputs, tracked, form);
        let y = (self.f)(&self.tape, x);
        let mut grads = Gradients::new();
        if y.requires_grad() {
            let times = if form == Form::Twice { 2 } else { 1 };
            for _ in 0..times {
                y.backward_with_into(self.tape.tensor(cotangent(y.shape())), &mut grads);
            }
        }
        let gradient = |i: usize| match tracked >> i & 1 {
            1 => zeros_or(grads.get(x[i]), x[i].shape()),
            _ => Array::zeros(x[i].shape()),
        };
        Plain { value: y.to_array(), gradients: std::array::from_fn(gradient) }
    }

    /// The requests to the allocator of three turns, after two.
    fn allocations(&self, count: fn() -> u64) -> u64 {
        let (mut tape, mut grads) = (Tape::new_f64(), Gradients::new());
        let mut start = 0;
        for turn in 0..5 {
            if turn == 2 {
                start = count();
            }
            tape.rewind();
            grads.zero();
            let x = place(&tape, &self.inputs, u32::MAX, Form::Contiguous);
            let y = (self.f)(&tape, x);
            if y.requires_grad() {
                y.backward_with_into(tape.ones(y.shape()), &mut grads);
            }
        }
        count() - start
    }

    fn recorded(&mut self) -> [Array<f64>; N] {
        self.tape.rewind();
        let x = place(&self.tape, &self.inputs, u32::MAX, Form::Contiguous);
        let y = (self.f)(&self.tape, x);
        if !y.requires_grad() {
            return x.map(|x| Array::zeros(x.shape()));
        }
        y.vjp(self.tape.tensor(cotangent(y.shape())), x).map(Tensor::to_array)
    }

    /// `J v` by differentiating the recorded `Jᵀ u` in `u`.
    fn directional(&mut self, direction: &[Array<f64>; N]) -> Array<f64> {
        self.tape.rewind();
        let tape = &self.tape;
        let x = place(tape, &self.inputs, u32::MAX, Form::Contiguous);
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
    fn second(&mut self, direction: &[Array<f64>; N]) -> [Array<f64>; N] {
        self.tape.rewind();
        let tape = &self.tape;
        let x = place(tape, &self.inputs, u32::MAX, Form::Contiguous);
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

    /// One fixed pseudo-random direction per input.
    fn directions(&self) -> [Array<f64>; N] {
        let mut stream = Stream(2026);
        self.inputs.each_ref().map(|x| Array::from_fn(x.shape(), |_| stream.cotangent()))
    }

    fn each(
        &self,
        check: CheckKind,
        closeness: Closeness,
        got: &[Array<f64>; N],
        expected: &[Array<f64>; N],
    ) -> Result<(), CheckError> {
        (0..N).try_for_each(|i| closeness.compare(check, Some(i), &got[i], &expected[i]))
    }

    /// The derivative of several arrays along a direction, by differences.
    fn along(
        &mut self,
        direction: &[Array<f64>; N],
        step: f64,
        of: impl Fn(&mut Self) -> Vec<Array<f64>>,
    ) -> Vec<Array<f64>> {
        let start = self.inputs.clone();
        let mut at = |by: f64| {
            for (i, x) in self.inputs.iter_mut().enumerate() {
                let moved = x.as_mut_slice().iter_mut().zip(direction[i].as_slice());
                moved.zip(start[i].iter()).for_each(|((x, d), s)| *x = s + by * d);
            }
            of(self)
        };
        let [a, b, c, d] = [2.0, 1.0, -1.0, -2.0].map(|k| at(k * step));
        self.inputs = start;
        let slope = |[a, b, c, d]: [f64; 4]| (8.0 * (b - c) - (a - d)) / (12.0 * step);
        let derivative = |k: usize| {
            let parts = [&a[k], &b[k], &c[k], &d[k]].map(Array::as_slice);
            let data: Vec<f64> = (0..parts[0].len()).map(|i| slope(parts.map(|p| p[i]))).collect();
            Array::new(a[k].shape(), data)
        };
        (0..a.len()).map(derivative).collect()
    }

    /// Compares a gradient of `Σ weights · of` with central differences,
    /// extrapolated (Richardson).
    fn differences(
        &mut self,
        kind: CheckKind,
        check: &Check,
        closeness: Closeness,
        weights: &[Array<f64>],
        gradients: &[Array<f64>; N],
        of: impl Fn(&mut Self) -> Vec<Array<f64>> + Copy,
    ) -> Result<(), CheckError> {
        for (input, gradient) in gradients.iter().enumerate() {
            let n = gradient.len();
            let probes = n.min(check.probes);
            let mut found = Vec::with_capacity(probes);
            for k in 0..probes {
                // First and last included.
                let i = if probes > 1 { k * (n - 1) / (probes - 1) } else { 0 };
                let x = self.inputs[input].as_slice()[i];
                let step = check.step * x.abs().max(1.0);
                let mut at = |by: f64| {
                    self.inputs[input].as_mut_slice()[i] = x + by * step;
                    of(self)
                };
                let [a, b, c, d] = [2.0, 1.0, -1.0, -2.0].map(&mut at);
                self.inputs[input].as_mut_slice()[i] = x;
                // Elements are subtracted before they are summed: less is lost.
                let slope = |k: usize, j: usize| {
                    let [a, b, c, d] = [&a, &b, &c, &d].map(|p| p[k].as_slice()[j]);
                    (8.0 * (b - c) - (a - d)) / (12.0 * step)
                };
                let terms =
                    weights.iter().enumerate().flat_map(|(k, w)| w.iter().enumerate().map(move |(j, &w)| (k, j, w)));
                let numeric: f64 = terms.map(|(k, j, w)| w * slope(k, j)).sum();
                found.push((i, gradient.as_slice()[i], numeric));
            }
            closeness.judge(kind, Some(input), gradient.shape(), found.into_iter())?;
            if n > probes {
                self.whole(kind, check, closeness, weights, gradient, input, of)?;
            }
        }
        Ok(())
    }

    /// The same for one input moved as a whole: no element stays unseen.
    #[expect(clippy::too_many_arguments, reason = "the rest of `differences`")]
    fn whole(
        &mut self,
        kind: CheckKind,
        check: &Check,
        closeness: Closeness,
        weights: &[Array<f64>],
        gradient: &Array<f64>,
        input: usize,
        of: impl Fn(&mut Self) -> Vec<Array<f64>>,
    ) -> Result<(), CheckError> {
        let mut direction = self.directions();
        for (i, d) in direction.iter_mut().enumerate().filter(|(i, _)| *i != input) {
            *d = Array::zeros(self.inputs[i].shape());
        }
        let slopes = self.along(&direction, check.step, of);
        let numeric: f64 = slopes.iter().zip(weights).map(|(s, w)| dot(s, w)).sum();
        let got = dot(gradient, &direction[input]);
        // Errors add up as the terms do.
        let size: f64 = gradient.iter().map(|g| 1.0 + g.abs()).sum();
        let closeness = Closeness { absolute: closeness.absolute * size, ..closeness };
        let all = [usize::MAX; 0];
        closeness.judge(kind, Some(input), &all, [(0, got, numeric)].into_iter()).map_err(|e| CheckError {
            shape: gradient.shape().to_vec(),
            element: Vec::new(),
            ..e
        })
    }
}

fn dot(a: &Array<f64>, b: &Array<f64>) -> f64 {
    a.iter().zip(b.iter()).map(|(a, b)| a * b).sum()
}

/// `Σ gᵢ · vᵢ` on the tape.
fn contract<'t, const N: usize>(
    tape: &'t Tape<f64>,
    gradients: [Tensor<'t, f64>; N],
    direction: &[Array<f64>; N],
) -> Tensor<'t, f64> {
    let terms = gradients.into_iter().zip(direction);
    let products = terms.map(|(g, v)| (g * tape.input(v.shape(), v.as_slice())).sum());
    products.reduce(|a, b| a + b).unwrap_or_else(|| tape.scalar(0.0))
}
