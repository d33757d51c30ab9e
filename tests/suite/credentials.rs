//! What nobody may read: credentials of callers and secrets of plugins, in logs, in files and in answers.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use aws_lc_rs::hmac;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use edgeward_tests::{Origin, Process, edgeward, eventually, guest, json_upstream};
use serde_json::{Value, json};

use crate::{
    apis::{PETS, Site, mock},
    apis_stages::lines,
    authorize::{Keys, claims, token},
    authorizer_plugins::basic,
    process::{config, write},
    signed::{SECRET, TOKEN, signed},
};

/// Secrets of plugins, by the name of their file.
const SECRETS: [(&str, &str); 5] = [
    ("key", SECRET),
    ("token", TOKEN),
    ("hmac", "secret-of-the-issuer-and-the-gateway-0001"),
    ("client", "secret-of-the-client-0002"),
    ("bearer", "secret-of-the-function-0003"),
];
/// The part of [`TOKEN`] that is the same in a query.
const TOKEN_PART: &str = "IQoJb3JpZ2luX2VjEHwaCWV1LXdlc3QtMSJH";

/// A gateway that writes all that it has to say into its log, but what its compiler has.
fn talkative(folder: &Path) -> Process {
    let program = folder.join("edgeward");
    let filter = "debug,cranelift=info,regalloc2=info,wasmtime=info";
    let script = format!(
        "#!/bin/sh\nEDGEWARD_LOG={filter} exec {} \"$@\"\n",
        edgeward().display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let log = fs::File::create(folder.join("edgeward.log")).unwrap();
    Process::launch(&program, folder, log.into()).unwrap()
}

/// The bindings of all plugins that see credentials. `introspecting` and `function` answer; nobody is at port 9.
fn plugins(keys: &Keys, introspecting: &str, function: &str) -> Value {
    let jwt = |more: Value| {
        let mut config = json!({"issuer": "https://id.example", "audience": "pets"});
        let members = config.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        json!({"module": guest("jwt-authorizer"), "grants": {"secrets": {"hmac": {"file": "hmac"}}}, "config": config})
    };
    let jwks = json!([{"jwks": {"inline": keys.jwks()}}]);
    let introspection = |address: &str| {
        json!({
            "module": guest("oauth2-introspection"),
            "grants": {"http": {"hosts": [address], "private-addresses": true}, "secrets": {"client": {"file": "client"}}},
            "config": {"endpoint": format!("http://{address}/introspect"), "allow-plain-http": true, "audience": ["pets"],
                "authentication": {"basic": {"client-id": "gateway", "secret": "client"}}},
        })
    };
    let asking = |address: &str| {
        json!({
            "module": guest("lambda-authorizer"),
            "grants": {"http": {"hosts": [address], "private-addresses": true}, "secrets": {"bearer": {"file": "bearer"}}},
            "config": {"payload-format": "2.0", "simple-responses": true, "identity-sources": ["$request.header.X-Key"],
                "function": {"url": {"address": format!("http://{address}/"), "bearer-secret": "bearer"}, "allow-plain-http": true}},
        })
    };
    json!({
        "jwt": jwt(json!({"keys": jwks})),
        "elsewhere": jwt(json!({"keys": jwks, "token-from": [{"query": "access_token"}, {"cookie": "session"}]})),
        "hmac": jwt(json!({"algorithms": ["HS256"], "keys": [{"hmac": {"secret": "hmac"}}]})),
        "basic": {
            "module": guest("basic-auth"),
            "limits": {"cpu-time": "2s", "wall-time": "10s"},
            "config": {"users": [
                {"name": "ada", "hash": "$argon2id$v=19$m=64,t=3,p=1$d9rThHEJ1Y05dBQTX0xFzg$0/bpCouvkaQjHsOS/ROF8HUWUpajTHoShEe3IMHNoZo"},
            ], "cost": {"argon2-passes": 3}},
        },
        "signed": {
            "module": guest("sigv4-authorizer"),
            "grants": {"secrets": {"key": {"file": "key"}, "token": {"file": "token"}}},
            "config": {"regions": ["eu-west-1"], "credentials": [
                {"access-key-id": "AKIDEXAMPLE", "secret": "key"},
                {"access-key-id": "ASIAEXAMPLE", "secret": "key", "session-token": "token"},
            ]},
        },
        "introspecting": introspection(introspecting),
        "introspecting-nobody": introspection("127.0.0.1:9"),
        "function": asking(function),
        "function-nowhere": asking("127.0.0.1:9"),
    })
}

/// A gateway with these plugins on routes of their names, and an API that two of them are authorizers of.
async fn site(keys: &Keys) -> Site {
    let active = json!({"active": true, "sub": "ada", "aud": "pets"});
    let introspecting = json_upstream(&active).await.to_string();
    let function = json_upstream(&json!({"isAuthorized": true})).await.to_string();
    let (origin, folder) = (Origin::start(), tempfile::tempdir().unwrap());
    for (name, secret) in SECRETS {
        fs::write(folder.path().join(name), secret).unwrap();
    }
    let mut config = config(&origin);
    let plugins = plugins(keys, &introspecting, &function);
    let mut start = |is_wanted: fn(&str) -> bool| {
        let mut wanted = plugins.as_object().unwrap().clone();
        wanted.retain(|name, _| is_wanted(name));
        let routes = wanted.keys().map(
            |name| json!({"path": format!("/{name}/{{more+}}"), "respond": {"status": 204}, "pipeline": [name]}),
        );
        config["routes"] = routes.collect::<Vec<_>>().into();
        config["plugins"] = wanted.into();
        write(folder.path(), &config);
        talkative(folder.path())
    };
    // a start waits for what is compiled: half of it is in the data folder by then
    start(|name| ["jwt", "function"].contains(&name)).kill();
    let process = start(|_any| true);
    let site = Site {
        origin,
        folder,
        process,
    };
    let asks = |name: &str| json!({"integration": "fine", "authorizer": name});
    let format = "$context.requestId $context.path $context.status $context.error.message $context.authorizer.principalId $context.identity.userAgent";
    site.apply(json!({"apis": {"pets": {
        "protocol": "REST",
        "profile": "apigw",
        "authorizers": {
            "jwt": {"plugin": "jwt", "identity-sources": ["$request.header.Authorization"]},
            "elsewhere": {"plugin": "elsewhere", "identity-sources": ["$request.querystring.access_token"], "identity-validation": "e.+"},
            "signed": {"plugin": "signed"},
        },
        "integrations": {"fine": mock("fine")},
        "routes": {"GET /jwt": asks("jwt"), "GET /elsewhere": asks("elsewhere"), "GET /signed": asks("signed")},
        "stages": {"prod": {"auto-deploy": true, "access-log": {"format": format, "destination": "all.log"}}},
    }}}))
    .await;
    site
}

/// The signature in a field or a query.
fn signature(text: &str) -> String {
    let (_, behind) = text.split_once("Signature=").unwrap();
    behind.split('&').next().unwrap().to_owned()
}

type Fields = Vec<(String, String)>;

/// Requests: host, target, fields and the status of the answer; and the secrets that are in them.
#[derive(Default)]
struct Calls {
    calls: Vec<(&'static str, String, Fields, u16)>,
    secrets: Vec<String>,
}

/// The host of routes that belong to no API.
const HOST: &str = "gateway.test";

impl Calls {
    fn add(
        &mut self,
        host: &'static str,
        target: impl Into<String>,
        field: Option<(&str, String)>,
        status: u16,
    ) {
        let fields = field.map(|(name, value)| (name.to_owned(), value));
        self.calls
            .push((host, target.into(), fields.into_iter().collect(), status));
    }

    /// A signed token is secret but for its header.
    fn hide(&mut self, token: &str) {
        self.secrets.extend(token.split('.').skip(1).map(str::to_owned));
    }
}

/// Tokens that are good, old, for others, or changed, wherever they may be.
fn tokens(calls: &mut Calls, keys: &Keys) {
    let mut number = 0;
    for (more, status) in [
        (json!({}), 204),
        (json!({"exp": 1}), 401),
        (json!({"aud": "toys"}), 401),
    ] {
        // no two are the same
        let [field, query, cookie, own, own_query] = std::array::from_fn(|_| {
            number += 1;
            let mut said = claims(more.clone());
            said["jti"] = format!("token-{number}").into();
            keys.rsa(&said)
        });
        for token in [&field, &query, &cookie, &own, &own_query] {
            calls.hide(token);
        }
        let bearer = |token: &str| Some(("authorization", format!("Bearer {token}")));
        let of_api = if status == 204 { 200 } else { 401 };
        calls.add(HOST, "/jwt/a", bearer(&field), status);
        calls.add(HOST, "/jwt/a", bearer(&format!("{field}x")), 401);
        calls.add(HOST, format!("/elsewhere/a?access_token={query}"), None, status);
        let cookie = Some(("cookie", format!("session={cookie}")));
        calls.add(HOST, "/elsewhere/a", cookie, status);
        calls.add(PETS, "/prod/jwt", bearer(&own), of_api);
        calls.add(
            PETS,
            format!("/prod/elsewhere?access_token={own_query}"),
            None,
            of_api,
        );
        // the gateway does not ask about this one
        calls.add(
            PETS,
            format!("/prod/elsewhere?access_token=no{own_query}"),
            None,
            401,
        );
    }
    calls.add(HOST, "/jwt/a", None, 401);
    for (key, status) in [
        (SECRETS[2].1, 204),
        ("somebody else's, and as long as the other", 401),
    ] {
        let sealed = token(&json!({"alg": "HS256"}), &claims(json!({})), |input| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
            hmac::sign(&key, input).as_ref().to_vec()
        });
        calls.hide(&sealed);
        let bearer = Some(("authorization", format!("Bearer {sealed}")));
        calls.add(HOST, "/hmac/a", bearer, status);
    }
}

/// Passwords, signatures, and tokens that somebody is asked about.
fn others(calls: &mut Calls) {
    let colonless = "b3BlbnNlc2FtZS03";
    for credentials in [
        basic("ada", "opensesame-7"),
        basic("mallory", "opensesame-7"),
        format!("Basic {colonless}"),
    ] {
        calls.secrets.push(credentials["Basic ".len()..].to_owned());
        calls.add(HOST, "/basic/a", Some(("authorization", credentials)), 401);
    }
    calls.secrets.push("opensesame-7".to_owned());
    for (key, session) in [("AKIDEXAMPLE", None), ("ASIAEXAMPLE", Some(TOKEN))] {
        for (host, path, status) in [(HOST, "/signed/a", 204), (PETS, "/prod/signed", 200)] {
            let (fields, query) = signed(key, session, host, path);
            let own = [signature(&fields.last().unwrap().1), signature(&query)];
            calls.secrets.extend(own);
            calls.add(host, format!("{path}?{query}"), None, status);
            calls.add(host, format!("{path}?{query}&more=1"), None, 403);
            for (target, status) in [(path.to_owned(), status), (format!("{path}?more=1"), 403)] {
                calls.calls.push((host, target, fields.clone(), status));
            }
        }
    }
    let (opaque, key) = ("0123456789abcdef-of-a-token", "0123456789abcdef-of-a-key");
    calls.secrets.extend([opaque, key].map(str::to_owned));
    for (target, status) in [("/introspecting/a", 204), ("/introspecting-nobody/a", 503)] {
        let bearer = Some(("authorization", format!("Bearer {opaque}")));
        calls.add(HOST, target, bearer, status);
    }
    for (target, status) in [("/function/a", 204), ("/function-nowhere/a", 500)] {
        calls.add(HOST, target, Some(("x-key", key.to_owned())), status);
    }
}

#[tokio::test]
async fn no_credential_is_in_a_log_a_file_or_an_answer() {
    let keys = Keys::new();
    let site = site(&keys).await;
    let mut calls = Calls::default();
    tokens(&mut calls, &keys);
    others(&mut calls);
    let Calls { calls, mut secrets } = calls;
    let mut answers = String::new();
    for (host, target, fields, status) in &calls {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let reply = site.call(host, "GET", target, &fields, "").await;
        assert_eq!(reply.status, *status, "{target} {fields:?}: {}", reply.text());
        answers += &format!("{:?}\n{}\n", reply.headers, reply.text());
    }
    let log = eventually("a line for each request", async || {
        let log = site.process.log();
        (log.matches("\"exchange\"").count() >= calls.len()).then_some(log)
    })
    .await;
    // what is level debug is there, and what plugins say
    assert!(log.contains("\"DEBUG\"") && log.contains("refused: "), "{log}");
    let client = SECRETS[3].1;
    secrets.push(BASE64_STANDARD.encode(format!("gateway:{client}")));
    secrets.extend(SECRETS.map(|(_, secret)| secret.to_owned()));
    secrets.push(TOKEN_PART.to_owned());
    for secret in &secrets {
        assert!(!log.contains(secret), "{secret} is in the log: {log}");
        // who has signed is told what should have been signed, with the session token that came
        let is_own = secret.starts_with(TOKEN_PART);
        assert!(
            is_own || !answers.contains(secret),
            "{secret} is in an answer: {answers}"
        );
    }
    let of_stage = calls.iter().filter(|call| call.0 == PETS).count();
    let stage = lines(&site, "all.log", of_stage).await;
    assert!(
        stage.iter().any(|line| line.contains("/prod/elsewhere")),
        "{stage:?}"
    );
    // neither in the memory of plugins that is kept with their compiled code, nor in the database, nor in the log of the stage
    let files = |folder: &Path| {
        let mut search = Command::new("grep");
        search.arg("-rlaFs");
        search.args(secrets.iter().flat_map(|secret| ["-e", secret.as_str()]));
        let found = search.arg(folder).output().unwrap();
        String::from_utf8_lossy(&found.stdout).into_owned()
    };
    let folder = site.folder.path();
    assert!(files(folder).contains("/hmac"), "it is looked for");
    assert_eq!(files(&folder.join("data")), "", "a secret is in these");
}
