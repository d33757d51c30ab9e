//! What is true without doing any I/O: configuration, routing, header rules, balancing, breakers, retry budgets, the table of errors.
//! No tokio, hyper, wasmtime, files, clocks or randomness: callers pass `now` and seeds.

pub mod api;
pub mod balance;
pub mod breaker;
pub mod cidr;
pub mod config;
pub mod exposition;
pub mod forwarded;
#[doc(hidden)]
pub mod fuzz;
pub mod grpc;
pub mod ids;
pub mod normalize;
pub mod openapi;
pub mod phase;
pub mod policy;
pub mod reject;
pub mod retry;
pub mod route;
pub mod websocket;
