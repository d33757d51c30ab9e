//! When tokens of principals were last used: no part of what they are, and written once an hour at most.

use std::collections::BTreeMap;

use rusqlite::params;

use super::{Journal, StoreError, journal::failed};
use crate::model::Kind;

/// Tables of format 3.
pub(super) const SCHEMA: &str = "
CREATE TABLE token_uses (id TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
";

impl Journal {
    pub(super) fn note_token_use(&self, id: &str, at: i64) -> Result<(), StoreError> {
        self.change("note the use of a token", |connection| {
            let write = || -> rusqlite::Result<()> {
                connection.execute(
                    "INSERT INTO token_uses (id, at) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET at = ?2",
                    params![id, at],
                )?;
                connection.execute(
                    "DELETE FROM token_uses WHERE id NOT IN (SELECT name FROM documents WHERE kind = ?1)",
                    [Kind::Token.collection()],
                )?;
                Ok(())
            };
            write().map_err(failed("note the use of a token"))
        })
    }

    pub(super) fn read_token_uses(&self) -> Result<BTreeMap<String, i64>, StoreError> {
        let connection = self.connection();
        let read = || -> rusqlite::Result<_> {
            connection
                .prepare("SELECT id, at FROM token_uses")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        };
        read().map_err(failed("read the uses of tokens"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{
        model::{Document, Key, Kind},
        store::{DocumentChange, Store},
    };

    #[test]
    fn uses_of_tokens_are_kept_until_the_token_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let journal = &store.model;
        let change = |id: &str, there: bool| {
            let document = Document {
                body: json!({}),
                revision: 1,
                created_at: 0,
                updated_at: 0,
            };
            let change = DocumentChange {
                key: Key::of(Kind::Token, "ci", id),
                document: there.then_some(document),
            };
            journal.change_documents(&[change], &[], &[0; 32]).unwrap();
        };
        change("one", true);
        change("two", true);
        journal.token_used("one", 1).unwrap();
        journal.token_used("two", 2).unwrap();
        journal.token_used("one", 3).unwrap();
        let uses: Vec<_> = journal.token_uses().unwrap().into_iter().collect();
        assert_eq!(uses, [("one".to_owned(), 3), ("two".to_owned(), 2)]);
        change("one", false);
        journal.token_used("two", 4).unwrap();
        let uses: Vec<_> = journal.token_uses().unwrap().into_iter().collect();
        assert_eq!(uses, [("two".to_owned(), 4)]);
    }
}
