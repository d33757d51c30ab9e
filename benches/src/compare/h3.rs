//! A load of HTTP/3: connections whose streams each send the next request when the answer is there.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures_util::future::join_all;
use http::Request;
use quinn::{ClientConfig, Endpoint, crypto::rustls::QuicClientConfig};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use super::load::{Loaded, percentile};

const CONNECTIONS: usize = 8;
const STREAMS: usize = 8;

/// What a stream has seen.
#[derive(Default)]
struct Seen {
    latencies_us: Vec<f64>,
    errors: f64,
}

/// Loads a port of this machine for a time. `certificate` is the one to trust, PEM.
pub(super) fn run(port: u16, path: &str, certificate: &Path, time: Duration) -> Result<Loaded> {
    let certificate = fs::read(certificate).with_context(|| format!("{}", certificate.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(load(port, path, &certificate, time))
}

async fn load(port: u16, path: &str, certificate: &[u8], time: Duration) -> Result<Loaded> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate)?)?;
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let mut endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?;
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?)));
    let started = Instant::now();
    let connections = (0..CONNECTIONS).map(|_| connection(&endpoint, port, path, started + time));
    let mut latencies = Vec::new();
    let mut errors = 0.0;
    for seen in join_all(connections).await {
        for seen in seen? {
            latencies.extend(seen.latencies_us);
            errors += seen.errors;
        }
    }
    let count = latencies.len() as f64;
    let per_second = count / started.elapsed().as_secs_f64();
    let p50 = percentile(&mut latencies, 0.5);
    Ok(Loaded {
        count,
        per_second,
        p50_p99: Some((p50, percentile(&mut latencies, 0.99))),
        errors,
    })
}

async fn connection(endpoint: &Endpoint, port: u16, path: &str, end: Instant) -> Result<Vec<Seen>> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let connection = endpoint.connect(address, "localhost")?.await?;
    let (mut driver, requests) = h3::client::new(h3_quinn::Connection::new(connection)).await?;
    let driving =
        tokio::spawn(async move { std::future::poll_fn(|context| driver.poll_close(context)).await });
    let url = format!("https://localhost{path}");
    let streams = (0..STREAMS).map(|_| {
        let (mut requests, url) = (requests.clone(), url.clone());
        async move {
            let mut seen = Seen::default();
            while Instant::now() < end {
                let sent = Instant::now();
                match exchange(&mut requests, &url).await {
                    Ok(200) => seen.latencies_us.push(sent.elapsed().as_secs_f64() * 1e6),
                    Ok(_) => seen.errors += 1.0,
                    Err(_) => {
                        seen.errors += 1.0;
                        break;
                    }
                }
            }
            seen
        }
    });
    let seen = join_all(streams).await;
    driving.abort();
    Ok(seen)
}

/// Status of an answer that was read to its end.
async fn exchange(
    requests: &mut h3::client::SendRequest<h3_quinn::OpenStreams, bytes::Bytes>,
    url: &str,
) -> Result<u16> {
    let mut stream = requests.send_request(Request::get(url).body(())?).await?;
    stream.finish().await?;
    let status = stream.recv_response().await?.status().as_u16();
    while stream.recv_data().await?.is_some() {}
    Ok(status)
}
