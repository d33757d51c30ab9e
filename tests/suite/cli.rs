//! The command line: plugins from the laptop to a running gateway.

use std::{fs, path::Path, process::Stdio, time::Duration};

use edgeward_tests::{
    Cli, Origin, Process, bytes, cli, cli_with, edgeward, guest, guest_bytes, suite_cache, within, workspace,
};
use serde_json::json;

use crate::process::{folder, live};

struct Shell<'a> {
    folder: &'a Path,
    admin: String,
    token: String,
}

impl<'a> Shell<'a> {
    fn new(process: &Process, folder: &'a Path) -> Self {
        Self {
            folder,
            admin: format!("http://{}", process.admin),
            token: process.token_file.display().to_string(),
        }
    }

    async fn run(&self, words: &[&str]) -> Cli {
        let server = ["--json", "--admin", &self.admin, "--token-file", &self.token];
        cli(self.folder, &[words, &server].concat()).await
    }
}

fn path(name: &str) -> String {
    guest(name).display().to_string()
}

#[tokio::test]
async fn push_publish_rollback_and_status_work_against_a_gateway() {
    let origin = Origin::start();
    let folder = folder(&origin);
    let process = Process::start(folder.path());
    let shell = Shell::new(&process, folder.path());
    let pushed = shell
        .run(&[
            "plugin",
            "push",
            "stamp",
            &path("stamp"),
            "--config",
            r#"{"version": "one"}"#,
        ])
        .await;
    assert_eq!(
        (pushed.code, pushed.json()["version"].as_u64()),
        (0, Some(1)),
        "{pushed:?}"
    );
    assert_eq!(live(&process).await, "file", "not published yet");
    let published = shell.run(&["publish", "stamp", "1"]).await;
    assert_eq!(
        (published.code, published.json()["changed"].as_bool()),
        (0, Some(true)),
        "{published:?}"
    );
    assert_eq!(live(&process).await, "one");
    let pushed = shell
        .run(&[
            "plugin",
            "push",
            "stamp",
            &path("stamp"),
            "--publish",
            "--config",
            r#"{"version": "two"}"#,
        ])
        .await;
    assert_eq!(pushed.code, 0, "{pushed:?}");
    assert_eq!(live(&process).await, "two", "one command from file to live");
    let back = shell.run(&["rollback", "stamp"]).await;
    assert_eq!(
        (back.code, back.json()["version"].as_u64()),
        (0, Some(1)),
        "{back:?}"
    );
    assert_eq!(live(&process).await, "one");
    let status = shell.run(&["status"]).await;
    assert!(
        status.code == 0 && status.json().to_string().contains("stamp"),
        "{status:?}"
    );
    let inspected = shell.run(&["plugin", "inspect", "stamp"]).await;
    assert!(inspected.code == 0, "{inspected:?}");
}

#[tokio::test]
async fn refusals_are_told_with_an_exit_code() {
    let origin = Origin::start();
    let folder = folder(&origin);
    let process = Process::start(folder.path());
    let shell = Shell::new(&process, folder.path());
    fs::write(folder.path().join("bad.wasm"), "not wasm").unwrap();
    for words in [
        &["plugin", "push", "stamp", "bad.wasm"][..],
        &["plugin", "push", "ghost", &path("stamp")],
        &[
            "plugin",
            "push",
            "stamp",
            &path("stamp"),
            "--config",
            r#"{"nonsense": 1}"#,
        ],
        &["plugin", "push", "stamp", "missing.wasm"],
        &["publish", "stamp", "77"],
        &["rollback", "ghost"],
    ] {
        let outcome = shell.run(words).await;
        assert_ne!(outcome.code, 0, "{words:?}: {outcome:?}");
        assert!(
            outcome.json()["error"]["message"].is_string(),
            "{words:?}: {outcome:?}"
        );
    }
    let away = cli(
        folder.path(),
        &[
            "status",
            "--json",
            "--admin",
            "http://127.0.0.1:1",
            "--token-file",
            &shell.token,
        ],
    )
    .await;
    assert_eq!(away.code, 1, "{away:?}");
    assert_eq!(live(&process).await, "file");
    assert_eq!(cli(folder.path(), &["no-such-command"]).await.code, 2);
}

#[tokio::test]
async fn a_damaged_audit_log_is_told_with_an_exit_code() {
    let origin = Origin::start();
    let folder = folder(&origin);
    let process = Process::start(folder.path());
    let shell = Shell::new(&process, folder.path());
    for id in ["pets", "dogs"] {
        let api = json!({"id": id}).to_string();
        let made = process.admin("POST", "/v1/apis", bytes(api)).await;
        assert_eq!(made.status, 201, "{}", made.text());
    }
    let fine = shell.run(&["audit", "verify"]).await;
    assert_eq!(
        (fine.code, &fine.json()["problem"]),
        (0, &json!(null)),
        "{fine:?}"
    );
    let database = rusqlite::Connection::open(folder.path().join("data/edgeward.db")).unwrap();
    let tampering = "UPDATE audit SET entry = replace(entry, 'pets', 'cats') WHERE seq = 1";
    assert_eq!(database.execute(tampering, []).unwrap(), 1);
    // what cannot be read is in the export all the same, whatever is asked for
    assert_eq!(
        database
            .execute("UPDATE audit SET entry = '' WHERE seq = 2", [])
            .unwrap(),
        1
    );
    for more in [&[][..], &["--principal", "nobody-else"]] {
        let export = shell.run(&[&["audit", "export"], more].concat()).await;
        let unreadable = export.out.lines().filter(|line| line.contains("\"unreadable\""));
        assert_eq!(unreadable.count(), 1, "{export:?}");
    }
    let damaged = shell.run(&["audit", "verify"]).await;
    assert_eq!(damaged.code, 1, "{damaged:?}");
    let problem = damaged.json()["problem"].as_str().unwrap().to_owned();
    assert!(problem.contains("entry 1 was changed"), "{damaged:?}");
    let server = ["--admin", &shell.admin, "--token-file", &shell.token];
    let damaged = cli(folder.path(), &[&["audit", "verify"], &server[..]].concat()).await;
    assert_eq!(damaged.code, 1, "{damaged:?}");
    assert!(
        damaged.err.contains("not as it was written") && damaged.err.contains("entry 1 was changed"),
        "{damaged:?}"
    );
}

#[tokio::test]
async fn a_module_is_inspected_and_tried_without_a_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let inspected = cli(
        folder.path(),
        &["plugin", "inspect", &path("kitchen-sink"), "--json"],
    )
    .await;
    assert_eq!(inspected.code, 0, "{inspected:?}");
    assert!(
        inspected.out.contains("authorize") && inspected.out.contains("sha256:"),
        "{inspected:?}"
    );
    fs::write(folder.path().join("broken.wasm"), &guest_bytes("stamp")[..1000]).unwrap();
    let broken = cli(folder.path(), &["plugin", "inspect", "broken.wasm", "--json"]).await;
    assert_ne!(broken.code, 0, "{broken:?}");
    fs::write(
        folder.path().join("case.http"),
        "### stamped\nGET https://api.example/pets\n",
    )
    .unwrap();
    let words = [
        "plugin",
        "try",
        &path("stamp"),
        "--request",
        "case.http",
        "--config",
        r#"{"version": "tried"}"#,
        "--json",
    ];
    let tried = cli(folder.path(), &words).await;
    assert_eq!(tried.code, 0, "{tried:?}");
    let report = tried.json();
    assert_eq!(report["trials"].as_array().unwrap().len(), 1);
    assert!(report["trials"][0].to_string().contains("tried"), "{report}");
    assert_eq!(report["load"]["snapshot"], json!("taken"));
}

/// A project that `plugin new` made, for a user who has the binary and Rust and nothing else.
#[tokio::test]
async fn a_new_project_builds_passes_its_tests_and_can_be_tried() {
    let folder = tempfile::tempdir().unwrap();
    let made = cli(
        folder.path(),
        &["plugin", "new", "greeter", "--hook", "transform", "--json"],
    )
    .await;
    assert_eq!(made.code, 0, "{made:?}");
    let files = made.json()["files"].clone();
    assert!(
        files.as_array().unwrap().contains(&json!("edgeward-sdk/")),
        "{files}"
    );
    let project = folder.path().join("greeter");
    assert!(project.join("edgeward-sdk/wit/world.wit").is_file());
    // the versions of this workspace are downloaded already; the rest of the lock file cargo takes out
    fs::copy(workspace().join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
    // the SDK's dependencies stay built between runs
    let target = suite_cache().join("new-project");
    let variables = [("CARGO_TARGET_DIR", target.as_os_str())];
    let run = async |words: &[&str]| {
        let words = [&["plugin"], words].concat();
        let outcome = cli_with(&project, &words, &variables, Duration::from_secs(500)).await;
        assert_eq!(outcome.code, 0, "{words:?}: {outcome:?}");
        outcome
    };
    let built = run(&["build", "--json"]).await.json();
    assert_eq!(built["path"], "./greeter.wasm", "{built}");
    assert!(
        built["module"]["hooks"].to_string().contains("transform"),
        "{built}"
    );
    let tested = run(&["test", "--json"]).await;
    assert!(tested.err.contains("requests_are_greeted"), "{tested:?}");
    let tested = tested.json();
    assert_eq!(
        (tested["requests"].as_array().unwrap().len(), &tested["wrong"]),
        (1, &json!(0)),
        "{tested}"
    );
    let words = [
        "try",
        "greeter.wasm",
        "--settings",
        "plugin.yaml",
        "--request",
        "tests/cases.http",
    ];
    let told = run(&words).await.out;
    let line = |name: &str| told.lines().find(|line| line.trim_start().starts_with(name));
    let (head, verdict) = (line("request-head").unwrap(), line("verdict").unwrap());
    assert!(head.contains("us)"), "{told}");
    for part in ["pass", "status 200", " us", "memory ", "iB"] {
        assert!(verdict.contains(part), "{part} in {told}");
    }
    assert!(told.contains("x-greeting: hello"), "{told}");
    let report = run(&[&words[..], &["--json"]].concat()).await.json();
    let trial = &report["trials"][0];
    assert_eq!(
        (&trial["verdict"], &trial["status"]),
        (&json!("pass"), &json!(200))
    );
    assert!(trial["memory-bytes"].as_u64().unwrap() > 0, "{trial}");
    assert!(trial["time-us"].as_u64().unwrap() > 0, "{trial}");
    let edits: Vec<_> = trial["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["edits"].to_string())
        .collect();
    assert!(
        edits[0].contains("+ request x-greeting: hello")
            && edits[1].contains("- response server: secret/1.0"),
        "{edits:?}"
    );
    // the other hooks, with the SDK in a folder that is named
    for hook in ["authorize", "inspect", "observe"] {
        let words = [
            "new",
            hook,
            "--hook",
            hook,
            "--sdk-path",
            "edgeward-sdk",
            "--json",
        ];
        let files = run(&words).await.json()["files"].to_string();
        assert!(!files.contains("edgeward-sdk"), "{files}");
        fs::copy(
            workspace().join("Cargo.lock"),
            project.join(hook).join("Cargo.lock"),
        )
        .unwrap();
        let tested = run(&["test", "--path", hook, "--json"]).await;
        assert!(tested.err.contains("test result: ok. "), "{tested:?}");
        let tested = tested.json();
        assert_eq!(tested["wrong"], 0, "{tested}");
        assert!(!tested["requests"].as_array().unwrap().is_empty(), "{tested}");
    }
}

#[tokio::test]
async fn progress_is_shown_where_there_is_a_terminal_and_only_there() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("case.http"), "GET https://api.example/\n").unwrap();
    let command = |more: &str| {
        let (binary, module) = (edgeward().display().to_string(), path("no-interest"));
        format!("'{binary}' plugin try '{module}' --request case.http {more}")
    };
    // `script` runs a command on a terminal of its own; util-linux has it, which every Linux system has
    let on_terminal = async |more: &str| {
        let mut script = tokio::process::Command::new("script");
        script
            .args(["--quiet", "--return", "--command", &command(more), "/dev/null"])
            .env("TERM", "xterm")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = within("a command on a terminal", script.output()).await.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let progress = format!("loading {}", path("no-interest"));
    let shown = on_terminal("").await;
    assert!(shown.contains(&progress) && shown.contains("\x1b["), "{shown:?}");
    assert!(shown.contains("verdict"), "and its outcome: {shown:?}");
    let json = on_terminal("--json").await;
    assert!(!json.contains(&progress) && !json.contains('\x1b'), "{json:?}");
    // without a terminal there is the outcome and nothing else
    let words = ["plugin", "try", &path("no-interest"), "--request", "case.http"];
    let piped = cli(folder.path(), &words).await;
    assert!(piped.code == 0 && piped.out.contains("verdict"), "{piped:?}");
    for text in [&piped.out, &piped.err] {
        assert!(!text.contains(&progress) && !text.contains('\x1b'), "{piped:?}");
    }
}

#[tokio::test]
async fn help_and_version_are_there() {
    let folder = tempfile::tempdir().unwrap();
    for words in [
        &["--help"][..],
        &["--version"],
        &["serve", "--help"],
        &["plugin", "--help"],
        &["plugin", "push", "--help"],
    ] {
        let outcome = cli(folder.path(), words).await;
        assert!(
            outcome.code == 0 && outcome.out.contains("edgeward"),
            "{words:?}: {outcome:?}"
        );
    }
}
