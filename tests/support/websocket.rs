//! WebSocket on both sides of the gateway: an origin that echoes, and clients over HTTP/1.1 and over a stream of HTTP/2 (RFC 8441).

use std::{net::SocketAddr, sync::Arc};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use hyper::{body::Incoming, client::conn as client, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{CloseFrame, Role},
    },
};

use crate::{eventually, within};

/// A connection, whatever it is made of.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A WebSocket of a client.
pub type Socket = WebSocketStream<Box<dyn Duplex>>;

/// An origin that agrees to every WebSocket but those for `/refuse` (403), chooses the first subprotocol, and sends each message back. To the text
/// `close CODE` it says Close.
pub struct WebSocketOrigin {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    handshakes: Mutex<Vec<(String, HeaderMap)>>,
    ends: Mutex<Vec<Option<u16>>>,
}

impl WebSocketOrigin {
    /// Starts one on a free port.
    pub async fn start() -> Self {
        Self::listen(None).await
    }

    /// The same with TLS.
    pub async fn tls(config: Arc<rustls::ServerConfig>) -> Self {
        Self::listen(Some(TlsAcceptor::from(config))).await
    }

    async fn listen(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, tls) = (Arc::clone(&shared), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(Box::new(stream), state).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(Box::new(stream), state).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, state }
    }

    /// Its endpoint in a configuration.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    /// Target and fields of the handshakes that came.
    #[must_use]
    pub fn handshakes(&self) -> Vec<(String, HeaderMap)> {
        self.state.handshakes.lock().clone()
    }

    /// Waits until so many WebSockets have ended, and tells the codes of the Closes that came; `None` where none came.
    pub async fn ends(&self, count: usize) -> Vec<Option<u16>> {
        eventually(
            &format!("the end of {count} WebSockets at the origin"),
            async || {
                let ends = self.state.ends.lock();
                (ends.len() >= count).then(|| ends.clone())
            },
        )
        .await
    }
}

async fn serve(stream: Box<dyn Duplex>, state: Arc<State>) {
    let service = service_fn(move |request| answer(Arc::clone(&state), request));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // connections end as the gateway likes
    drop(connection.with_upgrades().await);
}

async fn answer(state: Arc<State>, mut request: Request<Incoming>) -> Result<Response<String>, http::Error> {
    let headers = request.headers();
    state
        .handshakes
        .lock()
        .push((request.uri().to_string(), headers.clone()));
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    let Some(key) = key.filter(|_| request.uri().path() != "/refuse") else {
        return Response::builder().status(403).body("not you".to_owned());
    };
    let mut response = Response::builder()
        .status(101)
        .header("upgrade", "websocket")
        .header("connection", "upgrade")
        .header("sec-websocket-accept", accept_key(key.as_bytes()));
    if let Some(offered) = headers.get(header::SEC_WEBSOCKET_PROTOCOL) {
        let first = offered.to_str().unwrap().split(',').next().unwrap();
        response = response.header(header::SEC_WEBSOCKET_PROTOCOL, first.trim());
    }
    tokio::spawn(async move {
        let stream: Box<dyn Duplex> = Box::new(TokioIo::new(hyper::upgrade::on(&mut request).await.unwrap()));
        talk(
            WebSocketStream::from_raw_socket(stream, Role::Server, None).await,
            &state,
        )
        .await;
    });
    response.body(String::new())
}

async fn talk(mut socket: Socket, state: &State) {
    let mut code = None;
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Close(close) => code = close.map(|close| close.code.into()),
            Message::Text(text) if text.starts_with("close ") => {
                let code: u16 = text["close ".len()..].parse().unwrap();
                let close = CloseFrame {
                    code: code.into(),
                    reason: "as you wish".into(),
                };
                drop(socket.close(Some(close)).await);
            }
            Message::Text(_) | Message::Binary(_) => {
                if socket.send(message).await.is_err() {
                    break;
                }
            }
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
    state.ends.lock().push(code);
}

/// What a server answers to a key (RFC 6455 section 4.2.2).
#[must_use]
pub fn accept_key(key: &[u8]) -> String {
    let text = [key, b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    BASE64_STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text))
}

/// What a client reaches the gateway over.
#[derive(Clone)]
pub enum Over {
    /// HTTP/1.1.
    Http1,
    /// HTTP/1.1 over TLS, for `localhost`.
    Http1Tls(Arc<rustls::ClientConfig>),
    /// A stream of HTTP/2.
    Http2,
    /// The same over TLS.
    Http2Tls(Arc<rustls::ClientConfig>),
}

/// A WebSocket and the answer that began it.
pub struct Opened {
    /// The WebSocket.
    pub socket: Socket,
    /// Status of the answer.
    pub status: u16,
    /// Fields of the answer.
    pub headers: HeaderMap,
}

impl Over {
    /// Asks the gateway for a WebSocket.
    ///
    /// # Errors
    /// The status of an answer that does not agree.
    pub async fn open(
        &self,
        address: SocketAddr,
        path: &str,
        fields: &[(&'static str, &str)],
    ) -> Result<Opened, u16> {
        let stream = within("connecting", TcpStream::connect(address)).await.unwrap();
        let stream: Box<dyn Duplex> = match self {
            Self::Http1 | Self::Http2 => Box::new(stream),
            Self::Http1Tls(config) | Self::Http2Tls(config) => {
                let name = ServerName::try_from("localhost").unwrap();
                let handshake = TlsConnector::from(Arc::clone(config)).connect(name, stream);
                Box::new(within("the handshake", handshake).await.unwrap())
            }
        };
        match self {
            Self::Http1 | Self::Http1Tls(_) => open_h1(stream, path, fields).await,
            Self::Http2 | Self::Http2Tls(_) => open_h2(stream, path, fields).await,
        }
    }
}

async fn open_h1(
    stream: Box<dyn Duplex>,
    path: &str,
    fields: &[(&'static str, &str)],
) -> Result<Opened, u16> {
    let (mut sender, connection) = client::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    let key = BASE64_STANDARD.encode(rand_key());
    let mut request = Request::get(path)
        .header("host", "localhost")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", &key);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(String::new()).unwrap();
    let answer = within("the answer to a handshake", sender.send_request(request))
        .await
        .unwrap();
    if answer.status() != 101 {
        return Err(answer.status().as_u16());
    }
    let headers = answer.headers().clone();
    assert_eq!(headers["upgrade"], "websocket");
    assert_eq!(headers["connection"], "upgrade");
    assert_eq!(headers["sec-websocket-accept"], accept_key(key.as_bytes()));
    let stream: Box<dyn Duplex> = Box::new(TokioIo::new(hyper::upgrade::on(answer).await.unwrap()));
    Ok(Opened {
        socket: WebSocketStream::from_raw_socket(stream, Role::Client, None).await,
        status: 101,
        headers,
    })
}

fn rand_key() -> [u8; 16] {
    let mut key = [0; 16];
    aws_lc_rs::rand::fill(&mut key).unwrap();
    key
}

async fn open_h2(
    stream: Box<dyn Duplex>,
    path: &str,
    fields: &[(&'static str, &str)],
) -> Result<Opened, u16> {
    let mut headers = HeaderMap::new();
    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    let (answer, sending) = connect(stream, "websocket", path, headers).await;
    let (answer, receiving) = answer.into_parts();
    if answer.status != 200 {
        return Err(answer.status.as_u16());
    }
    let (near, far) = tokio::io::duplex(64 << 10);
    let (read, write) = tokio::io::split(far);
    tokio::spawn(upload(read, sending));
    tokio::spawn(download(receiving, write));
    let near: Box<dyn Duplex> = Box::new(near);
    Ok(Opened {
        socket: WebSocketStream::from_raw_socket(near, Role::Client, None).await,
        status: answer.status.as_u16(),
        headers: answer.headers,
    })
}

/// An extended CONNECT, and its answer.
pub async fn connect(
    stream: Box<dyn Duplex>,
    protocol: &'static str,
    path: &str,
    headers: HeaderMap,
) -> (Response<h2::RecvStream>, h2::SendStream<Bytes>) {
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    // its end shows in the stream
    tokio::spawn(connection);
    eventually("leave for extended CONNECT", async || {
        sender.is_extended_connect_protocol_enabled().then_some(())
    })
    .await;
    let mut sender = sender.ready().await.unwrap();
    let mut request = Request::new(());
    *request.method_mut() = http::Method::CONNECT;
    *request.uri_mut() = format!("http://localhost{path}").parse().unwrap();
    *request.headers_mut() = headers;
    request
        .extensions_mut()
        .insert(h2::ext::Protocol::from_static(protocol));
    let (answer, sending) = sender.send_request(request, false).unwrap();
    let answer = within("the answer to CONNECT", answer).await.unwrap();
    (answer, sending)
}

async fn upload(mut read: impl AsyncRead + Unpin, mut stream: h2::SendStream<Bytes>) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = read.read(&mut buffer).await.unwrap_or(0);
        let mut data = Bytes::copy_from_slice(&buffer[..count]);
        if count == 0 {
            // the gateway may have ended it already
            drop(stream.send_data(data, true));
            return;
        }
        while !data.is_empty() {
            stream.reserve_capacity(data.len());
            let Some(Ok(room)) = std::future::poll_fn(|context| stream.poll_capacity(context)).await else {
                return;
            };
            let part = data.split_to(room.min(data.len()));
            if stream.send_data(part, false).is_err() {
                return;
            }
        }
    }
}

async fn download(mut stream: h2::RecvStream, mut write: impl AsyncWrite + Unpin) {
    while let Some(Ok(data)) = stream.data().await {
        let count = data.len();
        if write.write_all(&data).await.is_err() {
            return;
        }
        drop(stream.flow_control().release_capacity(count));
    }
    drop(write.shutdown().await);
}

/// Sends a message.
pub async fn tell(socket: &mut Socket, message: Message) {
    within("sending a message", socket.send(message)).await.unwrap();
}

/// The next message, pongs included.
pub async fn hear(socket: &mut Socket) -> Message {
    within("a message", socket.next())
        .await
        .expect("the WebSocket has ended")
        .unwrap()
}

/// Reads to the end and tells the code of the Close, if one came.
pub async fn hear_close(socket: &mut Socket) -> Option<u16> {
    let mut code = None;
    within("the end of the WebSocket", async {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Close(close) = message {
                code = close.map(|close| close.code.into());
            }
        }
    })
    .await;
    code
}
