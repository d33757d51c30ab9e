//! Sockets: bind, accept under a limit, TLS and QUIC, drain. Every protocol ends in `handle::handle`; nothing else differs.

pub(crate) mod addresses;
mod client_auth;
mod frames;
pub(crate) mod fuzz;
mod gathered;
mod http2;
mod proxy_header;
pub(crate) mod quic;
mod screen;
mod stall;
pub(crate) mod tls;

use std::{
    future::poll_fn,
    io,
    net::{SocketAddr, TcpListener as StdListener, UdpSocket as StdUdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use bytes::BytesMut;
use edgeward_core::{
    config::Limits,
    forwarded::{LastFields, is_trusted},
};
use edgeward_runtime::Peer;
use http::HeaderValue;
use rustls::server::Acceptor;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
};
use tokio_rustls::LazyConfigAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::frames::Abuse;
use self::{
    addresses::{Addresses, Counted},
    frames::Frames,
    gathered::Gathered,
    proxy_header::ProxyHeaderError,
    screen::Screen,
};
pub use self::{client_auth::ClientNames, tls::ServerTls};
use crate::{
    Shared,
    http1::{self, Io, LINGER_TIME, Linger, Stream},
    metrics::Metrics,
    snapshot::ListenerSpec,
    worker::Worker,
};

/// Connections that wait in the kernel for an accept.
const BACKLOG: i32 = 1024;

/// What carries a listener's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Quic,
}

/// A worker's socket of a listener.
pub(crate) enum WorkerSocket {
    Tcp(StdListener),
    Quic(StdUdpSocket),
}

/// A bound listener, shared by the workers.
pub(crate) struct Listener {
    pub(crate) transport: Transport,
    /// What accepted connections are served with; replaced when the configuration changes.
    pub(crate) spec: ArcSwap<ListenerSpec>,
    /// The address as bound (port 0 resolved).
    pub(crate) bound: SocketAddr,
    phase: watch::Sender<Phase>,
    departures: AtomicU64,
    pub(crate) open: Arc<Open>,
}

/// What has become of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Not wanted any more. Sockets of TCP are gone; those of QUIC stay together while connections finish what runs, since the kernel counts them to find
    /// a worker's. `idle` workers have no connection left. `time` counts how often it has left.
    Leaving {
        time: u64,
        idle: usize,
    },
    /// There are no sockets any more.
    Ended,
}

/// What is known of one connection.
pub(crate) struct ConnInfo {
    pub(crate) peer: Arc<Peer>,
    pub(crate) listener: Arc<ListenerSpec>,
    pub(crate) https: bool,
    /// Subject of the client's certificate, which was verified, as text.
    pub(crate) client_subject: Option<String>,
    /// What answers say of HTTP/3.
    pub(crate) alt_svc: Option<HeaderValue>,
    transport: Transport,
    /// Cancelled when its listener goes or the gateway drains: it ends after the exchange that runs.
    pub(crate) drain: CancellationToken,
    _counted: Counted,
    /// Forwarding fields of its last request.
    pub(crate) forwarded: LastFields,
    activity: Activity,
}

/// When a connection was last used, so that idle ones can be closed.
struct Activity {
    born: Instant,
    last_ms: AtomicU64,
    running: AtomicUsize,
}

impl ConnInfo {
    /// An exchange began.
    pub(crate) fn begin(&self) {
        self.activity.running.fetch_add(1, Relaxed);
    }

    /// An exchange ended.
    pub(crate) fn end(&self) {
        self.activity.last_ms.store(self.activity.now(), Relaxed);
        self.activity.running.fetch_sub(1, Relaxed);
    }

    /// Time until the connection has been idle for `limit`; zero when it has.
    pub(crate) fn idle_left(&self, limit: Duration) -> Duration {
        if self.activity.running.load(Relaxed) > 0 {
            return limit;
        }
        let last = self.activity.last_ms.load(Relaxed);
        let idle = Duration::from_millis(self.activity.now().saturating_sub(last));
        limit.saturating_sub(idle)
    }

    /// The server name whose rule for client certificates held when the connection was opened: QUIC connections know none.
    pub(crate) fn opened_for(&self) -> Option<&str> {
        match self.transport {
            Transport::Tcp => self.peer.sni.as_deref(),
            Transport::Quic => None,
        }
    }
}

impl Activity {
    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// How often other ports are tried when the free one that TCP got is taken for UDP.
const PORTS_TRIED: u32 = 16;

/// Sockets of a listener that are missing.
pub(crate) struct Missing {
    pub(crate) spec: Arc<ListenerSpec>,
    /// Those of TCP, if they are there.
    tcp: Option<Arc<Listener>>,
    quic: bool,
    /// Another listener of ours has the port, at another address.
    shares_port: bool,
}

/// A listener with a socket for each worker.
pub(crate) type Bound = (Arc<Listener>, Vec<WorkerSocket>);

/// Binds one socket per worker to the address, for each transport that is missing.
pub(crate) fn bind(missing: &Missing, workers: usize) -> io::Result<Vec<Bound>> {
    let mut tries = 0;
    loop {
        tries += 1;
        match try_bind(missing, workers) {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && missing.spec.address.port() == 0
                    && missing.tcp.is_none()
                    && tries < PORTS_TRIED => {}
            bound => return bound,
        }
    }
}

fn try_bind(missing: &Missing, workers: usize) -> io::Result<Vec<Bound>> {
    let mut all = Vec::new();
    let listener = |transport, bound, open| Listener {
        transport,
        spec: ArcSwap::new(Arc::clone(&missing.spec)),
        bound,
        phase: watch::Sender::new(Phase::Open),
        departures: AtomicU64::new(0),
        open,
    };
    let (bound, open) = if let Some(tcp) = &missing.tcp {
        (tcp.bound, Arc::clone(&tcp.open))
    } else {
        let mut address = missing.spec.address;
        let mut sockets = Vec::with_capacity(workers);
        for _ in 0..workers {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            let socket = StdListener::from(socket);
            // with port 0 the other workers share the port that the first one got
            address = socket.local_addr()?;
            sockets.push(WorkerSocket::Tcp(socket));
        }
        let open = Arc::<Open>::default();
        let tcp = listener(Transport::Tcp, address, Arc::clone(&open));
        all.push((Arc::new(tcp), sockets));
        (address, open)
    };
    if missing.quic {
        let sockets = quic::bind(bound, workers, missing.shares_port)?;
        let sockets = sockets.into_iter().map(WorkerSocket::Quic).collect();
        all.push((Arc::new(listener(Transport::Quic, bound, open)), sockets));
    }
    Ok(all)
}

/// Connections of a listener that are served, on all workers.
#[derive(Default)]
pub(crate) struct Open {
    count: AtomicUsize,
    changed: Notify,
}

/// A connection that is counted until this is dropped.
struct Place(Arc<Open>);

impl Open {
    /// Waits until there are fewer than `limits.connections`, as they are configured by then.
    async fn place(self: &Arc<Self>, worker: &Worker) -> Place {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // from here on no notice is missed
            changed.as_mut().enable();
            if let Some(place) = self.place_now(worker) {
                return place;
            }
            changed.await;
        }
    }

    /// A place if there is one.
    fn place_now(self: &Arc<Self>, worker: &Worker) -> Option<Place> {
        let most = worker.shared.live.load().limits.connections as usize;
        let one_more = |count: usize| (count < most).then_some(count + 1);
        let counted = self.count.fetch_update(Relaxed, Relaxed, one_more);
        counted.is_ok().then(|| Place(Arc::clone(self)))
    }

    /// The limit may have changed.
    pub(crate) fn look_again(&self) {
        self.changed.notify_waiters();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Relaxed);
        self.0.changed.notify_waiters();
    }
}

/// Accepts connections on one worker until the listener closes or the gateway drains.
pub(crate) async fn accept(worker: Arc<Worker>, listener: Arc<Listener>, socket: StdListener) {
    let socket = match TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%error, address = %listener.bound, "listener cannot be used");
            return;
        }
    };
    // of this listener's connections on this worker; a child, so that a gateway that drains reaches them as well
    let drain = worker.drain.child_token();
    let _ends_them = drain.clone().drop_guard();
    let mut phase = listener.phase.subscribe();
    loop {
        let next = async {
            let accepted = socket.accept().await;
            // above the limit this worker holds the one that it has accepted; the others wait in the kernel's queue
            (accepted, listener.open.place(&worker).await)
        };
        let (accepted, place) = tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase != Phase::Open) => return,
            () = drain.cancelled() => return,
            next = next => next,
        };
        match accepted {
            Ok((stream, peer)) => {
                let spec = listener.spec.load_full();
                let (connection, drain) = (Arc::clone(&worker), drain.clone());
                worker.connections.spawn(async move {
                    let _place = place;
                    serve(connection, spec, drain, stream, peer).await;
                });
            }
            Err(error) => {
                // out of file descriptors, or the peer went at once: others may still be served
                tracing::warn!(%error, address = %listener.bound, "accept failed");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// Serves an accepted connection to its end.
async fn serve(
    worker: Arc<Worker>,
    spec: Arc<ListenerSpec>,
    drain: CancellationToken,
    stream: TcpStream,
    address: SocketAddr,
) {
    let metrics = &worker.shared.metrics;
    metrics.connections_total.fetch_add(1, Relaxed);
    metrics.connections.fetch_add(1, Relaxed);
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, peer = %address, "TCP_NODELAY refused");
    }
    let limits = worker.shared.live.load().limits.clone();
    match establish(&worker.shared, spec, drain, &limits, stream, address).await {
        Ok(Some((conn, stream))) => run(Arc::clone(&worker), conn, limits, stream).await,
        Ok(None) => {}
        Err(error) => {
            error.count(metrics);
            tracing::debug!(%error, peer = %address, "connection refused");
            if let EstablishError::Refused(_, stream) = error {
                let mut io = Io::new(Stream::Tcp(stream), BytesMut::new());
                let mut linger = Linger::default();
                let closing = poll_fn(|context| io.poll_linger(&mut linger, context));
                let _cut_off = tokio::time::timeout(LINGER_TIME, closing).await;
            }
        }
    }
    metrics.connections.fetch_sub(1, Relaxed);
}

/// Why a connection was closed before its first request.
#[derive(Debug, thiserror::Error)]
enum EstablishError {
    #[error("the client has {most} connections open")]
    TooMany { most: u32 },
    #[error(transparent)]
    ProxyHeader(#[from] ProxyHeaderError),
    #[error("tls handshake: {0}")]
    Handshake(io::Error),
    /// The client was told so (an alert), and may be sending what it does not know is in vain.
    #[error("tls handshake: {0}")]
    Refused(io::Error, TcpStream),
}

impl EstablishError {
    fn count(&self, metrics: &Metrics) {
        let count = match self {
            Self::TooMany { .. } => &metrics.connections_refused,
            Self::ProxyHeader(_) => &metrics.proxy_header_failures,
            Self::Handshake(_) | Self::Refused(..) => &metrics.handshake_failures,
        };
        count.fetch_add(1, Relaxed);
    }
}

/// What stands before the first request: whom the connection is from, and TLS. `None` when that was all: a certificate authority came to see whether a
/// name is ours.
async fn establish(
    shared: &Shared,
    spec: Arc<ListenerSpec>,
    drain: CancellationToken,
    limits: &Limits,
    mut stream: TcpStream,
    mut address: SocketAddr,
) -> Result<Option<(Arc<ConnInfo>, Stream)>, EstablishError> {
    let too_long = || io::Error::from(io::ErrorKind::TimedOut);
    let limit = limits.handshake_timeout.0;
    // IPv4 clients of a socket for both families count as what they are
    address.set_ip(address.ip().to_canonical());
    if is_trusted(address.ip(), &spec.proxy_protocol) {
        let header = tokio::time::timeout(limit, proxy_header::read(&mut stream)).await;
        if let Some(client) = header.unwrap_or_else(|_elapsed| Err(too_long().into()))? {
            address = SocketAddr::new(client.ip().to_canonical(), client.port());
        }
    }
    let counted = count(&shared.addresses, address, &spec, limits)?;
    let port = stream.local_addr().map_or(0, |local| local.port());
    let Some(tls) = &spec.tls else {
        let peer = Peer {
            address,
            tls_version: None,
            sni: None,
            client_certificate: None,
        };
        let conn = connection(peer, spec, Transport::Tcp, None, drain, counted);
        return Ok(Some((conn, Stream::Tcp(stream))));
    };
    let handshake = async {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream);
        let start = start.await.map_err(EstablishError::Handshake)?;
        let hello = start.client_hello();
        if let Some(challenge) = shared.challenges.tls(&hello) {
            // RFC 8737 section 3: the handshake is all there is, and must not carry a request
            let shown = async { start.into_stream(challenge).await?.shutdown().await };
            return shown.await.map(|()| None).map_err(EstablishError::Handshake);
        }
        let server = Arc::clone(tls.server(hello.server_name()));
        let accepted = start.into_stream(server).into_fallible().await;
        accepted
            .map(Some)
            .map_err(|(error, stream)| EstablishError::Refused(error, stream))
    };
    let handshake = tokio::time::timeout(limit, handshake).await;
    let stream = handshake.unwrap_or_else(|_elapsed| Err(EstablishError::Handshake(too_long())))?;
    let Some(stream) = stream else { return Ok(None) };
    let (_, session) = stream.get_ref();
    let peer = Peer {
        address,
        tls_version: match session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => Some("1.2"),
            Some(rustls::ProtocolVersion::TLSv1_3) => Some("1.3"),
            _ => None,
        },
        sni: session.server_name().map(str::to_owned),
        client_certificate: session
            .peer_certificates()
            .and_then(|chain| Some(chain.first()?.to_vec())),
    };
    let alt_svc = quic::alt_svc(&spec, tls, peer.sni.as_deref(), port);
    let conn = connection(peer, Arc::clone(&spec), Transport::Tcp, alt_svc, drain, counted);
    Ok(Some((conn, Stream::Tls(Box::new(stream.into())))))
}

/// Counts one more connection of a client.
fn count(
    addresses: &Arc<Addresses>,
    address: SocketAddr,
    spec: &ListenerSpec,
    limits: &Limits,
) -> Result<Counted, EstablishError> {
    let most = if is_trusted(address.ip(), &spec.trusted_hops) {
        0
    } else {
        limits.connections_per_address
    };
    let counted = addresses.enter(address.ip(), most);
    counted.ok_or(EstablishError::TooMany { most })
}

fn connection(
    peer: Peer,
    listener: Arc<ListenerSpec>,
    transport: Transport,
    alt_svc: Option<HeaderValue>,
    drain: CancellationToken,
    counted: Counted,
) -> Arc<ConnInfo> {
    let activity = Activity {
        born: Instant::now(),
        last_ms: AtomicU64::new(0),
        running: AtomicUsize::new(0),
    };
    Arc::new(ConnInfo {
        client_subject: peer.client_certificate.as_deref().and_then(client_auth::subject),
        peer: Arc::new(peer),
        https: listener.tls.is_some(),
        listener,
        alt_svc,
        transport,
        drain,
        _counted: counted,
        forwarded: LastFields::default(),
        activity,
    })
}

/// What HTTP/2 with prior knowledge begins with (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

async fn run(worker: Arc<Worker>, conn: Arc<ConnInfo>, limits: Limits, mut stream: Stream) {
    let mut first = BytesMut::new();
    let http2 = match &stream {
        Stream::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        Stream::Tcp(_) if conn.listener.http2 => {
            let sniffed = tokio::time::timeout(limits.head_timeout.0, sniff(&mut stream, &mut first));
            let sniffed = tokio::select! {
                sniffed = sniffed => sniffed,
                () = conn.drain.cancelled() => return,
            };
            match sniffed {
                Ok(Ok(http2)) => http2,
                Ok(Err(_)) | Err(_) => return, // closed, or silent since it was opened
            }
        }
        Stream::Tcp(_) | Stream::Closed => false,
    };
    if http2 {
        let frames = Frames::new(limits.h2_resets, limits.h2_control_frames);
        let screen = Screen::new(http2::head_max(&limits));
        let stream = Gathered::new(Io::new(stream, first), frames, screen);
        http2::serve(&worker, &conn, &limits, stream).await;
    } else {
        http1::serve(worker, conn, limits, stream, first).await;
    }
}

/// Reads until it is clear whether the client speaks HTTP/2.
async fn sniff(stream: &mut Stream, first: &mut BytesMut) -> io::Result<bool> {
    loop {
        if stream.read_buf(first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let known = first.len().min(PREFACE.len());
        if first[..known] != PREFACE[..known] {
            return Ok(false);
        }
        if known == PREFACE.len() {
            return Ok(true);
        }
    }
}

/// Waits until all connections of a worker have ended.
pub(crate) async fn drained(connections: &TaskTracker) {
    connections.close();
    connections.wait().await;
}

/// What listeners have to do for a new snapshot.
pub(crate) struct Changes {
    /// What has to be bound.
    pub(crate) missing: Vec<Missing>,
    /// Those that go.
    pub(crate) gone: Vec<Arc<Listener>>,
    /// Those that were leaving and are wanted again: they are open from now on.
    pub(crate) back: Vec<Arc<Listener>>,
}

/// Compares what is there with what is wanted.
pub(crate) fn changes(shared: &Shared, wanted: &[Arc<ListenerSpec>]) -> Changes {
    let open = shared.listeners.lock();
    let has = |spec: &ListenerSpec, transport| {
        let mut open = open.iter().filter(|listener| listener.is_open());
        open.find(|listener| listener.transport == transport && listener.is_of(spec))
    };
    let mut back = Vec::new();
    let mut missing = Vec::new();
    for spec in wanted {
        let tcp = has(spec, Transport::Tcp);
        let mut quic = spec.quic.is_some() && has(spec, Transport::Quic).is_none();
        if quic {
            let address = tcp.map_or(spec.address, |tcp| tcp.bound);
            let at_address = |listener: &&Arc<Listener>| {
                listener.transport == Transport::Quic && listener.bound == address && listener.come_back()
            };
            if let Some(listener) = open.iter().find(at_address) {
                back.push(Arc::clone(listener));
                quic = false;
            }
        }
        if tcp.is_none() || quic {
            missing.push(Missing {
                spec: Arc::clone(spec),
                tcp: tcp.cloned(),
                quic,
                shares_port: open.iter().any(|listener| {
                    listener.transport == Transport::Quic && listener.bound.port() == spec.address.port()
                }),
            });
        }
    }
    let stays = |listener: &Listener, spec: &ListenerSpec| {
        listener.is_of(spec) && (listener.transport == Transport::Tcp || spec.quic.is_some())
    };
    let gone = open
        .iter()
        .filter(|listener| listener.is_open() && !back.iter().any(|back| Arc::ptr_eq(back, listener)))
        .filter(|listener| !wanted.iter().any(|spec| stays(listener, spec)))
        .cloned()
        .collect();
    Changes { missing, gone, back }
}

impl Listener {
    /// Whether it accepts connections.
    pub(crate) fn is_open(&self) -> bool {
        *self.phase.borrow() == Phase::Open
    }

    /// Whether it has sockets.
    pub(crate) fn is_there(&self) -> bool {
        match *self.phase.borrow() {
            Phase::Open => true,
            Phase::Leaving { .. } => self.transport == Transport::Quic,
            Phase::Ended => false,
        }
    }

    /// It is not wanted any more.
    pub(crate) fn leave(&self) {
        self.phase.send_if_modified(|phase| {
            let was_open = *phase == Phase::Open;
            if was_open {
                let time = self.departures.fetch_add(1, Relaxed);
                *phase = Phase::Leaving { time, idle: 0 };
            }
            was_open
        });
    }

    /// It is wanted again. False when it was not leaving, or it is too late.
    fn come_back(&self) -> bool {
        self.phase.send_if_modified(|phase| {
            let is_leaving = matches!(phase, Phase::Leaving { .. });
            if is_leaving {
                *phase = Phase::Open;
            }
            is_leaving
        })
    }

    /// One more of its workers has no connection left while it is leaving; after the last it has ended.
    fn one_is_idle(&self, workers: usize) {
        self.phase.send_if_modified(|phase| {
            let Phase::Leaving { idle, .. } = phase else {
                return false;
            };
            *idle += 1;
            let ended = *idle >= workers;
            if ended {
                *phase = Phase::Ended;
            }
            ended
        });
    }

    /// Whether it is this listener's, which may have another name by now.
    pub(crate) fn is_of(&self, spec: &ListenerSpec) -> bool {
        // a port that the system chose may be asked for by its number afterwards
        spec.takes_over(&self.spec.load()) || spec.address == self.bound
    }
}
