//! What has to hold for any bytes: a fuzz target each of `fuzz/`, and of the suite, which replays the corpora. They panic where it does not hold. The
//! properties are beside the code that they are of.

pub mod strict;

pub use crate::{
    http1::fuzz::{http1_request, http1_response},
    http3::fuzz::http3,
    listen::fuzz::{http2_fields, proxy_header},
};
