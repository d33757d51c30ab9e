//! HTTP/1.1 (RFC 9112) on client connections: reading strictly, writing what strict readers expect. Tokenising is `httparse`'s; what a message
//! means, where it ends and what is refused is decided here, so that everything refused gets an answer in the gateway's own words.

mod body;
mod decode;
mod encode;
mod head;
mod io;
mod server;

pub(crate) use self::{
    body::RequestBody,
    io::{Prefixed, Stream},
    server::serve,
};
