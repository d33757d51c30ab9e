//! Certificates that are ordered from an authority (ACME, RFC 8555): Pebble, which is made for that, asks the real gateway.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use edgeward_tests::{Connection, Front, Pebble, Process, cli, empty, eventually, get, real::is_there};
use rustls::ClientConfig;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::process::write;

async fn pebble_is_there() -> bool {
    is_there("pebble", Command::new("pebble").arg("-h")).await
}

/// A gateway and an authority that looks for challenges at its ports.
struct Site {
    folder: tempfile::TempDir,
    process: Process,
    pebble: Pebble,
    http: SocketAddr,
    tls: SocketAddr,
}

impl Site {
    /// Starts both; the gateway orders nothing yet. `ports` makes of the gateway's what the authority is told.
    fn start(settings: &Value, ports: impl Fn(u16, u16) -> (u16, u16)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(
            folder.path(),
            &config(&loopback(), &loopback(), &json!({}), &json!([{"stored": "none"}])),
        );
        let process = Process::start(folder.path());
        let (http, tls) = (process.listener("http"), process.listener("tls"));
        let (http_port, tls_port) = ports(http.port(), tls.port());
        let pebble = Pebble::start(&folder.path().join("pebble"), http_port, tls_port, settings);
        Self {
            folder,
            process,
            pebble,
            http,
            tls,
        }
    }

    /// Starts both, and something in front of the authority, with which it is in the configuration.
    async fn with_front(settings: &Value) -> (Self, Front, Value) {
        let site = Self::start(settings, same);
        let front = Front::start(&site.pebble).await;
        let acme = json!({"ca": site.authority(json!({"directory": front.directory()}))});
        (site, front, acme)
    }

    /// An authority in the configuration, with other settings on top.
    fn authority(&self, settings: Value) -> Value {
        let mut authority = json!({
            "directory": self.pebble.directory(),
            "ca": self.pebble.ca(),
            "terms-of-service-agreed": true,
            "contact": ["mailto:ops@site.example"],
        });
        for (key, value) in settings.as_object().unwrap() {
            authority[key] = value.clone();
        }
        authority
    }

    /// Puts authorities and certificates into the configuration, which the gateway sees by itself.
    fn configure(&self, acme: &Value, certificates: &Value) {
        let config = config(&self.http.to_string(), &self.tls.to_string(), acme, certificates);
        write(self.folder.path(), &config);
    }

    /// Connects with a name, if the gateway shows a certificate for it that a client trusts.
    async fn connect(&self, name: &str, client: &Arc<ClientConfig>) -> Option<Connection> {
        Box::pin(Connection::tls(self.tls, name, client)).await.ok()
    }

    /// The order of a certificate as status has it.
    async fn order(&self, name: &str) -> Option<Value> {
        let status = self.process.admin_get("/v1/status").await;
        let orders = status["orders"].as_array()?.clone();
        orders.into_iter().find(|order| order["certificate"] == name)
    }

    /// Waits until that can be said of an order.
    async fn order_that(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let last = std::sync::Mutex::new(Value::Null);
        // before `eventually` gives up, which knows less
        let patience = edgeward_tests::DEADLINE - Duration::from_secs(1);
        let seen = tokio::time::timeout(patience, async {
            eventually(what, async || {
                let order = self.order(name).await?;
                *last.lock().unwrap() = order.clone();
                holds(&order).then_some(order)
            })
            .await
        })
        .await;
        seen.unwrap_or_else(|_elapsed| {
            let (last, log) = (last.lock().unwrap().clone(), self.process.log());
            panic!("{what}: {last}\n{log}\n{}", self.pebble.log())
        })
    }

    async fn renew(&self, name: &str) {
        let reply = self
            .process
            .admin("POST", &format!("/v1/certificates/{name}/renew"), empty())
            .await;
        assert_eq!(reply.status, 202, "{}", reply.text());
    }
}

fn loopback() -> String {
    "127.0.0.1:0".to_owned()
}

fn same(http: u16, tls: u16) -> (u16, u16) {
    (http, tls)
}

fn config(http: &str, tls: &str, acme: &Value, certificates: &Value) -> Value {
    json!({
        "listeners": [
            {"name": "http", "address": http},
            {"name": "tls", "address": tls, "tls": {"certificates": certificates}},
        ],
        "acme": acme,
        "admin": {"address": "127.0.0.1:0"},
        "data-dir": "data",
        "workers": 2,
        "routes": [{"name": "all", "path": "/{path+}", "respond": {"status": 204}}],
    })
}

fn is_issued(order: &Value) -> bool {
    order["not-after"].is_string()
}

#[tokio::test]
async fn both_challenges_lead_to_certificates_that_clients_trust() {
    if !pebble_is_there().await {
        return;
    }
    let site = Site::start(&json!({}), same);
    let acme = json!({
        "by-http": site.authority(json!({"challenges": ["http-01"]})),
        "by-tls": site.authority(json!({"challenges": ["tls-alpn-01"]})),
    });
    site.configure(
        &acme,
        &json!([
            {"acme": "by-http", "names": ["a.site.example", "B.site.example"]},
            {"acme": "by-tls", "names": ["c.site.example", "d.site.example"]},
        ]),
    );
    site.order_that("acme:a.site.example", "the certificate by HTTP", is_issued)
        .await;
    site.order_that("acme:c.site.example", "the certificate by TLS", is_issued)
        .await;
    let client = site.pebble.client(&["h2", "http/1.1"]).await;
    for name in [
        "a.site.example",
        "b.site.example",
        "c.site.example",
        "d.site.example",
    ] {
        let mut connection = site
            .connect(name, &client)
            .await
            .unwrap_or_else(|| panic!("{name}"));
        assert_eq!(connection.get("/x").await.status, 204);
    }
    // one account, for both have the same directory
    let accounts = std::fs::read_dir(site.folder.path().join("data/acme")).unwrap();
    let accounts = accounts.filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with("account-")
    });
    assert_eq!(accounts.count(), 1);
    assert!(!site.process.log().contains("PRIVATE KEY"));
    // what is over is no challenge any more: such a path is one like others
    let path = "/.well-known/acme-challenge/abc";
    assert_eq!(get(site.http, path).await.status, 204);
    let mut alpn = (*client).clone();
    alpn.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    assert!(site.connect("c.site.example", &Arc::new(alpn)).await.is_none());
    // on the command line
    let seen = cli(
        site.folder.path(),
        &[
            "status",
            "--admin",
            &format!("http://{}", site.process.admin),
            "--token-file",
            site.process.token_file.to_str().unwrap(),
        ],
    )
    .await;
    assert!(
        seen.out.contains("order    acme:a.site.example"),
        "{}{}",
        seen.out,
        seen.err
    );
    let metrics = get(site.process.admin, "/metrics").await.text();
    let line =
        "edgeward_certificate_order_failures{certificate=\"acme:a.site.example\",authority=\"by-http\"} 0";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn a_certificate_is_renewed_in_time_by_an_authority_that_has_forgotten_the_account() {
    if !pebble_is_there().await {
        return;
    }
    let short = json!({"certificateValidityPeriod": 16});
    let mut site = Site::start(&short, same);
    let acme = json!({"ca": site.authority(json!({}))});
    let certificates = json!([{"acme": "ca", "names": ["a.site.example"]}]);
    site.configure(&acme, &certificates);
    site.order_that("acme:a.site.example", "the certificate", is_issued)
        .await;
    let client = site.pebble.client(&["http/1.1"]).await;
    let mut open = site.connect("a.site.example", &client).await.unwrap();
    let first = open.certificate.clone();
    // with other roots, and without accounts
    site.pebble = site.pebble.restart(site.http.port(), site.tls.port(), &short);
    // the truststore in the configuration is the other one's now
    let renewed = eventually("the renewal", async || {
        let client = site.pebble.client(&["http/1.1"]).await;
        let connection = site.connect("a.site.example", &client).await?;
        (connection.certificate != first).then_some(connection)
    });
    let mut renewed = renewed.await;
    assert_eq!(renewed.get("/x").await.status, 204);
    assert_eq!(open.get("/x").await.status, 204, "opened before");
    assert!(
        site.process.log().contains("does not know the account"),
        "{}",
        site.process.log()
    );
}

#[tokio::test]
async fn a_challenge_that_fails_is_told_and_the_next_attempt_uses_the_other() {
    if !pebble_is_there().await {
        return;
    }
    // nobody listens on port 1
    let mut site = Site::start(&json!({}), |_, tls| (1, tls));
    let name = "acme:a.site.example";
    let acme = json!({"ca": site.authority(json!({"challenges": ["http-01", "tls-alpn-01"]}))});
    site.configure(&acme, &json!([{"acme": "ca", "names": ["a.site.example"]}]));
    let failed = site
        .order_that(name, "the failure", |order| order["failures"] == 1)
        .await;
    let error = failed["error"].as_str().unwrap();
    assert!(
        error.contains("a.site.example by Http01") && error.contains("refused"),
        "{error}"
    );
    assert!(
        failed["next-order"].is_string() && !is_issued(&failed),
        "{failed}"
    );
    // a gateway that is started again does not ask again before its time
    eventually("the record", async || {
        let kept = std::fs::read_to_string(site.folder.path().join("data/acme/orders.json")).ok()?;
        kept.contains("\"failures\":1").then_some(())
    })
    .await;
    site.process.kill();
    site.process = Process::start(site.folder.path());
    let again = site.order(name).await.unwrap();
    assert_eq!(
        (&again["failures"], &again["next-order"]),
        (&json!(1), &failed["next-order"])
    );
    site.renew(name).await;
    // the certificate is shown a moment before the order is done with
    let is_done = |order: &Value| is_issued(order) && order["failures"] == 0;
    site.order_that(name, "the certificate", is_done).await;
    // nobody else's
    let reply = site
        .process
        .admin("POST", "/v1/certificates/site/renew", empty())
        .await;
    assert!(
        reply.status == 404 && reply.text().contains(name),
        "{}",
        reply.text()
    );
}

#[tokio::test]
async fn what_was_ordered_is_shown_after_a_restart_without_its_authority_and_names_may_be_added() {
    if !pebble_is_there().await {
        return;
    }
    let site = Site::start(&json!({}), same);
    let name = "acme:a.site.example";
    let acme = json!({"ca": site.authority(json!({}))});
    site.configure(&acme, &json!([{"acme": "ca", "names": ["a.site.example"]}]));
    site.order_that(name, "the certificate", is_issued).await;
    let client = site.pebble.client(&["http/1.1"]).await;
    // a name more: until the new certificate is there the old one is shown
    site.configure(
        &acme,
        &json!([{"acme": "ca", "names": ["a.site.example", "b.site.example"]}]),
    );
    eventually("both names", async || {
        assert!(site.connect("a.site.example", &client).await.is_some());
        site.connect("b.site.example", &client).await
    })
    .await;
    let Site {
        folder,
        process,
        pebble,
        tls,
        ..
    } = site;
    let directory = pebble.directory();
    drop(pebble);
    process.kill();
    // a name in front, which cannot be ordered: for the others there is the old one
    let acme = json!({"ca": {"directory": directory}});
    let names = ["0.site.example", "b.site.example", "a.site.example"];
    let certificates = json!([{"acme": "ca", "names": names}]);
    write(
        folder.path(),
        &config("127.0.0.1:0", &tls.to_string(), &acme, &certificates),
    );
    let process = Process::start(folder.path());
    for name in ["a.site.example", "b.site.example"] {
        let connection = Box::pin(Connection::tls(tls, name, &client)).await;
        assert_eq!(connection.unwrap().get("/x").await.status, 204);
    }
    let status = process.admin_get("/v1/status").await;
    assert_eq!(status["orders"][0]["certificate"], "acme:0.site.example");
    assert!(is_secret(
        &folder.path().join("data/certificates/acme:a.site.example.json")
    ));
}

fn is_secret(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o077 == 0
}

#[tokio::test]
async fn an_authority_that_is_not_there_is_asked_once_for_each_time_that_somebody_wants_it() {
    let folder = tempfile::tempdir().unwrap();
    // nobody listens on port 1
    let acme = json!({"ca": {"directory": "https://127.0.0.1:1/dir"}});
    let certificates = json!([{"acme": "ca", "names": ["a.site.example"]}]);
    write(
        folder.path(),
        &config(&loopback(), &loopback(), &acme, &certificates),
    );
    let process = Process::start(folder.path());
    let failures = async || process.admin_get("/v1/status").await["orders"][0]["failures"].clone();
    let failed = async |times: u64| {
        eventually("the failure", async || (failures().await == times).then_some(())).await;
    };
    failed(1).await;
    let path = "/v1/certificates/acme:a.site.example/renew";
    assert_eq!(process.admin("POST", path, empty()).await.status, 202);
    failed(2).await;
    for _ in 0..50 {
        assert_eq!(failures().await, 2, "{}", process.log());
    }
}

#[tokio::test]
async fn an_authority_that_wants_an_account_of_its_own_gets_it() {
    const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    if !pebble_is_there().await {
        return;
    }
    let settings = json!({"externalAccountBindingRequired": true, "externalAccountMACKeys": {"ours": KEY}});
    let site = Site::start(&settings, same);
    let name = "acme:a.site.example";
    let certificates = json!([{"acme": "ca", "names": ["a.site.example"]}]);
    site.configure(&json!({"ca": site.authority(json!({}))}), &certificates);
    let failed = site
        .order_that(name, "the refusal", |order| order["failures"] == 1)
        .await;
    assert!(failed["error"].as_str().unwrap().contains("external"), "{failed}");
    // a file that is not there is refused with the configuration
    let acme =
        json!({"ca": site.authority(json!({"external-account": {"key-id": "ours", "key-file": "eab.key"}}))});
    site.configure(&acme, &certificates);
    eventually("the complaint", async || {
        site.process
            .log()
            .contains("acme.ca.external-account.key-file")
            .then_some(())
    })
    .await;
    // with it the failures of before do not count
    std::fs::write(site.folder.path().join("eab.key"), format!("{KEY}\n")).unwrap();
    site.order_that(name, "the certificate", is_issued).await;
    assert!(!site.process.log().contains(KEY));
}

#[tokio::test]
async fn an_authority_says_when_to_renew_and_learns_which_certificate_is_replaced() {
    if !pebble_is_there().await {
        return;
    }
    // without it a certificate would be renewed after 20 seconds; it is not ordered again within the first 10
    let (site, front, acme) = Site::with_front(&json!({"certificateValidityPeriod": 40})).await;
    site.configure(&acme, &json!([{"acme": "ca", "names": ["a.site.example"]}]));
    let replaces = eventually("an order in place of the first certificate", async || {
        let orders = front.orders();
        orders
            .iter()
            .find_map(|order| order["replaces"].as_str().map(str::to_owned))
    });
    let replaces = replaces.await;
    assert_eq!(front.orders()[0].get("replaces"), None);
    assert_eq!(front.asked().first(), Some(&replaces));
    let log = site.process.log();
    assert!(!log.contains("could not be ordered"), "{log}");
}

#[tokio::test]
async fn an_order_that_takes_its_time_holds_up_no_other_and_is_given_up_when_it_changes() {
    if !pebble_is_there().await {
        return;
    }
    let (site, front, acme) = Site::with_front(&json!({})).await;
    let certificates =
        |slow: Value| json!([{"acme": "ca", "names": slow}, {"acme": "ca", "names": ["b.site.example"]}]);
    let (slow, other) = ("acme:slow.site.example", "acme:b.site.example");
    front.hold("slow.site.example");
    site.configure(&acme, &certificates(json!(["slow.site.example"])));
    let begun = |order: &Value| order["under-way-since"].is_string() && order.get("not-after").is_none();
    site.order_that(slow, "the slow order", begun).await;
    site.order_that(other, "the other certificate", is_issued).await;
    let client = site.pebble.client(&["http/1.1"]).await;
    let first = site.connect("b.site.example", &client).await.unwrap().certificate;
    site.renew(other).await;
    eventually("another one", async || {
        let shown = site.connect("b.site.example", &client).await?;
        (shown.certificate != first).then_some(())
    })
    .await;
    site.order_that(slow, "that it still waits", begun).await;
    // what waits is not what is wanted now
    front.hold("more.site.example");
    site.configure(
        &acme,
        &certificates(json!(["slow.site.example", "more.site.example"])),
    );
    site.order_that(slow, "the order of both names", |order| {
        begun(order) && order["names"].as_array().is_some_and(|names| names.len() == 2)
    })
    .await;
    front.go_on();
    site.order_that(slow, "the certificate", is_issued).await;
    for name in ["slow.site.example", "more.site.example"] {
        assert!(site.connect(name, &client).await.is_some(), "{name}");
    }
    let orders = front.orders();
    let of_slow = |order: &&Value| order["identifiers"][0]["value"] == "slow.site.example";
    let identifiers = |order: &Value| order["identifiers"].as_array().map(Vec::len);
    let last = orders.iter().rfind(of_slow).and_then(identifiers);
    assert_eq!(last, Some(2), "{orders:?}");
}

#[tokio::test]
async fn an_authority_that_wants_to_be_asked_later_is() {
    if !pebble_is_there().await {
        return;
    }
    let (site, front, acme) = Site::with_front(&json!({})).await;
    let name = "acme:a.site.example";
    front.refuse(Some(7200));
    let before = SystemTime::now();
    site.configure(&acme, &json!([{"acme": "ca", "names": ["a.site.example"]}]));
    let refused = site
        .order_that(name, "the refusal", |order| order["failures"] == 1)
        .await;
    let error = refused["error"].as_str().unwrap();
    assert!(
        error.contains("too many of them") && error.contains("after 7200 s"),
        "{error}"
    );
    let earliest = before.duration_since(SystemTime::UNIX_EPOCH).unwrap() + Duration::from_secs(7200);
    eventually("that on disk", async || {
        let kept = std::fs::read(site.folder.path().join("data/acme/orders.json")).ok()?;
        let kept: Value = serde_json::from_slice(&kept).ok()?;
        let next = u128::from(kept[name]["next-attempt"].as_u64()?);
        (next >= earliest.as_millis()).then_some(())
    })
    .await;
    front.refuse(None);
    site.renew(name).await;
    site.order_that(name, "the certificate", is_issued).await;
}
