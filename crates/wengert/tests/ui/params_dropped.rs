//! A parameter's memory is used in place, so it must outlive the result.

fn main() {
    let tape = wengert::Tape::new();
    let y = {
        let mut params = wengert::Params::new();
        let w = params.full("w", [], 3.0);
        tape.param(&params[w]).detach()
    };
    y.item();
}
