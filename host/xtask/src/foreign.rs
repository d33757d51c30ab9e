//! Example guests in other languages: `examples/*/guest.json` says which tools build one and how. Where a tool
//! is missing the guest is skipped, with the way to get the tool.
//!
//! ```json
//! {
//!   "name": "hello-c", "language": "c", "source": "hello.c", "world": "observer",
//!   "tools": [{ "probe": ["wit-bindgen", "--version"], "install": "cargo install wit-bindgen-cli" }],
//!   "build": [["wit-bindgen", "c", "{wit}", "--world", "{world}", "--out-dir", "{work}"], ["..."]]
//! }
//! ```
//! The source is not in a folder named `guest`: cargo takes `examples/*/guest` for a package.
//! The commands run in order, without a shell, in an empty directory. Placeholders: `{source}` the source file,
//! `{example}` the directory of guest.json, `{wit}` the WIT directory, `{world}`, `{work}` the empty directory,
//! `{out}` the file that the last command has to write (a component, or a core module with a component type).

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::command;
use crate::guests::{self, Outcome};
use crate::workspace::Workspace;

/// A guest of another language.
#[derive(Debug)]
pub(crate) struct Guest {
    /// Directory of guest.json.
    example: PathBuf,
    recipe: Recipe,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    /// The component is `<name>.wasm`.
    name: String,
    language: String,
    /// Relative to guest.json.
    source: String,
    /// World of wit/ that the guest implements.
    world: String,
    tools: Vec<Tool>,
    build: Vec<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tool {
    /// A command that succeeds where the tool is installed.
    probe: Vec<String>,
    /// How to get it, as the user would type it.
    install: String,
}

/// Every `examples/*/guest.json`, in the order of the directories.
///
/// # Errors
/// A file cannot be read or is not such a description.
pub(crate) fn find(workspace: &Workspace) -> anyhow::Result<Vec<Guest>> {
    let Ok(entries) = std::fs::read_dir(workspace.root.join("examples")) else {
        return Ok(Vec::new());
    };
    let mut guests = Vec::new();
    for entry in entries {
        let example = entry.context("cannot list examples/")?.path();
        let path = example.join("guest.json");
        if path.is_file() {
            let recipe = read(&path).with_context(|| workspace.shown(&path).to_string())?;
            guests.push(Guest { example, recipe });
        }
    }
    guests.sort_by(|a, b| a.example.cmp(&b.example));
    Ok(guests)
}

fn read(path: &Path) -> anyhow::Result<Recipe> {
    let recipe: Recipe = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if recipe.name.is_empty() || !recipe.name.chars().all(is_plain) {
        bail!(
            "name `{}` has characters other than letters, digits, - and _",
            recipe.name
        );
    }
    if recipe.build.is_empty() || recipe.build.iter().any(Vec::is_empty) {
        bail!("build needs at least one command, and no empty ones");
    }
    Ok(recipe)
}

impl Guest {
    pub(crate) fn name(&self) -> &str {
        &self.recipe.name
    }

    /// Builds the guest, unless nothing changed or a tool is missing.
    ///
    /// # Errors
    /// A command fails, or what it wrote is not wasm.
    pub(crate) fn build(&self, workspace: &Workspace) -> anyhow::Result<Outcome> {
        let wit = workspace.root.join("wit");
        let mut hasher = DefaultHasher::new();
        // what goes into the component, not what lies about in the folder
        for file in [
            self.example.join("guest.json"),
            self.example.join(&self.recipe.source),
        ] {
            std::fs::read(&file)
                .with_context(|| format!("cannot read {}", file.display()))?
                .hash(&mut hasher);
        }
        hash_tree(&wit, &mut hasher)?;
        let stamp = hasher.finish();
        if guests::is_fresh(workspace, self.name(), stamp) {
            return Ok(Outcome::Fresh);
        }
        let missing: Vec<String> = self
            .recipe
            .tools
            .iter()
            .filter(|tool| !tool.is_installed())
            .map(|tool| format!("`{}`", tool.install))
            .collect();
        if !missing.is_empty() {
            guests::remove(workspace, self.name())?;
            let (example, needs) = (workspace.shown(&self.example), missing.join(" and "));
            return Ok(Outcome::Skipped(format!(
                "{example} ({}) needs {needs}",
                self.recipe.language
            )));
        }
        let work = guests::build_dir(workspace).join("foreign").join(self.name());
        if work.exists() {
            std::fs::remove_dir_all(&work).with_context(|| format!("cannot empty {}", work.display()))?;
        }
        std::fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
        let out = work.join("guest.wasm");
        let places = [
            ("{source}", shown(&self.example.join(&self.recipe.source))?),
            ("{example}", shown(&self.example)?),
            ("{wit}", shown(&wit)?),
            ("{world}", self.recipe.world.clone()),
            ("{work}", shown(&work)?),
            ("{out}", shown(&out)?),
        ];
        for step in &self.recipe.build {
            let argv: Vec<String> = step.iter().map(|arg| fill(arg, &places)).collect();
            run_quietly(&argv, &work)?;
        }
        let wasm = std::fs::read(&out).context("the build commands wrote no {out}")?;
        guests::install(workspace, self.name(), stamp, wasm)?;
        Ok(Outcome::Built)
    }
}

impl Tool {
    fn is_installed(&self) -> bool {
        let Some((program, args)) = self.probe.split_first() else {
            return true;
        };
        command::succeeds(Command::new(program).args(args))
    }
}

/// Shows a command's output only if it fails: these tools are talkative.
fn run_quietly(argv: &[String], work: &Path) -> anyhow::Result<()> {
    let Some((program, args)) = argv.split_first() else {
        return Ok(());
    };
    let mut command = Command::new(program);
    command.args(args).current_dir(work);
    let output = command
        .output()
        .with_context(|| format!("cannot start `{}`", command::line(&command)))?;
    if !output.status.success() {
        eprint!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        bail!("`{}` failed ({})", command::line(&command), output.status);
    }
    Ok(())
}

fn shown(path: &Path) -> anyhow::Result<String> {
    let text = path
        .to_str()
        .with_context(|| format!("path {} is not UTF-8", path.display()))?;
    Ok(text.to_owned())
}

fn fill(arg: &str, places: &[(&str, String)]) -> String {
    places
        .iter()
        .fold(arg.to_owned(), |text, (place, value)| text.replace(place, value))
}

/// Names and contents of all files below `dir`, in a fixed order.
fn hash_tree(dir: &Path, hasher: &mut DefaultHasher) -> anyhow::Result<()> {
    for path in files(dir)? {
        path.strip_prefix(dir).unwrap_or(&path).hash(hasher);
        std::fs::read(&path)
            .with_context(|| format!("cannot read {}", path.display()))?
            .hash(hasher);
    }
    Ok(())
}

/// All files below `dir`, sorted. Links are not followed.
pub(crate) fn files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace with one example whose "compiler" is `cp`.
    fn workspace(root: &Path, tool: &str) -> Workspace {
        let example = root.join("examples/hello");
        std::fs::create_dir_all(root.join("wit")).unwrap();
        std::fs::create_dir_all(&example).unwrap();
        std::fs::write(example.join("hello.src"), b"\0asm\x0d\0\x01\0").unwrap();
        let recipe = serde_json::json!({
            "name": "hello", "language": "c", "source": "hello.src", "world": "w",
            "tools": [{ "probe": [tool], "install": "get the tool" }],
            "build": [["cp", "{source}", "{work}/{world}.o"], ["cp", "w.o", "{out}"]],
        });
        std::fs::write(example.join("guest.json"), recipe.to_string()).unwrap();
        let metadata = serde_json::json!({
            "workspace_root": root, "target_directory": root.join("target"), "packages": [],
        });
        Workspace::parse(&metadata.to_string()).unwrap()
    }

    #[test]
    fn a_guest_is_built_once_and_again_after_a_change() {
        let root = tempfile::tempdir().unwrap();
        let workspace = workspace(root.path(), "true");
        let guests = find(&workspace).unwrap();
        assert_eq!(guests[0].build(&workspace).unwrap(), Outcome::Built);
        assert!(guests::dir(&workspace).join("hello.wasm").is_file());
        assert_eq!(guests[0].build(&workspace).unwrap(), Outcome::Fresh);
        std::fs::write(root.path().join("wit/a.wit"), "").unwrap();
        assert_eq!(guests[0].build(&workspace).unwrap(), Outcome::Built);
    }

    #[test]
    fn a_missing_tool_skips_the_guest_and_removes_the_outdated_component() {
        let root = tempfile::tempdir().unwrap();
        let workspace = workspace(root.path(), "edgeward-no-such-tool");
        guests::install(&workspace, "hello", 0, b"\0asm\x0d\0\x01\0".to_vec()).unwrap();
        let outcome = find(&workspace).unwrap()[0].build(&workspace).unwrap();
        assert_eq!(
            outcome.to_string(),
            "skipped: examples/hello (c) needs `get the tool`"
        );
        assert!(!guests::dir(&workspace).join("hello.wasm").exists());
    }

    #[test]
    fn a_bad_description_is_refused_with_its_path() {
        let root = tempfile::tempdir().unwrap();
        let workspace = workspace(root.path(), "true");
        let path = root.path().join("examples/hello/guest.json");
        let good = std::fs::read_to_string(&path).unwrap();
        for (from, to, message) in [
            ("\"hello\"", "\"../hello\"", "name `../hello`"),
            ("\"world\"", "\"word\"", "unknown field"),
            ("[\"cp\",", "[],[\"cp\",", "no empty ones"),
        ] {
            std::fs::write(&path, good.replacen(from, to, 1)).unwrap();
            let error = format!("{:#}", find(&workspace).unwrap_err());
            assert!(
                error.contains("examples/hello/guest.json") && error.contains(message),
                "{error}"
            );
        }
    }

    #[test]
    fn every_placeholder_of_an_argument_is_filled() {
        let places = [("{wit}", "/w".to_owned()), ("{out}", "/o".to_owned())];
        assert_eq!(fill("-I{wit}:{wit}", &places), "-I/w:/w");
        assert_eq!(fill("{other}", &places), "{other}");
    }
}
