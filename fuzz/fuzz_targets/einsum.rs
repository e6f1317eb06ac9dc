//! Random equations of `einsum`, against a loop over all letters.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wengert_fuzz::einsum::check(bytes));
