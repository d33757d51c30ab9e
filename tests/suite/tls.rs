//! TLS towards clients and towards origins.

use std::time::{Duration, SystemTime};

use edgeward_tests::{
    Ca, Connection, Gateway, Issued, Origin, Raw, eventually, record_logs, wait_for_log, within,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

async fn gateway(ca: &Ca, folder: TempDir, tls: Value, origin: &Origin) -> Gateway {
    ca.issue(&["a.example", "127.0.0.1"]).write(folder.path(), "a");
    ca.issue(&["b.example"]).write(folder.path(), "b");
    ca.issue(&["*.wild.example"]).write(folder.path(), "wild");
    let mut settings = json!({"certificates": [
        {"cert": "a.crt", "key": "a.key"},
        {"cert": "b.crt", "key": "b.key"},
        {"cert": "wild.crt", "key": "wild.key"},
    ]});
    settings
        .as_object_mut()
        .unwrap()
        .extend(tls.as_object().unwrap().clone());
    Gateway::start_in(
        folder,
        json!({
            "listeners": [{"address": "127.0.0.1:0", "tls": settings}],
            "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
            "plugins": {"sink": {"module": "kitchen-sink"}},
            "routes": [{"path": "/{path+}", "upstream": "origin", "pipeline": ["sink"]}],
        }),
    )
    .await
}

#[tokio::test]
async fn the_certificate_follows_the_name_that_is_asked_for() {
    let (origin, ca) = (Origin::start(), Ca::new());
    let gateway = gateway(&ca, tempfile::tempdir().unwrap(), json!({}), &origin).await;
    let client = ca.client(&["h2", "http/1.1"], None);
    let mut certificates = Vec::new();
    for name in ["a.example", "b.example", "x.wild.example"] {
        let mut connection = Connection::tls(gateway.address(), name, &client).await.unwrap();
        assert!(connection.is_h2(), "ALPN prefers HTTP/2");
        assert_eq!(connection.get("/echo").await.status, 200);
        certificates.push(connection.certificate.unwrap());
    }
    certificates.dedup();
    assert_eq!(certificates.len(), 3);
    // the first certificate is shown for other names, which the client does not take
    assert!(
        Connection::tls(gateway.address(), "c.example", &client)
            .await
            .is_err()
    );
    // by address there is no server name at all
    assert!(
        Connection::tls(gateway.address(), "127.0.0.1", &client)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn alpn_decides_the_protocol_and_plugins_see_the_connection() {
    let (origin, ca) = (Origin::start(), Ca::new());
    let gateway = gateway(&ca, tempfile::tempdir().unwrap(), json!({}), &origin).await;
    for (protocols, h2) in [(&["http/1.1"][..], false), (&[], false), (&["h2"], true)] {
        let mut connection = Connection::tls(gateway.address(), "a.example", &ca.client(protocols, None))
            .await
            .unwrap();
        assert_eq!(connection.is_h2(), h2, "{protocols:?}");
        let request = http::Request::get("/echo").header("x-sink", "head");
        let report = connection.send(request, edgeward_tests::empty()).await.json();
        assert_eq!(report["ok"]["request"]["scheme"], "https");
        let peer = &report["ok"]["exchange"]["peer"];
        assert_eq!(
            (peer["tls-version"].as_str(), peer["sni"].as_str()),
            (Some("1.3"), Some("a.example"))
        );
        assert_eq!(peer["client-certificate"], Value::Null);
        let reply = connection.get("/echo").await;
        assert_eq!(reply.echoed("x-forwarded-proto"), "https");
    }
}

#[tokio::test]
async fn client_certificates_are_required_checked_and_shown_to_plugins() {
    let (origin, ca, stranger) = (Origin::start(), Ca::new(), Ca::new());
    let folder = tempfile::tempdir().unwrap();
    let file = ca.write(folder.path());
    let gateway = gateway(&ca, folder, json!({"client-auth": {"ca": file}}), &origin).await;
    let identity = ca.issue(&["client.example"]);
    let mut connection = Connection::tls(
        gateway.address(),
        "a.example",
        &ca.client(&["http/1.1"], Some(&identity)),
    )
    .await
    .unwrap();
    assert_eq!(shown(&mut connection).await, identity.cert_hex());
    let foreign = stranger.issue(&["client.example"]);
    for config in [
        ca.client(&["http/1.1"], None),
        ca.client(&["http/1.1"], Some(&foreign)),
    ] {
        // with TLS 1.3 a refusal arrives after the client believes the handshake is over
        if let Ok(mut connection) = Connection::tls(gateway.address(), "a.example", &config).await {
            assert!(
                connection
                    .try_send(http::Request::get("/echo"), edgeward_tests::empty())
                    .await
                    .is_err()
            );
        }
    }
}

/// The client's certificate that plugins see on a connection, in hex.
async fn shown(connection: &mut Connection) -> Value {
    let request = http::Request::get("/echo").header("x-sink", "head");
    let report = connection.send(request, edgeward_tests::empty()).await.json();
    report["ok"]["exchange"]["peer"]["client-certificate"].clone()
}

/// Whether a client with this certificate is served.
async fn is_served(gateway: &Gateway, ca: &Ca, identity: &Issued) -> bool {
    is_served_for(gateway, "a.example", ca, Some(identity)).await
}

/// Whether a client with this certificate, or without any, is served on a connection for a name.
async fn is_served_for(gateway: &Gateway, name: &str, ca: &Ca, identity: Option<&Issued>) -> bool {
    let client = ca.client(&["http/1.1"], identity);
    let Ok(mut connection) = Connection::tls(gateway.address(), name, &client).await else {
        return false;
    };
    let request = http::Request::get("/echo").header("host", name);
    let answer = connection.try_send(request, edgeward_tests::empty()).await;
    answer.is_ok_and(|reply| reply.status == 200)
}

#[tokio::test]
async fn chains_of_client_certificates_have_a_depth() {
    let (origin, ca) = (Origin::start(), Ca::new());
    let below = ca.subordinate("one below");
    let (direct, one, two) = (
        ca.issue(&["direct"]),
        below.issue(&["one"]),
        below.subordinate("two below").issue(&["two"]),
    );
    for (depth, served) in [
        (0, [true, false, false]),
        (1, [true, true, false]),
        (3, [true, true, true]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let tls = json!({"client-auth": {"ca": ca.write(folder.path()), "depth": depth}});
        let gateway = gateway(&ca, folder, tls, &origin).await;
        for (identity, served) in [&direct, &one, &two].into_iter().zip(served) {
            assert_eq!(is_served(&gateway, &ca, identity).await, served, "depth {depth}");
        }
    }
}

#[tokio::test]
async fn revoked_client_certificates_are_refused_and_so_are_all_without_a_current_list() {
    let (origin, ca) = (Origin::start(), Ca::new());
    let below = ca.subordinate("below");
    let (good, revoked, unlisted) = (
        ca.issue(&["good"]),
        ca.issue(&["revoked"]),
        below.issue(&["unlisted"]),
    );
    let day = Duration::from_hours(24);
    for (next_update, served) in [
        (SystemTime::now() + day, [true, false, false]),
        (SystemTime::now() - day, [false, false, false]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let list = ca.revoke(&[&revoked], next_update);
        std::fs::write(folder.path().join("crl.pem"), list).unwrap();
        let tls = json!({"client-auth": {"ca": ca.write(folder.path()), "crl": ["crl.pem"]}});
        let gateway = gateway(&ca, folder, tls, &origin).await;
        for (identity, served) in [&good, &revoked, &unlisted].into_iter().zip(served) {
            assert_eq!(is_served(&gateway, &ca, identity).await, served);
        }
    }
}

#[tokio::test]
async fn a_domain_has_its_own_rule_and_no_connection_of_another_gets_around_it() {
    record_logs();
    let (origin, ca) = (Origin::start(), Ca::new());
    let folder = tempfile::tempdir().unwrap();
    let file = ca.write(folder.path());
    let tls = json!({"domains": [{"names": ["b.example", "*.wild.example"], "client-auth": {"ca": file}}]});
    let gateway = gateway(&ca, folder, tls, &origin).await;
    let identity = ca.issue(&["client.example"]);
    let clients = ["h2", "http/1.1"]
        .map(|protocol| [None, Some(&identity)].map(|identity| ca.client(&[protocol], identity)));
    let ask = async |opened_for: &str, client, host: &str| {
        let mut connection = Connection::tls(gateway.address(), opened_for, client)
            .await
            .ok()?;
        let request = http::Request::get("/echo").header("host", host);
        let reply = connection.try_send(request, edgeward_tests::empty()).await.ok()?;
        Some(reply.status)
    };
    for (opened_for, host, by_anonymous, by_known) in [
        ("a.example", "a.example", Some(200), Some(200)),
        ("b.example", "b.example", None, Some(200)),
        ("b.example", "x.wild.example:443", None, Some(200)),
        ("a.example", "b.example", Some(421), Some(421)),
        ("a.example", "B.Example.:8443", Some(421), Some(421)),
        ("a.example", "x.wild.example", Some(421), Some(421)),
        ("127.0.0.1", "b.example", Some(421), Some(421)),
        ("b.example", "a.example", None, Some(421)),
    ] {
        let who = format!("{host} on a connection for {opened_for}");
        for [anonymous, known] in &clients {
            assert_eq!(
                ask(opened_for, anonymous, host).await,
                by_anonymous,
                "anonymous, {who}"
            );
            assert_eq!(ask(opened_for, known, host).await, by_known, "known, {who}");
        }
    }
    wait_for_log(&[
        "\"client_subject\":\"CN=client.example\"",
        "\"host\":\"b.example\"",
    ])
    .await;
}

#[tokio::test]
async fn a_client_without_a_certificate_can_read_why_it_is_refused_while_it_sends() {
    let (origin, ca) = (Origin::start(), Ca::new());
    let folder = tempfile::tempdir().unwrap();
    let tls = json!({"client-auth": {"ca": ca.write(folder.path())}});
    let gateway = gateway(&ca, folder, tls, &origin).await;
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    let tls = TlsConnector::from(ca.client(&[], None));
    // for the client the handshake is over when it has sent its part
    let stream = tls
        .connect("a.example".try_into().unwrap(), stream)
        .await
        .unwrap();
    let (mut stream, mut session) = stream.into_inner();
    let mut said = Vec::new();
    within("the alert", stream.read_to_end(&mut said)).await.unwrap();
    session.read_tls(&mut &*said).unwrap();
    let alert = session.process_new_packets().unwrap_err();
    assert!(alert.to_string().contains("CertificateRequired"), "{alert}");
    for _ in 0..2 {
        // after the first the kernel would say that nobody is there
        stream.write_all(b"a part of a request").await.unwrap();
    }
}

#[tokio::test]
async fn client_certificates_can_be_optional() {
    let (origin, ca) = (Origin::start(), Ca::new());
    let folder = tempfile::tempdir().unwrap();
    let file = ca.write(folder.path());
    let tls = json!({"client-auth": {"ca": file, "required": false}});
    let gateway = gateway(&ca, folder, tls, &origin).await;
    let identity = ca.issue(&["client.example"]);
    for (identity, expected) in [(None, Value::Null), (Some(&identity), json!(identity.cert_hex()))] {
        let client = ca.client(&["http/1.1"], identity);
        let mut connection = Connection::tls(gateway.address(), "a.example", &client)
            .await
            .unwrap();
        assert_eq!(connection.get("/echo").await.status, 200);
        assert_eq!(shown(&mut connection).await, expected);
    }
    // one that does not hold is no certificate at all, and no way in
    let seen = origin.seen().len();
    let (now, day) = (SystemTime::now(), Duration::from_hours(24));
    for refused in [
        Ca::new().issue(&["client.example"]),
        ca.issue_between(&["client.example"], now - 2 * day, now - day),
        ca.issue_between(&["client.example"], now + day, now + 2 * day),
    ] {
        assert!(!is_served(&gateway, &ca, &refused).await);
    }
    assert_eq!(origin.seen().len(), seen);
}

#[tokio::test]
async fn a_rule_of_a_domain_has_its_own_truststore_depth_and_lists_and_may_be_optional() {
    let (origin, ca, clients) = (Origin::start(), Ca::new(), Ca::new());
    let below = clients.subordinate("below");
    let (good, revoked, longer, foreign) = (
        clients.issue(&["good"]),
        clients.issue(&["revoked"]),
        below.issue(&["longer"]),
        ca.issue(&["foreign"]),
    );
    let later = SystemTime::now() + Duration::from_hours(24);
    let each = [
        ("nobody", None),
        ("good", Some(&good)),
        ("revoked", Some(&revoked)),
        ("longer", Some(&longer)),
        ("foreign", Some(&foreign)),
    ];
    for (rule, served) in [
        (json!({}), [false, true, true, true, false]),
        (json!({"depth": 0}), [false, true, true, false, false]),
        (
            json!({"crl": ["crl.pem"], "depth": 0}),
            [false, true, false, false, false],
        ),
        // the list of the one below is missing
        (json!({"crl": ["crl.pem"]}), [false, true, false, false, false]),
        (
            json!({"crl": ["crl.pem", "below.pem"]}),
            [false, true, false, true, false],
        ),
        (json!({"required": false}), [true, true, true, true, false]),
        (
            json!({"required": false, "crl": ["crl.pem"], "depth": 0}),
            [true, true, false, false, false],
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("crl.pem"), clients.revoke(&[&revoked], later)).unwrap();
        std::fs::write(folder.path().join("below.pem"), below.revoke(&[], later)).unwrap();
        let mut auth = json!({"ca": clients.write(folder.path())});
        auth.as_object_mut()
            .unwrap()
            .extend(rule.as_object().unwrap().clone());
        let tls = json!({"domains": [{"names": ["b.example"], "client-auth": auth}]});
        let gateway = gateway(&ca, folder, tls, &origin).await;
        for ((who, identity), served) in each.into_iter().zip(served) {
            let is_served = is_served_for(&gateway, "b.example", &ca, identity).await;
            assert_eq!(is_served, served, "{rule}: {who}");
        }
        // the listener's own rule, which asks nobody, holds for the others
        assert!(is_served_for(&gateway, "a.example", &ca, None).await, "{rule}");
        // what is shown to plugins is the client's own, not what leads to the root
        if served[3] {
            let client = ca.client(&["h2"], Some(&longer));
            let mut connection = Connection::tls(gateway.address(), "b.example", &client)
                .await
                .unwrap();
            let request = http::Request::get("/echo")
                .header("x-sink", "head")
                .header("host", "b.example");
            let report = connection.send(request, edgeward_tests::empty()).await.json();
            let peer = &report["ok"]["exchange"]["peer"];
            assert_eq!(peer["client-certificate"], longer.cert_hex());
        }
    }
}

#[tokio::test]
async fn cleartext_on_a_tls_port_is_turned_away_and_counted() {
    let (origin, ca) = (Origin::start(), Ca::new());
    let gateway = gateway(&ca, tempfile::tempdir().unwrap(), json!({}), &origin).await;
    let mut connection = Raw::connect(gateway.address()).await;
    connection.send("GET /echo HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(!connection.to_end().await.contains("HTTP/1.1"));
    assert_eq!(origin.seen().len(), 0);
    // the client may see the end before the gateway counts it
    eventually("the failed handshake is counted", async || {
        let metrics = gateway.metrics();
        let mut lines = metrics.lines();
        lines
            .any(|line| line.contains("handshake") && line.ends_with(" 1"))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.crt"), "no certificate").unwrap();
    let started = Gateway::try_start(
        folder,
        json!({
            "listeners": [{"address": "127.0.0.1:0", "tls": {"certificates": [{"cert": "bad.crt", "key": "missing.key"}]}}],
            "routes": [{"path": "/", "respond": {"status": 200}}],
        }),
    );
    let problem = started.await.err().unwrap();
    assert!(
        problem.contains("listeners[0].tls") && problem.contains("bad.crt"),
        "{problem}"
    );
}

#[tokio::test]
async fn origins_are_reached_over_tls_only_with_a_certificate_that_holds() {
    let (ca, stranger) = (Ca::new(), Ca::new());
    let folder = tempfile::tempdir().unwrap();
    let _path = ca.write(folder.path());
    let good = Origin::tls(ca.issue(&["origin.example"]).server(&["h2", "http/1.1"]));
    let foreign = Origin::tls(stranger.issue(&["origin.example"]).server(&["http/1.1"]));
    let misnamed = Origin::tls(ca.issue(&["other.example"]).server(&["http/1.1"]));
    let upstream = |origin: &Origin, protocol: &str| {
        json!({"endpoints": [origin.endpoint()], "protocol": protocol,
            "tls": {"server-name": "origin.example", "ca": "ca.pem"}})
    };
    let gateway = Gateway::start_in(folder, json!({
        "upstreams": {
            "good": upstream(&good, "http1"), "good-h2": upstream(&good, "http2"),
            "foreign": upstream(&foreign, "http1"), "misnamed": upstream(&misnamed, "http1"),
        },
        "routes": [
            {"path": "/good/{p+}", "upstream": "good"}, {"path": "/good-h2/{p+}", "upstream": "good-h2"},
            {"path": "/foreign/{p+}", "upstream": "foreign"}, {"path": "/misnamed/{p+}", "upstream": "misnamed"},
        ],
    }))
    .await;
    assert_eq!(gateway.get("/good/x").await.json()["version"], "HTTP/1.1");
    assert_eq!(gateway.get("/good-h2/x").await.json()["version"], "HTTP/2.0");
    for path in ["/foreign/x", "/misnamed/x"] {
        let reply = gateway.get(path).await;
        assert_eq!(
            (reply.status, reply.response_type().as_str()),
            (502, "UPSTREAM_TLS"),
            "{path}"
        );
    }
    assert_eq!((foreign.seen().len(), misnamed.seen().len()), (0, 0));
}
