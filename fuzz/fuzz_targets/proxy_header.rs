//! Headers of the PROXY protocol.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| edgeward_proxy::fuzz::proxy_header(data));
