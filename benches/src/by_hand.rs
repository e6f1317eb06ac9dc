//! The training step of W2 without an engine: matrix products by the
//! `matrixmultiply` crate, loops for everything else, and buffers which stay.
//!
//! This is what the step costs when somebody differentiates it on paper. It
//! starts from the same weights as [`classifier`](crate::workloads::classifier)
//! and arrives at the same losses.

use matrixmultiply::sgemm;
use wengert::Params;

use crate::data::{Batches, Data};
use crate::program::{Part, Program};
use crate::workloads::Classifier;

/// A matrix in rows, or its transpose: elements and both strides.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    values: &'a [f32],
    shape: [usize; 2],
    strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    fn new(values: &'a [f32], shape: [usize; 2]) -> Self {
        assert_eq!(values.len(), shape[0] * shape[1]);
        Matrix { values, shape, strides: [shape[1], 1] }
    }

    fn t(self) -> Self {
        let ([m, n], [row, column]) = (self.shape, self.strides);
        Matrix { shape: [n, m], strides: [column, row], ..self }
    }

    /// The product, into rows.
    fn times(self, right: Matrix<'_>, product: &mut [f32]) {
        let ([m, k], [inner, n]) = (self.shape, right.shape);
        assert!(k == inner && product.len() == m * n);
        let [[rsa, csa], [rsb, csb]] = [self.strides, right.strides].map(|s| s.map(|s| s as isize));
        let (a, b) = (self.values.as_ptr(), right.values.as_ptr());
        // SAFETY: shapes and strides of both operands stay within their slices,
        // as `new` saw to; the product has `m` rows of `n`.
        unsafe { sgemm(m, k, n, 1.0, a, rsa, csa, b, rsb, csb, 0.0, product.as_mut_ptr(), n as isize, 1) }
    }
}

/// Parameters with their gradients and Adam's moments.
struct Weights {
    values: Vec<f32>,
    gradients: Vec<f32>,
    means: Vec<f32>,
    squares: Vec<f32>,
}

impl Weights {
    fn new(values: &[f32]) -> Self {
        let zeros = || vec![0.0; values.len()];
        Weights { values: values.to_vec(), gradients: zeros(), means: zeros(), squares: zeros() }
    }

    /// Adam's update number `step`, with a rate of 1e-3.
    fn update(&mut self, step: i32) {
        const BETAS: [f64; 2] = [0.9, 0.999];
        let [rate, unbias] = [1e-3 / (1.0 - BETAS[0].powi(step)), (1.0 - BETAS[1].powi(step)).sqrt().recip()];
        let (rate, unbias) = (rate as f32, unbias as f32);
        let [keep1, keep2] = BETAS.map(|beta| beta as f32);
        let [take1, take2] = BETAS.map(|beta| (1.0 - beta) as f32);
        let moments = self.means.iter_mut().zip(&mut self.squares);
        for ((value, g), (mean, square)) in self.values.iter_mut().zip(&self.gradients).zip(moments) {
            *mean = keep1 * *mean + take1 * g;
            *square = keep2 * *square + take2 * g * g;
            *value -= rate * *mean / (square.sqrt() * unbias + 1e-8);
        }
    }
}

/// A linear layer, and what it gave for the batch.
struct Layer {
    widths: [usize; 2],
    weight: Weights,
    bias: Weights,
    /// The output, after the ReLU if there is one.
    output: Vec<f32>,
    /// The gradient of the output, before the ReLU.
    gradient: Vec<f32>,
}

/// The step of W2.
pub struct ByHand {
    batches: Batches<f32>,
    layers: Vec<Layer>,
    batch: usize,
    turns: usize,
}

impl ByHand {
    /// The classifier of these widths, from the same weights.
    pub fn new(data: Data, widths: [usize; 4], batch: usize) -> Self {
        let mut params = Params::new();
        let Classifier { layers, batches } = Classifier::new(data, &mut params, widths, batch);
        let layer = |(i, layer): (usize, &wengert_nn::Linear)| {
            let bias = layer.bias.expect("layers of the classifier have one");
            Layer {
                widths: [widths[i], widths[i + 1]],
                weight: Weights::new(params[layer.weight].as_slice()),
                bias: Weights::new(params[bias].as_slice()),
                output: vec![0.0; batch * widths[i + 1]],
                gradient: vec![0.0; batch * widths[i + 1]],
            }
        };
        let layers = layers.iter().enumerate().map(layer).collect();
        ByHand { batches, layers, batch, turns: 0 }
    }

    fn forward(&mut self) {
        let (pictures, _) = self.batches.of(Part::whole(self.turns));
        for i in 0..self.layers.len() {
            let last = i + 1 == self.layers.len();
            let (before, rest) = self.layers.split_at_mut(i);
            let Layer { widths: [from, to], weight, bias, output, .. } = &mut rest[0];
            let input = before.last().map_or(pictures, |layer| &layer.output);
            let weight = Matrix::new(&weight.values, [*from, *to]);
            Matrix::new(input, [self.batch, *from]).times(weight, output);
            for row in output.chunks_exact_mut(*to) {
                for (y, b) in row.iter_mut().zip(&bias.values) {
                    let sum = *y + b;
                    *y = if last { sum } else { sum.max(0.0) };
                }
            }
        }
    }

    /// The mean cross-entropy; the gradient of the scores is left in the last
    /// layer.
    fn loss(&mut self) -> f32 {
        let (_, classes) = self.batches.of(Part::whole(self.turns));
        let Layer { widths: [_, to], output, gradient, .. } = self.layers.last_mut().expect("there are three");
        let share = 1.0 / self.batch as f32;
        let mut loss = 0.0;
        let rows = output.chunks_exact(*to).zip(gradient.chunks_exact_mut(*to));
        for ((scores, gradients), &class) in rows.zip(classes) {
            let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut total = 0.0;
            for (g, score) in gradients.iter_mut().zip(scores) {
                *g = (score - most).exp();
                total += *g;
            }
            loss += total.ln() + most - scores[class];
            gradients.iter_mut().for_each(|g| *g *= share / total);
            gradients[class] -= share;
        }
        loss * share
    }

    fn backward(&mut self) {
        let (pictures, _) = self.batches.of(Part::whole(self.turns));
        for i in (0..self.layers.len()).rev() {
            let (before, rest) = self.layers.split_at_mut(i);
            let Layer { widths: [from, to], weight, bias, gradient, .. } = &mut rest[0];
            let gradient = Matrix::new(gradient, [self.batch, *to]);
            let input = before.last().map_or(pictures, |layer| &layer.output);
            Matrix::new(input, [self.batch, *from]).t().times(gradient, &mut weight.gradients);
            bias.gradients.fill(0.0);
            for row in gradient.values.chunks_exact(*to) {
                bias.gradients.iter_mut().zip(row).for_each(|(sum, g)| *sum += g);
            }
            if let Some(below) = before.last_mut() {
                gradient.times(Matrix::new(&weight.values, [*from, *to]).t(), &mut below.gradient);
                for (g, &y) in below.gradient.iter_mut().zip(&below.output) {
                    *g = if y > 0.0 { *g } else { 0.0 };
                }
            }
        }
    }
}

impl Program for ByHand {
    fn turn(&mut self) -> f32 {
        self.forward();
        let loss = self.loss();
        self.backward();
        self.turns += 1;
        for layer in &mut self.layers {
            layer.weight.update(self.turns as i32);
            layer.bias.update(self.turns as i32);
        }
        loss
    }

    fn value(&mut self) -> f32 {
        self.forward();
        self.loss()
    }
}
