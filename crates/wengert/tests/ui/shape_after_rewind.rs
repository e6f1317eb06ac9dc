//! A shape lies in the arena too.

fn main() {
    let mut tape = wengert::Tape::new();
    let shape = tape.ones([3]).shape();
    tape.rewind();
    println!("{shape:?}");
}
