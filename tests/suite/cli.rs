//! The command line: plugins from the laptop to a running gateway.

use std::path::Path;

use edgeward_tests::{Cli, Origin, Process, cli, guest, guest_bytes};
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
    assert_eq!(shell.run(&["rollback", "stamp"]).await.code, 0);
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
    std::fs::write(folder.path().join("bad.wasm"), "not wasm").unwrap();
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
    std::fs::write(folder.path().join("broken.wasm"), &guest_bytes("stamp")[..1000]).unwrap();
    let broken = cli(folder.path(), &["plugin", "inspect", "broken.wasm", "--json"]).await;
    assert_ne!(broken.code, 0, "{broken:?}");
    std::fs::write(
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
