//! TLS to upstreams: verification, names, ALPN, client certificates.

use std::{io::Write as _, path::Path};

use config::{UpstreamProtocol, UpstreamTls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use tempfile::NamedTempFile;
use tokio_rustls::TlsAcceptor;

use super::{super::UpstreamErrorKind, *};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn file(&self) -> NamedTempFile {
        file(&self.0.pem())
    }

    /// Certificate and key in PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&key, &self.0)
            .unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// A TLS server for `name` that speaks the first of `alpn` it agrees on; wants client certificates of `clients`.
async fn server(authority: &Authority, name: &str, alpn: &[&str], clients: Option<&Authority>) -> Server {
    let (certificate, key) = authority.issue(name);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.0.der().clone()).unwrap();
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .unwrap(),
            )
        }
    };
    let chain = vec![rustls_pki_types::CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Server::raw(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let names = stream.get_ref().1.server_name().map(str::to_owned);
            let answer = move |request: Request<Incoming>| {
                let text = format!("{:?} {} {:?}", request.version(), request.uri().path(), names);
                async move { Ok::<_, Infallible>(Response::new(Body::full(text))) }
            };
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let io = TokioIo::new(stream);
            if h2 {
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ended = builder.serve_connection(io, service_fn(answer)).await;
            } else {
                let builder = hyper::server::conn::http1::Builder::new();
                let _ended = builder.serve_connection(io, service_fn(answer)).await;
            }
        }
    })
    .await
}

fn tls(server: &Server, ca: &Path) -> Upstream {
    let mut config = config_of(&[&format!("localhost:{}", server.address.port())]);
    config.tls = Some(UpstreamTls {
        ca: Some(ca.to_owned()),
        ..UpstreamTls::default()
    });
    config.retry.attempts = 0;
    config
}

async fn outcome(config: &Upstream) -> Result<String, UpstreamErrorKind> {
    let (pools, group) = (Pools::new(), group(config));
    match call(&pools, &group, get("/x")).await {
        Ok(sent) => Ok(text(sent).await),
        Err(error) => Err(error.kind),
    }
}

#[tokio::test]
async fn both_protocols_work_over_verified_tls() {
    let authority = Authority::new();
    let ca = authority.file();
    let server = server(&authority, "localhost", &["h2", "http/1.1"], None).await;
    let mut config = tls(&server, ca.path());
    assert_eq!(
        outcome(&config).await.unwrap(),
        r#"HTTP/1.1 /x Some("localhost")"#
    );
    config.protocol = UpstreamProtocol::Http2;
    assert_eq!(
        outcome(&config).await.unwrap(),
        r#"HTTP/2.0 /x Some("localhost")"#
    );
}

#[tokio::test]
async fn wrong_authorities_and_names_are_refused() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (ca, other) = (authority.file(), stranger.file());
    let server = server(&authority, "inner.example", &["http/1.1"], None).await;
    let refused = |outcome| matches!(outcome, Err(UpstreamErrorKind::Tls));
    assert!(
        refused(outcome(&tls(&server, ca.path())).await),
        "the name is another one"
    );
    let named = |ca: &Path| {
        let mut config = tls(&server, ca);
        config.tls.as_mut().unwrap().server_name = Some("inner.example".to_owned());
        config
    };
    assert_eq!(
        outcome(&named(ca.path())).await.unwrap(),
        r#"HTTP/1.1 /x Some("inner.example")"#
    );
    assert!(
        refused(outcome(&named(other.path())).await),
        "signed by another authority"
    );
    let mut system = named(ca.path());
    system.tls.as_mut().unwrap().ca = None;
    if let Ok(group) = UpstreamGroup::new("system", &system) {
        let error = call(&Pools::new(), &group, get("/")).await.unwrap_err();
        assert!(matches!(error.kind, UpstreamErrorKind::Tls), "{error:?}");
    }
}

#[tokio::test]
async fn http2_needs_the_upstream_to_select_it() {
    let authority = Authority::new();
    let ca = authority.file();
    let server = server(&authority, "localhost", &[], None).await;
    let mut config = tls(&server, ca.path());
    assert!(outcome(&config).await.is_ok());
    config.protocol = UpstreamProtocol::Http2;
    assert!(matches!(outcome(&config).await, Err(UpstreamErrorKind::Tls)));
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let ca = authority.file();
    let server = server(&authority, "localhost", &["http/1.1"], Some(&clients)).await;
    let mut config = tls(&server, ca.path());
    let error = outcome(&config).await.unwrap_err();
    // With TLS 1.3 the refusal comes after the client's side of the handshake.
    assert!(
        matches!(error, UpstreamErrorKind::Tls | UpstreamErrorKind::Reset),
        "{error:?}"
    );
    let (certificate, key) = clients.issue("gateway");
    let (certificate, key) = (file(&certificate), file(&key));
    let tls = config.tls.as_mut().unwrap();
    tls.client_cert = Some(certificate.path().to_owned());
    assert!(
        UpstreamGroup::new("half", &config)
            .unwrap_err()
            .to_string()
            .contains("client-key")
    );
    config.tls.as_mut().unwrap().client_key = Some(key.path().to_owned());
    assert!(outcome(&config).await.is_ok());
}

#[tokio::test]
async fn a_handshake_that_hangs_counts_as_connecting() {
    let authority = Authority::new();
    let ca = authority.file();
    let server = Server::raw(async |_, stream| {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let mut config = tls(&server, ca.path());
        config.connect_timeout = Time::ms(60);
        config.protocol = protocol;
        assert!(matches!(
            outcome(&config).await,
            Err(UpstreamErrorKind::ConnectTimeout)
        ));
    }
}
