//! What every [`PluginStore`] does, shown of the database and of one in memory.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::clock::rfc3339;

/// A store in memory.
#[derive(Debug, Default)]
struct Memory(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    modules: BTreeMap<Digest, (u64, Value)>,
    versions: BTreeMap<(String, u64), VersionRow>,
    numbers: BTreeMap<String, u64>,
    /// By number; the newest is the last one.
    publications: BTreeMap<i64, Published>,
    last: i64,
}

#[derive(Debug)]
struct Published {
    name: String,
    version: u64,
    action: Action,
    undone: bool,
}

impl Kept {
    /// Publications of a binding that were not taken back, the newest first.
    fn standing<'k>(&'k self, name: &'k str) -> impl Iterator<Item = (&'k i64, &'k Published)> {
        let of_it = self.publications.iter().rev();
        of_it.filter(move |(_, one)| one.name == name && !one.undone)
    }

    fn live(&self, name: &str) -> u64 {
        self.standing(name).next().map_or(0, |(_, one)| one.version)
    }

    fn row(&self, digest: Digest) -> Result<ModuleRow, StoreError> {
        let (size, info) = self.modules.get(&digest).ok_or_else(|| none("module"))?;
        let using = self.versions.values().filter(|row| row.module == digest);
        Ok(ModuleRow {
            digest,
            size: *size,
            info: info.clone(),
            uploaded_at: rfc3339(0),
            used_by: using.map(|row| format!("{}@{}", row.name, row.version)).collect(),
        })
    }
}

fn none(what: &str) -> StoreError {
    StoreError::NotFound(format!("no such {what}"))
}

fn in_use(what: &str) -> StoreError {
    StoreError::Conflict(what.to_owned())
}

impl PluginStore for Memory {
    fn digests(&self) -> Result<BTreeSet<Digest>, StoreError> {
        Ok(self.0.lock().modules.keys().copied().collect())
    }

    fn add_module(&self, digest: Digest, size: u64, info: &Value) -> Result<ModuleRow, StoreError> {
        let mut kept = self.0.lock();
        kept.modules.entry(digest).or_insert((size, Value::Null)).1 = info.clone();
        kept.row(digest)
    }

    fn modules(&self) -> Result<Vec<ModuleRow>, StoreError> {
        let kept = self.0.lock();
        kept.modules.keys().map(|digest| kept.row(*digest)).collect()
    }

    fn module(&self, digest: Digest) -> Result<ModuleRow, StoreError> {
        self.0.lock().row(digest)
    }

    fn remove_module(&self, digest: Digest) -> Result<(), StoreError> {
        let mut kept = self.0.lock();
        if !kept.row(digest)?.used_by.is_empty() {
            return Err(in_use("module"));
        }
        kept.modules.remove(&digest);
        Ok(())
    }

    fn next_version(
        &self,
        name: &str,
        module: Digest,
        settings: &Value,
    ) -> Result<(VersionRow, bool), StoreError> {
        let mut kept = self.0.lock();
        let newest = kept.versions.values().rfind(|row| row.name == name);
        if let Some(newest) = newest.filter(|row| row.module == module && row.settings == *settings) {
            return Ok((newest.clone(), false));
        }
        kept.row(module)?;
        let number = kept.numbers.entry(name.to_owned()).or_default();
        *number += 1;
        let row = VersionRow {
            name: name.to_owned(),
            version: *number,
            module,
            settings: settings.clone(),
            created_at: rfc3339(0),
        };
        Ok((row, true))
    }

    fn keep_version(&self, row: &VersionRow) -> Result<VersionRow, StoreError> {
        let mut kept = self.0.lock();
        kept.row(row.module)?;
        kept.versions.insert((row.name.clone(), row.version), row.clone());
        Ok(row.clone())
    }

    fn version(&self, name: &str, version: u64) -> Result<VersionRow, StoreError> {
        let kept = self.0.lock();
        let row = kept.versions.get(&(name.to_owned(), version));
        row.cloned().ok_or_else(|| none("version"))
    }

    fn versions(&self, name: &str, before: Option<u64>, limit: u32) -> Result<Vec<VersionRow>, StoreError> {
        let kept = self.0.lock();
        let rows = kept.versions.values().rev().filter(|row| row.name == name);
        let rows = rows.filter(|row| before.is_none_or(|before| row.version < before));
        Ok(rows.take(limit as usize).cloned().collect())
    }

    fn remove_version(&self, name: &str, version: u64) -> Result<(), StoreError> {
        let mut kept = self.0.lock();
        if kept.live(name) == version {
            return Err(in_use("version"));
        }
        let removed = kept.versions.remove(&(name.to_owned(), version));
        removed.ok_or_else(|| none("version"))?;
        kept.publications
            .retain(|_, one| one.name != name || one.version != version);
        Ok(())
    }

    fn live(&self) -> Result<BTreeMap<String, VersionRow>, StoreError> {
        let kept = self.0.lock();
        let names: BTreeSet<&String> = kept.publications.values().map(|one| &one.name).collect();
        let live = names.into_iter().filter_map(|name| {
            let row = kept.versions.get(&(name.clone(), kept.live(name)))?;
            Some((name.clone(), row.clone()))
        });
        Ok(live.collect())
    }

    fn previous(&self, name: &str) -> Result<u64, StoreError> {
        let kept = self.0.lock();
        let mut standing = kept.standing(name);
        standing.next().ok_or_else(|| in_use("nothing to go back to"))?;
        Ok(standing.next().map_or(0, |(_, one)| one.version))
    }

    fn publish(&self, name: &str, version: u64, action: Action) -> Result<Receipt, StoreError> {
        let mut kept = self.0.lock();
        if version != 0 && !kept.versions.contains_key(&(name.to_owned(), version)) {
            return Err(none("version"));
        }
        kept.last += 1;
        let id = kept.last;
        let one = Published {
            name: name.to_owned(),
            version,
            action,
            undone: false,
        };
        kept.publications.insert(id, one);
        Ok(Receipt::Added(id))
    }

    fn undo(&self, name: &str) -> Result<Receipt, StoreError> {
        let mut kept = self.0.lock();
        let newest = kept.standing(name).next().map(|(id, _)| *id);
        let id = newest.ok_or_else(|| in_use("nothing to go back to"))?;
        kept.publications.get_mut(&id).unwrap().undone = true;
        Ok(Receipt::Undone(id))
    }

    fn revert(&self, receipt: Receipt) -> Result<(), StoreError> {
        let mut kept = self.0.lock();
        match receipt {
            Receipt::Added(id) => drop(kept.publications.remove(&id)),
            Receipt::Undone(id) => kept.publications.get_mut(&id).unwrap().undone = false,
        }
        Ok(())
    }

    fn history(&self, name: &str, limit: u32) -> Result<Vec<Publication>, StoreError> {
        let kept = self.0.lock();
        let of_it = kept.publications.values().rev().filter(|one| one.name == name);
        let told = of_it.map(|one| Publication {
            version: one.version,
            action: match one.action {
                Action::Publish => "publish",
                Action::Rollback => "rollback",
            }
            .to_owned(),
            at: rfc3339(0),
            undone_at: one.undone.then(|| rfc3339(0)),
        });
        Ok(told.take(limit as usize).collect())
    }
}

const NAMES: [&str; 2] = ["auth", "mark"];

/// One change, of one of a few modules, bindings, settings and versions.
#[derive(Clone, Debug)]
enum Step {
    AddModule(u8, u64),
    RemoveModule(u8),
    /// A version, which is kept if it was found to work.
    Version {
        name: usize,
        module: u8,
        settings: u64,
        works: bool,
    },
    RemoveVersion(usize, u64),
    Publish {
        name: usize,
        version: u64,
        action: Action,
        stays: bool,
    },
    Undo {
        name: usize,
        stays: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (name, module, version) = (0..NAMES.len(), 0_u8..3, 0_u64..6);
    let action = prop_oneof![Just(Action::Publish), Just(Action::Rollback)];
    let stays = prop::bool::weighted(0.8);
    prop_oneof![
        2 => (module.clone(), 0_u64..3).prop_map(|(module, info)| Step::AddModule(module, info)),
        1 => module.clone().prop_map(Step::RemoveModule),
        4 => (name.clone(), module, 0_u64..2, stays)
            .prop_map(|(name, module, settings, works)| Step::Version { name, module, settings, works }),
        2 => (name.clone(), version.clone()).prop_map(|(name, version)| Step::RemoveVersion(name, version)),
        4 => (name.clone(), version, action, stays)
            .prop_map(|(name, version, action, stays)| Step::Publish { name, version, action, stays }),
        2 => (name, stays).prop_map(|(name, stays)| Step::Undo { name, stays }),
    ]
}

fn digest(module: u8) -> Digest {
    Digest([module; 32])
}

/// Does it, and says what came of it, but for instants and words.
fn done(store: &dyn PluginStore, step: &Step) -> String {
    let outcome = match step {
        Step::AddModule(module, info) => store
            .add_module(digest(*module), u64::from(*module), &json!({ "info": info }))
            .map(|row| told_module(&row)),
        Step::RemoveModule(module) => store.remove_module(digest(*module)).map(|()| json!({})),
        Step::Version {
            name,
            module,
            settings,
            works,
        } => store
            .next_version(NAMES[*name], digest(*module), &json!({ "config": settings }))
            .and_then(|(row, new)| {
                let row = if new && *works {
                    store.keep_version(&row)?
                } else {
                    row
                };
                Ok(json!([told_version(&row), new]))
            }),
        Step::RemoveVersion(name, version) => {
            store.remove_version(NAMES[*name], *version).map(|()| json!({}))
        }
        Step::Publish {
            name,
            version,
            action,
            stays,
        } => store
            .publish(NAMES[*name], *version, *action)
            .and_then(|receipt| keep_or_revert(store, receipt, *stays)),
        Step::Undo { name, stays } => store
            .undo(NAMES[*name])
            .and_then(|receipt| keep_or_revert(store, receipt, *stays)),
    };
    match outcome {
        Ok(told) => told.to_string(),
        Err(StoreError::NotFound(_)) => "not there".to_owned(),
        Err(StoreError::Conflict(_)) => "not now".to_owned(),
        Err(error) => panic!("{step:?}: {error}"),
    }
}

fn keep_or_revert(store: &dyn PluginStore, receipt: Receipt, stays: bool) -> Result<Value, StoreError> {
    let told = match receipt {
        Receipt::Added(_) => "added",
        Receipt::Undone(_) => "undone",
    };
    if stays {
        drop(receipt);
    } else {
        store.revert(receipt)?;
    }
    Ok(told.into())
}

fn told_module(row: &ModuleRow) -> Value {
    let used_by: BTreeSet<_> = row.used_by.iter().collect();
    json!([row.digest.to_string(), row.size, row.info, used_by])
}

fn told_version(row: &VersionRow) -> Value {
    json!([row.name, row.version, row.module.to_string(), row.settings])
}

/// Everything that a store can be asked.
fn told(store: &dyn PluginStore) -> Value {
    let text = |outcome: Result<Value, StoreError>| match outcome {
        Ok(told) => told,
        Err(StoreError::NotFound(_)) => "not there".into(),
        Err(StoreError::Conflict(_)) => "not now".into(),
        Err(error) => panic!("{error}"),
    };
    let modules: BTreeSet<String> = store
        .modules()
        .unwrap()
        .iter()
        .map(|row| told_module(row).to_string())
        .collect();
    let digests: Vec<_> = store.digests().unwrap().iter().map(Digest::to_string).collect();
    let live = store.live().unwrap();
    let live: BTreeMap<_, _> = live.iter().map(|(name, row)| (name, told_version(row))).collect();
    let bindings: Vec<_> = NAMES
        .iter()
        .map(|name| {
            let pages = [(None, 100), (None, 2), (Some(3), 100), (Some(9), 1)].map(|(before, limit)| {
                let rows = store.versions(name, before, limit).unwrap();
                rows.iter().map(told_version).collect::<Vec<_>>()
            });
            let single =
                [0, 1, 2, 3].map(|version| text(store.version(name, version).map(|row| told_version(&row))));
            let history = [1, 100].map(|limit| {
                let rows = store.history(name, limit).unwrap();
                let rows = rows.iter();
                rows.map(|row| json!([row.version, row.action, row.undone_at.is_some()]))
                    .collect::<Vec<_>>()
            });
            json!([
                pages,
                single,
                text(store.previous(name).map(Value::from)),
                history
            ])
        })
        .collect();
    let single = [0, 1, 2].map(|module| text(store.module(digest(module)).map(|row| told_module(&row))));
    json!([modules, digests, single, live, bindings])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn stores_of_plugins_keep_the_same_and_say_the_same(steps in prop::collection::vec(step(), 0..40)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edgeward.db");
        let memory = Memory::default();
        for (number, step) in steps.iter().enumerate() {
            // what is kept is there for the next process
            let database = Journal::open(&path).unwrap();
            prop_assert_eq!(done(&memory, step), done(&database, step), "step {}: {:?}", number, step);
            prop_assert_eq!(told(&memory), told(&database), "after step {}: {:?}", number, step);
        }
    }
}
