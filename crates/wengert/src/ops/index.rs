//! Picking elements by index.

use super::{Emit, Id, Inferred, List, Op, Values};
use crate::kernels::{Machine, Out};
use crate::scalar::Scalar;
use crate::shape::Dims;

/// `x[.., index[..]]`: one element of every row along the last axis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pick {
    x: Id,
    index: List<usize>,
}

/// The adjoint of [`Pick`]: zeros of the shape `dims`, with `g` at the index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unpick {
    g: Id,
    index: List<usize>,
    columns: u32,
}

/// One element of every row. The indices have been checked against the length
/// of the last axis, and there is one per row.
pub(crate) fn pick(x: Id, index: List<usize>) -> Op {
    Op::Pick(Pick { x, index })
}

impl Pick {
    pub(crate) fn name(&self) -> &'static str {
        "pick"
    }

    pub(crate) fn operands(&self) -> [Id; 1] {
        [self.x]
    }

    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        let dims = v.value(self.x).layout.dims;
        Inferred::Fresh(Dims::from_slice(&dims[..dims.len() - 1]))
    }

    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, _: &Machine<T>) {
        let x = v.value(self.x);
        let (last, strides) = (out.dims.len(), x.layout.strides);
        // SAFETY: a list of an op of this tape.
        let index = unsafe { self.index.get() };
        for (row, &column) in index.iter().enumerate() {
            let mut offset = column as isize * strides[last];
            let mut rest = row;
            for axis in (0..last).rev() {
                offset += (rest % out.dims[axis]) as isize * strides[axis];
                rest /= out.dims[axis];
            }
            // SAFETY: a position of the layout; the output has one element a row.
            unsafe { out.data.add(row).write(*x.data.offset(offset)) };
        }
    }

    pub(crate) fn rule<E: Emit>(self, e: &mut E, _: Id, g: Id) {
        if !e.wants(self.x) {
            return;
        }
        // SAFETY: the shape of an operand of an op under differentiation.
        let columns = unsafe { e.dims(self.x).get() }.last().map_or(0, |&n| n as u32);
        e.give(self.x, Op::Unpick(Unpick { g, index: self.index, columns }));
    }
}

impl Unpick {
    pub(crate) fn name(&self) -> &'static str {
        "unpick"
    }

    pub(crate) fn operands(&self) -> [Id; 1] {
        [self.g]
    }

    pub(crate) fn infer<'a, T: Scalar>(&self, v: &'a impl Values<T>) -> Inferred<'a> {
        let mut dims = Dims::from_slice(v.value(self.g).layout.dims);
        dims.push(self.columns as usize);
        Inferred::Fresh(dims)
    }

    pub(crate) unsafe fn run<T: Scalar>(&self, v: &impl Values<T>, out: Out<'_, T>, _: &Machine<T>) {
        let g = v.value(self.g).layout;
        let data = v.value(self.g).data;
        // SAFETY: a list of an op of this tape; one index per element of `g`,
        // below the number of columns, so every position lies in the output.
        unsafe {
            if !out.add {
                (0..out.len).for_each(|i| out.data.add(i).write(T::ZERO));
            }
            for (row, &column) in self.index.get().iter().enumerate() {
                let mut offset = 0;
                let mut rest = row;
                for axis in (0..g.rank()).rev() {
                    offset += (rest % g.dims[axis]) as isize * g.strides[axis];
                    rest /= g.dims[axis];
                }
                *out.data.add(row * self.columns as usize + column) += *data.offset(offset);
            }
        }
    }

    pub(crate) fn rule<E: Emit>(self, e: &mut E, _: Id, c: Id) {
        e.give(self.g, pick(c, self.index));
    }
}
