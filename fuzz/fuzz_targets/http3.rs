//! Streams of HTTP/3 clients.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| edgeward_proxy::fuzz::http3(data));
