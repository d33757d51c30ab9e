//! HTTP/3 (RFC 9114) with QPACK (RFC 9204) over quinn's streams: reading strictly, in bounded memory. QUIC itself, with its handshake, loss recovery and
//! flow control, is quinn's; sockets and connection limits are `listen/quic.rs`. Why the framing is our own: decision 14.

mod code;
mod control;
mod frame;
pub(crate) mod fuzz;
mod head;
pub(crate) mod huffman;
mod qpack;
mod reader;
mod request;
mod send;
mod server;
mod statics;

pub(crate) use self::server::serve;
