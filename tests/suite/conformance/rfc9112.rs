//! RFC 9112, HTTP/1.1: what proxies and servers read differently is refused, and nothing behind it is taken for a request.

use edgeward_tests::{Gateway, Origin, Raw, raw};
use serde_json::json;

use super::gateway;

/// What follows everything that is refused, and must not be served.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nhost: a\r\n\r\n";

/// Sends each of these, with a request behind it, and sees it refused once with the status and with these words in the reason.
async fn refused(gateway: &Gateway, origin: &Origin, status: u16, cases: &[(&str, &str)]) {
    for (bytes, reason) in cases {
        let text = raw(gateway.address(), format!("{bytes}{HIDDEN}")).await;
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status} ")) && text.contains(reason),
            "{bytes:?} should be refused with {reason:?}: {text:?}"
        );
        assert!(
            text.contains("content-type: application/problem+json")
                && text.contains("connection: close")
                && text.matches("HTTP/1.1 ").count() == 1,
            "{bytes:?}: {text:?}"
        );
    }
    let seen = origin.seen();
    assert!(seen.iter().all(|request| request.target != "/hidden"), "{seen:?}");
}

/// The same for what does not even get as far as the origin.
async fn refused_at_once(cases: &[(&str, &str)]) {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    refused(&gateway, &origin, 400, cases).await;
    assert_eq!(origin.seen().len(), 0, "{:?}", origin.seen());
    assert_eq!(gateway.get("/echo").await.status, 200);
}

/// Requests with these fields behind the request line.
fn with_fields(fields: &[(&'static str, &'static str)]) -> Vec<(String, &'static str)> {
    let request = |field: &str| format!("POST /echo HTTP/1.1\r\nhost: a\r\n{field}\r\n\r\n");
    fields
        .iter()
        .map(|(field, reason)| (request(field), *reason))
        .collect()
}

fn borrowed<'a>(cases: &'a [(String, &'static str)]) -> Vec<(&'a str, &'a str)> {
    cases
        .iter()
        .map(|(bytes, reason)| (bytes.as_str(), *reason))
        .collect()
}

#[tokio::test]
async fn section_2_2_lines_end_with_cr_lf_and_nothing_else() {
    refused_at_once(&[
        ("GET /echo HTTP/1.1\nhost: a\n\n", "bare CR or LF"),
        ("GET /echo HTTP/1.1\r\nhost: a\nx: y\r\n\r\n", "bare CR or LF"),
        ("GET /echo HTTP/1.1\r\nhost: a\r\nx: y\n\r\n", "bare CR or LF"),
        ("GET /echo HTTP/1.1\r\nhost: a\r\n\n", "bare CR or LF"),
        ("GET /echo HTTP/1.1\r\nhost: a\rx: y\r\n\r\n", "bare CR or LF"),
        ("GET /echo HTTP/1.1\r\nhost: a\r\r\nx: y\r\n\r\n", "bare CR or LF"),
        ("GET /echo HTTP/1.1\rhost: a\r\n\r\n", ""),
        ("\nGET /echo HTTP/1.1\r\nhost: a\r\n\r\n", ""),
        ("\rGET /echo HTTP/1.1\r\nhost: a\r\n\r\n", ""),
    ])
    .await;
}

#[tokio::test]
async fn section_2_2_a_few_empty_lines_come_before_a_request_and_no_more() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    let request = "GET /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let text = raw(gateway.address(), format!("{}{request}", "\r\n".repeat(4))).await;
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    refused(&gateway, &origin, 400, &[("\r\n\r\n\r\n\r\n\r\n", "empty lines")]).await;
    // one at a time, too
    let mut connection = Raw::connect(gateway.address()).await;
    for _ in 0..1000 {
        connection.send("\r\n").await;
    }
    let text = connection.to_end().await;
    assert!(text.starts_with("HTTP/1.1 400 "), "{text}");
}

#[tokio::test]
async fn section_2_2_blanks_before_the_first_field_are_no_field() {
    refused_at_once(&[
        ("GET /echo HTTP/1.1\r\n host: a\r\n\r\n", "field name"),
        ("GET /echo HTTP/1.1\r\n\thost: a\r\n\r\n", "field name"),
        ("GET /echo HTTP/1.1\r\n \r\nhost: a\r\n\r\n", "field name"),
    ])
    .await;
}

#[tokio::test]
async fn section_2_3_versions_are_1_0_and_1_1() {
    let versions = [
        "HTTP/0.9",
        "HTTP/1.2",
        "HTTP/2.0",
        "HTTP/9.9",
        "HTTP/1",
        "HTTP/11",
        "HTTP/01.1",
        "HTTP/1.01",
        "http/1.1",
        "HTTPS/1.1",
        "HTTP /1.1",
        "HTTP/1.1 ",
        "HTTP/1.1\t",
        "ICY",
        "",
    ];
    let cases = versions.map(|version| (format!("GET /echo {version}\r\nhost: a\r\n\r\n"), "BAD_REQUEST"));
    refused_at_once(&borrowed(&cases)).await;
    // a request of HTTP/0.9 has no version at all
    refused_at_once(&[
        ("GET /echo\r\n\r\n", "BAD_REQUEST"),
        ("GET\r\n\r\n", "BAD_REQUEST"),
    ])
    .await;
}

#[tokio::test]
async fn section_3_a_request_line_has_three_parts_and_single_blanks() {
    refused_at_once(&[
        ("GET  /echo HTTP/1.1\r\nhost: a\r\n\r\n", "BAD_REQUEST"),
        ("GET /echo  HTTP/1.1\r\nhost: a\r\n\r\n", "BAD_REQUEST"),
        ("GET\t/echo\tHTTP/1.1\r\nhost: a\r\n\r\n", "BAD_REQUEST"),
        (" GET /echo HTTP/1.1\r\nhost: a\r\n\r\n", "BAD_REQUEST"),
        ("GET /echo x HTTP/1.1\r\nhost: a\r\n\r\n", "BAD_REQUEST"),
        ("GET\u{b}/echo HTTP/1.1\r\nhost: a\r\n\r\n", "BAD_REQUEST"),
    ])
    .await;
}

#[tokio::test]
async fn section_3_1_a_method_is_a_token() {
    refused_at_once(&[
        (" / HTTP/1.1\r\nhost: a\r\n\r\n", "BAD_REQUEST"),
        ("G(T /echo HTTP/1.1\r\nhost: a\r\n\r\n", "BAD_REQUEST"),
        ("GET: /echo HTTP/1.1\r\nhost: a\r\n\r\n", "BAD_REQUEST"),
        ("\"GET\" /echo HTTP/1.1\r\nhost: a\r\n\r\n", "BAD_REQUEST"),
        ("G\0T /echo HTTP/1.1\r\nhost: a\r\n\r\n", "BAD_REQUEST"),
        ("G\u{e9}T /echo HTTP/1.1\r\nhost: a\r\n\r\n", "BAD_REQUEST"),
        ("\x16\x03\x01\x02\0\x01\0\x01\u{fc}\r\n\r\n", "BAD_REQUEST"),
        (
            "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\nconnection: close\r\n\r\n",
            "CONNECT",
        ),
    ])
    .await;
}

#[tokio::test]
async fn section_3_2_a_target_is_a_path_or_names_the_host_that_the_field_names() {
    let hosts = |line: &str, host: &str| format!("{line} HTTP/1.1\r\n{host}connection: close\r\n\r\n");
    let cases = [
        (
            hosts("GET http://public.example/echo", "host: internal.example\r\n"),
            "differs from the authority",
        ),
        (
            hosts("GET http://public.example/echo", "host: public.example:81\r\n"),
            "differs from the authority",
        ),
        (hosts("GET http://public.example/echo", ""), "no Host"),
        (hosts("GET http://u@a/echo", "host: a\r\n"), "user information"),
        (hosts("GET /echo", ""), "no Host"),
        (hosts("GET /echo", "host: a\r\nhost: a\r\n"), "more than one Host"),
        (hosts("GET /echo", "host: a\r\nHost: b\r\n"), "more than one Host"),
        (hosts("GET /echo", "host:\r\n"), "empty Host"),
        (hosts("GET /echo", "host: a b\r\n"), "Host field"),
        (hosts("GET /echo", "host: a, b\r\n"), "Host field"),
        (hosts("GET /echo", "host: u@a\r\n"), "Host field"),
        (hosts("GET /echo", "host: a/b\r\n"), "Host field"),
        (hosts("GET /echo", "host: a:b\r\n"), "Host field"),
        (hosts("GET a:80", "host: a:80\r\n"), "request target"),
        (hosts("GET echo", "host: echo\r\n"), "BAD_REQUEST"),
        (hosts("GET *", "host: a\r\n"), "request target"),
        (hosts("OPTIONS *", "host: a\r\n"), "request target"),
        (hosts("GET /echo#x", "host: a\r\n"), "request target"),
        (hosts("GET /a\\b", "host: a\r\n"), "BAD_REQUEST"),
        (hosts("GET /%00", "host: a\r\n"), "request target"),
        (hosts("GET /%zz", "host: a\r\n"), "request target"),
        (hosts("GET /a\u{1}b", "host: a\r\n"), "BAD_REQUEST"),
        (hosts("GET /a\u{7f}b", "host: a\r\n"), "BAD_REQUEST"),
    ];
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    refused(&gateway, &origin, 400, &borrowed(&cases)).await;
    assert_eq!(origin.seen().len(), 0, "{:?}", origin.seen());
    for (version, host) in [("1.1", "host: Public.example\r\n"), ("1.0", "")] {
        let request =
            format!("GET http://public.example/echo HTTP/{version}\r\n{host}connection: close\r\n\r\n");
        let text = raw(gateway.address(), request).await;
        assert!(
            text.starts_with("HTTP/1.1 200 ") && text.contains("public.example"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn section_3_and_5_lines_and_heads_have_a_largest_size() {
    let origin = Origin::start();
    let limits = json!({"head": "8KiB", "header-count": 20, "uri": "1KiB"});
    let gateway = gateway(&origin, limits).await;
    let long = format!(
        "GET /{} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        "a".repeat(2000)
    );
    let endless = format!("GET /{}", "a".repeat(1 << 20));
    refused(
        &gateway,
        &origin,
        414,
        &[(&long, "URI_TOO_LONG"), (&endless, "URI_TOO_LONG")],
    )
    .await;
    let head = |fields: &str| format!("GET /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{fields}\r\n");
    let field = head(&format!("x: {}\r\n", "v".repeat(9000)));
    let name = head(&format!("{}: v\r\n", "n".repeat(9000)));
    let endless = format!("GET /echo HTTP/1.1\r\nhost: a\r\nx: {}", "v".repeat(1 << 20));
    let many = head(&"x: y\r\n".repeat(30));
    let cases = [field, name, endless, many].map(|bytes| (bytes, "HEAD_TOO_LARGE"));
    refused(&gateway, &origin, 431, &borrowed(&cases)).await;
    assert_eq!(origin.seen().len(), 0);
}

#[tokio::test]
async fn section_5_1_a_field_name_is_a_token_with_its_colon() {
    let cases = with_fields(&[
        ("x : y", "field name"),
        ("x\t: y", "field name"),
        ("transfer-encoding : chunked", "field name"),
        (": y", "field name"),
        ("x y: z", "field name"),
        ("x(y): z", "field name"),
        ("x\0y: z", "field name"),
        ("x\u{e9}: y", "field name"),
        ("x", "field name"),
        ("x\r\ny: z", "field name"),
    ]);
    refused_at_once(&borrowed(&cases)).await;
}

#[tokio::test]
async fn section_5_2_fields_are_not_folded() {
    let cases = with_fields(&[
        ("x: y\r\n z", "field name"),
        ("x: y\r\n\tz", "field name"),
        ("x: y\r\n ", "field name"),
        ("transfer-encoding:\r\n chunked", "field name"),
        ("content-length: 1\r\n 0", "field name"),
    ]);
    refused_at_once(&borrowed(&cases)).await;
}

#[tokio::test]
async fn section_6_1_transfer_coding_is_chunked_once_and_last_and_alone() {
    let cases = with_fields(&[
        ("transfer-encoding: gzip", "other than"),
        ("transfer-encoding: identity", "other than"),
        ("transfer-encoding: gzip, chunked", "other than"),
        ("transfer-encoding: chunked, gzip", "other than"),
        ("transfer-encoding: chunked, chunked", "other than"),
        ("transfer-encoding: chunked, identity", "other than"),
        ("transfer-encoding: chunked,", "other than"),
        ("transfer-encoding: ,chunked", "other than"),
        ("transfer-encoding: \"chunked\"", "other than"),
        ("transfer-encoding: chunked;q=1", "other than"),
        ("transfer-encoding: xchunked", "other than"),
        ("transfer-encoding: chunke", "other than"),
        ("transfer-encoding: ch\u{131}nked", "other than"),
        ("transfer-encoding:", "other than"),
        ("transfer-encoding: \u{b}chunked", "control"),
        ("transfer-encoding: chunked\u{0}", "control"),
        (
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
            "other than",
        ),
        (
            "transfer-encoding: chunked\r\ntransfer-encoding: identity",
            "other than",
        ),
        (
            "transfer-encoding: identity\r\nTransfer-Encoding: chunked",
            "other than",
        ),
        ("content-length: 4\r\ntransfer-encoding: chunked", "both"),
        ("transfer-encoding: chunked\r\ncontent-length: 4", "both"),
        ("transfer-encoding: identity\r\ncontent-length: 4", "both"),
        (
            "content-length: 4\r\nconnection: content-length\r\ntransfer-encoding: chunked",
            "both",
        ),
        (
            "content-length: 4\r\nconnection: transfer-encoding\r\ntransfer-encoding: chunked",
            "both",
        ),
    ]);
    refused_at_once(&borrowed(&cases)).await;
    refused_at_once(&[
        ("POST /echo HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.0"),
        (
            "POST /echo HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: keep-alive\r\n\r\n0\r\n\r\n",
            "HTTP/1.0",
        ),
    ])
    .await;
}

#[tokio::test]
async fn section_6_2_and_6_3_a_length_is_one_number() {
    let cases = with_fields(&[
        ("content-length: 4\r\ncontent-length: 5", "more than one"),
        ("content-length: 4\r\nContent-Length: 4", "more than one"),
        ("content-length: 4, 4", "no number"),
        ("content-length: 4, 5", "no number"),
        ("content-length: 4,", "no number"),
        ("content-length: -1", "no number"),
        ("content-length: +4", "no number"),
        ("content-length: 0x4", "no number"),
        ("content-length: 4.0", "no number"),
        ("content-length: 4e0", "no number"),
        ("content-length: 4 4", "no number"),
        ("content-length: 1_0", "no number"),
        ("content-length: \u{664}", "no number"),
        ("content-length:", "no number"),
        ("content-length: 18446744073709551616", "no number"),
        ("content-length: 99999999999999999999", "no number"),
    ]);
    refused_at_once(&borrowed(&cases)).await;
}

#[tokio::test]
async fn section_6_3_a_message_with_two_lengths_is_not_two_requests() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    let smuggled =
        "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    refused(&gateway, &origin, 400, &[(smuggled, "both")]).await;
    assert_eq!(origin.seen().len(), 0);
}

#[tokio::test]
async fn section_7_1_chunks_are_as_long_as_they_say() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    let cases = [
        ("\r\n", "without a size"),
        (";x\r\n", "without a size"),
        ("g\r\n", "without a size"),
        ("zz\r\n", "without a size"),
        ("-1\r\n", "without a size"),
        ("+1\r\na\r\n", "without a size"),
        (" 1\r\na\r\n", "without a size"),
        ("\t1\r\na\r\n", "without a size"),
        ("1 \r\na\r\n", "no extension"),
        ("1 1\r\na\r\n", "no extension"),
        ("0x1\r\na\r\n", "no extension"),
        ("1_0\r\na\r\n", "no extension"),
        ("1,0\r\na\r\n", "no extension"),
        ("1.0\r\na\r\n", "no extension"),
        ("1h\r\na\r\n", "no extension"),
        ("10000000000000000\r\na\r\n", "1 to 16"),
        ("00000000000000001\r\na\r\n", "1 to 16"),
        ("1\na\n0\n\n", "bare LF"),
        ("1\r\na\n0\r\n\r\n", "longer than its size"),
        ("1\r\na\r0\r\n\r\n", "longer than its size"),
        ("1\r\nab\r\n0\r\n\r\n", "longer than its size"),
        ("2\r\na\r\n0\r\n\r\n", "longer than its size"),
        ("0\r\nx : y\r\n\r\n", "malformed"),
        ("0\r\nx: y\r\n z\r\n\r\n", "malformed"),
        ("0\r\nx: y\nz: a\r\n\r\n", "bare"),
        ("0\r\nGET /hidden HTTP/1.1\r\n\r\n", "malformed"),
    ];
    let head = "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let cases = cases.map(|(body, reason)| (format!("{head}{body}"), reason));
    refused(&gateway, &origin, 400, &borrowed(&cases)).await;
    // above the limit of a body, and within 64 bits
    let huge = format!("{head}ffffffffffffffff\r\na");
    let mut connection = Raw::connect(gateway.address()).await;
    connection.send(huge).await;
    connection.finish().await;
    connection.to_end().await;
    assert_eq!(gateway.get("/echo").await.status, 200);
}

#[tokio::test]
async fn section_7_1_1_chunk_extensions_are_short_and_few() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    let head = "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let long = format!("{head}1;{}\r\na\r\n0\r\n\r\n", "x".repeat(300));
    let endless = format!("{head}1;{}", "x".repeat(1 << 20));
    let many = format!(
        "{head}{}0\r\n\r\n",
        "1;a=\"bcdefghijklmnop\"\r\na\r\n".repeat(300)
    );
    let control = format!("{head}1;a\0b\r\na\r\n0\r\n\r\n");
    let carriage = format!("{head}1;a\rb\r\na\r\n0\r\n\r\n");
    let cases = [
        (long, "too long"),
        (endless, "too long"),
        (many, "more than 4 KiB"),
        (control, "no extension"),
        (carriage, "no extension"),
    ];
    refused(&gateway, &origin, 400, &borrowed(&cases)).await;
    let few = format!(
        "{}2;a=b;c=\"d e\"\r\nok\r\n0 ;x\r\n\r\n",
        head.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")
    );
    let text = raw(gateway.address(), few).await;
    assert!(
        text.starts_with("HTTP/1.1 200 ") && text.contains(r#""body":"ok""#),
        "{text}"
    );
}

#[tokio::test]
async fn section_7_1_2_trailers_do_not_become_what_a_head_says() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    let forbidden = [
        "content-length: 5",
        "transfer-encoding: chunked",
        "host: internal",
        "authorization: x",
        "cookie: a=b",
        "content-type: x/y",
        "x-forwarded-for: 10.0.0.1",
        "connection: x-digest",
        "te: gzip",
        "upgrade: h2c",
        "trailer: x",
        "cache-control: no-store",
    ];
    let request = format!(
        "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\ntrailer: x-digest\r\n\r\n2\r\nok\r\n0\r\n{}\r\nx-digest: 7\r\n\r\n",
        forbidden.join("\r\n")
    );
    let text = raw(gateway.address(), request).await;
    assert!(text.contains(r#""trailers":[["x-digest","7"]]"#), "{text}");
    let large = format!(
        "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: {}",
        "v".repeat(20_000)
    );
    let many = format!(
        "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n{}\r\n",
        "x: y\r\n".repeat(65)
    );
    refused(
        &gateway,
        &origin,
        400,
        &[(&large, "16 KiB"), (&many, "64 fields")],
    )
    .await;
}

#[tokio::test]
async fn section_8_what_is_cut_off_is_no_request() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    for bytes in [
        "GET /echo HTTP/1.1\r\nhost: a\r\n",
        "GET /echo HTTP/1.1\r\nhost: a\r\n\r",
        "GET /echo HTTP/1.1\r\nhost: a",
        "GET /echo",
        "\r\n",
    ] {
        let mut connection = Raw::connect(gateway.address()).await;
        connection.send(bytes).await;
        connection.finish().await;
        assert_eq!(connection.to_end().await, "", "{bytes:?}");
    }
    assert_eq!(origin.seen().len(), 0);
    for body in [
        "content-length: 10\r\n\r\nhello",
        "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: y\r\n",
    ] {
        let mut connection = Raw::connect(gateway.address()).await;
        connection
            .send(format!("POST /echo HTTP/1.1\r\nhost: a\r\n{body}"))
            .await;
        connection.finish().await;
        let text = connection.to_end().await;
        assert!(!text.contains("HTTP/1.1 200 "), "{body:?}: {text}");
    }
}

#[tokio::test]
async fn section_9_3_2_requests_behind_each_other_are_answered_in_order() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    let text = raw(
        gateway.address(),
        "POST /status/201 HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc\
         POST /status/202 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n\
         GET /status/203 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\nGET /hidden HTTP/1.1\r\nhost: a\r\n\r\n",
    )
    .await;
    let places = [201, 202, 203].map(|status| text.find(&format!("HTTP/1.1 {status}")));
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");
    // what comes behind `close` is nobody's (section 9.6)
    assert_eq!(origin.hits("/hidden"), 0);
}

#[tokio::test]
async fn section_9_6_an_http_1_0_connection_is_kept_only_if_asked_for() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    let text = raw(
        gateway.address(),
        "GET /status/201 HTTP/1.0\r\nhost: a\r\n\r\nGET /hidden HTTP/1.0\r\nhost: a\r\n\r\n",
    )
    .await;
    assert!(
        text.contains("connection: close") && text.matches("HTTP/1.1 ").count() == 1,
        "{text}"
    );
    assert_eq!(origin.hits("/hidden"), 0);
}
