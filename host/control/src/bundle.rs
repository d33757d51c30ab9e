//! The whole API model as one document, as people keep it beside their code: APIs with their routes, integrations and stages, domains with their mappings and
//! rules. What a stage serves is not part of it, but may be said.

use std::collections::{BTreeMap, BTreeSet};

use edgeward_core::config::{Problem, Problems};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    error::ControlError,
    model::{Draft, Expect, Key, Kind, Model},
};

/// The document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bundle {
    /// APIs by id, each with a map for each kind of what belongs to it.
    pub apis: BTreeMap<String, Value>,
    /// Domains by name.
    pub domains: BTreeMap<String, Value>,
}

/// Reads YAML or JSON.
///
/// # Errors
/// What keeps it from being a bundle.
pub fn read(text: &str) -> Result<Bundle, Problems> {
    let wrong = |message: String| Problems(vec![Problem::new("", message)]);
    let value: serde_yaml_ng::Value =
        serde_yaml_ng::from_str(text).map_err(|error| wrong(format!("not valid YAML: {error}")))?;
    if value.is_null() {
        return Ok(Bundle::default());
    }
    let value = serde_json::to_value(value).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_value(value).map_err(|error| wrong(error.to_string()))
}

/// Kinds that stand within an API or a domain. Deployments are made, not written.
fn children(of: Kind) -> impl Iterator<Item = Kind> {
    Kind::ALL
        .into_iter()
        .filter(move |kind| kind.parent() == Some(of) && *kind != Kind::Deployment)
}

impl Bundle {
    /// The model as a document.
    #[must_use]
    pub fn of(model: &Model) -> Self {
        let all = |kind: Kind| {
            model
                .list(kind, "")
                .map(|(name, document)| {
                    let mut body = document.body.clone();
                    if let Some(object) = body.as_object_mut() {
                        for child in children(kind) {
                            let within: Map<String, Value> = model
                                .list(child, name)
                                .map(|(name, document)| (name.clone(), document.body.clone()))
                                .collect();
                            if !within.is_empty() {
                                object.insert(child.collection().to_owned(), Value::Object(within));
                            }
                        }
                    }
                    (name.clone(), body)
                })
                .collect()
        };
        Self {
            apis: all(Kind::Api),
            domains: all(Kind::Domain),
        }
    }

    /// Makes a draft what the document says.
    ///
    /// # Errors
    /// Everything that is not possible, at once.
    pub fn put_into(self, draft: &mut Draft) -> Result<(), ControlError> {
        let mut problems = Vec::new();
        for (kind, items) in [(Kind::Api, self.apis), (Kind::Domain, self.domains)] {
            let kept: BTreeSet<String> = items.keys().cloned().collect();
            for (name, body) in items {
                put_one(draft, kind, &name, body, &mut problems);
            }
            let gone: Vec<String> = draft
                .model
                .list(kind, "")
                .map(|(name, _)| name.clone())
                .filter(|name| !kept.contains(name))
                .collect();
            for name in gone {
                collect(
                    draft.remove(&Key::top(kind, &name), Expect::Any),
                    &name,
                    &mut problems,
                );
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ControlError::Invalid(Problems(problems)))
        }
    }
}

fn put_one(draft: &mut Draft, kind: Kind, name: &str, mut body: Value, problems: &mut Vec<Problem>) {
    let place = format!("{}.{name}", kind.collection());
    let mut within = Vec::new();
    if let Some(object) = body.as_object_mut() {
        for child in children(kind) {
            within.push((child, object.remove(child.collection())));
        }
    }
    let key = Key::top(kind, name);
    if !collect(draft.put(&key, body, Expect::Any), &place, problems) {
        return;
    }
    for (child, items) in within {
        let items = match items {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(items)) => items,
            Some(_) => {
                problems.push(Problem::new(
                    format!("{place}.{}", child.collection()),
                    "is no map of names",
                ));
                continue;
            }
        };
        let gone: Vec<String> = draft
            .model
            .list(child, name)
            .map(|(name, _)| name.clone())
            .filter(|name| !items.contains_key(name))
            .collect();
        for (item, mut body) in items {
            let place = format!("{place}.{}.{item}", child.collection());
            let key = Key::of(child, name, &item);
            if body.is_null() {
                body = Value::Object(Map::new());
            }
            // what it serves stays, where the document does not say
            if child == Kind::Stage
                && let (Some(object), Some(old)) = (body.as_object_mut(), draft.model.get(&key))
            {
                for member in ["deployment", "canary"] {
                    if let Some(said) = old.body.get(member) {
                        object.entry(member).or_insert_with(|| said.clone());
                    }
                }
            }
            collect(draft.put(&key, body, Expect::Any), &place, problems);
        }
        for item in gone {
            let place = format!("{place}.{}.{item}", child.collection());
            collect(
                draft.remove(&Key::of(child, name, &item), Expect::Any),
                &place,
                problems,
            );
        }
    }
}

/// Notes the problems of one part; true when there are none.
pub(crate) fn collect<T>(outcome: Result<T, ControlError>, place: &str, problems: &mut Vec<Problem>) -> bool {
    match outcome {
        Ok(_) => true,
        Err(error) => {
            for mut problem in error.problems().0 {
                problem.path = if problem.path.is_empty() {
                    place.to_owned()
                } else {
                    format!("{place}.{}", problem.path)
                };
                problems.push(problem);
            }
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PETS: &str = "
apis:
  pets:
    protocol: REST
    integrations:
      web: {type: HTTP_PROXY, uri: 'http://a.example/'}
    routes:
      GET /pets: {integration: web}
    stages:
      prod: {}
domains:
  api.example.com:
    mappings:
      v1: {api: pets, stage: prod}
";

    #[test]
    fn a_bundle_is_put_and_read_back() {
        let mut draft = Draft::new(&Model::default());
        read(PETS).unwrap().put_into(&mut draft).unwrap();
        draft.check().unwrap();
        let back = Bundle::of(&draft.model);
        assert_eq!(back.apis["pets"]["routes"]["GET /pets"]["integration"], "web");
        assert_eq!(back.domains["api.example.com"]["mappings"]["v1"]["stage"], "prod");
        let mut again = Draft::new(&draft.model);
        back.put_into(&mut again).unwrap();
        assert_eq!(again.differences(), []);
        let mut less = Draft::new(&draft.model);
        read("apis: {pets: {protocol: REST}}")
            .unwrap()
            .put_into(&mut less)
            .unwrap();
        let told: Vec<_> = less
            .differences()
            .into_iter()
            .map(|one| (one.path, one.action))
            .collect();
        assert_eq!(told.len(), 5, "{told:?}");
        assert!(told.iter().all(|(_, action)| *action == "delete"));
    }

    #[test]
    fn every_problem_of_a_bundle_is_told_with_its_place() {
        let mut draft = Draft::new(&Model::default());
        let text = "
apis:
  pets: {protocol: REST, routes: {'GET pets': {}, 'GET /a': {integraton: x}}, stages: [prod]}
  Cats: {}
";
        let Err(ControlError::Invalid(Problems(problems))) = read(text).unwrap().put_into(&mut draft) else {
            panic!()
        };
        let paths: BTreeSet<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(
            paths,
            BTreeSet::from([
                "apis.Cats.id",
                "apis.pets.routes.GET /a.integraton",
                "apis.pets.routes.GET pets.id",
                "apis.pets.stages",
            ])
        );
        assert!(read("apis: []").is_err() && read("aps: {}").is_err() && read("[").is_err());
        assert_eq!(read("").unwrap(), Bundle::default());
    }
}
