//! The database: modules, versions made of them, and publications. Every change is one transaction, on disk before the
//! call returns (`synchronous=FULL`).
//!
//! What is live is not stored a second time: it is the newest publication of a binding that was not taken back, or
//! version 0, the configuration file's, where there is none.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use edgeward_core::ids::Digest;
use parking_lot::{Mutex, MutexGuard};
use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};
use serde_json::Value;

use super::{
    StoreError,
    plugins::{Action, ModuleRow, PluginStore, Publication, Receipt, VersionRow},
};
use crate::clock::{now_ms, rfc3339};

/// `PRAGMA user_version` after all of [`MIGRATIONS`].
const FORMAT: i64 = 4;
/// Publications that are kept for each binding.
const HISTORY: i64 = 1000;

const SCHEMA: &str = "
CREATE TABLE modules (
    digest TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    info TEXT NOT NULL,
    uploaded_at INTEGER NOT NULL
) STRICT;
CREATE TABLE versions (
    name TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    module TEXT NOT NULL REFERENCES modules (digest),
    settings TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (name, version)
) STRICT;
CREATE INDEX versions_by_module ON versions (module);
-- numbers are never used again, even after the newest version was deleted
CREATE TABLE numbers (name TEXT PRIMARY KEY, last INTEGER NOT NULL) STRICT;
CREATE TABLE publications (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version >= 0),
    action TEXT NOT NULL,
    at INTEGER NOT NULL,
    undone_at INTEGER
) STRICT;
CREATE INDEX publications_by_name ON publications (name, id);
";

/// What makes each format of the one before it.
const MIGRATIONS: [&str; 4] = [
    SCHEMA,
    super::documents::SCHEMA,
    super::access::SCHEMA,
    super::documents::SEAL,
];

/// The open database.
#[derive(Debug)]
pub struct Journal {
    connection: Mutex<Connection>,
    /// There was none before it was opened.
    pub(super) is_new: bool,
}

pub(super) fn failed(what: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
    move |source| StoreError::Database { what, source }
}

fn not_found(name: &str, version: u64) -> StoreError {
    StoreError::NotFound(format!("plugin `{name}` has no version {version}"))
}

/// SQLite's integers are signed; every number that gets here is far below the bound.
fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn uint(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(index)?).unwrap_or(0))
}

fn json(row: &Row<'_>, index: usize) -> rusqlite::Result<Value> {
    let text: String = row.get(index)?;
    Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
}

fn digest(row: &Row<'_>, index: usize) -> rusqlite::Result<Digest> {
    let text: String = row.get(index)?;
    text.parse().map_err(|error: String| {
        rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, error.into())
    })
}

fn version_row(row: &Row<'_>) -> rusqlite::Result<VersionRow> {
    Ok(VersionRow {
        name: row.get(0)?,
        version: uint(row, 1)?,
        module: digest(row, 2)?,
        settings: json(row, 3)?,
        created_at: rfc3339(row.get(4)?),
    })
}

const VERSION_COLUMNS: &str = "SELECT name, version, module, settings, created_at FROM versions";

impl Journal {
    /// Opens the database, making or upgrading its tables.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let open = || -> rusqlite::Result<(Connection, i64)> {
            let connection = Connection::open(path)?;
            connection.busy_timeout(Duration::from_secs(5))?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "foreign_keys", true)?;
            let format = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
            Ok((connection, format))
        };
        let (mut connection, format) = open().map_err(failed("open"))?;
        if !(0..=FORMAT).contains(&format) {
            return Err(StoreError::Newer {
                found: format,
                known: FORMAT,
            });
        }
        // from one format to the next, each in a transaction of its own
        for (to, schema) in (1..).zip(MIGRATIONS).filter(|(to, _)| *to > format) {
            let migrate = |connection: &mut Connection| -> rusqlite::Result<()> {
                let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                transaction.execute_batch(schema)?;
                transaction.pragma_update(None, "user_version", to)?;
                transaction.commit()
            };
            migrate(&mut connection).map_err(failed("create the tables"))?;
        }
        let intact = |connection: &Connection| -> rusqlite::Result<String> {
            connection.pragma_query_value(None, "quick_check", |row| row.get(0))
        };
        let found = intact(&connection).map_err(failed("check"))?;
        if found != "ok" {
            return Err(StoreError::Conflict(format!(
                "the database is damaged: {found}; restore a backup"
            )));
        }
        Ok(Self {
            connection: Mutex::new(connection),
            is_new: format == 0,
        })
    }

    pub(super) fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock()
    }

    pub(super) fn change<T>(
        &self,
        what: &'static str,
        run: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection.lock();
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed(what))?;
        let value = run(&transaction)?;
        transaction.commit().map_err(failed(what))?;
        Ok(value)
    }
}

impl PluginStore for Journal {
    fn digests(&self) -> Result<BTreeSet<Digest>, StoreError> {
        let connection = self.connection.lock();
        let read = || -> rusqlite::Result<_> {
            connection
                .prepare("SELECT digest FROM modules")?
                .query_map([], |row| digest(row, 0))?
                .collect()
        };
        read().map_err(failed("list modules"))
    }

    fn add_module(&self, digest: Digest, size: u64, info: &Value) -> Result<ModuleRow, StoreError> {
        self.change("record a module", |connection| {
            connection
                .execute(
                    "INSERT INTO modules (digest, size, info, uploaded_at) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (digest) DO UPDATE SET info = excluded.info",
                    params![digest.to_string(), int(size), info.to_string(), now_ms()],
                )
                .map_err(failed("record a module"))
        })?;
        self.module(digest)
    }

    fn modules(&self) -> Result<Vec<ModuleRow>, StoreError> {
        let connection = self.connection.lock();
        modules(&connection, None).map_err(failed("list modules"))
    }

    fn module(&self, digest: Digest) -> Result<ModuleRow, StoreError> {
        let connection = self.connection.lock();
        let rows = modules(&connection, Some(digest)).map_err(failed("read a module"))?;
        rows.into_iter()
            .next()
            .ok_or_else(|| StoreError::NotFound(format!("no module {digest} was uploaded")))
    }

    fn remove_module(&self, digest: Digest) -> Result<(), StoreError> {
        self.change("remove a module", |connection| {
            let row = modules(connection, Some(digest))
                .map_err(failed("read a module"))?
                .into_iter()
                .next();
            let row = row.ok_or_else(|| StoreError::NotFound(format!("no module {digest} was uploaded")))?;
            if !row.used_by.is_empty() {
                return Err(StoreError::Conflict(format!(
                    "module {digest} is used by {}",
                    row.used_by.join(", ")
                )));
            }
            connection
                .execute("DELETE FROM modules WHERE digest = ?1", [digest.to_string()])
                .map_err(failed("remove a module"))?;
            Ok(())
        })
    }

    fn next_version(
        &self,
        name: &str,
        module: Digest,
        settings: &Value,
    ) -> Result<(VersionRow, bool), StoreError> {
        self.change("number a version", |connection| {
            let newest = connection
                .query_row(
                    &format!("{VERSION_COLUMNS} WHERE name = ?1 ORDER BY version DESC LIMIT 1"),
                    [name],
                    version_row,
                )
                .optional()
                .map_err(failed("read a version"))?;
            if let Some(newest) = newest.filter(|row| row.module == module && row.settings == *settings) {
                return Ok((newest, false));
            }
            uploaded(connection, module)?;
            let number = connection.query_row(
                "INSERT INTO numbers (name, last) VALUES (?1, 1)
                 ON CONFLICT (name) DO UPDATE SET last = last + 1 RETURNING last",
                [name],
                |row| row.get::<_, i64>(0),
            );
            let row = VersionRow {
                name: name.to_owned(),
                version: number.map_err(failed("number a version"))?.unsigned_abs(),
                module,
                settings: settings.clone(),
                created_at: rfc3339(now_ms()),
            };
            Ok((row, true))
        })
    }

    fn keep_version(&self, row: &VersionRow) -> Result<VersionRow, StoreError> {
        self.change("record a version", |connection| {
            uploaded(connection, row.module)?;
            let query = "INSERT INTO versions (name, version, module, settings, created_at) VALUES (?1, ?2, ?3, ?4, ?5)";
            let (module, settings) = (row.module.to_string(), row.settings.to_string());
            let now = now_ms();
            let values = params![row.name, int(row.version), module, settings, now];
            connection
                .execute(query, values)
                .map_err(failed("record a version"))?;
            Ok(VersionRow {
                created_at: rfc3339(now),
                ..row.clone()
            })
        })
    }

    fn version(&self, name: &str, version: u64) -> Result<VersionRow, StoreError> {
        let connection = self.connection.lock();
        let query = format!("{VERSION_COLUMNS} WHERE name = ?1 AND version = ?2");
        connection
            .query_row(&query, params![name, int(version)], version_row)
            .optional()
            .map_err(failed("read a version"))?
            .ok_or_else(|| not_found(name, version))
    }

    fn versions(&self, name: &str, before: Option<u64>, limit: u32) -> Result<Vec<VersionRow>, StoreError> {
        let connection = self.connection.lock();
        let read = || -> rusqlite::Result<_> {
            connection
                .prepare(&format!(
                    "{VERSION_COLUMNS} WHERE name = ?1 AND (?3 IS NULL OR version < ?3) ORDER BY version DESC LIMIT ?2"
                ))?
                .query_map(params![name, limit, before.map(int)], version_row)?
                .collect()
        };
        read().map_err(failed("list versions"))
    }

    fn remove_version(&self, name: &str, version: u64) -> Result<(), StoreError> {
        self.change("remove a version", |connection| {
            if live_version(connection, name).map_err(failed("read what is live"))? == version {
                return Err(StoreError::Conflict(format!(
                    "version {version} of plugin `{name}` is live"
                )));
            }
            let key = params![name, int(version)];
            connection
                .execute("DELETE FROM publications WHERE name = ?1 AND version = ?2", key)
                .map_err(failed("remove a version"))?;
            let removed = connection
                .execute("DELETE FROM versions WHERE name = ?1 AND version = ?2", key)
                .map_err(failed("remove a version"))?;
            if removed == 0 {
                Err(not_found(name, version))
            } else {
                Ok(())
            }
        })
    }

    fn live(&self) -> Result<BTreeMap<String, VersionRow>, StoreError> {
        let connection = self.connection.lock();
        let read = || -> rusqlite::Result<_> {
            connection
                .prepare(&format!(
                    "{VERSION_COLUMNS} JOIN (
                        SELECT name AS live_name, version AS live_version, max(id) FROM publications
                        WHERE undone_at IS NULL GROUP BY name
                     ) ON name = live_name AND version = live_version"
                ))?
                .query_map([], |row| {
                    version_row(row).map(|version| (version.name.clone(), version))
                })?
                .collect()
        };
        read().map_err(failed("read what is live"))
    }

    fn previous(&self, name: &str) -> Result<u64, StoreError> {
        let connection = self.connection.lock();
        let read = || -> rusqlite::Result<Vec<u64>> {
            connection
                .prepare(
                    "SELECT version FROM publications WHERE name = ?1 AND undone_at IS NULL ORDER BY id DESC LIMIT 2",
                )?
                .query_map([name], |row| uint(row, 0))?
                .collect()
        };
        match read().map_err(failed("read the history"))?.as_slice() {
            [] => Err(StoreError::Conflict(format!(
                "plugin `{name}` has nothing to roll back: the configuration file's version is live"
            ))),
            [_] => Ok(0),
            [_, previous, ..] => Ok(*previous),
        }
    }

    fn publish(&self, name: &str, version: u64, action: Action) -> Result<Receipt, StoreError> {
        let action = match action {
            Action::Publish => "publish",
            Action::Rollback => "rollback",
        };
        self.change("publish", |connection| {
            let write = || -> rusqlite::Result<Option<i64>> {
                let there: bool = connection.query_row(
                    "SELECT ?2 = 0 OR EXISTS (SELECT 1 FROM versions WHERE name = ?1 AND version = ?2)",
                    params![name, int(version)],
                    |row| row.get(0),
                )?;
                if !there {
                    return Ok(None);
                }
                connection.execute(
                    "INSERT INTO publications (name, version, action, at) VALUES (?1, ?2, ?3, ?4)",
                    params![name, int(version), action, now_ms()],
                )?;
                let id = connection.last_insert_rowid();
                connection.execute(
                    "DELETE FROM publications WHERE name = ?1 AND id <= (
                        SELECT id FROM publications WHERE name = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                    params![name, HISTORY],
                )?;
                Ok(Some(id))
            };
            write()
                .map_err(failed("publish"))?
                .map(Receipt::Added)
                .ok_or_else(|| not_found(name, version))
        })
    }

    fn undo(&self, name: &str) -> Result<Receipt, StoreError> {
        self.change("roll back", |connection| {
            connection
                .query_row(
                    "UPDATE publications SET undone_at = ?2 WHERE id = (
                        SELECT max(id) FROM publications WHERE name = ?1 AND undone_at IS NULL) RETURNING id",
                    params![name, now_ms()],
                    |row| row.get(0),
                )
                .optional()
                .map_err(failed("roll back"))?
                .map(Receipt::Undone)
                .ok_or_else(|| StoreError::Conflict(format!("plugin `{name}` has nothing to roll back")))
        })
    }

    fn revert(&self, receipt: Receipt) -> Result<(), StoreError> {
        let (statement, id) = match receipt {
            Receipt::Added(id) => ("DELETE FROM publications WHERE id = ?1", id),
            Receipt::Undone(id) => ("UPDATE publications SET undone_at = NULL WHERE id = ?1", id),
        };
        self.change("take a change back", |connection| {
            connection
                .execute(statement, [id])
                .map_err(failed("take a change back"))?;
            Ok(())
        })
    }

    fn history(&self, name: &str, limit: u32) -> Result<Vec<Publication>, StoreError> {
        let connection = self.connection.lock();
        let read = || -> rusqlite::Result<_> {
            connection
                .prepare(
                    "SELECT version, action, at, undone_at FROM publications WHERE name = ?1 ORDER BY id DESC LIMIT ?2",
                )?
                .query_map(params![name, limit], |row| {
                    Ok(Publication {
                        version: uint(row, 0)?,
                        action: row.get(1)?,
                        at: rfc3339(row.get(2)?),
                        undone_at: row.get::<_, Option<i64>>(3)?.map(rfc3339),
                    })
                })?
                .collect()
        };
        read().map_err(failed("read the history"))
    }
}

fn live_version(connection: &Connection, name: &str) -> rusqlite::Result<u64> {
    let newest = connection
        .query_row(
            "SELECT version FROM publications WHERE name = ?1 AND undone_at IS NULL ORDER BY id DESC LIMIT 1",
            [name],
            |row| uint(row, 0),
        )
        .optional()?;
    Ok(newest.unwrap_or(0))
}

fn uploaded(connection: &Connection, module: Digest) -> Result<(), StoreError> {
    if modules(connection, Some(module))
        .map_err(failed("read a module"))?
        .is_empty()
    {
        return Err(StoreError::NotFound(format!("no module {module} was uploaded")));
    }
    Ok(())
}

fn modules(connection: &Connection, only: Option<Digest>) -> rusqlite::Result<Vec<ModuleRow>> {
    connection
        .prepare(
            "SELECT digest, size, info, uploaded_at,
                (SELECT group_concat(name || '@' || version, char(10)) FROM versions WHERE module = digest)
             FROM modules WHERE ?1 IS NULL OR digest = ?1 ORDER BY uploaded_at DESC, digest",
        )?
        .query_map([only.map(|digest| digest.to_string())], |row| {
            let used: Option<String> = row.get(4)?;
            Ok(ModuleRow {
                digest: digest(row, 0)?,
                size: uint(row, 1)?,
                info: json(row, 2)?,
                uploaded_at: rfc3339(row.get(3)?),
                used_by: used
                    .iter()
                    .flat_map(|text| text.lines())
                    .map(str::to_owned)
                    .collect(),
            })
        })?
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::ModelStore as _, *};

    /// A database of that format with a version of a plugin that is live.
    fn of_format(format: usize, path: &Path) {
        let connection = Connection::open(path).unwrap();
        for schema in &MIGRATIONS[..format] {
            connection.execute_batch(schema).unwrap();
        }
        connection
            .pragma_update(None, "user_version", i64::try_from(format).unwrap())
            .unwrap();
        let digest = Digest([7; 32]).to_string();
        for (statement, values) in [
            (
                "INSERT INTO modules VALUES (?1, 3, '{}', 1)",
                vec![digest.as_str()],
            ),
            (
                "INSERT INTO versions VALUES ('auth', 2, ?1, '{\"config\": 1}', 1)",
                vec![&digest],
            ),
            ("INSERT INTO numbers VALUES ('auth', 2)", vec![]),
            (
                "INSERT INTO publications (name, version, action, at) VALUES ('auth', 2, 'publish', 1)",
                vec![],
            ),
        ] {
            connection
                .execute(statement, rusqlite::params_from_iter(values))
                .unwrap();
        }
    }

    #[test]
    fn databases_of_every_earlier_format_are_upgraded_with_all_that_is_in_them() {
        for format in 1..MIGRATIONS.len() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("edgeward.db");
            of_format(format, &path);
            // twice: an upgraded one is opened as it is
            for _ in 0..2 {
                let journal = Journal::open(&path).unwrap();
                let live = journal.live().unwrap();
                assert_eq!(live["auth"].version, 2, "format {format}");
                assert_eq!(live["auth"].settings, serde_json::json!({"config": 1}));
                assert_eq!(journal.documents().unwrap(), []);
                let now: i64 = journal
                    .connection()
                    .pragma_query_value(None, "user_version", |row| row.get(0))
                    .unwrap();
                assert_eq!(now, FORMAT);
            }
        }
        assert_eq!(MIGRATIONS.len(), usize::try_from(FORMAT).unwrap());
    }

    #[test]
    fn an_upgrade_that_is_cut_off_has_not_begun() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edgeward.db");
        of_format(1, &path);
        // something is in the way of the second format's last table
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("CREATE TABLE audit_head (x)").unwrap();
        let error = Journal::open(&path).unwrap_err();
        assert!(error.to_string().contains("audit_head"), "{error}");
        let format: i64 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap();
        assert_eq!(format, 1);
        connection.execute_batch("DROP TABLE audit_head").unwrap();
        assert_eq!(Journal::open(&path).unwrap().live().unwrap()["auth"].version, 2);
    }
}
