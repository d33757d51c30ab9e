//! What functions behind `lambda-authorizer` are told of a request, by what the API says alone, and who is known by a certificate.

use std::{net::SocketAddr, sync::Arc};

use edgeward_tests::{Ca, Connection, Issued, Raw, Reply, empty, guest, serve};
use http::Request;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use crate::{
    apis::{PETS, Site},
    authorizers::{policy, statement},
};

/// What functions were told.
type Events = Arc<Mutex<Vec<Value>>>;

/// A function that lets callers do exactly what they ask for.
async fn function() -> (SocketAddr, Events) {
    let events = Events::default();
    let heard = Arc::clone(&events);
    let (address, _serving) = serve(move |connection| answer(connection, Arc::clone(&heard))).await;
    (address, events)
}

async fn answer(mut connection: Raw, heard: Events) {
    let head = connection.until("\r\n\r\n").await.to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length = length.unwrap().parse().unwrap();
    let event: Value = serde_json::from_slice(&connection.bytes(length).await).unwrap();
    let arn = event.get("methodArn").or(event.get("routeArn"));
    let allowed = policy(&[statement("Allow", arn.unwrap().as_str().unwrap())]);
    let body = json!({"principalId": "ada", "policyDocument": allowed}).to_string();
    heard.lock().push(event);
    connection.answer_json("200 OK", &body).await;
}

/// Adds a function in some forms of payloads, as the plugins `function-0` and so on: its code is compiled once. Who calls, the API says.
fn with_functions<'a>(config: &mut Value, function: SocketAddr, forms: impl IntoIterator<Item = &'a Value>) {
    config["aws"] = json!({"region": "eu-west-1", "account-id": "123456789012"});
    for (number, form) in forms.into_iter().enumerate() {
        let mut settings = form.clone();
        settings["function"] =
            json!({"url": {"address": format!("http://{function}/")}, "allow-plain-http": true});
        config["plugins"][format!("function-{number}")] = json!({
            "module": guest("lambda-authorizer"),
            "grants": {"http": {"hosts": [function.to_string()], "private-addresses": true}},
            "config": settings,
        });
    }
}

/// Deploys an API whose callers the plugin `function-N` decides about.
async fn deciding(site: &Site, number: usize, profile: &str, protocol: &str, sources: &[&str]) {
    let asks = json!({"integration": "echo", "authorizer": "who"});
    site.apply(json!({"apis": {"pets": {
        "protocol": protocol,
        "profile": profile,
        "authorizers": {"who": {"plugin": format!("function-{number}"), "identity-sources": sources, "result-ttl": "5m"}},
        "integrations": {"echo": {"type": "HTTP_PROXY", "uri": site.web("/echo")}},
        "routes": {"GET /b/{id}": asks, "POST /b/{id}": asks},
        "stages": {"prod": {"auto-deploy": true, "variables": {"env": "blue"}}},
    }}}))
    .await;
}

const ARN: &str = "arn:aws:execute-api:eu-west-1:123456789012:pets/prod/GET/b/7";

/// The places of an event, with what has to be there.
fn holds(event: &Value, places: &Value) {
    let places: &Map<String, Value> = places.as_object().unwrap();
    for (place, wanted) in places {
        assert_eq!(
            event.pointer(place).unwrap_or(&Value::Null),
            wanted,
            "{place}: {event}"
        );
    }
}

#[tokio::test]
async fn functions_are_told_what_the_api_tells_callers_apart_by() {
    let rest = ["method.request.header.X-Token", "method.request.querystring.lane"];
    let http = ["$request.header.X-Token", "$request.querystring.lane"];
    let v1 = json!({
        "/type": "REQUEST",
        "/methodArn": ARN,
        "/resource": "/b/{id}",
        "/httpMethod": "GET",
        "/headers/X-Token": "abc",
        "/multiValueHeaders/X-Token": ["abc"],
        "/queryStringParameters/lane": "1",
        "/multiValueQueryStringParameters/lane": ["1"],
        "/pathParameters": {"id": "7"},
        "/stageVariables": {"env": "blue"},
        "/requestContext/accountId": "123456789012",
        "/requestContext/apiId": "pets",
        "/requestContext/stage": "prod",
        "/requestContext/resourcePath": "/b/{id}",
        "/requestContext/identity/sourceIp": "127.0.0.1",
        "/body": null,
    });
    let with = |mut places: Value, more: Value| {
        let members = places.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        places
    };
    let cases = [
        (
            "REST",
            json!({"type": "token"}),
            &rest[..1],
            json!({"": {"type": "TOKEN", "authorizationToken": "abc", "methodArn": ARN}}),
        ),
        (
            "REST",
            json!({"type": "request"}),
            &rest,
            with(
                v1.clone(),
                json!({"/path": "/b/7", "/version": null, "/identitySource": null, "/authorizationToken": null}),
            ),
        ),
        (
            "HTTP",
            json!({"type": "request", "payload-format": "1.0", "api": "http"}),
            &http,
            with(
                v1,
                json!({"/path": "/prod/b/7", "/version": "1.0", "/identitySource": "abc,1", "/authorizationToken": "abc,1"}),
            ),
        ),
        (
            "HTTP",
            json!({"payload-format": "2.0"}),
            &http,
            json!({
                "/version": "2.0",
                "/type": "REQUEST",
                "/routeArn": ARN,
                "/methodArn": null,
                "/identitySource": ["abc", "1"],
                "/routeKey": "GET /b/{id}",
                "/rawPath": "/prod/b/7",
                "/rawQueryString": "lane=1",
                "/headers/x-token": "abc",
                "/queryStringParameters": {"lane": "1"},
                "/pathParameters": {"id": "7"},
                "/stageVariables": {"env": "blue"},
                "/requestContext/accountId": "123456789012",
                "/requestContext/apiId": "pets",
                "/requestContext/stage": "prod",
                "/requestContext/http/method": "GET",
                "/requestContext/http/path": "/prod/b/7",
                "/requestContext/http/sourceIp": "127.0.0.1",
                "/authorizationToken": null,
                "/cookies": null,
            }),
        ),
    ];
    let (address, events) = function().await;
    let site = Site::with_config(|config, _folder| {
        with_functions(config, address, cases.iter().map(|(_, settings, ..)| settings));
    });
    for (number, (protocol, settings, sources, wanted)) in cases.iter().enumerate() {
        deciding(&site, number, "apigw", protocol, sources).await;
        let call = async |path: &str, fields: &[(&str, &str)]| {
            let reply = site.call(PETS, "GET", &format!("/prod{path}"), fields, "").await;
            reply.status
        };
        let token = [("x-token", "abc")];
        assert_eq!(call("/b/7?lane=1", &[]).await, 401, "{settings}");
        // what was answered is kept by the same sources, and held against other paths
        for path in ["/b/7?lane=1", "/b/7?lane=1&page=2"] {
            assert_eq!(call(path, &token).await, 200, "{settings} {path}");
        }
        assert_eq!(call("/b/8?lane=1", &token).await, 403, "{settings}");
        let told = std::mem::take(&mut *events.lock());
        assert_eq!(told.len(), 1, "{settings}");
        holds(&told[0], wanted);
    }
}

#[tokio::test]
async fn functions_are_told_the_name_that_their_policy_is_held_against() {
    let cases = [
        (json!({"type": "token"}), "/methodArn"),
        (json!({"type": "request"}), "/methodArn"),
        (json!({"payload-format": "2.0"}), "/routeArn"),
    ];
    let (address, events) = function().await;
    let site = Site::with_config(|config, _folder| {
        with_functions(config, address, cases.iter().map(|(settings, _)| settings));
    });
    for (form, (settings, place)) in cases.iter().enumerate() {
        deciding(&site, form, "native", "REST", &["$request.header.x-token"]).await;
        let paths = [
            ("GET", "/b/7"),
            ("GET", "/b/7/"),
            ("HEAD", "/b/7"),
            ("GET", "/b/%37"),
            ("GET", "/x/../b/7"),
        ];
        for (number, (method, path)) in paths.into_iter().enumerate() {
            let token = number.to_string();
            let fields = [("x-token", &*token)];
            let reply = site
                .call(PETS, method, &format!("/prod{path}"), &fields, "")
                .await;
            assert_eq!(reply.status, 200, "{settings} {method} {path}: {}", reply.text());
            let event = events.lock().pop().unwrap();
            assert_eq!(event.pointer(place).unwrap(), ARN, "{method} {path}");
        }
    }
}

/// A gateway with TLS that asks for certificates of clients, and of whom those are.
fn with_certificates(ca: &Ca, more: impl FnOnce(&mut Value)) -> Site {
    Site::with_config(|config, folder| {
        let _path = ca.write(folder);
        ca.issue(&[PETS]).write(folder, "server");
        config["listeners"] = json!([{"name": "tls", "address": "127.0.0.1:0", "tls": {
            "certificates": [{"cert": "server.crt", "key": "server.key"}],
            "client-auth": {"ca": "ca.pem", "required": false},
        }}]);
        more(config);
    })
}

async fn presenting(site: &Site, ca: &Ca, protocol: &str, identity: Option<&Issued>, path: &str) -> Reply {
    let client = ca.client(&[protocol], identity);
    let connecting = Connection::tls(site.process.address(), PETS, &client);
    let mut connection = Box::pin(connecting).await.unwrap();
    let request = Request::get(path).header("host", PETS).header("x-token", "abc");
    connection.send(request, empty()).await
}

#[tokio::test]
async fn callers_are_known_by_spiffe_ids_and_fingerprints() {
    let ca = Ca::new();
    let pinned = ca.issue(&["ada.clients.test"]);
    let site = with_certificates(&ca, |config| {
        config["plugins"]["mtls"] = json!({"module": guest("mtls-authorizer"), "config": {"rules": [
            {"spiffe": {"trust-domain": "example.org", "path": "/ns/prod/sa/*"}, "principal": "spiffe://example.org${spiffe.path}"},
            {"fingerprint": pinned.fingerprint(), "principal": "pinned"},
        ]}});
    });
    site.apply(json!({"apis": {"pets": {
        "protocol": "HTTP",
        "authorizers": {"who": {"plugin": "mtls"}},
        "integrations": {"echo": {"type": "HTTP_PROXY", "uri": site.web("/echo"), "request-parameters": {
            "overwrite:header.x-who": "$context.authorizer.principalId",
        }}},
        "routes": {"GET /a": {"integration": "echo", "authorizer": "who"}},
        "stages": {"prod": {"auto-deploy": true}},
    }}}))
    .await;
    let web = "spiffe://example.org/ns/prod/sa/web";
    for (names, who) in [
        (&[web][..], Some(web)),
        (&["spiffe://example.org/ns/prod/sa/web/more"], None),
        (&["spiffe://example.org/ns/test/sa/web"], None),
        (&["spiffe://evil.example/ns/prod/sa/web"], None),
        (&["https://example.org/ns/prod/sa/web"], None),
        // no identity document of SPIFFE has two
        (&[web, "spiffe://example.org/ns/prod/sa/db"], None),
        // the name of the one that is known by its fingerprint
        (&["ada.clients.test"], None),
    ] {
        let issued = ca.issue(names);
        for protocol in ["http/1.1", "h2"] {
            let reply = presenting(&site, &ca, protocol, Some(&issued), "/prod/a").await;
            let status = if who.is_some() { 200 } else { 403 };
            assert_eq!(reply.status, status, "{names:?} {protocol}: {}", reply.text());
            if let Some(who) = who {
                assert_eq!(reply.echoed("x-who"), who, "{protocol}");
            }
        }
    }
    let reply = presenting(&site, &ca, "http/1.1", Some(&pinned), "/prod/a").await;
    assert_eq!((reply.status, &*reply.echoed("x-who")), (200, "pinned"));
    let nobody = presenting(&site, &ca, "http/1.1", None, "/prod/a").await;
    assert_eq!(nobody.status, 403, "{}", nobody.text());
}

#[tokio::test]
async fn functions_are_told_of_the_certificate_of_the_client() {
    let ca = Ca::new();
    let issued = ca.issue(&["ada.clients.test"]);
    let cases = [
        (json!({"type": "request"}), "/requestContext/identity/clientCert"),
        (
            json!({"payload-format": "2.0"}),
            "/requestContext/authentication/clientCert",
        ),
    ];
    let (address, events) = function().await;
    let site = with_certificates(&ca, |config| {
        with_functions(config, address, cases.iter().map(|(settings, _)| settings));
    });
    for (form, (settings, place)) in cases.iter().enumerate() {
        deciding(
            &site,
            form,
            "native",
            "REST",
            &["$request.header.x-token", "$context.routeKey"],
        )
        .await;
        let reply = presenting(&site, &ca, "http/1.1", Some(&issued), "/prod/b/7").await;
        assert_eq!(reply.status, 200, "{settings}: {}", reply.text());
        let event = events.lock().pop().unwrap();
        let told = event.pointer(place).unwrap_or_else(|| panic!("{event}"));
        let pem = |text: &str| text.replace(['\r', '\n'], "");
        assert_eq!(
            pem(told["clientCertPem"].as_str().unwrap()),
            pem(&issued.cert_pem)
        );
        for (name, part) in [
            ("subjectDN", "CN=ada.clients.test"),
            ("issuerDN", "CN=Edgeward test CA"),
            ("serialNumber", ""),
        ] {
            assert!(told[name].as_str().unwrap().contains(part), "{name}: {told}");
        }
        let until = told["validity"]["notAfter"].as_str().unwrap();
        assert!(until.ends_with(" GMT"), "{told}");
    }
    // who has none is told of without one
    deciding(&site, 0, "native", "REST", &["$request.header.x-token"]).await;
    let reply = presenting(&site, &ca, "h2", None, "/prod/b/7").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let event = events.lock().pop().unwrap();
    let identity = event["requestContext"]["identity"].as_object().unwrap();
    assert!(!identity.contains_key("clientCert"), "{event}");
}
