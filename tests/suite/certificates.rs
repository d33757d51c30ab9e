//! Certificates that change while the gateway runs: put through the admin API, and files that are replaced.

use std::{fs, os::unix::fs::PermissionsExt as _, os::unix::fs::symlink, path::Path, time::Duration};

use edgeward_tests::{
    Ca, Connection, H3, Issued, Origin, Process, QuicClient, Reply, bytes, cli, empty, eventually, get,
    guest, guest_bytes,
};
use serde_json::{Value, json};

use crate::{process::write, tls_policy::staple};

fn config(certificates: Value) -> Value {
    json!({
        "listeners": [{"name": "tls", "address": "127.0.0.1:0", "tls": {"certificates": certificates}}],
        "admin": {"address": "127.0.0.1:0", "upload-limit": "4MiB"},
        "data-dir": "data",
        "workers": 2,
        "routes": [{"name": "all", "path": "/", "respond": {"status": 204}}],
    })
}

fn pem(issued: &Issued) -> Value {
    json!({"chain": issued.cert_pem, "key": issued.key_pem})
}

async fn put(process: &Process, name: &str, body: &Value) -> Reply {
    let path = format!("/v1/certificates/{name}");
    process.admin("PUT", &path, bytes(body.to_string())).await
}

async fn connect(process: &Process, ca: &Ca, name: &str) -> std::io::Result<Connection> {
    let client = ca.client(&["http/1.1"], None);
    // in a box: the future of a handshake is large
    Box::pin(Connection::tls(process.address(), name, &client)).await
}

/// The certificate that a new handshake gets, if one comes about.
async fn shown(process: &Process, ca: &Ca, name: &str) -> Option<Vec<u8>> {
    connect(process, ca, name).await.ok()?.certificate
}

async fn is_shown(process: &Process, ca: &Ca, name: &str, issued: &Issued) {
    eventually("the new certificate", async || {
        let shown = shown(process, ca, name).await?;
        (shown == issued.cert.as_ref()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_certificate_is_put_shown_replaced_and_kept_and_open_connections_stay() {
    let ca = Ca::new();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &config(json!([{"stored": "site"}])));
    let process = Process::start(folder.path());
    // before there is one the gateway runs, handshakes fail, and status says why
    assert_eq!(shown(&process, &ca, "a.example").await, None);
    let warnings = process.admin_get("/v1/status").await["warnings"].to_string();
    assert!(
        warnings.contains("`site`") && warnings.contains("`tls`"),
        "{warnings}"
    );
    let first = ca.issue(&["a.example"]);
    let reply = put(&process, "site", &pem(&first)).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    let mut open = connect(&process, &ca, "a.example").await.unwrap();
    assert_eq!(open.certificate.as_deref(), Some(first.cert.as_ref()));
    assert_eq!(open.get("/").await.status, 204);

    let second = ca.issue(&["a.example"]);
    let reply = put(&process, "site", &pem(&second)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(
        shown(&process, &ca, "a.example").await.as_deref(),
        Some(second.cert.as_ref())
    );
    assert_eq!(open.get("/").await.status, 204, "opened before");

    let view = process.admin_get("/v1/certificates/site").await;
    assert_eq!(process.admin_get("/v1/certificates").await, json!([view]));
    assert_eq!(
        (&view["names"], &view["listeners"]),
        (&json!(["a.example"]), &json!(["tls"]))
    );
    assert_eq!(process.admin_get("/v1/status").await["warnings"], json!([]));
    let metrics = get(process.admin, "/metrics").await.text();
    let expiry = "edgeward_certificate_not_after_seconds{listener=\"tls\",certificate=\"site\"} ";
    assert!(metrics.contains(expiry), "{metrics}");
    // the key goes in and not out: neither to clients nor into the log, and only the owner can read the file
    let secret = second.key_pem.lines().nth(1).unwrap();
    let config = process.admin_get("/v1/config").await;
    for text in [view.to_string(), reply.text(), config.to_string(), process.log()] {
        assert!(!text.contains(secret), "{text}");
    }
    let file = folder.path().join("data/certificates/site.json");
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);

    process.kill();
    let process = Process::start(folder.path());
    assert_eq!(
        shown(&process, &ca, "a.example").await.as_deref(),
        Some(second.cert.as_ref()),
        "after a restart"
    );
    let reply = process.admin("DELETE", "/v1/certificates/site", empty()).await;
    assert_eq!(reply.status, 409, "{}", reply.text());
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_with_the_reason_and_changes_nothing() {
    let ca = Ca::new();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &config(json!([{"stored": "site"}])));
    let process = Process::start(folder.path());
    let good = ca.issue(&["a.example"]);
    assert_eq!(put(&process, "site", &pem(&good)).await.status, 201);
    let snapshot = process.admin_get("/v1/status").await["snapshot"].clone();
    let other = ca.issue(&["a.example"]);
    let day = Duration::from_hours(24);
    let secret = good.key_pem.lines().nth(1).unwrap();
    let with = |key: &str, value: Value| {
        let mut body = pem(&good);
        body[key] = value;
        body
    };
    for (name, body, status, reason) in [
        ("site", with("key", json!(other.key_pem)), 422, "chain and key"),
        ("site", with("key", json!("none")), 422, "no private key"),
        ("site", with("chain", json!(good.key_pem)), 422, "no certificate"),
        (
            "site",
            pem(&ca.issue_for(&["a.example"], 2 * day, Duration::ZERO)),
            422,
            "expired at",
        ),
        ("site", pem(&ca.issue(&["127.0.0.1"])), 422, "give `names`"),
        ("site", with("names", json!(["a:1"])), 422, "not a server name"),
        (
            "site",
            with("names", json!(good.key_pem)),
            400,
            "not a JSON object of",
        ),
        ("site", with("more", json!(1)), 400, "not a JSON object of"),
        ("a%2Fb", pem(&good), 400, "cannot be the name"),
        (".a", pem(&good), 400, "cannot be the name"),
    ] {
        let reply = put(&process, name, &body).await;
        assert_eq!(reply.status, status, "{reason}: {}", reply.text());
        assert_eq!(reply.header("content-type"), "application/problem+json");
        let text = reply.text();
        assert!(text.contains(reason) && !text.contains(&secret[..12]), "{text}");
    }
    for method in ["GET", "DELETE"] {
        let reply = process.admin(method, "/v1/certificates/ghost", empty()).await;
        assert_eq!(reply.status, 404, "{}", reply.text());
    }
    assert_eq!(process.admin_get("/v1/status").await["snapshot"], snapshot);
    assert_eq!(
        shown(&process, &ca, "a.example").await.as_deref(),
        Some(good.cert.as_ref())
    );
    assert!(!process.log().contains(&secret[..12]));
}

#[tokio::test]
async fn a_listener_can_show_all_that_are_put_and_the_command_line_puts_them() {
    let ca = Ca::new();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &config(json!([{"stored": "*"}])));
    let process = Process::start(folder.path());
    let (a, b) = (ca.issue(&["a.example"]), ca.issue(&["b.example"]));
    a.write(folder.path(), "a");
    b.write(folder.path(), "b");
    let admin = format!("http://{}", process.admin);
    let token = process.token_file.display().to_string();
    let run = async |words: &[&str]| {
        let server = ["--json", "--admin", &admin, "--token-file", &token];
        cli(folder.path(), &[&["certificate"], words, &server].concat()).await
    };
    for (name, issued) in [("a", &a), ("b", &b)] {
        let (cert, key) = (format!("{name}.crt"), format!("{name}.key"));
        let put = run(&["put", name, "--cert", &cert, "--key", &key]).await;
        assert_eq!(put.code, 0, "{put:?}");
        assert_eq!(put.json()["listeners"], json!(["tls"]));
        let host = format!("{name}.example");
        assert_eq!(
            shown(&process, &ca, &host).await.as_deref(),
            Some(issued.cert.as_ref())
        );
    }
    let listed = run(&["list"]).await;
    let names: Vec<_> = listed
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|view| view["name"].clone())
        .collect();
    assert_eq!(names, ["a", "b"]);
    let refused = run(&["put", "b", "--cert", "b.crt", "--key", "a.key"]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    // names that are given count instead of those in the certificate
    let put = run(&[
        "put",
        "b",
        "--cert",
        "b.crt",
        "--key",
        "b.key",
        "--for",
        "c.example",
    ])
    .await;
    assert_eq!(
        (put.code, &put.json()["names"]),
        (0, &json!(["c.example"])),
        "{put:?}"
    );
    assert_eq!(
        shown(&process, &ca, "b.example").await,
        None,
        "the first, which is not for it"
    );
    let deleted = run(&["delete", "a"]).await;
    assert_eq!(deleted.code, 0, "{deleted:?}");
    assert_eq!(run(&["delete", "a"]).await.code, 1);
    assert_eq!(shown(&process, &ca, "a.example").await, None);
    // `check` finds them in the data folder, beside the gateway that runs
    let checked = cli(folder.path(), &["check", "--json"]).await;
    assert_eq!(checked.code, 0, "{checked:?}");
}

/// Replaces a file as a careful program does.
fn replace(path: &Path, content: impl AsRef<[u8]>) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, path).unwrap();
}

#[tokio::test]
async fn replaced_files_are_picked_up_by_rename_and_by_swapped_links() {
    let ca = Ca::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let generation = |name: &str| {
        let issued = ca.issue(&["b.example"]);
        fs::create_dir(path.join(name)).unwrap();
        issued.write(&path.join(name), "b");
        issued
    };
    ca.issue(&["a.example"]).write(path, "a");
    let _first = generation("..one");
    // as Kubernetes mounts secrets, and nearly as certbot keeps its live certificates
    symlink("..one", path.join("..data")).unwrap();
    for file in ["b.crt", "b.key"] {
        symlink(format!("..data/{file}"), path.join(file)).unwrap();
    }
    let certificates = json!([{"cert": "a.crt", "key": "a.key"}, {"cert": "b.crt", "key": "b.key"}]);
    write(path, &config(certificates));
    let process = Process::start(path);
    let mut open = connect(&process, &ca, "a.example").await.unwrap();
    assert_eq!(open.get("/").await.status, 204);

    let second = ca.issue(&["a.example"]);
    replace(&path.join("a.key"), &second.key_pem);
    replace(&path.join("a.crt"), &second.cert_pem);
    is_shown(&process, &ca, "a.example", &second).await;

    let third = generation("..two");
    symlink("..two", path.join("..data.new")).unwrap();
    fs::rename(path.join("..data.new"), path.join("..data")).unwrap();
    is_shown(&process, &ca, "b.example", &third).await;
    assert_eq!(open.get("/").await.status, 204, "opened before");
}

#[tokio::test]
async fn a_replaced_ocsp_response_is_stapled_from_then_on_and_open_connections_stay() {
    let ca = Ca::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    ca.issue(&["a.example"]).write(path, "a");
    // OCSPResponse { successful, no bytes }, and with something behind
    let (first, second) = ([0x30, 3, 0x0a, 1, 0], [0x30, 5, 0x0a, 1, 0, 5, 0]);
    fs::write(path.join("a.ocsp"), first).unwrap();
    write(
        path,
        &config(json!([{"cert": "a.crt", "key": "a.key", "ocsp": "a.ocsp"}])),
    );
    let process = Process::start(path);
    let mut open = connect(&process, &ca, "a.example").await.unwrap();
    assert_eq!(open.get("/").await.status, 204);
    let quic = QuicClient::new(&ca.client(&["h3"], None));
    let connection = quic.connect(process.address(), "a.example").await.unwrap();
    let mut open_h3 = H3::on(connection).await;
    assert_eq!(open_h3.get("/").await.status, 204);
    for protocol in ["http/1.1", "h3"] {
        assert_eq!(
            Box::pin(staple(process.address(), protocol)).await,
            first,
            "{protocol}"
        );
    }

    replace(&path.join("a.ocsp"), second);
    for protocol in ["http/1.1", "h3"] {
        eventually("the new response", async || {
            let stapled = Box::pin(staple(process.address(), protocol)).await;
            (stapled == second).then_some(())
        })
        .await;
    }
    // one that is none changes nothing
    replace(&path.join("a.ocsp"), "none");
    eventually("the problem in the status", async || {
        let status = process.admin_get("/v1/status").await;
        (status["config"]["last-reload"]["ok"] == false).then_some(())
    })
    .await;
    for protocol in ["http/1.1", "h3"] {
        assert_eq!(
            Box::pin(staple(process.address(), protocol)).await,
            second,
            "{protocol}"
        );
    }
    assert_eq!(open.get("/").await.status, 204, "opened before");
    assert_eq!(open_h3.get("/").await.status, 204, "opened before");
}

#[tokio::test]
async fn a_broken_file_keeps_the_old_certificate_is_told_of_and_stops_nothing_else() {
    let ca = Ca::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let first = ca.issue(&["a.example"]);
    first.write(path, "a");
    let mut config = config(json!([{"cert": "a.crt", "key": "a.key"}, {"stored": "site"}]));
    config["plugins"] = json!({"stamp": {"module": guest("stamp"), "config": {"version": "file"}}});
    write(path, &config);
    let process = Process::start(path);
    replace(
        &path.join("a.crt"),
        "-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n",
    );
    let problems = eventually("the problem in the status", async || {
        let status = process.admin_get("/v1/status").await;
        let reload = status["config"]["last-reload"].clone();
        (reload["ok"] == false).then(|| reload["error"]["problems"].to_string())
    })
    .await;
    assert!(
        problems.contains("a.crt") && problems.contains("listeners[0].tls"),
        "{problems}"
    );
    let metrics = get(process.admin, "/metrics").await.text();
    assert!(
        metrics.contains("edgeward_config_last_reload_success 0\n"),
        "{metrics}"
    );
    assert!(process.log().contains("a.crt"), "{}", process.log());
    is_shown(&process, &ca, "a.example", &first).await;
    // a new version of a plugin and another certificate of the same listener go through, and leave it as it is
    let version = process
        .admin(
            "PUT",
            "/v1/plugins/stamp/module?publish=true&settings=%7B%22config%22%3A%7B%22version%22%3A%22two%22%7D%7D",
            bytes(guest_bytes("stamp")),
        )
        .await;
    assert_eq!(version.status, 201, "{}", version.text());
    assert_eq!(version.json()["published"]["changed"], true, "{}", version.text());
    let site = ca.issue(&["site.example"]);
    let reply = put(&process, "site", &pem(&site)).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    is_shown(&process, &ca, "site.example", &site).await;
    is_shown(&process, &ca, "a.example", &first).await;

    let second = ca.issue(&["a.example"]);
    second.write(path, "a");
    is_shown(&process, &ca, "a.example", &second).await;
    eventually("the status to be good again", async || {
        let status = process.admin_get("/v1/status").await;
        (status["config"]["last-reload"]["ok"] == true).then_some(())
    })
    .await;
}

#[tokio::test]
async fn replaced_truststores_and_revocation_lists_hold_for_the_next_handshake() {
    let (ca, clients, others) = (Ca::new(), Ca::new(), Ca::new());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    ca.issue(&["a.example"]).write(path, "a");
    let truststore = clients.write(path);
    let later = std::time::SystemTime::now() + Duration::from_hours(24);
    let list = path.join("clients.crl");
    fs::write(&list, clients.revoke(&[], later)).unwrap();
    let mut config = config(json!([{"cert": "a.crt", "key": "a.key"}]));
    config["listeners"][0]["tls"]["client-auth"] = json!({"ca": truststore, "crl": [list]});
    write(path, &config);
    let process = Process::start(path);
    let (one, other) = (clients.issue(&["one"]), others.issue(&["other"]));
    let is_served = async |identity: &Issued| {
        let client = ca.client(&["http/1.1"], Some(identity));
        let connecting = Box::pin(Connection::tls(process.address(), "a.example", &client));
        let Ok(mut connection) = connecting.await else {
            return false;
        };
        connection
            .try_send(http::Request::get("/"), empty())
            .await
            .is_ok()
    };
    assert!(is_served(&one).await && !is_served(&other).await);
    replace(&list, clients.revoke(&[&one], later));
    eventually("the new list", async || (!is_served(&one).await).then_some(())).await;
    replace(&list, others.revoke(&[], later));
    let new = tempfile::tempdir().unwrap();
    replace(&truststore, fs::read(others.write(new.path())).unwrap());
    eventually("the new truststore", async || {
        is_served(&other).await.then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_replaced_truststore_towards_an_upstream_holds() {
    let (ca, stranger) = (Ca::new(), Ca::new());
    let origin = Origin::tls(ca.issue(&["origin.example"]).server(&["http/1.1"]));
    let folder = tempfile::tempdir().unwrap();
    let truststore = stranger.write(folder.path());
    let config = json!({
        "listeners": [{"name": "main", "address": "127.0.0.1:0"}],
        "admin": {"address": "127.0.0.1:0"},
        "data-dir": "data",
        "upstreams": {"origin": {"endpoints": [origin.endpoint()], "tls": {"server-name": "origin.example", "ca": truststore}}},
        "routes": [{"path": "/{path+}", "upstream": "origin"}],
    });
    write(folder.path(), &config);
    let process = Process::start(folder.path());
    assert_eq!(get(process.address(), "/echo").await.status, 502);
    let new = tempfile::tempdir().unwrap();
    replace(&truststore, fs::read(ca.write(new.path())).unwrap());
    eventually("the new truststore", async || {
        (get(process.address(), "/echo").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_domain_shows_a_certificate_of_its_own_on_every_listener() {
    let ca = Ca::new();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &config(json!([{"stored": "*"}])));
    let process = Process::start(folder.path());
    let (first, wide, own) = (
        ca.issue(&["b.example"]),
        ca.issue(&["a.example", "*.wide.example"]),
        ca.issue(&["a.example"]),
    );
    // the listener shows all of them, and the first one to ask for a name has it: by name, `1wide` comes before `own`
    for (name, issued) in [("0first", &first), ("1wide", &wide), ("own", &own)] {
        assert_eq!(put(&process, name, &pem(issued)).await.status, 201);
    }
    is_shown(&process, &ca, "a.example", &wide).await;
    let domain = async |name: &str, body: Value| {
        let path = format!("/v1/domains/{name}");
        process.admin("PUT", &path, bytes(body.to_string())).await
    };
    for (name, certificate, reason) in [
        ("a.example", "none", "no certificate is called `none`"),
        ("c.other", "own", "not for domain `c.other`, but for a.example"),
    ] {
        let refused = domain(name, json!({"certificate": certificate})).await;
        assert_eq!(refused.status, 422, "{}", refused.text());
        assert!(refused.text().contains(reason), "{}", refused.text());
    }
    let set = domain("a.example", json!({"certificate": "own"})).await;
    assert_eq!(set.status, 201, "{}", set.text());
    is_shown(&process, &ca, "a.example", &own).await;
    is_shown(&process, &ca, "c.wide.example", &wide).await;
    is_shown(&process, &ca, "b.example", &first).await;
    let view = process.admin_get("/v1/certificates/own").await;
    assert_eq!(view["domains"], json!(["a.example"]));
    let refused = process.admin("DELETE", "/v1/certificates/own", empty()).await;
    assert_eq!(refused.status, 409, "{}", refused.text());
    // nor may it be replaced by one that is for others
    let refused = put(&process, "own", &pem(&first)).await;
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert!(
        refused
            .text()
            .contains("not for domain `a.example`, but for b.example"),
        "{}",
        refused.text()
    );
    is_shown(&process, &ca, "a.example", &own).await;
    // another one under the name is shown, a restart changes nothing, and the domain can do without
    let newer = ca.issue(&["a.example"]);
    assert_eq!(put(&process, "own", &pem(&newer)).await.status, 200);
    is_shown(&process, &ca, "a.example", &newer).await;
    process.kill();
    let process = Process::start(folder.path());
    is_shown(&process, &ca, "a.example", &newer).await;
    let gone = process.admin("DELETE", "/v1/domains/a.example", empty()).await;
    assert_eq!(gone.status, 204);
    is_shown(&process, &ca, "a.example", &wide).await;
    let gone = process.admin("DELETE", "/v1/certificates/own", empty()).await;
    assert_eq!(gone.status, 204, "{}", gone.text());
}

#[tokio::test]
async fn certificates_below_a_domain_are_those_that_stand_for_it() {
    let ca = Ca::new();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &config(json!([{"stored": "other"}])));
    let process = Process::start(folder.path());
    let (other, wide, own) = (
        ca.issue(&["b.example"]),
        ca.issue(&["*.example"]),
        ca.issue(&["a.example"]),
    );
    for (name, issued) in [("other", &other), ("wide", &wide)] {
        assert_eq!(put(&process, name, &pem(issued)).await.status, 201);
    }
    let call = async |method: &str, path: &str, body: Option<&Value>| {
        let path = format!("/v1/domains/{path}");
        let body = body.map_or_else(empty, |body| bytes(body.to_string()));
        process.admin(method, &path, body).await
    };
    let missing = call("PUT", "a.example/certificates/own", Some(&pem(&own))).await;
    assert_eq!(missing.status, 404, "{}", missing.text());
    assert_eq!(call("GET", "a.example/certificates", None).await.status, 404);
    assert_eq!(call("PUT", "a.example", Some(&json!({}))).await.status, 201);
    let refused = call("PUT", "a.example/certificates/own", Some(&pem(&other))).await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(refused.text().contains("but for b.example"), "{}", refused.text());
    // nor one for this domain in place of one for others
    let refused = call("PUT", "a.example/certificates/other", Some(&pem(&own))).await;
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert!(refused.text().contains("take another name"), "{}", refused.text());
    let absent = call("DELETE", "a.example/certificates/other", None).await;
    assert_eq!(absent.status, 404, "{}", absent.text());
    let kept = call("PUT", "a.example/certificates/own", Some(&pem(&own))).await;
    assert_eq!(kept.status, 201, "{}", kept.text());
    assert!(!kept.text().contains("PRIVATE"), "{}", kept.text());

    let list = process.admin_get("/v1/domains/a.example/certificates").await;
    let names = |list: &Value| -> Vec<String> {
        let all = list.as_array().unwrap().iter();
        all.map(|kept| kept["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&list), ["own", "wide"]);
    let page = process
        .admin_get("/v1/domains/a.example/certificates?limit=1&cursor=own")
        .await;
    assert_eq!(names(&page), ["wide"]);
    let foreign = call("GET", "a.example/certificates/other", None).await;
    assert_eq!(foreign.status, 404, "{}", foreign.text());
    // shown once the domain names it, and there as long as it does
    let named = call("PUT", "a.example", Some(&json!({"certificate": "own"}))).await;
    assert_eq!(named.status, 200, "{}", named.text());
    is_shown(&process, &ca, "a.example", &own).await;
    let one = process.admin_get("/v1/domains/a.example/certificates/own").await;
    assert_eq!(one["domains"], json!(["a.example"]));
    let used = call("DELETE", "a.example/certificates/own", None).await;
    assert_eq!(used.status, 409, "{}", used.text());
    let gone = call("DELETE", "a.example/certificates/wide", None).await;
    assert_eq!(gone.status, 204, "{}", gone.text());
    // the log has both under one name, with what changed and without the key
    let log = process.admin_get("/v1/audit?target=certificates/wide").await;
    let entries = log.as_array().unwrap();
    let done: Vec<_> = entries
        .iter()
        .filter(|entry| entry["outcome"] == "done")
        .map(|entry| (&entry["action"], !entry["patch"].is_null()))
        .collect();
    assert_eq!(done, [(&json!("put"), true), (&json!("delete"), true)], "{log}");
    assert!(!log.to_string().contains("PRIVATE"), "{log}");
}
