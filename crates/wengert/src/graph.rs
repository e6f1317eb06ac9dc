//! The tape as text, and as a drawing.

use std::fmt;

use smallvec::SmallVec;

use crate::entries::Entry;
use crate::ops::leaf::Leaf;
use crate::ops::{Id, Op};
use crate::scalar::Scalar;
use crate::tape::Tape;
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
    /// ops in clusters and colours of their own, with shapes and source lines;
    /// edges from operands to results, bold where a gradient flows back and
    /// dashed where none does.
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
        let call = |entry: &Entry<T>| {
            let mut operands = SmallVec::<[String; 4]>::new();
            entry.op.operands(|x| operands.push(format!("#{}", x.index())));
            format!("{}({})", entry.op.name(), operands.join(", "))
        };
        let shape = |entry: &Entry<T>| format!("{:?}", self.tape.layout(entry).dims);
        // Columns as wide as their widest entry.
        let (mut calls, mut shapes) = (0, 0);
        for (_, entry) in self.entries() {
            (calls, shapes) = (calls.max(call(&entry).len()), shapes.max(shape(&entry).len()));
        }
        for (i, entry) in self.entries() {
            let (call, shape, line) = (call(&entry), shape(&entry), line(&entry));
            let grad = if entry.tracked { "grad" } else { "    " };
            writeln!(f, "{:>5} {call:<calls$}  {shape:<shapes$}  {grad}  {line}", format!("#{i}"))?;
        }
        Ok(())
    }
}

struct Dot<'g, 't, T: Scalar>(&'g Graph<'t, T>);

/// A group of entries: its title, the colours of its boxes and their borders,
/// and which ops are in it.
struct Cluster {
    title: &'static str,
    fill: &'static str,
    border: &'static str,
    holds: fn(&Op) -> bool,
}

const CLUSTERS: [Cluster; 4] = [
    Cluster {
        title: "constants",
        fill: "#eceff1",
        border: "#90a4ae",
        holds: |op| matches!(op, Op::Leaf(Leaf::Constant)),
    },
    Cluster { title: "leaves", fill: "#dcedc8", border: "#689f38", holds: |op| matches!(op, Op::Leaf(Leaf::Tracked)) },
    Cluster {
        title: "parameters",
        fill: "#ffe0b2",
        border: "#ef6c00",
        holds: |op| matches!(op, Op::Leaf(Leaf::Param { .. })),
    },
    Cluster { title: "ops", fill: "#bbdefb", border: "#1976d2", holds: |op| !matches!(op, Op::Leaf(_)) },
];

/// Text in one of Graphviz's HTML-like labels.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl<T: Scalar> fmt::Display for Dot<'_, '_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let font = "fontname=\"Helvetica,Arial,sans-serif\"";
        writeln!(f, "digraph tape {{\n  rankdir=BT; ranksep=0.35; nodesep=0.25; {font};")?;
        writeln!(f, "  node [shape=box, style=\"rounded,filled\", {font}, fontsize=12, margin=\"0.14,0.07\"];")?;
        writeln!(f, "  edge [color=\"#455a64\", arrowsize=0.7];")?;
        for Cluster { title, fill, border, holds } in CLUSTERS {
            let mut nodes = self.0.entries().filter(|(_, e)| holds(&e.op)).peekable();
            if nodes.peek().is_none() {
                continue;
            }
            writeln!(f, "  subgraph cluster_{title} {{")?;
            writeln!(f, "    label=\"{title}\"; fontcolor=\"{border}\"; fontsize=12; labeljust=l;")?;
            writeln!(f, "    color=\"#cfd8dc\"; style=rounded; margin=12;")?;
            for (i, entry) in nodes {
                let shape = self.0.tape.layout(&entry).dims;
                let (name, line) = (escape(entry.op.name()), escape(&line(&entry)));
                let small = format!("<font point-size=\"10\" color=\"#546e7a\">#{i} at {line}</font>");
                // Paler where no gradient flows through an op.
                let fill = if title == "ops" && !entry.tracked { "#f1f6fb" } else { fill };
                writeln!(
                    f,
                    "    n{i} [label=<<b>{name}</b> {shape:?}<br/>{small}>, fillcolor=\"{fill}\", color=\"{border}\"];"
                )?;
            }
            writeln!(f, "  }}")?;
        }
        for (i, entry) in self.0.entries() {
            let mut edges = SmallVec::<[Id; 4]>::new();
            entry.op.operands(|x| edges.push(x));
            for from in edges {
                // Gradients flow back along the bold ones.
                let flows = self.0.tape.entry(from).tracked && entry.tracked;
                let style = if flows { "penwidth=1.6" } else { "color=\"#90a4ae\", style=dashed" };
                writeln!(f, "  n{} -> n{i} [{style}];", from.index())?;
            }
        }
        writeln!(f, "}}")
    }
}
