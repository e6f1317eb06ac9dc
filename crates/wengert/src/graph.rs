//! The tape as text, and as a drawing.

use std::fmt;

use smallvec::SmallVec;

use crate::ops::leaf::Leaf;
use crate::ops::{Id, Op};
use crate::scalar::Scalar;
use crate::tape::{Entry, Tape};
use crate::tensor::Tensor;

/// What [`Tape::dump`] and [`Tensor::graph`] give: a list of entries, written
/// as text by `Display` or as Graphviz DOT by [`Graph::dot`].
pub struct Graph<'t, T: Scalar = f32> {
    tape: &'t Tape<T>,
    ids: Vec<Id>,
}

impl<T: Scalar> Tape<T> {
    /// Every entry, in order: op, operands, shape, and the line of the program
    /// which recorded it. No values are read.
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// let x = tape.tensor([1.0, 2.0]).require_grad();
    /// let y = (x * 3.0).sum();
    /// let text = tape.dump().to_string();
    /// assert!(text.contains("sum"), "{text}");
    /// # let _ = y;
    /// ```
    pub fn dump(&self) -> Graph<'_, T> {
        Graph { tape: self, ids: (0..self.len()).map(Id::entry).collect() }
    }
}

impl<'t, T: Scalar> Tensor<'t, T> {
    /// What this tensor was made from: the graph from its leaves to it.
    ///
    /// ```
    /// let tape = wengert::Tape::new();
    /// let x = tape.scalar(1.0).require_grad();
    /// assert!(x.exp().graph().dot().to_string().starts_with("digraph"));
    /// ```
    pub fn graph(self) -> Graph<'t, T> {
        let tape = self.tape();
        let mut reached = vec![false; self.index() + 1];
        reached[self.index()] = true;
        for i in (0..reached.len()).rev() {
            if reached[i] {
                tape.entry(Id::entry(i)).op.operands(|x| reached[x.index()] = true);
            }
        }
        let ids = (0..reached.len()).filter(|&i| reached[i]).map(Id::entry).collect();
        Graph { tape, ids }
    }
}

impl<'t, T: Scalar> Graph<'t, T> {
    /// The graph in Graphviz's DOT language: constants, leaves, parameters and
    /// ops in clusters and colours of their own, edges from operands to
    /// results.
    pub fn dot(&self) -> impl fmt::Display + use<'_, 't, T> {
        Dot(self)
    }

    fn entries(&self) -> impl Iterator<Item = (usize, Entry<T>)> {
        self.ids.iter().map(|&id| (id.index(), self.tape.entry(id)))
    }
}

/// `file.rs:12`
fn line<T>(entry: &Entry<T>) -> String {
    let file = entry.location.file();
    let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
    format!("{name}:{}", entry.location.line())
}

impl<T: Scalar> fmt::Display for Graph<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, entry) in self.entries() {
            let mut operands = SmallVec::<[String; 4]>::new();
            entry.op.operands(|x| operands.push(format!("#{}", x.index())));
            let call = format!("{}({})", entry.op.name(), operands.join(", "));
            let shape = format!("{:?}", self.tape.layout(&entry).dims);
            let grad = if entry.tracked { "grad" } else { "" };
            writeln!(f, "{:>5} {call:<32} {shape:<16} {grad:<5} {}", format!("#{i}"), line(&entry))?;
        }
        Ok(())
    }
}

struct Dot<'g, 't, T: Scalar>(&'g Graph<'t, T>);

/// Clusters: title, fill colour, and which ops are in it.
const CLUSTERS: [(&str, &str, fn(&Op) -> bool); 4] = [
    ("constants", "#eceff1", |op| matches!(op, Op::Leaf(Leaf::Constant))),
    ("leaves", "#c8e6c9", |op| matches!(op, Op::Leaf(Leaf::Tracked))),
    ("parameters", "#ffe0b2", |op| matches!(op, Op::Leaf(Leaf::Param { .. }))),
    ("ops", "#bbdefb", |op| !matches!(op, Op::Leaf(_))),
];

impl<T: Scalar> fmt::Display for Dot<'_, '_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "digraph tape {{\n  rankdir=BT;\n  fontname=\"Helvetica\";")?;
        writeln!(f, "  node [shape=box, style=\"rounded,filled\", fontname=\"Helvetica\", fontsize=11];")?;
        writeln!(f, "  edge [color=\"#546e7a\"];")?;
        for (title, colour, belongs) in CLUSTERS {
            let mut nodes = self.0.entries().filter(|(_, e)| belongs(&e.op)).peekable();
            if nodes.peek().is_none() {
                continue;
            }
            writeln!(f, "  subgraph cluster_{title} {{\n    label=\"{title}\"; color=\"#b0bec5\"; style=rounded;")?;
            for (i, entry) in nodes {
                let shape = self.0.tape.layout(&entry).dims;
                let (name, line) = (entry.op.name(), line(&entry));
                writeln!(f, "    n{i} [label=\"#{i} {name}\\n{shape:?}\\n{line}\", fillcolor=\"{colour}\"];")?;
            }
            writeln!(f, "  }}")?;
        }
        for (i, entry) in self.0.entries() {
            let mut edges = SmallVec::<[usize; 4]>::new();
            entry.op.operands(|x| edges.push(x.index()));
            for from in edges {
                writeln!(f, "  n{from} -> n{i};")?;
            }
        }
        writeln!(f, "}}")
    }
}
