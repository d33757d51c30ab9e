//! Section `limits`: safe bounds for everything a client can make grow.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bytes, Time};

/// Limits of the data plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Limits {
    /// Open client connections per listener; more wait in the kernel's queue. Default 10000.
    pub connections: u32,
    /// Open connections of one client address (of IPv6: of one /64), over all listeners; more are closed at once. Not for `trusted-hops`. Default `0`: no limit.
    pub connections_per_address: u32,
    /// Request head (request line or pseudo fields, plus fields). Default `64KiB`. Above: 431.
    pub head: Bytes,
    /// Header fields in a request. Default 100. Above: 431.
    pub header_count: u16,
    /// Request target. Default `8KiB`. Above: 414.
    pub uri: Bytes,
    /// Request body; routes may set their own. Default `100MiB`. Above: 413. `0` is no limit.
    pub body: Bytes,
    /// Time a client may take to send a head. Default `15s`.
    pub head_timeout: Time,
    /// Time without a byte of the request body. Default `30s`. After it: 408.
    pub body_timeout: Time,
    /// Time a connection may be idle between requests, and a client may take nothing of a response. Default `75s`.
    pub idle_timeout: Time,
    /// Time the TLS handshake may take, and a PROXY header before it. Default `10s`.
    pub handshake_timeout: Time,
    /// Bytes per second that a client has to send of a request body, on average over `body-timeout` of waiting for it, and to take of a response, on
    /// average over `idle-timeout`. Only time in which the gateway waits for the client counts; for request bodies, only until the upstream has begun to
    /// answer. Default `240B`. Below: 408, or the response is cut off. `0` is no limit.
    pub min_rate: Bytes,
    /// Concurrent streams of one HTTP/2 connection, and requests of one of HTTP/3. Default 128.
    pub h2_streams: u32,
    /// Streams that the client of one HTTP/2 connection may reset at once. What was used up comes back within ten seconds, and each four requests pay for
    /// one more. The same number of streams, in all, it may make the gateway reset or refuse by errors. Default 200. Above: the connection ends with
    /// `ENHANCE_YOUR_CALM`.
    pub h2_resets: u32,
    /// HTTP/2 frames without use (PING, SETTINGS, PRIORITY, `WINDOW_UPDATE`, CONTINUATION, empty and unknown ones) that may come on one connection at once.
    /// What was used up comes back within ten seconds; each request pays for four more, and each 16 bytes of a body for one. Default 1000. Above: the
    /// connection ends with `ENHANCE_YOUR_CALM`.
    pub h2_control_frames: u32,
    /// Time a WebSocket may pass without a byte in either direction, pings included. Default `10m`. After it: Close 1001 to both sides. `0` is no limit.
    pub websocket_idle_timeout: Time,
    /// Time a WebSocket may be open. Default `2h`. After it: Close 1001 to both sides. `0` is no limit.
    pub websocket_lifetime: Time,
    /// Plugin instances at once, over all plugins and workers; each reserves about 4 GiB of address space, not of memory. An exchange that waits for its upstream usually needs none. Default 2000. Above: 503.
    pub plugin_instances: u32,
    /// Time that running exchanges get to end after SIGTERM. Default `30s`.
    pub drain_timeout: Time,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_address: 0,
            head: Bytes::kib(64),
            header_count: 100,
            uri: Bytes::kib(8),
            body: Bytes::mib(100),
            head_timeout: Time::secs(15),
            body_timeout: Time::secs(30),
            idle_timeout: Time::secs(75),
            handshake_timeout: Time::secs(10),
            min_rate: Bytes(240),
            h2_streams: 128,
            h2_resets: 200,
            h2_control_frames: 1000,
            websocket_idle_timeout: Time::secs(600),
            websocket_lifetime: Time::secs(7200),
            plugin_instances: 2000,
            drain_timeout: Time::secs(30),
        }
    }
}
