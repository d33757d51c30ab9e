//! HTTP clients, one connection each.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use ::bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, Response, Version, header};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::within;

/// A body of a request.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// No body.
#[must_use]
pub fn empty() -> Body {
    Empty::new().boxed_unsync()
}

/// A body of known length.
#[must_use]
pub fn bytes(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).boxed_unsync()
}

/// A body whose length is not told: chunked in HTTP/1.1.
#[must_use]
pub fn chunked(chunks: Vec<Bytes>) -> Body {
    StreamBody::new(stream::iter(
        chunks.into_iter().map(|chunk| Ok(Frame::data(chunk))),
    ))
    .boxed_unsync()
}

/// A body with a trailer field.
#[must_use]
pub fn with_trailers(content: &'static str, name: &'static str, value: &'static str) -> Body {
    let mut trailers = HeaderMap::new();
    trailers.insert(name, header::HeaderValue::from_static(value));
    let frames = [
        Ok(Frame::data(Bytes::from_static(content.as_bytes()))),
        Ok(Frame::trailers(trailers)),
    ];
    StreamBody::new(stream::iter(frames)).boxed_unsync()
}

/// A response that was read to its end.
#[derive(Debug)]
pub struct Reply {
    /// Status.
    pub status: u16,
    /// Version of the response.
    pub version: Version,
    /// Header fields.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// Trailer fields.
    pub trailers: HeaderMap,
}

impl Reply {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The first value of a field, empty when it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The `responseType` of a problem document, which must be complete.
    #[must_use]
    pub fn response_type(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["requestId"], self.header("x-request-id"));
        for member in ["type", "title", "detail"] {
            assert!(problem[member].is_string(), "{member} in {problem}");
        }
        problem["responseType"].as_str().unwrap().to_owned()
    }

    /// What the echo origin says a request header field was, empty when it was not there.
    #[must_use]
    pub fn echoed(&self, name: &str) -> String {
        self.echoed_all(name).into_iter().next().unwrap_or_default()
    }

    /// All values of a request header field that the echo origin saw.
    #[must_use]
    pub fn echoed_all(&self, name: &str) -> Vec<String> {
        let json = self.json();
        let headers = json["headers"]
            .as_array()
            .unwrap_or_else(|| panic!("no echo: {self:?}"));
        let values = headers.iter().filter(|field| field[0] == name);
        values
            .map(|field| field[1].as_str().unwrap().to_owned())
            .collect()
    }
}

enum Sender {
    H1(http1::SendRequest<Body>),
    H2(http2::SendRequest<Body>),
}

/// A connection to the gateway.
pub struct Connection {
    sender: Sender,
    scheme: &'static str,
    /// Certificate of the server, DER, on TLS.
    pub certificate: Option<Vec<u8>>,
}

impl Connection {
    /// HTTP/1.1 in cleartext.
    pub async fn h1(address: SocketAddr) -> Self {
        let stream = within("connecting", TcpStream::connect(address)).await.unwrap();
        Self {
            sender: h1(stream).await,
            scheme: "http",
            certificate: None,
        }
    }

    /// HTTP/1.1 over a connection of any kind that is there already.
    pub async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        Self {
            sender: h1(stream).await,
            scheme: "http",
            certificate: None,
        }
    }

    /// HTTP/2 in cleartext, with prior knowledge.
    pub async fn h2(address: SocketAddr) -> Self {
        let stream = within("connecting", TcpStream::connect(address)).await.unwrap();
        Self {
            sender: h2(stream).await,
            scheme: "http",
            certificate: None,
        }
    }

    /// TLS; the protocol is what ALPN comes to.
    ///
    /// # Errors
    /// The handshake failed.
    pub async fn tls(
        address: SocketAddr,
        name: &str,
        config: &Arc<rustls::ClientConfig>,
    ) -> Result<Self, std::io::Error> {
        let stream = within("connecting", TcpStream::connect(address)).await?;
        Self::tls_over(stream, name, config).await
    }

    /// The same on a connection that is there already.
    ///
    /// # Errors
    /// The handshake failed.
    pub async fn tls_over(
        stream: TcpStream,
        name: &str,
        config: &Arc<rustls::ClientConfig>,
    ) -> Result<Self, std::io::Error> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let stream = within(
            "the handshake",
            TlsConnector::from(Arc::clone(config)).connect(name, stream),
        )
        .await?;
        let (_, session) = stream.get_ref();
        let certificate = session.peer_certificates().map(|chain| chain[0].to_vec());
        let sender = if session.alpn_protocol() == Some(b"h2") {
            h2(stream).await
        } else {
            h1(stream).await
        };
        Ok(Self {
            sender,
            scheme: "https",
            certificate,
        })
    }

    /// True for HTTP/2.
    #[must_use]
    pub fn is_h2(&self) -> bool {
        matches!(self.sender, Sender::H2(_))
    }

    /// Sends a request and gives the response with its body still to come. A `Host` that is missing is `gateway.test`.
    ///
    /// # Errors
    /// The connection ended before a response head came.
    pub async fn open(
        &mut self,
        request: http::request::Builder,
        body: Body,
    ) -> Result<Response<Incoming>, hyper::Error> {
        let mut request = request.body(body).unwrap();
        let host = request
            .headers()
            .get(header::HOST)
            .map_or("gateway.test", |host| host.to_str().unwrap())
            .to_owned();
        match &mut self.sender {
            Sender::H1(sender) => {
                request.headers_mut().insert(header::HOST, host.parse().unwrap());
                within("a free connection", sender.ready()).await?;
                within("a response head", sender.send_request(request)).await
            }
            Sender::H2(sender) => {
                request.headers_mut().remove(header::HOST);
                *request.version_mut() = Version::HTTP_2;
                let path = request.uri().path_and_query().unwrap().clone();
                let uri = format!("{}://{host}{path}", self.scheme);
                *request.uri_mut() = uri.parse().unwrap();
                within("a free connection", sender.ready()).await?;
                within("a response head", sender.send_request(request)).await
            }
        }
    }

    /// Sends a request and reads the response to its end.
    ///
    /// # Errors
    /// The connection or the body ended early.
    pub async fn try_send(
        &mut self,
        request: http::request::Builder,
        body: Body,
    ) -> Result<Reply, hyper::Error> {
        let response = self.open(request, body).await?;
        let (head, body) = response.into_parts();
        let body = within("the response body", body.collect()).await?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        Ok(Reply {
            status: head.status.as_u16(),
            version: head.version,
            headers: head.headers,
            body: body.to_bytes(),
            trailers,
        })
    }

    /// The same, for requests that must work.
    pub async fn send(&mut self, request: http::request::Builder, body: Body) -> Reply {
        self.try_send(request, body)
            .await
            .unwrap_or_else(|error| panic!("the exchange broke off: {error:?}"))
    }

    /// GET.
    pub async fn get(&mut self, path: &str) -> Reply {
        self.send(Request::get(path), empty()).await
    }

    /// A second handle to the same HTTP/2 connection.
    #[must_use]
    pub fn share(&self) -> Self {
        let Sender::H2(sender) = &self.sender else {
            panic!("HTTP/1.1 connections cannot be shared")
        };
        Self {
            sender: Sender::H2(sender.clone()),
            scheme: self.scheme,
            certificate: None,
        }
    }
}

async fn h1(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Sender {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    // its end shows in the sender
    tokio::spawn(connection);
    Sender::H1(sender)
}

async fn h2(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Sender {
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    Sender::H2(sender)
}

/// One request on a connection of its own.
pub async fn ask(address: SocketAddr, request: http::request::Builder, body: Body) -> Reply {
    Connection::h1(address).await.send(request, body).await
}

/// GET on a connection of its own.
pub async fn get(address: SocketAddr, path: &str) -> Reply {
    ask(address, Request::get(path), empty()).await
}
