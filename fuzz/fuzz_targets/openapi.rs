//! OpenAPI documents.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| edgeward_core::fuzz::openapi(data));
