//! Strategies for shapes and arrays.

use std::fmt::{self, Debug};
use std::marker::PhantomData;
use std::ops::RangeInclusive;

use proptest::array::uniform;
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::strategy::{NewTree, Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use wengert::{Array, Scalar};

use crate::values::{Stream, Values};

/// Shapes of so many axes of such lengths. They shrink to fewer and shorter
/// axes.
///
/// ```
/// use proptest::prelude::*;
/// use wengert_check::shapes;
/// proptest!(|(shape in shapes(0..=4, 1..=5))| {
///     prop_assert!(shape.len() <= 4 && shape.iter().all(|d| (1..=5).contains(d)));
/// });
/// ```
pub fn shapes(ranks: RangeInclusive<usize>, dims: RangeInclusive<usize>) -> impl Strategy<Value = Vec<usize>> + Clone {
    vec(dims, ranks)
}

/// `N` shapes which broadcast together to one of those of [`shapes`]: axes are
/// stretched from length 1, or missing at the front.
///
/// ```
/// use proptest::prelude::*;
/// use wengert_check::broadcastable;
/// proptest!(|([a, b] in broadcastable::<2>(0..=4, 0..=3))| {
///     let pairs = a.iter().rev().zip(b.iter().rev());
///     prop_assert!(pairs.into_iter().all(|(&x, &y)| x == y || x == 1 || y == 1));
/// });
/// ```
pub fn broadcastable<const N: usize>(
    ranks: RangeInclusive<usize>,
    dims: RangeInclusive<usize>,
) -> impl Strategy<Value = [Vec<usize>; N]> + Clone {
    // Which axes are stretched, and how many are missing: mostly none.
    let operand = (any::<u8>(), any::<u8>(), 0usize..12);
    (shapes(ranks, dims), uniform::<_, N>(operand)).prop_map(|(full, operands)| {
        operands.map(|(once, twice, missing)| {
            let stretched = once & twice;
            let drop = if missing <= full.len() { missing } else { 0 };
            let keep = |(i, &d): (usize, &usize)| if stretched >> (i % 8) & 1 == 1 { 1 } else { d };
            full.iter().enumerate().skip(drop).map(keep).collect()
        })
    })
}

/// An array of a shape drawn from `shape` (or `Just([2, 3])`), its elements
/// from `values`: a range, or one of [`away_from`](crate::away_from),
/// [`landing_on`](crate::landing_on), [`distinct`](crate::distinct).
///
/// It shrinks to the smallest shape first, then to rounder numbers.
///
/// ```
/// use proptest::prelude::*;
/// use wengert_check::{shapes, tensor};
/// proptest!(|(x in tensor::<f32>(shapes(1..=2, 1..=5), 0.0..1.0), y in tensor::<f64>(Just([2, 3]), -3.0..3.0))| {
///     prop_assert!(x.iter().all(|v| (0.0..1.0).contains(v)));
///     prop_assert_eq!(y.shape(), [2, 3]);
/// });
/// ```
pub fn tensor<T: Scalar>(
    shape: impl Strategy<Value = impl AsRef<[usize]> + Debug>,
    values: impl Values<T>,
) -> impl Strategy<Value = Array<T>> {
    let shape = shape.prop_map(|s| [s.as_ref().to_vec()]);
    tensors(shape, values).prop_map(|[x]| x)
}

/// `N` arrays of shapes which are drawn together.
///
/// ```
/// use proptest::prelude::*;
/// use wengert_check::{broadcastable, check_gradients, tensors};
/// let inputs = tensors::<f64, 3>(broadcastable(0..=3, 1..=3), -2.0..2.0);
/// proptest!(ProptestConfig::with_cases(8), |([a, b, c] in inputs)| {
///     check_gradients([a, b, c], |_, [a, b, c]| a * b + c)?;
/// });
/// ```
pub fn tensors<T: Scalar, const N: usize>(
    shapes: impl Strategy<Value = [Vec<usize>; N]>,
    values: impl Values<T>,
) -> Tensors<T, impl Strategy<Value = [Vec<usize>; N]>, impl Values<T>, N> {
    Tensors { shapes, values, element: PhantomData }
}

/// Two arrays which broadcast together.
///
/// ```
/// use proptest::prelude::*;
/// use wengert_check::{broadcastable_pair, check_gradients};
/// proptest!(ProptestConfig::with_cases(8), |((a, b) in broadcastable_pair::<f64>(0..=3, 1..=3, -2.0..2.0))| {
///     check_gradients([a, b], |_, [a, b]| a * b)?;
/// });
/// ```
pub fn broadcastable_pair<T: Scalar>(
    ranks: RangeInclusive<usize>,
    dims: RangeInclusive<usize>,
    values: impl Values<T>,
) -> impl Strategy<Value = (Array<T>, Array<T>)> {
    tensors::<T, 2>(broadcastable(ranks, dims), values).prop_map(|[a, b]| (a, b))
}

/// Three arrays which broadcast together.
pub fn broadcastable_triple<T: Scalar>(
    ranks: RangeInclusive<usize>,
    dims: RangeInclusive<usize>,
    values: impl Values<T>,
) -> impl Strategy<Value = (Array<T>, Array<T>, Array<T>)> {
    tensors::<T, 3>(broadcastable(ranks, dims), values).prop_map(|[a, b, c]| (a, b, c))
}

/// The strategy of [`tensors`].
#[derive(Clone)]
pub struct Tensors<T, S, V, const N: usize> {
    shapes: S,
    values: V,
    element: PhantomData<fn() -> T>,
}

impl<T, S: Debug, V: Debug, const N: usize> Debug for Tensors<T, S, V, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tensors").field("shapes", &self.shapes).field("values", &self.values).finish()
    }
}

impl<T, S, V, const N: usize> Strategy for Tensors<T, S, V, N>
where
    T: Scalar,
    S: Strategy<Value = [Vec<usize>; N]>,
    V: Values<T>,
{
    type Tree = Tree<T, S::Tree, V>;
    type Value = [Array<T>; N];

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let shapes = self.shapes.new_tree(runner)?;
        let seed = any::<u64>().new_tree(runner)?.current();
        Ok(Tree { shapes, seed, values: self.values.clone(), rounding: 0, refused: false, element: PhantomData })
    }
}

/// Shapes which shrink, and elements which follow from them and a seed.
pub struct Tree<T, S, V> {
    shapes: S,
    seed: u64,
    values: V,
    /// How far down [`ROUNDINGS`] the elements are.
    rounding: usize,
    /// The last rounding was one too many.
    refused: bool,
    element: PhantomData<fn() -> T>,
}

impl<T, S: Debug, V: Debug> Debug for Tree<T, S, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").field("shapes", &self.shapes).field("values", &self.values).finish()
    }
}

/// Units which elements are rounded to, one after another.
const ROUNDINGS: [f64; 4] = [0.0, 0.01, 0.1, 1.0];

impl<T, S, V, const N: usize> ValueTree for Tree<T, S, V>
where
    T: Scalar,
    S: ValueTree<Value = [Vec<usize>; N]>,
    V: Values<T>,
{
    type Value = [Array<T>; N];

    fn current(&self) -> Self::Value {
        let mut seeds = Stream(self.seed);
        let unit = ROUNDINGS[self.rounding];
        self.shapes.current().map(|shape| {
            let n = shape.iter().product();
            let mut data = self.values.draw(n, seeds.bits());
            if unit > 0.0 {
                for x in &mut data {
                    let units = x.to_f64() / unit;
                    // The nearest may lie outside the range; the one nearer to 0 then does not.
                    let candidates = [units.round(), units.trunc()].map(|n| T::from_f64(n * unit));
                    if let Some(&round) = candidates.iter().find(|&&r| self.values.admits(r)) {
                        *x = round;
                    }
                }
            }
            Array::new(shape, data)
        })
    }

    fn simplify(&mut self) -> bool {
        if self.rounding == 0 && self.shapes.simplify() {
            return true;
        }
        let more = !self.refused && self.rounding + 1 < ROUNDINGS.len();
        self.rounding += usize::from(more);
        more
    }

    fn complicate(&mut self) -> bool {
        if self.rounding == 0 {
            return self.shapes.complicate();
        }
        if self.refused {
            return false;
        }
        self.refused = true;
        self.rounding -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::test_runner::{Config, TestError};

    use super::*;

    #[test]
    fn shrinks_to_the_smallest_shape_which_fails() {
        let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
        let strategy = tensor::<f64>(shapes(0..=4, 0..=5), -3.0..3.0);
        // Shrinking drops or shortens one axis at a time: from every shape which
        // fails here, some such step leads to one which still does, down to [2, 2].
        let failed = runner.run(&strategy, |x| {
            assert!(x.shape().iter().filter(|&&d| d >= 2).count() < 2);
            Ok(())
        });
        let Err(TestError::Fail(_, x)) = failed else { panic!("{failed:?}") };
        assert_eq!(x.shape(), [2, 2]);
        assert!(x.iter().all(|v| v.fract() == 0.0), "{x}");
    }

    #[test]
    fn rounding_stops_where_the_failure_would_vanish() {
        let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
        let strategy = tensor::<f64>(shapes(1..=1, 1..=3), 0.0..1.0);
        let failed = runner.run(&strategy, |x| {
            assert!(x.iter().all(|v| v.fract() == 0.0));
            Ok(())
        });
        let Err(TestError::Fail(_, x)) = failed else { panic!("{failed:?}") };
        assert_eq!(x.shape(), [1]);
        let tenths = x.as_slice()[0] * 10.0;
        // Below 0.05 tenths are 0, which passes; the hundredths before them may be 5.
        assert!((tenths - tenths.round()).abs() < 1e-9 || x.as_slice()[0] <= 0.05, "{x}");
    }

    #[test]
    fn broadcasting_shapes_vary() {
        let mut runner = TestRunner::deterministic();
        let strategy = broadcastable::<2>(2..=3, 2..=3);
        let drawn: Vec<_> = (0..200).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect();
        assert!(drawn.iter().any(|[a, b]| a.len() != b.len()));
        assert!(drawn.iter().any(|[a, b]| a == b && !a.contains(&1)));
        assert!(drawn.iter().any(|[a, b]| a.len() == b.len() && a.contains(&1) && !b.contains(&1)));
    }
}
