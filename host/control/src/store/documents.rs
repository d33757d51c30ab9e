//! The API model in the database: one row for each resource, and the audit log. A change of the model and what the log says of it are one transaction.
//!
//! The log is a chain: each entry has a MAC over itself and the MAC before it, with a key that only this gateway has. The number and MAC of the last entry
//! stand apart, sealed with the key, so that entries that were cut off at the end are missed, too.

use std::{collections::BTreeMap, path::Path};

use aws_lc_rs::hmac;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{DATABASE, Journal, StoreError, journal::failed};
use crate::model::{Document, Key, Kind, Model};

/// Tables of format 2.
pub(super) const SCHEMA: &str = "
CREATE TABLE documents (
    kind TEXT NOT NULL,
    parent TEXT NOT NULL,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    revision INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (kind, parent, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY CHECK (seq > 0),
    entry TEXT NOT NULL,
    mac TEXT NOT NULL
) STRICT;
CREATE TABLE audit_head (only_one INTEGER PRIMARY KEY CHECK (only_one = 1), seq INTEGER NOT NULL, mac TEXT NOT NULL) STRICT;
";

/// Tables of format 4: the end of the log is sealed with the key, so that nobody else can set it back to an earlier entry.
pub(super) const SEAL: &str = "ALTER TABLE audit_head ADD COLUMN seal TEXT NOT NULL DEFAULT '';";

/// What is sealed in place of an entry: no JSON, so that it never is one.
const END: &str = "the end";

/// One change of the model.
#[derive(Clone, Debug)]
pub struct DocumentChange {
    /// Of what.
    pub key: Key,
    /// What it is now; `None` when it was removed.
    pub document: Option<Document>,
}

/// What happened, for the audit log. Never has a secret in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct AuditEntry {
    /// RFC 3339.
    pub at: String,
    /// Who.
    pub principal: String,
    /// How they were known: `token abcdefgh` (its id), `token-file`, `certificate CN=alice`, `user 1000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<String>,
    /// From which address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What the client calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Id of the call; its answer has it as `x-request-id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// SHA-256 of the call's `Idempotency-Key`, as `sha256:` and its hexadecimal digits. Callers make keys of whatever they have, so that the key itself is not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// `create`, `update`, `delete`, `deploy`, `publish`, `rollback`, `apply`, `reload`, ...
    pub action: String,
    /// Of what: the path of the resource.
    pub target: String,
    /// `done`, `denied`, `refused`; `begun` of what is not one transaction with its entry; `unreadable` of an entry that was damaged.
    pub outcome: String,
    /// What was there before turned into what is there now: JSON Patch (RFC 6902), with a `test` of each value before it is replaced or removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<Value>,
    /// Whatever else there is to say: digests of plugins, why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Value>,
}

impl AuditEntry {
    /// Stands for an entry that was damaged: it is not left out.
    fn unreadable() -> Self {
        Self {
            outcome: "unreadable".to_owned(),
            ..Self::default()
        }
    }
}

/// Which entries of the log. What is not said is not looked at; entries that are damaged are always there.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// Those behind this number.
    pub after: u64,
    /// So many at most.
    pub limit: u32,
    /// Not before this instant, as entries write theirs.
    pub since: Option<String>,
    /// Before this instant.
    pub until: Option<String>,
    /// Of this principal.
    pub principal: Option<String>,
    /// Of this target; `apis/pets/*` for all that begin so.
    pub target: Option<String>,
    /// With this action.
    pub action: Option<String>,
    /// With this outcome.
    pub outcome: Option<String>,
}

/// Entries that fit. One that was tampered with may be no JSON: it fits no condition.
const QUERY: &str = "
SELECT seq, entry, mac FROM audit WHERE seq > ?1 AND (
    coalesce(?3, ?4, ?5, ?6, ?7, ?8, ?9) IS NULL
    OR CASE WHEN json_valid(entry) THEN
        (?3 IS NULL OR entry ->> 'at' >= ?3) AND (?4 IS NULL OR entry ->> 'at' < ?4)
        AND (?5 IS NULL OR entry ->> 'principal' = ?5) AND (?6 IS NULL OR entry ->> 'action' = ?6)
        AND (?7 IS NULL OR entry ->> 'outcome' = ?7) AND (?8 IS NULL OR entry ->> 'target' = ?8)
        AND (?9 IS NULL OR substr(entry ->> 'target', 1, length(?9)) = ?9)
    ELSE 1 END)
ORDER BY seq LIMIT ?2";

/// An entry in its place in the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct AuditRow {
    /// Number, from 1, without gaps.
    pub seq: u64,
    /// The entry.
    #[serde(flatten)]
    pub entry: AuditEntry,
    /// Hexadecimal MAC over the entry and the MAC before it.
    pub mac: String,
}

/// What a check of the log came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct AuditCheck {
    /// Entries that are as they were written.
    pub entries: u64,
    /// The first thing that is not, in words.
    pub problem: Option<String>,
}

/// MAC of an entry of the audit log, in hexadecimal: over its number, the MAC before it (empty for the first) and its JSON.
#[must_use]
pub fn audit_mac(key: &[u8; 32], seq: i64, before: &str, entry: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut context = hmac::Context::with_key(&key);
    context.update(&seq.to_be_bytes());
    context.update(before.as_bytes());
    context.update(b"\n");
    context.update(entry.as_bytes());
    let tag = context.sign();
    tag.as_ref()
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            use std::fmt::Write as _;
            // writing to a String cannot fail
            let _unused = write!(text, "{byte:02x}");
            text
        })
}

fn append(connection: &Connection, key: &[u8; 32], entries: &[AuditEntry]) -> rusqlite::Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let (mut seq, mut last, seal) = head(connection)?;
    if seal != audit_mac(key, seq, &last, END) {
        // whoever moved the end hides nothing by what is written after it: the chain is broken here for good
        last.push_str("broken");
    }
    for entry in entries {
        seq += 1;
        let text = serde_json::to_string(entry).unwrap_or_default();
        last = audit_mac(key, seq, &last, &text);
        connection.execute(
            "INSERT INTO audit (seq, entry, mac) VALUES (?1, ?2, ?3)",
            params![seq, text, last],
        )?;
    }
    end(connection, key, seq, &last)
}

/// Number and MAC of the last entry, and the seal over them.
fn head(connection: &Connection) -> rusqlite::Result<(i64, String, String)> {
    let head = connection
        .query_row("SELECT seq, mac, seal FROM audit_head", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    Ok(head.unwrap_or_default())
}

fn end(connection: &Connection, key: &[u8; 32], seq: i64, last: &str) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO audit_head (only_one, seq, mac, seal) VALUES (1, ?1, ?2, ?3)
         ON CONFLICT (only_one) DO UPDATE SET seq = ?1, mac = ?2, seal = ?3",
        params![seq, last, audit_mac(key, seq, last, END)],
    )?;
    Ok(())
}

/// The API model in a data folder, read past the gateway that may have it. Empty where there is none yet.
///
/// # Errors
/// The database cannot be read, or has what this program does not know.
pub fn peek(data_dir: &Path) -> Result<Model, StoreError> {
    let path = data_dir.join(DATABASE);
    if !path.exists() {
        return Ok(Model::default());
    }
    let open = || -> rusqlite::Result<(Connection, i64)> {
        let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let format = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok((connection, format))
    };
    let (connection, format) = open().map_err(failed("open"))?;
    // before there were documents
    if format < 2 {
        return Ok(Model::default());
    }
    Ok(Model::new(documents(&connection)?))
}

fn documents(connection: &Connection) -> Result<Vec<(Key, Document)>, StoreError> {
    let read = || -> rusqlite::Result<Vec<(String, Key, Document)>> {
        connection
            .prepare("SELECT kind, parent, name, body, revision, created_at, updated_at FROM documents")?
            .query_map([], |row| {
                let body: String = row.get(3)?;
                let kind: String = row.get(0)?;
                let key = Key {
                    kind: Kind::parse(&kind).unwrap_or(Kind::Api),
                    parent: row.get(1)?,
                    name: row.get(2)?,
                };
                let document = Document {
                    body: serde_json::from_str(&body).unwrap_or(Value::Null),
                    revision: row.get::<_, i64>(4)?.unsigned_abs(),
                    created_at: row.get(5)?,
                    updated_at: row.get(6)?,
                };
                Ok((kind, key, document))
            })?
            .collect()
    };
    let rows = read().map_err(failed("read the API model"))?;
    rows.into_iter()
        .map(|(kind, key, document)| match Kind::parse(&kind) {
            Some(_) if document.body.is_object() => Ok((key, document)),
            _ => Err(StoreError::Conflict(format!(
                "the database has a `{kind}` called `{}` that this edgeward cannot read",
                key.name
            ))),
        })
        .collect()
}

/// Where the API model and the audit log are kept: in the data folder's database ([`Journal`]), or elsewhere.
///
/// A change is made as a whole and durable before it is answered. The log is a chain by [`audit_mac`], whose end is kept apart from its entries. There is one
/// writer at a time. Calls may block, on a disk or on another machine: they are made on threads of the control plane, never on those that serve requests.
pub trait ModelStore: std::fmt::Debug + Send + Sync {
    /// Every document.
    ///
    /// # Errors
    /// The store cannot be read, or has what this program does not know.
    fn documents(&self) -> Result<Vec<(Key, Document)>, StoreError>;

    /// Makes changes of the model and says so in the log, all of it or nothing.
    ///
    /// # Errors
    /// The store refuses.
    fn change_documents(
        &self,
        changes: &[DocumentChange],
        audit: &[AuditEntry],
        audit_key: &[u8; 32],
    ) -> Result<(), StoreError>;

    /// Entries of the log that fit, the oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditRow>, StoreError>;

    /// Whether the log is as it was written.
    ///
    /// # Errors
    /// The store cannot be read.
    fn check_audit(&self, key: &[u8; 32]) -> Result<AuditCheck, StoreError>;

    /// Notes that a token of a principal was used, in milliseconds since 1970, and forgets uses of those that are gone.
    ///
    /// # Errors
    /// The store refuses.
    fn token_used(&self, id: &str, at: i64) -> Result<(), StoreError>;

    /// When tokens were last used, by id.
    ///
    /// # Errors
    /// The store cannot be read.
    fn token_uses(&self) -> Result<BTreeMap<String, i64>, StoreError>;
}

impl Journal {
    /// Seals the end of a new log. One that was written before there were seals, which no release did, is told as changed.
    pub(super) fn seal_audit(&self, key: &[u8; 32]) -> Result<(), StoreError> {
        self.change("seal the audit log", |connection| {
            let seal = || {
                let (seq, last, _) = head(connection)?;
                end(connection, key, seq, &last)
            };
            seal().map_err(failed("seal the audit log"))
        })
    }
}

impl ModelStore for Journal {
    fn token_used(&self, id: &str, at: i64) -> Result<(), StoreError> {
        self.note_token_use(id, at)
    }

    fn token_uses(&self) -> Result<BTreeMap<String, i64>, StoreError> {
        self.read_token_uses()
    }

    fn documents(&self) -> Result<Vec<(Key, Document)>, StoreError> {
        documents(&self.connection())
    }

    fn change_documents(
        &self,
        changes: &[DocumentChange],
        audit: &[AuditEntry],
        audit_key: &[u8; 32],
    ) -> Result<(), StoreError> {
        self.change("change the API model", |connection| {
            let write = || -> rusqlite::Result<()> {
                for change in changes {
                    let Key { kind, parent, name } = &change.key;
                    match &change.document {
                        None => connection.execute(
                            "DELETE FROM documents WHERE kind = ?1 AND parent = ?2 AND name = ?3",
                            params![kind.collection(), parent, name],
                        )?,
                        Some(document) => connection.execute(
                            "INSERT INTO documents (kind, parent, name, body, revision, created_at, updated_at)
                             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                             ON CONFLICT (kind, parent, name) DO UPDATE SET body = ?4, revision = ?5, updated_at = ?7",
                            params![
                                kind.collection(),
                                parent,
                                name,
                                document.body.to_string(),
                                i64::try_from(document.revision).unwrap_or(i64::MAX),
                                document.created_at,
                                document.updated_at
                            ],
                        )?,
                    };
                }
                append(connection, audit_key, audit)
            };
            write().map_err(failed("change the API model"))
        })
    }

    fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditRow>, StoreError> {
        let connection = self.connection();
        let (exact, start) = match query.target.as_deref().map(|text| (text, text.strip_suffix('*'))) {
            Some((_, Some(start))) => (None, Some(start)),
            Some((exact, None)) => (Some(exact), None),
            None => (None, None),
        };
        let read = || -> rusqlite::Result<Vec<(i64, String, String)>> {
            connection
                .prepare(QUERY)?
                .query_map(
                    params![
                        i64::try_from(query.after).unwrap_or(i64::MAX),
                        query.limit,
                        query.since,
                        query.until,
                        query.principal,
                        query.action,
                        query.outcome,
                        exact,
                        start,
                    ],
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
                )?
                .collect()
        };
        let rows = read().map_err(failed("read the audit log"))?;
        Ok(rows
            .into_iter()
            .map(|(seq, entry, mac)| AuditRow {
                seq: seq.unsigned_abs(),
                entry: serde_json::from_str(&entry).unwrap_or_else(|_damaged| AuditEntry::unreadable()),
                mac,
            })
            .collect())
    }

    fn check_audit(&self, key: &[u8; 32]) -> Result<AuditCheck, StoreError> {
        let connection = self.connection();
        let check = || -> rusqlite::Result<AuditCheck> {
            let mut statement = connection.prepare("SELECT seq, entry, mac FROM audit ORDER BY seq")?;
            let mut rows = statement.query([])?;
            let (mut entries, mut last) = (0_i64, String::new());
            let wrong = |entries: i64, problem: String| AuditCheck {
                entries: entries.unsigned_abs(),
                problem: Some(problem),
            };
            while let Some(row) = rows.next()? {
                let (seq, entry, told): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
                if seq != entries + 1 {
                    return Ok(wrong(entries, format!("entry {} is missing", entries + 1)));
                }
                last = audit_mac(key, seq, &last, &entry);
                if last != told {
                    return Ok(wrong(
                        entries,
                        format!("entry {seq} was changed, or one before it was put in its place"),
                    ));
                }
                entries = seq;
            }
            let (seq, told, seal) = head(&connection)?;
            if seal != audit_mac(key, seq, &told, END) {
                return Ok(wrong(entries, "the end of the log was changed".to_owned()));
            }
            if (seq, &told) != (entries, &last) {
                return Ok(wrong(
                    entries,
                    format!("the log ends at entry {entries}, and {seq} were written"),
                ));
            }
            Ok(AuditCheck {
                entries: entries.unsigned_abs(),
                problem: None,
            })
        };
        check().map_err(failed("check the audit log"))
    }
}
