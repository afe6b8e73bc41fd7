#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tidegate_xds_fuzz::report(input));
