//! What changes while traffic runs: versions of plugins, certificates, the configuration, a listener, an upstream.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use edgeward_tests::{Connection, bytes, empty, eventually, get, guest_bytes};
use http::Request;
use parking_lot::Mutex;
use rustix::process::Signal;
use serde_json::json;
use tokio::net::TcpListener;

use crate::{
    origin,
    site::{NAMES, STORED, Shape, Site, stamping, status},
    tally::Turn,
};

/// Releases that `identity` stamps, by version; 0 is the configuration file's.
const RELEASES: [&str; 3] = ["one", "two", "three"];

/// Makes what the changes change between: two more versions of `identity`, a certificate that was put, a second version of `mark`.
pub(crate) async fn prepare(site: &Arc<Site>) {
    let module = site
        .gateway
        .admin("POST", "/v1/modules", bytes(guest_bytes("headers")))
        .await;
    let digest = module.json()["digest"].clone();
    for release in &RELEASES[1..] {
        let version = json!({"module": digest, "config": stamping(release)}).to_string();
        let reply = site
            .gateway
            .admin("POST", "/v1/plugins/identity/versions", bytes(version))
            .await;
        assert_eq!(reply.status, 201, "{}", reply.text());
    }
    for turn in [
        stored_certificates(Arc::clone(site)).await,
        uploads(Arc::clone(site)).await,
    ] {
        turn.unwrap();
    }
}

/// Puts the configuration back to what it was before: without the listener that comes and goes.
pub(crate) async fn finish(site: &Site) {
    site.set_passing(None);
    site.write(Shape::default());
    eventually("the first configuration", async || {
        (get(site.plain(), "/generation").await.text() == "0").then_some(())
    })
    .await;
}

/// Another version of `identity` goes live, and the next request is served by it.
pub(crate) async fn swaps(site: Arc<Site>) -> Turn {
    static TURN: AtomicU64 = AtomicU64::new(1);
    let version = TURN.fetch_add(1, Relaxed) % RELEASES.len() as u64;
    let (path, kind) = match version {
        0 => ("/v1/plugins/identity/rollback", "rolled back"),
        _ => ("/v1/plugins/identity/publish", "published"),
    };
    let body = json!({"version": version}).to_string();
    status(&site.gateway.admin("POST", path, bytes(body)).await, 200)?;
    let request = Request::get("/pets/1").header("authorization", site.bearer());
    let mut connection = Connection::h1(site.plain()).await;
    let reply = connection
        .try_send(request, empty())
        .await
        .map_err(|error| format!("after a swap: {error:?}"))?;
    status(&reply, 200)?;
    let release = reply.header("x-release");
    if usize::try_from(version)
        .ok()
        .and_then(|index| RELEASES.get(index))
        != Some(&release)
    {
        return Err(format!(
            "version {version} is live, and release {release:?} served"
        ));
    }
    Ok(kind)
}

/// A module with other bytes is uploaded for `mark`, goes live, and the one before is removed.
pub(crate) async fn uploads(site: Arc<Site>) -> Turn {
    static LAST: Mutex<Option<(u64, String)>> = Mutex::new(None);
    static TURN: AtomicU64 = AtomicU64::new(0);
    let mut module = guest_bytes("headers");
    // a custom section of fourteen bytes makes another module of it, which is compiled anew
    module.extend_from_slice(b"\x00\x0e\x07release");
    module.extend_from_slice(format!("{:06}", TURN.fetch_add(1, Relaxed)).as_bytes());
    let reply = site
        .gateway
        .admin("PUT", "/v1/plugins/mark/module?publish=true", bytes(module))
        .await;
    status(&reply, 201)?;
    let json = reply.json();
    let (Some(version), Some(digest)) = (json["version"].as_u64(), json["module"].as_str()) else {
        return Err(format!("a version without number and module: {json}"));
    };
    let before = LAST.lock().replace((version, digest.to_owned()));
    if let Some((version, digest)) = before {
        for path in [
            format!("/v1/plugins/mark/versions/{version}"),
            format!("/v1/modules/{digest}"),
        ] {
            let reply = site.gateway.admin("DELETE", &path, empty()).await;
            status(&reply, 204).map_err(|words| format!("DELETE {path}: {words}"))?;
        }
    }
    Ok("uploaded")
}

/// What handshakes for a name show.
async fn shown(site: &Site, name: &str) -> Option<Vec<u8>> {
    // without a session, which would bring the old certificate with it
    let client = site.ca.client(&["h2"], None);
    Connection::tls(site.tls(), name, &client).await.ok()?.certificate
}

/// The files of the certificate are replaced.
pub(crate) async fn certificates(site: Arc<Site>) -> Turn {
    static TURN: AtomicU64 = AtomicU64::new(1);
    let issued = site.ca.issue(&NAMES);
    site.show(&issued, TURN.fetch_add(1, Relaxed));
    eventually("the new certificate", async || {
        let shown = Box::pin(shown(&site, NAMES[0])).await;
        shown.is_some_and(|shown| shown == *issued.cert).then_some(())
    })
    .await;
    Ok("replaced")
}

/// A certificate is put through the admin API.
pub(crate) async fn stored_certificates(site: Arc<Site>) -> Turn {
    let issued = site.ca.issue(&[STORED]);
    let body = json!({"chain": issued.cert_pem, "key": issued.key_pem}).to_string();
    let reply = site
        .gateway
        .admin("PUT", "/v1/certificates/soak", bytes(body))
        .await;
    if reply.status != 200 && reply.status != 201 {
        return Err(format!("{}: {}", reply.status, reply.text()));
    }
    if shown(&site, STORED).await.as_deref() != Some(&*issued.cert) {
        return Err("the next handshake got another certificate".into());
    }
    Ok("put")
}

/// The configuration file is replaced: a route answers otherwise, a listener comes or goes. At times a broken one comes before.
pub(crate) async fn reloads(site: Arc<Site>) -> Turn {
    let before = site.shape();
    let shape = Shape {
        generation: before.generation + 1,
        passing: !before.passing,
    };
    if shape.generation.is_multiple_of(5) {
        site.write_text(r#"{"listeners": [{"adress": "127.0.0.1:0"}]}"#);
        let reply = site.gateway.admin("POST", "/v1/reload", empty()).await;
        status(&reply, 422)?;
    }
    if !shape.passing {
        site.set_passing(None);
    }
    site.write(shape);
    if shape.generation.is_multiple_of(3) {
        site.gateway.signal(Signal::HUP);
    }
    eventually("the new configuration", async || {
        let reply = get(site.plain(), "/generation").await;
        (reply.text() == shape.generation.to_string()).then_some(())
    })
    .await;
    if shape.passing {
        let status = site.gateway.admin_get("/v1/status").await;
        let mut listeners = status["listeners"].as_array().into_iter().flatten();
        let passing = listeners.find(|listener| listener["name"] == "passing");
        let address = passing.and_then(|listener| listener["address"].as_str()?.parse().ok());
        if address.is_none() {
            return Err(format!("no listener `passing` in {status}"));
        }
        site.set_passing(address);
    }
    Ok("loaded")
}

/// The upstream that is not there at times is there for some seconds.
pub(crate) async fn upstream(site: Arc<Site>) -> Turn {
    let Ok(listener) = TcpListener::bind(site.sometimes()).await else {
        // a connection that somebody made has this port for its own
        return Ok("port in use");
    };
    tokio::select! {
        () = origin::serve(listener) => {}
        () = site.rest(Duration::from_secs(7)) => {}
    }
    Ok("was there")
}
