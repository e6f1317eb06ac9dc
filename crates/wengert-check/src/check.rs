//! The checks.

use wengert::{Array, Scalar, Tape, Tensor};

use crate::closeness::Closeness;
use crate::differences::{Differences, dot};
use crate::error::{CheckError, CheckKind};
use crate::function::{Form, Function, Plain, cotangent};

/// Every check which needs nothing but a function and its inputs, with the
/// default options of [`Check`].
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
    name: Option<String>,
    step: f64,
    tolerance: f64,
    rounding: f64,
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
    /// A step of 1e-4, a tolerance of 1e-6, a rounding of 1e-4, second order,
    /// 32 elements probed.
    pub fn new() -> Self {
        Check {
            name: None,
            step: 1e-4,
            tolerance: 1e-6,
            rounding: 1e-4,
            order: 2,
            probes: 32,
            reference: None,
            count: None,
        }
    }

    /// What the function is called in an error; otherwise by the op which
    /// makes its output.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
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

    /// What counts as equal in `f32`, where [`Check::run_both`] compares: a
    /// part `rounding` of the larger number, or of the largest element (or of
    /// 1, where that is less).
    pub fn rounding(mut self, rounding: f64) -> Self {
        self.rounding = rounding;
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
    /// third turn on: forward and backward, and forward, recorded backward and
    /// backward of that. `count` gives the requests to the allocator so far:
    /// [`CountingAllocator::requests`](crate::CountingAllocator::requests),
    /// where that is the program's allocator. The function itself must not
    /// allocate then.
    pub fn count(mut self, count: fn() -> u64) -> Self {
        self.count = Some(count);
        self
    }

    /// [`Check::run`], and the same function in `f32`: its value and gradients
    /// have to agree with those in `f64` (see [`Check::rounding`]), and it
    /// passes all checks but those by finite differences.
    ///
    /// A generic function is given twice:
    ///
    /// ```
    /// use wengert::{Array, Scalar, Tape, Tensor};
    /// use wengert_check::Check;
    ///
    /// fn swish<'t, T: Scalar>(_: &'t Tape<T>, [x]: [Tensor<'t, T>; 1]) -> Tensor<'t, T> {
    ///     x * x.sigmoid()
    /// }
    ///
    /// Check::new().run_both([Array::from([1.0, -2.0])], swish, swish)?;
    /// # Ok::<(), wengert_check::CheckError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Check::run`].
    pub fn run_both<const N: usize, F, G>(&self, inputs: [Array<f64>; N], f: F, single: G) -> Result<(), CheckError>
    where
        F: for<'c> Fn(&'c Tape<f64>, [Tensor<'c, f64>; N]) -> Tensor<'c, f64>,
        G: for<'c> Fn(&'c Tape<f32>, [Tensor<'c, f32>; N]) -> Tensor<'c, f32>,
    {
        let singles = inputs.map(|x| Array::new(x.shape(), x.iter().map(|&x| x as f32).collect::<Vec<_>>()));
        // Inputs which f32 has too: what differs is the function alone.
        let inputs =
            singles.each_ref().map(|x| Array::new(x.shape(), x.iter().copied().map(f64::from).collect::<Vec<_>>()));
        self.run(inputs.clone(), &f)?;
        let exact = Function::new(f, inputs).plain((1 << N) - 1, Form::Contiguous, 1);
        let mut function = Function::new(single, singles);
        let rounding = Closeness::within(self.rounding);
        let checks = |function: &mut Function<G, f32, N>| {
            let plain = self.consistency(function, rounding)?;
            let kind = CheckKind::SinglePrecision;
            rounding.scaled_to(&exact.value).compare(kind, None, &plain.value, &exact.value)?;
            each(kind, rounding, &plain.gradients, &exact.gradients)
        };
        checks(&mut function).map_err(|error| self.describe(error, &mut function))
    }

    /// Checks a function at some inputs, at most 16 (every subset of them is
    /// tried).
    ///
    /// # Errors
    /// The first check which fails, at the element where it fails most.
    pub fn run<const N: usize, F>(&self, inputs: [Array<f64>; N], f: F) -> Result<(), CheckError>
    where
        F: for<'c> Fn(&'c Tape<f64>, [Tensor<'c, f64>; N]) -> Tensor<'c, f64>,
    {
        let mut function = Function::new(f, inputs);
        let rounding = Closeness::within(1e-11);
        let checks = |function: &mut Function<F, f64, N>| {
            let plain = self.consistency(function, rounding)?;
            self.derivatives(function, &plain, rounding)
        };
        checks(&mut function).map_err(|error| self.describe(error, &mut function))
    }

    fn describe<F, T: Scalar, const N: usize>(&self, error: CheckError, function: &mut Function<F, T, N>) -> CheckError
    where
        F: for<'c> Fn(&'c Tape<T>, [Tensor<'c, T>; N]) -> Tensor<'c, T>,
    {
        let op = self.name.clone().unwrap_or_else(|| function.op());
        CheckError { op: op.into(), shapes: function.inputs.iter().map(|x| x.shape().into()).collect(), ..error }
    }

    /// The checks of one way of computing against another.
    fn consistency<F, T: Scalar, const N: usize>(
        &self,
        function: &mut Function<F, T, N>,
        rounding: Closeness,
    ) -> Result<Plain<T, N>, CheckError>
    where
        F: for<'c> Fn(&'c Tape<T>, [Tensor<'c, T>; N]) -> Tensor<'c, T>,
    {
        let all = (1 << N) - 1;
        let plain = function.plain(all, Form::Contiguous, 1);
        if let Some(reference) = &self.reference {
            let same = reference.shape() == plain.value.shape();
            assert!(same, "the reference has shape {:?}, the value {:?}", reference.shape(), plain.value.shape());
            let closeness = if T::NAME == "f64" { Closeness::within(self.tolerance) } else { rounding };
            closeness.compare(CheckKind::Reference, None, &plain.value, reference)?;
        }
        Closeness::EXACT.compare(CheckKind::NoGrad, None, &function.value(), &plain.value)?;
        each(CheckKind::Recorded, rounding, &function.recorded(), &plain.gradients)?;
        let twice = function.plain(all, Form::Contiguous, 2).gradients;
        let double = plain.gradients.each_ref().map(|g| g.map(|x| x + x));
        each(CheckKind::Accumulation, rounding, &twice, &double)?;

        let mut variants = vec![(CheckKind::Strided, all, Form::Reversed), (CheckKind::Strided, all, Form::Rotated)];
        variants.extend((0..all).rev().map(|tracked| (CheckKind::Subsets, tracked, Form::Contiguous)));
        for (kind, tracked, form) in variants {
            let mut variant = function.plain(tracked, form, 1);
            rounding.scaled_to(&plain.value).compare(kind, None, &variant.value, &plain.value)?;
            for i in (0..N).filter(|i| tracked >> i & 1 == 0) {
                variant.gradients[i] = plain.gradients[i].clone();
            }
            each(kind, rounding, &variant.gradients, &plain.gradients)?;
        }
        if let Some(count) = self.count {
            for recorded in [false, true] {
                let made = function.allocations(recorded, count) as f64;
                Closeness::EXACT.pair(CheckKind::Allocations, made, 0.0)?;
            }
        }
        Ok(plain)
    }

    /// Derivatives against finite differences, and `J v` against `Jᵀ u`.
    fn derivatives<F, const N: usize>(
        &self,
        function: &mut Function<F, f64, N>,
        plain: &Plain<f64, N>,
        rounding: Closeness,
    ) -> Result<(), CheckError>
    where
        F: for<'c> Fn(&'c Tape<f64>, [Tensor<'c, f64>; N]) -> Tensor<'c, f64>,
    {
        let closeness = Closeness::within(self.tolerance);
        let how = Differences { kind: CheckKind::FirstOrder, closeness, step: self.step, probes: self.probes };
        let cotangent = cotangent(plain.value.shape());
        let value = |function: &mut Function<F, f64, N>| vec![function.value()];
        function.compare_with_differences(how, std::slice::from_ref(&cotangent), &plain.gradients, value)?;
        if self.order == 1 {
            return Ok(());
        }
        let direction = function.directions();
        let product = function.directional(&direction);
        let moved = function.along(&direction, self.step, value).remove(0);
        closeness.compare(CheckKind::Directional, None, &product, &moved)?;
        let left = dot(&cotangent, &product);
        let right: f64 = (0..N).map(|i| dot(&plain.gradients[i], &direction[i])).sum();
        let size: f64 = plain.gradients.iter().flat_map(|g| g.iter()).map(|g| 1.0 + g.abs()).sum();
        rounding.times(1.0 + size).pair(CheckKind::DotProduct, left, right)?;
        let second = function.second(&direction);
        let gradient =
            |function: &mut Function<F, f64, N>| function.plain((1 << N) - 1, Form::Contiguous, 1).gradients.to_vec();
        let how = Differences { kind: CheckKind::SecondOrder, ..how };
        function.compare_with_differences(how, &direction, &second, gradient)
    }
}

/// Compares the gradients of all inputs.
fn each<T: Scalar, S: Scalar, const N: usize>(
    check: CheckKind,
    closeness: Closeness,
    got: &[Array<T>; N],
    expected: &[Array<S>; N],
) -> Result<(), CheckError> {
    (0..N).try_for_each(|i| closeness.scaled_to(&expected[i]).compare(check, Some(i), &got[i], &expected[i]))
}
