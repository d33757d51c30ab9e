//! What has to hold for any bytes: a fuzz target each of `fuzz/`, and of the suite, which replays the corpora. They panic where it does not hold.

mod config;
mod openapi;
mod path;
mod policy;
mod router;

pub use self::{config::config, openapi::openapi, path::path, policy::policy, router::router};
