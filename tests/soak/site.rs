//! What actors work on: the gateway as a process, its configuration and files, certificates, and what clients know.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use edgeward_tests::{Ca, Issued, Issuer, Process, Reply, WebSocketOrigin, guest};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::{log::Log, origin};

/// Names in the certificates: those that the clients of the test support ask for.
pub(crate) const NAMES: [&str; 3] = ["example.test", "localhost", "gateway.test"];
/// The name of a certificate that is put through the admin API.
pub(crate) const STORED: &str = "stored.test";
/// `limits.websocket-idle-timeout`.
pub(crate) const WEBSOCKET_IDLE: Duration = Duration::from_secs(15);
/// `limits.idle-timeout`, also the time that a client may take nothing of a response.
pub(crate) const IDLE: Duration = Duration::from_secs(12);
/// `limits.body-timeout` and `limits.head-timeout`.
pub(crate) const SLOW: Duration = Duration::from_secs(5);

/// The gateway and all that belongs to it.
pub(crate) struct Site {
    /// The gateway.
    pub(crate) gateway: Process,
    /// Its log.
    pub(crate) log: Log,
    folder: TempDir,
    endpoints: Endpoints,
    /// What the configuration says at the moment.
    shape: Mutex<Shape>,
    /// Where the listener that comes and goes is, while it is there.
    passing: Mutex<Option<SocketAddr>>,
    /// How often it went.
    pub(crate) departures: AtomicU64,
    /// Signs the gateway's certificates.
    pub(crate) ca: Ca,
    issuer: Issuer,
    /// TLS of clients that offer this protocol and resume sessions.
    h1: Arc<rustls::ClientConfig>,
    h2: Arc<rustls::ClientConfig>,
    h3: Arc<rustls::ClientConfig>,
    over: watch::Sender<bool>,
}

/// Upstreams.
struct Endpoints {
    origin: SocketAddr,
    websocket: WebSocketOrigin,
    /// One that is there only at times.
    sometimes: SocketAddr,
    issuer: Value,
}

/// What changes in the configuration.
#[derive(Clone, Copy, Default)]
pub(crate) struct Shape {
    /// What the route `/generation` answers.
    pub(crate) generation: u64,
    /// Whether the listener that comes and goes is there.
    pub(crate) passing: bool,
}

impl Site {
    /// Starts upstreams and the gateway.
    pub(crate) async fn start(program: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (ca, issuer) = (Ca::new(), Issuer::new());
        let endpoints = Endpoints {
            origin: origin::start().await,
            websocket: WebSocketOrigin::start().await,
            sometimes: origin::free_port(),
            issuer: issuer.jwks(),
        };
        let shape = Shape::default();
        show(folder.path(), &ca.issue(&NAMES), 0);
        let text = endpoints.configuration(shape).to_string();
        std::fs::write(folder.path().join("gateway.yaml"), text).unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let log = Log::read(reader);
        let gateway = Process::launch(program, folder.path(), Stdio::from(writer))
            .unwrap_or_else(|told| panic!("the gateway does not start: {told}\n{}", log.last()));
        Self {
            gateway,
            log,
            folder,
            endpoints,
            shape: Mutex::new(shape),
            passing: Mutex::default(),
            departures: AtomicU64::new(0),
            h1: ca.client(&["http/1.1"], None),
            h2: ca.client(&["h2"], None),
            h3: ca.client(&["h3"], None),
            ca,
            issuer,
            over: watch::Sender::new(false),
        }
    }

    /// The listener in cleartext.
    pub(crate) fn plain(&self) -> SocketAddr {
        self.gateway.listener("plain")
    }

    /// The listener with TLS and HTTP/3.
    pub(crate) fn tls(&self) -> SocketAddr {
        self.gateway.listener("tls")
    }

    /// The upstream that is there only at times.
    pub(crate) fn sometimes(&self) -> SocketAddr {
        self.endpoints.sometimes
    }

    /// The listener that comes and goes.
    pub(crate) fn passing(&self) -> Option<SocketAddr> {
        *self.passing.lock()
    }

    /// TLS of a client for this protocol.
    pub(crate) fn client(&self, protocol: &str) -> &Arc<rustls::ClientConfig> {
        match protocol {
            "http/1.1" => &self.h1,
            "h2" => &self.h2,
            _ => &self.h3,
        }
    }

    /// `Authorization` that the gateway believes.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.issuer.token())
    }

    /// A file in the gateway's folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Shows another certificate, as a mounted folder whose link is swapped does.
    pub(crate) fn show(&self, issued: &Issued, number: u64) {
        show(self.folder.path(), issued, number);
    }

    /// The configuration file is changed to this, at once.
    pub(crate) fn write(&self, shape: Shape) {
        self.write_text(&self.endpoints.configuration(shape).to_string());
        *self.shape.lock() = shape;
    }

    /// The configuration file gets this content, at once.
    pub(crate) fn write_text(&self, text: &str) {
        std::fs::write(self.file("gateway.yaml.new"), text).unwrap();
        std::fs::rename(self.file("gateway.yaml.new"), self.file("gateway.yaml")).unwrap();
    }

    /// What the configuration file says.
    pub(crate) fn shape(&self) -> Shape {
        *self.shape.lock()
    }

    /// Tells clients where the listener is that comes and goes.
    pub(crate) fn set_passing(&self, address: Option<SocketAddr>) {
        let before = std::mem::replace(&mut *self.passing.lock(), address);
        if before.is_some() && address.is_none() {
            self.departures.fetch_add(1, Relaxed);
        }
    }

    /// Waits for some time, or for the end of the soak if that is earlier.
    pub(crate) async fn rest(&self, time: Duration) {
        let mut over = self.over.subscribe();
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            // the sender is in here
            _over = over.wait_for(|over| *over) => {}
        }
    }

    /// Ends all resting; actors take no further turns.
    pub(crate) fn end(&self) {
        let _was = self.over.send_replace(true);
    }

    /// Whether the soak is over.
    pub(crate) fn is_over(&self) -> bool {
        *self.over.borrow()
    }
}

/// Puts a certificate into a folder of its own and turns the link to it, so that certificate and key change together.
fn show(folder: &Path, issued: &Issued, number: u64) {
    let name = format!("certificate-{number}");
    std::fs::create_dir(folder.join(&name)).unwrap();
    issued.write(&folder.join(&name), "server");
    std::os::unix::fs::symlink(&name, folder.join("certificate.new")).unwrap();
    std::fs::rename(folder.join("certificate.new"), folder.join("certificate")).unwrap();
    if let Some(old) = number.checked_sub(2) {
        // what the link pointed to before may still be read
        drop(std::fs::remove_dir_all(folder.join(format!("certificate-{old}"))));
    }
}

/// Checks a status.
pub(crate) fn status(reply: &Reply, expected: u16) -> Result<(), String> {
    if reply.status == expected {
        return Ok(());
    }
    let text: String = reply.text().chars().take(300).collect();
    Err(format!("{} instead of {expected}: {text}", reply.status))
}

/// Settings of the `headers` plugin that write this release into every response.
pub(crate) fn stamping(release: &str) -> Value {
    json!({
        "claims-from": "login",
        "request": [{"set": "x-user", "value": "${principal}"}, {"set": "x-plan", "value": "${claims.plan}"}],
        "response": [{"set": "x-release", "value": release}],
    })
}

impl Endpoints {
    fn configuration(&self, shape: Shape) -> Value {
        let tls = |name: &str| {
            json!({
                "name": name,
                "address": "127.0.0.1:0",
                "tls": {"certificates": [
                    {"cert": "certificate/server.crt", "key": "certificate/server.key"},
                    {"stored": "*"},
                ]},
            })
        };
        let mut listeners = vec![json!({"name": "plain", "address": "127.0.0.1:0"}), tls("tls")];
        if shape.passing {
            listeners.push(tls("passing"));
        }
        let quick = |protocol: &str, endpoint: String| json!({"endpoints": [endpoint], "protocol": protocol, "idle-timeout": "5s"});
        let guarded = ["waf", "login", "identity"];
        json!({
            "listeners": listeners,
            "admin": {"address": "127.0.0.1:0"},
            "data-dir": "data",
            "workers": 2,
            "limits": {
                "head-timeout": seconds(SLOW),
                "body-timeout": seconds(SLOW),
                "handshake-timeout": seconds(SLOW),
                "idle-timeout": seconds(IDLE),
                "websocket-idle-timeout": seconds(WEBSOCKET_IDLE),
                "drain-timeout": "10s",
            },
            "upstreams": {
                "origin": quick("http1", self.origin.to_string()),
                "calls": quick("http2", self.origin.to_string()),
                "websocket": quick("http1", self.websocket.endpoint()),
                // its failures are what is looked for, so that it is not left out for long
                "sometimes": {
                    "endpoints": [self.sometimes.to_string()],
                    "idle-timeout": "5s",
                    "health": {"passive": {"failures": 5, "eject-time": "1s"}},
                },
                // the same origin at two endpoints, for retries
                "flaky": {
                    "endpoints": [self.origin.to_string(), format!("localhost:{}", self.origin.port())],
                    "idle-timeout": "5s",
                    "retry": {"attempts": 2, "budget": 1.0},
                    "health": {"passive": {"failures": 0}},
                },
            },
            "plugins": {
                "waf": {"module": guest("waf-rules")},
                "login": {"module": guest("jwt-authorizer"), "config": {
                    "issuer": "https://id.demo", "audience": "pets", "keys": [{"jwks": {"inline": self.issuer}}],
                }},
                "identity": {"module": guest("headers"), "config": stamping("one")},
                "shape": {"module": guest("json-transform"), "config": {
                    "response": {"rules": [{"remove": {"paths": ["$.secret"]}}]},
                }},
                "mark": {"module": guest("headers"), "config": {"response": [{"set": "x-mark", "value": "soak"}]}},
            },
            "routes": [
                {"name": "pets", "path": "/pets/{id}", "upstream": "origin", "pipeline": guarded},
                {"name": "shaped", "path": "/shaped/{id}", "upstream": "origin", "pipeline": ["waf", "login", "identity", "shape"]},
                {"name": "echo", "path": "/echo/{path+}", "upstream": "origin", "pipeline": ["mark"]},
                {"name": "bytes", "path": "/bytes/{count}", "upstream": "origin", "pipeline": ["mark"]},
                {"name": "events", "path": "/events/{count}", "upstream": "origin", "pipeline": ["mark"]},
                {"name": "calls", "path": "/calls/{method}", "upstream": "calls", "pipeline": ["mark"]},
                {"name": "talk", "path": "/talk", "upstream": "websocket", "websocket": true, "pipeline": ["mark"]},
                {"name": "sometimes", "path": "/sometimes", "upstream": "sometimes"},
                {"name": "flaky", "path": "/flaky/{path+}", "upstream": "flaky"},
                {"name": "fixed", "path": "/fixed", "respond": {"status": 200, "body": "fixed"}},
                {"name": "generation", "path": "/generation", "respond": {"status": 200, "body": shape.generation.to_string()}},
            ],
        })
    }
}

fn seconds(time: Duration) -> String {
    format!("{}s", time.as_secs())
}
