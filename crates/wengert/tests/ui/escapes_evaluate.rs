//! The memory of an evaluation is taken back at its end.

fn main() {
    let tape = wengert::Tape::new();
    let y = tape.evaluate(|scope| scope.scalar(3.0) * 2.0);
    y.item();
}
