//! Policies, and requests that are held against them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| edgeward_core::fuzz::policy(data));
