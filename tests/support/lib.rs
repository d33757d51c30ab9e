//! What the suite drives the gateway with: the gateway itself (in this process or as the real binary), an origin that does what
//! a test tells it to, clients for HTTP/1.1, HTTP/2, TLS and for bytes that are no HTTP at all, throw-away certificates.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test support: a broken set-up ends the test, and the message says where; what is skipped is said"
)]

mod client;
mod example;
pub mod frames;
mod front;
pub mod fuzz;
mod gateway;
mod h3;
mod issuer;
mod logs;
mod oidc;
mod origin;
mod paths;
mod pebble;
mod process;
mod raw;
pub mod real;
mod relay;
mod tls;
mod trend;
mod websocket;

use std::{net::SocketAddr, time::Duration};

pub use client::{Body, Connection, Reply, ask, bytes, chunked, empty, get, with_trailers};
pub use example::{Expectation, parse_examples};
pub use front::Front;
pub use gateway::{Gateway, load, plugin, runtime, runtime_with};
pub use h3::{H3, H3Stream, QuicClient, frame, integer, request_stream, section};
pub use issuer::Issuer;
pub use logs::{logs, logs_containing, record_logs, wait_for_log};
pub use oidc::OpenIdProvider;
pub use origin::{Origin, Seen};
pub use paths::{core_module_bytes, edgeward, guest, guest_bytes, suite_cache, target_dir, workspace};
pub use pebble::Pebble;
pub use process::{Cli, Process, cli, cli_with};
pub use raw::{Raw, json_upstream, raw, scripted_upstream, serve};
pub use relay::Relay;
pub use tls::{Ca, Issued, install_provider};
pub use trend::Trend;
pub use websocket::{
    Duplex, Opened, Over, Socket, WebSocketOrigin, accept_key, connect, hear, hear_close, tell,
};

/// Longest time that anything in a test may take: generous, because the machine may be loaded.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for a future under [`DEADLINE`]; `what` is named when it does not come.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_elapsed) => panic!("{what} took longer than {DEADLINE:?}"),
    }
}

/// Waits until nobody listens at an address any more.
pub async fn closed(address: SocketAddr) {
    eventually("the listener to close", async || {
        let tried = tokio::net::TcpStream::connect(address).await;
        tried.is_err().then_some(())
    })
    .await;
}

/// Asks again until the answer is there, under [`DEADLINE`]. For state that the gateway reaches by itself (ejection, breakers).
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut question: impl FnMut() -> F) -> T {
    within(what, async {
        loop {
            if let Some(answer) = question().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}
