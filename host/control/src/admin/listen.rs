//! Where the admin API listens: an address, with TLS or without, and a unix socket. What a connection says of its other side goes with each of its requests.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Router;
use edgeward_core::config::{
    Admin, AdminSocket, AdminTls, Certificate, CertificatePrincipal, ListenerTls, PeerPrincipal, SocketMode,
    TlsPolicy,
};
use edgeward_proxy::{Certificates, ClientNames, Material, ServerTls};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream, unix::UCred},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    CLIENT_TIME,
    auth::{Identity, Peer},
};
use crate::access::ROOT;

/// Time that a handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Time between two looks at the files of TLS.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// TLS of the address, from files that may change.
pub(super) struct Tls {
    settings: ListenerTls,
    principals: Vec<CertificatePrincipal>,
    base_dir: PathBuf,
    current: Mutex<(ServerTls, Instant)>,
}

fn settings(tls: &AdminTls) -> ListenerTls {
    ListenerTls {
        certificates: vec![Certificate {
            cert: Some(tls.cert.clone()),
            key: Some(tls.key.clone()),
            ..Certificate::default()
        }],
        policy: TlsPolicy::default(),
        client_auth: tls.client_auth.clone(),
        domains: Vec::new(),
    }
}

impl Tls {
    /// Reads the files; the error names the one that cannot be used.
    pub(super) fn new(tls: &AdminTls, base_dir: &Path) -> Result<Self, String> {
        let settings = settings(tls);
        let material = Material::new(base_dir, Certificates::new());
        let current = ServerTls::build(&settings, &material, None)?;
        Ok(Self {
            settings,
            principals: tls.principals.clone(),
            base_dir: base_dir.to_owned(),
            current: Mutex::new((current, Instant::now())),
        })
    }

    /// What the files say now. Where they cannot be used, what they said before.
    fn current(&self, now: Instant) -> Arc<ServerConfig> {
        let mut current = self.current.lock();
        if now.saturating_duration_since(current.1) >= LOOK_AGAIN {
            let material = Material::new(&self.base_dir, Certificates::new());
            match ServerTls::build(&self.settings, &material, Some(&current.0)) {
                Ok(now) => current.0 = now,
                Err(problem) => {
                    tracing::warn!(
                        problem,
                        "`admin.tls` cannot be read again; what it was stays in use"
                    );
                }
            }
            current.1 = now;
        }
        Arc::clone(current.0.config())
    }

    fn identity(&self, certificate: &[u8]) -> Option<Identity> {
        let names = ClientNames::of(certificate)?;
        let fits = |mapped: &&CertificatePrincipal| match (&mapped.subject, &mapped.san) {
            (Some(subject), None) => *subject == names.subject,
            (None, Some(san)) => names.alternative.contains(san),
            _ => false,
        };
        Some(Identity {
            principal: self
                .principals
                .iter()
                .find(fits)
                .map(|mapped| mapped.principal.clone()),
            authentication: format!("certificate {}", names.subject),
        })
    }
}

/// A unix socket, and who its users are.
pub(super) struct Local {
    listener: UnixListener,
    path: PathBuf,
    principals: Vec<PeerPrincipal>,
    own_user: u32,
}

impl Local {
    /// Makes the socket. It has its mode before anybody can see it: it is made in a folder of its own and then moved.
    pub(super) fn bind(socket: &AdminSocket, base_dir: &Path) -> io::Result<Self> {
        let path = base_dir.join(&socket.path);
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        match fs::symlink_metadata(&path) {
            Ok(there) if !there.file_type().is_socket() => {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "it is there, and no socket",
                ));
            }
            Ok(_) if std::os::unix::net::UnixStream::connect(&path).is_ok() => {
                return Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    "another process listens there",
                ));
            }
            _ => {}
        }
        let hidden = tempfile::Builder::new()
            .prefix(".ew")
            .rand_bytes(4)
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(folder)?;
        let made = hidden.path().join("s");
        let listener = UnixListener::bind(&made)?;
        let mode = match socket.mode {
            SocketMode::Owner => 0o600,
            SocketMode::Group => 0o660,
        };
        fs::set_permissions(&made, fs::Permissions::from_mode(mode))?;
        fs::rename(&made, &path)?;
        Ok(Self {
            listener,
            path,
            principals: socket.principals.clone(),
            own_user: rustix::process::geteuid().as_raw(),
        })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn peer(&self, user: &UCred) -> Peer {
        let (uid, gid) = (user.uid(), user.gid());
        let fits = |mapped: &&PeerPrincipal| match (mapped.uid, mapped.gid) {
            (Some(wanted), None) => wanted == uid,
            (None, Some(wanted)) => wanted == gid,
            _ => false,
        };
        let mapped = self
            .principals
            .iter()
            .find(fits)
            .map(|mapped| mapped.principal.clone());
        let owner = || (uid == self.own_user || uid == 0).then(|| ROOT.to_owned());
        Peer {
            source: "unix".to_owned(),
            place: format!("user {uid}"),
            identity: Some(Identity {
                authentication: format!("user {uid}"),
                principal: mapped.or_else(owner),
            }),
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "the socket could not be removed");
        }
    }
}

/// What is listened on.
pub(super) enum Socket {
    Address(TcpListener, Option<Arc<Tls>>),
    Local(Local),
}

/// A connection.
enum Accepted {
    Cleartext(TcpStream, SocketAddr),
    Tls(TcpStream, SocketAddr, Arc<Tls>),
    Local(UnixStream, Peer),
}

impl Socket {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Address(listener, tls) => {
                let (stream, peer) = listener.accept().await?;
                Ok(match tls {
                    None => Accepted::Cleartext(stream, peer),
                    Some(tls) => Accepted::Tls(stream, peer, Arc::clone(tls)),
                })
            }
            Self::Local(local) => {
                let (stream, _) = local.listener.accept().await?;
                let peer = local.peer(&stream.peer_cred()?);
                Ok(Accepted::Local(stream, peer))
            }
        }
    }
}

impl Accepted {
    /// Serves the connection to its end.
    async fn serve(self, app: Router, stop: &CancellationToken) {
        match self {
            Self::Cleartext(stream, peer) => serve(stream, app, Peer::at(peer.ip(), None), stop).await,
            Self::Local(stream, peer) => serve(stream, app, peer, stop).await,
            Self::Tls(stream, peer, tls) => {
                let handshake = TlsAcceptor::from(tls.current(Instant::now())).accept(stream);
                match tokio::time::timeout(HANDSHAKE_TIME, handshake).await {
                    Ok(Ok(stream)) => {
                        let certificates = stream.get_ref().1.peer_certificates();
                        let leaf = certificates.and_then(|chain| chain.first());
                        let identity = leaf.and_then(|leaf| tls.identity(leaf));
                        serve(stream, app, Peer::at(peer.ip(), identity), stop).await;
                    }
                    Ok(Err(error)) => {
                        tracing::info!(client = %peer, %error, "a handshake with the admin API failed");
                    }
                    Err(_late) => {
                        tracing::info!(client = %peer, "a handshake with the admin API took too long");
                    }
                }
            }
        }
    }
}

/// Accepts connections until it is told to stop; each takes a slot.
pub(super) async fn accept(socket: Socket, app: Router, slots: Arc<Semaphore>, stop: CancellationToken) {
    loop {
        let ready = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, socket.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            () = stop.cancelled() => return,
            both = ready => both,
        };
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // usually no file descriptor is left: give others time to end
                tracing::warn!(%error, "the admin API cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (app, stop) = (app.clone(), stop.clone());
        tokio::spawn(async move {
            accepted.serve(app, &stop).await;
            drop(slot);
        });
    }
}

async fn serve<S>(stream: S, app: Router, peer: Peer, stop: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let app = app.layer(axum::Extension(peer));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CLIENT_TIME)
        .max_headers(64)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of the admin API ended early");
    }
}

/// What is wrong with the files of `admin.tls`, for a check of the configuration.
#[must_use]
pub fn tls_problem(admin: &Admin, base_dir: &Path) -> Option<String> {
    Tls::new(admin.tls.as_ref()?, base_dir).err()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(folder.join("a.crt"), certificate.pem()).unwrap();
        fs::write(folder.join("a.key"), key.serialize_pem()).unwrap();
    }

    #[test]
    fn files_of_tls_are_read_again_and_what_cannot_be_used_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        let settings = AdminTls {
            cert: "a.crt".into(),
            key: "a.key".into(),
            client_auth: None,
            principals: Vec::new(),
        };
        let tls = Tls::new(&settings, folder.path()).unwrap();
        let start = Instant::now();
        let first = tls.current(start);
        assert!(
            Arc::ptr_eq(&first, &tls.current(start + 2 * LOOK_AGAIN)),
            "nothing has changed"
        );
        write(folder.path());
        assert!(
            Arc::ptr_eq(&first, &tls.current(start + 2 * LOOK_AGAIN)),
            "not yet"
        );
        let second = tls.current(start + 3 * LOOK_AGAIN);
        assert!(!Arc::ptr_eq(&first, &second));
        fs::write(folder.path().join("a.key"), "no key").unwrap();
        assert!(Arc::ptr_eq(&second, &tls.current(start + 4 * LOOK_AGAIN)));
        let problem = Tls::new(&settings, folder.path()).err().unwrap();
        assert!(problem.contains("a.key"), "{problem}");
    }

    #[tokio::test]
    async fn a_socket_takes_the_place_of_an_old_one_and_of_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let socket = AdminSocket {
            path: "s".into(),
            mode: SocketMode::Group,
            principals: Vec::new(),
        };
        let bind = || Local::bind(&socket, folder.path());
        let first = bind().unwrap();
        let mode = fs::metadata(first.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        assert_eq!(bind().err().unwrap().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        let path = folder.path().join("s");
        assert!(!path.exists());
        // as a process leaves it that was killed
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        drop(bind().unwrap());
        fs::write(&path, "not a socket").unwrap();
        assert_eq!(bind().err().unwrap().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
