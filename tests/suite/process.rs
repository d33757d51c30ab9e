//! The real process: start, stop, and what it leaves behind.

use std::{fs, path::Path};

use edgeward_tests::{Connection, Origin, Process, empty, eventually, get, guest};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A configuration with plugin `stamp` (version `file`) in front of an origin, everything on free ports.
pub(crate) fn config(origin: &Origin) -> Value {
    json!({
        "listeners": [{"name": "main", "address": "127.0.0.1:0"}],
        "admin": {"address": "127.0.0.1:0", "upload-limit": "4MiB"},
        "data-dir": "data",
        "workers": 2,
        "limits": {"drain-timeout": "20s"},
        "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
        "plugins": {"stamp": {"module": guest("stamp"), "config": {"version": "file"}}},
        "routes": [{"name": "all", "path": "/{path+}", "upstream": "origin", "pipeline": ["stamp"]}],
    })
}

/// Writes `gateway.yaml` at once, as an editor that replaces files does.
pub(crate) fn write(folder: &Path, config: &Value) {
    let text = serde_yaml_ng::to_string(config).unwrap();
    fs::write(folder.join("gateway.yaml.new"), text).unwrap();
    fs::rename(folder.join("gateway.yaml.new"), folder.join("gateway.yaml")).unwrap();
}

/// A folder with that configuration.
pub(crate) fn folder(origin: &Origin) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &config(origin));
    folder
}

/// The version that serves requests.
pub(crate) async fn live(process: &Process) -> String {
    let reply = get(process.address(), "/stamp").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.text(), reply.header("x-stamp"));
    reply.text()
}

#[tokio::test]
async fn sigterm_finishes_what_runs_and_ends_in_order() {
    let origin = Origin::start();
    let folder = folder(&origin);
    let mut process = Process::start(folder.path());
    assert_eq!(live(&process).await, "file");
    let address = process.address();
    let running = tokio::spawn(async move { Connection::h1(address).await.get("/hold/term").await });
    let mut idle = Connection::h1(address).await;
    assert_eq!(idle.get("/echo").await.status, 200);
    origin.wait_for("/hold/term", 1).await;
    process.signal(Signal::TERM);
    edgeward_tests::closed(address).await;
    origin.release("term");
    let reply = running.await.unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (200, "released"));
    let status = process.ended().await;
    assert!(status.success(), "{status}: {}", process.log());
    assert!(process.log().contains("stopped"), "{}", process.log());
}

#[tokio::test]
async fn what_runs_for_longer_than_the_drain_timeout_is_cut_off() {
    let origin = Origin::start();
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&origin);
    config["limits"]["drain-timeout"] = json!("300ms");
    write(folder.path(), &config);
    let mut process = Process::start(folder.path());
    let address = process.address();
    let running = tokio::spawn(async move {
        let request = http::Request::get("/hold/for-ever");
        Connection::h1(address).await.try_send(request, empty()).await
    });
    origin.wait_for("/hold/for-ever", 1).await;
    process.signal(Signal::TERM);
    let status = process.ended().await;
    assert!(status.success(), "{status}: {}", process.log());
    let cut = running.await.unwrap();
    assert!(cut.is_err(), "{cut:?}");
    assert!(process.log().contains("cut off"), "{}", process.log());
}

/// Names of a process's threads.
fn threads(process: &Process) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.pid())).unwrap();
    tasks
        .map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default())
        .map(|name| name.trim().to_owned())
        .collect()
}

#[tokio::test]
async fn threads_that_serve_no_requests_give_way() {
    let origin = Origin::start();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &config(&origin));
    let process = Process::start(folder.path());
    let nice = |name: &str| -> Vec<i64> {
        let tasks = fs::read_dir(format!("/proc/{}/task", process.pid())).unwrap();
        let stat = |task: std::io::Result<fs::DirEntry>| {
            fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default()
        };
        tasks
            .map(stat)
            .filter_map(|stat| {
                // proc_pid_stat(5): the name in parentheses, then from the third on fields with blanks between; `nice` is the nineteenth
                let (before, after) = stat.rsplit_once(") ")?;
                let named = before.split_once('(')?.1.starts_with(name);
                named.then(|| after.split(' ').nth(16)?.parse().ok()).flatten()
            })
            .collect()
    };
    // a thread takes its name when it begins to run, which the gateway does not wait for
    let own = eventually("a worker", async || nice("worker-").first().copied()).await;
    for (name, expected) in [("worker-", own), ("compiler-", 10), ("edgeward-contro", 10)] {
        eventually(name, async || {
            let found = nice(name);
            (!found.is_empty() && found.iter().all(|nice| *nice == expected)).then_some(())
        })
        .await;
    }
    assert!(own < 10, "{own}");
}

#[tokio::test]
async fn each_worker_is_a_thread_that_listens_and_serves_by_itself() {
    let origin = Origin::start();
    let folder = tempfile::tempdir().unwrap();
    for workers in [None, Some(3)] {
        let mut config = config(&origin);
        config["workers"] = json!(workers);
        write(folder.path(), &config);
        let process = Process::start(folder.path());
        let expected = workers.unwrap_or_else(|| std::thread::available_parallelism().unwrap().get());
        // a thread takes its name when it begins to run, which the gateway does not wait for
        let workers = || {
            threads(&process)
                .iter()
                .filter(|name| name.starts_with("worker-"))
                .count()
        };
        eventually("a thread for each worker", async || {
            (workers() == expected).then_some(())
        })
        .await;
        // as many sockets listen on the one port, which only SO_REUSEPORT allows; 0A is LISTEN
        let local = format!(":{:04X} ", process.address().port());
        let sockets = fs::read_to_string(format!("/proc/{}/net/tcp", process.pid())).unwrap();
        let listening = sockets
            .lines()
            .filter(|line| line.contains(&local) && line.contains(" 00000000:0000 0A "))
            .count();
        assert_eq!(listening, expected, "{sockets}");
        // each accepts, and has connections of its own to the origin: the kernel spreads what comes
        let before: Vec<_> = origin.seen().iter().map(|seen| seen.connection).collect();
        for _ in 0..40 * expected {
            assert_eq!(get(process.address(), "/echo").await.status, 200);
        }
        let mut used: Vec<_> = origin.seen()[before.len()..]
            .iter()
            .map(|seen| seen.connection)
            .collect();
        used.sort_unstable();
        used.dedup();
        assert_eq!(used.len(), expected, "{used:?}");
    }
}

#[tokio::test]
async fn two_gateways_do_not_share_a_data_folder() {
    let origin = Origin::start();
    let folder = folder(&origin);
    let _first = Process::start(folder.path());
    let told = Process::try_start(folder.path()).err().unwrap();
    assert!(told.contains("in use"), "{told}");
}

#[tokio::test]
async fn a_start_from_the_cache_compiles_nothing() {
    let origin = Origin::start();
    let folder = folder(&origin);
    for expected in [1, 0] {
        let process = Process::start(folder.path());
        assert_eq!(live(&process).await, "file");
        let metrics = get(process.admin, "/metrics").await.text();
        assert!(
            metrics.contains(&format!("edgeward_modules_compiled_total {expected}")),
            "{metrics}"
        );
        let plugins = process.admin_get("/v1/plugins").await;
        assert_eq!(plugins[0]["report"]["from-cache"], expected == 0, "{plugins}");
        process.kill();
    }
}

#[tokio::test]
async fn the_log_is_json_with_the_facts_of_each_exchange() {
    let origin = Origin::start();
    let folder = folder(&origin);
    let process = Process::start(folder.path());
    let logged = async |text: &str| {
        let line = eventually("the line of the access log", async || {
            process
                .log()
                .lines()
                .find(|line| line.contains(text))
                .map(str::to_owned)
        })
        .await;
        serde_json::from_str::<Value>(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    get(process.address(), "/logged/path").await;
    let line = logged("/logged/path").await;
    assert_eq!(line.get("response_type"), None, "{line}");
    let text = line.to_string();
    for part in ["\"status\":200", "\"route\":\"all\"", "request_id", "elapsed_ms"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    // a refusal is there by the name that its body and the metrics have
    let refused = get(process.address(), "/").await;
    let line = logged(refused.header("x-request-id")).await;
    assert_eq!(
        (&line["status"], &line["response_type"]),
        (&json!(404), &json!(refused.response_type())),
        "{line}"
    );
}
