//! Clients of other makes: found, or their tests skipped with a word.

use std::{
    path::PathBuf,
    process::{Output, Stdio},
    time::Duration,
};

use tokio::process::Command;

use crate::paths;

/// Longest time that one of them may take: some make thousands of requests, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(100);

/// Python with the libraries of `tests/real/requirements.txt`: what `EDGEWARD_PYTHON` names, else that of `cargo xtask clients`, else the system's.
#[must_use]
pub fn python() -> PathBuf {
    if let Some(named) = std::env::var_os("EDGEWARD_PYTHON") {
        return named.into();
    }
    let own = paths::target_dir().join("clients/bin/python");
    if own.exists() { own } else { "python3".into() }
}

/// Whether a client is there: whether this command succeeds. If not, a word is said; where `EDGEWARD_CLIENTS` is `required`, as in CI, that is a failure.
pub async fn is_there(client: &str, check: &mut Command) -> bool {
    let found = check.stdin(Stdio::null()).output().await;
    if found.is_ok_and(|output| output.status.success()) {
        return true;
    }
    let word = format!("{client} is not installed (cargo xtask clients)");
    let required = std::env::var_os("EDGEWARD_CLIENTS").is_some_and(|value| value == "required");
    assert!(!required, "{word}, and EDGEWARD_CLIENTS says it is required");
    println!("skipped: {word}");
    false
}

/// Whether Python has a library.
pub async fn python_has(library: &str) -> bool {
    let client = format!("Python's {library}");
    is_there(
        &client,
        Command::new(python()).args(["-c", &format!("import {library}")]),
    )
    .await
}

/// A script of `tests/real`, for [`python`]; the folder stays as it is.
#[must_use]
pub fn script(name: &str) -> Command {
    let mut command = Command::new(python());
    command
        .arg(paths::workspace().join("tests/real").join(name))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Runs a client to its end.
pub async fn run(command: &mut Command) -> Output {
    let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
    match tokio::time::timeout(PATIENCE, running).await {
        Ok(output) => output.unwrap(),
        Err(_elapsed) => panic!("{:?} took longer than {PATIENCE:?}", command.as_std()),
    }
}

/// Runs a client that has to succeed; what it wrote, standard error behind standard output.
pub async fn told(command: &mut Command) -> String {
    let output = run(command).await;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{:?}: {}\n{text}",
        command.as_std(),
        output.status
    );
    text.into_owned()
}
