//! Connections to a running gateway.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| edgeward_tests::fuzz::end_to_end(data));
