//! Leaves: what no op made.

use super::{Emit, Id, Inferred, Op, Values};
use crate::kernels::{Machine, Out};
use crate::scalar::Scalar;

/// Where a leaf comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// Data, or the result of an op under `no_grad`: no gradient flows to it.
    Constant,
    /// A tensor which wants its gradient.
    Tracked,
    /// A parameter: its place in the tape's table of stores, in its store, and
    /// in the slab.
    Param { table: u16, index: u32, offset: usize, frozen: bool },
}

impl Leaf {
    pub(crate) fn tracked(&self) -> bool {
        match self {
            Leaf::Constant => false,
            Leaf::Tracked => true,
            Leaf::Param { frozen, .. } => !frozen,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Leaf::Constant => "constant",
            Leaf::Tracked => "leaf",
            Leaf::Param { .. } => "parameter",
        }
    }

    pub(crate) fn operands(&self) -> [Id; 0] {
        []
    }

    pub(crate) fn infer<'a, T: Scalar>(&self, _: &'a impl Values<T>) -> Inferred<'a> {
        unreachable!("leaves are appended with their values")
    }

    pub(crate) unsafe fn run<T: Scalar>(&self, _: &impl Values<T>, _: Out<'_, T>, _: &Machine<T>) {
        unreachable!("leaves are appended with their values")
    }

    pub(crate) fn rule<E: Emit>(self, _: &mut E, _: Id, _: Id) {}
}

impl From<Leaf> for Op {
    fn from(leaf: Leaf) -> Op {
        Op::Leaf(leaf)
    }
}
