//! Who may do what in the admin API, how they are known, and what the audit log says of it.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use edgeward_tests::{
    Body, Ca, Connection, Reply, bytes, cli, cli_with, empty, eventually, get, guest_bytes,
};
use http::Request;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, UnixStream};

use crate::apis::Site;

fn body(value: &Value) -> Body {
    if value.is_null() {
        empty()
    } else {
        bytes(value.to_string())
    }
}

fn call(token: &str, method: &str, path: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
}

impl Site {
    /// With more settings of `admin`; what they need can be put into the folder.
    fn with_admin(more: impl FnOnce(&Path) -> Value) -> Self {
        Self::with_config(|config, folder| {
            if let Value::Object(more) = more(folder) {
                config["admin"].as_object_mut().unwrap().extend(more);
            }
        })
    }

    /// Stops the gateway, lets the database be changed, and starts it again.
    fn with_database(self, change: impl FnOnce(&rusqlite::Connection)) -> Self {
        self.after(|folder| {
            change(&rusqlite::Connection::open(folder.join("data/edgeward.db")).unwrap());
        })
    }

    async fn ask(&self, token: &str, method: &str, path: &str, value: Value) -> Reply {
        let mut connection = Connection::h1(self.process.admin).await;
        connection.send(call(token, method, path), body(&value)).await
    }

    /// The same from another address of this machine.
    async fn ask_from(&self, address: &str, token: &str, path: &str) -> Reply {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
        let stream = socket.connect(self.process.admin).await.unwrap();
        Connection::over(stream)
            .await
            .send(call(token, "GET", path), empty())
            .await
    }

    async fn status(&self, token: &str, method: &str, path: &str, value: Value) -> u16 {
        self.ask(token, method, path, value).await.status
    }

    /// Makes a principal with a token.
    async fn principal(&self, name: &str, role: &str, apis: &[&str]) -> String {
        let principal = json!({"role": role, "apis": apis});
        self.done("PUT", &format!("/v1/principals/{name}"), principal)
            .await;
        self.token(name).await["token"].as_str().unwrap().to_owned()
    }

    async fn token(&self, name: &str) -> Value {
        let path = format!("/v1/principals/{name}/tokens");
        self.done("POST", &path, Value::Null).await
    }

    /// APIs `pets` and `cats`, and a domain that leads to both.
    async fn apis(&self) {
        let api = || {
            json!({
                "protocol": "REST",
                "integrations": {"ok": {"type": "MOCK", "request-templates": {"application/json": "{\"statusCode\": 200}"}, "responses": [{"status": 200}]}},
                "routes": {"GET /": {"integration": "ok"}},
                "stages": {"prod": {"auto-deploy": true}},
            })
        };
        let mapping = |api: &str| json!({"api": api, "stage": "prod"});
        self.done(
            "PUT",
            "/v1/bundle",
            json!({
                "apis": {"pets": api(), "cats": api()},
                "domains": {"a.example": {"mappings": {"p": mapping("pets"), "c": mapping("cats")}}},
            }),
        )
        .await;
    }

    async fn log(&self, query: &str) -> Vec<Value> {
        let log = self
            .done("GET", &format!("/v1/audit?limit=1000&{query}"), Value::Null)
            .await;
        log.as_array().unwrap().clone()
    }
}

pub(crate) fn ids(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn each_role_may_what_it_is_for_and_no_more() {
    let site = Site::start();
    site.apis().await;
    let tokens = [
        site.principal("v", "viewer", &["*"]).await,
        site.principal("p", "publisher", &["*"]).await,
        site.principal("o", "operator", &["*"]).await,
        site.principal("a", "admin", &["*"]).await,
    ];
    let integration = json!({"type": "MOCK", "request-templates": {"application/json": "{\"statusCode\": 200}"}, "responses": [{"status": 200}]});
    let calls = [
        ("GET", "/v1/whoami", Value::Null, [200, 200, 200, 200]),
        ("GET", "/v1/status", Value::Null, [200, 200, 200, 200]),
        ("GET", "/v1/plugins", Value::Null, [200, 200, 200, 200]),
        ("GET", "/v1/plugins/stamp", Value::Null, [403, 403, 200, 200]),
        ("GET", "/v1/config", Value::Null, [403, 403, 200, 200]),
        ("GET", "/v1/apis/pets", Value::Null, [200, 200, 200, 200]),
        (
            "PUT",
            "/v1/apis/pets/integrations/x",
            integration,
            [403, 201, 200, 200],
        ),
        (
            "POST",
            "/v1/apis/pets/deployments",
            json!({"stage": "prod"}),
            [403, 201, 201, 201],
        ),
        ("GET", "/v1/domains/a.example", Value::Null, [200, 200, 200, 200]),
        ("PUT", "/v1/domains/b.example", json!({}), [403, 403, 201, 200]),
        ("POST", "/v1/reload", Value::Null, [403, 403, 200, 200]),
        ("GET", "/v1/modules", Value::Null, [403, 403, 200, 200]),
        (
            "POST",
            "/v1/plugins/stamp/publish",
            json!({"version": 0}),
            [403, 403, 200, 200],
        ),
        (
            "POST",
            "/v1/policy/explain",
            json!({"arn": "arn:aws:execute-api:r:a:pets/prod/GET/", "policy": {"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}}),
            [200, 200, 200, 200],
        ),
        (
            "POST",
            "/v1/policy/explain",
            json!({"arn": "x"}),
            [422, 422, 422, 422],
        ),
        ("GET", "/v1/certificates", Value::Null, [403, 403, 200, 200]),
        ("GET", "/v1/audit", Value::Null, [403, 403, 200, 200]),
        ("GET", "/v1/audit/verify", Value::Null, [403, 403, 200, 200]),
        ("GET", "/v1/principals", Value::Null, [403, 403, 403, 200]),
        (
            "GET",
            "/v1/principals/o/tokens",
            Value::Null,
            [403, 403, 403, 200],
        ),
        (
            "PUT",
            "/v1/principals/o",
            json!({"role": "operator"}),
            [403, 403, 403, 200],
        ),
        (
            "POST",
            "/v1/principals/o/tokens",
            Value::Null,
            [403, 403, 403, 201],
        ),
        ("DELETE", "/v1/apis/cats", Value::Null, [403, 422, 422, 422]),
    ];
    for (method, path, value, expected) in calls {
        for (token, expected) in tokens.iter().zip(expected) {
            let reply = site.ask(token, method, path, value.clone()).await;
            assert_eq!(reply.status, expected, "{method} {path}: {}", reply.text());
        }
    }
    let who = site
        .ask(&tokens[1], "GET", "/v1/whoami", Value::Null)
        .await
        .json();
    assert_eq!(
        (&who["principal"], &who["role"]),
        (&json!("p"), &json!("publisher"))
    );
    // what a plugin is granted is for admins: it could be granted the token of root
    let grants = json!({"module": format!("sha256:{}", "0".repeat(64)), "grants": {"secrets": {"t": {"file": "data/admin.token"}}}});
    let path = "/v1/plugins/stamp/versions";
    assert_eq!(site.status(&tokens[2], "POST", path, grants.clone()).await, 403);
    assert_eq!(site.status(&tokens[3], "POST", path, grants).await, 404);
    // a principal that is disabled is let in no more, and one that is removed takes its tokens along
    site.done("PATCH", "/v1/principals/v", json!({"disabled": true}))
        .await;
    let reply = site.ask(&tokens[0], "GET", "/v1/status", Value::Null).await;
    assert_eq!(reply.status, 401);
    assert!(reply.text().contains("disabled"), "{}", reply.text());
    site.done("DELETE", "/v1/principals/p", Value::Null).await;
    assert_eq!(
        site.status(&tokens[1], "GET", "/v1/status", Value::Null).await,
        401
    );
    // root is no principal that could be changed, and nobody else can take its name
    for name in ["root", "nobody", "gateway"] {
        let reply = site
            .ask(
                &tokens[3],
                "PUT",
                &format!("/v1/principals/{name}"),
                json!({"role": "viewer"}),
            )
            .await;
        assert_eq!(reply.status, 422, "{name}");
    }
}

#[tokio::test]
async fn a_principal_sees_and_changes_its_apis_only() {
    let site = Site::start();
    site.apis().await;
    let publisher = site.principal("p", "publisher", &["pets", "shop-*"]).await;
    let operator = site.principal("o", "operator", &["pets"]).await;
    let list = site.ask(&publisher, "GET", "/v1/apis", Value::Null).await.json();
    assert_eq!(ids(&list), ["pets"]);
    for (method, path) in [
        ("GET", "/v1/apis/cats"),
        ("GET", "/v1/apis/cats/routes"),
        ("GET", "/v1/apis/%63ats/routes"),
        ("GET", "/v1/apis/no-such-api"),
        ("GET", "/v1/apis/cats/stages/prod/arms"),
        ("GET", "/v1/apis/cats/drift"),
        ("GET", "/v1/apis/cats/routes/GET%20%2F/pipeline"),
        ("PUT", "/v1/apis/cats"),
        ("DELETE", "/v1/apis/cats"),
        ("POST", "/v1/apis/cats/deployments"),
        ("POST", "/v1/apis/cats/stages/prod/rollback"),
        ("PATCH", "/v1/apis/cats/stages/prod"),
    ] {
        let reply = site.ask(&publisher, method, path, json!({})).await;
        assert_eq!(reply.status, 403, "{method} {path}: {}", reply.text());
    }
    for (id, status) in [("shop-eu", 201), ("other", 403), ("shop", 403), ("cats", 409)] {
        let reply = site.ask(&publisher, "POST", "/v1/apis", json!({"id": id})).await;
        assert_eq!(reply.status, status, "{id}: {}", reply.text());
    }
    // what leads to other APIs is not theirs either
    let list = site
        .ask(&operator, "GET", "/v1/domains/a.example/mappings", Value::Null)
        .await
        .json();
    assert_eq!(ids(&list), ["p"]);
    let to = |api: &str| json!({"api": api, "stage": "prod"});
    for (method, path, value, status) in [
        ("GET", "c", Value::Null, 404),
        ("PATCH", "c", json!({}), 404),
        ("PUT", "c", to("pets"), 403),
        ("PUT", "d", to("cats"), 403),
        ("PATCH", "p", json!({"api": "cats"}), 403),
        ("DELETE", "c", Value::Null, 403),
        ("PUT", "d", to("pets"), 201),
        ("DELETE", "d", Value::Null, 204),
    ] {
        let path = format!("/v1/domains/a.example/mappings/{path}");
        let reply = site.ask(&operator, method, &path, value).await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
    }
    assert_eq!(
        site.status(&operator, "DELETE", "/v1/domains/a.example", Value::Null)
            .await,
        403
    );
    // the log tells of every API
    assert_eq!(site.status(&operator, "GET", "/v1/audit", Value::Null).await, 403);
}

#[tokio::test]
async fn a_bundle_is_what_a_principal_sees_and_one_that_touches_more_is_refused_as_a_whole() {
    let site = Site::start();
    site.apis().await;
    let publisher = site.principal("p", "publisher", &["pets", "shop-*"]).await;
    let operator = site.principal("o", "operator", &["pets", "shop-*"]).await;
    site.done("PUT", "/v1/api-keys/ada", json!({})).await;
    let bundle = site
        .ask(&publisher, "GET", "/v1/bundle", Value::Null)
        .await
        .json();
    let named: Vec<_> = bundle["apis"].as_object().unwrap().keys().collect();
    assert_eq!(named, ["pets"]);
    let mappings: Vec<_> = bundle["domains"]["a.example"]["mappings"]
        .as_object()
        .unwrap()
        .keys()
        .collect();
    assert_eq!(mappings, ["p"]);
    assert_eq!(bundle["api-keys"], json!({}), "they are for every API");
    // as it is, it changes nothing
    let reply = site.ask(&publisher, "PUT", "/v1/bundle", bundle.clone()).await;
    assert_eq!(
        (reply.status, &reply.json()["changes"]),
        (200, &json!([])),
        "{}",
        reply.text()
    );
    for (what, token, change) in [
        (
            "another API",
            &publisher,
            json!({"apis": {"cats": {"description": "mine"}}}),
        ),
        ("one that is not there", &publisher, json!({"apis": {"dogs": {}}})),
        ("a domain", &publisher, json!({"domains": {"b.example": {}}})),
        ("an API key", &publisher, json!({"api-keys": {"bob": {}}})),
        ("a usage plan", &operator, json!({"usage-plans": {"free": {}}})),
        ("a web ACL", &operator, json!({"waf": {"front": {"plugins": []}}})),
        (
            "a shadow",
            &operator,
            json!({"shadows": {"stamp": {"version": 0}}}),
        ),
        (
            "a mapping",
            &publisher,
            json!({"domains": {"a.example": {"mappings": {"x": {"api": "pets", "stage": "prod"}}}}}),
        ),
        (
            "a mapping to another API",
            &operator,
            json!({"domains": {"a.example": {"mappings": {"x": {"api": "cats", "stage": "prod"}}}}}),
        ),
        (
            "a mapping that led to another API",
            &operator,
            json!({"domains": {"a.example": {"mappings": {"c": {"api": "pets", "stage": "prod"}}}}}),
        ),
    ] {
        let mut wanted = bundle.clone();
        wanted["apis"]["pets"]["description"] = json!("changed");
        for part in ["apis", "domains", "api-keys", "usage-plans", "waf", "shadows"] {
            for (name, value) in change[part].as_object().into_iter().flatten() {
                wanted[part][name] = value.clone();
            }
        }
        for path in ["/v1/bundle", "/v1/bundle?dry-run=true"] {
            let reply = site.ask(token, "PUT", path, wanted.clone()).await;
            assert_eq!(reply.status, 403, "{what}: {}", reply.text());
        }
        let pets = site.done("GET", "/v1/apis/pets", Value::Null).await;
        assert_eq!(pets["description"], Value::Null, "{what}");
    }
    // what is not named goes where it is theirs, and stays where it is not
    let without = json!({"apis": {"shop-eu": {}}});
    let refused = site.ask(&publisher, "PUT", "/v1/bundle", without.clone()).await;
    assert_eq!(refused.status, 422, "a mapping leads to it: {}", refused.text());
    let mut less = bundle.clone();
    less["domains"]["a.example"]["mappings"] = json!({});
    less["apis"]["shop-eu"] = json!({});
    let reply = site.ask(&operator, "PUT", "/v1/bundle", less).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let mappings = site
        .done("GET", "/v1/domains/a.example/mappings", Value::Null)
        .await;
    assert_eq!(ids(&mappings), ["c"]);
    let apis = site.done("GET", "/v1/apis", Value::Null).await;
    assert_eq!(ids(&apis), ["cats", "pets", "shop-eu"]);
    let reply = site.ask(&publisher, "PUT", "/v1/bundle", without).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let apis = site.done("GET", "/v1/apis", Value::Null).await;
    assert_eq!(ids(&apis), ["cats", "shop-eu"]);
    let keys = site.done("GET", "/v1/api-keys", Value::Null).await;
    assert_eq!(ids(&keys), ["ada"]);
}

#[tokio::test]
async fn tokens_are_told_once_end_are_replaced_and_revoked() {
    let site = Site::start();
    site.done("PUT", "/v1/principals/ci", json!({"role": "viewer"}))
        .await;
    let made = site
        .done(
            "POST",
            "/v1/principals/ci/tokens",
            json!({"expires-in": "1h", "description": "build"}),
        )
        .await;
    let text = |value: &Value, key: &str| value[key].as_str().unwrap().to_owned();
    let (token, id) = (text(&made, "token"), text(&made, "id"));
    assert!(token.starts_with("edgw_") && token.contains(&id), "{token}");
    assert_eq!(site.status(&token, "GET", "/v1/status", Value::Null).await, 200);
    let path = format!("/v1/principals/ci/tokens/{id}");
    let listed = eventually("the note that it was used", async || {
        let list = site.done("GET", "/v1/principals/ci/tokens", Value::Null).await;
        let used = list["items"][0]["last-used-at"].is_string();
        used.then_some(list)
    })
    .await;
    let one = site.done("GET", &path, Value::Null).await;
    assert_eq!(listed["items"][0], one);
    assert_eq!(
        (&one["fingerprint"], &one["created-by"]),
        (&made["fingerprint"], &json!("root"))
    );
    assert!(
        one.get("mac").is_none() && !listed.to_string().contains(&token),
        "{listed}"
    );
    for (method, wanted) in [
        ("PUT", json!({"expires-at": "2999-01-01T00:00:00Z"})),
        ("PATCH", json!({})),
    ] {
        let reply = site.ask(&site.process.token(), method, &path, wanted).await;
        assert_eq!(reply.status, 405, "a token is never changed");
    }
    for (call, wanted) in [
        ("tokens", json!({"expires-in": "367d"})),
        ("tokens", json!({"expires-in": "1000000000d"})),
        (&*format!("tokens/{id}/rotate"), json!({"overlap": "31d"})),
    ] {
        let reply = site
            .ask(
                &site.process.token(),
                "POST",
                &format!("/v1/principals/ci/{call}"),
                wanted,
            )
            .await;
        assert!([400, 422].contains(&reply.status), "{}", reply.text());
    }
    // a new one, and the old one for a while besides
    let rotated = site
        .done("POST", &format!("{path}/rotate"), json!({"overlap": "10m"}))
        .await;
    let new = text(&rotated, "token");
    assert_eq!(rotated["replaces"], id.as_str());
    assert!(text(&rotated, "replaced-expires-at") < text(&made, "expires-at"));
    for token in [&token, &new] {
        assert_eq!(site.status(token, "GET", "/v1/status", Value::Null).await, 200);
    }
    // one that is made in place of it at once
    let rotated = site
        .done("POST", &format!("{path}/rotate"), json!({"overlap": "0s"}))
        .await;
    let reply = site.ask(&token, "GET", "/v1/status", Value::Null).await;
    assert_eq!(reply.status, 401);
    assert!(reply.text().contains("has expired"), "{}", reply.text());
    let third = text(&rotated, "token");
    assert_eq!(site.status(&third, "GET", "/v1/status", Value::Null).await, 200);
    // the description goes on; one that is revoked is refused by the next call
    let third_path = format!("/v1/principals/ci/tokens/{}", text(&rotated, "id"));
    assert_eq!(
        site.done("GET", &third_path, Value::Null).await["description"],
        "build"
    );
    site.done("DELETE", &third_path, Value::Null).await;
    assert_eq!(site.status(&third, "GET", "/v1/status", Value::Null).await, 401);
    // a token that ends while the gateway is down; nothing but a MAC of any was kept
    let site = site.with_database(|database| {
        let changed = database
            .execute(
                "UPDATE documents SET body = json_set(body, '$.expires-at', '2020-01-01T00:00:00.000Z') WHERE kind = 'tokens' AND name = ?1",
                [&new[5..13]],
            )
            .unwrap();
        assert_eq!(changed, 1);
    });
    let reply = site.ask(&new, "GET", "/v1/status", Value::Null).await;
    assert_eq!(reply.status, 401);
    assert!(reply.text().contains("2020-01-01"), "{}", reply.text());
}

#[tokio::test]
async fn who_fails_too_often_is_not_listened_to_and_shuts_nobody_else_out() {
    let site = Site::start();
    let token = site.principal("ci", "viewer", &["*"]).await;
    let other = site.principal("other", "viewer", &["*"]).await;
    // the right id and checksum, as somebody has them who found half of it
    let stolen = {
        let made = site.token("ci").await;
        let path = format!("/v1/principals/ci/tokens/{}", made["id"].as_str().unwrap());
        let text = made["token"].as_str().unwrap().to_owned();
        site.done("DELETE", &path, Value::Null).await;
        text
    };
    for _ in 0..10 {
        assert_eq!(site.status(&stolen, "GET", "/v1/status", Value::Null).await, 401);
    }
    let reply = site.ask(&stolen, "GET", "/v1/status", Value::Null).await;
    assert_eq!(reply.status, 429, "{}", reply.text());
    assert!(reply.header("retry-after").parse::<u32>().unwrap() >= 1);
    // other tokens from here, and every token from elsewhere
    for token in [&token, &other, &site.process.token()] {
        assert_eq!(site.status(token, "GET", "/v1/status", Value::Null).await, 200);
        assert_eq!(site.ask_from("127.0.0.2", token, "/v1/status").await.status, 200);
    }
    // guesses at the token of root shut it out here only
    for _ in 0..10 {
        let status = site
            .status("guessed-by-somebody", "GET", "/v1/status", Value::Null)
            .await;
        assert_eq!(status, 401);
    }
    let root = site.process.token();
    assert_eq!(site.status(&root, "GET", "/v1/status", Value::Null).await, 429);
    assert_eq!(site.ask_from("127.0.0.3", &root, "/v1/status").await.status, 200);
    // many failures of any kind from one address
    let mut seen = Vec::new();
    for number in 0..40 {
        let wrong = format!("edgw_{number}");
        seen.push(site.status(&wrong, "GET", "/v1/status", Value::Null).await);
    }
    assert!(seen.contains(&429), "{seen:?}");
    // they are counted, and a few of them are in the log, with how many there were
    let metrics = get(site.process.admin, "/metrics").await.text();
    let count = |name: &str| -> u64 {
        let line = metrics
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("{metrics}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(
        count("edgeward_admin_denied_total{reason=\"credentials\"}") >= 20,
        "{metrics}"
    );
    assert!(
        count("edgeward_admin_denied_total{reason=\"throttled\"}") >= 3,
        "{metrics}"
    );
    assert!(count("edgeward_admin_lockouts_total") >= 2, "{metrics}");
    let log = site
        .ask_from("127.0.0.4", &root, "/v1/audit?outcome=denied&limit=1000")
        .await
        .json();
    assert_eq!(
        log.as_array().unwrap().len(),
        5,
        "one address is noted five times in ten minutes"
    );
}

#[tokio::test]
async fn a_new_token_file_takes_the_place_of_the_old_one_without_a_restart() {
    let site = Site::start();
    let (old, new) = (site.process.token(), "a-token-that-the-operator-chose");
    let file = &site.process.token_file;
    fs::write(file.with_extension("new"), new).unwrap();
    fs::rename(file.with_extension("new"), file).unwrap();
    assert_eq!(site.status(&old, "GET", "/v1/status", Value::Null).await, 401);
    assert_eq!(site.status(new, "GET", "/v1/whoami", Value::Null).await, 200);
    fs::remove_file(file).unwrap();
    assert_eq!(site.status(new, "GET", "/v1/status", Value::Null).await, 401);
    fs::write(file, new).unwrap();
    assert_eq!(site.status(new, "GET", "/v1/status", Value::Null).await, 200);
}

#[tokio::test]
async fn client_certificates_stand_for_principals() {
    let (ca, stranger) = (Ca::new(), Ca::new());
    let site = Site::with_admin(|folder| {
        drop(ca.write(folder));
        ca.issue(&["localhost"]).write(folder, "server");
        ca.issue(&["alice.example"]).write(folder, "alice");
        json!({"tls": {
            "cert": "server.crt", "key": "server.key",
            "client-auth": {"ca": "ca.pem", "required": false},
            "principals": [
                {"subject": "CN=bob.example", "principal": "bob"},
                {"san": "alice.example", "principal": "root"},
                {"san": "ghost.example", "principal": "ghost"},
            ],
        }})
    });
    let address = site.process.admin;
    let ask = async |identity: Option<&edgeward_tests::Issued>, method: &str, path: &str, value: Value| {
        let client = ca.client(&["http/1.1"], identity);
        let mut connection = Connection::tls(address, "localhost", &client).await.unwrap();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json");
        connection.send(request, body(&value)).await
    };
    let alice = ca.issue(&["alice.example"]);
    let bob = ca.issue(&["bob.example"]);
    let who = ask(Some(&alice), "GET", "/v1/whoami", Value::Null).await.json();
    assert_eq!(
        (&who["principal"], &who["authentication"]),
        (&json!("root"), &json!("certificate CN=alice.example"))
    );
    // bob is known by the certificate and is no principal yet
    let reply = ask(Some(&bob), "GET", "/v1/status", Value::Null).await;
    assert_eq!(reply.status, 401, "{}", reply.text());
    let bob_may = json!({"role": "publisher", "apis": ["pets"]});
    let reply = ask(Some(&alice), "PUT", "/v1/principals/bob", bob_may).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    assert_eq!(
        ask(Some(&bob), "GET", "/v1/status", Value::Null).await.status,
        200
    );
    assert_eq!(
        ask(Some(&bob), "PUT", "/v1/apis/pets", json!({})).await.status,
        201
    );
    assert_eq!(
        ask(Some(&bob), "GET", "/v1/config", Value::Null).await.status,
        403
    );
    // no certificate, one that stands for nobody, and one for somebody who is not there
    for identity in [
        None,
        Some(&ca.issue(&["carol.example"])),
        Some(&ca.issue(&["ghost.example"])),
    ] {
        assert_eq!(ask(identity, "GET", "/v1/status", Value::Null).await.status, 401);
    }
    // one of another authority does not get through the handshake
    let wrong = stranger.issue(&["alice.example"]);
    let client = ca.client(&["http/1.1"], Some(&wrong));
    let refused = match Connection::tls(address, "localhost", &client).await {
        Err(_) => true,
        // TLS 1.3 tells the client with its first read
        Ok(mut connection) => connection
            .try_send(Request::get("/v1/status"), empty())
            .await
            .is_err(),
    };
    assert!(refused);
    // a token works over TLS, too, and comes before the certificate; cleartext does not
    let client = ca.client(&["http/1.1"], Some(&bob));
    let mut connection = Connection::tls(address, "localhost", &client).await.unwrap();
    let root = site.process.token();
    assert_eq!(
        connection
            .send(call(&root, "GET", "/v1/config"), empty())
            .await
            .status,
        200
    );
    assert_eq!(
        connection
            .send(call("wrong", "GET", "/v1/status"), empty())
            .await
            .status,
        401
    );
    let mut clear = Connection::h1(address).await;
    assert!(clear.try_send(Request::get("/healthz"), empty()).await.is_err());
    // what bob did is in the log, with how he was known
    let log = ask(
        Some(&alice),
        "GET",
        "/v1/audit?principal=bob&outcome=done",
        Value::Null,
    )
    .await
    .json();
    assert_eq!(log[0]["target"], "apis/pets");
    assert_eq!(log[0]["authentication"], "certificate CN=bob.example");
    // the command line
    let admin = format!("https://localhost:{}", address.port());
    let server = ["--admin", &admin, "--admin-ca", "ca.pem"];
    let with = ["--client-cert", "alice.crt", "--client-key", "alice.key"];
    let listed = cli(
        site.folder.path(),
        &[&["--json", "principal", "list"], &server[..], &with].concat(),
    )
    .await;
    assert_eq!(listed.code, 0, "{listed:?}");
    assert_eq!(ids(&listed.json()), ["bob"]);
    let token = site.process.token_file.display().to_string();
    let by_token = cli(
        site.folder.path(),
        &[&["status", "--token-file", &token], &server[..]].concat(),
    )
    .await;
    assert_eq!(by_token.code, 0, "{by_token:?}");
}

#[tokio::test]
async fn users_of_the_machine_are_known_behind_a_unix_socket() {
    let uid = rustix::process::geteuid().as_raw();
    let site = Site::with_admin(|_| json!({"socket": {"path": "admin.sock"}}));
    let path = site.folder.path().join("admin.sock");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let ask = async |request: http::request::Builder| {
        let stream = UnixStream::connect(&path).await.unwrap();
        Connection::over(stream).await.send(request, empty()).await
    };
    let who = ask(Request::get("/v1/whoami")).await.json();
    let known = format!("user {uid}");
    assert_eq!(
        (&who["principal"], &who["authentication"]),
        (&json!("root"), &json!(known))
    );
    assert_eq!(
        ask(call("wrong-token-of-root", "GET", "/v1/whoami")).await.status,
        401
    );
    let token = site.principal("ci", "viewer", &["*"]).await;
    let who = ask(call(&token, "GET", "/v1/whoami")).await.json();
    assert_eq!(who["principal"], "ci");
    // the way in that is left when the token of root is locked out on the address
    for _ in 0..11 {
        site.status("guessed-by-somebody", "GET", "/v1/status", Value::Null)
            .await;
    }
    let root = site.process.token();
    assert_eq!(site.status(&root, "GET", "/v1/status", Value::Null).await, 429);
    let server = ["--json", "--admin", "unix:admin.sock"];
    let folder = site.folder.path();
    let made = cli(folder, &[&["token", "create", "ci"], &server[..]].concat()).await;
    assert_eq!(made.code, 0, "{made:?}");
    let token = made.json()["token"].as_str().unwrap().to_owned();
    let variable = [("EDGEWARD_TOKEN", token.as_ref())];
    let admin = format!("http://{}", site.process.admin);
    let deadline = std::time::Duration::from_secs(30);
    let status = cli_with(folder, &["status", "--admin", &admin], &variable, deadline).await;
    assert_eq!(status.code, 0, "{status:?}");
    // a socket that was left by a gateway that was killed is replaced, and one that ends takes it along
    let mut site = site.again();
    assert_eq!(ask(Request::get("/v1/whoami")).await.status, 200);
    site.process.signal(rustix::process::Signal::TERM);
    assert!(site.process.ended().await.success());
    assert!(!path.exists());
}

#[tokio::test]
async fn a_user_of_the_machine_is_the_principal_that_the_configuration_says() {
    let uid = rustix::process::geteuid().as_raw();
    let site = Site::with_admin(
        |_| json!({"socket": {"path": "admin.sock", "mode": "0660", "principals": [{"uid": uid, "principal": "local"}]}}),
    );
    let path = site.folder.path().join("admin.sock");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let ask = async |what: &str| {
        let stream = UnixStream::connect(&path).await.unwrap();
        Connection::over(stream)
            .await
            .send(Request::get(what), empty())
            .await
            .status
    };
    assert_eq!(ask("/v1/status").await, 401, "it is not there yet");
    site.done("PUT", "/v1/principals/local", json!({"role": "viewer"}))
        .await;
    assert_eq!(ask("/v1/status").await, 200);
    assert_eq!(ask("/v1/config").await, 403);
}

#[tokio::test]
async fn the_audit_log_says_who_how_from_where_and_what() {
    let site = Site::start();
    let token = site.principal("ci", "publisher", &["pets"]).await;
    let request = call(&token, "PUT", "/v1/apis/pets").header("user-agent", "tests/1");
    let mut connection = Connection::h1(site.process.admin).await;
    let reply = connection.send(request, bytes("{}")).await;
    assert_eq!(reply.status, 201);
    let id = reply.header("x-request-id").to_owned();
    let entry = site.log("target=apis/pets").await.pop().unwrap();
    assert_eq!(entry["principal"], "ci");
    assert_eq!(entry["authentication"], format!("token {}", &token[5..13]));
    assert_eq!(entry["user-agent"], "tests/1");
    assert_eq!(
        (&entry["source"], &entry["request-id"]),
        (&json!("127.0.0.1"), &json!(id))
    );
    assert_eq!(
        (&entry["action"], &entry["outcome"]),
        (&json!("create"), &json!("done"))
    );
    // what was denied: no token, a wrong one, and what is not theirs
    assert_eq!(get(site.process.admin, "/v1/apis").await.status, 401);
    assert_eq!(site.status("wrong", "GET", "/v1/apis", Value::Null).await, 401);
    assert_eq!(
        site.status(&token, "DELETE", "/v1/apis/cats", Value::Null).await,
        403
    );
    let denied = site.log("outcome=denied").await;
    let told: Vec<_> = denied
        .iter()
        .map(|entry| {
            let word = |key: &str| entry[key].as_str().unwrap_or("-");
            [
                word("principal"),
                word("authentication"),
                word("action"),
                word("target"),
            ]
            .join(" ")
        })
        .collect();
    let of_ci = format!("ci token {} delete apis/cats", &token[5..13]);
    assert_eq!(
        told,
        ["nobody - get apis", "nobody token-file get apis", of_ci.as_str()]
    );
    assert!(
        denied[2]["detail"]["reason"].as_str().unwrap().contains("`cats`"),
        "{denied:?}"
    );
    // of somebody who is known, each one
    for _ in 0..20 {
        site.status(&token, "DELETE", "/v1/apis/cats", Value::Null).await;
    }
    assert_eq!(site.log("outcome=denied&principal=ci").await.len(), 21);
    // a plugin's version with its digest before and after, and in what is deployed with it
    let module = site
        .process
        .admin("POST", "/v1/modules", bytes(guest_bytes("stamp")))
        .await
        .json();
    let digest = module["digest"].as_str().unwrap();
    let version = json!({"module": digest, "config": {"version": "one"}});
    site.done("POST", "/v1/plugins/stamp/versions?publish=true", version)
        .await;
    let entry = site.log("target=plugins/stamp/versions").await.pop().unwrap();
    assert_eq!(entry["detail"]["module"], digest);
    assert_eq!(
        entry["patch"],
        json!([
            {"op": "test", "path": "/version", "value": 0},
            {"op": "replace", "path": "/version", "value": 1},
        ])
    );
    site.done(
        "PUT",
        "/v1/bundle",
        json!({"apis": {"pets": {
            "integrations": {"web": {"type": "HTTP_PROXY", "uri": format!("http://{}/", site.origin.endpoint())}},
            "routes": {"GET /": {"integration": "web", "pipeline": ["stamp"]}},
        }}}),
    )
    .await;
    site.done("POST", "/v1/apis/pets/deployments", json!({"stage": "prod"}))
        .await;
    let deployed = site.log("action=deploy").await;
    assert_eq!(deployed.len(), 2, "{deployed:?}");
    for entry in &deployed {
        assert_eq!(entry["detail"]["modules"]["stamp"], digest, "{entry}");
    }
    // by time, by page, by how a target begins
    let all = site.log("").await;
    let at = all[3]["at"].as_str().unwrap();
    let (since, until) = (
        site.log(&format!("since={at}")).await,
        site.log(&format!("until={at}")).await,
    );
    assert_eq!(since.len() + until.len(), all.len());
    assert!(since.iter().all(|entry| entry["at"].as_str() >= Some(at)));
    let behind = site.log(&format!("cursor={}", all[3]["seq"])).await;
    assert_eq!(behind, all[4..]);
    let of_principals = site.log("target=principals/*").await;
    assert_eq!(of_principals.len(), 2, "{of_principals:?}");
    assert_eq!(site.log("principal=ci&action=create").await.len(), 1);
    let wrong = site
        .ask(
            &site.process.token(),
            "GET",
            "/v1/audit?since=yesterday",
            Value::Null,
        )
        .await;
    assert_eq!(wrong.status, 400);
    // the same by the command line
    let token = site.process.token_file.display().to_string();
    let admin = format!("http://{}", site.process.admin);
    let words = [
        "audit",
        "export",
        "--principal",
        "ci",
        "--outcome",
        "done",
        "--admin",
        &admin,
        "--token-file",
        &token,
    ];
    let exported = cli(site.folder.path(), &words).await;
    assert_eq!(
        (exported.code, exported.out.lines().count()),
        (0, 1),
        "{exported:?}"
    );
}

#[tokio::test]
async fn no_secret_is_in_the_audit_log_and_no_token_in_the_database() {
    let site = Site::start();
    let root = site.process.token();
    let first = site.principal("ci", "admin", &["*"]).await;
    let made = site.token("ci").await;
    let path = format!("/v1/principals/ci/tokens/{}/rotate", made["id"].as_str().unwrap());
    let rotated = site.done("POST", &path, Value::Null).await;
    let mut secrets = vec![root.clone(), first.clone()];
    for value in [&made, &rotated] {
        secrets.push(value["token"].as_str().unwrap().to_owned());
    }
    // every call that takes a secret, good and refused
    let ca = Ca::new();
    let issued = ca.issue(&["a.example"]);
    let key_line = issued.key_pem.lines().nth(1).unwrap().to_owned();
    site.done(
        "PUT",
        "/v1/certificates/site",
        json!({"chain": issued.cert_pem, "key": issued.key_pem}),
    )
    .await;
    site.ask(
        &first,
        "PUT",
        "/v1/certificates/bad",
        json!({"chain": "x", "key": issued.key_pem}),
    )
    .await;
    let hidden = [
        "hidden-in-a-variable",
        "hidden-in-a-mapping",
        "hidden-in-settings",
        "hidden-in-a-query",
        "hidden-before-a-host",
        "hidden-in-an-expression",
    ];
    site.apis().await;
    let stage = json!({"variables": {"key": hidden[0]}});
    site.done("PATCH", "/v1/apis/pets/stages/prod", stage).await;
    let integration = json!({
        "type": "HTTP_PROXY", "uri": "http://127.0.0.1:9/",
        "request-parameters": {"integration.request.header.x-key": format!("'{}'", hidden[1])},
    });
    site.done("PUT", "/v1/apis/pets/integrations/secretive", integration)
        .await;
    // it is never sent, and so cannot be deployed; what was there before is in the log, too
    site.done("PUT", "/v1/apis/drafts", json!({})).await;
    let integration =
        json!({"type": "HTTP_PROXY", "uri": format!("http://user:{}@127.0.0.1:9/a", hidden[4])});
    let authorizer = json!({"plugin": "stamp", "identity-validation": format!("^{}$", hidden[5])});
    for (path, body) in [
        ("integrations/secretive", integration),
        ("authorizers/secretive", authorizer),
    ] {
        let path = format!("/v1/apis/drafts/{path}");
        site.done("PUT", &path, body).await;
        site.done("DELETE", &path, Value::Null).await;
    }
    let module = site
        .process
        .admin("POST", "/v1/modules", bytes(guest_bytes("stamp")))
        .await
        .json();
    let version = json!({"module": module["digest"], "config": {"version": hidden[2]}});
    site.done("POST", "/v1/plugins/stamp/versions?publish=true", version)
        .await;
    let path = format!("/v1/plugins/ghost/rollback?x={}", hidden[3]);
    site.ask(&first, "POST", &path, Value::Null).await;
    site.ask("a-token-that-is-wrong", "POST", "/v1/reload", Value::Null)
        .await;
    site.done("POST", "/v1/reload", Value::Null).await;
    secrets.push("a-token-that-is-wrong".to_owned());
    secrets.push(key_line);
    let token_file = site.process.token_file.display().to_string();
    let admin = format!("http://{}", site.process.admin);
    let exported = cli(
        site.folder.path(),
        &["audit", "export", "--admin", &admin, "--token-file", &token_file],
    )
    .await;
    assert!(exported.out.lines().count() > 15, "{exported:?}");
    for secret in secrets.iter().map(String::as_str).chain(hidden) {
        assert!(!exported.out.contains(secret), "{secret} is in the log");
    }
    let Site { folder, process, .. } = site;
    let log = process.log();
    process.kill();
    for file in ["edgeward.db", "edgeward.db-wal"] {
        let content = fs::read(folder.path().join("data").join(file)).unwrap_or_default();
        for secret in &secrets {
            let found = content
                .windows(secret.len())
                .any(|part| part == secret.as_bytes());
            assert!(!found, "{secret} is in {file}");
        }
    }
    for secret in &secrets {
        assert!(!log.contains(secret), "{secret} was logged");
    }
}

#[tokio::test]
async fn tampering_with_any_column_of_any_row_of_the_log_is_found() {
    let site = Site::start();
    site.principal("ci", "viewer", &["*"]).await;
    site.done("PATCH", "/v1/principals/ci", json!({"description": "all"}))
        .await;
    site.status("wrong", "GET", "/v1/status", Value::Null).await;
    let entries = site.log("").await.len();
    assert_eq!(entries, 4);
    let check = site.done("GET", "/v1/audit/verify", Value::Null).await;
    assert_eq!(check, json!({"entries": entries, "problem": null}));
    let database = site.folder.path().join("data/edgeward.db");
    let mut changes = vec![
        "UPDATE audit_head SET seq = seq - 1".to_owned(),
        "UPDATE audit_head SET seq = seq + 1".to_owned(),
        "UPDATE audit_head SET mac = substr(mac, 2) || 'x'".to_owned(),
        "DELETE FROM audit_head".to_owned(),
        "DELETE FROM audit".to_owned(),
        "INSERT INTO audit (seq, entry, mac) SELECT seq + 1, entry, mac FROM audit ORDER BY seq DESC LIMIT 1"
            .to_owned(),
        // cut off, with the head put right as far as that can be done without the key
        "DELETE FROM audit WHERE seq = 4; UPDATE audit_head SET seq = 3".to_owned(),
        "DELETE FROM audit WHERE seq = 4; UPDATE audit_head SET seq = 3, mac = (SELECT mac FROM audit WHERE seq = 3)".to_owned(),
        "DELETE FROM audit; DELETE FROM audit_head".to_owned(),
    ];
    for seq in 1..=entries {
        changes.push(format!("UPDATE audit SET seq = 1000 WHERE seq = {seq}"));
        changes.push(format!(
            "UPDATE audit SET mac = replace(mac, substr(mac, 1, 1), 'x') WHERE seq = {seq}"
        ));
        changes.push(format!("DELETE FROM audit WHERE seq = {seq}"));
        for member in [
            "at",
            "principal",
            "authentication",
            "source",
            "request-id",
            "action",
            "target",
            "outcome",
        ] {
            changes.push(format!(
                "UPDATE audit SET entry = json_set(entry, '$.{member}', 'x') WHERE seq = {seq}"
            ));
        }
        changes.push(format!(
            "UPDATE audit SET entry = json_remove(entry, '$.request-id') WHERE seq = {seq}"
        ));
        // white space that means nothing
        changes.push(format!("UPDATE audit SET entry = entry || ' ' WHERE seq = {seq}"));
        // no JSON any more
        changes.push(format!("UPDATE audit SET entry = '' WHERE seq = {seq}"));
        for other in seq + 1..=entries {
            for columns in ["entry", "entry, mac"] {
                let names: Vec<_> = columns.split(", ").collect();
                let set: Vec<_> = names
                    .iter()
                    .map(|name| {
                        format!(
                            "{name} = (SELECT b.{name} FROM swap b WHERE b.seq = {seq} + {other} - audit.seq)"
                        )
                    })
                    .collect();
                changes.push(format!(
                    "CREATE TEMP TABLE swap AS SELECT * FROM audit; UPDATE audit SET {} WHERE seq IN ({seq}, {other}); DROP TABLE swap",
                    set.join(", ")
                ));
            }
        }
    }
    for change in changes {
        // while the gateway runs, and taken back after each
        let connection = rusqlite::Connection::open(&database).unwrap();
        connection
            .busy_timeout(std::time::Duration::from_secs(10))
            .unwrap();
        connection
            .execute_batch("CREATE TEMP TABLE kept AS SELECT * FROM audit; CREATE TEMP TABLE kept_head AS SELECT * FROM audit_head")
            .unwrap();
        connection.execute_batch(&change).unwrap();
        let check = site.done("GET", "/v1/audit/verify", Value::Null).await;
        assert!(check["problem"].is_string(), "{change}: {check}");
        // what is left can still be asked for
        site.log("principal=root").await;
        connection
            .execute_batch(
                "DELETE FROM audit; INSERT INTO audit SELECT * FROM kept;
                 DELETE FROM audit_head; INSERT INTO audit_head SELECT * FROM kept_head",
            )
            .unwrap();
    }
    let check = site.done("GET", "/v1/audit/verify", Value::Null).await;
    assert_eq!(check, json!({"entries": entries, "problem": null}));
    drop(site);
}

#[tokio::test]
async fn principals_and_tokens_are_kept_by_the_command_line() {
    let site = Site::start();
    let admin = format!("http://{}", site.process.admin);
    let file = site.process.token_file.display().to_string();
    let run = async |words: &[&str]| {
        let server = ["--admin", &admin, "--token-file", &file];
        cli(site.folder.path(), &[words, &server].concat()).await
    };
    let added = run(&[
        "principal",
        "add",
        "ci",
        "--role",
        "publisher",
        "--apis",
        "pets,shop-*",
    ])
    .await;
    assert_eq!(
        (added.code, added.out.trim()),
        (0, "principal `ci`: publisher for APIs pets, shop-*")
    );
    let made = run(&[
        "--json",
        "token",
        "create",
        "ci",
        "--expires-in",
        "2h",
        "--description",
        "build",
    ])
    .await;
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let told = run(&["token", "rotate", "ci", &id, "--overlap", "1h"]).await;
    assert!(
        told.out.starts_with("edgw_") && told.out.contains(&format!("token `{id}` is good until")),
        "{told:?}"
    );
    // the first line is the token, for programs
    let token = told.out.lines().next().unwrap().to_owned();
    let variable = [("EDGEWARD_TOKEN", token.as_ref())];
    let deadline = std::time::Duration::from_secs(30);
    let refused = cli_with(
        site.folder.path(),
        &["principal", "list", "--admin", &admin],
        &variable,
        deadline,
    )
    .await;
    assert_eq!(refused.code, 1);
    assert!(
        refused.err.contains("403") && refused.err.contains("`admin`"),
        "{refused:?}"
    );
    let listed = run(&["token", "list", "ci"]).await;
    assert_eq!((listed.code, listed.out.lines().count()), (0, 2), "{listed:?}");
    assert!(!listed.out.contains(&token), "{listed:?}");
    assert_eq!(run(&["token", "revoke", "ci", &token[5..13]]).await.code, 0);
    assert_eq!(site.status(&token, "GET", "/v1/status", Value::Null).await, 401);
    let wrong = run(&["principal", "add", "x", "--role", "admin", "--apis", "pets"]).await;
    assert!(
        wrong.code == 1 && wrong.err.contains("confines an admin"),
        "{wrong:?}"
    );
    assert_eq!(run(&["principal", "remove", "ci"]).await.code, 0);
    let listed = run(&["--json", "principal", "list"]).await;
    assert_eq!(listed.json(), json!({"items": []}));
}
