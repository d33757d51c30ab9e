//! Bodies of APIs: compressed for clients, decompressed where they are looked into, converted between bytes and base64.

use std::io::{Read as _, Write as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use edgeward_tests::{Connection, Raw, Reply, ask, bytes, chunked, empty, guest, scripted_upstream, within};
use flate2::{
    Compression,
    read::{GzDecoder, ZlibDecoder},
    write::{GzEncoder, ZlibEncoder},
};
use http::Request;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::apis::{PETS, Site};

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn deflate(content: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// The body as it was before it was compressed.
fn plain(reply: &Reply) -> Vec<u8> {
    let body = &*reply.body;
    let mut out = Vec::new();
    match reply.header("content-encoding") {
        "" => out = body.to_vec(),
        "gzip" => drop(GzDecoder::new(body).read_to_end(&mut out).unwrap()),
        "deflate" => drop(ZlibDecoder::new(body).read_to_end(&mut out).unwrap()),
        "br" => drop(
            brotli::Decompressor::new(body, 4096)
                .read_to_end(&mut out)
                .unwrap(),
        ),
        "zstd" => out = zstd::decode_all(body).unwrap(),
        other => panic!("{other}"),
    }
    out
}

async fn send(
    site: &Site,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Reply {
    let builder = Request::builder().method(method).uri(path).header("host", PETS);
    let builder = fields
        .iter()
        .fold(builder, |builder, (name, value)| builder.header(*name, *value));
    let body = body.into();
    let body = if body.is_empty() { empty() } else { bytes(body) };
    ask(site.process.address(), builder, body).await
}

/// An API whose routes pass everything on.
fn passing(site: &Site, api: Value) -> Value {
    let mut api = api;
    api["integrations"] =
        json!({"web": {"type": "HTTP_PROXY", "uri": format!("http://{}", site.origin.endpoint())}});
    api["routes"] = json!({"ANY /{path+}": {"integration": "web"}});
    api["stages"] = json!({"$default": {"auto-deploy": true}});
    json!({"apis": {"pets": api}})
}

#[tokio::test]
async fn responses_are_compressed_for_clients_that_ask_for_it() {
    let site = Site::start();
    let api = json!({"protocol": "REST", "minimum-compression-size": "100B"});
    site.apply(passing(&site, api)).await;
    for (accept, expected) in [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=0.5, br", "br"),
        ("*", ""),
        ("gzip;q=0", ""),
        ("", ""),
    ] {
        let fields = [("accept-encoding", accept)];
        let fields = if accept.is_empty() { &[] } else { &fields[..] };
        let reply = send(&site, "GET", "/bytes/300000", fields, "").await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-encoding"), expected, "{accept}");
        assert_eq!(reply.header("vary"), "Accept-Encoding", "{accept}");
        assert!(plain(&reply) == vec![b'x'; 300_000], "{accept}");
        assert!(
            expected.is_empty() || reply.body.len() < 3000,
            "{accept}: {} bytes",
            reply.body.len()
        );
    }
    let mut h2 = Connection::h2(site.process.address()).await;
    let request = Request::get("/bytes/300000")
        .header("host", PETS)
        .header("accept-encoding", "br");
    let reply = h2.send(request, empty()).await;
    assert_eq!(reply.header("content-encoding"), "br");
    assert!(plain(&reply) == vec![b'x'; 300_000]);
    // in memory: the length is known
    let reply = send(
        &site,
        "POST",
        "/echo",
        &[("accept-encoding", "gzip")],
        "x".repeat(200),
    )
    .await;
    assert_eq!(reply.header("content-encoding"), "gzip");
    assert!(
        String::from_utf8(plain(&reply))
            .unwrap()
            .contains(&"x".repeat(200))
    );
}

#[tokio::test]
async fn what_is_small_or_partial_or_coded_already_stays_as_it_is() {
    let site = Site::start();
    let api = json!({"protocol": "HTTP", "minimum-compression-size": "6B"});
    site.apply(passing(&site, api)).await;
    let asked = [("accept-encoding", "gzip")];
    for (path, method, vary) in [
        ("/status/204", "GET", ""),
        ("/status/206", "GET", ""),
        ("/fields?content-encoding=br", "GET", ""),
        ("/fields?cache-control=no-transform", "GET", ""),
        ("/fields?content-type=text/event-stream", "GET", ""),
        ("/bytes/5", "GET", "Accept-Encoding"),
        ("/fields", "HEAD", "Accept-Encoding"),
    ] {
        let reply = send(&site, method, path, &asked, "").await;
        let coding = reply.header("content-encoding");
        assert_eq!(coding == "gzip", path == "/bytes/5", "{path}: {coding}");
        assert_eq!(reply.header("vary"), vary, "{method} {path}");
    }
    let upstream = scripted_upstream(
        b"HTTP/1.1 200 OK\r\netag: \"a\"\r\ncontent-digest: x\r\nvary: x-a\r\nconnection: close\r\ncontent-length: 6\r\n\r\nfields",
    )
    .await;
    for (least, coding, tag) in [("6B", "gzip", "W/\"a\""), ("7B", "", "\"a\"")] {
        let mut api = passing(
            &site,
            json!({"protocol": "HTTP", "minimum-compression-size": least}),
        );
        api["apis"]["pets"]["integrations"]["web"]["uri"] = json!(format!("http://{upstream}"));
        site.apply(api).await;
        let reply = send(&site, "GET", "/x", &asked, "").await;
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&plain(&reply)));
        assert_eq!(
            (reply.header("content-encoding"), reply.header("etag")),
            (coding, tag)
        );
        assert_eq!(plain(&reply), b"fields");
        assert_eq!(reply.header("content-digest").is_empty(), coding == "gzip");
        let vary: Vec<_> = reply.headers.get_all("vary").iter().collect();
        assert_eq!(vary.len(), if coding == "gzip" { 2 } else { 1 }, "{vary:?}");
    }
}

#[tokio::test]
async fn the_apigw_profile_knows_the_codings_of_aws() {
    let site = Site::start();
    let api = json!({"protocol": "REST", "profile": "apigw", "minimum-compression-size": 0});
    site.apply(passing(&site, api)).await;
    for (accept, expected) in [
        ("br, zstd", ""),
        ("br, gzip;q=0.1", "gzip"),
        ("deflate", "deflate"),
    ] {
        let reply = send(&site, "GET", "/text/a", &[("accept-encoding", accept)], "").await;
        assert_eq!(reply.header("content-encoding"), expected, "{accept}");
        assert_eq!(plain(&reply), b"some plain text");
    }
}

#[tokio::test]
async fn a_stream_that_is_compressed_is_not_held_back() {
    let site = Site::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut api = passing(&site, json!({"minimum-compression-size": "1MiB"}));
    api["apis"]["pets"]["integrations"]["web"]["uri"] =
        json!(format!("http://{}", listener.local_addr().unwrap()));
    site.apply(api).await;
    let mut client = Connection::h1(site.process.address()).await;
    let request = Request::get("/slow")
        .header("host", PETS)
        .header("accept-encoding", "gzip");
    let asked = tokio::spawn(async move { client.open(request, empty()).await.unwrap() });
    let (stream, _) = within("the gateway", listener.accept()).await.unwrap();
    let mut upstream = Raw::from(stream);
    upstream.until("\r\n\r\n").await;
    upstream
        .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        .await;
    let response = within("the head", asked).await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let mut body = response.into_body();
    let mut seen = Vec::new();
    for (text, next) in [("first", "6\r\nsecond\r\n"), ("second", "0\r\n\r\n")] {
        loop {
            let frame = within(text, http_body_util::BodyExt::frame(&mut body))
                .await
                .unwrap()
                .unwrap();
            seen.extend_from_slice(&frame.into_data().unwrap());
            let mut sofar = Vec::new();
            drop(GzDecoder::new(&*seen).read_to_end(&mut sofar));
            if sofar.ends_with(text.as_bytes()) {
                break;
            }
        }
        upstream.send(next).await;
    }
    let rest = within("the end", http_body_util::BodyExt::collect(body))
        .await
        .unwrap()
        .to_bytes();
    seen.extend_from_slice(&rest);
    let mut all = String::new();
    GzDecoder::new(&*seen).read_to_string(&mut all).unwrap();
    assert_eq!(all, "firstsecond");
}

#[tokio::test]
async fn compressed_requests_are_read_where_they_are_looked_into_and_pass_elsewhere() {
    let site = Site::start();
    site.apply(json!({"apis": {"pets": {
        "protocol": "REST",
        "profile": "apigw",
        "models": {"Pet": {"schema": {"type": "object", "required": ["name"]}}},
        "validators": {"all": {"body": true}},
        "integrations": {
            "web": {"type": "HTTP_PROXY", "uri": site.web("/echo")},
            "mapped": {"type": "HTTP_PROXY", "uri": site.web("/echo"), "request-parameters": {"integration.request.header.x-name": "method.request.body.name"}},
        },
        "routes": {
            "POST /checked": {"integration": "web", "validator": "all", "request-models": {"application/json": "Pet"}},
            "POST /mapped": {"integration": "mapped"},
            "POST /passed": {"integration": "web"},
        },
        "stages": {"prod": {"auto-deploy": true}},
    }}}))
    .await;
    let body = r#"{"name": "rex"}"#;
    for (coding, content) in [
        ("gzip", gzip(body.as_bytes())),
        ("deflate", deflate(body.as_bytes())),
        ("identity", body.into()),
    ] {
        let fields = [("content-type", "application/json"), ("content-encoding", coding)];
        for path in ["/prod/checked", "/prod/mapped"] {
            let reply = send(&site, "POST", path, &fields, content.clone()).await;
            assert_eq!(reply.status, 200, "{coding} {path}: {}", reply.text());
            assert_eq!(reply.json()["body"], body);
            assert_eq!(
                (
                    reply.echoed("content-encoding").as_str(),
                    reply.echoed("content-length").as_str()
                ),
                ("", "15")
            );
        }
        let reply = send(&site, "POST", "/prod/mapped", &fields, content.clone()).await;
        assert_eq!(reply.echoed("x-name"), "rex");
        let reply = send(&site, "POST", "/prod/passed", &fields, content.clone()).await;
        assert_eq!(reply.json()["body-bytes"], content.len(), "{coding}");
        assert_eq!(reply.echoed("content-encoding"), coding);
    }
    let mut cut = gzip(body.as_bytes());
    cut.truncate(cut.len() - 3);
    for (coding, content, status) in [
        ("gzip", cut, 415),
        ("gzip", body.into(), 415),
        ("br", body.into(), 415),
        ("gzip, gzip", gzip(&gzip(body.as_bytes())), 415),
        ("gzip", gzip(&vec![b' '; 20 << 20]), 413),
        ("gzip", gzip(b"{}"), 400),
    ] {
        let fields = [("content-type", "application/json"), ("content-encoding", coding)];
        let reply = send(&site, "POST", "/prod/checked", &fields, content.clone()).await;
        assert_eq!(reply.status, status, "{coding}: {}", reply.text());
        let passed = send(&site, "POST", "/prod/passed", &fields, content).await;
        assert_eq!(passed.status, 200, "{coding}: {}", passed.text());
    }
    let fields = [("content-encoding", "br")];
    let reply = send(&site, "POST", "/prod/checked", &fields, body).await;
    assert_eq!(reply.header("accept-encoding"), "gzip, deflate");
    assert_eq!(reply.json()["message"], "Unsupported Media Type");
    // without a length, in pieces
    let pieces = gzip(body.as_bytes())
        .chunks(3)
        .map(Bytes::copy_from_slice)
        .collect();
    let request = Request::post("/prod/checked")
        .header("host", PETS)
        .header("content-encoding", "gzip");
    let reply = ask(site.process.address(), request, chunked(pieces)).await;
    assert_eq!((reply.status, reply.json()["body"].as_str()), (200, Some(body)));
}

/// Bytes that are no text.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\x00\xff";

#[tokio::test]
async fn the_apigw_profile_converts_between_bytes_and_base64_as_its_tables_say() {
    let site = Site::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let web = |path: &str| format!("http://{address}{path}");
    let api = |profile: &str| {
        let mock = |handling: &str| {
            json!({
                "type": "MOCK",
                "request-templates": {"application/json": "{\"statusCode\": 200}"},
                "responses": [{"status": 200, "templates": {"text/plain": STANDARD.encode(PNG)}, "content-handling": handling}],
            })
        };
        let http = |handling: Value| {
            let mut response = json!({"status": 200});
            if !handling.is_null() {
                response["content-handling"] = handling;
            }
            json!({"type": "HTTP", "uri": web("/image"), "responses": [response]})
        };
        json!({"apis": {"pets": {
            "protocol": "REST",
            "profile": profile,
            "binary-media-types": ["image/png"],
            "integrations": {
                "to-binary": {"type": "HTTP_PROXY", "uri": site.web("/echo"), "content-handling": "CONVERT_TO_BINARY"},
                "to-text": {"type": "HTTP", "uri": site.web("/echo"), "content-handling": "CONVERT_TO_TEXT", "responses": [{"status": 200}]},
                "image": {"type": "HTTP_PROXY", "uri": web("/image")},
                "image-said": http(Value::Null),
                "image-text": http(json!("CONVERT_TO_TEXT")),
                "image-binary": http(json!("CONVERT_TO_BINARY")),
                "mock": mock("CONVERT_TO_BINARY"),
                "mock-text": mock("CONVERT_TO_TEXT"),
            },
            "routes": {
                "POST /to-binary": {"integration": "to-binary"},
                "POST /to-text": {"integration": "to-text"},
                "GET /image": {"integration": "image"},
                "GET /image-said": {"integration": "image-said"},
                "GET /image-text": {"integration": "image-text"},
                "GET /image-binary": {"integration": "image-binary"},
                "GET /mock": {"integration": "mock"},
                "GET /mock-text": {"integration": "mock-text"},
            },
            "stages": {"prod": {"auto-deploy": true}},
        }}})
    };
    let images = async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut client = Raw::from(stream);
                client.until("\r\n\r\n").await;
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: image/png\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    PNG.len()
                );
                client.send([head.as_bytes(), PNG].concat()).await;
                client.finish().await;
            });
        }
    };
    tokio::spawn(images);
    site.apply(api("apigw")).await;
    let coded = STANDARD.encode(PNG);
    let post = async |path: &str, kind: &str, body: &[u8]| {
        send(&site, "POST", path, &[("content-type", kind)], body.to_vec()).await
    };
    // requests: text becomes bytes, bytes become text
    let reply = post("/prod/to-binary", "text/plain", coded.as_bytes()).await;
    assert_eq!(reply.json()["body-bytes"], PNG.len(), "{}", reply.text());
    let reply = post("/prod/to-binary", "image/png", coded.as_bytes()).await;
    assert_eq!(reply.json()["body"], coded);
    let reply = post("/prod/to-text", "image/png", PNG).await;
    assert_eq!(reply.json()["body"], coded);
    assert_eq!(reply.echoed("content-length"), coded.len().to_string());
    let reply = post("/prod/to-binary", "text/plain", b"no base64!").await;
    assert_eq!(
        (reply.status, reply.header("x-amzn-errortype")),
        (500, "InternalServerErrorException")
    );
    // its length is enough to refuse it
    let mut large = Raw::connect(site.process.address()).await;
    let head = format!(
        "POST /prod/to-binary HTTP/1.1\r\nhost: {PETS}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n",
        11 << 20
    );
    large.send(head).await;
    let refused = large.until("\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 413 "), "{refused}");
    // responses: by the first type of `Accept`, or by what the integration says
    for (path, accept, expected) in [
        ("/image", "image/png, text/html", PNG),
        ("/image", "text/html, image/png", coded.as_bytes()),
        ("/image", "", coded.as_bytes()),
        ("/image-said", "image/png", PNG),
        ("/image-said", "text/html", coded.as_bytes()),
        ("/image-text", "image/png", coded.as_bytes()),
        ("/image-binary", "text/html", PNG),
        ("/mock", "text/html", PNG),
        ("/mock-text", "image/png", coded.as_bytes()),
    ] {
        let fields = [("accept", accept)];
        let fields = if accept.is_empty() { &[] } else { &fields[..] };
        let reply = send(&site, "GET", &format!("/prod{path}"), fields, "").await;
        assert_eq!(reply.status, 200, "{path} {accept}: {}", reply.text());
        assert!(*reply.body == *expected, "{path} {accept}: {:?}", reply.body);
    }
    // elsewhere bytes are bytes
    site.apply(api("native")).await;
    for path in ["/image", "/image-said", "/image-text", "/image-binary"] {
        let reply = send(
            &site,
            "GET",
            &format!("/prod{path}"),
            &[("accept", "text/html")],
            "",
        )
        .await;
        assert!(*reply.body == *PNG, "{path}: {:?}", reply.body);
    }
    let reply = post("/prod/to-text", "image/png", PNG).await;
    assert_eq!(reply.json()["body-bytes"], PNG.len());
}

#[tokio::test]
async fn a_signature_is_of_what_was_sent_where_a_body_is_decompressed() {
    let site = Site::with_config(|config, _folder| {
        config["plugins"]["verdict"] = json!({"module": guest("verdict")});
    });
    site.apply(json!({"apis": {"pets": {
        "protocol": "REST",
        "profile": "apigw",
        "authorizers": {"who": {"plugin": "verdict"}},
        "models": {"Pet": {"schema": {"type": "object", "required": ["name"]}}},
        "validators": {"all": {"body": true}},
        "integrations": {"echo": {"type": "HTTP_PROXY", "uri": site.web("/echo"), "request-parameters": {
            "integration.request.header.x-digest": "context.authorizer.digest",
            "integration.request.header.x-sent": "context.authorizer.sent",
        }}},
        "routes": {"POST /pets": {"integration": "echo", "authorizer": "who", "validator": "all", "request-models": {"application/json": "Pet"}}},
        "stages": {"prod": {"auto-deploy": true}},
    }}}))
    .await;
    let fields = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let body = r#"{"name": "rex"}"#;
    let sent = gzip(body.as_bytes());
    let reply = send(&site, "POST", "/prod/pets", &fields, sent.clone()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &sent);
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(reply.echoed("x-digest"), digest);
    assert!(reply.echoed("x-sent").contains("content-encoding: gzip"));
    // the server has what it was before it was compressed
    assert_eq!(reply.json()["body"], body);
    assert_eq!(reply.echoed("content-encoding"), "");
    // who may not call is told so, whatever the body is
    let denied = [&fields[..], &[("x-verdict", r#"{"deny": {"status": 401}}"#)]].concat();
    for body in [sent, gzip(b"{}"), b"no gzip".to_vec()] {
        let reply = send(&site, "POST", "/prod/pets", &denied, body).await;
        assert_eq!(reply.status, 401, "{}", reply.text());
    }
}
