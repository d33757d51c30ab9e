//! Header blocks of HTTP/2 connections.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| edgeward_proxy::fuzz::http2_fields(data));
