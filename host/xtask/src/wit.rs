//! `cargo xtask wit`: checks `wit/` and copies it into the SDK, which has to carry the interface to be usable
//! alone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use wit_parser::{PackageId, Resolve};

use crate::Check;
use crate::foreign::files;
use crate::workspace::Workspace;

/// Validates the interface and writes or compares the SDK's copy.
///
/// # Errors
/// The interface does not parse or has undocumented parts; with `check`, the copy differs.
pub(crate) fn run(workspace: &Workspace, check: Check) -> anyhow::Result<()> {
    let source = workspace.root.join("wit");
    validate(&source)?;
    let copy = workspace.root.join("sdk/rust/wit");
    let changes = compare(&source, &copy)?;
    if changes.is_empty() {
        println!("wit: the copy in sdk/rust/wit is up to date");
        return Ok(());
    }
    if check.check {
        let names: Vec<String> = changes.iter().map(|path| path.display().to_string()).collect();
        bail!(
            "sdk/rust/wit differs from wit/, run `cargo xtask wit`: {}",
            names.join(", ")
        );
    }
    for path in changes {
        apply(&source.join(&path), &copy.join(&path))
            .with_context(|| format!("cannot update sdk/rust/wit/{}", path.display()))?;
        println!("wit: updated {}", path.display());
    }
    Ok(())
}

fn validate(dir: &Path) -> anyhow::Result<()> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve
        .push_dir(dir)
        .with_context(|| format!("{} is not valid", dir.display()))?;
    let missing = undocumented(&resolve, package);
    if !missing.is_empty() {
        bail!("parts of wit/ have no documentation:\n  {}", missing.join("\n  "));
    }
    println!("wit: {} is valid", resolve.packages[package].name);
    Ok(())
}

/// Interfaces, types, functions and worlds of `package` without a doc comment.
fn undocumented(resolve: &Resolve, package: PackageId) -> Vec<String> {
    let mut missing = Vec::new();
    let mut look = |documented: bool, what: String| {
        if !documented {
            missing.push(what);
        }
    };
    let package = &resolve.packages[package];
    for (name, id) in &package.interfaces {
        let interface = &resolve.interfaces[*id];
        look(interface.docs.contents.is_some(), format!("interface {name}"));
        for (type_name, id) in &interface.types {
            let definition = &resolve.types[*id];
            // `use other.{type}` makes an alias here; it is documented where it is defined.
            let used = matches!(
                definition.kind,
                wit_parser::TypeDefKind::Type(wit_parser::Type::Id(other))
                    if resolve.types[other].owner != definition.owner
            );
            look(
                used || definition.docs.contents.is_some(),
                format!("type {name}.{type_name}"),
            );
        }
        for (function_name, function) in &interface.functions {
            let documented = function.docs.contents.is_some();
            look(documented, format!("function {name}.{function_name}"));
        }
    }
    for (name, id) in &package.worlds {
        look(
            resolve.worlds[*id].docs.contents.is_some(),
            format!("world {name}"),
        );
    }
    missing
}

/// Paths, relative to both directories, that differ or are only in one.
fn compare(source: &Path, copy: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut paths = BTreeSet::new();
    for dir in [source, copy].into_iter().filter(|dir| dir.is_dir()) {
        for path in files(dir)? {
            paths.insert(path.strip_prefix(dir).unwrap_or(&path).to_owned());
        }
    }
    paths.retain(|path| std::fs::read(source.join(path)).ok() != std::fs::read(copy.join(path)).ok());
    Ok(paths)
}

/// Makes `copy` like `source`: same bytes, or absent.
fn apply(source: &Path, copy: &Path) -> anyhow::Result<()> {
    if !source.exists() {
        std::fs::remove_file(copy)?;
        // The folder goes with its last file; it fails, rightly, while there are others.
        let _still_used = copy.parent().map(std::fs::remove_dir);
        return Ok(());
    }
    if let Some(parent) = copy.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::copy(source, copy)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_follows_additions_changes_and_removals() {
        let dir = tempfile::tempdir().unwrap();
        let (source, copy) = (dir.path().join("wit"), dir.path().join("copy"));
        std::fs::create_dir_all(source.join("deps")).unwrap();
        std::fs::write(source.join("a.wit"), "a").unwrap();
        std::fs::write(source.join("deps/b.wit"), "b").unwrap();
        let update = || {
            let changes = compare(&source, &copy).unwrap();
            changes
                .iter()
                .for_each(|path| apply(&source.join(path), &copy.join(path)).unwrap());
            changes.len()
        };
        assert_eq!(update(), 2);
        assert_eq!(update(), 0);
        std::fs::write(source.join("a.wit"), "changed").unwrap();
        std::fs::remove_file(source.join("deps/b.wit")).unwrap();
        assert_eq!(update(), 2);
        assert!(!copy.join("deps").exists());
        assert_eq!(std::fs::read_to_string(copy.join("a.wit")).unwrap(), "changed");
    }

    #[test]
    fn undocumented_parts_are_named_and_used_types_are_not() {
        let text = "package a:b;
            /// Documented.
            interface one {
                /// Documented.
                record point { x: u32 }
                type bare = u32;
                bare-call: func();
            }
            interface two { use one.{point}; /// Documented.
                call: func() -> point; }
            world w {}";
        let mut resolve = Resolve::default();
        let package = resolve.push_str("a.wit", text).unwrap();
        let expected = [
            "type one.bare",
            "function one.bare-call",
            "interface two",
            "world w",
        ];
        assert_eq!(undocumented(&resolve, package), expected);
    }

    #[test]
    fn an_interface_that_does_not_parse_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.wit"), "package a:b; interface {").unwrap();
        assert!(validate(dir.path()).is_err());
    }
}
