//! `cargo xtask docs`: the pages that the gateway itself writes, so that they cannot differ from the code, and the figures of the last benchmarks.

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::command::{self, cargo};
use crate::workspace::Workspace;
use crate::{Check, figures};

/// File below docs/, and the arguments of `edgeward` that print it.
const PAGES: [(&str, &[&str]); 3] = [
    ("gateway.schema.json", &["schema"]),
    ("config.md", &["schema", "--markdown"]),
    ("errors.md", &["schema", "--errors"]),
];

/// The page with figures, and the plot of one of its tables.
const FIGURES: &str = "performance.md";
const PLOT: &str = "comparison.svg";

/// Writes every generated page, or compares all of them and reports each difference.
///
/// # Errors
/// The gateway does not build or print a page, or results of benchmarks cannot be read; with `check`, a page is out of date.
pub(crate) fn run(workspace: &Workspace, check: Check) -> anyhow::Result<()> {
    // the whole workspace: the one set of features that tests are built with too
    command::run(cargo().args(["build", "--workspace", "--bins"]))?;
    let mut pages = printed(workspace)?;
    pages.extend(figures_of(workspace)?);
    let mut stale = Vec::new();
    for (name, text) in pages {
        let path = workspace.root.join("docs").join(name);
        let old = read(&path)?;
        if old.as_deref() == Some(text.as_str()) {
            println!("docs: {name:<24} up to date");
        } else if check.check {
            let old = old.unwrap_or_default();
            stale.push(format!("docs/{name} {}", first_difference(&old, &text)));
        } else {
            std::fs::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
            println!("docs: {name:<24} written");
        }
    }
    if !stale.is_empty() {
        bail!(
            "generated files are out of date, run `cargo xtask docs`:\n  {}",
            stale.join("\n  ")
        );
    }
    Ok(())
}

/// The pages that the gateway prints.
fn printed(workspace: &Workspace) -> anyhow::Result<Vec<(&'static str, String)>> {
    let edgeward = workspace.target_dir.join("debug").join("edgeward");
    let mut pages = Vec::new();
    for (name, args) in PAGES {
        let mut text = command::output(std::process::Command::new(&edgeward).args(args))?;
        if text.trim().is_empty() {
            bail!("`edgeward {}` printed nothing for docs/{name}", args.join(" "));
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
        pages.push((name, text));
    }
    Ok(pages)
}

/// The page with figures as it is, with its tables as `benches/results/` has them; and the plot.
fn figures_of(workspace: &Workspace) -> anyhow::Result<Vec<(&'static str, String)>> {
    let text = |path: &str| {
        let path = workspace.root.join(path);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let bench =
        serde_json::from_str(&text("benches/results/bench.json")?).context("benches/results/bench.json")?;
    let compared = serde_json::from_str(&text("benches/results/compare.json")?)
        .context("benches/results/compare.json")?;
    let page = text(&format!("docs/{FIGURES}"))?;
    let page = figures::filled(&page, "comparison", &figures::comparison(&compared)).context(FIGURES)?;
    let page = figures::filled(&page, "bench", &figures::bench(&bench)).context(FIGURES)?;
    Ok(vec![(FIGURES, page), (PLOT, figures::plot(&compared))])
}

fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Where and how two texts differ first.
fn first_difference(old: &str, new: &str) -> String {
    let (mut old, mut new) = (old.lines(), new.lines());
    for number in 1.. {
        match (old.next(), new.next()) {
            (None, None) => break,
            (was, is) if was == is => {}
            (was, is) => {
                let shown = |line: Option<&str>| {
                    line.map_or("the end".to_owned(), |line| format!("`{}`", line.trim()))
                };
                return format!("line {number}: is {}, should be {}", shown(was), shown(is));
            }
        }
    }
    "differs only in line ends".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_names_line_and_both_sides() {
        assert_eq!(
            first_difference("a\n b\n", "a\n c\n"),
            "line 2: is `b`, should be `c`"
        );
        assert_eq!(first_difference("", "a\n"), "line 1: is the end, should be `a`");
        assert_eq!(
            first_difference("a\nb\n", "a\n"),
            "line 2: is `b`, should be the end"
        );
        assert_eq!(first_difference("a\r\n", "a\n"), "differs only in line ends");
    }
}
