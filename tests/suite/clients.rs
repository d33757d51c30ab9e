//! Clients of other makes: curl, nghttp and h2load, Python's aioquic, websockets, h2 and wsproto. grpcio is in `grpc.rs`. Tests of clients that are not installed are
//! skipped with a word; in CI all of them are.

use std::{net::SocketAddr, process::Stdio};

use edgeward_tests::{
    Ca, Gateway, Origin, WebSocketOrigin,
    real::{is_there, python_has, run, script, told},
    scripted_upstream,
};
use serde_json::{Value, json};
use tokio::process::Command;

/// What `COMPRESSED` is made of, twenty times.
const LINE: &str = "compressed by the origin, and by nobody else\n";
/// A response with a body that is compressed by gzip.
const COMPRESSED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-encoding: gzip\r\nvary: accept-encoding\r\ncontent-length: 71\r\n\r\n\
    \x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x4b\xce\xcf\x2d\x28\x4a\x2d\x2e\x4e\x4d\x51\x48\xaa\x54\x28\xc9\x48\x55\xc8\x2f\xca\x4c\xcf\xcc\xd3\x51\x48\xcc\x03\x0b\xe5\xe5\x27\xe5\xa7\x54\x2a\xa4\xe6\x14\xa7\x72\x25\x8f\x2a\x1e\x55\x3c\xaa\x98\xda\x8a\x01\xd5\x18\x49\x7f\x84\x03\x00\x00";
/// A part of `0123456789`.
const PART: &[u8] =
    b"HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 2-5/10\r\ncontent-length: 4\r\n\r\n2345";

/// Fetches and talks as pages do, and tells the origin what came of it.
const PAGE: &str = r#"<!doctype html><title>a client</title><script>
const check = (holds, words) => { if (!holds) throw new Error(words); };
const talk = (messages) => new Promise((resolve, reject) => {
  const socket = new WebSocket(`wss://${location.host}/talk`, ["chat", "other"]);
  const heard = [];
  socket.onopen = () => messages.forEach((message) => socket.send(message));
  socket.onmessage = (event) => {
    heard.push(event.data);
    if (heard.length === messages.length) socket.send("close 4001");
  };
  socket.onclose = (event) => resolve([heard, socket.protocol, event.code, event.reason, event.wasClean]);
  socket.onerror = () => reject(new Error("the WebSocket failed"));
});
const client = async () => {
  const numbers = [...Array(30).keys()];
  const answers = await Promise.all(numbers.map((number) => fetch(`/echo/${number}`).then((answer) => answer.json())));
  check(answers.every((answer, number) => answer.path === `/echo/${number}`), "another path");
  const upload = await fetch("/echo", {method: "POST", body: new Uint8Array(1 << 20)});
  check((await upload.json())["body-bytes"] === 1 << 20, "another upload");
  check((await (await fetch("/bytes/3000000")).arrayBuffer()).byteLength === 3000000, "another response");
  check((await fetch("/status/503")).status === 503, "another status");
  const messages = ["", "text \u00e9", "x".repeat(70000)];
  const [heard, ...end] = await talk(messages);
  check(JSON.stringify(heard) === JSON.stringify(messages), "another echo");
  check(JSON.stringify(end) === JSON.stringify(["chat", 4001, "as you wish", true]), `another end: ${end}`);
  return [...new Set(performance.getEntriesByType("resource").map((entry) => entry.nextHopProtocol))].join();
};
client().then((protocols) => fetch(`/report/fine/${protocols}`), (error) => fetch(`/report/wrong/${encodeURIComponent(error)}`));
</script>"#;

/// A gateway with listeners in cleartext, with TLS, and with TLS for clients that have a certificate.
struct Site {
    gateway: Gateway,
    origin: Origin,
}

impl Site {
    async fn start() -> Self {
        let (origin, ca) = (Origin::start(), Ca::new());
        let folder = tempfile::tempdir().unwrap();
        let _path = ca.write(folder.path());
        ca.issue(&["example.test", "localhost"])
            .write(folder.path(), "server");
        ca.issue(&["client.test"]).write(folder.path(), "client");
        let upstream = |address: SocketAddr| json!({"endpoints": [address.to_string()]});
        let certificates = json!([{"cert": "server.crt", "key": "server.key"}]);
        let gateway = Gateway::start_in(
            folder,
            json!({
                "listeners": [
                    {"name": "plain", "address": "127.0.0.1:0"},
                    {"name": "tls", "address": "127.0.0.1:0", "tls": {"certificates": certificates}},
                    {"name": "mutual", "address": "127.0.0.1:0",
                        "tls": {"certificates": certificates, "client-auth": {"ca": "ca.pem"}}},
                ],
                "upstreams": {
                    "origin": {"endpoints": [origin.endpoint()]},
                    "compressed": upstream(scripted_upstream(COMPRESSED).await),
                    "part": upstream(scripted_upstream(PART).await),
                },
                "routes": [
                    {"path": "/compressed", "upstream": "compressed"},
                    {"path": "/part", "upstream": "part"},
                    {"path": "/{path+}", "upstream": "origin"},
                ],
            }),
        )
        .await;
        Self { gateway, origin }
    }

    fn listener(&self, name: &str) -> SocketAddr {
        let listeners = self.gateway.proxy.addresses();
        listeners.iter().find(|(known, _)| known == name).unwrap().1
    }

    fn file(&self, name: &str) -> String {
        self.gateway.folder.path().join(name).display().to_string()
    }

    /// A file of random bytes.
    fn random(&self, length: usize) -> String {
        let mut bytes = vec![0; length];
        aws_lc_rs::rand::fill(&mut bytes).unwrap();
        std::fs::write(self.file("random"), bytes).unwrap();
        self.file("random")
    }

    /// curl on its way to a path of a listener, silent but for errors.
    fn curl(&self, listener: &str, path: &str, arguments: &[&str]) -> Command {
        let address = self.listener(listener);
        let (scheme, port) = (if listener == "plain" { "http" } else { "https" }, address.port());
        let mut curl = Command::new("curl");
        // -q: without the settings of whoever runs the tests
        curl.args(["-q", "-sS", "--noproxy", "*", "--cacert", &self.file("ca.pem")]);
        curl.args(["--resolve", &format!("example.test:{port}:127.0.0.1")]);
        curl.args(arguments)
            .arg(format!("{scheme}://example.test:{port}{path}"));
        curl
    }

    fn url(&self, listener: &str, path: &str) -> String {
        let scheme = if listener == "plain" { "http" } else { "https" };
        format!("{scheme}://localhost:{}{path}", self.listener(listener).port())
    }
}

async fn curl_is_there() -> bool {
    is_there("curl", Command::new("curl").arg("--version")).await
}

async fn nghttp_is_there() -> bool {
    is_there("nghttp", Command::new("nghttp").arg("--version")).await
}

/// The origin's report of the request. What clients say of the connection is behind it.
fn echo(output: &str) -> Value {
    let mut values = serde_json::Deserializer::from_str(output).into_iter();
    let report = values.next().unwrap_or_else(|| panic!("no report: {output}"));
    report.unwrap_or_else(|error| panic!("{error}: {output}"))
}

#[tokio::test]
async fn curl_speaks_every_version_in_cleartext_and_tls() {
    if !curl_is_there().await {
        return;
    }
    let site = Site::start().await;
    for (listener, arguments, version) in [
        ("plain", ["--http1.0", "-v"], "1.1"),
        ("plain", ["--http1.1", "-v"], "1.1"),
        ("plain", ["--http2-prior-knowledge", "-v"], "2"),
        ("tls", ["--http1.1", "--tlsv1.3"], "1.1"),
        ("tls", ["--http1.1", "--tls-max=1.2"], "1.1"),
        ("tls", ["--http2", "--tlsv1.3"], "2"),
        ("tls", ["--http2", "--tls-max=1.2"], "2"),
    ] {
        // long options of curl take their value as a word of its own
        let words: Vec<&str> = arguments
            .iter()
            .flat_map(|argument| argument.split('='))
            .collect();
        let end = [
            "-o",
            "/dev/null",
            "-v",
            "-w",
            "<%{http_version} %{response_code}>",
        ];
        let said = told(&mut site.curl(listener, "/echo/a?b=c", &[&words[..], &end].concat())).await;
        assert!(said.contains(&format!("<{version} 200>")), "{words:?}: {said}");
        if listener == "tls" {
            let tls = if words.contains(&"1.2") {
                "TLSv1.2"
            } else {
                "TLSv1.3"
            };
            assert!(said.contains(&format!("SSL connection using {tls}")), "{said}");
            assert!(said.contains("alt-svc: h3="), "{said}");
        }
    }
    let json = echo(&told(&mut site.curl("tls", "/echo/a?b=c", &["--http2"])).await);
    assert_eq!(
        (&json["path"], &json["query"]),
        (&json!("/echo/a"), &json!("b=c"))
    );
}

#[tokio::test]
async fn curl_moves_large_bodies_both_ways_and_waits_for_100_continue() {
    if !curl_is_there().await {
        return;
    }
    let site = Site::start().await;
    let file = format!("@{}", site.random(2 << 20));
    for (listener, version) in [
        ("plain", "--http1.1"),
        ("plain", "--http2-prior-knowledge"),
        ("tls", "--http1.1"),
        ("tls", "--http2"),
    ] {
        for length in [&[][..], &["-H", "transfer-encoding: chunked"]] {
            let upload = [
                "-v",
                version,
                "-H",
                "expect: 100-continue",
                "--data-binary",
                &file,
            ];
            let answer = run(&mut site.curl(listener, "/echo", &[&upload[..], length].concat())).await;
            let log = String::from_utf8_lossy(&answer.stderr);
            assert!(answer.status.success(), "{log}");
            let json = echo(&String::from_utf8_lossy(&answer.stdout));
            assert_eq!(json["body-bytes"], 2 << 20, "{listener} {version}");
            if version == "--http1.1" {
                assert!(log.contains("< HTTP/1.1 100 Continue"), "{log}");
            }
        }
        let download = [
            version,
            "-o",
            "/dev/null",
            "-w",
            "%{response_code} %{size_download}",
        ];
        let said = told(&mut site.curl(listener, "/bytes/8000000", &download)).await;
        assert_eq!(said, "200 8000000", "{listener} {version}");
    }
}

#[tokio::test]
async fn curl_sees_trailers_parts_and_compressed_bodies_as_the_origin_sent_them() {
    if !curl_is_there().await {
        return;
    }
    let site = Site::start().await;
    for (listener, version) in [("plain", "--http1.1"), ("tls", "--http1.1"), ("tls", "--http2")] {
        let said =
            told(&mut site.curl(listener, "/trailers", &[version, "-H", "te: trailers", "-D", "-"])).await;
        let (head, trailers) = said.split_once("body").unwrap();
        assert!(
            head.contains("200") && trailers.contains("x-checksum: abc"),
            "{said}"
        );
        let said = told(&mut site.curl(
            listener,
            "/part",
            &[version, "-r", "2-5", "-w", " %{response_code}"],
        ))
        .await;
        assert_eq!(said, "2345 206");
        let json = echo(&told(&mut site.curl(listener, "/echo", &[version, "-r", "2-5"])).await);
        assert!(
            json["headers"]
                .as_array()
                .unwrap()
                .contains(&json!(["range", "bytes=2-5"])),
            "{json}"
        );
        let said = told(&mut site.curl(listener, "/compressed", &[version, "--compressed"])).await;
        assert_eq!(said, LINE.repeat(20));
        let head = told(&mut site.curl(listener, "/echo", &[version, "--head"])).await;
        assert!(head.contains(" 200") && head.contains("x-origin: echo"), "{head}");
        let json = echo(&told(&mut site.curl(listener, "/echo", &[version, "-X", "DELETE"])).await);
        assert_eq!(json["method"], "DELETE");
    }
}

#[tokio::test]
async fn curl_shows_its_certificate_and_is_refused_without_one() {
    if !curl_is_there().await {
        return;
    }
    let site = Site::start().await;
    let (cert, key) = (site.file("client.crt"), site.file("client.key"));
    for version in ["--http1.1", "--http2"] {
        for tls in [&["--tlsv1.3"][..], &["--tls-max", "1.2"]] {
            let identity = [version, "--cert", &cert, "--key", &key];
            let json = echo(&told(&mut site.curl("mutual", "/echo", &[&identity[..], tls].concat())).await);
            assert_eq!(json["path"], "/echo");
            let refused = run(&mut site.curl("mutual", "/echo", &[&[version][..], tls].concat())).await;
            // curl has sent its request by then, and so the alert may be lost with the connection
            assert!(
                !refused.status.success() && refused.stdout.is_empty(),
                "{refused:?}"
            );
        }
    }
    assert_eq!(site.origin.hits("/echo"), 4);
}

#[tokio::test]
async fn nghttp_opens_many_streams_and_sends_trailers() {
    if !nghttp_is_there().await {
        return;
    }
    let site = Site::start().await;
    let file = site.random(300_000);
    for listener in ["plain", "tls"] {
        let mut nghttp = Command::new("nghttp");
        nghttp.args(["-nv", "--no-dep"]);
        nghttp.args((0..20).map(|number| site.url(listener, &format!("/bytes/{}", 1000 + number))));
        let log = told(&mut nghttp).await;
        assert_eq!(log.matches(":status: 200").count(), 20, "{log}");
        assert!(!log.contains("RST_STREAM"), "{log}");

        let mut upload = Command::new("nghttp");
        // a body whose length is told has no place for trailers in HTTP/1.1, which the origin speaks
        upload.args(["--no-content-length", "--trailer", "x-sum: abc", "-d", &file]);
        upload.arg(site.url(listener, "/echo"));
        let json = echo(&told(&mut upload).await);
        assert_eq!(
            (&json["body-bytes"], &json["trailers"]),
            (&json!(300_000), &json!([["x-sum", "abc"]])),
            "{listener}"
        );

        let mut trailers = Command::new("nghttp");
        trailers.args(["-nv", "-H", "te: trailers", &site.url(listener, "/trailers")]);
        let log = told(&mut trailers).await;
        assert!(log.contains("x-checksum: abc"), "{log}");
    }
}

#[tokio::test]
async fn h2load_has_every_request_answered() {
    if !is_there("h2load", Command::new("h2load").arg("--version")).await {
        return;
    }
    let site = Site::start().await;
    let file = site.random(5_000);
    for (listener, path, more) in [
        ("plain", "/bytes/2000", &["-m", "20"][..]),
        ("tls", "/bytes/2000", &["-m", "20"]),
        ("tls", "/echo", &["-m", "20", "-d", &file]),
        ("tls", "/bytes/2000", &["--h1"]),
    ] {
        let mut h2load = Command::new("h2load");
        h2load
            .args(["-n", "2000", "-c", "10", "-t", "1"])
            .args(more)
            .arg(site.url(listener, path));
        let log = told(&mut h2load).await;
        for line in [
            "2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout",
            "status codes: 2000 2xx, 0 3xx, 0 4xx, 0 5xx",
        ] {
            assert!(log.contains(line), "{listener} {path} {more:?}: {log}");
        }
    }
}

#[tokio::test]
async fn aioquic_finds_http3_by_alt_svc_and_uses_all_of_it() {
    if !python_has("aioquic").await {
        return;
    }
    let site = Site::start().await;
    let mut script = script("h3_calls.py");
    script
        .args(["127.0.0.1", &site.listener("tls").port().to_string()])
        .arg(site.file("ca.pem"));
    told(&mut script).await;
}

#[tokio::test]
async fn websockets_talks_to_its_own_server_through_the_gateway() {
    if !python_has("websockets").await {
        return;
    }
    // the script has a server on the port that it is given, and talks to it through the gateway
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = reserved.local_addr().unwrap();
    drop(reserved);
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    let trust = ca.write(folder.path());
    ca.issue(&["localhost"]).write(folder.path(), "server");
    let gateway = Gateway::start_in(
        folder,
        json!({
            "listeners": [
                {"name": "plain", "address": "127.0.0.1:0"},
                {"name": "tls", "address": "127.0.0.1:0", "tls": {"certificates": [{"cert": "server.crt", "key": "server.key"}]}},
            ],
            "upstreams": {"server": {"endpoints": [server.to_string()]}},
            "routes": [{"path": "/talk", "upstream": "server", "websocket": true}],
        }),
    )
    .await;
    let listeners = gateway.proxy.addresses();
    let address = |name: &str| {
        listeners
            .iter()
            .find(|(known, _)| known == name)
            .unwrap()
            .1
            .to_string()
    };
    let mut script = script("websocket_calls.py");
    script
        .args([server.to_string(), address("plain"), address("tls")])
        .arg(trust);
    told(&mut script).await;
}

/// A TLS listener for `localhost`, with a WebSocket at `/talk` and a page that uses it.
async fn talking(origin: &Origin, socket: &WebSocketOrigin, ca: &Ca) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    ca.issue(&["localhost"]).write(folder.path(), "server");
    let config = json!({
        "listeners": [{"name": "tls", "address": "127.0.0.1:0",
            "tls": {"certificates": [{"cert": "server.crt", "key": "server.key"}]}}],
        "upstreams": {"origin": {"endpoints": [origin.endpoint()]}, "socket": {"endpoints": [socket.endpoint()]}},
        "routes": [
            {"path": "/page", "respond": {"status": 200, "headers": {"content-type": "text/html"}, "body": PAGE}},
            {"path": "/talk", "upstream": "socket", "websocket": true},
            {"path": "/{path+}", "upstream": "origin"},
        ],
    });
    Gateway::start_in(folder, config).await
}

#[tokio::test]
async fn h2_and_wsproto_talk_over_streams_of_a_connection() {
    if !(python_has("h2").await && python_has("wsproto").await) {
        return;
    }
    let (origin, socket, ca) = (Origin::start(), WebSocketOrigin::start().await, Ca::new());
    let gateway = talking(&origin, &socket, &ca).await;
    let trust = ca.write(gateway.folder.path());
    let mut script = script("websocket_h2_calls.py");
    script.arg(gateway.address().port().to_string()).arg(trust);
    told(&mut script).await;
}

#[tokio::test]
async fn chromium_fetches_and_talks_over_http2() {
    let version = Command::new("chromium").arg("--version").output().await;
    if !version.is_ok_and(|output| output.status.success()) {
        // too large to be asked for, even in CI
        println!("skipped: Chromium is not installed (apt-get install chromium)");
        return;
    }
    let (origin, socket, ca) = (Origin::start(), WebSocketOrigin::start().await, Ca::new());
    let gateway = talking(&origin, &socket, &ca).await;
    let mut chromium = Command::new("chromium");
    chromium.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-proxy-server",
        "--ignore-certificate-errors",
    ]);
    chromium.arg(format!(
        "--user-data-dir={}",
        gateway.folder.path().join("profile").display()
    ));
    chromium.arg("--remote-debugging-port=0");
    chromium.arg(format!("https://localhost:{}/page", gateway.address().port()));
    chromium
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut running = chromium.spawn().unwrap();
    origin.wait_for("/report/", 1).await;
    let seen = origin.seen();
    let report = seen
        .iter()
        .find(|seen| seen.target.starts_with("/report/"))
        .unwrap();
    assert_eq!(report.target, "/report/fine/h2");
    let (_, fields) = &socket.handshakes()[0];
    assert_eq!(
        fields["via"], "2.0 edgeward",
        "the WebSocket was a stream of HTTP/2"
    );
    running.kill().await.unwrap();
}
