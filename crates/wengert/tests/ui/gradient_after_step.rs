//! A view of a parameter's values, across a change of them.

fn main() {
    let mut params = wengert::Params::new();
    let w = params.full("w", [], 3.0);
    let view = params[w].as_slice();
    params.freeze(w);
    println!("{view:?}");
}
