//! What a client may take of time and streams: each limit short here, the others long, so that nothing else can end the connection.

use std::time::{Duration, Instant};

use edgeward_tests::{Ca, Gateway, Origin, Raw, eventually, within};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const SHORT: Duration = Duration::from_millis(300);

async fn gateway(origin: &Origin, limit: &str, value: Value) -> Gateway {
    let mut limits = json!({"head-timeout": "10m", "body-timeout": "10m", "idle-timeout": "10m", "handshake-timeout": "10m"});
    limits[limit] = value;
    let folder = tempfile::tempdir().unwrap();
    Ca::new().issue(&["a.example"]).write(folder.path(), "a");
    Gateway::start_in(
        folder,
        json!({
            "listeners": [
                {"name": "plain", "address": "127.0.0.1:0"},
                {"name": "tls", "address": "127.0.0.1:0", "tls": {"certificates": [{"cert": "a.crt", "key": "a.key"}]}},
            ],
            "limits": limits,
            "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
            "routes": [{"path": "/{path+}", "upstream": "origin"}],
        }),
    )
    .await
}

/// Whether the metrics have this line.
fn has_metric(gateway: &Gateway, expected: &str) -> Option<()> {
    gateway
        .metrics()
        .lines()
        .any(|line| line == expected)
        .then_some(())
}

/// HTTP/2 in frames, for what a library would not do.
struct Frames(TcpStream);

#[derive(Debug)]
struct Frame {
    kind: u8,
    stream: u32,
    payload: Vec<u8>,
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

impl Frames {
    async fn connect(gateway: &Gateway) -> Self {
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await
            .unwrap();
        Self(stream)
    }

    /// GET of a path of less than 127 bytes: indexed and literal fields of HPACK (RFC 7541, appendix A for the numbers).
    async fn get(&mut self, stream: u32, path: &str) {
        let length = |text: &str| u8::try_from(text.len()).unwrap();
        let mut fields = vec![0x82, 0x86, 0x04, length(path)];
        fields.extend(path.bytes());
        fields.extend([0x01, 1, b'a']);
        // END_STREAM and END_HEADERS
        let mut frame = vec![0, 0, u8::try_from(fields.len()).unwrap(), HEADERS, 0x5];
        frame.extend(stream.to_be_bytes());
        frame.extend(fields);
        self.0.write_all(&frame).await.unwrap();
    }

    /// The next frame; nothing at the end of the connection.
    async fn next(&mut self) -> Option<Frame> {
        within("a frame", async {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.0.read_exact(&mut payload).await.ok()?;
            Some(Frame {
                kind: head[3],
                stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
                payload,
            })
        })
        .await
    }

    /// Reads until there is such a frame.
    async fn until(&mut self, kind: u8, stream: u32) -> Frame {
        loop {
            let frame = self.next().await;
            let frame = frame
                .unwrap_or_else(|| panic!("the connection ended before frame {kind} of stream {stream}"));
            if (frame.kind, frame.stream) == (kind, stream) {
                return frame;
            }
        }
    }
}

#[tokio::test]
async fn a_connection_that_is_idle_is_closed() {
    let origin = Origin::start();
    let gateway = gateway(&origin, "idle-timeout", json!("300ms")).await;
    let mut connection = Raw::connect(gateway.address()).await;
    for _ in 0..2 {
        connection.send("GET /text/x HTTP/1.1\r\nhost: a\r\n\r\n").await;
        connection.until("some plain text").await;
    }
    let idle = Instant::now();
    assert_eq!(connection.to_end().await, "");
    assert!(
        idle.elapsed() + Duration::from_millis(50) > SHORT,
        "{:?}",
        idle.elapsed()
    );
}

#[tokio::test]
async fn an_http_2_connection_that_is_idle_is_closed_in_order() {
    let origin = Origin::start();
    let gateway = gateway(&origin, "idle-timeout", json!("300ms")).await;
    let mut connection = Frames::connect(&gateway).await;
    // what is under way is not idle
    connection.get(1, "/hold/idle").await;
    origin.wait_for("/hold/idle", 1).await;
    tokio::time::sleep(2 * SHORT).await;
    origin.release("idle");
    connection.until(HEADERS, 1).await;
    let away = connection.until(GOAWAY, 0).await;
    assert_eq!(away.payload[4..8], [0; 4], "no error");
    while connection.next().await.is_some() {}
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_not_waited_for() {
    let origin = Origin::start();
    let gateway = gateway(&origin, "handshake-timeout", json!("300ms")).await;
    let address = gateway.proxy.addresses()[1].1;
    for beginning in [&b""[..], b"\x16\x03\x01\x02\0\x01\0"] {
        let mut connection = Raw::connect(address).await;
        connection.send(beginning).await;
        assert_eq!(connection.to_end().await, "");
    }
    // counted when the connection is gone for the client already
    eventually("both to be counted", async || {
        has_metric(&gateway, "edgeward_tls_handshake_failures_total 2")
    })
    .await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_response_is_let_go() {
    let origin = Origin::start();
    let gateway = gateway(&origin, "idle-timeout", json!("300ms")).await;
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
    let rest = connection.to_end().await;
    assert!(rest.len() < much / 2, "{} bytes came all the same", rest.len());
}

#[tokio::test]
async fn streams_beyond_those_of_a_connection_are_refused() {
    let origin = Origin::start();
    let gateway = gateway(&origin, "h2-streams", json!(2)).await;
    let mut connection = Frames::connect(&gateway).await;
    let settings = connection.until(SETTINGS, 0).await.payload;
    assert!(
        settings.chunks(6).any(|setting| setting == [0, 3, 0, 0, 0, 2]),
        "SETTINGS_MAX_CONCURRENT_STREAMS: {settings:?}"
    );
    for stream in [1, 3] {
        connection.get(stream, "/hold/streams").await;
    }
    origin.wait_for("/hold/streams", 2).await;
    connection.get(5, "/text/x").await;
    let refused = connection.until(RST_STREAM, 5).await;
    assert_eq!(refused.payload, [0, 0, 0, 7], "REFUSED_STREAM");
    origin.release("streams");
    connection.until(HEADERS, 1).await;
    assert_eq!(origin.hits("/text/x"), 0);
    // there is room again
    connection.get(7, "/text/x").await;
    connection.until(HEADERS, 7).await;
}
