//! Random chains of views and broadcasting, against index arithmetic.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wengert_fuzz::shapes::check(bytes));
