//! A kill at any moment leaves the old or the new state: shown by making by hand what a kill between two steps leaves.

use std::fs;

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

fn place(store: &Store, digest: Digest) -> PathBuf {
    store.root().join(format!("modules/{}.wasm", digest.hex()))
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
        fs::write(dir.path().join("modules/.put-abc"), b"half").unwrap();
        // killed after the rename, before the row
        let orphan = edgeward_runtime::digest(b"orphan");
        store.blobs.keep_bytes(orphan, b"orphan").unwrap();
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
        place(&store, digest),
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
    fs::write(place(&store, digest), b"modulx").unwrap();
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

/// Tables as the first three formats have them.
const OLD: [&str; 3] = [
    "CREATE TABLE modules (digest TEXT PRIMARY KEY, size INTEGER NOT NULL, info TEXT NOT NULL, uploaded_at INTEGER NOT NULL) STRICT;
     CREATE TABLE versions (name TEXT NOT NULL, version INTEGER NOT NULL CHECK (version > 0), module TEXT NOT NULL REFERENCES modules (digest), settings TEXT NOT NULL, created_at INTEGER NOT NULL, PRIMARY KEY (name, version)) STRICT;
     CREATE INDEX versions_by_module ON versions (module);
     CREATE TABLE numbers (name TEXT PRIMARY KEY, last INTEGER NOT NULL) STRICT;
     CREATE TABLE publications (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, version INTEGER NOT NULL CHECK (version >= 0), action TEXT NOT NULL, at INTEGER NOT NULL, undone_at INTEGER) STRICT;
     CREATE INDEX publications_by_name ON publications (name, id);",
    "CREATE TABLE documents (kind TEXT NOT NULL, parent TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, revision INTEGER NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, PRIMARY KEY (kind, parent, name)) STRICT, WITHOUT ROWID;
     CREATE TABLE audit (seq INTEGER PRIMARY KEY CHECK (seq > 0), entry TEXT NOT NULL, mac TEXT NOT NULL) STRICT;
     CREATE TABLE audit_head (only_one INTEGER PRIMARY KEY CHECK (only_one = 1), seq INTEGER NOT NULL, mac TEXT NOT NULL) STRICT;",
    "CREATE TABLE token_uses (id TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;",
];

#[test]
fn documents_and_entries_of_earlier_formats_are_there_after_the_migration() {
    for (format, tables) in [(2, &OLD[..2]), (3, &OLD[..])] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("keys")).unwrap();
        let key = keys::key(&Folder::new(dir.path()), AUDIT_KEY).unwrap();
        let database = rusqlite::Connection::open(dir.path().join(DATABASE)).unwrap();
        for tables in tables {
            database.execute_batch(tables).unwrap();
        }
        database.pragma_update(None, "user_version", format).unwrap();
        let put = "INSERT INTO documents VALUES (?1, ?2, ?3, ?4, ?5, 1, 2)";
        for (kind, parent, name, body) in [
            ("apis", "", "pets", json!({"protocol": "REST"})),
            ("routes", "pets", "GET /a", json!({"integration": "web"})),
        ] {
            let body = body.to_string();
            database.execute(put, (kind, parent, name, body, 7)).unwrap();
        }
        let mut last = String::new();
        for seq in 1..=3 {
            let entry = json!({"at": "2026-01-02T03:04:05Z", "principal": "root", "action": "create", "target": "apis/pets", "outcome": "done"});
            let entry = entry.to_string();
            last = audit_mac(&key, seq, &last, &entry);
            let put = "INSERT INTO audit VALUES (?1, ?2, ?3)";
            database.execute(put, (seq, entry, &last)).unwrap();
        }
        database
            .execute("INSERT INTO audit_head VALUES (1, 3, ?1)", [&last])
            .unwrap();
        drop(database);
        let store = Store::open(dir.path()).unwrap();
        let mut kept = store.model.documents().unwrap();
        kept.sort_by(|(one, _), (other, _)| one.cmp(other));
        let told: Vec<_> = kept
            .iter()
            .map(|(key, document)| (key.path(), &document.body))
            .collect();
        assert_eq!(
            told,
            [
                ("apis/pets".to_owned(), &json!({"protocol": "REST"})),
                (
                    "apis/pets/routes/GET /a".to_owned(),
                    &json!({"integration": "web"})
                ),
            ]
        );
        assert!(kept.iter().all(|(_, document)| {
            (document.revision, document.created_at, document.updated_at) == (7, 1, 2)
        }));
        let query = AuditQuery {
            limit: 10,
            ..AuditQuery::default()
        };
        let log = store.model.audit(&query).unwrap();
        assert_eq!(log.iter().map(|row| row.seq).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(log.iter().all(|row| row.entry.target == "apis/pets"));
        assert_eq!(log.last().unwrap().mac, last);
        // no release wrote logs without a seal: what has none may have been cut off
        let check = store.model.check_audit(&key).unwrap();
        assert_eq!(
            (check.entries, check.problem.as_deref()),
            (3, Some("the end of the log was changed"))
        );
        // and all that is new can be done
        store.model.token_used("abcdefgh", 5).unwrap();
        store
            .model
            .change_documents(&[], &[log.last().unwrap().entry.clone()], &key)
            .unwrap();
        assert_eq!(store.model.audit(&query).unwrap().len(), 4);
        drop(store);
        assert_eq!(
            Store::open(dir.path()).unwrap().model.documents().unwrap().len(),
            2
        );
    }
}
