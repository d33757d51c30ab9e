//! Entities of the configuration: what is known of groups, users and routes before a request comes.

use std::collections::{BTreeMap, HashMap, HashSet};

use cedar_policy::{Entities, Entity, EntityTypeName, EntityUid, RestrictedExpression, Schema};
use serde_json::Value;

use crate::mistake;

/// Most entities: each request pays for each of them, for Cedar looks at all when it adds two.
pub const ENTITIES_MAX: usize = 200;
/// Most bytes of all entities as JSON.
pub const BYTES_MAX: usize = 1024 * 1024;

/// What the configuration says of an entity that requests complete: its attributes and its parents.
#[derive(Clone, Default)]
pub struct Base {
    /// Attributes.
    pub attributes: HashMap<String, RestrictedExpression>,
    /// Parents.
    pub parents: HashSet<EntityUid>,
}

/// Entities that were read.
pub struct Read {
    /// All of them, and the actions of the schema.
    pub all: Entities,
    /// Those that requests complete.
    pub bases: BTreeMap<EntityUid, Base>,
}

/// Reads entities. Of the types in `completed` (users, and routes or paths) attributes may be missing that the schema wants: requests add them, so their
/// attributes are not `reserved` ones, and those complete entities are held against the schema with each request.
///
/// # Errors
/// All mistakes.
pub fn read(
    list: &[Value],
    completed: &[(&EntityTypeName, &[String])],
    schema: Option<&Schema>,
) -> Result<Read, Vec<String>> {
    if list.len() > ENTITIES_MAX {
        return Err(vec![format!("entities: {} exceed {ENTITIES_MAX}", list.len())]);
    }
    let bytes: usize = list.iter().map(|entity| entity.to_string().len()).sum();
    if bytes > BYTES_MAX {
        return Err(vec![format!("entities: {bytes} bytes exceed {BYTES_MAX}")]);
    }
    let mut problems = Vec::new();
    let mut seen = HashSet::new();
    let mut bases = BTreeMap::new();
    let (mut whole, mut partial) = (Vec::new(), Vec::new());
    for (index, value) in list.iter().enumerate() {
        let mut wrong = |text: String| problems.push(format!("entities[{index}]: {text}"));
        let entity = match Entity::from_json_value(value.clone(), None) {
            Ok(entity) => entity,
            Err(error) => {
                wrong(mistake::chain(&error));
                continue;
            }
        };
        let uid = entity.uid();
        if !seen.insert(uid.clone()) {
            wrong(format!("{uid} is there twice"));
        }
        let Some((_, reserved)) = completed.iter().find(|(name, _)| *name == uid.type_name()) else {
            // each by itself, so that all mistakes are found
            if let Err(error) = Entities::from_entities([entity.clone()], schema) {
                wrong(mistake::chain(&error));
            }
            whole.push(entity);
            continue;
        };
        if entity.tags().next().is_some() {
            wrong(format!("{uid} has tags, which are not supported for its type"));
        }
        let (_, attributes, parents) = entity.clone().into_inner();
        for name in reserved.iter().filter(|name| attributes.contains_key(*name)) {
            wrong(format!("{uid} has the attribute {name:?}, which requests set"));
        }
        bases.insert(uid, Base { attributes, parents });
        partial.push(entity);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let wrong = |error: &dyn miette::Diagnostic| vec![format!("entities: {}", mistake::chain(error))];
    let all = Entities::from_entities(whole, schema).map_err(|error| wrong(&error))?;
    let all = all.add_entities(partial, None).map_err(|error| wrong(&error))?;
    Ok(Read { all, bases })
}
