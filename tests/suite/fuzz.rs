//! The corpora of the fuzz targets, replayed: what fuzzing has found interesting once is looked at in every run of the suite.

use std::{collections::BTreeSet, fs, path::PathBuf};

use edgeward_tests::{fuzz::TARGETS, workspace};

fn corpus(target: &str) -> PathBuf {
    workspace().join("fuzz/corpus").join(target)
}

/// Calls the property of a target with each file of its corpus.
fn replay(target: &str) {
    let (_, property) = TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let mut files: Vec<_> = fs::read_dir(corpus(target))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "the corpus of {target} is empty");
    for file in files {
        let data = fs::read(&file).unwrap();
        let held = std::panic::catch_unwind(|| property(&data));
        assert!(held.is_ok(), "it does not hold for {}", file.display());
    }
}

#[test]
fn configurations_pass() {
    replay("config");
}

#[test]
fn connections_pass() {
    replay("end_to_end");
}

#[test]
fn http1_requests_pass() {
    replay("http1_request");
}

#[test]
fn http1_responses_pass() {
    replay("http1_response");
}

#[test]
fn http2_fields_pass() {
    replay("http2_fields");
}

#[test]
fn http3_streams_pass() {
    replay("http3");
}

#[test]
fn openapi_documents_pass() {
    replay("openapi");
}

#[test]
fn paths_pass() {
    replay("path");
}

#[test]
fn policies_pass() {
    replay("policy");
}

#[test]
fn proxy_headers_pass() {
    replay("proxy_header");
}

#[test]
fn routing_tables_pass() {
    replay("router");
}

#[test]
fn every_target_has_a_program_and_a_corpus_and_is_documented() {
    let names: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let folders = fs::read_dir(workspace().join("fuzz/corpus")).unwrap();
    let corpora: BTreeSet<_> = folders
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(corpora, names);
    let manifest = fs::read_to_string(workspace().join("fuzz/Cargo.toml")).unwrap();
    let documents = fs::read_to_string(workspace().join("docs/testing.md")).unwrap();
    assert_eq!(manifest.matches("[[bin]]").count(), names.len());
    for name in names {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        let program = workspace().join(format!("fuzz/fuzz_targets/{name}.rs"));
        let program = fs::read_to_string(program).unwrap();
        assert!(program.contains(&format!("::fuzz::{name}(data)")), "{name}");
        assert!(documents.contains(&format!("`{name}`")), "{name}");
    }
}
