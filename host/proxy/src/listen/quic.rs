//! QUIC (RFC 9000): one endpoint per worker, all on the same port. A connection stays with its worker wherever its client moves, since the worker's number
//! is in the connection ids that the worker gives out, and the kernel looks there.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc, LazyLock, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use aws_lc_rs::{hkdf, hmac};
use edgeward_core::config::Limits;
use edgeward_runtime::Peer;
use http::HeaderValue;
use quinn::{
    ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, IdleTimeout, Incoming, ServerConfig,
    TokioRuntime, TransportConfig, VarInt,
    crypto::rustls::{HandshakeData, QuicServerConfig},
};
use rand::RngExt as _;
use rustls_pki_types::CertificateDer;
use socket2::{Domain, Protocol, Socket, Type};
use tokio_util::sync::CancellationToken;

use super::{ConnInfo, EstablishError, Listener, Phase, Transport, connection, count, tls::Tls};
use crate::{http3, snapshot::ListenerSpec, worker::Worker};

/// Bytes of our connection ids: two that lead to the worker, the rest random.
const ID_LENGTH: usize = 10;
/// Handshakes of a worker at once, above which clients have to prove their address before they cost anything (RFC 9000 section 8.1.2).
const HANDSHAKES: usize = 64;
/// Streams that clients open for themselves: three, and a few that say nothing (RFC 9114 section 6.2).
const UNIDIRECTIONAL: u32 = 8;
/// What a client may send ahead, per request and in all, in bytes; as for HTTP/2.
const STREAM_WINDOW: u32 = 256 << 10;
const WINDOW: u32 = 1 << 20;
/// What is kept of answers that a client did not acknowledge, per connection, in bytes.
const SEND_WINDOW: u64 = 1 << 20;
/// A client that is not heard for so long is gone; it is asked for a sign before.
const SILENCE: Duration = Duration::from_secs(50);
const ASK: Duration = Duration::from_secs(20);
/// Packets kept of connections that nobody has looked at yet, in bytes: each, and in all.
const INCOMING: u64 = 64 << 10;
const INCOMING_ALL: u64 = 8 << 20;
/// Kernel buffers of a socket, in bytes, as far as the system allows.
const SOCKET_BUFFER: usize = 2 << 20;
/// Seconds that clients may remember where HTTP/3 is.
const REMEMBERED: u32 = 86_400;

static SECRET: OnceLock<[u8; 32]> = OnceLock::new();

/// Makes the keys of HTTP/3 from a secret that stays the same over restarts, so that clients learn at once that a process has taken their connections with it.
/// Without this they are random. Has to come before anything else of the data plane; a second secret is not looked at.
pub fn quic_secret(secret: [u8; 32]) {
    let _again = SECRET.set(secret);
}

/// Keys of this process, the same on all workers.
struct Keys {
    /// Tells clients of connections that were lost (RFC 9000 section 10.3).
    reset: Arc<hmac::Key>,
    /// Of tokens with which clients prove their address.
    token: Arc<hkdf::Prk>,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let secret = SECRET.get_or_init(|| rand::rng().random());
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let reset = hmac::sign(&key, b"stateless reset");
    Keys {
        reset: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, reset.as_ref())),
        token: Arc::new(hkdf::Salt::new(hkdf::HKDF_SHA256, b"token").extract(secret)),
    }
});

/// What connections of a listener are accepted with.
pub(crate) fn server(tls: &Arc<rustls::ServerConfig>, limits: &Limits) -> Result<Arc<ServerConfig>, String> {
    let crypto = QuicServerConfig::try_from(Arc::clone(tls)).map_err(|error| error.to_string())?;
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(limits.h2_streams))
        .max_concurrent_uni_streams(VarInt::from_u32(UNIDIRECTIONAL))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(IdleTimeout::try_from(SILENCE).ok())
        .keep_alive_interval(Some(ASK));
    let mut server = ServerConfig::new(Arc::new(crypto), Arc::clone(&KEYS.token) as _);
    server
        .transport_config(Arc::new(transport))
        .incoming_buffer_size(INCOMING)
        .incoming_buffer_size_total(INCOMING_ALL);
    Ok(Arc::new(server))
}

/// What answers to a connection say of HTTP/3; nothing where a rule for client certificates holds that HTTP/3 does not know.
pub(super) fn alt_svc(spec: &ListenerSpec, tls: &Tls, name: Option<&str>, port: u16) -> Option<HeaderValue> {
    if spec.quic.is_none() || tls.has_rule(name) {
        return None;
    }
    let port = spec.http3_port.unwrap_or(port);
    HeaderValue::try_from(format!("h3=\":{port}\"; ma={REMEMBERED}")).ok()
}

/// Binds one socket per worker. `shared` where other sockets of ours may have the port.
pub(super) fn bind(address: SocketAddr, workers: usize, shared: bool) -> io::Result<Vec<UdpSocket>> {
    // where the kernel cannot be told which worker a packet is for, one worker has them all
    let workers = if cfg!(target_os = "linux") { workers } else { 1 };
    let mut sockets = Vec::with_capacity(workers);
    for index in 0..workers {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        // the first one without: it fails where another program has the port, whose sockets packets would be divided among, too
        if index > 0 || shared {
            socket.set_reuse_port(true)?;
        }
        socket.set_nonblocking(true)?;
        for set in [Socket::set_recv_buffer_size, Socket::set_send_buffer_size] {
            if let Err(error) = set(&socket, SOCKET_BUFFER) {
                tracing::debug!(%error, "size of socket buffer refused");
            }
        }
        socket.bind(&address.into())?;
        if index == 0 {
            socket.set_reuse_port(true)?;
        }
        sockets.push(UdpSocket::from(socket));
    }
    #[cfg(target_os = "linux")]
    if let [first, _, ..] = sockets.as_slice() {
        steer(first, workers)?;
    }
    Ok(sockets)
}

/// Has the kernel choose the socket by the first two bytes of the connection id. Those that a client makes up for its first packets are random,
/// and all of its first packets have the same.
#[cfg(target_os = "linux")]
fn steer(socket: &UdpSocket, workers: usize) -> io::Result<()> {
    use libc::{BPF_A, BPF_ABS, BPF_ALU, BPF_B, BPF_H, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_MOD, BPF_RET};
    let instruction = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let workers = u32::try_from(workers).unwrap_or(u32::MAX);
    let mut program = [
        // RFC 8999 section 5: the first bit is set in long headers, whose ids begin behind flags, version and length
        instruction(BPF_LD | BPF_B | BPF_ABS, 0, 0, 0),
        instruction(BPF_JMP | BPF_JSET | BPF_K, 0, 2, 0x80),
        instruction(BPF_LD | BPF_H | BPF_ABS, 0, 0, 6),
        instruction(BPF_JMP | libc::BPF_JA, 0, 0, 1),
        instruction(BPF_LD | BPF_H | BPF_ABS, 0, 0, 1),
        instruction(BPF_ALU | BPF_MOD | BPF_K, 0, 0, workers),
        instruction(BPF_RET | BPF_A, 0, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::AttachReusePortCbpf, &program)?;
    Ok(())
}

/// Makes connection ids that lead to a worker.
#[derive(Clone, Copy, Debug)]
struct Ids {
    worker: u16,
    workers: u16,
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; ID_LENGTH];
        rand::rng().fill(&mut id);
        let random = u16::from_be_bytes([id[0], id[1]]);
        // below the last multiple of the number of workers, so that adding does not overflow
        let multiples = u16::MAX / self.workers;
        let leading = (random % multiples) * self.workers + self.worker;
        id[..2].copy_from_slice(&leading.to_be_bytes());
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        ID_LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Accepts connections on one worker until the listener has ended or the gateway drains.
pub(crate) async fn accept(worker: Arc<Worker>, listener: Arc<Listener>, socket: UdpSocket) {
    let ids = Ids {
        worker: u16::try_from(worker.index).unwrap_or(u16::MAX),
        workers: u16::try_from(worker.shared.workers).unwrap_or(u16::MAX),
    };
    let mut config = EndpointConfig::new(Arc::clone(&KEYS.reset) as _);
    config.cid_generator(move || Box::new(ids));
    let server = listener.spec.load().quic.as_deref().cloned();
    let endpoint = match Endpoint::new(config, server, socket, Arc::new(TokioRuntime)) {
        Ok(endpoint) => endpoint,
        Err(error) => {
            tracing::error!(%error, address = %listener.bound, "listener cannot be used for HTTP/3");
            return;
        }
    };
    let mut phase = listener.phase.subscribe();
    let handshakes = Arc::new(AtomicUsize::new(0));
    loop {
        // as for TCP
        let drain = worker.drain.child_token();
        let ends_them = drain.clone().drop_guard();
        loop {
            let incoming = tokio::select! {
                biased;
                // first, so that nobody who comes after it is served by a listener that is gone
                _ = phase.wait_for(|phase| *phase != Phase::Open) => break,
                () = worker.drain.cancelled() => {
                    // those that are open go on
                    endpoint.set_server_config(None);
                    return;
                }
                incoming = endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else { return };
            admit(&worker, &listener, &handshakes, &drain, incoming);
        }
        drop(ends_them);
        // what runs is finished; whoever comes meanwhile is told at once
        let (mut leaving, mut is_idle) = (None, false);
        loop {
            tokio::select! {
                biased;
                left = phase.wait_for(|phase| !matches!(phase, Phase::Leaving { time, .. } if Some(*time) == leaving)) => {
                    match left.as_deref() {
                        Ok(Phase::Open) => break,
                        // it may have come and gone since this worker looked
                        Ok(Phase::Leaving { time, .. }) => (leaving, is_idle) = (Some(*time), false),
                        Ok(Phase::Ended) | Err(_) => return,
                    }
                }
                () = worker.drain.cancelled() => {
                    endpoint.set_server_config(None);
                    return;
                }
                () = endpoint.wait_idle(), if !is_idle => {
                    is_idle = true;
                    listener.one_is_idle(worker.shared.workers);
                }
                incoming = endpoint.accept() => match incoming {
                    Some(incoming) => incoming.refuse(),
                    None => return,
                },
            }
        }
    }
}

/// Takes a connection on, has its client prove its address first, or refuses it.
fn admit(
    worker: &Arc<Worker>,
    listener: &Listener,
    handshakes: &Arc<AtomicUsize>,
    drain: &CancellationToken,
    incoming: Incoming,
) {
    let spec = listener.spec.load_full();
    let Some(config) = &spec.quic else {
        incoming.refuse();
        return;
    };
    let per_address = worker.shared.live.load().limits.connections_per_address;
    let doubtful = per_address > 0 || handshakes.load(Relaxed) >= HANDSHAKES;
    if doubtful && !incoming.remote_address_validated() && incoming.may_retry() {
        worker.shared.metrics.quic_retries.fetch_add(1, Relaxed);
        if let Err(error) = incoming.retry() {
            error.into_incoming().refuse();
        }
        return;
    }
    let Some(place) = listener.open.place_now(worker) else {
        worker.shared.metrics.connections_refused.fetch_add(1, Relaxed);
        incoming.refuse();
        return;
    };
    let handshake = Handshake::new(handshakes);
    let accepted = Accepted {
        incoming,
        config: Arc::clone(config),
        drain: drain.clone(),
    };
    let (worker, spec) = (Arc::clone(worker), Arc::clone(&spec));
    worker.connections.clone().spawn(async move {
        let _place = place;
        serve(worker, spec, accepted, handshake).await;
    });
}

/// A handshake that is counted until this is dropped.
struct Handshake(Arc<AtomicUsize>);

impl Handshake {
    fn new(all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, Relaxed);
        Self(Arc::clone(all))
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A connection at its very beginning.
struct Accepted {
    incoming: Incoming,
    config: Arc<ServerConfig>,
    /// Ends it, after the exchanges that run.
    drain: CancellationToken,
}

/// Serves a connection to its end.
async fn serve(worker: Arc<Worker>, spec: Arc<ListenerSpec>, accepted: Accepted, handshake: Handshake) {
    let metrics = &worker.shared.metrics;
    metrics.connections_total.fetch_add(1, Relaxed);
    metrics.connections.fetch_add(1, Relaxed);
    let limits = worker.shared.live.load().limits.clone();
    let address = accepted.incoming.remote_address();
    let established = establish(&worker, spec, &limits, accepted);
    let established = tokio::time::timeout(limits.handshake_timeout.0, established)
        .await
        .unwrap_or_else(|_elapsed| Err(EstablishError::Handshake(io::ErrorKind::TimedOut.into())));
    match established {
        Ok((conn, connection, completed)) => {
            let completed = async move {
                let completed = completed.await;
                drop(handshake);
                completed
            };
            http3::serve(Arc::clone(&worker), conn, limits, connection, completed).await;
            // closing is said by another task of this thread
            tokio::task::yield_now().await;
        }
        Err(error) => {
            error.count(metrics);
            tracing::debug!(%error, peer = %address, "connection refused");
        }
    }
    metrics.connections.fetch_sub(1, Relaxed);
}

/// As far as the first request can be: a client that was here before sends it with its first packet (0-RTT).
async fn establish(
    worker: &Worker,
    spec: Arc<ListenerSpec>,
    limits: &Limits,
    accepted: Accepted,
) -> Result<
    (
        Arc<ConnInfo>,
        quinn::Connection,
        impl Future<Output = bool> + use<>,
    ),
    EstablishError,
> {
    let failed = |error| EstablishError::Handshake(io::Error::other(error));
    let Accepted {
        incoming,
        config,
        drain,
    } = accepted;
    let mut address = incoming.remote_address();
    address.set_ip(address.ip().to_canonical());
    let counted = count(&worker.shared.addresses, address, &spec, limits)?;
    let mut connecting = incoming.accept_with(config).map_err(failed)?;
    let data = connecting.handshake_data().await.map_err(failed)?;
    let sni = data
        .downcast::<HandshakeData>()
        .ok()
        .and_then(|data| data.server_name);
    let (connection, completed) = connecting
        .into_0rtt()
        .map_err(|_a_client| EstablishError::Handshake(io::ErrorKind::NotConnected.into()))?;
    let mut completed = Some(completed);
    let asks = spec.tls.as_ref().is_some_and(|tls| tls.asks_for_certificates());
    if asks && let Some(completed) = completed.take() {
        completed.await;
        if let Some(error) = connection.close_reason() {
            return Err(failed(error));
        }
    }
    let peer = Peer {
        address,
        tls_version: Some("1.3"),
        sni,
        client_certificate: connection
            .peer_identity()
            .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
            .and_then(|chain| Some(chain.first()?.to_vec())),
    };
    let conn = self::connection(peer, spec, Transport::Quic, None, drain, counted);
    let completed = async move {
        match completed {
            Some(completed) => completed.await,
            None => true,
        }
    };
    Ok((conn, connection, completed))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_lead_to_their_worker_and_are_random() {
        for workers in [1, 2, 3, 7, 64, 1000] {
            for worker in [0, workers / 2, workers - 1] {
                let mut ids = Ids { worker, workers };
                let mut seen = HashSet::new();
                for _ in 0..200 {
                    let id = ids.generate_cid();
                    assert_eq!(id.len(), ID_LENGTH);
                    assert_eq!(u16::from_be_bytes([id[0], id[1]]) % workers, worker);
                    assert!(seen.insert(id));
                }
            }
        }
    }
}
