//! docs/tutorial.md is true: its commands are run one after the other, and print what it says.

use std::{fs, path::Path, process::Stdio, time::Duration};

use edgeward_tests::{Process, edgeward, real::is_there, target_dir, workspace};
use tokio::process::Command;

/// Commands, and what they print where the page says so.
struct Block {
    commands: String,
    prints: Option<String>,
}

/// The blocks of commands of a page, without those for terminals.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else {
            continue;
        };
        let content: String = lines
            .by_ref()
            .take_while(|line| *line != "```")
            .fold(String::new(), |text, line| text + line + "\n");
        match (kind, blocks.last_mut()) {
            ("sh", _) => blocks.push(Block {
                commands: content,
                prints: None,
            }),
            ("text", Some(block)) => block.prints = Some(content),
            _ => {}
        }
    }
    blocks
}

/// Whether a text is what the page says, where `…` stands for anything within a line.
fn fits(said: &str, expected: &str) -> bool {
    let (said, expected): (Vec<_>, Vec<_>) = (said.lines().collect(), expected.lines().collect());
    said.len() == expected.len()
        && said
            .iter()
            .zip(&expected)
            .all(|(said, expected)| line_fits(said.trim_start(), expected))
}

fn line_fits(said: &str, expected: &str) -> bool {
    let Some((first, rest)) = expected.split_once('…') else {
        return said == expected;
    };
    let Some(mut left) = said.strip_prefix(first) else {
        return false;
    };
    let (middle, last) = rest.rsplit_once('…').unwrap_or(("", rest));
    for part in middle.split('…') {
        let Some((_, behind)) = left.split_once(part) else {
            return false;
        };
        left = behind;
    }
    left.ends_with(last)
}

/// The configuration with free ports and the guests of this build.
fn adapted(text: &str) -> String {
    let guests = target_dir().join("guests").display().to_string();
    text.replace("../../target/guests", &guests)
        .replace("127.0.0.1:8080", "127.0.0.1:0")
        .replace("plugins:", "admin: {address: \"127.0.0.1:0\"}\n\nplugins:")
}

#[tokio::test]
async fn the_tutorial_does_what_it_says() {
    if !is_there("curl", Command::new("curl").arg("--version")).await {
        return;
    }
    let page = fs::read_to_string(workspace().join("docs/tutorial.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = fs::read_to_string(workspace().join("examples/tutorial/gateway.yaml")).unwrap();
    fs::write(folder.path().join("gateway.yaml"), adapted(&config)).unwrap();
    let process = Process::start(folder.path());
    let mut script = "set -euo pipefail\n".to_owned();
    let blocks = blocks(&page);
    assert!(blocks.len() > 10, "the page has {} blocks", blocks.len());
    for (number, block) in blocks.iter().enumerate() {
        script += &format!("exec > {number}.out\n{}", block.commands);
    }
    let root = workspace().display().to_string();
    let script = script
        .replace("127.0.0.1:8080", &process.address().to_string())
        .replace("127.0.0.1:9440", &process.admin.to_string())
        .replace("../../", &format!("{root}/"))
        .replace("../jwt", &format!("{root}/examples/jwt"));
    let programs = edgeward().parent().map(Path::to_path_buf).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let run = Command::new("bash")
        .args(["-c", &script])
        .current_dir(folder.path())
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("EDGEWARD_ADMIN", format!("http://{}", process.admin))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output();
    // some 600 calls of curl: more than what other tests wait for
    let ran = tokio::time::timeout(Duration::from_secs(240), run).await;
    let ran = ran.expect("the tutorial takes too long").unwrap();
    for (number, block) in blocks.iter().enumerate() {
        let said = fs::read_to_string(folder.path().join(format!("{number}.out"))).unwrap_or_else(|_none| {
            panic!(
                "it did not come to:\n{}\n{}",
                block.commands,
                String::from_utf8_lossy(&ran.stderr)
            )
        });
        let said = said.replace(&process.address().to_string(), "127.0.0.1:8080");
        if let Some(expected) = &block.prints {
            assert!(
                fits(&said, expected),
                "{}\nsays\n{said}\nand not\n{expected}\n{}",
                block.commands,
                String::from_utf8_lossy(&ran.stderr)
            );
        }
    }
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}
