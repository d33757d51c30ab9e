//! Clients that take their time (RFC 9110 section 17.5, RFC 9112 section 9.5, RFC 9113 section 10.5): for heads there is a deadline, for bodies and
//! responses a time of silence and a least rate.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use edgeward_tests::{
    Ca, Connection, Gateway, H3, Origin, Process, QuicClient, Raw, empty, eventually,
    frames::{End, Frames, PREFACE, block, code, flag, frame, kind},
    raw, request_stream, section, within,
};
use http::Request;
use quinn::{RecvStream, VarInt};
use serde_json::{Value, json};

use super::{gateway, gateway_of_all_versions, has_metric};

/// Each limit is short here, the others long, so that nothing else can end the connection.
fn limits(more: Value) -> Value {
    let mut limits = json!({"head-timeout": "10m", "body-timeout": "10m", "idle-timeout": "10m", "handshake-timeout": "10m"});
    limits
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    limits
}

const CALM: End = End::Away(code::ENHANCE_YOUR_CALM);
/// `H3_REQUEST_CANCELLED` (RFC 9114 section 8.1).
const CANCELLED: VarInt = VarInt::from_u32(0x10c);

/// A gateway with these limits, and a connection of HTTP/3 to it whose client gives this much room on each stream, and in all.
async fn http_3(
    origin: &Origin,
    limits: Value,
    (stream, all): (u32, u32),
) -> (Gateway, QuicClient, quinn::Connection) {
    let (gateway, ca) = gateway_of_all_versions(origin, json!({}), limits).await;
    let client = QuicClient::with(&ca.client(&["h3"], None), |transport| {
        transport
            .stream_receive_window(VarInt::from_u32(stream))
            .receive_window(VarInt::from_u32(all));
    });
    let connection = client.connect(gateway.address(), "example.test").await.unwrap();
    (gateway, client, connection)
}

/// Asks, and reads nothing.
async fn ask(connection: &quinn::Connection, path: &str) -> RecvStream {
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "example.test"),
        (":path", path),
    ];
    let head = edgeward_tests::frame(1, &section(&fields));
    request_stream(connection, &head, true).await.1
}

fn post() -> http::request::Builder {
    Request::post("https://example.test/echo")
}

#[tokio::test]
async fn heads_that_stop_are_not_waited_for() {
    let origin = Origin::start();
    let gateway = gateway(&origin, limits(json!({"head-timeout": "300ms"}))).await;
    let text = raw(gateway.address(), "GET /echo HTTP/1.1\r\nho").await;
    assert!(
        text.starts_with("HTTP/1.1 408 ") && text.contains(r#""responseType":"REQUEST_TIMEOUT""#),
        "{text}"
    );
    // a connection without a word gets none
    assert_eq!(raw(gateway.address(), "").await, "");
}

#[tokio::test]
async fn heads_that_trickle_are_not_waited_for() {
    let origin = Origin::start();
    let gateway = gateway(&origin, limits(json!({"head-timeout": "500ms"}))).await;
    let mut connection = Raw::connect(gateway.address()).await;
    let trickle = async {
        connection.send("GET /echo HTTP/1.1\r\nhost: a\r\nx: ").await;
        loop {
            connection.send("y").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let closed = tokio::time::timeout(Duration::from_secs(2), trickle).await;
    assert!(closed.is_err());
    let text = connection.to_end().await;
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
}

#[tokio::test]
async fn http_2_heads_that_stop_end_the_connection() {
    let origin = Origin::start();
    let gateway = gateway(&origin, limits(json!({"head-timeout": "300ms"}))).await;
    let part = block("GET", "/text/x", &[]);
    let whole = frame(kind::HEADERS, 5, 3, &part);
    for (name, bytes) in [
        (
            "a head without its end",
            frame(kind::HEADERS, flag::END_STREAM, 3, &part),
        ),
        ("half a frame", whole[..20].to_vec()),
        ("half the head of a frame", whole[..5].to_vec()),
    ] {
        let mut connection = Frames::connect(gateway.address()).await;
        // a stream that runs does not keep it
        connection.get(1, "/hold/none").await;
        origin.wait_for("/hold/none", 1).await;
        connection.send(bytes).await;
        assert_eq!(connection.end().await, CALM, "{name}");
    }
    // nor does PING
    let mut connection = Frames::silent(gateway.address()).await;
    connection.send(PREFACE).await;
    connection.send(&frame(kind::SETTINGS, 0, 0, [0; 6])[..12]).await;
    assert_eq!(connection.end().await, CALM, "half the SETTINGS");
    let line = r#"edgeward_http2_abuse_total{reason="slow-head"} 4"#;
    eventually(line, async || has_metric(&gateway, line)).await;
    // and what is whole has all the time
    let mut connection = Frames::connect(gateway.address()).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    connection.get(1, "/text/x").await;
    assert_eq!(connection.end_of(1).await, End::Answer(200));
}

#[tokio::test]
async fn bodies_that_stop_are_not_waited_for() {
    let origin = Origin::start();
    let gateway = gateway(&origin, limits(json!({"body-timeout": "300ms"}))).await;
    let request = "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhel";
    let text = raw(gateway.address(), request).await;
    assert!(
        text.starts_with("HTTP/1.1 408 ") && text.contains("REQUEST_TIMEOUT"),
        "{text}"
    );
    let mut connection = Frames::connect(gateway.address()).await;
    connection.post(1, "/echo").await;
    connection.frame(kind::DATA, 0, 1, "hel").await;
    assert_eq!(connection.end_of(1).await, End::Answer(408));
    connection.get(3, "/text/x").await;
    assert_eq!(connection.end_of(3).await, End::Answer(200), "the others go on");
}

#[tokio::test]
async fn bodies_that_trickle_are_not_waited_for() {
    let origin = Origin::start();
    // a byte each 20 ms is never silent for 500 ms, and 50 bytes per second
    for (rate, is_slow) in [("1KiB", true), ("10B", false)] {
        let limits = limits(json!({"body-timeout": "500ms", "min-rate": rate}));
        let gateway = gateway(&origin, limits).await;
        let mut h1 = Raw::connect(gateway.address()).await;
        h1.send("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 75\r\nconnection: close\r\n\r\n")
            .await;
        let mut h2 = Frames::connect(gateway.address()).await;
        h2.post(1, "/echo").await;
        for index in 0..75 {
            h1.send("x").await;
            h2.frame(kind::DATA, u8::from(index == 74), 1, "x").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let status = if is_slow { 408 } else { 200 };
        assert_eq!(h2.end_of(1).await, End::Answer(status), "{rate}");
        let text = h1.to_end().await;
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{rate}: {text}");
    }
}

#[tokio::test]
async fn http_3_bodies_that_stop_are_not_waited_for() {
    let origin = Origin::start();
    let limits = limits(json!({"body-timeout": "300ms"}));
    let (gateway, _client, connection) = http_3(&origin, limits, (1 << 20, 1 << 20)).await;
    let mut h3 = H3::on(connection).await;
    for length in [None, Some("10")] {
        let request = length
            .into_iter()
            .fold(post(), |request, length| request.header("content-length", length));
        let mut stream = h3.begin(request.body(()).unwrap()).await.unwrap();
        stream.data(Bytes::from("hel")).await;
        let reply = stream.reply().await.unwrap();
        assert_eq!(
            (reply.status, reply.response_type().as_str()),
            (408, "REQUEST_TIMEOUT")
        );
    }
    assert_eq!(h3.get("/text/x").await.status, 200, "the others go on");
    eventually("all exchanges to end", async || {
        has_metric(&gateway, "edgeward_exchanges 0")
    })
    .await;
}

#[tokio::test]
async fn http_3_bodies_that_trickle_are_not_waited_for() {
    let origin = Origin::start();
    // as above: 50 bytes per second
    for (rate, status) in [("1KiB", 408), ("10B", 200)] {
        let limits = limits(json!({"body-timeout": "500ms", "min-rate": rate}));
        let (_gateway, _client, connection) = http_3(&origin, limits, (1 << 20, 1 << 20)).await;
        let mut h3 = H3::on(connection).await;
        let mut stream = h3.begin(post().body(()).unwrap()).await.unwrap();
        let mut sent = 0;
        // the gateway may have had enough before
        while sent < 75 && stream.try_data(Bytes::from("x")).await.is_ok() {
            sent += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if status == 200 {
            stream.finish().await;
        }
        let reply = stream.reply().await.unwrap();
        assert_eq!(reply.status, status, "{rate}");
        if status == 200 {
            assert_eq!(reply.json()["body-bytes"], 75);
        }
    }
}

#[tokio::test]
async fn an_upload_that_its_upstream_is_slow_to_take_is_not_the_clients_fault() {
    let origin = Origin::start();
    let limits = limits(json!({"body-timeout": "200ms", "min-rate": "100MiB"}));
    let gateway = gateway(&origin, limits).await;
    // the origin reads nothing of it for longer than the limit
    let held = tokio::spawn({
        let mut connection = Connection::h2(gateway.address()).await;
        async move {
            let body = edgeward_tests::bytes(vec![b'x'; 8 << 20]);
            connection.send(Request::post("/hold/upload"), body).await
        }
    });
    origin.wait_for("/hold/upload", 1).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    origin.release("upload");
    assert_eq!(held.await.unwrap().status, 200);
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_response_is_let_go() {
    let origin = Origin::start();
    let gateway = gateway(&origin, limits(json!({"idle-timeout": "300ms"}))).await;
    let mut connection = Raw::connect(gateway.address()).await;
    let much = 256 << 20;
    connection
        .send(format!("GET /bytes/{much} HTTP/1.1\r\nhost: a\r\n\r\n"))
        .await;
    connection.until("\r\n\r\n").await;
    // the connections that are open are those that the gateway still works for
    eventually("the connection to be let go", async || {
        has_metric(&gateway, "edgeward_connections 0")
    })
    .await;
    eventually("it to be counted", async || {
        has_metric(&gateway, "edgeward_slow_readers_total 1")
    })
    .await;
    let rest = connection.to_end().await;
    assert!(rest.len() < much / 2, "{} bytes came all the same", rest.len());
}

#[tokio::test]
async fn a_client_that_sips_its_response_is_let_go() {
    let origin = Origin::start();
    let limits = limits(json!({"idle-timeout": "500ms", "min-rate": "1GiB"}));
    let gateway = gateway(&origin, limits).await;
    let mut connection = Raw::connect(gateway.address()).await;
    connection
        .send("GET /bytes/1000000000 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    within("the connection to be let go", async {
        while has_metric(&gateway, "edgeward_slow_readers_total 1").is_none() {
            // what the socket holds, again and again, but never fast
            connection.until("xxxxxxxx").await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_window_that_stays_closed_costs_the_stream_and_no_other() {
    let origin = Origin::start();
    let gateway = gateway(&origin, limits(json!({"idle-timeout": "500ms"}))).await;
    // SETTINGS_INITIAL_WINDOW_SIZE of 0, and of a little: also where all of the response was handed on
    for (key, window, path) in [
        ("a", 0, "/text/x"),
        ("b", 0, "/bytes/1000000"),
        ("c", 1000, "/bytes/1000000"),
        ("d", 1, "/text/x"),
        ("e", 14, "/text/x"),
    ] {
        let mut connection = Frames::with_settings(gateway.address(), &[(4, window)]).await;
        let began = Instant::now();
        connection.get(1, path).await;
        connection.get(3, &format!("/hold/{key}")).await;
        // PING keeps the connection alive, not the stream
        let mut end = None;
        while end.is_none() {
            connection.frame(kind::PING, 0, 0, [0; 8]).await;
            let frame = connection.next().await.unwrap();
            end = (frame.kind == kind::RST_STREAM && frame.stream == 1).then(|| frame.code());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(end, Some(code::CANCEL), "{window} {path}");
        assert!(
            began.elapsed() > Duration::from_millis(450),
            "{:?}",
            began.elapsed()
        );
        // a stream that waits for its upstream is none that waits for its client
        connection.frame(kind::WINDOW_UPDATE, 0, 3, [0, 1, 0, 0]).await;
        origin.release(key);
        assert_eq!(connection.end_of(3).await, End::Answer(200), "{window} {path}");
    }
    eventually("all to be counted", async || {
        has_metric(&gateway, "edgeward_slow_readers_total 5")
    })
    .await;
    eventually("all exchanges to end", async || {
        has_metric(&gateway, "edgeward_exchanges 0")
    })
    .await;
}

#[tokio::test]
async fn cve_2019_9511_a_window_that_opens_by_sips_costs_the_stream() {
    let origin = Origin::start();
    let limits = limits(json!({"idle-timeout": "500ms", "min-rate": "100KiB"}));
    let gateway = gateway(&origin, limits).await;
    let mut connection = Frames::with_settings(gateway.address(), &[(4, 0)]).await;
    connection.get(1, "/bytes/1000000").await;
    let mut opening = 0;
    let end = loop {
        connection.frame(kind::WINDOW_UPDATE, 0, 1, [0, 0, 0, 100]).await;
        opening += 100;
        let frame = connection.next().await.unwrap();
        if frame.kind == kind::RST_STREAM {
            break frame.code();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(end, code::CANCEL);
    assert!(opening < 100_000, "{opening}");
}

#[tokio::test]
async fn an_http_3_window_that_stays_closed_costs_the_stream_and_no_other() {
    let origin = Origin::start();
    let limits = limits(json!({"idle-timeout": "500ms"}));
    let all = 1 << 20;
    for (count, (windows, path)) in [
        ((50, all), "/text/x"),
        ((50, all), "/bytes/1000000"),
        ((50_000, all), "/bytes/1000000"),
        // the stream has room, and the connection has none
        ((all, 50_000), "/bytes/1000000"),
    ]
    .into_iter()
    .enumerate()
    {
        let (gateway, _client, connection) = http_3(&origin, limits.clone(), windows).await;
        let key = format!("/hold/{count}");
        let mut held = ask(&connection, &key).await;
        origin.wait_for(&key, 1).await;
        let began = Instant::now();
        let mut closed = ask(&connection, path).await;
        let what = format!("the reset of {path} with {windows:?}");
        let reset = within(&what, closed.received_reset()).await.unwrap();
        assert_eq!(reset, Some(CANCELLED), "{windows:?} {path}");
        assert!(
            began.elapsed() > Duration::from_millis(450),
            "{:?}",
            began.elapsed()
        );
        // a stream that waits for its upstream is none that waits for its client
        origin.release(&count.to_string());
        let answer = within("the other answer", held.read_to_end(10_000))
            .await
            .unwrap();
        assert!(answer.ends_with(b"released"), "{windows:?} {path}: {answer:?}");
        for line in ["edgeward_slow_readers_total 1", "edgeward_exchanges 0"] {
            eventually(line, async || has_metric(&gateway, line)).await;
        }
    }
}

#[tokio::test]
async fn an_http_3_window_that_opens_by_sips_costs_the_stream() {
    let origin = Origin::start();
    let limits = limits(json!({"idle-timeout": "500ms", "min-rate": "1MiB"}));
    let (_gateway, _client, connection) = http_3(&origin, limits, (1000, 1 << 20)).await;
    let mut stream = ask(&connection, "/bytes/10000000").await;
    let (mut taken, mut sip) = (0, [0; 200]);
    let end = loop {
        match within("a sip", stream.read(&mut sip)).await {
            Ok(Some(count)) => taken += count,
            Ok(None) => panic!("it came to its end"),
            Err(end) => break end,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(end, quinn::ReadError::Reset(CANCELLED));
    assert!((1000..1_000_000).contains(&taken), "{taken}");
}

#[tokio::test]
async fn a_client_of_http_2_that_reads_nothing_at_all_is_let_go() {
    let origin = Origin::start();
    let gateway = gateway(&origin, limits(json!({"idle-timeout": "500ms"}))).await;
    let mut connection = Frames::with_settings(gateway.address(), &[(4, (1 << 31) - 1)]).await;
    connection
        .frame(kind::WINDOW_UPDATE, 0, 0, [0x7f, 255, 0, 0])
        .await;
    connection.get(1, "/bytes/256000000").await;
    let line = r#"edgeward_http2_abuse_total{reason="slow-reader"} 1"#;
    eventually(line, async || has_metric(&gateway, line)).await;
    eventually("the connection to be let go", async || {
        has_metric(&gateway, "edgeward_connections 0")
    })
    .await;
}

#[tokio::test]
async fn a_response_that_flows_is_as_long_as_it_likes() {
    let origin = Origin::start();
    let limits = limits(json!({"idle-timeout": "300ms", "body-timeout": "300ms", "min-rate": "64KiB"}));
    let (_all, _client, connection) = http_3(&origin, limits.clone(), (1 << 20, 4 << 20)).await;
    let reply = H3::on(connection).await.get("/bytes/50000000").await;
    assert_eq!(reply.body.len(), 50_000_000);
    let gateway = gateway(&origin, limits).await;
    for mut connection in [
        Connection::h1(gateway.address()).await,
        Connection::h2(gateway.address()).await,
    ] {
        let reply = connection.send(Request::get("/bytes/50000000"), empty()).await;
        assert_eq!(reply.body.len(), 50_000_000);
    }
}

#[tokio::test]
async fn connections_without_a_handshake_count_like_all_others() {
    let origin = Origin::start();
    let folder = tempfile::tempdir().unwrap();
    Ca::new().issue(&["a.example"]).write(folder.path(), "a");
    let tls = json!({"certificates": [{"cert": "a.crt", "key": "a.key"}]});
    let config = |limits: Value| {
        json!({
            "workers": 1,
            "listeners": [{"name": "tls", "address": "127.0.0.1:0", "tls": tls}],
            "limits": limits,
            "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
            "routes": [{"path": "/{path+}", "upstream": "origin"}],
        })
    };
    let per_address = limits(json!({"connections-per-address": 2}));
    let gateway = Gateway::start_in(folder, config(per_address)).await;
    let mut silent = Vec::new();
    for _ in 0..2 {
        silent.push(Raw::connect(gateway.address()).await);
    }
    eventually("both to be counted", async || {
        has_metric(&gateway, "edgeward_connections 2")
    })
    .await;
    assert_eq!(
        Raw::connect(gateway.address()).await.to_end().await,
        "",
        "one too many"
    );
    eventually("it to be counted", async || {
        has_metric(&gateway, "edgeward_connections_refused_total 1")
    })
    .await;
    // and in all: the third waits for a place, and its handshake with it
    let in_all = limits(json!({"connections": 2, "handshake-timeout": "300ms"}));
    let next = gateway.snapshot(config(in_all)).await.unwrap();
    gateway.proxy.publish(next).unwrap();
    let third = Raw::connect(gateway.address()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(has_metric(&gateway, "edgeward_connections 2").is_some());
    drop(silent.pop());
    eventually("the third to be let in", async || {
        has_metric(&gateway, "edgeward_connections_total 4")
    })
    .await;
    drop((silent, third));
}

/// Memory of a process in use, in MiB.
fn resident(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line.unwrap().trim().trim_end_matches(" kB").parse().unwrap();
    kib >> 10
}

/// A gateway of one worker with a listener, in a folder.
fn one_worker(folder: &Path, listener: &Value, origin: &Origin) -> Process {
    let config = json!({
        "workers": 1,
        "listeners": [listener],
        "admin": {"address": "127.0.0.1:0"},
        "data-dir": "data",
        "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
        "routes": [{"path": "/{path+}", "upstream": "origin"}],
    });
    crate::process::write(folder, &config);
    Process::start(folder)
}

#[tokio::test]
async fn what_an_http_3_connection_that_takes_nothing_pins_is_bounded() {
    let (origin, ca) = (Origin::start(), Ca::new());
    let folder = tempfile::tempdir().unwrap();
    ca.issue(&["example.test"]).write(folder.path(), "a");
    let listener = json!({
        "address": "127.0.0.1:0",
        "tls": {"certificates": [{"cert": "a.crt", "key": "a.key"}]},
    });
    let process = one_worker(folder.path(), &listener, &origin);
    let before = resident(&process);
    // as below: the windows of the streams are large, and nobody reads
    let client = QuicClient::with(&ca.client(&["h3"], None), |transport| {
        transport
            .stream_receive_window(VarInt::from_u32(2 << 20))
            .receive_window(VarInt::from_u32(256 << 20));
    });
    let connection = client.connect(process.address(), "example.test").await.unwrap();
    let mut unread = Vec::new();
    for _ in 0..100 {
        unread.push(ask(&connection, "/bytes/100000000").await);
    }
    let received = async || {
        let stats = connection.stats();
        (stats.udp_rx.bytes > 190 << 20).then_some(())
    };
    eventually("the windows to be full", received).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let pinned = resident(&process).saturating_sub(before);
    println!("100 streams of one connection pin {pinned} MiB");
    assert!(pinned < 100, "{pinned} MiB");
}

#[tokio::test]
async fn what_a_connection_that_takes_nothing_pins_is_bounded() {
    let origin = Origin::start();
    let folder = tempfile::tempdir().unwrap();
    let process = one_worker(folder.path(), &json!({"address": "127.0.0.1:0"}), &origin);
    let before = resident(&process);
    // windows of 2 MiB, so that the gateway reads the upstreams in its largest pieces before they close; then nothing is taken any more
    let window = 2 << 20;
    let mut connection = Frames::with_settings(process.address(), &[(4, window)]).await;
    connection
        .frame(kind::WINDOW_UPDATE, 0, 0, [0x7f, 255, 0, 0])
        .await;
    for index in 0..128 {
        connection.get(2 * index + 1, "/bytes/100000000").await;
    }
    let mut left = 128 * u64::from(window);
    while left > 0 {
        let frame = connection.next().await.unwrap();
        if frame.kind == kind::DATA {
            left -= frame.payload.len() as u64;
        }
    }
    // as far as it goes, which is told by nothing but time
    tokio::time::sleep(Duration::from_secs(1)).await;
    let pinned = resident(&process).saturating_sub(before);
    println!("128 streams of one connection pin {pinned} MiB");
    assert!(pinned < 100, "{pinned} MiB");
}
