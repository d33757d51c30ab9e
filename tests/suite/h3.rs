//! HTTP/3 on the port of a TLS listener: what clients see, early data, addresses that change, drain.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use edgeward_tests::{
    Ca, Connection, Gateway, H3, H3Stream, Issued, Origin, QuicClient, Raw, Relay, eventually, get,
    record_logs, wait_for_log, within,
};
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Request};
use serde_json::{Value, json};
use tokio::net::{TcpListener, UdpSocket};

/// A gateway with a TLS listener, an origin and a client that trusts it.
struct Site {
    gateway: Gateway,
    origin: Origin,
    ca: Ca,
    tls: Arc<rustls::ClientConfig>,
}

impl Site {
    async fn start() -> Self {
        Self::with(json!({}), json!({})).await
    }

    async fn with(listener: Value, more: Value) -> Self {
        let (origin, ca) = (Origin::start(), Ca::new());
        let folder = tempfile::tempdir().unwrap();
        ca.issue(&["example.test", "other.test"])
            .write(folder.path(), "a");
        let _path = ca.write(folder.path());
        let config = config(&origin, &listener, &more);
        let gateway = Gateway::start_in(folder, config).await;
        let tls = ca.client(&["h3"], None);
        Self {
            gateway,
            origin,
            ca,
            tls,
        }
    }

    async fn connect(&self, client: &QuicClient) -> H3 {
        let connection = client
            .connect(self.gateway.address(), "example.test")
            .await
            .unwrap();
        H3::on(connection).await
    }

    async fn h3(&self) -> (H3, QuicClient) {
        let client = QuicClient::new(&self.tls);
        (self.connect(&client).await, client)
    }

    fn metric(&self, name: &str) -> u64 {
        let metrics = self.gateway.metrics();
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

fn config(origin: &Origin, listener: &Value, more: &Value) -> Value {
    let mut config = json!({
        "workers": 3,
        "listeners": [{
            "name": "tls",
            "address": "127.0.0.1:0",
            "tls": {"certificates": [{"cert": "a.crt", "key": "a.key"}]},
        }],
        "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
        "plugins": {"sink": {"module": "kitchen-sink"}},
        "routes": [
            {"path": "/sink/{path+}", "upstream": "origin", "pipeline": ["sink"]},
            {"path": "/fixed", "respond": {"status": 200, "body": "fixed"}},
            {"path": "/{path+}", "upstream": "origin"},
        ],
    });
    merge(&mut config["listeners"][0], listener);
    merge(&mut config, more);
    config
}

fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().unwrap() {
        if value.is_object() && into[key].is_object() {
            merge(&mut into[key], value);
        } else {
            into[key] = value.clone();
        }
    }
}

fn post(path: &str) -> http::request::Builder {
    Request::post(format!("https://example.test{path}"))
}

#[tokio::test]
async fn requests_and_answers_are_those_of_any_protocol() {
    record_logs();
    let site = Site::start().await;
    let (mut h3, _client) = site.h3().await;
    let reply = h3
        .send(
            Request::get("https://example.test/echo/a?b=c")
                .header("cookie", "a=1")
                .header("cookie", "b=2")
                .header("x-mine", "1"),
            &[],
        )
        .await;
    assert_eq!(reply.status, 200);
    let json = reply.json();
    assert_eq!(
        (json["version"].as_str(), json["path"].as_str()),
        (Some("HTTP/1.1"), Some("/echo/a"))
    );
    assert_eq!(reply.echoed("host"), "example.test");
    assert_eq!(reply.echoed("x-mine"), "1");
    assert_eq!(reply.echoed("x-forwarded-proto"), "https");
    assert!(reply.echoed("via").starts_with("3"), "{}", reply.echoed("via"));
    // RFC 9114 section 4.2.1
    assert_eq!(reply.echoed_all("cookie"), ["a=1; b=2"]);
    assert!(!reply.header("date").is_empty());
    let reply = h3.send(post("/echo"), &[b"hello ", b"world"]).await;
    assert_eq!(reply.json()["body"], "hello world");
    let reply = h3
        .send(post("/echo").header("content-length", "5"), &[b"hello"])
        .await;
    assert_eq!(reply.json()["body"], "hello");
    let reply = h3.get("/sink/echo").await;
    assert_eq!(reply.status, 200);
    let reply = h3.send(Request::head("https://example.test/fixed"), &[]).await;
    assert_eq!(
        (reply.status, reply.header("content-length"), reply.body.len()),
        (200, "5", 0)
    );
    assert_eq!(h3.get("/fixed").await.text(), "fixed");
    let reply = h3.send(Request::get("https://nowhere.test/a%00b"), &[]).await;
    assert_eq!(
        (reply.status, reply.response_type().as_str()),
        (400, "BAD_REQUEST")
    );
    wait_for_log(&["\"protocol\":\"HTTP/3.0\"", "/echo/a"]).await;
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let site = Site::with(json!({}), json!({"upstreams": {"origin": {"protocol": "http2"}}})).await;
    let (mut h3, _client) = site.h3().await;
    let reply = h3.get("/trailers").await;
    assert_eq!(reply.trailers["x-checksum"], "abc");
    let mut stream = h3
        .begin(post("/echo").header("te", "trailers").body(()).unwrap())
        .await
        .unwrap();
    stream.data(Bytes::from_static(b"body")).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    stream.trailers(trailers).await;
    stream.finish().await;
    let reply = stream.reply().await.unwrap();
    assert_eq!(
        reply.json()["trailers"],
        json!([["x-sum", "1"]]),
        "{}",
        reply.text()
    );
}

#[tokio::test]
async fn much_flows_both_ways() {
    let site = Site::start().await;
    let (mut h3, _client) = site.h3().await;
    let size = 12 << 20;
    let reply = h3.get(&format!("/bytes/{size}")).await;
    assert_eq!((reply.status, reply.body.len()), (200, size));
    let mut stream = h3.begin(post("/echo").body(()).unwrap()).await.unwrap();
    for _ in 0..64 {
        stream.data(Bytes::from(vec![b'x'; 1 << 16])).await;
    }
    stream.finish().await;
    assert_eq!(stream.reply().await.unwrap().json()["body-bytes"], 4 << 20);
}

#[tokio::test]
async fn many_requests_share_many_connections_on_all_workers() {
    let site = Site::start().await;
    let client = QuicClient::new(&site.tls);
    let connections = (0..12).map(|_| async {
        let mut h3 = site.connect(&client).await;
        let mut streams = Vec::new();
        for _ in 0..20 {
            let request = Request::get("https://example.test/bytes/2000").body(()).unwrap();
            let mut stream = h3.begin(request).await.unwrap();
            stream.finish().await;
            streams.push(stream.reply());
        }
        let replies = join_all(streams).await;
        let whole = replies
            .iter()
            .filter(|reply| reply.as_ref().unwrap().body.len() == 2000);
        // each worker has connections of its own to the origin
        let worker = h3.get("/echo").await.json()["connection"].to_string();
        (whole.count(), worker)
    });
    let served = within("all requests", join_all(connections)).await;
    assert_eq!(served.iter().map(|(whole, _)| whole).sum::<usize>(), 240);
    // that all twelve would come to one of three is less likely than 1 in 100,000
    let workers: HashSet<_> = served.iter().map(|(_, worker)| worker).collect();
    assert!(workers.len() > 1, "{workers:?}");
}

#[tokio::test]
async fn a_safe_request_whose_end_comes_behind_its_head_has_no_body() {
    let site = Site::start().await;
    let (mut h3, _client) = site.h3().await;
    let get = Request::get("https://example.test/echo").body(()).unwrap();
    let mut get = h3.begin(get).await.unwrap();
    // by the time of this answer the head has come
    assert_eq!(h3.get("/fixed").await.status, 200);
    get.finish().await;
    let reply = get.reply().await.unwrap();
    assert_eq!(reply.json()["body"], "");
    for field in ["transfer-encoding", "content-length"] {
        assert_eq!(reply.echoed(field), "", "{field} of a request without a body");
    }
}

#[tokio::test]
async fn answers_over_tcp_tell_of_http3() {
    let site = Site::with(json!({"http3-port": 443}), json!({})).await;
    for protocol in ["h2", "http/1.1"] {
        let client = site.ca.client(&[protocol], None);
        let mut connection = Connection::tls(site.gateway.address(), "example.test", &client)
            .await
            .unwrap();
        for path in ["/fixed", "/fields?alt-svc=elsewhere", "/%00"] {
            let reply = connection
                .send(
                    Request::get(path).header("host", "example.test"),
                    edgeward_tests::empty(),
                )
                .await;
            assert_eq!(
                reply.header("alt-svc"),
                "h3=\":443\"; ma=86400",
                "{protocol} {path}"
            );
        }
    }
    let (mut h3, _client) = site.h3().await;
    assert_eq!(h3.get("/fixed").await.header("alt-svc"), "");
    // where there is none, nothing is told, and what the upstream says of itself is its own matter
    let origin = Origin::start();
    let plain = Gateway::start(json!({
        "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
        "routes": [{"path": "/{path+}", "upstream": "origin"}],
    }))
    .await;
    assert_eq!(get(plain.address(), "/echo").await.header("alt-svc"), "");
    let off = Site::with(json!({"http3": false}), json!({})).await;
    let client = off.ca.client(&["h2"], None);
    let mut connection = Connection::tls(off.gateway.address(), "example.test", &client)
        .await
        .unwrap();
    assert_eq!(connection.get("/fixed").await.header("alt-svc"), "");
    // and nobody has the port
    let taken = UdpSocket::bind(off.gateway.address()).await;
    assert!(taken.is_ok());
}

#[tokio::test]
async fn a_connection_goes_on_at_another_address_as_that_of_the_client_it_began_with() {
    record_logs();
    let site = Site::start().await;
    let client = QuicClient::new(&site.tls);
    // on several workers: packets of a new address would go anywhere
    let mut connections = Vec::new();
    for _ in 0..6 {
        let mut h3 = site.connect(&client).await;
        let worker = h3.get("/echo").await.json()["connection"].clone();
        connections.push((h3, worker));
    }
    let before = connections.iter().map(|(_, worker)| worker.to_string());
    assert!(before.collect::<HashSet<_>>().len() <= 3, "one for each worker");
    for last in 2..6 {
        let moved = Ipv4Addr::new(127, 0, 0, last);
        client.rebind(IpAddr::V4(moved));
        for (h3, worker) in &mut connections {
            let reply = h3.get(&format!("/echo/moved-{last}")).await;
            // its handshake came from there, and packets from elsewhere prove nothing
            assert_eq!(reply.echoed_all("x-forwarded-for"), ["127.0.0.1"], "from {moved}");
            assert!(!reply.text().contains(&moved.to_string()), "{}", reply.text());
            // each worker has connections of its own to the origin
            assert_eq!(reply.json()["connection"], *worker, "from {moved}");
        }
    }
    let line = wait_for_log(&["\"exchange\"", "/echo/moved-5"]).await;
    assert!(
        line.contains("\"client\":\"127.0.0.1\"") && !line.contains("127.0.0.5"),
        "{line}"
    );
    assert_eq!(site.metric("edgeward_connections "), 6);
}

#[tokio::test]
async fn a_connection_goes_on_when_a_nat_on_the_way_takes_another_port() {
    let site = Site::start().await;
    let mut relay = Relay::to(site.gateway.address()).await;
    let client = QuicClient::new(&site.tls);
    let connection = client.connect(relay.address, "example.test").await.unwrap();
    let mut h3 = H3::on(connection).await;
    let held = Request::get("https://example.test/hold/nat").body(()).unwrap();
    let mut held = h3.begin(held).await.unwrap();
    held.finish().await;
    site.origin.wait_for("/hold/nat", 1).await;
    let before = h3.get("/echo").await;
    for _ in 0..4 {
        // the client goes on with the same connection id
        relay.rebind().await;
        let after = h3.get("/echo").await;
        assert_eq!(
            after.json()["connection"],
            before.json()["connection"],
            "the worker"
        );
        assert_eq!(after.echoed_all("x-forwarded-for"), ["127.0.0.1"]);
    }
    site.origin.release("nat");
    assert_eq!(held.reply().await.unwrap().text(), "released");
    assert_eq!(site.metric("edgeward_connections_total "), 1);
}

#[tokio::test]
async fn a_handshake_that_does_not_come_to_its_end_is_given_up() {
    let limits = json!({"limits": {"handshake-timeout": "300ms"}});
    let site = Site::with(json!({}), limits).await;
    let relay = Relay::to(site.gateway.address()).await;
    relay.hold();
    let client = QuicClient::new(&site.tls);
    let _waiting: Vec<_> = (0..5)
        .map(|_| client.endpoint.connect(relay.address, "example.test").unwrap())
        .collect();
    for line in ["edgeward_connections_total ", "edgeward_connections "] {
        let count = if line.contains("total") { 5 } else { 0 };
        eventually(line, async || (site.metric(line) == count).then_some(())).await;
    }
}

#[tokio::test]
async fn a_client_does_not_become_a_trusted_hop_by_its_packets() {
    let site = Site::with(json!({"trusted-hops": ["127.0.0.9"]}), json!({})).await;
    let (mut h3, client) = site.h3().await;
    for _ in 0..2 {
        let forged = Request::get("https://example.test/echo").header("x-forwarded-for", "203.0.113.9");
        let reply = h3.send(forged, &[]).await;
        assert_eq!(reply.echoed_all("x-forwarded-for"), ["127.0.0.1"]);
        client.rebind(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9)));
    }
}

/// A connection on a way that lets nothing of the gateway through yet, with a session of a connection before: all that its client sends is early.
async fn early(client: &QuicClient, relay: &Relay) -> (H3, quinn::ZeroRttAccepted) {
    relay.hold();
    let connecting = client.endpoint.connect(relay.address, "example.test").unwrap();
    let Ok((connection, accepted)) = connecting.into_0rtt() else {
        panic!("no session to resume");
    };
    (H3::on(connection).await, accepted)
}

/// Sends a request without a body.
async fn begin(h3: &mut H3, method: &str, path: &str) -> H3Stream {
    let request = Request::builder()
        .method(method)
        .uri(format!("https://example.test{path}"));
    let mut stream = h3.begin(request.body(()).unwrap()).await.unwrap();
    stream.finish().await;
    stream
}

#[tokio::test]
async fn early_data_is_for_safe_requests_and_marked() {
    let site = Site::with(
        json!({}),
        json!({"workers": 1, "limits": {"handshake-timeout": "10m"}}),
    )
    .await;
    let client = QuicClient::new(&site.tls);
    let mut first = site.connect(&client).await;
    assert_eq!(first.get("/echo").await.echoed("early-data"), "");
    let relay = Relay::to(site.gateway.address()).await;
    let (mut h3, accepted) = early(&client, &relay).await;
    // before the others, so that it would be there before them
    let mut unsafe_ones = Vec::new();
    for method in ["PUT", "POST", "DELETE"] {
        unsafe_ones.push(begin(&mut h3, method, "/echo/late").await);
    }
    let mut safe_ones = Vec::new();
    for method in ["GET", "OPTIONS", "GET"] {
        let path = format!("/echo/early/{}", safe_ones.len());
        safe_ones.push(begin(&mut h3, method, &path).await);
        site.origin.wait_for(&path, 1).await;
    }
    assert_eq!(
        site.origin.hits("/echo/late"),
        0,
        "what is not safe waits for the handshake"
    );
    relay.release();
    for safe in safe_ones {
        let reply = safe.reply().await.unwrap();
        assert_eq!(
            (reply.status, reply.echoed_all("early-data")),
            (200, vec!["1".to_owned()])
        );
    }
    for late in unsafe_ones {
        let reply = late.reply().await.unwrap();
        assert_eq!((reply.status, reply.echoed_all("early-data")), (200, vec![]));
    }
    assert!(within("the handshake", accepted).await);
    assert_eq!(h3.get("/echo").await.echoed("early-data"), "");
}

/// An upstream that serves nothing that is early (RFC 8470 section 5.2), and counts it.
async fn cautious_upstream() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let counted = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&counted);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let mut connection = Raw::from(stream);
                let head = connection.until("\r\n\r\n").await;
                let status = if head.contains("\r\nearly-data: 1\r\n") {
                    count.fetch_add(1, SeqCst);
                    "425 Too Early"
                } else {
                    "200 OK"
                };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                connection.send(answer).await;
                connection.finish().await;
                connection.to_end().await;
            });
        }
    });
    (address, counted)
}

#[tokio::test]
async fn what_the_upstream_finds_too_early_the_client_hears_and_asks_again() {
    let (upstream, early_ones) = cautious_upstream().await;
    let site = Site::with(
        json!({}),
        json!({
            "limits": {"handshake-timeout": "10m"},
            "upstreams": {"origin": {"endpoints": [upstream.to_string()], "retry": {"attempts": 3, "budget": 1.0}}},
        }),
    )
    .await;
    let client = QuicClient::new(&site.tls);
    let mut first = site.connect(&client).await;
    assert_eq!(first.get("/x").await.status, 200);
    let relay = Relay::to(site.gateway.address()).await;
    let (mut h3, accepted) = early(&client, &relay).await;
    let refused = begin(&mut h3, "GET", "/x").await;
    eventually("the early request", async || {
        (early_ones.load(SeqCst) > 0).then_some(())
    })
    .await;
    relay.release();
    assert_eq!(refused.reply().await.unwrap().status, 425);
    assert!(within("the handshake", accepted).await);
    assert_eq!(h3.get("/x").await.status, 200);
    assert_eq!(early_ones.load(SeqCst), 1, "it is the client that asks again");
}

#[tokio::test]
async fn clients_prove_their_address_where_it_counts() {
    let limits = json!({"limits": {"connections-per-address": 2}});
    let site = Site::with(json!({}), limits).await;
    let client = QuicClient::new(&site.tls);
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(site.connect(&client).await);
    }
    assert!(site.metric("edgeward_quic_retries_total") >= 1);
    assert!(
        client
            .connect(site.gateway.address(), "example.test")
            .await
            .is_err()
    );
    eventually("the refusal to be counted", || async {
        (site.metric("edgeward_connections_refused_total") == 1).then_some(())
    })
    .await;
    drop(open.pop());
    eventually("a place", || async {
        client.connect(site.gateway.address(), "example.test").await.ok()
    })
    .await;
}

#[tokio::test]
async fn connections_above_the_limit_are_refused() {
    let site = Site::with(json!({}), json!({"limits": {"connections": 2}})).await;
    let client = QuicClient::new(&site.tls);
    let mut first = site.connect(&client).await;
    let _second = site.connect(&client).await;
    let refused = client
        .connect(site.gateway.address(), "example.test")
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, quinn::ConnectionError::ConnectionClosed(close) if format!("{close}").contains("refused")),
        "{refused}"
    );
    assert_eq!(first.get("/fixed").await.status, 200);
}

#[tokio::test]
async fn draining_finishes_what_runs_and_takes_nothing_new() {
    let site = Site::start().await;
    let (mut h3, client) = site.h3().await;
    let held = Request::get("https://example.test/hold/drain").body(()).unwrap();
    let mut held = h3.begin(held).await.unwrap();
    held.finish().await;
    site.origin.wait_for("/hold/drain", 1).await;
    let address = site.gateway.address();
    let drain = tokio::spawn(async move { site.gateway.proxy.drain(Duration::from_secs(20)).await });
    // GOAWAY has arrived when the client takes no more requests
    let refused = || Request::get("https://example.test/fixed").body(()).unwrap();
    within("GOAWAY", async {
        while h3.begin(refused()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    site.origin.release("drain");
    assert_eq!(held.reply().await.unwrap().status, 200);
    within("drain", drain).await.unwrap();
    let ended = h3.connection.closed().await;
    assert!(
        matches!(&ended, quinn::ConnectionError::ApplicationClosed(close) if close.error_code == quinn::VarInt::from_u32(0x100)),
        "{ended}"
    );
    drop(client);
    assert!(UdpSocket::bind(address).await.is_ok());
}

#[tokio::test]
async fn idle_connections_are_closed_in_order() {
    let site = Site::with(json!({}), json!({"limits": {"idle-timeout": "300ms"}})).await;
    let (mut h3, _client) = site.h3().await;
    assert_eq!(h3.get("/fixed").await.status, 200);
    let ended = within("closing", h3.connection.closed()).await;
    assert!(
        matches!(&ended, quinn::ConnectionError::ApplicationClosed(close) if close.error_code == quinn::VarInt::from_u32(0x100)),
        "{ended}"
    );
}

#[tokio::test]
async fn a_client_that_gives_up_ends_its_exchange() {
    record_logs();
    let site = Site::start().await;
    let (mut h3, _client) = site.h3().await;
    let held = Request::get("https://example.test/hold/given-up")
        .body(())
        .unwrap();
    let mut held = h3.begin(held).await.unwrap();
    held.finish().await;
    site.origin.wait_for("/hold/given-up", 1).await;
    held.abort();
    wait_for_log(&["/hold/given-up", "\"aborted\":true"]).await;
    assert_eq!(h3.get("/fixed").await.status, 200);
    assert_eq!(site.metric("edgeward_exchanges "), 0);
}

#[tokio::test]
async fn http3_comes_and_goes_with_the_configuration() {
    let site = Site::start().await;
    let (mut h3, client) = site.h3().await;
    let address = site.gateway.address();
    let publish = async |listener: Value| {
        let config = config(&site.origin, &listener, &json!({}));
        let snapshot = site.gateway.snapshot(config).await.unwrap();
        site.gateway.proxy.publish(snapshot).unwrap();
    };
    let tls = site.ca.client(&["h2"], None);
    let mut beside = Connection::tls(address, "example.test", &tls).await.unwrap();
    let held = Request::get("https://example.test/hold/reload").body(()).unwrap();
    let mut held = h3.begin(held).await.unwrap();
    held.finish().await;
    site.origin.wait_for("/hold/reload", 1).await;
    publish(json!({"http3": false})).await;
    // what runs is finished
    site.origin.release("reload");
    assert_eq!(held.reply().await.unwrap().status, 200);
    within("closing", h3.connection.closed()).await;
    assert_eq!(beside.get("/fixed").await.status, 200);
    let late = tokio::time::timeout(
        Duration::from_millis(300),
        client.endpoint.connect(address, "example.test").unwrap(),
    );
    assert!(!matches!(late.await, Ok(Ok(_))));
    within("the port", async {
        while UdpSocket::bind(address).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    publish(json!({})).await;
    let (mut h3, _client) = site.h3().await;
    assert_eq!(h3.get("/fixed").await.status, 200);
    // another certificate holds for new connections
    site.ca
        .issue(&["example.test"])
        .write(site.gateway.folder.path(), "a");
    let before = h3
        .connection
        .peer_identity()
        .unwrap()
        .downcast::<Vec<rustls_pki_types::CertificateDer<'static>>>()
        .unwrap();
    publish(json!({})).await;
    // one that has no session, which would bring the old certificate with it
    let client = QuicClient::new(&site.ca.client(&["h3"], None));
    let other = site.connect(&client).await;
    let after = other
        .connection
        .peer_identity()
        .unwrap()
        .downcast::<Vec<rustls_pki_types::CertificateDer<'static>>>()
        .unwrap();
    assert_ne!(before, after);
    assert_eq!(h3.get("/fixed").await.status, 200);
    assert_eq!(beside.get("/fixed").await.status, 200);
}

#[tokio::test]
async fn clients_prove_their_address_while_many_handshakes_are_under_way() {
    let site = Site::with(json!({}), json!({"workers": 1})).await;
    let (mut before, _client) = site.h3().await;
    assert_eq!(site.metric("edgeward_quic_retries_total"), 0);
    // on this way nothing comes back
    let relay = Relay::to(site.gateway.address()).await;
    relay.hold();
    let strangers = QuicClient::new(&site.tls);
    let _waiting: Vec<_> = (0..80)
        .map(|_| {
            let connecting = strangers.endpoint.connect(relay.address, "example.test");
            connecting.unwrap()
        })
        .collect();
    eventually("a retry", async || {
        let (mut h3, _client) = site.h3().await;
        assert_eq!(h3.get("/fixed").await.status, 200);
        (site.metric("edgeward_quic_retries_total") > 0).then_some(())
    })
    .await;
    assert_eq!(before.get("/fixed").await.status, 200);
}

#[tokio::test]
async fn a_listener_that_goes_and_comes_back_while_something_runs_is_the_same_on_every_worker() {
    let site = Site::start().await;
    let address = site.gateway.address();
    let publish = async |listener: Value| {
        let config = config(&site.origin, &listener, &json!({}));
        let snapshot = site.gateway.snapshot(config).await.unwrap();
        site.gateway.proxy.publish(snapshot).unwrap();
    };
    // 0 and 1, then as they are
    for (round, other) in [
        json!({"http3": false}),
        json!({"address": format!("0.0.0.0:{}", address.port())}),
    ]
    .into_iter()
    .enumerate()
    {
        let (mut h3, _client) = site.h3().await;
        let path = format!("/hold/{round}");
        let held = Request::get(format!("https://example.test{path}"))
            .body(())
            .unwrap();
        let mut held = h3.begin(held).await.unwrap();
        held.finish().await;
        site.origin.wait_for(&path, 1).await;
        publish(other).await;
        // the kernel prefers the sockets of the old address while they are there: they say that there is nothing
        let client = QuicClient::new(&site.tls);
        let refused = within("the refusal", client.connect(address, "example.test")).await;
        assert!(refused.is_err());
        publish(json!({"address": address.to_string()})).await;
        for _ in 0..8 {
            let client = QuicClient::new(&site.tls);
            let mut h3 = H3::on(client.connect(address, "example.test").await.unwrap()).await;
            assert_eq!(h3.get("/fixed").await.status, 200);
        }
        site.origin.release(&round.to_string());
        assert_eq!(held.reply().await.unwrap().status, 200);
        within("closing", h3.connection.closed()).await;
    }
    // where it has gone while nothing runs it is there at once
    publish(json!({"address": format!("0.0.0.0:{}", address.port())})).await;
    eventually("the other address", async || {
        let client = QuicClient::new(&site.tls);
        client.connect(address, "example.test").await.ok()
    })
    .await;
}

#[tokio::test]
async fn client_certificates_hold_for_listeners_and_domains_are_told_to_come_otherwise() {
    record_logs();
    let site = Site::start().await;
    let publish = async |tls: Value| {
        let config = config(&site.origin, &json!({"tls": tls}), &json!({}));
        let snapshot = site.gateway.snapshot(config).await.unwrap();
        site.gateway.proxy.publish(snapshot).unwrap();
    };
    publish(json!({"client-auth": {"ca": "ca.pem"}})).await;
    let stranger = QuicClient::new(&site.tls);
    let refused = async {
        let connection = stranger.connect(site.gateway.address(), "example.test").await?;
        Err::<(), _>(connection.closed().await)
    };
    assert!(within("refusal", refused).await.is_err());
    let known = site.ca.issue(&["known.test"]);
    let known = QuicClient::new(&site.ca.client(&["h3"], Some(&known)));
    let mut h3 = site.connect(&known).await;
    assert_eq!(h3.get("/echo/known").await.status, 200);
    wait_for_log(&["/echo/known", "CN=known.test"]).await;
    publish(
        json!({"client-auth": null, "domains": [{"names": ["other.test"], "client-auth": {"ca": "ca.pem"}}]}),
    )
    .await;
    let connection = known.connect(site.gateway.address(), "other.test").await.unwrap();
    let mut h3 = H3::on(connection).await;
    let reply = h3.send(Request::get("https://other.test/echo"), &[]).await;
    assert_eq!(
        (reply.status, reply.response_type().as_str()),
        (421, "MISDIRECTED")
    );
    assert_eq!(h3.get("/echo").await.status, 200);
    // and over TCP such a domain is not told of HTTP/3
    let tls = site.ca.client(&["h2"], Some(&site.ca.issue(&["x.test"])));
    for (name, told) in [("other.test", false), ("example.test", true)] {
        let mut connection = Connection::tls(site.gateway.address(), name, &tls).await.unwrap();
        let reply = connection
            .send(
                Request::get("/fixed").header("host", name),
                edgeward_tests::empty(),
            )
            .await;
        assert_eq!(
            (reply.status, reply.headers.contains_key("alt-svc")),
            (200, told),
            "{name}"
        );
    }
}

#[tokio::test]
async fn packets_of_connections_that_nobody_knows_are_answered_with_a_reset() {
    let site = Site::start().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    // RFC 9000 section 10.3: a short header, and enough behind it
    let mut packet = [0x5a; 100];
    packet[0] = 0x40;
    let mut answer = [0; 200];
    let length = within("a stateless reset", async {
        loop {
            socket.send_to(&packet, site.gateway.address()).await.unwrap();
            let wait = tokio::time::timeout(Duration::from_millis(200), socket.recv(&mut answer));
            if let Ok(length) = wait.await {
                return length.unwrap();
            }
        }
    })
    .await;
    assert!((21..100).contains(&length), "{length}");
    assert_eq!(answer[0] & 0xc0, 0x40);
}

/// What the sink says of a request over a protocol, with the version and what is another one with each request taken out; and the head of the answer to
/// a request that it lets pass.
async fn seen_by_plugins(
    site: &Site,
    protocol: &str,
    identity: Option<&Issued>,
) -> (String, Value, Vec<String>) {
    let (tls, address) = (site.ca.client(&[protocol], identity), site.gateway.address());
    let client = QuicClient::new(&tls);
    let path = "/sink/echo/a%20b/%7Ec?x=1+2&y";
    let request = |sink: &'static str, uri: String| {
        let fields = [
            ("x-sink", sink),
            ("content-length", "4"),
            ("content-type", "text/plain"),
            ("cookie", "a=1; b=2"),
            ("x-many", "1"),
            ("x-many", "2"),
            ("x-forwarded-for", "203.0.113.9"),
            ("user-agent", "any"),
            ("accept", "*/*"),
        ];
        let request = Request::post(uri);
        fields
            .into_iter()
            .fold(request, |request, (name, value)| request.header(name, value))
    };
    let mut replies = Vec::new();
    for sink in ["head", "set-header x-passed yes"] {
        replies.push(if protocol == "h3" {
            let mut h3 = site.connect(&client).await;
            let request = request(sink, format!("https://example.test{path}"));
            h3.send(request, &[b"body"]).await
        } else {
            let mut connection = Connection::tls(address, "example.test", &tls).await.unwrap();
            let body = edgeward_tests::bytes("body");
            let request = request(sink, path.to_owned()).header("host", "example.test");
            connection.send(request, body).await
        });
    }
    let passed = replies.pop().unwrap();
    assert_eq!((passed.status, passed.echoed("x-passed").as_str()), (200, "yes"));
    let mut fields: Vec<_> = passed
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .filter(|field| {
            !["alt-svc:", "date:", "x-request-id:", "content-length:"]
                .iter()
                .any(|name| field.starts_with(name))
        })
        .collect();
    fields.sort();
    let mut report = replies.pop().unwrap().json()["ok"].take();
    let version = report["request"]["version"].take();
    let exchange = &mut report["exchange"];
    assert!(exchange["request-id"].take().is_string() && exchange["peer"]["port"].take().is_u64());
    let version = version.as_str().unwrap().to_owned();
    let headers = report["request"]["headers"].as_array_mut().unwrap();
    headers.sort_by_key(ToString::to_string);
    headers.retain(|field| field[0] != "x-request-id");
    let via = headers.iter_mut().find(|field| field[0] == "via").unwrap();
    // here it stands again
    assert_eq!(via[1].take(), version.replace("HTTP/", "") + " edgeward");
    (version, report, fields)
}

#[tokio::test]
async fn a_path_is_the_same_for_router_plugins_and_upstream_whatever_it_was() {
    let site = Site::start().await;
    let client = QuicClient::new(&site.tls);
    let (h1, h2) = (site.ca.client(&["http/1.1"], None), site.ca.client(&["h2"], None));
    for (sent, path) in [
        ("/sink/echo/a/./b/../%63%7e//d%2d?q=%7e", "/sink/echo/a/c~//d-"),
        ("/x/../sink/echo/%e2%82%ac;v=1", "/sink/echo/%E2%82%AC;v=1"),
        ("/%73ink/echo/a/..", "/sink/echo/"),
    ] {
        let ask =
            |sink: &'static str, site: &str| Request::get(format!("{site}{sent}")).header("x-sink", sink);
        let mut replies = Vec::new();
        for sink in ["head", "set-header x-passed yes"] {
            for tls in [&h1, &h2] {
                let mut connection = Connection::tls(site.gateway.address(), "example.test", tls)
                    .await
                    .unwrap();
                let request = ask(sink, "").header("host", "example.test");
                replies.push(connection.send(request, edgeward_tests::empty()).await);
            }
            let request = ask(sink, "https://example.test");
            replies.push(site.connect(&client).await.send(request, &[]).await);
        }
        let (plugins, upstream) = replies.split_at(3);
        for reply in plugins {
            assert_eq!(reply.status, 200, "{}", reply.text());
            let report = reply.json()["ok"].take();
            assert_eq!(report["request"]["path"], path, "{report}");
            let param = json!([["path", path["/sink/".len()..].trim_end_matches("/")]]);
            assert_eq!(report["request"]["path-params-raw"], param, "{report}");
        }
        for reply in upstream {
            assert_eq!(reply.json()["path"], path, "{}", reply.text());
        }
    }
}

#[tokio::test]
async fn the_version_is_all_that_plugins_see_of_it() {
    let optional = json!({"tls": {"client-auth": {"ca": "ca.pem", "required": false}}});
    let site = Site::with(optional, json!({})).await;
    let known = site.ca.issue(&["known.test"]);
    for identity in [None, Some(&known)] {
        let (h1, over_h1, fields_h1) = seen_by_plugins(&site, "http/1.1", identity).await;
        let (h2, over_h2, fields_h2) = seen_by_plugins(&site, "h2", identity).await;
        let (h3, over_h3, fields_h3) = seen_by_plugins(&site, "h3", identity).await;
        assert_eq!([&*h1, &*h2, &*h3], ["HTTP/1.1", "HTTP/2.0", "HTTP/3.0"]);
        assert_eq!(over_h2, over_h1, "HTTP/2 and HTTP/1.1");
        assert_eq!(over_h3, over_h1, "HTTP/3 and HTTP/1.1");
        assert_eq!(fields_h2, fields_h1);
        assert_eq!(fields_h3, fields_h1);
        let peer = &over_h3["exchange"]["peer"];
        assert_eq!(
            (&peer["tls-version"], &peer["sni"], &peer["address"]),
            (&json!("1.3"), &json!("example.test"), &json!("127.0.0.1"))
        );
        let certificate = identity.map(Issued::cert_hex);
        assert_eq!(peer["client-certificate"], json!(certificate));
    }
}
