//! What has to hold for any bytes on a connection to a running gateway, and the list of everything that is fuzzed.

mod end_to_end;
mod upstream;

pub use end_to_end::end_to_end;

/// A property, to be called with any bytes; it panics where it does not hold.
pub type Property = fn(&[u8]);

/// The targets of `fuzz/` by name.
pub const TARGETS: [(&str, Property); 11] = [
    ("config", edgeward_core::fuzz::config),
    ("end_to_end", end_to_end),
    ("http1_request", edgeward_proxy::fuzz::http1_request),
    ("http1_response", edgeward_proxy::fuzz::http1_response),
    ("http2_fields", edgeward_proxy::fuzz::http2_fields),
    ("http3", edgeward_proxy::fuzz::http3),
    ("openapi", edgeward_core::fuzz::openapi),
    ("path", edgeward_core::fuzz::path),
    ("policy", edgeward_core::fuzz::policy),
    ("proxy_header", edgeward_proxy::fuzz::proxy_header),
    ("router", edgeward_core::fuzz::router),
];
