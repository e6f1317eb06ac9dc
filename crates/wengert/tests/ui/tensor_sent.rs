//! A tensor refers to its tape.

fn main() {
    let tape = wengert::Tape::new();
    let x = tape.scalar(1.0);
    std::thread::scope(|s| {
        s.spawn(move || x.item());
    });
}
