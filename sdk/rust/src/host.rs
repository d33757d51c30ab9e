//! The one place that decides who answers: the gateway (in a component) or the fake host (in native tests).
//!
//! Both sides offer the same modules with the same functions; the rest of the SDK calls those.

#[cfg(target_arch = "wasm32")]
pub(crate) use crate::bindings::imports::edgeward::plugin::{
    clock, crypto, entropy, head, http, kv, log, matcher, metrics, secret,
};

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::testing::fake::{
    clock, crypto, entropy, head, http, kv, log, matcher, metrics, secret,
};
