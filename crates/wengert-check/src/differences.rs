//! Central differences, extrapolated (Richardson) to an error of order h⁴.

use wengert::{Array, Tape, Tensor};

use crate::closeness::Closeness;
use crate::error::{CheckError, CheckKind};
use crate::function::Function;
use crate::values::Stream;

/// How differences are taken.
#[derive(Clone, Copy)]
pub(crate) struct Differences {
    pub(crate) kind: CheckKind,
    pub(crate) closeness: Closeness,
    pub(crate) step: f64,
    /// How many elements of an input are moved one by one, at most.
    pub(crate) probes: usize,
}

/// Where the function is evaluated, in steps.
const AT: [f64; 4] = [2.0, 1.0, -1.0, -2.0];

/// The derivative from values at [`AT`].
fn slope([a, b, c, d]: [f64; 4], step: f64) -> f64 {
    (8.0 * (b - c) - (a - d)) / (12.0 * step)
}

pub(crate) fn dot(a: &Array<f64>, b: &Array<f64>) -> f64 {
    a.iter().zip(b.iter()).map(|(a, b)| a * b).sum()
}

impl<F, const N: usize> Function<F, f64, N>
where
    F: for<'c> Fn(&'c Tape<f64>, [Tensor<'c, f64>; N]) -> Tensor<'c, f64>,
{
    /// One fixed pseudo-random direction per input.
    pub(crate) fn directions(&self) -> [Array<f64>; N] {
        let mut stream = Stream(2026);
        self.inputs.each_ref().map(|x| Array::from_fn(x.shape(), |_| stream.cotangent()))
    }

    /// The derivative of several arrays along a direction.
    pub(crate) fn along(
        &mut self,
        direction: &[Array<f64>; N],
        step: f64,
        of: impl Fn(&mut Self) -> Vec<Array<f64>>,
    ) -> Vec<Array<f64>> {
        let start = self.inputs.clone();
        let values = AT.map(|k| {
            for (i, x) in self.inputs.iter_mut().enumerate() {
                let moved = x.as_mut_slice().iter_mut().zip(direction[i].as_slice());
                moved.zip(start[i].iter()).for_each(|((x, d), s)| *x = s + k * step * d);
            }
            of(self)
        });
        self.inputs = start;
        let derivative = |k: usize| {
            let parts = values.each_ref().map(|v| v[k].as_slice());
            let data: Vec<f64> = (0..parts[0].len()).map(|i| slope(parts.map(|p| p[i]), step)).collect();
            Array::new(values[0][k].shape(), data)
        };
        (0..values[0].len()).map(derivative).collect()
    }

    /// Compares gradients of `Σ weights · of` with differences.
    pub(crate) fn compare_with_differences(
        &mut self,
        how: Differences,
        weights: &[Array<f64>],
        gradients: &[Array<f64>; N],
        of: impl Fn(&mut Self) -> Vec<Array<f64>> + Copy,
    ) -> Result<(), CheckError> {
        for (input, gradient) in gradients.iter().enumerate() {
            let n = gradient.len();
            let probes = n.min(how.probes);
            let mut found = Vec::with_capacity(probes);
            for k in 0..probes {
                // First and last included.
                let i = if probes > 1 { k * (n - 1) / (probes - 1) } else { 0 };
                let x = self.inputs[input].as_slice()[i];
                let step = how.step * x.abs().max(1.0);
                let values = AT.map(|by| {
                    self.inputs[input].as_mut_slice()[i] = x + by * step;
                    of(self)
                });
                self.inputs[input].as_mut_slice()[i] = x;
                // Elements are subtracted before they are summed: less is lost.
                let slope = |k: usize, j: usize| slope(values.each_ref().map(|v| v[k].as_slice()[j]), step);
                let terms =
                    weights.iter().enumerate().flat_map(|(k, w)| w.iter().enumerate().map(move |(j, &w)| (k, j, w)));
                let numeric: f64 = terms.map(|(k, j, w)| w * slope(k, j)).sum();
                found.push((i, gradient.as_slice()[i], numeric));
            }
            how.closeness.judge(how.kind, Some(input), gradient.shape(), found.into_iter())?;
            if n > probes {
                self.compare_as_a_whole(how, weights, gradient, input, of)?;
            }
        }
        Ok(())
    }

    /// The same for one input moved as a whole: no element stays unseen.
    fn compare_as_a_whole(
        &mut self,
        how: Differences,
        weights: &[Array<f64>],
        gradient: &Array<f64>,
        input: usize,
        of: impl Fn(&mut Self) -> Vec<Array<f64>>,
    ) -> Result<(), CheckError> {
        let mut direction = self.directions();
        for (i, d) in direction.iter_mut().enumerate().filter(|(i, _)| *i != input) {
            *d = Array::zeros(self.inputs[i].shape());
        }
        let slopes = self.along(&direction, how.step, of);
        let numeric: f64 = slopes.iter().zip(weights).map(|(s, w)| dot(s, w)).sum();
        let got = dot(gradient, &direction[input]);
        // Errors add up as the terms do.
        let size: f64 = gradient.iter().map(|g| 1.0 + g.abs()).sum();
        how.closeness.times(size).pair(how.kind, got, numeric).map_err(|e| CheckError {
            input: Some(input),
            shape: gradient.shape().into(),
            ..e
        })
    }
}
