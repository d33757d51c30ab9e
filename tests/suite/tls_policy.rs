//! What a TLS handshake with a listener comes to: versions, key exchange, resumption, stapled OCSP responses, certificates that expire.

use std::{
    net::SocketAddr,
    process::Stdio,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use edgeward_tests::{
    Ca, Connection, Gateway, Process, QuicClient, edgeward, logs_containing, real::is_there, record_logs,
    wait_for_log, within,
};
use parking_lot::Mutex;
use rustls::{
    ClientConfig, DigitallySignedStruct, HandshakeKind, NamedGroup, ProtocolVersion, SignatureScheme,
    SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs},
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Command,
};
use tokio_rustls::TlsConnector;

fn config(tls: &Value) -> Value {
    let mut settings = json!({"certificates": [{"cert": "a.crt", "key": "a.key"}]});
    settings
        .as_object_mut()
        .unwrap()
        .extend(tls.as_object().unwrap().clone());
    json!({
        "workers": 2,
        "listeners": [{"address": "127.0.0.1:0", "name": "tls", "tls": settings}],
        "routes": [{"path": "/", "respond": {"status": 200}}],
    })
}

fn folder(ca: &Ca) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    ca.issue(&["a.example"]).write(folder.path(), "a");
    folder
}

/// Takes every certificate and keeps the OCSP response.
#[derive(Debug)]
struct Stapled(Arc<CryptoProvider>, Mutex<Vec<u8>>);

impl ServerCertVerifier for Stapled {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.1.lock() = ocsp.to_vec();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            leaf,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            leaf,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

struct Client {
    config: Arc<ClientConfig>,
    stapled: Arc<Stapled>,
}

impl Client {
    fn new(versions: &[&'static SupportedProtocolVersion], groups: &[&'static dyn SupportedKxGroup]) -> Self {
        let provider = Arc::new(CryptoProvider {
            kx_groups: groups.to_vec(),
            ..aws_lc_rs::default_provider()
        });
        let stapled = Arc::new(Stapled(Arc::clone(&provider), Mutex::default()));
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&stapled) as _)
            .with_no_client_auth();
        Self {
            config: Arc::new(config),
            stapled,
        }
    }

    async fn ask(&self, gateway: &Gateway) -> std::io::Result<(ProtocolVersion, Option<NamedGroup>, bool)> {
        self.ask_at(gateway.address()).await
    }

    async fn ask_at(
        &self,
        address: SocketAddr,
    ) -> std::io::Result<(ProtocolVersion, Option<NamedGroup>, bool)> {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("a.example").unwrap();
        let connecting = TlsConnector::from(Arc::clone(&self.config)).connect(name, stream);
        let mut stream = within("the handshake", connecting).await?;
        // tickets come with what is read after the handshake
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n")
            .await?;
        let mut answer = Vec::new();
        within("the answer", stream.read_to_end(&mut answer)).await?;
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        let (_, session) = stream.get_ref();
        Ok((
            session.protocol_version().unwrap(),
            session.negotiated_key_exchange_group().map(|group| group.name()),
            session.handshake_kind() == Some(HandshakeKind::Resumed),
        ))
    }
}

/// The OCSP response that a client without a session gets from `a.example`, with ALPN for this protocol.
pub(crate) async fn staple(address: SocketAddr, protocol: &str) -> Vec<u8> {
    let client = Client::new(&[&TLS13], &EVERY_GROUP);
    let mut config = ClientConfig::clone(&client.config);
    config.alpn_protocols = vec![protocol.into()];
    let config = Arc::new(config);
    if protocol == "h3" {
        let quic = QuicClient::new(&config);
        let _connection = quic.connect(address, "a.example").await.unwrap();
    } else {
        let _connection = Connection::tls(address, "a.example", &config).await.unwrap();
    }
    client.stapled.1.lock().clone()
}

const EVERY_GROUP: [&dyn SupportedKxGroup; 3] = [
    aws_lc_rs::kx_group::X25519MLKEM768,
    aws_lc_rs::kx_group::X25519,
    aws_lc_rs::kx_group::SECP256R1,
];

#[tokio::test]
async fn a_policy_decides_the_versions() {
    let ca = Ca::new();
    let modern = Gateway::start_in(folder(&ca), config(&json!({"policy": "modern"}))).await;
    let default = Gateway::start_in(folder(&ca), config(&json!({}))).await;
    let old = Client::new(&[&TLS12], &EVERY_GROUP);
    assert!(old.ask(&modern).await.is_err());
    assert_eq!(old.ask(&default).await.unwrap().0, ProtocolVersion::TLSv1_2);
    let new = Client::new(&[&TLS12, &TLS13], &EVERY_GROUP);
    for gateway in [&modern, &default] {
        assert_eq!(new.ask(gateway).await.unwrap().0, ProtocolVersion::TLSv1_3);
    }
}

#[tokio::test]
async fn keys_are_exchanged_as_the_client_likes_best_hybrid_ones_too() {
    let gateway = Gateway::start_in(folder(&Ca::new()), config(&json!({}))).await;
    for (groups, agreed) in [
        (&EVERY_GROUP[..], NamedGroup::X25519MLKEM768),
        (&EVERY_GROUP[1..], NamedGroup::X25519),
        (&EVERY_GROUP[2..], NamedGroup::secp256r1),
    ] {
        let (_, group, _) = Client::new(&[&TLS13], groups).ask(&gateway).await.unwrap();
        assert_eq!(group, Some(agreed));
    }
}

#[tokio::test]
async fn sessions_outlive_a_new_configuration_unless_the_check_of_client_certificates_changes() {
    let ca = Ca::new();
    let folder = folder(&ca);
    let ca_file = ca.write(folder.path());
    let path = folder.path().to_owned();
    let gateway = Gateway::start_in(folder, config(&json!({}))).await;
    let client = Client::new(&[&TLS13], &EVERY_GROUP);
    let resumed = async || client.ask(&gateway).await.unwrap().2;
    assert!(!resumed().await);
    assert!(resumed().await);
    let publish = async |tls: Value| {
        let next = gateway.snapshot(config(&tls)).await.unwrap();
        gateway.proxy.publish(next).unwrap();
    };
    publish(json!({})).await;
    assert!(resumed().await);
    ca.issue(&["a.example"]).write(&path, "a");
    publish(json!({})).await;
    assert!(resumed().await, "another certificate");
    let optional = json!({"client-auth": {"ca": ca_file, "required": false}});
    publish(optional.clone()).await;
    assert!(!resumed().await, "client certificates come in");
    assert!(resumed().await);
    publish(optional.clone()).await;
    assert!(resumed().await, "the same truststore");
    ca.issue(&["a.example"]).write(&path, "a");
    publish(optional.clone()).await;
    assert!(resumed().await, "another certificate, the same truststore");
    let _same_file = Ca::new().write(&path);
    publish(optional).await;
    assert!(!resumed().await, "another truststore behind the same name");
    publish(json!({"client-auth": {"ca": ca_file, "required": false, "depth": 1}})).await;
    assert!(!resumed().await, "another depth");
}

#[tokio::test]
async fn keys_of_session_tickets_change_every_six_hours_and_hold_for_twelve() {
    if !is_there("faketime", Command::new("faketime").arg("--version")).await {
        return;
    }
    let folder = folder(&Ca::new());
    let mut config = config(&json!({}));
    config["admin"] = json!({"address": "127.0.0.1:0"});
    config["data-dir"] = json!("data");
    crate::process::write(folder.path(), &config);
    let clock = folder.path().join("clock");
    let set = |hours: u32| {
        std::fs::write(folder.path().join("clock.new"), format!("+{hours}h\n")).unwrap();
        std::fs::rename(folder.path().join("clock.new"), &clock).unwrap();
    };
    set(0);
    // the time of day is what the file says, and timers go as ever; `$LIB` is the dynamic linker's
    let program = folder.path().join("edgeward");
    let script = format!(
        "#!/bin/sh\nexport FAKETIME_TIMESTAMP_FILE={} FAKETIME_NO_CACHE=1 DONT_FAKE_MONOTONIC=1 FAKETIME_DONT_FAKE_MONOTONIC=1\n\
         LD_PRELOAD='/usr/$LIB/faketime/libfaketimeMT.so.1' exec {} \"$@\"\n",
        clock.display(),
        edgeward().display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let process = Process::launch(&program, folder.path(), Stdio::null()).unwrap();
    let clients: Vec<_> = (0..3).map(|_| Client::new(&[&TLS13], &EVERY_GROUP)).collect();
    let resumed = async |client: usize| clients[client].ask_at(process.address()).await.unwrap().2;
    for client in 0..3 {
        assert!(!resumed(client).await);
    }
    set(5);
    assert!(resumed(0).await, "the same key");
    set(7);
    assert!(resumed(1).await, "the key before");
    set(14);
    assert!(resumed(1).await, "the key before, by which it got another ticket");
    assert!(!resumed(2).await, "a ticket of the first key");
    assert!(resumed(2).await);
}

#[tokio::test]
async fn a_given_ocsp_response_is_stapled() {
    let ca = Ca::new();
    let folder = folder(&ca);
    // OCSPResponse { successful, no bytes }: what is in it is for the client to check
    std::fs::write(folder.path().join("a.ocsp"), [0x30, 3, 0x0a, 1, 0]).unwrap();
    std::fs::write(folder.path().join("bad.ocsp"), [0x30, 3, 0x0a, 1, 6]).unwrap();
    let with =
        |file: &str| config(&json!({"certificates": [{"cert": "a.crt", "key": "a.key", "ocsp": file}]}));
    let gateway = Gateway::start_in(folder, with("a.ocsp")).await;
    for protocol in ["http/1.1", "h2", "h3"] {
        let stapled = staple(gateway.address(), protocol).await;
        assert_eq!(stapled, [0x30, 3, 0x0a, 1, 0], "{protocol}");
    }
    for (file, reason) in [
        ("bad.ocsp", "not a successful OCSP response"),
        ("none.ocsp", "No such file"),
    ] {
        let problem = gateway.snapshot(with(file)).await.err().unwrap();
        assert!(problem.contains(file) && problem.contains(reason), "{problem}");
    }
}

#[tokio::test]
async fn certificates_that_expire_soon_are_in_metrics_and_log() {
    record_logs();
    let ca = Ca::new();
    let folder = tempfile::tempdir().unwrap();
    let day = Duration::from_hours(24);
    let mut ends = Vec::new();
    for (name, host, left) in [
        ("short", "a.example", 3 * day + day / 2),
        ("long", "b.example", 60 * day),
    ] {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let before = now();
        ca.issue_for(&[host], 90 * day, left).write(folder.path(), name);
        ends.push((
            format!("{name}.crt"),
            (before + left).as_secs()..=(now() + left).as_secs(),
        ));
    }
    let certificates =
        json!([{"cert": "short.crt", "key": "short.key"}, {"cert": "long.crt", "key": "long.key"}]);
    let gateway = Gateway::start_in(folder, config(&json!({"certificates": certificates}))).await;
    let metrics = gateway.metrics();
    for (file, end) in ends {
        let sample =
            format!("edgeward_certificate_not_after_seconds{{listener=\"tls\",certificate=\"{file}\"}} ");
        let mut lines = metrics.lines();
        let value = lines.find_map(|line| line.strip_prefix(&sample)).unwrap();
        assert!(
            end.contains(&value.parse().unwrap()),
            "{file}: {value} is not in {end:?}"
        );
    }
    let warning = wait_for_log(&["certificate expires soon"]).await;
    assert!(
        warning.contains("\"short.crt\"") && warning.contains("\"days_left\":3"),
        "{warning}"
    );
    assert_eq!(logs_containing(&["certificate expires soon"]).len(), 1);
}
