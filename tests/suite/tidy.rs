//! The tree itself: edges between crates, headers, sizes, and docs that are complete.

use std::{
    fs,
    path::{Path, PathBuf},
};

use edgeward_core::reject::RejectCode;
use edgeward_tests::workspace;

/// Crates of the host, each of which may only know those before it.
const LINE: [&str; 5] = ["core", "runtime", "proxy", "control", "cli"];
/// Longest source file outside of tests.
const LINES_MAX: usize = 800;

/// Names under `[dependencies]` of a crate.
fn dependencies(manifest: &Path) -> Vec<String> {
    let text = fs::read_to_string(manifest).unwrap();
    let mut inside = false;
    let mut names = Vec::new();
    for line in text.lines() {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
        } else if inside && line.contains('=') && !line.starts_with('#') {
            names.push(line.split(['.', '=', ' ']).next().unwrap().to_owned());
        }
    }
    assert!(!names.is_empty(), "{}", manifest.display());
    names
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for part in ["host", "plugins", "sdk", "tests", "benches", "examples", "fuzz"] {
        sources(&workspace().join(part), &mut found);
    }
    assert!(found.len() > 50);
    found
}

#[test]
fn crates_know_only_those_before_them() {
    for (index, name) in LINE.iter().enumerate() {
        let names = dependencies(&workspace().join("host").join(name).join("Cargo.toml"));
        for later in &LINE[index + 1..] {
            assert!(
                !names.contains(&format!("edgeward-{later}")),
                "{name} depends on {later}"
            );
        }
    }
}

#[test]
fn the_core_does_no_input_or_output() {
    let names = dependencies(&workspace().join("host/core/Cargo.toml"));
    for forbidden in [
        "tokio",
        "hyper",
        "hyper-util",
        "wasmtime",
        "rustls",
        "rusqlite",
        "axum",
    ] {
        assert!(
            !names.iter().any(|name| name == forbidden),
            "core depends on {forbidden}"
        );
    }
}

#[test]
fn only_the_runtime_names_wasmtime() {
    for name in LINE.iter().filter(|name| **name != "runtime") {
        let names = dependencies(&workspace().join("host").join(name).join("Cargo.toml"));
        assert!(
            !names.iter().any(|name| name.starts_with("wasmtime")),
            "{name} depends on wasmtime"
        );
    }
}

#[test]
fn every_source_file_says_what_it_owns() {
    let missing: Vec<_> = all_sources()
        .into_iter()
        .filter(|path| {
            let text = fs::read_to_string(path).unwrap();
            !text.starts_with("//!") && !text.contains("// generated")
        })
        .collect();
    assert!(missing.is_empty(), "without a `//!` header: {missing:?}");
}

#[test]
fn no_source_file_is_too_long() {
    let is_test =
        |path: &Path| path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
    let long: Vec<_> = all_sources()
        .into_iter()
        .filter(|path| !is_test(path) && fs::read_to_string(path).unwrap().lines().count() > LINES_MAX)
        .collect();
    assert!(long.is_empty(), "longer than {LINES_MAX} lines: {long:?}");
}

#[test]
fn every_reason_of_an_error_is_documented() {
    let Ok(text) = fs::read_to_string(workspace().join("docs/errors.md")) else {
        return;
    };
    for code in RejectCode::ALL {
        assert!(
            text.contains(&format!("`{}`", code.name())),
            "docs/errors.md lacks {}",
            code.name()
        );
    }
}

#[test]
fn every_plugin_has_a_readme_a_schema_and_vectors() {
    for entry in fs::read_dir(workspace().join("plugins")).unwrap() {
        let folder = entry.unwrap().path();
        for file in ["README.md", "config.schema.json", "tests/vectors"] {
            assert!(folder.join(file).exists(), "{} has no {file}", folder.display());
        }
    }
}

#[test]
fn every_authorizer_is_measured() {
    let bench = fs::read_to_string(workspace().join("benches/src/authorizers.rs")).unwrap();
    for entry in fs::read_dir(workspace().join("plugins")).unwrap() {
        let folder = entry.unwrap().path();
        let glue = fs::read_to_string(folder.join("src/lib.rs")).unwrap();
        let name = folder.file_name().unwrap().to_str().unwrap();
        assert!(
            !glue.contains("impl Authorize for") || bench.contains(&format!("guest: \"{name}\"")),
            "benches/src/authorizers.rs has no case of {name}"
        );
    }
}

#[test]
fn tests_that_the_page_on_compatibility_names_are_there() {
    let sources: String = all_sources()
        .iter()
        .filter(|path| !path.ends_with("tests/suite/tidy.rs"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let page = fs::read_to_string(workspace().join("docs/compatibility.md")).unwrap();
    let mut named = 0;
    for row in page.lines().filter(|line| line.starts_with('|')) {
        let shown_by = row.trim_end_matches('|').rsplit('|').next().unwrap();
        for name in shown_by.split('`').skip(1).step_by(2) {
            let own = name.rsplit("::").next().unwrap();
            let is_test = own.contains('_') && !own.contains(['/', '.', '-']);
            let is_there =
                sources.contains(&format!("fn {own}(")) || sources.contains(&format!("mod {own};"));
            assert!(!is_test || is_there, "no test `{name}`: {row}");
            named += usize::from(is_test);
        }
    }
    assert!(named > 50, "{named}");
}
