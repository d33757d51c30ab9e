//! RFC 9113 section 10.5 and the advisories behind it: what a client may do to a connection before it is told to calm down.

use std::time::{Duration, Instant};

use edgeward_tests::{
    Gateway, Origin, eventually,
    frames::{End, Frames, block, code, flag, frame, get, kind, literals},
};
use serde_json::{Value, json};

use super::{gateway, has_metric};

/// A name and how a stream is made to fail.
type Way<'a> = (&'a str, &'a dyn Fn(u32) -> Vec<u8>);

const CALM: End = End::Away(code::ENHANCE_YOUR_CALM);

async fn counted(gateway: &Gateway, reason: &str, count: usize) {
    let line = format!("edgeward_http2_abuse_total{{reason=\"{reason}\"}} {count}");
    eventually(&line, async || has_metric(gateway, &line)).await;
}

/// Others are served as before.
async fn still_serves(gateway: &Gateway) {
    let mut connection = Frames::connect(gateway.address()).await;
    connection.get(1, "/text/x").await;
    assert_eq!(connection.end_of(1).await, End::Answer(200));
}

/// Opens a stream that stays open, then sends each of these more often than a client may.
async fn floods(limits: Value, reason: &str, floods: &[(&str, Vec<u8>)]) {
    let origin = Origin::start();
    let gateway = gateway(&origin, limits).await;
    for (name, bytes) in floods {
        let mut connection = Frames::connect(gateway.address()).await;
        connection.post(1, "/hold/none").await;
        // in one go: what is read by the exchange before the next comes does not count, as far as content goes
        connection.send(bytes.repeat(3000)).await;
        assert_eq!(connection.end().await, CALM, "{name}");
    }
    counted(&gateway, reason, floods.len()).await;
    still_serves(&gateway).await;
}

#[tokio::test]
async fn cve_2019_9512_9513_9515_and_9516_frames_without_use_are_limited() {
    floods(
        json!({}),
        "control-frames",
        &[
            ("PING", frame(kind::PING, 0, 0, [0; 8])),
            ("PING ACK", frame(kind::PING, flag::ACK, 0, [0; 8])),
            ("SETTINGS", frame(kind::SETTINGS, 0, 0, [])),
            ("PRIORITY", frame(kind::PRIORITY, 0, 1, [0, 0, 0, 3, 1])),
            (
                "PRIORITY of idle streams",
                frame(kind::PRIORITY, 0, 999, [0, 0, 0, 3, 1]),
            ),
            ("WINDOW_UPDATE", frame(kind::WINDOW_UPDATE, 0, 0, [0, 0, 0, 1])),
            (
                "WINDOW_UPDATE of a stream",
                frame(kind::WINDOW_UPDATE, 0, 1, [0, 0, 0, 1]),
            ),
            ("GOAWAY", frame(kind::GOAWAY, 0, 0, [0; 8])),
            ("unknown", frame(99, 0, 0, [])),
        ],
    )
    .await;
}

#[tokio::test]
async fn cve_2019_9511_and_9518_empty_and_tiny_data_is_limited() {
    // by the library
    floods(
        json!({}),
        "protocol",
        &[
            ("empty DATA", frame(kind::DATA, 0, 1, [])),
            ("DATA of one byte", frame(kind::DATA, 0, 1, [1])),
        ],
    )
    .await;
    // padding is no content
    floods(
        json!({}),
        "protocol",
        &[("padded DATA", frame(kind::DATA, flag::PADDED, 1, [3, 0, 0, 0]))],
    )
    .await;
}

#[tokio::test]
async fn cve_2023_44487_a_client_that_resets_what_it_asks_for_is_let_go() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({"h2-resets": 50})).await;
    // in one go the library sees it first, one after the other the gateway does
    let pair = |stream: u32| {
        [
            get(stream, "/hold/together"),
            frame(kind::RST_STREAM, 0, stream, [0, 0, 0, 8]),
        ]
        .concat()
    };
    let mut together = Frames::connect(gateway.address()).await;
    together
        .send((0..500).flat_map(|index| pair(2 * index + 1)).collect::<Vec<_>>())
        .await;
    assert_eq!(together.end().await, CALM);
    assert!(origin.hits("/hold/together") < 50);
    let mut apart = Frames::connect(gateway.address()).await;
    for index in 0..300 {
        let stream = 2 * index + 1;
        apart.get(stream, "/hold/apart").await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        apart.frame(kind::RST_STREAM, 0, stream, [0, 0, 0, 8]).await;
    }
    assert_eq!(apart.end().await, CALM);
    assert!(origin.hits("/hold/apart") < 200, "{}", origin.hits("/hold/apart"));
    // whoever saw it first
    let sum = async || {
        let metrics = gateway.metrics();
        let count = |reason: &str| -> u64 {
            let name = format!("edgeward_http2_abuse_total{{reason=\"{reason}\"}} ");
            let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
            line.unwrap().parse().unwrap()
        };
        (count("resets") + count("protocol") == 2 && count("resets") > 0).then_some(())
    };
    eventually("both to be counted", sum).await;
    still_serves(&gateway).await;
    // what was asked of the origin was given up
    eventually("all exchanges to end", async || {
        has_metric(&gateway, "edgeward_exchanges 0")
    })
    .await;
}

#[tokio::test]
async fn cve_2023_44487_a_client_that_gives_up_now_and_then_is_served() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({"h2-resets": 20})).await;
    let mut connection = Frames::connect(gateway.address()).await;
    // one in five, for long
    for index in 0..500 {
        let stream = 2 * index + 1;
        if index % 5 == 0 {
            connection.get(stream, "/hold/none").await;
            connection.frame(kind::RST_STREAM, 0, stream, [0, 0, 0, 8]).await;
        } else {
            connection.get(stream, "/text/x").await;
            assert_eq!(connection.end_of(stream).await, End::Answer(200), "{index}");
        }
    }
}

#[tokio::test]
async fn cve_2025_8671_a_client_that_makes_the_gateway_reset_is_let_go() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({"h2-resets": 50})).await;
    let overflow = frame(kind::WINDOW_UPDATE, 0, 0, [0x7f, 255, 255, 255]);
    let ways: [Way<'_>; 4] = [
        ("windows that overflow", &|stream| {
            let mut overflow = overflow.clone();
            overflow[5..9].copy_from_slice(&stream.to_be_bytes());
            [get(stream, "/hold/made"), overflow].concat()
        }),
        ("malformed heads", &|stream| {
            frame(kind::HEADERS, 5, stream, literals([(":method", "GET")]))
        }),
        ("empty heads", &|stream| frame(kind::HEADERS, 5, stream, [])),
        ("wrong lengths", &|stream| {
            frame(
                kind::HEADERS,
                5,
                stream,
                block("GET", "/hold/made", &[("content-length", "9")]),
            )
        }),
    ];
    for (name, make) in ways {
        let mut connection = Frames::connect(gateway.address()).await;
        for index in 0..200 {
            connection.send(make(2 * index + 1)).await;
            if index % 10 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        assert_eq!(connection.end().await, CALM, "{name}");
    }
    counted(&gateway, "protocol", 4).await;
    still_serves(&gateway).await;
}

#[tokio::test]
async fn cve_2019_9514_streams_above_the_limit_are_refused_only_so_often() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({"h2-streams": 2, "h2-resets": 50})).await;
    let mut connection = Frames::connect(gateway.address()).await;
    for index in 0..300 {
        connection.get(2 * index + 1, "/hold/none").await;
    }
    assert_eq!(connection.end().await, CALM);
    assert!(origin.hits("/hold/none") <= 2);
}

#[tokio::test]
async fn cve_2024_27316_a_head_does_not_go_on_for_ever() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    for (name, part) in [
        ("empty", Vec::new()),
        ("small", literals([("x", "y")])),
        ("large", literals([("x", "v".repeat(16_000).as_str())])),
        ("a string without end", {
            let mut part = vec![0, 1, b'x'];
            edgeward_tests::frames::integer(&mut part, 7, 0, 1 << 20);
            part
        }),
    ] {
        let mut connection = Frames::connect(gateway.address()).await;
        connection
            .frame(kind::HEADERS, flag::END_STREAM, 1, block("GET", "/text/x", &[]))
            .await;
        for _ in 0..1000 {
            connection.frame(kind::CONTINUATION, 0, 1, &part).await;
        }
        let end = connection.end().await;
        assert!(
            matches!(end, End::Away(code::ENHANCE_YOUR_CALM | code::COMPRESSION_ERROR)),
            "{name}: {end:?}"
        );
    }
    assert_eq!(origin.seen().len(), 0);
    still_serves(&gateway).await;
}

#[tokio::test]
async fn cve_2019_9517_a_client_that_reads_nothing_makes_no_pile() {
    // answers to PING are not collected for it: the gateway stops reading
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({"h2-control-frames": 1_000_000_000})).await;
    let mut connection = Frames::connect(gateway.address()).await;
    let pings = frame(kind::PING, 0, 0, [0; 8]).repeat(10_000);
    let mut sent = 0_usize;
    let began = Instant::now();
    while sent < 64 << 20 && began.elapsed() < Duration::from_secs(20) {
        let stuck = tokio::time::timeout(Duration::from_secs(1), connection.send(&pings)).await;
        if stuck.is_err() {
            break;
        }
        sent += pings.len();
    }
    assert!(
        sent < 64 << 20,
        "the gateway has taken {sent} bytes and nobody its answers"
    );
    still_serves(&gateway).await;
}
