//! A tensor of the turn before.

fn main() {
    let mut tape = wengert::Tape::new();
    let x = tape.scalar(1.0);
    tape.rewind();
    x.item();
}
