//! A small array on the host, owned and borrowed: data on its way into a tape
//! or out of it.

use std::fmt;
use std::ops::{Index, IndexMut};
use std::slice;

use smallvec::SmallVec;

use crate::display::fmt_array;
use crate::error::raise;
use crate::shape::element_count;
use crate::{Error, Scalar};

/// An owned array: a shape, and its elements in row-major order.
///
/// Rank 0, the shape `[]`, is a single number. An array belongs to no tape: it
/// holds data before it is recorded, and results after their tape is gone.
///
/// It prints like a PyTorch tensor: 4 decimals (or as many as `{:.N}` says),
/// aligned columns, scientific notation where the range demands, and a summary
/// of more than 1000 elements.
///
/// ```
/// use wengert::Array;
/// let a = Array::from([[1.0, -2.5], [0.25, 10.0]]);
/// assert_eq!(a.shape(), [2, 2]);
/// assert_eq!(a[[0, 1]], -2.5);
/// assert_eq!(a.to_string(), "[[ 1.0000, -2.5000],\n [ 0.2500, 10.0000]]");
/// assert_eq!(format!("{a:.1}"), "[[ 1.0, -2.5],\n [ 0.2, 10.0]]");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Array<T = f32> {
    shape: SmallVec<[usize; 4]>,
    data: Vec<T>,
}

/// A borrowed [`Array`]: a shape and elements which live elsewhere.
///
/// ```
/// use wengert::ArrayView;
/// let view = ArrayView::new(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
/// assert_eq!(view[[1, 0]], 3.0);
/// assert_eq!(view.to_string(), "[[1., 2.],\n [3., 4.]]");
/// ```
#[derive(Debug, PartialEq)]
pub struct ArrayView<'a, T = f32> {
    shape: &'a [usize],
    data: &'a [T],
}

impl<T> Clone for ArrayView<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for ArrayView<'_, T> {}

impl<T: Copy> Array<T> {
    /// An array of this shape over `data`, in row-major order.
    ///
    /// # Panics
    ///
    /// If `data` has not as many elements as the shape holds.
    ///
    /// ```
    /// use wengert::Array;
    /// let a = Array::new([2, 3], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    /// assert_eq!(a[[1, 0]], 4.0);
    /// ```
    #[track_caller]
    pub fn new(shape: impl AsRef<[usize]>, data: impl Into<Vec<T>>) -> Self {
        match Self::try_new(shape, data) {
            Ok(array) => array,
            Err(error) => raise(error),
        }
    }

    /// As [`new`](Self::new), for data of which the length is not known to fit.
    ///
    /// # Errors
    ///
    /// [`Error::LengthMismatch`] if `data` has not as many elements as the
    /// shape holds.
    ///
    /// ```
    /// use wengert::Array;
    /// let error = Array::try_new([2, 3], [0.0; 5]).unwrap_err();
    /// assert_eq!(error.to_string(), "Array: shape [2, 3] holds 6 elements, got 5");
    /// ```
    pub fn try_new(shape: impl AsRef<[usize]>, data: impl Into<Vec<T>>) -> Result<Self, Error> {
        let (shape, data) = (shape.as_ref(), data.into());
        check_length("Array", shape, data.len())?;
        Ok(Array { shape: shape.into(), data })
    }

    /// A single number, of shape `[]`.
    ///
    /// ```
    /// use wengert::Array;
    /// assert_eq!(Array::scalar(2.5).item(), 2.5);
    /// ```
    pub fn scalar(value: T) -> Self {
        Array { shape: SmallVec::new(), data: vec![value] }
    }

    /// An array of this shape with every element `value`.
    ///
    /// ```
    /// use wengert::Array;
    /// assert_eq!(Array::full([3], 7.0).as_slice(), [7.0, 7.0, 7.0]);
    /// ```
    #[track_caller]
    pub fn full(shape: impl AsRef<[usize]>, value: T) -> Self {
        let shape = shape.as_ref();
        Array { shape: shape.into(), data: vec![value; element_count(shape)] }
    }

    /// An array of this shape whose element at each index is `f(index)`.
    ///
    /// The calls come in row-major order.
    ///
    /// ```
    /// use wengert::Array;
    /// let eye = Array::from_fn([2, 2], |index| if index[0] == index[1] { 1.0 } else { 0.0 });
    /// assert_eq!(eye, Array::from([[1.0, 0.0], [0.0, 1.0]]));
    /// ```
    #[track_caller]
    pub fn from_fn(shape: impl AsRef<[usize]>, mut f: impl FnMut(&[usize]) -> T) -> Self {
        let shape = shape.as_ref();
        let mut index: SmallVec<[usize; 4]> = SmallVec::from_elem(0, shape.len());
        let data = (0..element_count(shape))
            .map(|_| {
                let value = f(&index);
                for (i, &n) in index.iter_mut().zip(shape).rev() {
                    *i += 1;
                    if *i < n {
                        break;
                    }
                    *i = 0;
                }
                value
            })
            .collect();
        Array { shape: shape.into(), data }
    }

    /// An array of the same shape with `f` applied to every element.
    ///
    /// ```
    /// use wengert::Array;
    /// let a = Array::from([1.0_f32, 4.0]);
    /// assert_eq!(a.map(|x| f64::from(x).sqrt()), Array::from([1.0_f64, 2.0]));
    /// ```
    pub fn map<U>(&self, f: impl FnMut(T) -> U) -> Array<U> {
        Array { shape: self.shape.clone(), data: self.data.iter().copied().map(f).collect() }
    }

    /// The only element.
    ///
    /// # Panics
    ///
    /// Unless there is exactly one, whatever the rank.
    ///
    /// ```
    /// use wengert::Array;
    /// assert_eq!(Array::new([1, 1], [3.0]).item(), 3.0);
    /// ```
    #[track_caller]
    pub fn item(&self) -> T {
        item(&self.shape, &self.data)
    }
}

impl<T: Scalar> Array<T> {
    /// An array of this shape full of zeros.
    ///
    /// ```
    /// use wengert::Array;
    /// let a: Array = Array::zeros([2, 3]);
    /// assert_eq!(a.len(), 6);
    /// ```
    #[track_caller]
    pub fn zeros(shape: impl AsRef<[usize]>) -> Self {
        Self::full(shape, T::ZERO)
    }
}

impl<T> Array<T> {
    /// The length of every axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements, the product of the shape.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are no elements: some axis has length 0.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The elements in row-major order.
    pub fn as_slice(&self) -> &[T] {
        &self.data
    }

    /// The elements in row-major order, to be changed.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// The elements in row-major order, without their shape.
    pub fn into_vec(self) -> Vec<T> {
        self.data
    }

    /// The same array, borrowed.
    pub fn view(&self) -> ArrayView<'_, T> {
        ArrayView { shape: &self.shape, data: &self.data }
    }

    /// The element at an index, or `None` if the index has another rank or is
    /// out of bounds.
    ///
    /// ```
    /// use wengert::Array;
    /// let a = Array::from([[1.0, 2.0], [3.0, 4.0]]);
    /// assert_eq!(a.get(&[1, 0]), Some(&3.0));
    /// assert_eq!(a.get(&[2, 0]), None);
    /// assert_eq!(a.get(&[1]), None);
    /// ```
    pub fn get(&self, index: &[usize]) -> Option<&T> {
        self.view().get(index)
    }

    /// The elements in row-major order, one by one.
    pub fn iter(&self) -> slice::Iter<'_, T> {
        self.data.iter()
    }
}

impl<'a, T> ArrayView<'a, T> {
    /// A view of this shape over `data`, in row-major order.
    ///
    /// # Panics
    ///
    /// If `data` has not as many elements as the shape holds.
    #[track_caller]
    pub fn new(shape: &'a [usize], data: &'a [T]) -> Self {
        if let Err(error) = check_length("ArrayView", shape, data.len()) {
            raise(error);
        }
        ArrayView { shape, data }
    }

    /// The length of every axis.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements, the product of the shape.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are no elements: some axis has length 0.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The elements in row-major order.
    pub fn as_slice(&self) -> &'a [T] {
        self.data
    }

    /// The element at an index, or `None` if the index has another rank or is
    /// out of bounds.
    pub fn get(&self, index: &[usize]) -> Option<&'a T> {
        offset(self.shape, index).map(|i| &self.data[i])
    }

    /// The elements in row-major order, one by one.
    pub fn iter(&self) -> slice::Iter<'a, T> {
        self.data.iter()
    }
}

impl<T: Copy> ArrayView<'_, T> {
    /// The only element.
    ///
    /// # Panics
    ///
    /// Unless there is exactly one, whatever the rank.
    #[track_caller]
    pub fn item(&self) -> T {
        item(self.shape, self.data)
    }

    /// An owned copy.
    ///
    /// ```
    /// use wengert::{Array, ArrayView};
    /// let view = ArrayView::new(&[2], &[1.0, 2.0]);
    /// assert_eq!(view.to_array(), Array::from([1.0, 2.0]));
    /// ```
    pub fn to_array(&self) -> Array<T> {
        Array { shape: self.shape.into(), data: self.data.to_vec() }
    }
}

/// Whether `got` elements fill this shape. A shape beyond all memory is filled by none.
fn check_length(op: &'static str, shape: &[usize], got: usize) -> Result<(), Error> {
    let expected = if shape.contains(&0) { 0 } else { shape.iter().fold(1, |n: usize, &d| n.saturating_mul(d)) };
    if got == expected { Ok(()) } else { Err(Error::LengthMismatch { op, shape: shape.to_vec(), expected, got }) }
}

#[track_caller]
fn item<T: Copy>(shape: &[usize], data: &[T]) -> T {
    match data {
        [value] => *value,
        _ => panic!("item: needs exactly one element, got shape {shape:?}"),
    }
}

/// Where the element at `index` stands in row-major order.
fn offset(shape: &[usize], index: &[usize]) -> Option<usize> {
    let inside = index.len() == shape.len() && index.iter().zip(shape).all(|(i, n)| i < n);
    inside.then(|| index.iter().zip(shape).fold(0, |at, (i, n)| at * n + i))
}

#[track_caller]
fn offset_or_panic(shape: &[usize], index: &[usize]) -> usize {
    match offset(shape, index) {
        Some(at) => at,
        None => panic!("index {index:?} is out of bounds for shape {shape:?}"),
    }
}

/// # Panics
///
/// If the index has another rank than the array, or is out of bounds.
impl<T, const N: usize> Index<[usize; N]> for Array<T> {
    type Output = T;

    #[track_caller]
    fn index(&self, index: [usize; N]) -> &T {
        &self.data[offset_or_panic(&self.shape, &index)]
    }
}

/// # Panics
///
/// If the index has another rank than the array, or is out of bounds.
impl<T, const N: usize> IndexMut<[usize; N]> for Array<T> {
    #[track_caller]
    fn index_mut(&mut self, index: [usize; N]) -> &mut T {
        &mut self.data[offset_or_panic(&self.shape, &index)]
    }
}

/// # Panics
///
/// If the index has another rank than the view, or is out of bounds.
impl<T, const N: usize> Index<[usize; N]> for ArrayView<'_, T> {
    type Output = T;

    #[track_caller]
    fn index(&self, index: [usize; N]) -> &T {
        &self.data[offset_or_panic(self.shape, &index)]
    }
}

/// The empty array, of shape `[0]`.
impl<T> Default for Array<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

/// A single number, of shape `[]`.
impl<T: Scalar> From<T> for Array<T> {
    fn from(value: T) -> Self {
        Array::scalar(value)
    }
}

/// A vector, of shape `[n]`.
impl<T> From<Vec<T>> for Array<T> {
    fn from(data: Vec<T>) -> Self {
        Array { shape: [data.len()].as_slice().into(), data }
    }
}

/// A vector, of shape `[N]`.
impl<T: Scalar, const N: usize> From<[T; N]> for Array<T> {
    fn from(data: [T; N]) -> Self {
        Vec::from(data).into()
    }
}

/// A matrix, of shape `[N, M]`.
impl<T: Scalar, const N: usize, const M: usize> From<[[T; M]; N]> for Array<T> {
    fn from(rows: [[T; M]; N]) -> Self {
        Array { shape: [N, M].as_slice().into(), data: rows.into_iter().flatten().collect() }
    }
}

impl<T> AsRef<[T]> for Array<T> {
    fn as_ref(&self) -> &[T] {
        &self.data
    }
}

impl<T> AsRef<[T]> for ArrayView<'_, T> {
    fn as_ref(&self) -> &[T] {
        self.data
    }
}

impl<T: Scalar> fmt::Display for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_array(f, &self.shape, &self.data)
    }
}

impl<T: Scalar> fmt::Display for ArrayView<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_array(f, self.shape, self.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn construction() {
        let a = Array::from_fn([2, 3], |i| (10 * i[0] + i[1]) as f32);
        assert_eq!(a.as_slice(), [0.0, 1.0, 2.0, 10.0, 11.0, 12.0]);
        assert_eq!((a.shape(), a.rank(), a.len(), a.is_empty()), ([2, 3].as_slice(), 2, 6, false));
        assert_eq!(Array::from_fn([], |i| i.len() as f32), Array::from(0.0));
        assert_eq!(Array::<f32>::from_fn([2, 0], |_| unreachable!()).shape(), [2, 0]);
        assert_eq!(Array::<f64>::zeros([2]), Array::from(vec![0.0, 0.0]));
        assert_eq!(Array::from([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]).shape(), [3, 2]);
        assert_eq!(Array::<f32>::default(), Array::new([0], []));
    }

    #[test]
    fn lengths_are_checked() {
        let error = Array::try_new([2, 3], [0.0; 5]).unwrap_err();
        assert_eq!(error, Error::LengthMismatch { op: "Array", shape: vec![2, 3], expected: 6, got: 5 });
        assert!(Array::try_new([usize::MAX, 2], [0.0; 2]).is_err());
        assert!(Array::<f32>::try_new([usize::MAX, 2, 0], []).is_ok());
    }

    #[test]
    #[should_panic(expected = "Array: shape [2, 3] holds 6 elements, got 5")]
    fn new_panics() {
        let _ = Array::new([2, 3], [0.0; 5]);
    }

    #[test]
    #[should_panic(expected = "ArrayView: shape [] holds 1 elements, got 0")]
    fn view_panics() {
        let _ = ArrayView::<f32>::new(&[], &[]);
    }

    #[test]
    #[should_panic(expected = "item: needs exactly one element, got shape [2, 1]")]
    fn item_panics() {
        let _ = Array::<f32>::zeros([2, 1]).item();
    }

    #[test]
    #[should_panic(expected = "index [0, 3] is out of bounds for shape [2, 3]")]
    fn index_panics() {
        let _ = Array::<f32>::zeros([2, 3])[[0, 3]];
    }

    #[test]
    fn elements() {
        let mut a = Array::from([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
        a[[1, 2]] = 7.0;
        a.as_mut_slice()[0] = 0.0;
        assert_eq!((a[[1, 2]], a.view()[[0, 0]], a.get(&[0, 2])), (7.0, 0.0, Some(&3.0)));
        assert_eq!((a.get(&[0, 3]), a.get(&[0]), a.get(&[0, 0, 0])), (None, None, None));
        assert_eq!(Array::scalar(5.0)[[]], 5.0);
        assert_eq!(a.iter().sum::<f64>(), 21.0);
        assert_eq!(a.map(|x| x > 4.0).into_vec(), [false, false, false, false, true, true]);
    }

    #[test]
    fn views_outlive_their_handle() {
        let a = Array::from([1.0, 2.0]);
        let (shape, slice, last) = {
            let view = a.view();
            (view.shape(), view.as_slice(), view.get(&[1]))
        };
        assert_eq!((shape, slice, last), ([2].as_slice(), [1.0, 2.0].as_slice(), Some(&2.0)));
        assert_eq!(a.view().to_array(), a);
        assert_eq!(a.view().to_string(), a.to_string());
        assert_eq!(ArrayView::new(&[1, 1], &[3.0]).item(), 3.0);
    }
}
