//! Values of the turn before.

fn main() {
    let mut tape = wengert::Tape::new();
    let values = tape.ones([3]).as_slice();
    tape.rewind();
    println!("{values:?}");
}
