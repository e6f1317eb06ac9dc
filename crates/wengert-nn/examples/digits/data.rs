//! The handwritten digits: decoding, and splitting into training and test.

use rand::seq::SliceRandom;

/// Bytes of one record: 64 pixels of 5 bits, then the label.
const RECORD: usize = 41;
/// Bytes of one image row: 8 pixels of 5 bits.
const ROW: usize = 5;
/// The value of a fully inked pixel.
const INK: f32 = 16.0;

/// Handwritten digits: `images[i]` shows the digit `labels[i]`.
pub(crate) struct Digits {
    /// 8x8 pixels, row-major, from 0 (paper) to 1 (ink).
    pub(crate) images: Vec<[f32; 64]>,
    /// What each image shows, 0 to 9.
    pub(crate) labels: Vec<usize>,
}

impl Digits {
    /// All 1,797 digits, in the order of the data set.
    ///
    /// The data is compiled into the program; `../data/README.md` describes
    /// its format and says whose it is.
    pub(crate) fn load() -> Digits {
        let (records, rest) = include_bytes!("../data/digits.bin").as_chunks::<RECORD>();
        assert!(rest.is_empty(), "digits.bin ends in the middle of a record");
        let images = records.iter().map(|record| image(&record[..RECORD - 1])).collect();
        let labels = records.iter().map(|record| usize::from(record[RECORD - 1])).collect();
        Digits { images, labels }
    }

    /// Shuffles the digits and deals them out as (training, test).
    ///
    /// `test_fraction` of them, rounded to a whole number, are for testing.
    ///
    /// # Panics
    ///
    /// If `test_fraction` is not between 0 and 1.
    pub(crate) fn split(self, rng: &mut impl rand::Rng, test_fraction: f64) -> (Digits, Digits) {
        assert!(
            (0.0..=1.0).contains(&test_fraction),
            "split: the test fraction must be between 0 and 1, got {test_fraction}"
        );
        let mut order: Vec<usize> = (0..self.labels.len()).collect();
        order.shuffle(rng);
        let tests = (order.len() as f64 * test_fraction).round() as usize;
        let (test, train) = order.split_at(tests);
        (self.pick(train), self.pick(test))
    }

    /// The digits at these positions.
    fn pick(&self, positions: &[usize]) -> Digits {
        Digits {
            images: positions.iter().map(|&i| self.images[i]).collect(),
            labels: positions.iter().map(|&i| self.labels[i]).collect(),
        }
    }
}

/// Unpacks the pixels of one record: pixel `c` of a row is its bits `5c` to `5c + 4`.
fn image(packed: &[u8]) -> [f32; 64] {
    let mut pixels = [0.0; 64];
    for (row, bytes) in pixels.chunks_exact_mut(8).zip(packed.chunks_exact(ROW)) {
        let bits = bytes.iter().rev().fold(0u64, |bits, &byte| bits << 8 | u64::from(byte));
        for (c, pixel) in row.iter_mut().enumerate() {
            *pixel = (bits >> (5 * c) & 31) as f32 / INK;
        }
    }
    pixels
}

/// The same digit as another hand might have put it: moved, turned and scaled
/// a little, by amounts drawn from `rng`. It saves a network from learning 1,438
/// digits by heart.
///
/// `amount` 0 changes nothing; at 1 the shift is up to a pixel, the turn up to
/// 0.3 radians, the scale up to 15 %.
pub(crate) fn jitter(image: &[f32; 64], amount: f32, rng: &mut impl rand::Rng) -> [f32; 64] {
    let mut draw = |most: f32| amount * most * (2.0 * unit(rng) - 1.0);
    let (dx, dy, turn, grow) = (draw(1.0), draw(1.0), draw(0.3), 1.0 + draw(0.15));
    let (sin, cos) = turn.sin_cos();
    std::array::from_fn(|i| {
        // Where this pixel's ink comes from, about the middle of the image.
        let (x, y) = ((i % 8) as f32 - 3.5, (i / 8) as f32 - 3.5);
        bilinear(image, 3.5 + grow * (cos * x - sin * y) + dx, 3.5 + grow * (sin * x + cos * y) + dy)
    })
}

/// The ink at a point between pixels; there is none outside.
fn bilinear(image: &[f32; 64], x: f32, y: f32) -> f32 {
    let at = |column: f32, row: f32| match (0.0..8.0).contains(&column) && (0.0..8.0).contains(&row) {
        true => image[8 * row as usize + column as usize],
        false => 0.0,
    };
    let (left, top) = (x.floor(), y.floor());
    let (u, v) = (x - left, y - top);
    let row = |row| (1.0 - u) * at(left, row) + u * at(left + 1.0, row);
    (1.0 - v) * row(top) + v * row(top + 1.0)
}

/// Uniform over `[0, 1)`.
fn unit(rng: &mut impl rand::Rng) -> f32 {
    rand::RngExt::random(rng)
}
