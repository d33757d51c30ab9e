//! HTTP/1.1 (RFC 9112): reading strictly, writing what strict readers expect. Tokenising is `httparse`'s; what a message means, where it ends and
//! what is refused is decided here, so that everything refused gets an answer in the gateway's own words. `server` is the client's side of the
//! gateway; the upstream's side uses the same parts (`upstream/h1.rs`).

mod body;
mod decode;
mod encode;
pub(crate) mod fuzz;
mod head;
mod io;
mod send;
mod server;

pub(crate) use self::{
    body::RequestBody,
    decode::Decoder,
    head::{ResponseHead, digits, has_token, parse_response},
    io::{Io, LINGER_TIME, Linger, Stream},
    send::Outflow,
    server::serve,
};
