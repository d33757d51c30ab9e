//! RFC 7541, HPACK: a header block that cannot be decoded ends the connection, since the tables of both sides are no longer the same; a small one cannot
//! become large.

use edgeward_tests::{
    Origin,
    frames::{End, Frames, block, code, flag, get, integer, kind},
};
use serde_json::json;

use super::gateway;

const WHOLE: u8 = flag::END_STREAM | flag::END_HEADERS;

#[tokio::test]
async fn sections_2_to_6_what_cannot_be_decoded_ends_the_connection() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    let mut beyond = Vec::new();
    integer(&mut beyond, 7, 0x80, 70);
    let mut large_table = Vec::new();
    integer(&mut large_table, 5, 0x20, 1 << 20);
    let get_block = block("GET", "/text/x", &[]);
    for (name, bytes) in [
        ("2.3.3 index 0", vec![0x80]),
        ("2.3.3 an index beyond the tables", beyond),
        ("4.2 a size update behind a field", vec![0x82, 0x20]),
        (
            "5.1 an integer of too many bytes",
            [&[0xff][..], &[0xff; 20], &[0]].concat(),
        ),
        ("5.1 an integer that ends too early", vec![0xff, 0x80]),
        (
            "5.2 a string longer than the block",
            [&get_block[..], &[0, 5, b'x']].concat(),
        ),
        (
            "5.2 Huffman code with its end in it",
            [&get_block[..], &[0, 0x84, 0xff, 0xff, 0xff, 0xff, 1, b'a']].concat(),
        ),
        (
            "5.2 Huffman padding of zeros",
            [&get_block[..], &[0, 0x81, 0x18, 1, b'a']].concat(),
        ),
        (
            "5.2 Huffman padding of more than 7 bits",
            [&get_block[..], &[0, 0x82, 0x1f, 0xff, 1, b'a']].concat(),
        ),
        ("6.3 a table larger than allowed", large_table),
    ] {
        let mut connection = Frames::connect(gateway.address()).await;
        connection.frame(kind::HEADERS, WHOLE, 1, bytes).await;
        let end = connection.end_of(1).await;
        assert!(
            matches!(end, End::Away(code::COMPRESSION_ERROR | code::PROTOCOL_ERROR)),
            "{name}: {end:?}"
        );
    }
    assert_eq!(origin.seen().len(), 0);
}

#[tokio::test]
async fn section_6_dynamic_entries_are_kept_for_the_connection() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    let mut connection = Frames::connect(gateway.address()).await;
    // a literal with indexing, then its index: 62 is the newest entry
    let indexed = [
        &block("GET", "/echo", &[])[..],
        &[0x40, 5, b'x', b'-', b'o', b'n', b'e', 1, b'1'],
    ]
    .concat();
    connection.frame(kind::HEADERS, WHOLE, 1, indexed).await;
    assert_eq!(connection.end_of(1).await, End::Answer(200));
    connection
        .frame(
            kind::HEADERS,
            WHOLE,
            3,
            [&block("GET", "/echo", &[])[..], &[0x80 | 62]].concat(),
        )
        .await;
    let body = connection.until(kind::DATA, 3).await.payload;
    assert!(String::from_utf8_lossy(&body).contains(r#"["x-one","1"]"#));
}

#[tokio::test]
async fn section_7_3_a_small_block_does_not_become_a_large_head() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    // one entry of 4000 bytes, named again and again by one byte each: 16 KiB on the wire would be 64 MiB
    let mut entry = vec![0x40, 1, b'x'];
    integer(&mut entry, 7, 0, 4000);
    entry.extend([b'v'; 4000]);
    for (times, expected) in [
        (10, End::Answer(200)),
        (25, End::Answer(431)),
        (12_000, End::Away(code::ENHANCE_YOUR_CALM)),
    ] {
        let mut connection = Frames::connect(gateway.address()).await;
        let bomb = [&block("GET", "/text/x", &[])[..], &entry, &vec![0x80 | 62; times]].concat();
        connection.frame(kind::HEADERS, WHOLE, 1, bomb).await;
        assert_eq!(connection.end_of(1).await, expected, "{times} times");
        if matches!(expected, End::Answer(_)) {
            connection.send(get(3, "/text/x")).await;
            assert_eq!(connection.end_of(3).await, End::Answer(200));
        }
    }
}
