//! Requests of HTTP/1 clients.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| edgeward_proxy::fuzz::http1_request(data));
