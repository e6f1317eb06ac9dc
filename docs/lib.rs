//! Compiles the code of the README and of the book: each page is the
//! documentation of an item, so `cargo test` runs its blocks.
