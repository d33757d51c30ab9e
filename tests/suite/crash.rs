//! Kills at any moment: after a restart there is the old or the new state, and nothing half-done.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use edgeward_tests::{Ca, H3, Origin, Process, QuicClient, bytes, eventually, guest_bytes, within};
use quinn::ConnectionError;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::process::{folder, live, write};

/// Kills in each test.
const KILLS: u64 = 8;

/// Every file of the module folder is a module that the gateway knows, and the other way round.
async fn nothing_is_half(process: &Process, folder: &Path) {
    let modules = process.admin_get("/v1/modules").await;
    let mut known: Vec<String> = modules
        .as_array()
        .unwrap()
        .iter()
        .map(|module| {
            format!(
                "{}.wasm",
                module["digest"].as_str().unwrap().trim_start_matches("sha256:")
            )
        })
        .collect();
    let entries = fs::read_dir(folder.join("data/modules")).unwrap();
    let mut files: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    known.sort();
    files.sort();
    assert_eq!(known, files, "modules known and modules on disk");
    for module in modules.as_array().unwrap() {
        let digest: edgeward_core::ids::Digest = module["digest"].as_str().unwrap().parse().unwrap();
        let bytes = fs::read(folder.join("data/modules").join(format!("{}.wasm", digest.hex()))).unwrap();
        assert_eq!(edgeward_runtime::digest(&bytes), digest);
    }
    let left = fs::read_dir(folder.join("data/compiled")).unwrap();
    let left: Vec<_> = left
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "tmp"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A module that differs from the others: a custom section at the end changes nothing but the digest.
fn variant(number: u64) -> Vec<u8> {
    let mut wasm = guest_bytes("stamp");
    let name = b"variant";
    let content = number.to_le_bytes();
    wasm.push(0);
    wasm.push(u8::try_from(1 + name.len() + content.len()).unwrap());
    wasm.push(u8::try_from(name.len()).unwrap());
    wasm.extend_from_slice(name);
    wasm.extend_from_slice(&content);
    wasm
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_the_middle_of_uploads_leaves_no_half_module() {
    let origin = Origin::start();
    let folder = folder(&origin);
    let acknowledged = Arc::new(parking_lot::Mutex::new(Vec::<String>::new()));
    for round in 0..KILLS {
        let process = Arc::new(Process::start(folder.path()));
        nothing_is_half(&process, folder.path()).await;
        let modules = process.admin_get("/v1/modules").await.to_string();
        for digest in acknowledged.lock().iter() {
            assert!(
                modules.contains(digest.as_str()),
                "{digest} was confirmed and is gone"
            );
        }
        let uploads = tokio::spawn({
            let (process, acknowledged) = (Arc::clone(&process), Arc::clone(&acknowledged));
            async move {
                for number in 0.. {
                    let wasm = variant(round * 1000 + number);
                    let Some(reply) = process.try_admin("POST", "/v1/modules", bytes(wasm)).await else {
                        return;
                    };
                    if reply.status == 201 {
                        acknowledged
                            .lock()
                            .push(reply.json()["digest"].as_str().unwrap().to_owned());
                    }
                }
            }
        });
        // somewhere in the third upload or so, at a place that differs from round to round
        let target = acknowledged.lock().len() + 2;
        eventually("some uploads", async || {
            (acknowledged.lock().len() >= target).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(round * 7)).await;
        process.signal(Signal::KILL);
        uploads.await.unwrap();
    }
    let process = Process::start(folder.path());
    nothing_is_half(&process, folder.path()).await;
    assert_eq!(live(&process).await, "file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_the_middle_of_publications_leaves_the_old_or_the_new_version() {
    let origin = Origin::start();
    let folder = folder(&origin);
    let process = Process::start(folder.path());
    let digest = process
        .admin("POST", "/v1/modules", bytes(guest_bytes("stamp")))
        .await
        .json()["digest"]
        .clone();
    for version in ["one", "two"] {
        let body = json!({"module": digest, "config": {"version": version}}).to_string();
        let reply = process
            .admin("POST", "/v1/plugins/stamp/versions?publish=true", bytes(body))
            .await;
        assert_eq!(reply.status, 201, "{}", reply.text());
    }
    process.kill();
    // the version last confirmed, and the one asked for after it
    let confirmed = Arc::new(AtomicU64::new(2));
    let wanted = Arc::new(AtomicU64::new(2));
    for round in 0..KILLS {
        let process = Arc::new(Process::start(folder.path()));
        let now = match live(&process).await.as_str() {
            "one" => 1,
            "two" => 2,
            other => panic!("{other} was never published"),
        };
        assert!(
            now == confirmed.load(SeqCst) || now == wanted.load(SeqCst),
            "{now} is neither old nor new"
        );
        let told = process.admin_get("/v1/plugins/stamp").await;
        assert_eq!(told["version"], now, "what is served is what is told: {told}");
        nothing_is_half(&process, folder.path()).await;
        let count = Arc::new(AtomicU64::new(0));
        let publications = tokio::spawn({
            let (process, confirmed, wanted, count) = (
                Arc::clone(&process),
                Arc::clone(&confirmed),
                Arc::clone(&wanted),
                Arc::clone(&count),
            );
            async move {
                for turn in 0.. {
                    let version = 1 + turn % 2;
                    wanted.store(version, SeqCst);
                    let body = json!({"version": version}).to_string();
                    let Some(reply) = process
                        .try_admin("POST", "/v1/plugins/stamp/publish", bytes(body))
                        .await
                    else {
                        return;
                    };
                    assert_eq!(reply.status, 200, "{}", reply.text());
                    confirmed.store(version, SeqCst);
                    count.fetch_add(1, SeqCst);
                }
            }
        });
        eventually("some publications", async || {
            (count.load(SeqCst) >= 3).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(round * 3)).await;
        process.signal(Signal::KILL);
        publications.await.unwrap();
    }
}

/// An API that answers the number of a turn at `/turn`, deployed by itself.
fn serving(turn: u64, description: String) -> Value {
    json!({"apis": {"pets": {
        "protocol": "REST",
        "description": description,
        "integrations": {"turn": {
            "type": "MOCK",
            "request-templates": {"application/json": "{\"statusCode\": 200}"},
            "responses": [{"status": 200, "templates": {"text/plain": turn.to_string()}}],
        }},
        "routes": {"GET /turn": {"integration": "turn"}},
        "stages": {"prod": {"auto-deploy": true}},
    }}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_the_middle_of_changes_of_apis_leaves_the_old_or_the_new_ones() {
    let origin = Origin::start();
    let folder = folder(&origin);
    let bundle = |turn: u64| serving(turn, turn.to_string());
    let (confirmed, wanted) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    for round in 0..KILLS {
        let process = Arc::new(Process::start(folder.path()));
        let check = process.admin_get("/v1/audit/verify").await;
        assert_eq!(check["problem"], json!(null), "{check}");
        if round > 0 {
            let request = http::Request::get("/prod/turn").header("host", "pets.execute-api.localhost");
            let served = edgeward_tests::ask(process.address(), request, edgeward_tests::empty()).await;
            let now: u64 = served.text().parse().unwrap_or_else(|_| panic!("{served:?}"));
            assert!(
                now == confirmed.load(SeqCst) || now == wanted.load(SeqCst),
                "{now} is neither old nor new"
            );
            // what is defined, deployed and served is one and the same
            let api = process.admin_get("/v1/apis/pets").await;
            assert_eq!(api["description"], now.to_string(), "{api}");
            let drift = process.admin_get("/v1/apis/pets/drift").await;
            assert_eq!(drift["prod"]["drifted"], false, "{drift}");
        }
        let count = Arc::new(AtomicU64::new(0));
        let changes = tokio::spawn({
            let (process, confirmed, wanted, count) = (
                Arc::clone(&process),
                Arc::clone(&confirmed),
                Arc::clone(&wanted),
                Arc::clone(&count),
            );
            async move {
                loop {
                    let turn = wanted.fetch_add(1, SeqCst) + 1;
                    let body = bundle(turn).to_string();
                    let Some(reply) = process.try_admin("PUT", "/v1/bundle", bytes(body)).await else {
                        return;
                    };
                    assert_eq!(reply.status, 200, "{}", reply.text());
                    confirmed.store(turn, SeqCst);
                    count.fetch_add(1, SeqCst);
                }
            }
        });
        eventually("some changes", async || (count.load(SeqCst) >= 3).then_some(())).await;
        tokio::time::sleep(Duration::from_millis(round * 3)).await;
        process.signal(Signal::KILL);
        changes.await.unwrap();
    }
}

/// A program that runs the gateway with its data folder on a disk of so many MiB, in a mount namespace of its own. None where the system does not let us.
fn on_a_small_disk(folder: &Path, size: u32) -> Option<PathBuf> {
    fs::create_dir(folder.join("data")).unwrap();
    let unshare = "unshare --user --map-root-user --mount sh -c";
    let mount = format!("mount -t tmpfs -o size={size}m none data");
    let may = std::process::Command::new("sh")
        .args(["-c", &format!("{unshare} '{mount}'")])
        .current_dir(folder)
        .status();
    if !may.is_ok_and(|status| status.success()) {
        return None;
    }
    let program = folder.join("edgeward-on-a-small-disk");
    let binary = edgeward_tests::edgeward();
    let script = format!(
        "#!/bin/sh\nEDGEWARD='{}' exec {unshare} '{mount} && exec \"$EDGEWARD\" \"$@\"' sh \"$@\"\n",
        binary.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o700)).unwrap();
    Some(program)
}

#[tokio::test]
async fn a_full_disk_refuses_changes_and_loses_none() {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({
        "listeners": [{"address": "127.0.0.1:0"}],
        "admin": {"address": "127.0.0.1:0", "token-file": "admin.token"},
        "data-dir": "data",
    });
    write(folder.path(), &config);
    let Some(program) = on_a_small_disk(folder.path(), 4) else {
        println!("skipped: this system gives no mount namespaces (unshare, tmpfs)");
        return;
    };
    let log = fs::File::create(folder.path().join("edgeward.log")).unwrap();
    let process = Process::launch(&program, folder.path(), log.into()).unwrap();
    let api = |turn: u64| serving(turn, turn.to_string() + &"x".repeat(20_000));
    let served = async || {
        let request = http::Request::get("/prod/turn").header("host", "pets.execute-api.localhost");
        let reply = edgeward_tests::ask(process.address(), request, edgeward_tests::empty()).await;
        reply
            .text()
            .parse::<u64>()
            .unwrap_or_else(|_| panic!("{reply:?}"))
    };
    // until the disk is full
    let mut turn = 0;
    let refused = loop {
        assert!(turn < 1000, "the disk does not get full");
        turn += 1;
        let reply = process
            .admin("PUT", "/v1/bundle", bytes(api(turn).to_string()))
            .await;
        if reply.status != 200 {
            break reply;
        }
    };
    assert_eq!(refused.status, 507, "{}", refused.text());
    let kept = turn - 1;
    assert_eq!(served().await, kept);
    // what was refused has left nothing behind, also where it is tried again
    for _ in 0..3 {
        let reply = process
            .admin("PUT", "/v1/bundle", bytes(api(turn).to_string()))
            .await;
        assert_eq!(reply.status, 507, "{}", reply.text());
    }
    let description = process.admin_get("/v1/apis/pets").await["description"].clone();
    assert!(
        description.as_str().unwrap().starts_with(&format!("{kept}x")),
        "{turn}"
    );
    let drift = process.admin_get("/v1/apis/pets/drift").await;
    assert_eq!(drift["prod"]["drifted"], false, "{drift}");
    // a loss of power on the full disk, and a larger one
    process.signal(Signal::STOP);
    let seen = PathBuf::from(format!("/proc/{}/root", process.pid()));
    let data = seen.join(folder.path().join("data").strip_prefix("/").unwrap());
    let larger = folder.path().join("larger");
    fs::create_dir(&larger).unwrap();
    crate::apis::copy_folder(&data, &larger);
    drop(process);
    let mut config = config;
    config["data-dir"] = json!("larger");
    write(folder.path(), &config);
    let process = Process::start(folder.path());
    let request = http::Request::get("/prod/turn").header("host", "pets.execute-api.localhost");
    let reply = edgeward_tests::ask(process.address(), request, edgeward_tests::empty()).await;
    assert_eq!(reply.text(), kept.to_string());
    let check = process.admin_get("/v1/audit/verify").await;
    assert_eq!(check["problem"], json!(null), "{check}");
    let reply = process
        .admin("PUT", "/v1/bundle", bytes(api(turn).to_string()))
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn a_full_disk_refuses_modules_publications_and_principals() {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({
        "listeners": [{"address": "127.0.0.1:0"}],
        "admin": {"address": "127.0.0.1:0", "token-file": "admin.token"},
        "data-dir": "data",
        "plugins": {"stamp": {"module": edgeward_tests::guest("stamp"), "config": {"version": "file"}}},
        "routes": [{"name": "all", "path": "/{path+}", "respond": {"status": 204}, "pipeline": ["stamp"]}],
    });
    write(folder.path(), &config);
    let Some(program) = on_a_small_disk(folder.path(), 64) else {
        println!("skipped: this system gives no mount namespaces (unshare, tmpfs)");
        return;
    };
    let log = fs::File::create(folder.path().join("edgeward.log")).unwrap();
    let process = Process::launch(&program, folder.path(), log.into()).unwrap();
    let modules = async || process.admin_get("/v1/modules").await;
    let stamp = async || {
        let reply = edgeward_tests::get(process.address(), "/x").await;
        assert_eq!(reply.status, 204);
        reply.header("x-stamp").to_owned()
    };
    let kept = process
        .admin("POST", "/v1/modules", bytes(guest_bytes("stamp")))
        .await;
    let body = json!({"module": kept.json()["digest"], "config": {"version": "new"}});
    let made = process
        .admin("POST", "/v1/plugins/stamp/versions", bytes(body.to_string()))
        .await;
    assert_eq!(made.status, 201, "{}", made.text());
    let body = json!({"version": made.json()["version"]}).to_string();
    let before = modules().await;
    // until not one byte is free
    let seen = PathBuf::from(format!("/proc/{}/root", process.pid()));
    let data = seen.join(folder.path().join("data").strip_prefix("/").unwrap());
    let filler = data.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    for size in [1 << 20, 4 << 10, 1] {
        while std::io::Write::write_all(&mut file, &vec![0; size]).is_ok() {}
    }
    let refused = process.admin("POST", "/v1/modules", bytes(variant(1))).await;
    assert_eq!(refused.status, 507, "{}", refused.text());
    assert_eq!(modules().await, before);
    // what the database has room for in its own files is still kept: until it has none
    let mut count = 0;
    let refused = loop {
        assert!(count < 1000, "the database has room for ever");
        let principal = json!({"role": "viewer", "description": "x".repeat(200)}).to_string();
        let path = format!("/v1/principals/p{count}");
        let reply = process.admin("PUT", &path, bytes(principal)).await;
        if reply.status >= 300 {
            break reply;
        }
        count += 1;
    };
    assert_eq!(refused.status, 507, "{}", refused.text());
    let none = process
        .admin(
            "GET",
            &format!("/v1/principals/p{count}"),
            edgeward_tests::empty(),
        )
        .await;
    assert_eq!(none.status, 404, "{}", none.text());
    let refused = process
        .admin("POST", "/v1/plugins/stamp/publish", bytes(body.clone()))
        .await;
    assert_eq!(refused.status, 507, "{}", refused.text());
    assert_eq!(stamp().await, "file", "what was not kept is not served");
    // APIs of the file that the audit log cannot be told of are not served
    let mut with_api = config.clone();
    with_api["apis"] = serving(1, String::new())["apis"].clone();
    with_api["apis"]["pets"]["stages"] = json!({"prod": {}});
    write(folder.path(), &with_api);
    eventually("the file to be refused", async || {
        let status = process.admin_get("/v1/status").await;
        let reload = status["config"]["last-reload"].to_string();
        reload.contains("database or disk is full").then_some(())
    })
    .await;
    let none = process
        .admin("GET", "/v1/apis/pets", edgeward_tests::empty())
        .await;
    assert_eq!(none.status, 404, "{}", none.text());
    // and with room again everything is possible
    drop(file);
    fs::remove_file(&filler).unwrap();
    let published = process
        .admin("POST", "/v1/plugins/stamp/publish", bytes(body))
        .await;
    assert_eq!(published.status, 200, "{}", published.text());
    assert_eq!(stamp().await, "new");
    let uploaded = process.admin("POST", "/v1/modules", bytes(variant(1))).await;
    assert_eq!(uploaded.status, 201, "{}", uploaded.text());
    let loaded = process.admin("POST", "/v1/reload", edgeward_tests::empty()).await;
    assert_eq!(loaded.status, 200, "{}", loaded.text());
    let noted = process
        .admin_get("/v1/audit?limit=1000&principal=gateway&target=apis/pets")
        .await;
    assert_eq!(noted[0]["action"], "reload", "{noted}");
    let check = process.admin_get("/v1/audit/verify").await;
    assert_eq!(check["problem"], json!(null), "{check}");
}

#[tokio::test]
async fn clients_of_http3_learn_that_their_connection_was_lost_with_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new();
    ca.issue(&["example.test"]).write(folder.path(), "site");
    let configure = |address: &str| {
        write(
            folder.path(),
            &json!({
                "listeners": [{
                    "name": "main",
                    "address": address,
                    "tls": {"certificates": [{"cert": "site.crt", "key": "site.key"}]},
                }],
                "admin": {"address": "127.0.0.1:0"},
                "data-dir": "data",
                "workers": 2,
                "routes": [{"name": "all", "path": "/{path+}", "respond": {"status": 204}}],
            }),
        );
    };
    configure("127.0.0.1:0");
    let process = Process::start(folder.path());
    let address = process.address();
    let client = QuicClient::new(&ca.client(&["h3"], None));
    let mut h3 = H3::on(client.connect(address, "example.test").await.unwrap()).await;
    assert_eq!(h3.get("/x").await.status, 204);
    process.kill();
    configure(&address.to_string());
    let _again = Process::start(folder.path());
    // something to send; its client is not asked for 30 seconds and more
    let _stream = h3
        .connection
        .open_bi()
        .await
        .unwrap()
        .0
        .write_all(b"anything")
        .await;
    let lost = within("the reset", h3.connection.closed()).await;
    assert!(matches!(lost, ConnectionError::Reset), "{lost}");
}
