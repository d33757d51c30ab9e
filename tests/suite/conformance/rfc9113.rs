//! RFC 9113, HTTP/2: a broken stream costs that stream, a broken connection itself. Framing is the HTTP/2 library's; what it lets through is refused with
//! a status.

use edgeward_tests::{
    Gateway, Origin,
    frames::{End, Frames, PREFACE, block, code, flag, frame, get, kind, literals, settings_payload},
};
use serde_json::json;

use super::gateway;

const WHOLE: u8 = flag::END_STREAM | flag::END_HEADERS;
const LARGEST_WINDOW: u32 = (1 << 31) - 1;

/// Sends each of these on a connection of its own and sees how stream 1 ends. Where it is the stream that ends, the connection goes on.
async fn ends(gateway: &Gateway, cases: &[(&str, Vec<u8>, End)]) {
    for (name, bytes, expected) in cases {
        let mut connection = Frames::connect(gateway.address()).await;
        // from here on the window of the connection is the larger one
        connection.until(kind::WINDOW_UPDATE, 0).await;
        connection.send(bytes).await;
        assert_eq!(connection.end_of(1).await, *expected, "{name}");
        if let End::Answer(_) | End::Reset(_) = expected {
            connection.get(101, "/text/after").await;
            assert_eq!(connection.end_of(101).await, End::Answer(200), "behind {name}");
        } else {
            while connection.next().await.is_some() {}
        }
    }
    assert_eq!(gateway.get("/text/x").await.status, 200);
}

async fn ends_before(origin: &Origin, cases: &[(&str, Vec<u8>, End)]) {
    ends(&gateway(origin, json!({})).await, cases).await;
}

/// HEADERS of stream 1 with these fields and nothing else.
fn head(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(kind::HEADERS, WHOLE, 1, literals(fields.iter().copied()))
}

/// A whole request with one more field.
fn with(name: &str, value: &str) -> Vec<u8> {
    frame(kind::HEADERS, WHOLE, 1, block("GET", "/echo", &[(name, value)]))
}

fn post(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(
        kind::HEADERS,
        flag::END_HEADERS,
        1,
        block("POST", "/echo", fields),
    )
}

const PROTOCOL: End = End::Away(code::PROTOCOL_ERROR);
const MALFORMED: End = End::Reset(code::PROTOCOL_ERROR);
const REFUSED: End = End::Answer(400);

#[tokio::test]
async fn section_3_4_a_connection_begins_with_the_preface_and_settings() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    let mut connection = Frames::silent(gateway.address()).await;
    connection.send(PREFACE).await;
    connection.get(1, "/text/x").await;
    assert_eq!(connection.end().await, PROTOCOL);
    assert_eq!(origin.seen().len(), 0);
}

#[tokio::test]
async fn section_4_2_a_frame_has_its_size() {
    let origin = Origin::start();
    let size = End::Away(code::FRAME_SIZE_ERROR);
    ends_before(
        &origin,
        &[
            (
                "DATA above the largest",
                [post(&[]), frame(kind::DATA, 0, 1, vec![0; 16_385])].concat(),
                size.clone(),
            ),
            (
                "unknown above the largest",
                frame(99, 0, 0, vec![0; 16_385]),
                size.clone(),
            ),
            ("PING of 7 bytes", frame(kind::PING, 0, 0, [0; 7]), PROTOCOL),
            ("PING of 9 bytes", frame(kind::PING, 0, 0, [0; 9]), PROTOCOL),
            (
                "SETTINGS of 5 bytes",
                frame(kind::SETTINGS, 0, 0, [0; 5]),
                PROTOCOL,
            ),
            (
                "SETTINGS ACK with a payload",
                frame(kind::SETTINGS, flag::ACK, 0, [0; 6]),
                PROTOCOL,
            ),
            (
                "RST_STREAM of 3 bytes",
                [post(&[]), frame(kind::RST_STREAM, 0, 1, [0; 3])].concat(),
                PROTOCOL,
            ),
            (
                "WINDOW_UPDATE of 3 bytes",
                frame(kind::WINDOW_UPDATE, 0, 0, [0; 3]),
                PROTOCOL,
            ),
            (
                "PRIORITY of 4 bytes",
                frame(kind::PRIORITY, 0, 1, [0; 4]),
                PROTOCOL,
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn section_5_1_streams_are_opened_by_heads_in_rising_odd_numbers() {
    let origin = Origin::start();
    let hold = |stream| get(stream, "/hold/none");
    let closed = [get(1, "/text/x"), frame(kind::DATA, 0, 1, b"x")].concat();
    let gateway = gateway(&origin, json!({})).await;
    ends(
        &gateway,
        &[
            ("DATA on an idle stream", frame(kind::DATA, 0, 1, b"x"), PROTOCOL),
            (
                "RST_STREAM on an idle stream",
                frame(kind::RST_STREAM, 0, 1, [0; 4]),
                PROTOCOL,
            ),
            (
                "WINDOW_UPDATE on an idle stream",
                frame(kind::WINDOW_UPDATE, 0, 1, [0, 0, 0, 1]),
                PROTOCOL,
            ),
            ("an even stream", get(2, "/text/x"), PROTOCOL),
            ("a lower stream", [hold(5), hold(3)].concat(), PROTOCOL),
            ("DATA behind the end of a stream", closed, PROTOCOL),
        ],
    )
    .await;
}

#[tokio::test]
async fn section_5_1_2_streams_beyond_those_of_a_connection_are_refused() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({"h2-streams": 2})).await;
    let mut connection = Frames::connect(gateway.address()).await;
    let settings = connection.until(kind::SETTINGS, 0).await.payload;
    assert!(
        settings.chunks(6).any(|setting| setting == [0, 3, 0, 0, 0, 2]),
        "SETTINGS_MAX_CONCURRENT_STREAMS: {settings:?}"
    );
    for stream in [1, 3] {
        connection.get(stream, "/hold/streams").await;
    }
    origin.wait_for("/hold/streams", 2).await;
    connection.get(5, "/text/x").await;
    assert_eq!(connection.end_of(5).await, End::Reset(code::REFUSED_STREAM));
    origin.release("streams");
    connection.until(kind::HEADERS, 1).await;
    assert_eq!(origin.hits("/text/x"), 0);
    // there is room again
    connection.get(7, "/text/x").await;
    assert_eq!(connection.end_of(7).await, End::Answer(200));
}

#[tokio::test]
async fn section_5_5_unknown_frames_are_ignored_but_not_within_a_head() {
    let origin = Origin::start();
    let part = frame(kind::HEADERS, flag::END_STREAM, 1, block("GET", "/text/x", &[]));
    ends_before(
        &origin,
        &[
            (
                "before",
                [frame(99, 255, 7, b"?"), get(1, "/text/x")].concat(),
                End::Answer(200),
            ),
            ("within", [part, frame(99, 0, 1, b"?")].concat(), PROTOCOL),
        ],
    )
    .await;
}

#[tokio::test]
async fn section_6_frames_are_on_the_streams_they_belong_to() {
    let origin = Origin::start();
    let padded = |kind: u8, payload: &[u8]| frame(kind, flag::PADDED | WHOLE, 1, payload);
    let promise = frame(
        kind::PUSH_PROMISE,
        flag::END_HEADERS,
        1,
        [&[0, 0, 0, 2][..], &block("GET", "/", &[])].concat(),
    );
    let itself = frame(kind::PRIORITY, 0, 1, [0, 0, 0, 1, 0]);
    ends_before(
        &origin,
        &[
            ("6.1 DATA on stream 0", frame(kind::DATA, 0, 0, b"x"), PROTOCOL),
            (
                "6.1 padding longer than DATA",
                [post(&[]), padded(kind::DATA, &[5, 0])].concat(),
                PROTOCOL,
            ),
            (
                "6.2 HEADERS on stream 0",
                frame(kind::HEADERS, WHOLE, 0, block("GET", "/", &[])),
                PROTOCOL,
            ),
            (
                "6.2 padding longer than HEADERS",
                padded(kind::HEADERS, &[200, 0x82]),
                PROTOCOL,
            ),
            (
                "6.3 PRIORITY on stream 0",
                frame(kind::PRIORITY, 0, 0, [0; 5]),
                PROTOCOL,
            ),
            (
                "6.3 a stream that depends on itself",
                [post(&[]), itself].concat(),
                MALFORMED,
            ),
            (
                "6.4 RST_STREAM on stream 0",
                frame(kind::RST_STREAM, 0, 0, [0; 4]),
                PROTOCOL,
            ),
            (
                "6.5 SETTINGS on a stream",
                frame(kind::SETTINGS, 0, 1, []),
                PROTOCOL,
            ),
            (
                "6.5 an ACK nobody asked for",
                frame(kind::SETTINGS, flag::ACK, 0, []).repeat(2),
                PROTOCOL,
            ),
            (
                "6.6 PUSH_PROMISE of a client",
                [post(&[]), promise].concat(),
                PROTOCOL,
            ),
            ("6.7 PING on a stream", frame(kind::PING, 0, 1, [0; 8]), PROTOCOL),
            (
                "6.8 GOAWAY on a stream",
                frame(kind::GOAWAY, 0, 1, [0; 8]),
                PROTOCOL,
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn section_6_5_2_settings_have_their_bounds() {
    let origin = Origin::start();
    let settings = |name, value| frame(kind::SETTINGS, 0, 0, settings_payload(&[(name, value)]));
    ends_before(
        &origin,
        &[
            ("ENABLE_PUSH of 2", settings(2, 2), PROTOCOL),
            ("INITIAL_WINDOW_SIZE of 2^31", settings(4, 1 << 31), PROTOCOL),
            ("MAX_FRAME_SIZE of 16383", settings(5, 16_383), PROTOCOL),
            ("MAX_FRAME_SIZE of 2^24", settings(5, 1 << 24), PROTOCOL),
            (
                "unknown ones",
                [settings(0xff, 7), get(1, "/text/x")].concat(),
                End::Answer(200),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn section_6_9_windows_neither_overflow_nor_are_exceeded() {
    let origin = Origin::start();
    let open = |stream, by: u32| frame(kind::WINDOW_UPDATE, 0, stream, by.to_be_bytes());
    let hold = get(1, "/hold/none");
    // more than the window of a stream, which nobody reads on from
    let much = frame(kind::DATA, 0, 1, vec![0; 16_000]).repeat(17);
    let held = frame(
        kind::HEADERS,
        flag::END_HEADERS,
        1,
        block("POST", "/hold/none", &[]),
    );
    let mut wide = vec![frame(
        kind::SETTINGS,
        0,
        0,
        settings_payload(&[(4, LARGEST_WINDOW)]),
    )];
    wide.extend([hold.clone(), open(1, 1)]);
    ends_before(
        &origin,
        &[
            ("by 0, of the connection", open(0, 0), PROTOCOL),
            (
                "by 0, of a stream",
                [hold.clone(), open(1, 0)].concat(),
                MALFORMED,
            ),
            (
                "the connection's overflows",
                open(0, LARGEST_WINDOW),
                End::Away(code::FLOW_CONTROL_ERROR),
            ),
            (
                "a stream's overflows",
                [hold, open(1, LARGEST_WINDOW)].concat(),
                End::Reset(code::FLOW_CONTROL_ERROR),
            ),
            (
                "a stream's overflows by SETTINGS",
                wide.concat(),
                End::Reset(code::FLOW_CONTROL_ERROR),
            ),
            (
                "DATA beyond it",
                [held, much].concat(),
                End::Reset(code::FLOW_CONTROL_ERROR),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn section_6_10_a_head_goes_on_until_it_ends() {
    let origin = Origin::start();
    let (first, second) = (block("GET", "/text/x", &[]), literals([("x", "y")]));
    let part = frame(kind::HEADERS, flag::END_STREAM, 1, &first);
    let rest = |stream| frame(kind::CONTINUATION, flag::END_HEADERS, stream, &second);
    ends_before(
        &origin,
        &[
            (
                "in two frames",
                [part.clone(), rest(1)].concat(),
                End::Answer(200),
            ),
            ("without a beginning", rest(1), PROTOCOL),
            (
                "behind its end",
                [get(1, "/hold/none"), rest(1)].concat(),
                PROTOCOL,
            ),
            ("of another stream", [part.clone(), rest(3)].concat(), PROTOCOL),
            (
                "another frame within",
                [part.clone(), frame(kind::PING, 0, 0, [0; 8])].concat(),
                PROTOCOL,
            ),
            (
                "another head within",
                [part, get(3, "/text/x")].concat(),
                PROTOCOL,
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn section_8_1_1_a_body_has_the_length_that_the_head_says() {
    let origin = Origin::start();
    let data = |flags, text: &str| frame(kind::DATA, flags, 1, text);
    let five = || post(&[("content-length", "5")]);
    let end = flag::END_STREAM;
    ends_before(
        &origin,
        &[
            (
                "as long",
                [five(), data(0, "he"), data(end, "llo")].concat(),
                End::Answer(200),
            ),
            ("longer", [five(), data(end, "hello!")].concat(), MALFORMED),
            ("shorter", [five(), data(end, "hell")].concat(), MALFORMED),
            ("none", with("content-length", "5"), MALFORMED),
            ("a sign", with("content-length", "+0"), MALFORMED),
            ("a list", with("content-length", "0, 0"), MALFORMED),
            (
                "two",
                post(&[("content-length", "5"), ("content-length", "6")]),
                MALFORMED,
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn section_8_2_fields_have_lower_case_names_and_values_without_control_characters() {
    let origin = Origin::start();
    ends_before(
        &origin,
        &[
            ("upper case", with("X-Y", "b"), MALFORMED),
            ("blank", with("x y", "b"), MALFORMED),
            ("colon", with("x:y", "b"), MALFORMED),
            ("no name", with("", "b"), MALFORMED),
            ("LF", with("x", "a\nb"), MALFORMED),
            ("CR", with("x", "a\rb"), MALFORMED),
            ("NUL", with("x", "a\0b"), MALFORMED),
            ("0x01", with("x", "a\x01b"), MALFORMED),
            ("vertical tab", with("x", "a\x0bb"), MALFORMED),
            ("delete", with("x", "a\x7fb"), MALFORMED),
            ("splitting", with("x", "a\r\nset-cookie: b"), MALFORMED),
            ("splitting by a name", with("x\r\ny", "b"), MALFORMED),
            ("blank before", with("x", " b"), REFUSED),
            ("blank behind", with("x", "b\t"), REFUSED),
        ],
    )
    .await;
    assert_eq!(origin.hits("/echo"), 0);
}

#[tokio::test]
async fn section_8_2_2_connection_specific_fields_are_malformed() {
    let origin = Origin::start();
    let cases = [
        ("connection", "close"),
        ("proxy-connection", "keep-alive"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
    ];
    let cases = cases.map(|(name, value)| (name, with(name, value), MALFORMED));
    ends_before(&origin, &cases).await;
    assert_eq!(origin.hits("/echo"), 0);
    ends_before(
        &origin,
        &[("te: trailers", with("te", "trailers"), End::Answer(200))],
    )
    .await;
}

#[tokio::test]
async fn section_8_2_3_cookies_are_one_field_for_plugins_and_upstream() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    let mut connection = edgeward_tests::Connection::h2(gateway.address()).await;
    let request = http::Request::get("/echo")
        .header("cookie", "a=b")
        .header("x", "y")
        .header("cookie", "c=d")
        .header("cookie", "e=f");
    let reply = connection.send(request, edgeward_tests::empty()).await;
    assert_eq!(reply.echoed("cookie"), "a=b; c=d; e=f");
    assert_eq!(reply.text().matches("\"cookie\"").count(), 1);
}

#[tokio::test]
async fn section_8_3_1_a_request_has_its_pseudo_fields_once_and_first() {
    let origin = Origin::start();
    let (method, scheme, path, authority) = (
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/echo"),
        (":authority", "a"),
    );
    ends_before(
        &origin,
        &[
            (
                "whole",
                head(&[method, scheme, path, authority]),
                End::Answer(200),
            ),
            ("no method", head(&[scheme, path, authority]), MALFORMED),
            ("no scheme", head(&[method, path, authority]), MALFORMED),
            ("no path", head(&[method, scheme, authority]), MALFORMED),
            (
                "empty path",
                head(&[method, scheme, (":path", ""), authority]),
                MALFORMED,
            ),
            (
                "path without a slash",
                head(&[method, scheme, (":path", "echo"), authority]),
                MALFORMED,
            ),
            (
                "path with a blank",
                head(&[method, scheme, (":path", "/e cho"), authority]),
                MALFORMED,
            ),
            (
                "two methods",
                head(&[method, method, scheme, path, authority]),
                MALFORMED,
            ),
            (
                "two paths",
                head(&[method, scheme, path, authority, (":path", "/b")]),
                MALFORMED,
            ),
            (
                "two authorities",
                head(&[method, scheme, path, authority, (":authority", "b")]),
                MALFORMED,
            ),
            (
                "behind a field",
                head(&[method, scheme, authority, ("x", "y"), path]),
                MALFORMED,
            ),
            (
                "of a response",
                head(&[method, scheme, path, authority, (":status", "200")]),
                MALFORMED,
            ),
            (
                "unknown",
                head(&[method, scheme, path, authority, (":x", "y")]),
                MALFORMED,
            ),
            (
                "method that is no token",
                head(&[(":method", "G T"), scheme, path, authority]),
                MALFORMED,
            ),
            (
                "asterisk",
                head(&[method, scheme, (":path", "*"), authority]),
                REFUSED,
            ),
            (
                "user information",
                head(&[method, scheme, path, (":authority", "u@a")]),
                REFUSED,
            ),
            ("another Host", with("host", "b"), REFUSED),
            ("the same Host", with("host", "A"), End::Answer(200)),
            (
                "neither authority nor Host",
                head(&[method, scheme, path]),
                REFUSED,
            ),
            (
                "two Hosts",
                head(&[method, scheme, path, ("host", "a"), ("host", "a")]),
                REFUSED,
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn section_8_5_connect_is_not_served() {
    let origin = Origin::start();
    let connect = frame(
        kind::HEADERS,
        flag::END_HEADERS,
        1,
        literals([(":method", "CONNECT"), (":authority", "a:80")]),
    );
    ends_before(&origin, &[("CONNECT", connect, REFUSED)]).await;
    assert_eq!(
        origin
            .seen()
            .iter()
            .filter(|seen| seen.method == "CONNECT")
            .count(),
        0
    );
}

#[tokio::test]
async fn section_10_5_1_heads_have_a_largest_size() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({"head": "8KiB"})).await;
    let field = |size: usize| {
        frame(
            kind::HEADERS,
            WHOLE,
            1,
            block("GET", "/echo", &[("x", &"v".repeat(size))]),
        )
    };
    // 64 KiB in five frames
    let (first, rest) = (
        block("GET", "/echo", &[("x", &"v".repeat(8000))]),
        literals([("y", "v".repeat(16_000).as_str())]),
    );
    let mut large = frame(kind::HEADERS, flag::END_STREAM, 1, first);
    for _ in 0..5 {
        large.extend(frame(kind::CONTINUATION, 0, 1, &rest));
    }
    ends(
        &gateway,
        &[
            ("within", field(7 << 10), End::Answer(200)),
            ("above", field(9 << 10), End::Answer(431)),
            ("above what the library takes", field(16_300), End::Answer(431)),
            ("far above", large, End::Away(code::ENHANCE_YOUR_CALM)),
        ],
    )
    .await;
    assert_eq!(origin.hits("/echo"), 1);
}
