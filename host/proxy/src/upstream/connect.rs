//! New connections: TCP, TLS, and for HTTP/2 hyper's handshake and the task that drives the connection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use edgeward_core::config::UpstreamProtocol;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{
    endpoint::Endpoint,
    error::{Failed, UpstreamErrorKind},
    group::UpstreamGroup,
    h1::{H1, Unanswered},
};
use crate::{body::Body, http1::Stream};

/// Streams at once on one HTTP/2 connection, whatever more the peer would allow: above it a second connection is better than one busy task.
pub(super) const STREAMS_MAX: usize = 100;

/// Window of one HTTP/2 stream: what a slow client can make the gateway hold of a fast response.
const STREAM_WINDOW: u32 = 256 * 1024;

/// All streams' windows together, so that readers that stall never stall the others on the connection.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX as u32;

/// A shared HTTP/2 connection. It closes when all its handles are dropped and its streams have ended.
#[derive(Clone)]
pub(super) struct H2 {
    send: http2::SendRequest<Body>,
    shared: Arc<H2Shared>,
}

#[derive(Default)]
struct H2Shared {
    streams: AtomicUsize,
    streams_max: AtomicUsize,
    uses: AtomicU64,
}

impl H2 {
    pub(super) fn is_closed(&self) -> bool {
        self.send.is_closed()
    }

    pub(super) fn streams(&self) -> usize {
        self.shared.streams.load(Ordering::Relaxed)
    }

    pub(super) fn has_room(&self) -> bool {
        self.streams() < self.shared.streams_max.load(Ordering::Relaxed).min(STREAMS_MAX)
    }

    /// Streams opened so far.
    pub(super) fn uses(&self) -> u64 {
        self.shared.uses.load(Ordering::Relaxed)
    }

    /// Takes a place for one stream; it is given back by dropping.
    pub(super) fn stream(&self) -> H2Stream {
        self.shared.streams.fetch_add(1, Ordering::Relaxed);
        self.shared.uses.fetch_add(1, Ordering::Relaxed);
        H2Stream(self.clone())
    }
}

/// A place on an HTTP/2 connection.
pub(super) struct H2Stream(H2);

impl H2Stream {
    pub(super) async fn send(
        &mut self,
        head: &Request<()>,
        body: Body,
    ) -> Result<Response<Incoming>, Unanswered> {
        let request = head.clone().map(|()| body);
        let sent = self.0.send.try_send_request(request).await;
        sent.map_err(|mut error: TrySendError<_>| Unanswered {
            body: error.take_message().map(Request::into_body),
            failed: Failed::from_hyper(error.into_error()),
        })
    }
}

impl Drop for H2Stream {
    fn drop(&mut self) {
        self.0.shared.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Connects for HTTP/1.1 within the group's `connect-timeout`.
pub(super) async fn h1(group: &UpstreamGroup, endpoint: &Endpoint) -> Result<H1, Failed> {
    debug_assert_eq!(group.config.protocol, UpstreamProtocol::Http1);
    in_time(group, async {
        let tcp = tcp(endpoint).await?;
        match &group.tls {
            None => Ok(H1::new(Stream::Tcp(tcp))),
            Some(_) => {
                let stream = tls(group, endpoint, tcp).await?;
                Ok(H1::new(Stream::Tls(Box::new(stream.into()))))
            }
        }
    })
    .await
}

/// Connects for HTTP/2 within the group's `connect-timeout`.
pub(super) async fn h2(group: &UpstreamGroup, endpoint: &Endpoint) -> Result<H2, Failed> {
    in_time(group, async {
        let tcp = tcp(endpoint).await?;
        match &group.tls {
            None => start_h2(tcp).await,
            Some(_) => start_h2(tls(group, endpoint, tcp).await?).await,
        }
    })
    .await
}

async fn in_time<T>(
    group: &UpstreamGroup,
    connecting: impl Future<Output = Result<T, Failed>>,
) -> Result<T, Failed> {
    tokio::time::timeout(group.config.connect_timeout.0, connecting)
        .await
        .unwrap_or_else(|elapsed| Err(Failed::new(UpstreamErrorKind::ConnectTimeout, elapsed)))
}

async fn tcp(endpoint: &Endpoint) -> Result<TcpStream, Failed> {
    let connect = async {
        let stream = TcpStream::connect(endpoint.address).await?;
        stream.set_nodelay(true)?;
        Ok::<_, std::io::Error>(stream)
    };
    connect
        .await
        .map_err(|error| Failed::new(UpstreamErrorKind::Connect, error))
}

async fn tls(
    group: &UpstreamGroup,
    endpoint: &Endpoint,
    tcp: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failed> {
    let (Some(connector), Some(name)) = (&group.tls, &group.target(endpoint).server_name) else {
        return Err(Failed::bare(UpstreamErrorKind::Tls));
    };
    let stream = connector
        .connect(name.clone(), tcp)
        .await
        .map_err(|error| Failed::new(UpstreamErrorKind::Tls, error))?;
    if group.config.protocol == UpstreamProtocol::Http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(Failed::new(
            UpstreamErrorKind::Tls,
            "the upstream did not select h2 in ALPN",
        ));
    }
    Ok(stream)
}

async fn start_h2<T>(io: T) -> Result<H2, Failed>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (send, mut connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(STREAM_WINDOW as usize)
        .max_header_list_size(64 * 1024)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .handshake(TokioIo::new(io))
        .await
        .map_err(Failed::from_hyper)?;
    let shared = Arc::new(H2Shared::default());
    shared
        .streams_max
        .store(connection.current_max_send_streams(), Ordering::Relaxed);
    let in_task = Arc::downgrade(&shared);
    tokio::spawn(async move {
        let ended = std::future::poll_fn(|context| {
            let polled = std::pin::Pin::new(&mut connection).poll(context);
            if let Some(shared) = in_task.upgrade() {
                shared
                    .streams_max
                    .store(connection.current_max_send_streams().max(1), Ordering::Relaxed);
            }
            polled
        });
        if let Err(error) = ended.await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    Ok(H2 { send, shared })
}
