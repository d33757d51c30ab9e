//! The authorizers that come with the gateway, each as a component in a gateway: what they let pass, what they refuse, and what they ask outside.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use edgeward_tests::{
    Ca, Connection, Gateway, Origin, Raw, Reply, guest_bytes, json_upstream, scripted_upstream,
};
use http::Request;
use serde_json::{Value, json};

use crate::authorize::{Keys, claims};

/// A gateway with one plugin in front of an origin that echoes, and that origin.
async fn gateway(name: &str, more: Value) -> (Gateway, Origin) {
    start(name, [("/{path+}".to_owned(), more)]).await
}

/// The same with a plugin for each of some cases, on the paths below its number: its code is compiled once.
async fn several(name: &str, cases: impl IntoIterator<Item = Value>) -> (Gateway, Origin) {
    let below = |(number, more)| (format!("/{number}/{{path+}}"), more);
    start(name, cases.into_iter().enumerate().map(below)).await
}

async fn start(name: &str, cases: impl IntoIterator<Item = (String, Value)>) -> (Gateway, Origin) {
    let origin = Origin::start();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("plugin.wasm"), guest_bytes(name)).unwrap();
    std::fs::write(folder.path().join("secret"), "s3cret").unwrap();
    let (mut plugins, mut routes) = (json!({}), Vec::new());
    for (path, mut plugin) in cases {
        plugin["module"] = "plugin.wasm".into();
        let who = if routes.is_empty() {
            "who".to_owned()
        } else {
            format!("who-{}", routes.len())
        };
        routes.push(json!({"path": path, "upstream": "origin", "pipeline": [who]}));
        plugins[who] = plugin;
    }
    let gateway = Gateway::start_in(
        folder,
        json!({
            "listeners": [{"address": "127.0.0.1:0"}],
            "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
            "plugins": plugins,
            "routes": routes,
        }),
    )
    .await;
    (gateway, origin)
}

pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

#[tokio::test]
async fn basic_auth_takes_passwords_and_keeps_what_it_found() {
    let (gateway, _origin) = gateway(
        "basic-auth",
        json!({
            "limits": {"cpu-time": "2s", "wall-time": "10s"},
            "decision-cache": {"headers": ["authorization"]},
            "config": {"realm": "staff", "users": [
                {"name": "ada", "hash": "$2b$05$73NrIhWxiYXWXyVzTYERoOUi8lWavqA.21KkJR7yQAaApDriH8Hei"},
                {"name": "bob", "hash": "$argon2id$v=19$m=64,t=3,p=1$d9rThHEJ1Y05dBQTX0xFzg$0/bpCouvkaQjHsOS/ROF8HUWUpajTHoShEe3IMHNoZo"},
            ], "cost": {"argon2-passes": 3}},
        }),
    )
    .await;
    let call = async |credentials: &str| {
        let reply = gateway.call("GET", "/a", &[("authorization", credentials)]).await;
        (reply.status, reply.header("www-authenticate").to_owned())
    };
    for user in ["ada", "bob"] {
        assert_eq!(call(&basic(user, "a")).await.0, 200, "{user}");
        assert_eq!(call(&basic(user, "b")).await.0, 401, "{user}");
    }
    let (status, challenge) = call(&basic("nobody", "a")).await;
    assert_eq!(status, 401);
    assert!(challenge.starts_with("Basic realm=\"staff\""), "{challenge}");
    let before = gateway.plugin("who").stats().calls["authorize"];
    assert_eq!(call(&basic("ada", "a")).await.0, 200);
    assert_eq!(
        gateway.plugin("who").stats().calls["authorize"],
        before,
        "it was kept"
    );
}

#[tokio::test]
async fn passwords_at_the_costs_that_are_recommended_fit_the_limits_that_are() {
    // the argon2id of OWASP that is within `cost`, what `htpasswd -B -C 8` makes, and the largest cost of bcrypt
    let users = json!([
        {"name": "ada", "hash": "$argon2id$v=19$m=19456,t=2,p=1$+R1jfLZgfY0M52+QKboAVg$bqEqxaoOmHkiACR/sMMpXzfVT7lYNKEhJvujTuCMnzo"},
        {"name": "bob", "hash": "$2y$08$abcdefghijklmnopqrstuu/5GSuUNXaf8sPWWYrBZZmEJ2ZAUnLOq"},
        {"name": "eve", "hash": "$2b$10$abcdefghijklmnopqrstuuj/LkVFwQAC6H0GkC0f1Bcmj82rKvDn."},
    ]);
    let plugin = |limits: Value| json!({"limits": limits, "decision-cache": {"headers": ["authorization"]}, "config": {"users": users}});
    let (gateway, _origin) = gateway("basic-auth", plugin(json!({"cpu-time": "200ms"}))).await;
    for (user, password) in [("ada", "123£"), ("bob", "a"), ("eve", "a")] {
        for (password, status) in [(password, 200), ("wrong", 401), (password, 200)] {
            let reply = gateway
                .call("GET", "/a", &[("authorization", &basic(user, password))])
                .await;
            assert_eq!(reply.status, status, "{user} {password}: {}", reply.text());
        }
    }
    let calls = gateway.plugin("who").stats().calls["authorize"];
    assert_eq!(calls, 6, "what was found is kept");
    // the default is less than such a password takes, and nobody gets in by that
    let (hasty, origin) = self::gateway("basic-auth", plugin(json!({}))).await;
    let reply = hasty
        .call("GET", "/a", &[("authorization", &basic("eve", "a"))])
        .await;
    assert_eq!(
        (reply.status, &*reply.response_type()),
        (500, "AUTHORIZER_FAILURE")
    );
    assert_eq!(hasty.plugin("who").stats().failures["cpu-time"], 1);
    assert!(origin.seen().is_empty());
}

#[tokio::test]
async fn an_ip_policy_lets_addresses_pass_and_hides_what_is_there_from_others() {
    for (rules, status) in [
        (json!([{"allow": ["127.0.0.0/8"]}]), 200),
        (json!([{"deny": ["127.0.0.1"]}, {"allow": ["127.0.0.0/8"]}]), 404),
        (json!([{"allow": ["10.0.0.0/8", "2001:db8::/32"]}]), 404),
    ] {
        let config = json!({"config": {"rules": rules, "status": 404}});
        let (gateway, _origin) = gateway("ip-policy", config).await;
        assert_eq!(gateway.get("/a").await.status, status, "{rules}");
    }
}

#[tokio::test]
async fn forward_auth_asks_a_service_and_passes_on_what_it_says() {
    let service = Origin::start();
    let config = |path: &str| {
        json!({
            "grants": {"http": {"hosts": [service.endpoint()], "private-addresses": true}},
            "config": {
                "url": format!("http://{}{path}", service.endpoint()),
                "allow-plain-http": true,
                "principal-header": "x-user",
                "response-headers": ["x-user"],
            },
        })
    };
    let (allows, _origin) = gateway("forward-auth", config("/fields?x-user=ada")).await;
    let forged = [("x-user", "root"), ("x-forwarded-uri", "/public")];
    let reply = allows.call("GET", "/private?x=1", &forged).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(
        reply.echoed_all("x-user"),
        ["ada"],
        "what the client says of itself goes"
    );
    assert!(
        service
            .seen()
            .iter()
            .any(|seen| seen.target == "/fields?x-user=ada")
    );
    for (path, status) in [
        ("/status/401", 401),
        ("/status/403", 403),
        ("/status/500", 503),
        ("/status/200", 503),
    ] {
        let (refuses, origin) = gateway("forward-auth", config(path)).await;
        assert_eq!(refuses.get("/a").await.status, status, "{path}");
        assert!(origin.seen().is_empty(), "{path}: nothing went on");
    }
}

#[tokio::test]
async fn an_mtls_authorizer_looks_at_the_certificate_of_the_client() {
    let (origin, ca) = (Origin::start(), Ca::new());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("plugin.wasm"), guest_bytes("mtls-authorizer")).unwrap();
    let _path = ca.write(folder.path());
    ca.issue(&["example.test"]).write(folder.path(), "server");
    let gateway = Gateway::start_in(
        folder,
        json!({
            "listeners": [{"address": "127.0.0.1:0", "tls": {
                "certificates": [{"cert": "server.crt", "key": "server.key"}],
                "client-auth": {"ca": "ca.pem", "required": false},
            }}],
            "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
            "plugins": {"who": {"module": "plugin.wasm", "config": {"rules": [
                {"dns": "*.clients.test", "principal": "client:${san.dns}"},
            ]}}},
            "routes": [{"path": "/{path+}", "upstream": "origin", "pipeline": ["who"]}],
        }),
    )
    .await;
    let call = async |identity: Option<&edgeward_tests::Issued>| {
        let client = ca.client(&["http/1.1"], identity);
        let mut connection = Box::pin(Connection::tls(gateway.address(), "example.test", &client))
            .await
            .unwrap();
        connection.get("/a").await.status
    };
    assert_eq!(call(Some(&ca.issue(&["ada.clients.test"]))).await, 200);
    assert_eq!(call(Some(&ca.issue(&["ada.others.test"]))).await, 403);
    assert_eq!(call(None).await, 403);
}

#[tokio::test]
async fn introspection_asks_whether_a_token_is_active() {
    let rows = [
        (
            json!({"active": true, "sub": "ada", "scope": "pets.read pets.write", "aud": "pets"}),
            200,
        ),
        (
            json!({"active": true, "sub": "ada", "scope": "pets.read", "aud": "others"}),
            401,
        ),
        (
            json!({"active": true, "sub": "ada", "scope": "none", "aud": "pets"}),
            403,
        ),
        (json!({"active": false}), 401),
        (json!({"active": "true", "sub": "ada", "aud": "pets"}), 503),
        (json!(["no object"]), 503),
    ];
    let mut cases = Vec::new();
    for (answer, _) in &rows {
        let server = json_upstream(answer).await;
        cases.push(json!({
            "grants": {
                "http": {"hosts": [server.to_string()], "private-addresses": true},
                "secrets": {"id-client": {"file": "secret"}},
            },
            "config": {
                "endpoint": format!("http://{server}/introspect"),
                "allow-plain-http": true,
                "authentication": {"basic": {"client-id": "gateway", "secret": "id-client"}},
                "audience": ["pets"],
                "scopes": ["pets.read"],
            },
        }));
    }
    let (gateway, _origin) = several("oauth2-introspection", cases).await;
    for (number, (answer, status)) in rows.iter().enumerate() {
        let path = format!("/{number}/a");
        let token = [("authorization", "Bearer 0123456789abcdef0123456789abcdef")];
        let reply = gateway.call("GET", &path, &token).await;
        assert_eq!(reply.status, *status, "{answer}: {}", reply.text());
        if *status == 401 || *status == 403 {
            assert!(
                reply.header("www-authenticate").starts_with("Bearer "),
                "{answer}"
            );
        }
        assert_eq!(gateway.get(&path).await.status, 401, "without a token");
    }
}

/// APIs whose callers a function decides about: the protocol of each, settings of the plugin, and where the function is.
async fn deciding(cases: &[(&str, Value, String)]) -> crate::apis::Site {
    let site = crate::apis::Site::with_config(|config, folder| {
        std::fs::write(folder.join("secret"), "s3cret").unwrap();
        for (number, (_, settings, function)) in cases.iter().enumerate() {
            config["plugins"][format!("function-{number}")] = json!({
                "module": edgeward_tests::guest("lambda-authorizer"),
                "grants": {
                    "http": {"hosts": [function], "private-addresses": true},
                    "secrets": {"key": {"file": "secret"}},
                },
                "config": settings,
            });
        }
    });
    let mut apis = json!({});
    for (number, (protocol, ..)) in cases.iter().enumerate() {
        let source = if *protocol == "REST" {
            "method.request.header.Authorization"
        } else {
            "$request.header.Authorization"
        };
        let mapping = if *protocol == "REST" {
            json!({"integration.request.header.x-who": "context.authorizer.principalId", "integration.request.header.x-plan": "context.authorizer.plan"})
        } else {
            json!({"overwrite:header.x-who": "$context.authorizer.principalId", "overwrite:header.x-plan": "$context.authorizer.plan"})
        };
        apis[format!("pets-{number}")] = json!({
            "protocol": protocol,
            "profile": "apigw",
            "authorizers": {"function": {"plugin": format!("function-{number}"), "identity-sources": [source], "result-ttl": "0s"}},
            "integrations": {"echo": {"type": "HTTP_PROXY", "uri": site.web("/echo"), "request-parameters": mapping}},
            "routes": {"GET /a": {"integration": "echo", "authorizer": "function"}},
            "stages": {"prod": {"auto-deploy": true}},
        });
    }
    site.apply(json!({"apis": apis})).await;
    site
}

/// Calls the API of a case.
async fn call(site: &crate::apis::Site, number: usize, fields: &[(&str, &str)]) -> Reply {
    let host = format!("pets-{number}.execute-api.localhost");
    site.call(&host, "GET", "/prod/a", fields, "").await
}

/// A function that gives the answer that the token names: `row-03` is the fourth.
async fn function_of(answers: Vec<String>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut connection = Raw::from(stream);
            connection.until("row-").await;
            let row = String::from_utf8(connection.bytes(2).await).unwrap();
            connection
                .answer_json("200 OK", &answers[row.parse::<usize>().unwrap()])
                .await;
        }
    });
    address
}

#[tokio::test]
async fn a_function_decides_as_on_aws() {
    let policy = |effect: &str, resource: &str| json!({"Version": "2012-10-17", "Statement": [{"Action": "execute-api:Invoke", "Effect": effect, "Resource": resource}]});
    let says = |policy: Value| json!({"principalId": "ada", "policyDocument": policy, "context": {"plan": "gold", "level": 3}});
    let allow = says(policy("Allow", "*"));
    let deny = says(policy("Deny", "*"));
    let silent = says(policy("Allow", "arn:aws:execute-api:*:*:other/*"));
    let error = |message: &str| json!({"errorMessage": message});
    let unauthorized = (401, r#"{"message":"Unauthorized"}"#, "UnauthorizedException");
    let failed = (500, r#"{"message":null}"#, "AuthorizerFailureException");
    let none = (500, r#"{"message":null}"#, "AuthorizerConfigurationException");
    let forbidden = (403, r#"{"message":"Forbidden"}"#, "ForbiddenException");
    let http_failed = (
        500,
        r#"{"message":"Internal Server Error"}"#,
        "InternalServerErrorException",
    );
    let passes = (200, "", "");
    let explicit = (
        403,
        r#"{"message":"User is not authorized to access this resource with an explicit deny"}"#,
        "AccessDeniedException",
    );
    let implicit = (
        403,
        r#"{"message":"User is not authorized to access this resource"}"#,
        "AccessDeniedException",
    );
    let token = json!({"type": "token"});
    let request = json!({"type": "request"});
    let of_http = json!({"type": "request", "payload-format": "1.0", "api": "http"});
    let second = json!({"payload-format": "2.0"});
    let simple = json!({"payload-format": "2.0", "simple-responses": true, "principal-from": "user"});
    let tables = [
        (
            "REST",
            token,
            vec![
                (allow.clone(), passes),
                (deny.clone(), explicit),
                (silent.clone(), implicit),
                (error("Unauthorized"), unauthorized),
                (error("anything else"), failed),
                (json!({"principalId": "ada"}), none),
                (json!({"policyDocument": policy("Allow", "*")}), none),
                (json!("no object"), none),
            ],
        ),
        (
            "REST",
            request,
            vec![(allow.clone(), passes), (deny.clone(), explicit)],
        ),
        ("HTTP", of_http, vec![(allow.clone(), passes)]),
        (
            "HTTP",
            second,
            vec![
                (allow.clone(), passes),
                (deny, forbidden),
                (silent, forbidden),
                (error("anything else"), http_failed),
            ],
        ),
        (
            "HTTP",
            simple,
            vec![
                (
                    json!({"isAuthorized": true, "context": {"user": "ada", "plan": "gold"}}),
                    passes,
                ),
                (json!({"isAuthorized": false}), forbidden),
                (json!({"isAuthorized": "true"}), http_failed),
            ],
        ),
    ];
    let mut cases = Vec::new();
    for (protocol, settings, rows) in &tables {
        let function = function_of(rows.iter().map(|(answer, _)| answer.to_string()).collect()).await;
        let mut settings = settings.clone();
        settings["function"] =
            json!({"url": {"address": format!("http://{function}/")}, "allow-plain-http": true});
        cases.push((*protocol, settings, function));
    }
    // behind the Invoke API, with a signature; and one that cannot be called, or not in time
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    for function in [
        json_upstream(&allow).await.to_string(),
        "127.0.0.1:9".to_owned(),
        silent.local_addr().unwrap().to_string(),
    ] {
        let settings = json!({"type": "token", "timeout-ms": 200, "function": {"allow-plain-http": true, "invoke": {
            "endpoint": format!("http://{function}"),
            "name": "pets-authorizer",
            "credentials": {"region": "eu-west-1", "access-key-id": "AKIDEXAMPLE", "secret": "key"},
        }}});
        cases.push(("REST", settings, function));
    }
    let site = deciding(&cases).await;
    for (case, (protocol, settings, rows)) in tables.iter().enumerate() {
        for (number, (answer, wanted)) in rows.iter().enumerate() {
            let token = format!("row-{number:02}");
            let reply = call(&site, case, &[("authorization", &token)]).await;
            let row = format!(
                "{protocol} {settings} {answer}: {} {}",
                reply.status,
                reply.text()
            );
            assert_eq!(reply.status, wanted.0, "{row}");
            if wanted.0 == 200 {
                let told = (reply.echoed("x-who"), reply.echoed("x-plan"));
                assert_eq!(told, ("ada".to_owned(), "gold".to_owned()), "{row}");
            } else {
                assert_eq!(reply.text(), wanted.1, "{row}");
                if *protocol == "REST" {
                    assert_eq!(reply.header("x-amzn-errortype"), wanted.2, "{row}");
                }
            }
        }
    }
    let token = [("authorization", "abc")];
    let [invoked, nobody, slow] = [0, 1, 2].map(|number| tables.len() + number);
    let reply = call(&site, invoked, &token).await;
    assert_eq!(
        (reply.status, &*reply.echoed("x-who")),
        (200, "ada"),
        "{}",
        reply.text()
    );
    for case in [nobody, slow] {
        let reply = call(&site, case, &token).await;
        assert_eq!(
            (reply.status, &*reply.text(), reply.header("x-amzn-errortype")),
            failed,
            "{:?}",
            cases[case]
        );
    }
    for (number, case) in cases.iter().enumerate() {
        assert_eq!(call(&site, number, &[]).await.status, 401, "{case:?}");
    }
}

#[tokio::test]
async fn a_function_in_webassembly_behind_a_route_of_the_same_gateway_decides() {
    // the plugin has to know where the function's listener is before there is one
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let inside = reserved.local_addr().unwrap();
    drop(reserved);
    let site = crate::apis::Site::with_config(|config, _folder| {
        let listener = json!({"name": "inside", "address": inside.to_string()});
        config["listeners"].as_array_mut().unwrap().push(listener);
        config["plugins"]["function"] = json!({"module": edgeward_tests::guest("function")});
        config["plugins"]["this-machine"] = json!({
            "module": edgeward_tests::guest("ip-policy"),
            "config": {"rules": [{"allow": ["127.0.0.1"]}], "address": "peer", "status": 404},
        });
        config["plugins"]["who"] = json!({
            "module": edgeward_tests::guest("lambda-authorizer"),
            "grants": {"http": {"hosts": [inside.to_string()], "private-addresses": true}},
            "config": {"type": "token", "function": {"url": {"address": format!("http://{inside}/functions/who")}, "allow-plain-http": true}},
        });
        let route = json!({
            "path": "/functions/who",
            "methods": ["POST"],
            "respond": {"status": 501},
            "pipeline": ["this-machine", "function"],
        });
        config["routes"].as_array_mut().unwrap().push(route);
    });
    site.apply(json!({"apis": {"pets": {
        "protocol": "REST",
        "profile": "apigw",
        "authorizers": {"who": {"plugin": "who", "identity-sources": ["method.request.header.Authorization"], "result-ttl": "0s"}},
        "integrations": {"echo": {"type": "HTTP_PROXY", "uri": site.web("/echo"), "request-parameters": {
            "integration.request.header.x-plan": "context.authorizer.plan",
        }}},
        "routes": {"GET /a": {"integration": "echo", "authorizer": "who"}},
        "stages": {"prod": {"auto-deploy": true}},
    }}}))
    .await;
    for (token, status) in [
        ("allow", 200),
        ("deny", 403),
        ("unauthorized", 401),
        ("else", 500),
    ] {
        let fields = [("authorization", token)];
        let reply = site.call(crate::apis::PETS, "GET", "/prod/a", &fields, "").await;
        assert_eq!(reply.status, status, "{token}: {}", reply.text());
        if status == 200 {
            assert_eq!(reply.echoed("x-plan"), "gold");
        }
    }
}

#[tokio::test]
async fn what_is_asked_outside_fails_closed_in_time() {
    // nobody listens there
    let (gateway, origin) = gateway(
        "forward-auth",
        json!({
            "grants": {"http": {"hosts": ["127.0.0.1:9"], "private-addresses": true}},
            "config": {"url": "http://127.0.0.1:9/", "allow-plain-http": true},
        }),
    )
    .await;
    assert_eq!(gateway.get("/a").await.status, 503);
    // and there somebody does, but is not granted: the allow-list is looked at when it connects
    let service = Origin::start();
    let (denied, _other) = self::gateway(
        "forward-auth",
        json!({
            "grants": {"http": {"hosts": ["auth.example.com"]}},
            "config": {"url": format!("http://{}/status/204", service.endpoint()), "allow-plain-http": true},
        }),
    )
    .await;
    assert_eq!(denied.get("/a").await.status, 503);
    assert!(origin.seen().is_empty() && service.seen().is_empty());
    // the same of addresses where keys are, and where tokens are asked about: by a name that is not granted, and by an address of this machine
    let keys = Keys::new();
    let bearer = format!("Bearer {}", keys.rsa(&claims(json!({}))));
    for (plugin, more) in [
        (
            "jwt-authorizer",
            json!({"issuer": "https://id.example", "audience": "pets", "keys": [{"jwks": {"url": format!("http://{}/jwks", service.endpoint()), "allow-plain-http": true}}]}),
        ),
        (
            "oauth2-introspection",
            json!({"endpoint": format!("http://{}/introspect", service.endpoint()), "allow-plain-http": true, "audience": ["pets"],
                "authentication": {"basic": {"client-id": "gateway", "secret": "client"}}}),
        ),
        (
            "lambda-authorizer",
            json!({"payload-format": "2.0", "simple-responses": true, "function": {"url": {"address": format!("http://{}/", service.endpoint())}, "allow-plain-http": true}}),
        ),
    ] {
        let cases = ["id.example.com".to_owned(), service.endpoint()].map(|host| {
            json!({
                "grants": {"http": {"hosts": [host]}, "kv": {"jwks": {}}, "secrets": {"client": {"file": "secret"}}},
                "config": more,
            })
        });
        let (denied, _other) = several(plugin, cases).await;
        for path in ["/0/a", "/1/a"] {
            let reply = denied.call("GET", path, &[("authorization", &bearer)]).await;
            assert!(
                matches!(reply.status, 500 | 503),
                "{plugin} {path}: {} {}",
                reply.status,
                reply.text()
            );
        }
    }
    // and where an issuer that is granted says that its keys are somewhere else
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let about =
        json!({"issuer": issuer, "jwks_uri": format!("http://{}/jwks", service.endpoint())}).to_string();
    let endpoint = issuer.trim_start_matches("http://").to_owned();
    let told = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = Raw::from(stream);
        connection.until("\r\n\r\n").await;
        connection.answer_json("200 OK", &about).await;
    });
    let (misled, _other) = self::gateway(
        "jwt-authorizer",
        json!({
            "grants": {"http": {"hosts": [endpoint], "private-addresses": true}, "kv": {"jwks": {}}},
            "config": {"issuer": issuer, "audience": "pets", "keys": [{"discovery": {"allow-plain-http": true}}]},
        }),
    )
    .await;
    let bearer_of_it = format!("Bearer {}", keys.rsa(&claims(json!({"iss": issuer}))));
    let reply = misled
        .call("GET", "/a", &[("authorization", &bearer_of_it)])
        .await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    edgeward_tests::within("the issuer", told).await.unwrap();
    assert!(service.seen().is_empty());
    let slow = Origin::start();
    let (waits, _other) = self::gateway(
        "forward-auth",
        json!({
            "grants": {"http": {"hosts": [slow.endpoint()], "private-addresses": true}},
            "config": {"url": format!("http://{}/hold/on", slow.endpoint()), "allow-plain-http": true, "timeout-ms": 100},
        }),
    )
    .await;
    let request = Request::builder().method("GET").uri("/a");
    let reply = edgeward_tests::ask(waits.address(), request, edgeward_tests::empty()).await;
    assert_eq!(reply.status, 503, "{}", reply.text());
}

#[tokio::test]
async fn nothing_is_fetched_from_where_a_server_sends_on() {
    let (keys, other) = (Keys::new(), Origin::start());
    let bearer = format!("Bearer {}", keys.rsa(&claims(json!({}))));
    let mut servers = Vec::new();
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"] {
        let location = format!("http://{}/jwks", other.endpoint());
        let answer = format!(
            "HTTP/1.1 {status}\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        servers.push(scripted_upstream(answer).await);
    }
    for plugin in ["jwt-authorizer", "oauth2-introspection"] {
        let cases = servers.iter().map(|server| {
            let config = if plugin == "jwt-authorizer" {
                json!({"issuer": "https://id.example", "audience": "pets", "keys": [{"jwks": {"url": format!("http://{server}/jwks"), "allow-plain-http": true}}]})
            } else {
                json!({"endpoint": format!("http://{server}/introspect"), "allow-plain-http": true, "audience": ["pets"],
                    "authentication": {"basic": {"client-id": "gateway", "secret": "client"}}})
            };
            // both are granted
            json!({
                "grants": {
                    "http": {"hosts": [server.to_string(), other.endpoint()], "private-addresses": true},
                    "kv": {"jwks": {}},
                    "secrets": {"client": {"file": "secret"}},
                },
                "config": config,
            })
        });
        let (gateway, origin) = several(plugin, cases).await;
        for number in 0..servers.len() {
            let path = format!("/{number}/a");
            let reply = gateway.call("GET", &path, &[("authorization", &bearer)]).await;
            assert_eq!(reply.status, 503, "{plugin} {path}: {}", reply.text());
        }
        assert!(origin.seen().is_empty());
    }
    assert!(other.seen().is_empty());
}
