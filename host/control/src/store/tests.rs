//! A kill at any moment leaves the old or the new state: shown by making by hand what a kill between two steps leaves.

use serde_json::json;

use super::*;

fn upload(store: &Store, bytes: &[u8]) -> Upload {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut upload = store.blobs.begin(1 << 20).unwrap();
        for chunk in bytes.chunks(3) {
            upload.write(chunk).await.unwrap();
        }
        assert_eq!(upload.seal().await.unwrap(), bytes);
        upload
    })
}

fn module(store: &Store, bytes: &[u8]) -> Digest {
    store.keep(upload(store, bytes), &json!({})).unwrap().digest
}

impl dyn PluginStore {
    /// A version that was found to work.
    fn add_version(
        &self,
        name: &str,
        module: Digest,
        settings: &serde_json::Value,
    ) -> Result<(VersionRow, bool), StoreError> {
        let (row, new) = self.next_version(name, module, settings)?;
        let row = if new { self.keep_version(&row)? } else { row };
        Ok((row, new))
    }
}

fn live(store: &Store, name: &str) -> u64 {
    store
        .plugins
        .live()
        .unwrap()
        .get(name)
        .map_or(0, |row| row.version)
}

fn files(store: &Store) -> usize {
    fs::read_dir(store.root().join("modules")).unwrap().count()
}

#[test]
fn an_upload_is_stored_under_its_digest_and_again_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let first = store.keep(upload(&store, b"module"), &json!({"a": 1})).unwrap();
    assert_eq!(first.digest, edgeward_runtime::digest(b"module"));
    assert_eq!(first.size, 6);
    let again = store.keep(upload(&store, b"module"), &json!({"a": 1})).unwrap();
    assert_eq!(again, first);
    assert_eq!(store.blobs.read(first.digest).unwrap(), b"module");
    assert_eq!(files(&store), 1);
}

#[test]
fn an_upload_that_is_dropped_or_too_large_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    drop(upload(&store, b"half"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut upload = store.blobs.begin(4).unwrap();
        upload.write(b"1234").await.unwrap();
        let error = upload.write(b"5").await.unwrap_err();
        assert!(matches!(error, StoreError::TooLarge { limit: 4 }), "{error}");
    });
    assert_eq!(files(&store), 0);
}

#[test]
fn leftovers_of_a_killed_upload_are_removed_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let kept = {
        let store = Store::open(dir.path()).unwrap();
        let kept = module(&store, b"kept");
        // killed while the body was arriving
        fs::write(dir.path().join("modules/upload-abc.tmp"), b"half").unwrap();
        // killed after the rename, before the row
        let orphan = edgeward_runtime::digest(b"orphan");
        fs::write(store.blobs.path(orphan), b"orphan").unwrap();
        fs::write(dir.path().join("modules/README"), b"not ours").unwrap();
        kept
    };
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(
        files(&store),
        2,
        "the module with a row and the foreign file stay"
    );
    assert_eq!(store.blobs.read(kept).unwrap(), b"kept");
}

#[test]
fn an_aborted_publish_leaves_the_old_version_live() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = Store::open(dir.path()).unwrap();
        let digest = module(&store, b"m");
        for config in [1, 2] {
            let (_, new) = store
                .plugins
                .add_version("auth", digest, &json!({ "config": config }))
                .unwrap();
            assert!(new);
        }
        let _receipt = store.plugins.publish("auth", 1, Action::Publish).unwrap();
    }
    // a process killed inside the transaction: what it wrote was never committed
    let writer = rusqlite::Connection::open(dir.path().join("edgeward.db")).unwrap();
    writer
        .execute_batch(
            "BEGIN IMMEDIATE; INSERT INTO publications (name, version, action, at) VALUES ('auth', 2, 'publish', 0);",
        )
        .unwrap();
    drop(writer);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(live(&store, "auth"), 1);
    assert_eq!(store.plugins.history("auth", 10).unwrap().len(), 1);
}

#[test]
fn the_state_of_a_copied_folder_without_shutdown_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = module(&store, b"m");
    store.plugins.add_version("auth", digest, &json!({})).unwrap();
    let _receipt = store.plugins.publish("auth", 1, Action::Publish).unwrap();
    // as a kill would leave it: the write-ahead log was never folded into the database
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    fs::create_dir(copy.path().join("modules")).unwrap();
    fs::copy(
        store.blobs.path(digest),
        copy.path().join("modules").join(format!("{}.wasm", digest.hex())),
    )
    .unwrap();
    let copied = Store::open(copy.path()).unwrap();
    assert_eq!(live(&copied, "auth"), 1);
    assert_eq!(copied.blobs.read(digest).unwrap(), b"m");
}

#[test]
fn a_second_gateway_is_told_who_has_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let error = Store::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("in use by another gateway"), "{error}");
    assert!(
        error.contains(&format!("process {}", std::process::id())),
        "{error}"
    );
    drop(store);
    Store::open(dir.path()).unwrap();
}

#[test]
fn rollback_goes_back_step_by_step_to_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = module(&store, b"m");
    for config in 1..=3 {
        store
            .plugins
            .add_version("auth", digest, &json!({ "config": config }))
            .unwrap();
        let _receipt = store.plugins.publish("auth", config, Action::Publish).unwrap();
    }
    for expected in [2, 1, 0] {
        assert_eq!(store.plugins.previous("auth").unwrap(), expected);
        let _receipt = store.plugins.undo("auth").unwrap();
        assert_eq!(live(&store, "auth"), expected);
    }
    assert!(matches!(
        store.plugins.previous("auth"),
        Err(StoreError::Conflict(_))
    ));
    assert!(matches!(store.plugins.undo("auth"), Err(StoreError::Conflict(_))));
    let _receipt = store.plugins.publish("auth", 3, Action::Rollback).unwrap();
    assert_eq!(live(&store, "auth"), 3);
    let _receipt = store.plugins.publish("auth", 0, Action::Rollback).unwrap();
    assert_eq!(live(&store, "auth"), 0);
    assert_eq!(store.plugins.previous("auth").unwrap(), 3);
}

#[test]
fn a_change_that_is_reverted_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = module(&store, b"m");
    store.plugins.add_version("auth", digest, &json!({})).unwrap();
    let receipt = store.plugins.publish("auth", 1, Action::Publish).unwrap();
    store.plugins.revert(receipt).unwrap();
    assert!(store.plugins.history("auth", 10).unwrap().is_empty());
    let _receipt = store.plugins.publish("auth", 1, Action::Publish).unwrap();
    let receipt = store.plugins.undo("auth").unwrap();
    store.plugins.revert(receipt).unwrap();
    assert_eq!(live(&store, "auth"), 1);
}

#[test]
fn the_same_version_twice_is_one_and_numbers_are_never_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = module(&store, b"m");
    assert!(store.plugins.add_version("auth", digest, &json!({})).unwrap().1);
    let (row, new) = store.plugins.add_version("auth", digest, &json!({})).unwrap();
    assert_eq!((row.version, new), (1, false));
    store.plugins.remove_version("auth", 1).unwrap();
    assert_eq!(
        store
            .plugins
            .add_version("auth", digest, &json!({}))
            .unwrap()
            .0
            .version,
        2
    );
    assert!(matches!(
        store.plugins.publish("auth", 1, Action::Publish),
        Err(StoreError::NotFound(_))
    ));
}

#[test]
fn a_version_that_a_kill_left_untried_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = module(&store, b"m");
    let (row, new) = store.plugins.next_version("auth", digest, &json!({})).unwrap();
    assert_eq!((row.version, new), (1, true));
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert!(store.plugins.versions("auth", None, 10).unwrap().is_empty());
    assert!(store.plugins.publish("auth", 1, Action::Publish).is_err());
    let (row, new) = store.plugins.add_version("auth", digest, &json!({})).unwrap();
    assert_eq!((row.version, new), (2, true));
}

#[test]
fn what_is_in_use_cannot_be_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = module(&store, b"m");
    store.plugins.add_version("auth", digest, &json!({})).unwrap();
    let _receipt = store.plugins.publish("auth", 1, Action::Publish).unwrap();
    let error = store.forget(digest).unwrap_err().to_string();
    assert!(error.contains("used by auth@1"), "{error}");
    assert!(matches!(
        store.plugins.remove_version("auth", 1),
        Err(StoreError::Conflict(_))
    ));
    let _receipt = store.plugins.undo("auth").unwrap();
    store.plugins.remove_version("auth", 1).unwrap();
    store.forget(digest).unwrap();
    assert!(matches!(store.forget(digest), Err(StoreError::NotFound(_))));
    assert_eq!(files(&store), 0);
}

#[test]
fn a_damaged_module_is_found_out_and_repaired_by_uploading_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digest = module(&store, b"module");
    fs::write(store.blobs.path(digest), b"modulx").unwrap();
    assert!(matches!(
        store.blobs.read(digest),
        Err(StoreError::Damaged { .. })
    ));
    module(&store, b"module");
    assert_eq!(store.blobs.read(digest).unwrap(), b"module");
}

#[test]
fn a_folder_of_a_later_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path()).unwrap());
    let database = rusqlite::Connection::open(dir.path().join("edgeward.db")).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    drop(database);
    let error = Store::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("format 99"), "{error}");
}
