//! Recording: an op runs, and its entry is appended.

use std::panic::Location;
use std::ptr::NonNull;

use super::{Tape, non_finite};
use crate::entries::{Entry, Origin};
use crate::kernels::{Out, Value};
use crate::ops::binary::Binary;
use crate::ops::leaf::Leaf;
use crate::ops::unary::Unary;
use crate::ops::{Id, Inferred, Op};
use crate::scalar::Scalar;
use crate::shape::Layout;

impl<T: Scalar> Tape<T> {
    /// Appends a leaf whose values lie in the arena, or in parameters.
    pub(crate) fn leaf(
        &self,
        leaf: Leaf,
        data: *const T,
        layout: &Layout<'_>,
        location: &'static Location<'static>,
    ) -> Id {
        let origin = if matches!(leaf, Leaf::Param { .. }) { Origin::Parameter } else { Origin::Host };
        let tracked = leaf.tracked();
        let (op, single) = (leaf.into(), layout.len == 1);
        let layout = erase(layout);
        self.entries.push(Entry { op, data, layout, location, single, tracked, retained: false, origin })
    }

    /// Appends a leaf with the values of another entry.
    pub(crate) fn alias(&self, id: Id, leaf: Leaf, location: &'static Location<'static>) -> Id {
        let entry = self.entry(id);
        // What came from the host may be given anew by either name.
        let origin = if entry.origin == Origin::Host { Origin::Host } else { entry.origin.shown() };
        let (op, tracked) = (leaf.into(), leaf.tracked());
        self.entries.push(Entry { op, tracked, retained: false, location, origin, ..entry })
    }

    /// Runs an op and appends its entry.
    #[track_caller]
    #[inline(always)]
    pub(crate) fn record(&self, op: Op, location: &'static Location<'static>) -> Id {
        // In registers, not by way of memory.
        match op {
            Op::Unary(op) => T::record_unary(self, op.f, op.x, op.p, location),
            Op::Binary(op) => T::record_binary(self, op.f, op.a, op.b, location),
            _ => T::record(self, op, location),
        }
    }

    /// [`Tape::record`], for any op.
    #[track_caller]
    #[inline(always)]
    pub(crate) fn record_tensor(&self, op: Op, location: &'static Location<'static>) -> Id {
        let mut tracked = false;
        op.operands(|x| tracked |= self.entry(x).tracked);
        let mut origin = Origin::Computed;
        let (data, layout) = match op.infer(self) {
            Inferred::Fresh(layout) => (self.run(&op, layout), layout),
            Inferred::View { of, offset, layout } => {
                let of = self.entry(of);
                origin = of.origin.shown();
                // SAFETY: the view lies within its operand's memory.
                let data = unsafe { of.data.offset(offset) };
                (data, layout)
            }
        };
        let (single, layout) = (layout.len == 1, erase(layout));
        self.append(Entry { op, data, layout, location, single, tracked, retained: false, origin })
    }

    /// [`Tape::record`]. A single number takes a short way: the bits are the
    /// same, but no layout is inferred and no loop runs.
    #[track_caller]
    #[inline(always)]
    pub(crate) fn record_unary(&self, op: Unary, location: &'static Location<'static>) -> Id {
        let x = self.entry(op.x);
        if !x.single {
            return T::record(self, Op::Unary(op), location);
        }
        // SAFETY: the caller has a handle for the operand.
        let value = op.at(self.machine.isa, unsafe { *x.data });
        self.append_single(Op::Unary(op), value, x.layout, x.tracked, location)
    }

    /// [`Tape::record_unary`] with two operands.
    #[track_caller]
    #[inline(always)]
    pub(crate) fn record_binary(&self, op: Binary, location: &'static Location<'static>) -> Id {
        let (a, b) = (self.entry(op.a), self.entry(op.b));
        if !(a.single && b.single) {
            return T::record(self, Op::Binary(op), location);
        }
        // SAFETY: the caller has handles for the operands.
        let value = unsafe { op.at(self.machine.isa, *a.data, *b.data) };
        // Shapes of ones broadcast to the longest.
        let longest = a.layout == b.layout || self.layout(&a).rank() >= self.layout(&b).rank();
        let layout = if longest { a.layout } else { b.layout };
        self.append_single(Op::Binary(op), value, layout, a.tracked | b.tracked, location)
    }

    #[track_caller]
    #[inline(always)]
    fn append_single(
        &self,
        op: Op,
        value: T,
        layout: NonNull<Layout<'static>>,
        tracked: bool,
        location: &'static Location<'static>,
    ) -> Id {
        let data = self.arena.alloc::<T>(1).as_ptr();
        // SAFETY: fresh memory for one element.
        unsafe { data.write(value) };
        let (single, retained, origin) = (true, false, Origin::Computed);
        self.append(Entry { op, data, layout, location, single, tracked, retained, origin })
    }

    /// Appends what has been computed: as a constant, if nothing is recorded.
    #[track_caller]
    #[inline(always)]
    fn append(&self, entry: Entry<T>) -> Id {
        if self.check_finite.get() {
            self.check_finite(entry);
        }
        // Every field goes straight to its place: an entry which is put
        // together elsewhere and copied would make the next op wait for it.
        match self.recording.get() {
            true => self.entries.push(entry),
            false => {
                self.obstruct("what was computed without being recorded", entry.location);
                let (op, origin) = (Leaf::Constant.into(), entry.origin.shown());
                self.entries.push(Entry { op, tracked: false, origin, ..entry })
            }
        }
    }

    #[track_caller]
    #[cold]
    pub(super) fn check_finite(&self, entry: Entry<T>) {
        let Entry { op, data, location, .. } = entry;
        let layout = self.layout(&entry);
        if let Some((at, bad)) = non_finite(Value { data, layout }) {
            panic!("{}: made {bad} at element {at} of {:?} ({location})", op.name(), layout.dims);
        }
    }

    #[inline(always)]
    fn run(&self, op: &Op, layout: &Layout<'_>) -> *const T {
        let data = self.arena.alloc::<T>(layout.len).as_ptr();
        let out = Out { data, dims: layout.dims, len: layout.len, add: false };
        // SAFETY: fresh memory of the inferred shape; operands are entries of
        // this tape, whose values are alive: the caller has handles for them.
        unsafe { op.run(self, out, &self.machine) };
        data
    }

    /// Appends an op of a user, whose value another entry has.
    pub(crate) fn append_value(&self, op: Op, value: Id, tracked: bool, location: &'static Location<'static>) -> Id {
        let entry = self.entry(value);
        let recording = self.recording.get();
        let op = if recording { op } else { Leaf::Constant.into() };
        self.obstruct("an op of one's own", location);
        let (tracked, origin) = (tracked && recording, entry.origin.shown());
        self.entries.push(Entry { op, tracked, retained: false, location, origin, ..entry })
    }
}

/// Forgets the tape's lifetime; [`Tape::layout`] gives it back.
pub(super) fn erase(layout: &Layout<'_>) -> NonNull<Layout<'static>> {
    NonNull::from(layout).cast()
}
