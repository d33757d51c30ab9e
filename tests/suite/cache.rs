//! Compiled code on disk: used when it is ours, made anew when it is not.

use std::{
    fs,
    path::{Path, PathBuf},
};

use edgeward_runtime::{Runtime, RuntimeOptions};
use edgeward_tests::{guest_bytes, load, runtime_with};
use serde_json::json;

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

async fn from_cache(runtime: &Runtime, version: &str) -> bool {
    let loaded = load(
        runtime,
        &guest_bytes("stamp"),
        json!({"config": {"version": version}}),
    )
    .await
    .unwrap();
    assert_eq!(loaded.report().interest.phases.iter().count(), 2);
    loaded.report().from_cache
}

#[tokio::test]
async fn a_second_start_compiles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let first = runtime_with(folder.path().to_path_buf(), 8);
    assert!(!from_cache(&first, "1").await);
    assert!(from_cache(&first, "1").await);
    assert!(
        !from_cache(&first, "2").await,
        "the configuration is part of the snapshot"
    );
    assert_eq!(first.compiled(), 2);
    drop(first);
    let second = runtime_with(folder.path().to_path_buf(), 8);
    assert!(from_cache(&second, "1").await && from_cache(&second, "2").await);
    assert_eq!(second.compiled(), 0);
}

#[tokio::test]
async fn changed_files_are_never_run() {
    let folder = tempfile::tempdir().unwrap();
    assert!(!from_cache(&runtime_with(folder.path().to_path_buf(), 8), "1").await);
    let entries = entries(folder.path());
    assert_eq!(entries.len(), 2, "code, and what belongs to it: {entries:?}");
    for entry in entries {
        let good = fs::read(&entry).unwrap();
        let changed = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = good.clone();
            change(&mut bytes);
            bytes
        };
        for bytes in [
            changed(&|bytes| bytes[good.len() / 2] ^= 1),
            changed(&|bytes| bytes[0] ^= 1),
            changed(&|bytes| bytes.truncate(good.len() - 1)),
            changed(&|bytes| bytes.truncate(10)),
            changed(&|bytes| bytes.push(0)),
            Vec::new(),
        ] {
            fs::write(&entry, bytes).unwrap();
            assert!(!from_cache(&runtime_with(folder.path().to_path_buf(), 8), "1").await);
            assert!(
                from_cache(&runtime_with(folder.path().to_path_buf(), 8), "1").await,
                "it is mended"
            );
        }
        fs::remove_file(&entry).unwrap();
        assert!(!from_cache(&runtime_with(folder.path().to_path_buf(), 8), "1").await);
    }
}

#[tokio::test]
async fn code_of_another_process_is_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let options = |key: u8| RuntimeOptions {
        cache_dir: Some(folder.path().to_path_buf()),
        cache_key: [key; 32],
        instances: 8,
        ..RuntimeOptions::default()
    };
    assert!(!from_cache(&Runtime::new(options(1)).unwrap(), "1").await);
    assert!(!from_cache(&Runtime::new(options(2)).unwrap(), "1").await);
}

#[tokio::test]
async fn what_a_crash_left_is_cleared_away() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("abc.tmp"), "half").unwrap();
    let _runtime = runtime_with(folder.path().to_path_buf(), 8);
    assert!(entries(folder.path()).is_empty());
}
