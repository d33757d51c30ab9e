//! `edgeward apply` and `edgeward diff`: the whole API model from files, all of it or nothing.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use edgeward_control::bundle::{self, Bundle};
use edgeward_core::config::{Problem, Problems};
use serde_json::Value;

use crate::{
    client::{Client, ServerArgs, block_on},
    output::{Invalid, Output},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A file (YAML or JSON), or a folder whose `.yaml`, `.yml` and `.json` files are taken together.
    #[arg(short, long)]
    file: PathBuf,
    #[command(flatten)]
    server: ServerArgs,
}

/// Makes the gateway's API model what the files say: what they do not name goes.
pub(crate) fn apply(args: &Args, output: Output) -> anyhow::Result<()> {
    run(args, output, false)
}

/// Tells what `apply` would change.
pub(crate) fn diff(args: &Args, output: Output) -> anyhow::Result<()> {
    run(args, output, true)
}

fn run(args: &Args, output: Output, dry_run: bool) -> anyhow::Result<()> {
    let bundle = serde_json::to_value(read(&args.file)?)?;
    let path = format!("/v1/bundle?dry-run={dry_run}");
    let client = Client::new(&args.server)?;
    let answer = block_on(async { client.put(&path, &bundle).await })?;
    output.show(&answer, || told(&answer, dry_run));
    Ok(())
}

fn told(answer: &Value, dry_run: bool) -> String {
    let changes = answer["changes"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if changes.is_empty() {
        return "nothing to change".to_owned();
    }
    let mut text = String::new();
    for change in changes {
        let word = |key: &str| change[key].as_str().unwrap_or_default();
        // writing to a String cannot fail
        let _unused = writeln!(text, "{} {}", word("action"), word("path"));
        if word("action") == "update" {
            for step in change["patch"].as_array().into_iter().flatten() {
                let value = step
                    .get("value")
                    .map(|value| format!(" = {value}"))
                    .unwrap_or_default();
                let (op, at) = (
                    step["op"].as_str().unwrap_or_default(),
                    step["path"].as_str().unwrap_or_default(),
                );
                let _unused = writeln!(text, "    {op} {at}{value}");
            }
        }
    }
    let count = changes.len();
    let plural = if count == 1 { "" } else { "s" };
    let _unused = if dry_run {
        writeln!(text, "{count} change{plural}; nothing was changed")
    } else {
        writeln!(
            text,
            "{count} change{plural} in effect after {} ms",
            answer["took-ms"]
        )
    };
    text
}

fn read(path: &Path) -> anyhow::Result<Bundle> {
    if !path.is_dir() {
        return read_file(path);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))? {
        let file = entry?.path();
        if file
            .extension()
            .is_some_and(|kind| kind == "yaml" || kind == "yml" || kind == "json")
        {
            files.push(file);
        }
    }
    files.sort();
    let mut whole = Bundle::default();
    for file in files {
        let mut part = read_file(&file)?;
        for ((kind, into), (_, from)) in whole.lists().into_iter().zip(part.lists()) {
            for (name, body) in std::mem::take(from) {
                if into.insert(name.clone(), body).is_some() {
                    let what = kind.noun();
                    let problem = Problem::new(
                        "",
                        format!("{what} `{name}` is in another file of the folder, too"),
                    );
                    return Err(invalid(&file, Problems(vec![problem])));
                }
            }
        }
    }
    Ok(whole)
}

fn read_file(path: &Path) -> anyhow::Result<Bundle> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    bundle::read(&text).map_err(|problems| invalid(path, problems))
}

fn invalid(path: &Path, problems: Problems) -> anyhow::Error {
    Invalid {
        what: path.display().to_string(),
        problems,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_folder_are_taken_together_and_nothing_is_there_twice() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("a.yaml", "apis: {one: {}}");
        write(
            "b.json",
            r#"{"apis": {"two": {}}, "domains": {"a.example": {}}, "api-keys": {"ada": {}}, "waf": {"front": {}}}"#,
        );
        write("notes.txt", "not a bundle: [");
        let whole = read(folder.path()).unwrap();
        assert_eq!((whole.apis.len(), whole.domains.len()), (2, 1));
        assert_eq!((whole.api_keys.len(), whole.waf.len()), (1, 1));
        write("c.yml", "apis: {one: {}}");
        let error = read(folder.path()).unwrap_err();
        assert!(error.to_string().contains("`one`"), "{error}");
    }
}
