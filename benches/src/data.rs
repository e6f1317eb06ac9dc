//! Weights and data: from files, or drawn with a fixed seed.

use std::fs::File;
use std::io::{BufReader, Read};

use rand::RngExt;
use rand::rngs::StdRng;
use rand_distr::{Distribution, Normal};
use wengert::{Param, Params};
use wengert_nn::Linear;

use crate::program::Part;
use crate::rng;

/// Where weights and data come from. Values are asked for by name; the
/// distribution is used where there is no folder of files.
pub struct Data {
    folder: Option<String>,
    rng: StdRng,
}

/// How values are drawn.
#[derive(Clone, Copy)]
pub enum Draw {
    /// All the same.
    Constant(f32),
    /// Uniform between two bounds.
    Uniform(f32, f32),
    /// Normal, by mean and standard deviation.
    Normal(f32, f32),
}

impl Draw {
    /// Uniform up to `1 / sqrt(n)` on either side, for a layer of `n` inputs.
    pub fn for_inputs(n: usize) -> Self {
        let bound = 1.0 / (n as f32).sqrt();
        Draw::Uniform(-bound, bound)
    }
}

impl Data {
    /// From the folder which `PEERS_DATA` names; drawn if it is not set.
    pub fn from_environment() -> Self {
        Data { folder: std::env::var("PEERS_DATA").ok(), rng: rng() }
    }

    /// Drawn, always.
    pub fn drawn() -> Self {
        Data { folder: None, rng: rng() }
    }

    /// The four-byte values of a file, if there is a folder of files.
    fn read<T>(&self, file: &str, len: usize, value: impl Fn([u8; 4]) -> T) -> Option<Vec<T>> {
        let path = format!("{}/{file}", self.folder.as_ref()?);
        Some(four_by_four(&path, len, value).unwrap_or_else(|error| panic!("{path}: {error}")))
    }

    /// Numbers.
    pub fn values(&mut self, name: &str, len: usize, draw: Draw) -> Vec<f32> {
        if let Some(values) = self.read(&format!("{name}.f32"), len, f32::from_le_bytes) {
            return values;
        }
        let rng = &mut self.rng;
        match draw {
            Draw::Constant(value) => vec![value; len],
            Draw::Uniform(low, high) => (0..len).map(|_| rng.random_range(low..high)).collect(),
            Draw::Normal(mean, deviation) => {
                let normal = Normal::new(mean, deviation).expect("a deviation of at least 0");
                normal.sample_iter(rng).take(len).collect()
            }
        }
    }

    /// Labels, tokens: whole numbers below `classes`.
    pub fn indices(&mut self, name: &str, len: usize, classes: usize) -> Vec<usize> {
        let stored = self.read(&format!("{name}.i32"), len, |bytes| i32::from_le_bytes(bytes) as usize);
        stored.unwrap_or_else(|| (0..len).map(|_| self.rng.random_range(0..classes)).collect())
    }

    /// A parameter of this name.
    pub fn param<const N: usize>(&mut self, params: &mut Params, name: &str, shape: [usize; N], draw: Draw) -> Param {
        params.add(name, shape, &self.values(name, shape.iter().product(), draw))
    }

    /// A linear layer, of `name.w` and `name.b`.
    pub fn linear(&mut self, params: &mut Params, name: &str, [from, to]: [usize; 2], draw: [Draw; 2]) -> Linear {
        let weight = self.param(params, &format!("{name}.w"), [from, to], draw[0]);
        let bias = self.param(params, &format!("{name}.b"), [to], draw[1]);
        Linear { weight, bias: Some(bias) }
    }
}

/// The values of four bytes each in a file of so many. It is never in memory as a
/// whole, which would count for the peak of the programs' memory.
fn four_by_four<T>(path: &str, len: usize, value: impl Fn([u8; 4]) -> T) -> std::io::Result<Vec<T>> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    assert!(bytes == 4 * len as u64, "{path}: {bytes} bytes, wanted {len} values");
    let mut file = BufReader::new(file);
    let mut values = Vec::with_capacity(len);
    for _ in 0..len {
        let mut bytes = [0; 4];
        file.read_exact(&mut bytes)?;
        values.push(value(bytes));
    }
    Ok(values)
}

/// A number of batches of inputs with labels, all of one size.
pub struct Batches<X> {
    count: usize,
    inputs: Vec<X>,
    labels: Vec<usize>,
}

impl<X> Batches<X> {
    /// All inputs, one batch after the other, and all labels.
    pub fn new(count: usize, inputs: Vec<X>, labels: Vec<usize>) -> Self {
        Batches { count, inputs, labels }
    }

    /// The inputs and labels of a part.
    ///
    /// # Panics
    /// If its batch cannot be cut into so many equal shards.
    pub fn of(&self, part: Part) -> (&[X], &[usize]) {
        let Part { turn, shard, shards } = part;
        let cut = |all: usize| {
            assert!(
                all.is_multiple_of(self.count * shards),
                "{all} values in {} batches of {shards} shards",
                self.count
            );
            let len = all / self.count / shards;
            let at = (turn % self.count * shards + shard) * len;
            at..at + len
        };
        (&self.inputs[cut(self.inputs.len())], &self.labels[cut(self.labels.len())])
    }
}
