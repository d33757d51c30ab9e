//! Requests with a signature at `sigv4-authorizer`, signed by AWS's own signers: botocore, and awscrt for Signature Version 4a.

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use aws_lc_rs::{digest, hmac};
use edgeward_sigv4::{EMPTY_SHA256, Mac, PathStyle, Request, Signer, Timestamp};
use edgeward_tests::{
    Gateway, Origin, Raw, Reply, WebSocketOrigin, closed, guest,
    real::{python_has, script, told},
    serve,
};
use futures_util::future::join_all;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    apis::{PETS, Site},
    authorizers::{ANY, policy, statement},
};

/// A secret key of AWS's documentation.
pub(crate) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// A session token, with characters that a query cannot have as they are.
pub(crate) const TOKEN: &str = "IQoJb3JpZ2luX2VjEHwaCWV1LXdlc3QtMSJH//+example/+==";
const HOST: &str = "pets.example.test";
const UNKNOWN: &str = r#"{"message":"The security token included in the request is invalid."}"#;

/// A gateway in front of an origin that echoes. Requests have to be signed for it; by whom, `config` of the plugin says.
async fn gateway(grants: Value, mut config: Value) -> (Gateway, Origin) {
    let (origin, folder) = (Origin::start(), tempfile::tempdir().unwrap());
    for (name, secret) in [("key", SECRET), ("token", TOKEN)] {
        std::fs::write(folder.path().join(name), secret).unwrap();
    }
    config["regions"] = json!(["eu-west-1"]);
    let plugin = json!({
        "module": "sigv4-authorizer",
        "limits": {"cpu-time": "500ms", "wall-time": "30s"},
        "grants": grants,
        "config": config,
    });
    let gateway = Gateway::start_in(
        folder,
        json!({
            "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
            "plugins": {"iam": plugin},
            "routes": [{"path": "/{path+}", "upstream": "origin", "pipeline": ["iam"]}],
        }),
    )
    .await;
    (gateway, origin)
}

/// One that knows `AKIDEXAMPLE`, and `ASIAEXAMPLE` with [`TOKEN`].
async fn with_keys() -> (Gateway, Origin) {
    gateway(
        json!({"secrets": {"key": {"file": "key"}, "token": {"file": "token"}}}),
        json!({"credentials": [
            {"access-key-id": "AKIDEXAMPLE", "secret": "key"},
            {"access-key-id": "ASIAEXAMPLE", "secret": "key", "session-token": "token"},
        ]}),
    )
    .await
}

/// Runs `tests/real/sigv4_calls.py` in one of its modes with an access key and what belongs to it; what it wrote.
async fn calls(mode: &str, gateway: SocketAddr, host: &str, credentials: &[&str]) -> String {
    let mut script = script("sigv4_calls.py");
    script
        .args([mode, &gateway.to_string(), host, "eu-west-1"])
        .args(credentials);
    told(&mut script).await
}

/// A gateway with an API whose callers are principals of IAM: `AKIDEXAMPLE`, who may not `GET /secret`.
async fn api_of_iam(profile: &str, protocol: &str) -> Site {
    let site = Site::with_config(|config, folder| {
        std::fs::write(folder.join("key"), SECRET).unwrap();
        config["aws"] = json!({"region": "eu-west-1", "account-id": "123456789012"});
        config["plugins"]["iam"] = json!({
            "module": guest("sigv4-authorizer"),
            "grants": {"secrets": {"key": {"file": folder.join("key")}}},
            "config": {
                "regions": ["eu-west-1"],
                "credentials": [{
                    "access-key-id": "AKIDEXAMPLE",
                    "secret": "key",
                    "principal-arn": "arn:aws:iam::123456789012:user/ada",
                    "policy": policy(&[statement("Allow", &format!("{ANY}/*")), statement("Deny", "arn:aws:execute-api:*:*:pets/prod/GET/secret")]),
                }],
            },
        });
    });
    let echo = json!({"integration": "echo", "authorizer": "iam"});
    let route = |methods: &[&str]| -> serde_json::Map<String, Value> {
        let keys = methods
            .iter()
            .flat_map(|method| ["/", "/{proxy+}"].map(|path| format!("{method} {path}")));
        keys.map(|key| (key, echo.clone())).collect()
    };
    site.apply(json!({"apis": {"pets": {
        "protocol": protocol,
        "profile": profile,
        "authorizers": {"iam": {"plugin": "iam", "type": "iam"}},
        "integrations": {"echo": {"type": "HTTP_PROXY", "uri": site.web("/echo")}},
        "routes": route(&["GET", "POST", "PUT", "DELETE"]),
        "stages": {"prod": {"auto-deploy": true}},
    }}}))
    .await;
    site
}

#[tokio::test]
async fn signers_of_aws_are_let_in_as_they_sign_and_under_the_policy_of_their_key() {
    if !python_has("botocore").await {
        return;
    }
    let site = api_of_iam("native", "REST").await;
    calls("plain", site.process.address(), PETS, &["AKIDEXAMPLE", SECRET]).await;
}

/// Fields that sign a request.
type Signature = Vec<(String, String)>;

/// Hashes and MACs of this process.
struct Own;

impl Mac for Own {
    fn sha256(&self, message: &[u8]) -> Vec<u8> {
        digest::digest(&digest::SHA256, message).as_ref().to_vec()
    }

    fn hmac_sha256(&self, key: &[u8], message: &[u8]) -> Vec<u8> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        hmac::sign(&key, message).as_ref().to_vec()
    }
}

/// `GET` of a path of a host, signed with a key in fields and in the query.
pub(crate) fn signed(key: &str, token: Option<&str>, host: &str, path: &str) -> (Signature, String) {
    let signer = Signer {
        access_key_id: key,
        secret: SECRET,
        session_token: token,
        sign_token: true,
        region: "eu-west-1",
        service: "execute-api",
        style: PathStyle::default(),
        send_payload_hash: false,
    };
    let request = Request {
        method: "GET",
        path,
        query: "",
        host,
        headers: &[],
    };
    let now = Timestamp::from(SystemTime::UNIX_EPOCH.elapsed().unwrap());
    let fields = signer.headers(&request, EMPTY_SHA256, now, &Own).unwrap();
    let query = signer.query(&request, EMPTY_SHA256, now, 300, &Own).unwrap();
    (fields, query)
}

/// As fields of a request.
fn fields(signature: &[(String, String)]) -> Vec<(&str, &str)> {
    let signature = signature.iter();
    signature
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

#[tokio::test]
async fn http_apis_of_the_apigw_profile_take_signatures_too() {
    let site = api_of_iam("apigw", "HTTP").await;
    for (path, target, status) in [
        ("/prod/a", "/prod/a", 200),
        ("/prod/a", "/prod/b", 403),
        ("/prod/secret", "/prod/secret", 403),
    ] {
        let (signature, query) = signed("AKIDEXAMPLE", None, PETS, path);
        let in_fields = site.call(PETS, "GET", target, &fields(&signature), "").await;
        let in_query = site.get(PETS, &format!("{target}?{query}")).await;
        for reply in [in_fields, in_query] {
            assert_eq!(reply.status, status, "{path} {target}: {}", reply.text());
            if status == 403 {
                assert_eq!(reply.text(), r#"{"message":"Forbidden"}"#);
            }
        }
    }
    let unsigned = site.get(PETS, "/prod/a").await;
    assert_eq!(
        (unsigned.status, &*unsigned.text()),
        (403, r#"{"message":"Forbidden"}"#)
    );
}

#[tokio::test]
async fn of_those_who_send_the_same_signature_at_once_one_is_let_in() {
    let (gateway, origin) = gateway(
        json!({"secrets": {"key": {"file": "key"}}, "kv": {"sigv4": {}}}),
        json!({"credentials": [{"access-key-id": "AKIDEXAMPLE", "secret": "key"}], "replay": {}}),
    )
    .await;
    for round in 0..3 {
        let path = format!("/prod/{round}");
        let (signature, query) = signed("AKIDEXAMPLE", None, HOST, &path);
        let presigned = format!("{path}?{query}");
        for (target, signature) in [(&path, &*signature), (&presigned, &[])] {
            let mut fields = fields(signature);
            fields.push(("host", HOST));
            let calls = (0..20).map(|_| gateway.call("GET", target, &fields));
            let mut passed = 0;
            for reply in join_all(calls).await {
                if reply.status == 200 {
                    passed += 1;
                    continue;
                }
                assert_eq!(
                    (reply.status, reply.header("x-amzn-errortype")),
                    (403, "InvalidSignatureException"),
                    "{}",
                    reply.text()
                );
            }
            assert_eq!(passed, 1, "{target}");
            assert_eq!(gateway.call("GET", target, &fields).await.status, 403, "later");
        }
    }
    assert_eq!(origin.seen().len(), 6);
}

#[tokio::test]
async fn temporary_credentials_are_let_in_with_their_session_token_and_with_no_other() {
    if !python_has("botocore").await {
        return;
    }
    let (gateway, _origin) = with_keys().await;
    calls(
        "session",
        gateway.address(),
        HOST,
        &["ASIAEXAMPLE", SECRET, TOKEN],
    )
    .await;
}

#[tokio::test]
async fn requests_are_let_in_that_are_signed_for_a_set_of_regions_with_this_one() {
    if !(python_has("botocore").await && python_has("awscrt").await) {
        return;
    }
    let (gateway, _origin) = with_keys().await;
    calls("sigv4a", gateway.address(), HOST, &["AKIDEXAMPLE", SECRET]).await;
}

#[tokio::test]
async fn signatures_are_of_the_authority_and_the_fields_of_http2_as_they_came() {
    if !(python_has("botocore").await && python_has("h2").await) {
        return;
    }
    let (gateway, _origin) = with_keys().await;
    calls("http2", gateway.address(), HOST, &["AKIDEXAMPLE", SECRET]).await;
}

#[tokio::test]
async fn clocks_of_signers_may_differ_by_five_minutes_while_others_are_let_in() {
    if !python_has("botocore").await {
        return;
    }
    let (gateway, _origin) = with_keys().await;
    calls("clock", gateway.address(), HOST, &["AKIDEXAMPLE", SECRET]).await;
}

#[tokio::test]
async fn sockets_are_opened_by_presigned_addresses_and_by_no_others() {
    if !(python_has("botocore").await && python_has("websockets").await) {
        return;
    }
    let (socket, folder) = (WebSocketOrigin::start().await, tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("key"), SECRET).unwrap();
    let routes = ["/talk", "/talk/{more+}"]
        .map(|path| json!({"path": path, "upstream": "socket", "websocket": true, "pipeline": ["iam"]}));
    let gateway = Gateway::start_in(
        folder,
        json!({
            "upstreams": {"socket": {"endpoints": [socket.endpoint()]}},
            "plugins": {"iam": {
                "module": guest("sigv4-authorizer"),
                "grants": {"secrets": {"key": {"file": "key"}}},
                "config": {
                    "regions": ["eu-west-1"],
                    "credentials": [{"access-key-id": "AKIDEXAMPLE", "secret": "key", "principal-arn": "arn:aws:iam::123456789012:user/ada"}],
                },
            }},
            "routes": routes,
        }),
    )
    .await;
    let mut script = script("sigv4_websocket.py");
    script.args([&gateway.address().to_string(), "eu-west-1", "AKIDEXAMPLE", SECRET]);
    let said = told(&mut script).await;
    assert!(said.contains("sockets were opened"), "{said}");
}

/// A service that knows access keys.
struct KeyService {
    address: SocketAddr,
    /// The ids that it was asked for.
    asked: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl KeyService {
    async fn start() -> Self {
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let heard = Arc::clone(&asked);
        let (address, serving) = serve(move |connection| Self::answer(connection, Arc::clone(&heard))).await;
        Self {
            address,
            asked,
            serving,
        }
    }

    async fn answer(mut connection: Raw, asked: Arc<Mutex<Vec<String>>>) {
        let question = connection.until(" HTTP/1.1\r\n").await;
        let id = question.split(['=', ' ']).nth(2).unwrap();
        asked.lock().push(id.to_owned());
        let (status, body) = match id {
            "AKIDSTORED" => ("200 OK", json!({"secretAccessKey": SECRET}).to_string()),
            "ASIASTORED" => (
                "200 OK",
                json!({"secretAccessKey": SECRET, "sessionToken": TOKEN}).to_string(),
            ),
            "AKIDBROKEN" => ("500 Internal Server Error", String::new()),
            "AKIDSLOW" => return std::future::pending().await,
            _ => ("404 Not Found", String::new()),
        };
        connection.answer_json(status, &body).await;
    }

    /// A gateway that asks it, with a time limit.
    async fn gateway(&self, timeout_ms: u64) -> (Gateway, Origin) {
        let url = format!("http://{}/keys", self.address);
        gateway(
            json!({"http": {"hosts": [self.address.to_string()], "private-addresses": true}, "kv": {"sigv4": {}}}),
            json!({"source": {"url": url, "allow-plain-http": true, "timeout-ms": timeout_ms, "unknown-ttl-seconds": 300}}),
        )
        .await
    }

    fn asked_for(&self, id: &str) -> usize {
        self.asked.lock().iter().filter(|asked| *asked == id).count()
    }

    /// Nobody listens there any more.
    async fn stop(&self) {
        self.serving.abort();
        closed(self.address).await;
    }
}

/// Fields that sign `GET /prod/a`, of each of these keys.
async fn signatures<const N: usize>(
    gateway: &Gateway,
    keys: [&str; N],
    token: Option<&str>,
) -> [Signature; N] {
    let keys = keys.join(",");
    let mut credentials = vec![keys.as_str(), SECRET];
    credentials.extend(token);
    let written = calls("fields", gateway.address(), HOST, &credentials).await;
    let mut lines = written.lines();
    std::array::from_fn(|_| serde_json::from_str(lines.next().unwrap()).unwrap())
}

async fn ask(gateway: &Gateway, signature: &[(String, String)]) -> Reply {
    let mut fields = fields(signature);
    fields.push(("host", HOST));
    gateway.call("GET", "/prod/a", &fields).await
}

fn is_unavailable(reply: &Reply) {
    assert_eq!(
        (reply.status, &*reply.text(), reply.header("x-amzn-errortype")),
        (
            503,
            r#"{"message":"Service Unavailable"}"#,
            "ServiceUnavailableException"
        )
    );
}

#[tokio::test]
async fn keys_of_a_source_are_asked_for_once_and_missed_where_it_fails() {
    if !python_has("botocore").await {
        return;
    }
    let service = KeyService::start().await;
    let (gateway, origin) = service.gateway(30_000).await;
    let keys = [
        "AKIDSTORED",
        "AKIDNOBODY",
        "AKIDBROKEN",
        "AKIDSLOW",
        "AKIDLATER",
        "ASIASTORED",
    ];
    let [stored, nobody, broken, slow, later, without_token] = signatures(&gateway, keys, None).await;
    let [temporary] = signatures(&gateway, ["ASIASTORED"], Some(TOKEN)).await;
    let mut passed = 0;
    for signature in [&stored, &temporary, &stored, &temporary] {
        let reply = ask(&gateway, signature).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        passed += 1;
    }
    for signature in [&nobody, &without_token, &nobody] {
        let reply = ask(&gateway, signature).await;
        assert_eq!(
            (reply.status, &*reply.text(), reply.header("x-amzn-errortype")),
            (403, UNKNOWN, "UnrecognizedClientException")
        );
    }
    for id in ["AKIDSTORED", "ASIASTORED", "AKIDNOBODY"] {
        assert_eq!(service.asked_for(id), 1, "{id}");
    }
    is_unavailable(&ask(&gateway, &broken).await);
    assert_eq!(service.asked_for("AKIDBROKEN"), 1);
    // one that does not answer in time
    let (impatient, nothing) = service.gateway(100).await;
    is_unavailable(&ask(&impatient, &slow).await);
    assert!(nothing.seen().is_empty());
    // what is known is known still when it is gone, and nobody else gets in
    service.stop().await;
    for signature in [&stored, &temporary] {
        let reply = ask(&gateway, signature).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        passed += 1;
    }
    assert_eq!(ask(&gateway, &nobody).await.status, 403);
    is_unavailable(&ask(&gateway, &later).await);
    assert_eq!(service.asked_for("AKIDLATER"), 0);
    assert_eq!(origin.seen().len(), passed);
}
