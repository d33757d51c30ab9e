//! Policies and schema, from texts.

use std::{collections::BTreeMap, str::FromStr as _};

use cedar_policy::{Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};

use crate::mistake;

/// Most bytes of all policies, and of the schema.
pub const TEXT_MAX: usize = 256 * 1024;
/// Most policies.
pub const POLICIES_MAX: usize = 1000;
/// Longest `@id` in bytes.
const ID_MAX: usize = 128;

/// Policies that were read.
pub struct Read {
    /// The policies.
    pub set: PolicySet,
    /// Which text each is of: for places in it.
    texts: BTreeMap<String, usize>,
}

/// Reads policies. Each is called by its `@id`, or else `policy0`, `policy1`, ... in the order of the texts.
///
/// # Errors
/// All mistakes.
pub fn read(texts: &[String], path: &dyn Fn(usize) -> String) -> Result<Read, Vec<String>> {
    let size: usize = texts.iter().map(String::len).sum();
    if size > TEXT_MAX {
        return Err(vec![format!("policies: {size} bytes exceed {TEXT_MAX}")]);
    }
    let mut problems = Vec::new();
    let mut read: BTreeMap<String, (usize, Policy)> = BTreeMap::new();
    let mut count = 0;
    for (index, text) in texts.iter().enumerate() {
        let set = match PolicySet::from_str(text) {
            Ok(set) => set,
            Err(error) => {
                let found = mistake::all(&error, text).into_iter();
                problems.extend(found.map(|found| format!("{}: {found}", path(index))));
                continue;
            }
        };
        for template in set.templates() {
            problems.push(format!(
                "{}: policy {} of the text has slots (?principal, ?resource): templates are not supported",
                path(index),
                number(template.id()).saturating_add(1)
            ));
        }
        for policy in set.policies() {
            let id = match policy.annotation("id") {
                Some(id) => id.to_owned(),
                None => format!("policy{}", count + number(policy.id())),
            };
            if id.is_empty() || id.len() > ID_MAX || id.chars().any(char::is_control) {
                problems.push(format!(
                    "{}: @id {id:?} is not 1 to {ID_MAX} bytes without control characters",
                    path(index)
                ));
            }
            let policy = policy.new_id(PolicyId::new(&id));
            if read.insert(id.clone(), (index, policy)).is_some() {
                problems.push(format!("{}: policy {id:?} is there twice", path(index)));
            }
        }
        count += set.num_of_policies() + set.num_of_templates();
    }
    if problems.is_empty() && read.is_empty() {
        problems.push("policies: without any, nobody is let in".into());
    }
    if read.len() > POLICIES_MAX {
        problems.push(format!("policies: {} exceed {POLICIES_MAX}", read.len()));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let texts = read.iter().map(|(id, (index, _))| (id.clone(), *index)).collect();
    let set = PolicySet::from_policies(read.into_values().map(|(_, policy)| policy))
        .map_err(|error| vec![format!("policies: {}", mistake::chain(&error))])?;
    Ok(Read { set, texts })
}

/// The number in an id that Cedar gave.
fn number(id: &PolicyId) -> usize {
    let id: &str = id.as_ref();
    id.trim_start_matches("policy").parse().unwrap_or(0)
}

/// Reads a schema; the second are warnings.
///
/// # Errors
/// All mistakes.
pub fn schema(text: &str) -> Result<(Schema, Vec<String>), Vec<String>> {
    if text.len() > TEXT_MAX {
        return Err(vec![format!("schema: {} bytes exceed {TEXT_MAX}", text.len())]);
    }
    match Schema::from_cedarschema_str(text) {
        Ok((schema, warnings)) => {
            let warnings = warnings.map(|warning| format!("schema: {}", mistake::one(&warning, text)));
            Ok((schema, warnings.collect()))
        }
        Err(error) => {
            let found = mistake::all(&error, text).into_iter();
            Err(found.map(|found| format!("schema: {found}")).collect())
        }
    }
}

impl Read {
    /// Validates the policies against a schema, strictly; returns warnings.
    ///
    /// # Errors
    /// All mistakes.
    pub fn validate(
        &self,
        schema: &Schema,
        texts: &[String],
        path: &dyn Fn(usize) -> String,
    ) -> Result<Vec<String>, Vec<String>> {
        let result = Validator::new(schema.clone()).validate(&self.set, ValidationMode::Strict);
        let place = |id: &PolicyId, found: &dyn miette::Diagnostic| {
            let index = self.texts.get(id.as_ref() as &str).copied().unwrap_or(0);
            let text = texts.get(index).map(String::as_str).unwrap_or_default();
            format!("{}: {}", path(index), mistake::one(found, text))
        };
        let mut errors: Vec<String> = result
            .validation_errors()
            .map(|found| place(found.policy_id(), found))
            .collect();
        if !errors.is_empty() {
            // they come in the order of a hash table
            errors.sort();
            errors.dedup();
            return Err(errors);
        }
        let warnings = result.validation_warnings();
        let mut warnings: Vec<String> = warnings.map(|found| place(found.policy_id(), found)).collect();
        warnings.sort();
        Ok(warnings)
    }
}
