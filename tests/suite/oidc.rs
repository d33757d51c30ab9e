//! Authorizers against a real OpenID provider: its tokens, its keys when they change, and what happens while it is down or slow.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use edgeward_tests::{Connection, Gateway, OpenIdProvider, Origin, Reply, empty, eventually, within};
use http::Request;
use parking_lot::Mutex;
use serde_json::{Value, json};

const READ: &str = "pets.read";

/// A jwt-authorizer that finds the provider's keys by discovery, at most once in a second. `source` is added to the source of keys.
fn jwt(provider: &OpenIdProvider, preset: &str, source: Value) -> Value {
    let mut discovery = json!({"allow-plain-http": true, "store": preset, "cooldown-seconds": 1});
    extend(&mut discovery, source);
    json!({
        "module": "jwt-authorizer",
        "grants": {
            "http": {"hosts": [provider.address().to_string()], "private-addresses": true},
            "kv": {preset: {}},
        },
        "limits": {"wall-time": "10s"},
        "config": {"preset": preset, "issuer": provider.issuer(), "audience": "pets", "keys": [{"discovery": discovery}]},
    })
}

/// An oauth2-introspection that asks the provider. `config` is added to its configuration.
fn introspection(provider: &OpenIdProvider, client: &str, config: Value) -> Value {
    let mut settings = json!({
        "endpoint": format!("{}/token/introspection", provider.issuer()),
        "allow-plain-http": true,
        "authentication": {"basic": {"client-id": client, "secret": "client"}},
        "audience": ["pets"],
        "timeout-ms": 1000,
    });
    extend(&mut settings, config);
    json!({
        "module": "oauth2-introspection",
        "grants": {
            "http": {"hosts": [provider.address().to_string()], "private-addresses": true},
            "secrets": {"client": {"file": "secret"}},
        },
        "decision-cache": {"headers": ["authorization"]},
        "config": settings,
    })
}

fn extend(object: &mut Value, more: Value) {
    for (key, value) in more.as_object().unwrap() {
        object[key] = value.clone();
    }
}

/// A gateway in front of an origin: the paths below `/NAME/` are those of the plugin with that name.
struct Site {
    gateway: Gateway,
    origin: Origin,
}

impl Site {
    async fn start(plugins: Value) -> Self {
        let (origin, folder) = (Origin::start(), tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join("secret"), "s3cret").unwrap();
        let names = plugins.as_object().unwrap().keys();
        let routes: Vec<Value> = names
            .map(|name| json!({"path": format!("/{name}/{{path+}}"), "upstream": "origin", "pipeline": [name]}))
            .collect();
        let gateway = Gateway::start_in(
            folder,
            json!({
                "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
                "plugins": plugins,
                "routes": routes,
            }),
        )
        .await;
        Self { gateway, origin }
    }

    async fn call(&self, plugin: &str, token: &str) -> Reply {
        call(self.gateway.address(), plugin, token).await
    }

    async fn status(&self, plugin: &str, token: &str) -> u16 {
        self.call(plugin, token).await.status
    }

    /// Calls until the status is the wanted one; others that are not among `meanwhile` are failures.
    async fn until(&self, plugin: &str, token: &str, wanted: u16, meanwhile: &[u16]) {
        eventually(&format!("status {wanted}"), async || {
            let reply = self.call(plugin, token).await;
            let status = reply.status;
            assert!(
                status == wanted || meanwhile.contains(&status),
                "{status} instead of {wanted}: {}",
                reply.text()
            );
            (status == wanted).then_some(())
        })
        .await;
    }
}

async fn call(gateway: SocketAddr, plugin: &str, token: &str) -> Reply {
    send(&mut Connection::h1(gateway).await, plugin, token).await
}

async fn send(connection: &mut Connection, plugin: &str, token: &str) -> Reply {
    let request = Request::get(format!("/{plugin}/a")).header("authorization", format!("Bearer {token}"));
    connection.send(request, empty()).await
}

/// Waits until keys may be fetched again: the cooldown starts when the gateway has them, a little after the provider gave them.
async fn cooldown(provider: &OpenIdProvider) {
    eventually("the cooldown", async || {
        let age = provider.state().await["keys-age-ms"].as_u64().unwrap();
        (age > 2000).then_some(())
    })
    .await;
}

#[tokio::test]
async fn tokens_of_a_provider_pass_where_they_are_meant_for() {
    let (Some(provider), Some(stranger)) = (OpenIdProvider::start().await, OpenIdProvider::start().await)
    else {
        return;
    };
    let mut writers = jwt(&provider, "native", json!({}));
    extend(
        &mut writers["config"],
        json!({"scopes": ["pets.write"], "types": ["at+jwt"]}),
    );
    let site = Site::start(json!({
        "native": jwt(&provider, "native", json!({})),
        "http-api": jwt(&provider, "http-api", json!({})),
        "writers": writers,
    }))
    .await;
    let es256 = provider.token("urn:pets:es256", READ).await;
    let rs256 = provider.token("urn:pets:rs256", READ).await;
    assert_eq!(site.status("native", &es256).await, 200);
    for plugin in ["native", "http-api"] {
        assert_eq!(site.status(plugin, &rs256).await, 200, "{plugin}");
    }
    let writer = provider.token("urn:pets:es256", "pets.read%20pets.write").await;
    assert_eq!(site.status("writers", &writer).await, 200);
    assert_eq!(site.status("writers", &es256).await, 403);

    let toy = provider.token("urn:toys:rs256", READ).await;
    let strange = stranger.token("urn:pets:rs256", READ).await;
    provider.control("skew/-3600").await;
    let expired = provider.token("urn:pets:rs256", READ).await;
    provider.control("skew/3600").await;
    let early = provider.token("urn:pets:rs256", READ).await;
    // the claims of one with the signature of another
    let (claims, _) = writer.rsplit_once('.').unwrap();
    let (_, signature) = es256.rsplit_once('.').unwrap();
    let forged = format!("{claims}.{signature}");
    let hits = site.origin.seen().len();
    for plugin in ["native", "http-api"] {
        for (what, token) in [
            ("another audience", &toy),
            ("another issuer", &strange),
            ("expired", &expired),
            ("issued in an hour", &early),
            ("forged", &forged),
        ] {
            let reply = site.call(plugin, token).await;
            assert_eq!(reply.status, 401, "{plugin}, {what}: {}", reply.text());
            let challenge = reply.header("www-authenticate");
            assert!(
                challenge.contains("error=\"invalid_token\""),
                "{plugin}, {what}: {challenge}"
            );
        }
    }
    assert_eq!(
        site.status("http-api", &es256).await,
        401,
        "ES256 does not exist there"
    );
    assert_eq!(site.origin.seen().len(), hits, "nothing went on");
}

#[tokio::test]
async fn keys_are_rotated_under_load_without_a_failed_request() {
    const ROUNDS: usize = 4;
    let Some(provider) = OpenIdProvider::start().await else {
        return;
    };
    let site = Site::start(json!({
        "native": jwt(&provider, "native", json!({})),
        "http-api": jwt(&provider, "http-api", json!({})),
    }))
    .await;
    let tokens = async || {
        [
            ("native", provider.token("urn:pets:es256", READ).await),
            ("http-api", provider.token("urn:pets:rs256", READ).await),
        ]
    };
    let first = tokens().await;
    let current = Arc::new(Mutex::new((0, first.clone())));
    let ended = Arc::new(AtomicBool::new(false));
    // newest round that a task has had a request answered in
    let served: Arc<Vec<AtomicUsize>> = Arc::new((0..6).map(|_| AtomicUsize::new(usize::MAX)).collect());
    let tasks: Vec<_> = (0..served.len())
        .map(|task| {
            let (current, ended, served) = (Arc::clone(&current), Arc::clone(&ended), Arc::clone(&served));
            let gateway = site.gateway.address();
            tokio::spawn(async move {
                let mut connection = Connection::h1(gateway).await;
                while !ended.load(Ordering::Relaxed) {
                    let (round, tokens) = current.lock().clone();
                    let (plugin, token) = &tokens[task % tokens.len()];
                    let reply = send(&mut connection, plugin, token).await;
                    assert_eq!(reply.status, 200, "{plugin}, round {round}: {reply:?}");
                    served[task].store(round, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for round in 0..=ROUNDS {
        if round > 0 {
            cooldown(&provider).await;
            provider.control("rotate").await;
            *current.lock() = (round, tokens().await);
        }
        eventually("requests of all tasks with the newest keys", async || {
            let failed = tasks.iter().any(tokio::task::JoinHandle::is_finished);
            let all = served
                .iter()
                .all(|served| served.load(Ordering::Relaxed) == round);
            (all || failed).then_some(())
        })
        .await;
        // nobody has tokens of the old ones anymore
        provider.control("retire").await;
    }
    ended.store(true, Ordering::Relaxed);
    for task in tasks {
        within("the end of a task", task).await.unwrap();
    }
    for (plugin, token) in &first {
        assert_eq!(
            site.status(plugin, token).await,
            401,
            "{plugin}: the first key is gone"
        );
    }
}

#[tokio::test]
async fn clocks_may_differ_by_the_leeway_and_no_more_under_load() {
    const LEEWAY: i64 = 300;
    /// Seconds that tokens of the provider are good for.
    const LIFE: i64 = 600;
    let Some(provider) = OpenIdProvider::start().await else {
        return;
    };
    let mut lenient = jwt(&provider, "native", json!({}));
    extend(&mut lenient["config"], json!({"leeway-seconds": LEEWAY}));
    let site =
        Site::start(json!({"native": lenient, "http-api": jwt(&provider, "http-api", json!({}))})).await;
    let mut expected = Vec::new();
    // how much the provider's clock is ahead, and who takes its tokens: they have to hold while the test takes its time
    for (ahead, native, http_api) in [
        (0, 200, 200),
        (LEEWAY - 1, 200, 401),
        (LEEWAY + 240, 401, 401),
        (-LIFE - LEEWAY + 240, 200, 401),
        (-LIFE - LEEWAY - 1, 401, 401),
    ] {
        provider.control(&format!("skew/{ahead}")).await;
        let token = provider.token("urn:pets:rs256", READ).await;
        for (plugin, status) in [("native", native), ("http-api", http_api)] {
            expected.push((plugin, ahead, token.clone(), status));
        }
    }
    let expected = Arc::new(expected);
    let tasks: Vec<_> = (0..6)
        .map(|task| {
            let (expected, gateway) = (Arc::clone(&expected), site.gateway.address());
            tokio::spawn(async move {
                let mut connection = Connection::h1(gateway).await;
                for turn in 0..10 * expected.len() {
                    let (plugin, ahead, token, status) = &expected[(task + turn) % expected.len()];
                    let reply = send(&mut connection, plugin, token).await;
                    assert_eq!(
                        reply.status,
                        *status,
                        "{plugin}, {ahead} s ahead: {}",
                        reply.text()
                    );
                }
            })
        })
        .collect();
    for task in tasks {
        within("the end of a task", task).await.unwrap();
    }
}

#[tokio::test]
async fn known_keys_serve_for_their_time_while_the_provider_is_down() {
    const KEPT: Duration = Duration::from_secs(12);
    let Some(provider) = OpenIdProvider::start().await else {
        return;
    };
    let times = json!({"refresh-seconds": 10, "max-stale-seconds": KEPT.as_secs()});
    let site = Site::start(json!({
        "native": jwt(&provider, "native", times.clone()),
        "http-api": jwt(&provider, "http-api", times),
    }))
    .await;
    let known = provider.token("urn:pets:rs256", READ).await;
    provider.control("mode/down").await;
    let refused = site.call("native", &known).await;
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (503, "1"),
        "no keys at all"
    );
    let began = Instant::now();
    provider.control("mode/up").await;
    for plugin in ["native", "http-api"] {
        site.until(plugin, &known, 200, &[503]).await;
    }

    provider.control("mode/down").await;
    provider.control("rotate").await;
    let unknown = provider.token("urn:pets:rs256", READ).await;
    for plugin in ["native", "http-api"] {
        assert_eq!(site.status(plugin, &known).await, 200, "{plugin}");
        // within the cooldown what was not found does not exist
        site.until(plugin, &unknown, 503, &[401]).await;
        assert_eq!(site.status(plugin, &known).await, 200, "{plugin}");
    }
    for plugin in ["native", "http-api"] {
        site.until(plugin, &known, 503, &[200]).await;
        assert!(began.elapsed() >= KEPT, "{plugin}: {:?}", began.elapsed());
    }

    provider.control("mode/up").await;
    for plugin in ["native", "http-api"] {
        for token in [&unknown, &known] {
            site.until(plugin, token, 200, &[503]).await;
        }
    }
}

#[tokio::test]
async fn a_slow_provider_holds_up_only_those_that_need_it_and_not_for_long() {
    const TIMEOUT: Duration = Duration::from_secs(3);
    let Some(provider) = OpenIdProvider::start().await else {
        return;
    };
    let times = json!({"timeout-ms": TIMEOUT.as_millis()});
    let site = Site::start(json!({
        "native": jwt(&provider, "native", times.clone()),
        "http-api": jwt(&provider, "http-api", times),
    }))
    .await;
    let known = provider.token("urn:pets:rs256", READ).await;
    assert_eq!(site.status("native", &known).await, 200);
    provider.control("rotate").await;
    let unknown = provider.token("urn:pets:rs256", READ).await;
    cooldown(&provider).await;

    provider.control("mode/held").await;
    let began = Instant::now();
    let gateway = site.gateway.address();
    // one needs a new key, one has none at all
    let waiting = ["native", "http-api"].map(|plugin| {
        let unknown = unknown.clone();
        tokio::spawn(async move { call(gateway, plugin, &unknown).await.status })
    });
    eventually("both to wait for the provider", async || {
        (provider.state().await["held"] == 2).then_some(())
    })
    .await;
    for _ in 0..5 {
        assert_eq!(site.status("native", &known).await, 200);
    }
    assert!(
        waiting.iter().all(|waiting| !waiting.is_finished()),
        "the others did not wait for it"
    );
    for waiting in waiting {
        assert_eq!(within("the refusal", waiting).await.unwrap(), 503);
        assert!(began.elapsed() >= TIMEOUT, "{:?}", began.elapsed());
    }
    provider.control("mode/up").await;
    for plugin in ["native", "http-api"] {
        site.until(plugin, &unknown, 200, &[503]).await;
    }
}

#[tokio::test]
async fn introspection_ends_with_the_token_or_with_what_was_kept() {
    const KEPT: Duration = Duration::from_secs(2);
    let Some(provider) = OpenIdProvider::start().await else {
        return;
    };
    let site = Site::start(json!({
        "asks": introspection(&provider, "gateway", json!({})),
        "keeps": introspection(&provider, "gateway", json!({"cache-seconds": 3600})),
        "keeps-short": introspection(&provider, "gateway", json!({"cache-seconds": KEPT.as_secs()})),
        "writers": introspection(&provider, "gateway", json!({"scopes": ["pets.write"]})),
        "unknown": introspection(&provider, "nobody", json!({})),
    }))
    .await;
    let asked = async || {
        provider.state().await["answers"]["/token/introspection"]
            .as_u64()
            .unwrap()
    };
    let token = provider.token("urn:pets:opaque", READ).await;
    let toy = provider.token("urn:toys:opaque", READ).await;
    for plugin in ["asks", "keeps"] {
        assert_eq!(site.status(plugin, &token).await, 200, "{plugin}");
        assert_eq!(site.status(plugin, &toy).await, 401, "{plugin}: another audience");
        assert_eq!(
            site.status(plugin, &"x".repeat(43)).await,
            401,
            "{plugin}: no token of the provider"
        );
    }
    assert_eq!(site.status("writers", &token).await, 403);
    assert_eq!(
        site.status("unknown", &token).await,
        503,
        "the gateway's own credentials are wrong"
    );

    let before = asked().await;
    assert_eq!(site.status("keeps", &token).await, 200);
    assert_eq!(asked().await, before, "the decision was kept");
    assert_eq!(site.status("asks", &token).await, 200);
    assert_eq!(asked().await, before + 1);
    let began = Instant::now();
    assert_eq!(site.status("keeps-short", &token).await, 200);
    provider.revoke(&token).await;
    assert_eq!(site.status("asks", &token).await, 401, "revoked");
    assert_eq!(site.status("keeps", &token).await, 200, "kept for an hour");
    site.until("keeps-short", &token, 401, &[200]).await;
    assert!(began.elapsed() >= KEPT, "{:?}", began.elapsed());

    let other = provider.token("urn:pets:opaque", READ).await;
    // down: an answer that is none; held: no answer in time
    for mode in ["down", "held"] {
        provider.control(&format!("mode/{mode}")).await;
        let refused = site.call("asks", &other).await;
        assert_eq!(
            (refused.status, refused.header("retry-after")),
            (503, "1"),
            "{mode}"
        );
        assert_eq!(site.status("keeps", &token).await, 200, "{mode}");
    }
    provider.control("mode/up").await;
    assert_eq!(site.status("asks", &other).await, 200);
}
