//! Compiles the code of the README and of the book: each page is the
//! documentation of an item, so `cargo test` runs its blocks.

#![cfg_attr(doctest, allow(missing_docs))]

macro_rules! pages {
    ($($name:ident: $path:literal;)*) => {$(
        #[cfg(doctest)]
        #[doc = include_str!($path)]
        pub mod $name {}
    )*};
}

pages! {
    readme: "../README.md";
    introduction: "src/introduction.md";
    concepts: "src/concepts.md";
    first_gradient: "src/first-gradient.md";
    training_loop: "src/training-loop.md";
    replay: "src/replay.md";
    threads: "src/threads.md";
    without_gradients: "src/without-gradients.md";
    errors: "src/errors.md";
    higher_derivatives: "src/higher-derivatives.md";
    fused_expressions: "src/fused-expressions.md";
    checking_gradients: "src/checking-gradients.md";
    conventions: "src/conventions.md";
    design_memory: "src/design-memory.md";
}
