//! What every [`ModelStore`] does, shown of the database and of one in memory.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::model::{Document, Key, Kind};

/// A store in memory.
#[derive(Debug, Default)]
struct Memory(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    documents: BTreeMap<Key, Document>,
    /// Entries as JSON, with their MACs.
    log: Vec<(String, String)>,
    uses: BTreeMap<String, i64>,
}

impl ModelStore for Memory {
    fn token_used(&self, id: &str, at: i64) -> Result<(), StoreError> {
        let mut kept = self.0.lock();
        kept.uses.insert(id.to_owned(), at);
        let Kept { documents, uses, .. } = &mut *kept;
        uses.retain(|id, _| {
            documents
                .keys()
                .any(|key| key.kind == Kind::Token && key.name == *id)
        });
        Ok(())
    }

    fn token_uses(&self) -> Result<BTreeMap<String, i64>, StoreError> {
        Ok(self.0.lock().uses.clone())
    }

    fn documents(&self) -> Result<Vec<(Key, Document)>, StoreError> {
        Ok(self.0.lock().documents.clone().into_iter().collect())
    }

    fn change_documents(
        &self,
        changes: &[DocumentChange],
        audit: &[AuditEntry],
        audit_key: &[u8; 32],
    ) -> Result<(), StoreError> {
        let mut kept = self.0.lock();
        for change in changes {
            match &change.document {
                Some(document) => drop(kept.documents.insert(change.key.clone(), document.clone())),
                None => drop(kept.documents.remove(&change.key)),
            }
        }
        for entry in audit {
            let text = serde_json::to_string(entry).unwrap();
            let before = kept.log.last().map_or("", |(_, mac)| mac).to_owned();
            let seq = i64::try_from(kept.log.len()).unwrap() + 1;
            kept.log
                .push((text.clone(), audit_mac(audit_key, seq, &before, &text)));
        }
        Ok(())
    }

    fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditRow>, StoreError> {
        let kept = self.0.lock();
        let rows = (1..).zip(&kept.log).map(|(seq, (entry, mac))| AuditRow {
            seq,
            entry: serde_json::from_str(entry).unwrap(),
            mac: mac.clone(),
        });
        let is = |wanted: &Option<String>, said: &str| wanted.as_ref().is_none_or(|wanted| wanted == said);
        let fits = |row: &AuditRow| {
            let target = query
                .target
                .as_deref()
                .is_none_or(|wanted| match wanted.strip_suffix('*') {
                    Some(start) => row.entry.target.starts_with(start),
                    None => row.entry.target == wanted,
                });
            row.seq > query.after
                && target
                && is(&query.principal, &row.entry.principal)
                && is(&query.action, &row.entry.action)
                && is(&query.outcome, &row.entry.outcome)
                && query.since.as_ref().is_none_or(|since| row.entry.at >= *since)
                && query.until.as_ref().is_none_or(|until| row.entry.at < *until)
        };
        Ok(rows.filter(fits).take(query.limit as usize).collect())
    }

    fn check_audit(&self, key: &[u8; 32]) -> Result<AuditCheck, StoreError> {
        let kept = self.0.lock();
        let mut before = String::new();
        for (seq, (entry, mac)) in (1..).zip(&kept.log) {
            before = audit_mac(key, seq, &before, entry);
            if before != *mac {
                return Ok(AuditCheck {
                    entries: seq.unsigned_abs() - 1,
                    problem: Some(format!("entry {seq} was changed")),
                });
            }
        }
        Ok(AuditCheck {
            entries: kept.log.len() as u64,
            problem: None,
        })
    }
}

fn entry(number: usize) -> AuditEntry {
    serde_json::from_value(json!({
        "at": format!("2026-01-01T00:00:{number:02}Z"),
        "principal": if number.is_multiple_of(2) { "ann" } else { "bob" },
        "action": "update",
        "target": format!("apis/{}", ["pets", "cats", "pets-old"][number % 3]),
        "outcome": "done",
    }))
    .unwrap()
}

/// Changes of a few names again and again: (name, value), nothing for its end.
fn steps() -> impl Strategy<Value = Vec<Vec<(usize, Option<u64>)>>> {
    prop::collection::vec(
        prop::collection::vec((0_usize..4, prop::option::of(0_u64..9)), 0..5),
        0..12,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn stores_keep_the_same_and_say_the_same(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let (key, path) = ([7; 32], folder.path().join("edgeward.db"));
        let memory = Memory::default();
        Journal::open(&path).unwrap().seal_audit(&key).unwrap();
        for (number, step) in steps.iter().enumerate() {
            // what is kept is there for the next process
            let database = Journal::open(&path).unwrap();
            let changes: Vec<_> = step
                .iter()
                .map(|(name, value)| DocumentChange {
                    key: Key::of(Kind::Route, "pets", &format!("GET /{name}")),
                    document: value.map(|value| Document {
                        body: json!({"value": value}),
                        revision: value,
                        created_at: 1,
                        updated_at: 2,
                    }),
                })
                .collect();
            let entries: Vec<_> = step.iter().map(|_| entry(number)).collect();
            for store in [&memory as &dyn ModelStore, &database] {
                store.change_documents(&changes, &entries, &key).unwrap();
            }
        }
        let database = Journal::open(&path).unwrap();
        let sorted = |store: &dyn ModelStore| {
            let mut documents = store.documents().unwrap();
            documents.sort_by(|(one, _), (other, _)| one.cmp(other));
            documents
        };
        prop_assert_eq!(sorted(&memory), sorted(&database));
        prop_assert_eq!(memory.check_audit(&key).unwrap(), database.check_audit(&key).unwrap());
        let all = AuditQuery { limit: 1000, ..AuditQuery::default() };
        let text = |text: &str| Some(text.to_owned());
        for query in [
            all.clone(),
            AuditQuery { after: 3, limit: 2, ..all.clone() },
            AuditQuery { principal: text("ann"), ..all.clone() },
            AuditQuery { target: text("apis/pets"), ..all.clone() },
            AuditQuery { target: text("apis/pets*"), outcome: text("done"), ..all.clone() },
            AuditQuery { since: text("2026-01-01T00:00:02Z"), until: text("2026-01-01T00:00:05Z"), ..all },
        ] {
            prop_assert_eq!(memory.audit(&query).unwrap(), database.audit(&query).unwrap());
        }
    }
}
