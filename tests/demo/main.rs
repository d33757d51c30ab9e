//! The demonstration behind `cargo xtask demo`: the real gateway as a process, a real origin, real clients. Requests over HTTP/1.1, HTTP/2 and TLS
//! go through a chain of four plugins; then a new version of one of them is uploaded and rolled back with one command each while a load runs.
//! Every statement it prints was checked; any deviation ends it with exit code 1.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that shows and checks: a deviation ends it"
)]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use edgeward_tests::{
    Body, Ca, Connection, Issuer, Origin, Process, Reply, bytes, cli, empty, guest, guest_bytes,
};
use http::{Method, Request};
use parking_lot::Mutex;
use rustix::process::Signal;
use serde_json::{Value, json};

/// Clients of the load, half of them on HTTP/2.
const CLIENTS: usize = 8;
/// Requests that the load makes before, between and after the changes, at least.
const REQUESTS: u64 = 400;

fn main() {
    let once = std::env::args().any(|word| word == "--once");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(demo(once));
}

async fn demo(once: bool) {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start();
    let ca = Ca::new();
    ca.issue(&["demo.edgeward.test", "127.0.0.1"])
        .write(folder.path(), "server");
    let issuer = Issuer::new();
    std::fs::write(
        folder.path().join("gateway.yaml"),
        configuration(&origin, &issuer),
    )
    .unwrap();
    let mut gateway = Process::start(folder.path());
    let (plain, tls) = (gateway.listener("plain"), gateway.listener("tls"));
    println!(
        "gateway   pid {} on http://{plain} and https://{tls}, admin http://{}",
        gateway.pid(),
        gateway.admin
    );
    println!("origin    http://{}", origin.endpoint());
    println!("pipeline  waf-rules -> jwt-authorizer -> headers -> json-transform\n");

    requests(plain, tls, &ca, &issuer).await;
    swap(&gateway, plain, folder.path(), &issuer).await;

    if !once {
        wait(plain, &issuer);
    }
    gateway.signal(Signal::TERM);
    let status = gateway.ended().await;
    check(status.success(), &format!("the gateway ended with {status}"));
    println!("\nSIGTERM: drained and ended with code 0. Nothing deviated.");
}

/// Ends the demonstration when something is not as it has to be.
fn check(holds: bool, what: &str) {
    assert!(holds, "DEVIATION: {what}");
}

/// Settings of the `headers` plugin that write this release into every response.
fn stamping(release: &str) -> Value {
    json!({
        "claims-from": "login",
        "request": [
            {"set": "x-user", "value": "${principal}"},
            {"set": "x-plan", "value": "${claims.plan}"},
            {"set": "x-pet", "value": "${path.id}"},
        ],
        "response": [{"set": "x-release", "value": release}],
    })
}

fn configuration(origin: &Origin, issuer: &Issuer) -> String {
    json!({
        "listeners": [
            {"name": "plain", "address": "127.0.0.1:0"},
            {"name": "tls", "address": "127.0.0.1:0", "tls": {"certificates": [{"cert": "server.crt", "key": "server.key"}]}},
        ],
        "admin": {"address": "127.0.0.1:0"},
        "data-dir": "data",
        "log": {"access": false},
        "upstreams": {"pets": {"endpoints": [origin.endpoint()]}},
        "plugins": {
            "waf": {"module": guest("waf-rules")},
            "login": {"module": guest("jwt-authorizer"), "config": {
                "issuer": "https://id.demo", "audience": "pets", "keys": [{"jwks": {"inline": issuer.jwks()}}],
            }},
            "identity": {"module": guest("headers"), "config": stamping("one")},
            "shape": {"module": guest("json-transform"), "config": {
                "response": {"rules": [{"remove": {"paths": ["$.headers"]}}]},
            }},
        },
        "routes": [
            {"name": "pets", "path": "/pets/{id}", "upstream": "pets", "pipeline": ["waf", "login", "identity"]},
            {"name": "shaped", "path": "/shaped/{id}", "upstream": "pets", "pipeline": ["waf", "login", "identity", "shape"]},
        ],
    })
    .to_string()
}

fn show(what: &str, reply: &Reply, note: &str) {
    println!("  {what:<44} {:?} {} {note}", reply.version, reply.status);
}

fn get(path: &str) -> http::request::Builder {
    Request::get(path).header("host", "demo.edgeward.test")
}

async fn requests(plain: SocketAddr, tls: SocketAddr, ca: &Ca, issuer: &Issuer) {
    let bearer = format!("Bearer {}", issuer.token());
    let allowed = || get("/pets/7").header("authorization", &bearer);
    println!("requests");
    let mut h1 = Connection::h1(plain).await;
    let mut h2 = Connection::h2(plain).await;
    let mut tls_h1 = Connection::tls(tls, "demo.edgeward.test", &ca.client(&["http/1.1"], None))
        .await
        .unwrap();
    let mut tls_h2 = Connection::tls(tls, "demo.edgeward.test", &ca.client(&["h2"], None))
        .await
        .unwrap();
    for (what, connection) in [
        ("HTTP/1.1", &mut h1),
        ("HTTP/2, prior knowledge", &mut h2),
        ("TLS, HTTP/1.1", &mut tls_h1),
        ("TLS, HTTP/2", &mut tls_h2),
    ] {
        let reply = connection.send(allowed(), empty()).await;
        check(reply.status == 200, &format!("{what}: {reply:?}"));
        check(
            reply.echoed("x-user") == "alice"
                && reply.echoed("x-plan") == "gold"
                && reply.echoed("x-pet") == "7",
            &format!("{what}: the origin saw {}", reply.text()),
        );
        check(reply.header("x-release") == "one", &format!("{what}: {reply:?}"));
        show(
            what,
            &reply,
            "the origin saw x-user: alice, x-plan: gold, x-pet: 7",
        );
    }
    let reply = h1.send(get("/pets/7"), empty()).await;
    check(
        reply.status == 401 && reply.response_type() == "UNAUTHORIZED",
        &format!("{reply:?}"),
    );
    show(
        "no token",
        &reply,
        &format!(
            "UNAUTHORIZED, www-authenticate: {}",
            reply.header("www-authenticate")
        ),
    );
    let reply = h1
        .send(
            get("/pets/7?q=1%27%20OR%20%271%27=%271").header("authorization", &bearer),
            empty(),
        )
        .await;
    check(
        reply.status == 403 && reply.response_type() == "WAF_FILTERED",
        &format!("{reply:?}"),
    );
    show("?q=1' OR '1'='1", &reply, "WAF_FILTERED");
    let attack = Request::builder()
        .method(Method::POST)
        .uri("/pets/7")
        .header("host", "demo.edgeward.test");
    let attack = attack
        .header("authorization", &bearer)
        .header("content-type", "application/json");
    let reply = h1
        .send(attack, bytes(r#"{"name": "<script>alert(1)</script>"}"#))
        .await;
    check(
        reply.status == 403 && reply.response_type() == "WAF_FILTERED",
        &format!("{reply:?}"),
    );
    show("POST {\"name\": \"<script>...\"}", &reply, "WAF_FILTERED");
    let reply = h1
        .send(get("/shaped/7").header("authorization", &bearer), empty())
        .await;
    check(
        reply.status == 200 && reply.json().get("headers").is_none(),
        &format!("{reply:?}"),
    );
    show("response body without $.headers", &reply, "json-transform");
    let reply = h1.send(get("/nowhere"), empty()).await;
    check(
        reply.status == 404 && reply.response_type() == "ROUTE_NOT_FOUND",
        &format!("{reply:?}"),
    );
    show("unknown path", &reply, "ROUTE_NOT_FOUND");
}

/// What the clients of the load saw.
#[derive(Default)]
struct Seen {
    requests: AtomicU64,
    failures: Mutex<Vec<String>>,
    /// Responses by release.
    releases: Mutex<BTreeMap<String, u64>>,
    /// Slowest response in microseconds.
    slowest_us: AtomicU64,
    stop: AtomicBool,
}

async fn swap(gateway: &Process, plain: SocketAddr, folder: &Path, issuer: &Issuer) {
    println!("\na new version while {CLIENTS} clients send requests");
    let seen = Arc::new(Seen::default());
    let bearer: Arc<str> = format!("Bearer {}", issuer.token()).into();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|index| {
            tokio::spawn(load(
                plain,
                index % 2 == 1,
                Arc::clone(&bearer),
                Arc::clone(&seen),
            ))
        })
        .collect();
    until(&seen, REQUESTS).await;

    // a custom section more: a module with other bytes is another module; it goes the whole way of upload, init, snapshot and compilation
    let module = folder.join("headers-2.wasm");
    let mut component = guest_bytes("headers");
    component.extend_from_slice(b"\x00\x0e\x07releasetwo-02");
    std::fs::write(&module, component).unwrap();
    std::fs::write(folder.join("two.json"), stamping("two").to_string()).unwrap();
    let (took, version) = command(
        gateway,
        folder,
        &[
            "plugin",
            "push",
            "identity",
            "headers-2.wasm",
            "--config",
            "two.json",
            "--publish",
        ],
    )
    .await;
    let live = one(plain, &bearer).await;
    check(
        live == "two",
        &format!("the request after `plugin push --publish` was served by release {live}"),
    );
    println!("  edgeward plugin push identity headers-2.wasm --config two.json --publish");
    println!(
        "    {version}; {} ms for the whole command; the next request was served by it",
        took.as_millis()
    );
    let so_far = seen.requests.load(Relaxed);
    until(&seen, so_far + REQUESTS).await;

    let (took, version) = command(gateway, folder, &["rollback", "identity"]).await;
    let live = one(plain, &bearer).await;
    check(
        live == "one",
        &format!("the request after `rollback` was served by release {live}"),
    );
    println!("  edgeward rollback identity");
    println!(
        "    {version}; {} ms; the next request was served by it",
        took.as_millis()
    );
    let so_far = seen.requests.load(Relaxed);
    until(&seen, so_far + REQUESTS).await;

    seen.stop.store(true, Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let failures = seen.failures.lock();
    let releases = seen.releases.lock().clone();
    println!(
        "  {} requests, {} failed, slowest {:.1} ms; served by release {}",
        seen.requests.load(Relaxed),
        failures.len(),
        seen.slowest_us.load(Relaxed) as f64 / 1000.0,
        releases
            .iter()
            .map(|(release, count)| format!("`{release}`: {count}"))
            .collect::<Vec<_>>()
            .join(", ")
    );
    check(failures.is_empty(), &format!("failed requests: {failures:?}"));
    check(
        releases.keys().map(String::as_str).eq(["one", "two"]),
        &format!("releases {releases:?}"),
    );
}

/// Runs a command of the real binary against the gateway; returns its duration and what it says.
async fn command(gateway: &Process, folder: &Path, words: &[&str]) -> (Duration, String) {
    let admin = format!("http://{}", gateway.admin);
    let token = gateway.token_file.to_string_lossy();
    let words = [words, &["--admin", &admin, "--token-file", &token]].concat();
    let started = Instant::now();
    let outcome = cli(folder, &words).await;
    check(outcome.code == 0, &format!("edgeward {words:?}: {outcome:?}"));
    (started.elapsed(), outcome.out.trim().replace('\n', "; "))
}

async fn load(address: SocketAddr, h2: bool, bearer: Arc<str>, seen: Arc<Seen>) {
    let mut connection = if h2 {
        Connection::h2(address).await
    } else {
        Connection::h1(address).await
    };
    while !seen.stop.load(Relaxed) {
        let started = Instant::now();
        match connection
            .try_send(get("/pets/7").header("authorization", &*bearer), empty())
            .await
        {
            Ok(reply) if reply.status == 200 => {
                *seen
                    .releases
                    .lock()
                    .entry(reply.header("x-release").to_owned())
                    .or_default() += 1;
            }
            Ok(reply) => seen
                .failures
                .lock()
                .push(format!("{} {}", reply.status, reply.text())),
            Err(error) => {
                seen.failures.lock().push(error.to_string());
                return;
            }
        }
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        seen.slowest_us.fetch_max(micros, Relaxed);
        seen.requests.fetch_add(1, Relaxed);
    }
}

async fn one(address: SocketAddr, bearer: &str) -> String {
    let body: Body = empty();
    let reply = Connection::h1(address)
        .await
        .send(get("/pets/7").header("authorization", bearer), body)
        .await;
    check(reply.status == 200, &format!("{reply:?}"));
    reply.header("x-release").to_owned()
}

async fn until(seen: &Seen, count: u64) {
    edgeward_tests::eventually("the load makes its requests", || async {
        (seen.requests.load(Relaxed) >= count).then_some(())
    })
    .await;
}

fn wait(plain: SocketAddr, issuer: &Issuer) {
    println!("\nThe gateway goes on. Try, in another terminal:\n");
    println!(
        "  curl -i -H 'Authorization: Bearer {}' http://{plain}/pets/7",
        issuer.token()
    );
    println!("  curl -i http://{plain}/pets/7\n");
    println!("Enter ends it.");
    let mut line = String::new();
    // a closed input ends it too
    drop(std::io::stdin().read_line(&mut line));
}
