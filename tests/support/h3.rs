//! Clients for HTTP/3: one of another make (`h3`), and one that sends what bytes a test wants on QUIC streams.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
};

use ::bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h3::client::{RequestStream, SendRequest};
use http::{HeaderMap, Request, Response};
use quinn::{
    ClientConfig, Connection, Endpoint, RecvStream, SendStream, TransportConfig, VarInt,
    crypto::rustls::QuicClientConfig,
};

use crate::{Reply, within};

/// A QUIC endpoint of a client, with its sessions.
pub struct QuicClient {
    /// The endpoint; `rebind` moves the client.
    pub endpoint: Endpoint,
}

impl QuicClient {
    /// One on a free port of the loopback, that trusts what `tls` trusts and offers what it offers, early data included.
    #[must_use]
    pub fn new(tls: &Arc<rustls::ClientConfig>) -> Self {
        Self::with(tls, |_| {})
    }

    /// The same with other settings.
    #[must_use]
    pub fn with(tls: &Arc<rustls::ClientConfig>, change: impl FnOnce(&mut TransportConfig)) -> Self {
        let mut tls = rustls::ClientConfig::clone(tls);
        tls.enable_early_data = true;
        let mut endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let crypto = QuicClientConfig::try_from(Arc::new(tls)).unwrap();
        let mut config = ClientConfig::new(Arc::new(crypto));
        let mut transport = TransportConfig::default();
        change(&mut transport);
        config.transport_config(Arc::new(transport));
        endpoint.set_default_client_config(config);
        Self { endpoint }
    }

    /// Moves to another socket, and address.
    pub fn rebind(&self, address: IpAddr) {
        self.endpoint
            .rebind(UdpSocket::bind((address, 0)).unwrap())
            .unwrap();
    }

    /// A connection whose handshake is complete.
    ///
    /// # Errors
    /// The handshake failed.
    pub async fn connect(
        &self,
        address: SocketAddr,
        name: &str,
    ) -> Result<Connection, quinn::ConnectionError> {
        let connecting = self.endpoint.connect(address, name).unwrap();
        within("QUIC handshake", connecting).await
    }
}

/// An HTTP/3 connection.
pub struct H3 {
    requests: SendRequest<h3_quinn::OpenStreams, Bytes>,
    /// What carries it.
    pub connection: Connection,
    driver: tokio::task::JoinHandle<h3::error::ConnectionError>,
}

/// A request under way.
pub struct H3Stream(RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>);

impl H3 {
    /// Speaks HTTP/3 on a QUIC connection.
    pub async fn on(connection: Connection) -> Self {
        let (mut driver, requests) = h3::client::new(h3_quinn::Connection::new(connection.clone()))
            .await
            .unwrap();
        let driver =
            tokio::spawn(async move { std::future::poll_fn(|context| driver.poll_close(context)).await });
        Self {
            requests,
            connection,
            driver,
        }
    }

    /// Sends the head of a request.
    ///
    /// # Errors
    /// The gateway takes none any more.
    pub async fn begin(&mut self, request: Request<()>) -> Result<H3Stream, h3::error::StreamError> {
        Ok(H3Stream(self.requests.send_request(request).await?))
    }

    /// Sends a request to `example.test` and reads the answer.
    pub async fn send(&mut self, request: http::request::Builder, body: &[&'static [u8]]) -> Reply {
        let request = request.body(()).unwrap();
        let mut stream = self.begin(request).await.unwrap();
        for part in body {
            stream.data(Bytes::from_static(part)).await;
        }
        stream.finish().await;
        stream.reply().await.unwrap()
    }

    /// GET of a path of `example.test`.
    pub async fn get(&mut self, path: &str) -> Reply {
        self.send(Request::get(format!("https://example.test{path}")), &[])
            .await
    }

    /// Waits for the end of the connection.
    pub async fn closed(self) -> String {
        within("end of the connection", self.driver)
            .await
            .unwrap()
            .to_string()
    }
}

impl H3Stream {
    /// Sends a part of the body.
    pub async fn data(&mut self, data: Bytes) {
        self.try_data(data).await.unwrap();
    }

    /// The same, for a gateway that may have had enough.
    ///
    /// # Errors
    /// It has.
    pub async fn try_data(&mut self, data: Bytes) -> Result<(), h3::error::StreamError> {
        within("sending", self.0.send_data(data)).await
    }

    /// Sends trailers.
    pub async fn trailers(&mut self, trailers: HeaderMap) {
        within("sending", self.0.send_trailers(trailers)).await.unwrap();
    }

    /// Ends the request.
    pub async fn finish(&mut self) {
        within("sending", self.0.finish()).await.unwrap();
    }

    /// Gives the request up.
    pub fn abort(mut self) {
        let code = h3::error::Code::H3_REQUEST_CANCELLED;
        self.0.stop_stream(code);
        self.0.stop_sending(code);
    }

    /// The head of the answer.
    ///
    /// # Errors
    /// The stream was reset.
    pub async fn head(&mut self) -> Result<Response<()>, h3::error::StreamError> {
        within("answer", self.0.recv_response()).await
    }

    /// The next part of the answer's body.
    ///
    /// # Errors
    /// The stream was reset.
    pub async fn part(&mut self) -> Result<Option<Bytes>, h3::error::StreamError> {
        let data = within("body", self.0.recv_data()).await?;
        Ok(data.map(|mut data| data.copy_to_bytes(data.remaining())))
    }

    /// The whole answer.
    ///
    /// # Errors
    /// The stream was reset.
    pub async fn reply(mut self) -> Result<Reply, h3::error::StreamError> {
        let (head, ()) = self.head().await?.into_parts();
        let (body, trailers) = self.rest().await?;
        Ok(Reply {
            status: head.status.as_u16(),
            version: http::Version::HTTP_3,
            headers: head.headers,
            body,
            trailers,
        })
    }

    /// What is left of the answer behind its head: body and trailers.
    ///
    /// # Errors
    /// The stream was reset.
    pub async fn rest(mut self) -> Result<(Bytes, HeaderMap), h3::error::StreamError> {
        let mut body = BytesMut::new();
        while let Some(data) = self.part().await? {
            body.extend_from_slice(&data);
        }
        let trailers = within("trailers", self.0.recv_trailers()).await?;
        Ok((body.freeze(), trailers.unwrap_or_default()))
    }
}

/// An integer of QUIC (RFC 9000 section 16), in as many bytes as it takes.
#[must_use]
pub fn integer(value: u64) -> Vec<u8> {
    VarInt::from_u64(value).map_or_else(
        |_| panic!("{value} is too large"),
        |value| {
            let mut out = Vec::new();
            let value = value.into_inner();
            match value {
                0..0x40 => out.put_uint(value, 1),
                0x40..0x4000 => out.put_uint(value | 0x4000, 2),
                0x4000..0x4000_0000 => out.put_uint(value | 0x8000_0000, 4),
                _ => out.put_u64(value | 0xc000_0000_0000_0000),
            }
            out
        },
    )
}

/// A frame of HTTP/3.
#[must_use]
pub fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    [&integer(kind)[..], &integer(payload.len() as u64), payload].concat()
}

/// A field section (RFC 9204 section 4.5) of literals without Huffman.
#[must_use]
pub fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = vec![0, 0];
    for (name, value) in fields {
        prefixed(&mut out, 0x20, 3, name.len());
        out.extend_from_slice(name.as_bytes());
        prefixed(&mut out, 0, 7, value.len());
        out.extend_from_slice(value.as_bytes());
    }
    out
}

fn prefixed(out: &mut Vec<u8>, flags: u8, bits: u8, value: usize) {
    let most = (1 << bits) - 1;
    if value < most {
        out.push(flags | u8::try_from(value).unwrap());
        return;
    }
    out.push(flags | u8::try_from(most).unwrap());
    let mut rest = value - most;
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).unwrap());
}

/// Sends bytes on a new request stream, and its end if told so.
pub async fn request_stream(connection: &Connection, bytes: &[u8], end: bool) -> (SendStream, RecvStream) {
    let (mut send, recv) = within("a stream", connection.open_bi()).await.unwrap();
    // the gateway may have had enough before the last byte
    let _stopped = send.write_all(bytes).await;
    if end {
        let _stopped = send.finish();
    }
    (send, recv)
}
