//! Random programs of ops, against the reference.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wengert_fuzz::program::check(bytes));
