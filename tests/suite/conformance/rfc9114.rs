//! What bytes on the streams of HTTP/3 cost: the stream, the connection, or nothing. Named by section of RFC 9114 where no other is.

use std::sync::Arc;

use edgeward_tests::{Ca, Gateway, Origin, QuicClient, frame, integer, request_stream, section, within};
use quinn::{Connection, ConnectionError, ReadError, RecvStream, VarInt};
use serde_json::json;

const NO_ERROR: u32 = 0x100;
const STREAM_CREATION_ERROR: u32 = 0x103;
const CLOSED_CRITICAL_STREAM: u32 = 0x104;
const FRAME_UNEXPECTED: u32 = 0x105;
const FRAME_ERROR: u32 = 0x106;
const EXCESSIVE_LOAD: u32 = 0x107;
const ID_ERROR: u32 = 0x108;
const SETTINGS_ERROR: u32 = 0x109;
const MISSING_SETTINGS: u32 = 0x10a;
const REQUEST_INCOMPLETE: u32 = 0x10d;
const MESSAGE_ERROR: u32 = 0x10e;
const DECOMPRESSION_FAILED: u32 = 0x200;
const ENCODER_STREAM_ERROR: u32 = 0x201;
const DECODER_STREAM_ERROR: u32 = 0x202;

const DATA: u64 = 0x0;
const HEADERS: u64 = 0x1;
const SETTINGS: u64 = 0x4;

struct Site {
    gateway: Gateway,
    /// Reads requests to their end, which fixed answers do not wait for.
    _origin: Origin,
    client: QuicClient,
}

impl Site {
    async fn start(limits: serde_json::Value) -> Self {
        let (origin, ca) = (Origin::start(), Ca::new());
        let folder = tempfile::tempdir().unwrap();
        ca.issue(&["example.test"]).write(folder.path(), "a");
        let gateway = Gateway::start_in(
            folder,
            json!({
                "limits": limits,
                "listeners": [{
                    "address": "127.0.0.1:0",
                    "tls": {"certificates": [{"cert": "a.crt", "key": "a.key"}]},
                }],
                "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
                "routes": [{"path": "/", "upstream": "origin"}],
            }),
        )
        .await;
        let tls: Arc<_> = ca.client(&["h3"], None);
        Self {
            gateway,
            _origin: origin,
            client: QuicClient::new(&tls),
        }
    }

    async fn connect(&self) -> Connection {
        self.client
            .connect(self.gateway.address(), "example.test")
            .await
            .unwrap()
    }

    /// That a connection serves requests.
    async fn serves(connection: &Connection) {
        let (_send, recv) = request_stream(connection, &head(&[]), true).await;
        assert_eq!(status(recv).await, Ok(200));
    }
}

/// A frame with a usual head and these fields.
fn head(more: &[(&str, &str)]) -> Vec<u8> {
    let fields = [
        &[
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "example.test"),
            (":path", "/"),
        ],
        more,
    ]
    .concat();
    frame(HEADERS, &section(&fields))
}

/// Status of the answer, or the code of the reset.
async fn status(mut recv: RecvStream) -> Result<u16, u64> {
    match within("an answer", recv.read_to_end(1 << 20)).await {
        Ok(answer) => Ok(read_status(&answer)),
        Err(quinn::ReadToEndError::Read(ReadError::Reset(code))) => Err(code.into_inner()),
        Err(other) => panic!("{other}"),
    }
}

/// Of the answers here: an entry of the static table (RFC 9204 appendix A), or digits behind a reference to it.
fn read_status(answer: &[u8]) -> u16 {
    assert_eq!(answer[0], 0x1, "HEADERS first");
    let length_of_length = 1 << (answer[1] >> 6);
    let section = &answer[1 + length_of_length..];
    assert_eq!(&section[..2], [0, 0]);
    match section[2] {
        0xd9 => 200,
        0xff => match section[3] {
            4 => 400,
            5 => 403,
            other => panic!("static entry {}", 63 + u16::from(other)),
        },
        // name of `:status`, Huffman: digits have 5 or 6 bits
        _ => 431,
    }
}

/// The code that the gateway closes the connection with.
async fn closed(connection: &Connection) -> u64 {
    match within("the end of the connection", connection.closed()).await {
        ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn section_4_1_frames_out_of_order_cost_the_connection() {
    let site = Site::start(json!({})).await;
    let data = frame(DATA, b"data");
    let tail = frame(HEADERS, &section(&[("a", "b")]));
    for (frames, code) in [
        (vec![data.clone()], FRAME_UNEXPECTED),
        (vec![head(&[]), tail.clone(), tail.clone()], FRAME_UNEXPECTED),
        (vec![head(&[]), tail, data.clone()], FRAME_UNEXPECTED),
        // section 7.2: frames of control streams, and what clients never send
        (vec![frame(0x3, &[0])], FRAME_UNEXPECTED),
        (vec![frame(SETTINGS, &[])], FRAME_UNEXPECTED),
        (vec![frame(0x5, &[0, 0, 0])], FRAME_UNEXPECTED),
        (vec![frame(0x7, &[0])], FRAME_UNEXPECTED),
        (vec![head(&[]), frame(0xd, &[0])], FRAME_UNEXPECTED),
        // section 7.2.8: types of HTTP/2
        (vec![frame(0x2, &[])], FRAME_UNEXPECTED),
        (vec![frame(0x6, &[])], FRAME_UNEXPECTED),
        (vec![head(&[]), frame(0x8, &[])], FRAME_UNEXPECTED),
        (vec![head(&[]), frame(0x9, &[])], FRAME_UNEXPECTED),
        // section 7.1: cut off
        (vec![head(&[])[..5].to_vec()], FRAME_ERROR),
        (vec![vec![0x40]], FRAME_ERROR),
        (vec![head(&[]), data[..4].to_vec()], FRAME_ERROR),
    ] {
        let connection = site.connect().await;
        let _streams = request_stream(&connection, &frames.concat(), true).await;
        let seen = closed(&connection).await;
        assert_eq!(seen, u64::from(code), "{frames:02x?}");
    }
}

#[tokio::test]
async fn section_4_1_a_stream_without_a_head_is_reset() {
    let site = Site::start(json!({})).await;
    let connection = site.connect().await;
    let (_send, recv) = request_stream(&connection, &[], true).await;
    assert_eq!(status(recv).await, Err(REQUEST_INCOMPLETE.into()));
    let (_send, recv) = request_stream(&connection, &frame(0x21, b"grease"), true).await;
    assert_eq!(status(recv).await, Err(REQUEST_INCOMPLETE.into()));
    Site::serves(&connection).await;
}

#[tokio::test]
async fn section_4_1_2_malformed_requests_are_reset_and_others_go_on() {
    let site = Site::start(json!({})).await;
    let connection = site.connect().await;
    let whole = |fields: &[(&str, &str)]| frame(HEADERS, &section(fields));
    let (method, scheme, authority, path) = (
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "example.test"),
        (":path", "/"),
    );
    for bytes in [
        // section 4.2
        head(&[("connection", "close")]),
        head(&[("keep-alive", "timeout=5")]),
        head(&[("proxy-connection", "close")]),
        head(&[("transfer-encoding", "chunked")]),
        head(&[("upgrade", "websocket")]),
        head(&[("te", "gzip")]),
        head(&[("Upper", "case")]),
        head(&[("bad name", "x")]),
        head(&[("", "x")]),
        // section 10.3
        head(&[("x", "a\r\nb: c")]),
        head(&[("x", "a\0b")]),
        head(&[("x", " a")]),
        // section 4.3
        head(&[(":path", "/other")]),
        head(&[(":status", "200")]),
        head(&[(":protocol", "websocket")]),
        head(&[("x", "1"), (":path", "/")]),
        whole(&[scheme, authority, path]),
        whole(&[method, authority, path]),
        whole(&[method, scheme, authority]),
        whole(&[method, scheme, authority, (":path", "")]),
        whole(&[method, scheme, authority, (":path", "*")]),
        whole(&[method, scheme, authority, (":path", "relative")]),
        whole(&[method, (":scheme", "ftp"), authority, path]),
        whole(&[("x", "1"), method, scheme, authority, path]),
        // section 4.4
        whole(&[(":method", "CONNECT"), authority, path]),
        // section 4.1.2: lengths
        head(&[("content-length", "4")]),
        head(&[("content-length", "x")]),
        head(&[("content-length", "4"), ("content-length", "4")]),
        head(&[("content-length", "-1")]),
    ] {
        let (_send, recv) = request_stream(&connection, &bytes, true).await;
        assert_eq!(
            status(recv).await,
            Err(MESSAGE_ERROR.into()),
            "{}",
            String::from_utf8_lossy(&bytes)
        );
    }
    Site::serves(&connection).await;
    // what the gateway refuses whatever the protocol is answered
    for bytes in [
        whole(&[(":method", "CONNECT"), authority]),
        whole(&[method, scheme, path]),
        whole(&[method, scheme, authority, path, ("host", "other.test")]),
        whole(&[method, scheme, authority, (":path", "/a%2fb")]),
        whole(&[method, scheme, authority, (":path", "/..;/a")]),
    ] {
        let (_send, recv) = request_stream(&connection, &bytes, true).await;
        assert_eq!(status(recv).await, Ok(400), "{}", String::from_utf8_lossy(&bytes));
    }
}

#[tokio::test]
async fn section_4_2_2_heads_above_the_limit_are_answered() {
    let site = Site::start(json!({"head": "8KiB", "header-count": 20})).await;
    let connection = site.connect().await;
    let long = "x".repeat(10 << 10);
    let longer = "x".repeat(40 << 10);
    let many: Vec<_> = (0..30).map(|_| ("x", "1")).collect();
    let floods: Vec<_> = (0..3000).map(|_| ("x", "1")).collect();
    for fields in [&[("x", &*long)][..], &[("x", &*longer)], &many, &floods] {
        let (_send, recv) = request_stream(&connection, &head(fields), true).await;
        assert_eq!(status(recv).await, Ok(431));
    }
    Site::serves(&connection).await;
}

#[tokio::test]
async fn section_6_2_1_the_control_stream_is_one_begins_with_settings_and_stays() {
    let site = Site::start(json!({})).await;
    let settings = frame(SETTINGS, &[0x6, 0x40, 0xff]);
    let control = |frames: &[Vec<u8>]| [&[0][..], &frames.concat()].concat();
    for (streams, end, code) in [
        (
            vec![control(std::slice::from_ref(&settings))],
            true,
            CLOSED_CRITICAL_STREAM,
        ),
        (
            vec![
                control(std::slice::from_ref(&settings)),
                control(std::slice::from_ref(&settings)),
            ],
            false,
            STREAM_CREATION_ERROR,
        ),
        (vec![control(&[frame(0x7, &[0])])], false, MISSING_SETTINGS),
        (
            vec![control(&[settings.clone(), settings.clone()])],
            false,
            FRAME_UNEXPECTED,
        ),
        (
            vec![control(&[settings.clone(), frame(DATA, b"x")])],
            false,
            FRAME_UNEXPECTED,
        ),
        (
            vec![control(&[settings.clone(), head(&[])])],
            false,
            FRAME_UNEXPECTED,
        ),
        (
            vec![control(&[settings.clone(), frame(0x5, &[0, 0])])],
            false,
            FRAME_UNEXPECTED,
        ),
        (
            vec![control(&[settings.clone(), frame(0x6, &[])])],
            false,
            FRAME_UNEXPECTED,
        ),
        // section 7.2.4
        (
            vec![control(&[frame(SETTINGS, &[0x2, 0x0])])],
            false,
            SETTINGS_ERROR,
        ),
        (
            vec![control(&[frame(SETTINGS, &[0x6, 0x0, 0x6, 0x0])])],
            false,
            SETTINGS_ERROR,
        ),
        (vec![control(&[frame(SETTINGS, &[0x6])])], false, FRAME_ERROR),
        (
            vec![control(&[frame(SETTINGS, &[0; 6000])])],
            false,
            EXCESSIVE_LOAD,
        ),
        // sections 7.2.3, 7.2.6 and 7.2.7
        (
            vec![control(&[settings.clone(), frame(0x3, &[0])])],
            false,
            ID_ERROR,
        ),
        (
            vec![control(&[settings.clone(), frame(0xd, &[9]), frame(0xd, &[8])])],
            false,
            ID_ERROR,
        ),
        (
            vec![control(&[settings.clone(), frame(0x7, &[])])],
            false,
            FRAME_ERROR,
        ),
        (
            vec![control(&[settings.clone(), frame(0x7, &[0, 0])])],
            false,
            FRAME_ERROR,
        ),
        // section 6.2.2: clients do not push
        (vec![vec![0x1, 0x0]], false, STREAM_CREATION_ERROR),
        // RFC 9204 sections 4.2, 4.3 and 4.4
        (vec![vec![0x2, 0x20, 0x3f, 0x45]], false, ENCODER_STREAM_ERROR),
        (vec![vec![0x2, 0xc0, 0x0]], false, ENCODER_STREAM_ERROR),
        (vec![vec![0x3, 0x80]], false, DECODER_STREAM_ERROR),
        (vec![vec![0x3, 0x01]], false, DECODER_STREAM_ERROR),
        (vec![vec![0x2], vec![0x2]], false, STREAM_CREATION_ERROR),
        (vec![vec![0x3], vec![0x3]], false, STREAM_CREATION_ERROR),
        (vec![vec![0x3]], true, CLOSED_CRITICAL_STREAM),
    ] {
        let connection = site.connect().await;
        let mut open = Vec::new();
        for bytes in &streams {
            let mut send = connection.open_uni().await.unwrap();
            let _stopped = send.write_all(bytes).await;
            if end {
                send.finish().unwrap();
            }
            open.push(send);
        }
        let seen = closed(&connection).await;
        assert_eq!(seen, u64::from(code), "{streams:02x?}");
    }
}

#[tokio::test]
async fn section_6_2_3_and_9_what_is_unknown_is_let_be() {
    let site = Site::start(json!({})).await;
    let connection = site.connect().await;
    let mut control = connection.open_uni().await.unwrap();
    let unknown = frame(0x21, &[7; 5000]);
    let priority = frame(0xf_0700, b"\x00u=1");
    control
        .write_all(
            &[
                &[0][..],
                &frame(SETTINGS, &[0x21, 0x1]),
                &unknown,
                &priority,
                &frame(0x7, &[0]),
            ]
            .concat(),
        )
        .await
        .unwrap();
    let mut decoder = connection.open_uni().await.unwrap();
    // stream cancellations
    decoder.write_all(&[0x3, 0x44, 0x7f, 0x81, 0x01]).await.unwrap();
    let mut greased = connection.open_uni().await.unwrap();
    let _stopped = greased.write_all(&integer(0x21)).await;
    let stopped = within("STOP_SENDING", greased.stopped()).await.unwrap();
    assert_eq!(stopped, Some(VarInt::from_u32(STREAM_CREATION_ERROR)));
    // one that ends before it says what it is
    connection.open_uni().await.unwrap().finish().unwrap();
    let bytes = [frame(0x21, b"?"), head(&[]), frame(0x21, b"")].concat();
    let (_send, recv) = request_stream(&connection, &bytes, true).await;
    assert_eq!(status(recv).await, Ok(200));
    Site::serves(&connection).await;
}

#[tokio::test]
async fn rfc_9204_what_cannot_be_decompressed_costs_the_connection() {
    let site = Site::start(json!({})).await;
    for payload in [
        &[0x01, 0x00][..],
        &[0x00, 0x00, 0x80],
        &[0x00, 0x00, 0x10],
        &[0x00, 0x00, 0xff, 0x24],
        &[0x00, 0x00, 0x51, 0x0b, 0x2f],
        &[0x00, 0x00, 0x51, 0x81, 0x00],
        &[0x00],
    ] {
        let connection = site.connect().await;
        let _streams = request_stream(&connection, &frame(HEADERS, payload), true).await;
        assert_eq!(
            closed(&connection).await,
            u64::from(DECOMPRESSION_FAILED),
            "{payload:02x?}"
        );
    }
}

#[tokio::test]
async fn section_10_5_floods_cost_the_connection() {
    let site = Site::start(json!({})).await;
    // requests that are given up at once
    let connection = site.connect().await;
    let flood = async {
        loop {
            let Ok((mut send, mut recv)) = connection.open_bi().await else {
                break;
            };
            let _gone = send.write_all(&head(&[])[..4]).await;
            let _gone = send.reset(VarInt::from_u32(0x10c));
            let _gone = recv.stop(VarInt::from_u32(0x10c));
        }
    };
    within("the end of the flood", flood).await;
    assert_eq!(closed(&connection).await, u64::from(EXCESSIVE_LOAD));
    // frames that bring nothing
    for (uni, bytes) in [
        (false, frame(0x21, b"")),
        (
            false,
            [head(&[("content-length", "1")]), frame(DATA, b"").repeat(20_000)].concat(),
        ),
        (
            true,
            [&[0][..], &frame(SETTINGS, &[]), &frame(0x21, b"").repeat(5000)].concat(),
        ),
        (true, [&[3][..], &[0x41].repeat(5000)].concat()),
    ] {
        let connection = site.connect().await;
        let (mut send, _recv) = if uni {
            (connection.open_uni().await.unwrap(), None)
        } else {
            let (send, recv) = connection.open_bi().await.unwrap();
            (send, Some(recv))
        };
        let bytes = if bytes.len() < 10 {
            bytes.repeat(10_000)
        } else {
            bytes
        };
        let _gone = within("the end of the flood", send.write_all(&bytes)).await;
        assert_eq!(closed(&connection).await, u64::from(EXCESSIVE_LOAD));
    }
}

#[tokio::test]
async fn a_head_that_does_not_come_is_answered() {
    let site = Site::start(json!({"head-timeout": "200ms"})).await;
    let connection = site.connect().await;
    let (_send, recv) = request_stream(&connection, &head(&[])[..9], false).await;
    // 408, whose digits stand where those of 431 would
    assert_eq!(status(recv).await, Ok(431));
    Site::serves(&connection).await;
}

#[tokio::test]
async fn rfc_9000_section_4_a_connection_has_so_many_streams_and_no_datagrams() {
    let site = Site::start(json!({"h2-streams": 5})).await;
    let connection = site.connect().await;
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(request_stream(&connection, &head(&[])[..9], false).await);
    }
    let sixth = tokio::time::timeout(std::time::Duration::from_millis(200), connection.open_bi()).await;
    assert!(sixth.is_err());
    assert_eq!(connection.max_datagram_size(), None);
    for (mut send, _recv) in open {
        send.reset(VarInt::from_u32(0x10c)).unwrap();
    }
    within("a place", connection.open_bi()).await.unwrap();
    connection.close(VarInt::from_u32(NO_ERROR), b"");
}
