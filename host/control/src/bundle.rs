//! The whole API model as one document, as people keep it beside their code: APIs with their routes, integrations and stages, domains with their mappings and
//! rules, API keys, usage plans, web ACLs, shadows. What a stage serves is not part of it, but may be said.

use std::collections::{BTreeMap, BTreeSet};

use edgeward_core::config::{Config, Problem, Problems, typed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    access::Authority,
    error::ControlError,
    model::{Draft, Expect, Key, Kind, Model},
};

/// The document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Bundle {
    /// APIs by id, each with a map for each kind of what belongs to it.
    pub apis: Items,
    /// Domains by name, in the same way.
    pub domains: Items,
    /// API keys by name.
    pub api_keys: Items,
    /// Usage plans by name.
    pub usage_plans: Items,
    /// Web ACLs by name.
    pub waf: Items,
    /// Versions of plugins that run beside the live ones, by name of the binding.
    pub shadows: Items,
}

/// Resources of a kind by name.
pub type Items = BTreeMap<String, Value>;

/// Kinds that a bundle has lists of: those of principals are beside it.
pub const KINDS: [Kind; 6] = [
    Kind::Api,
    Kind::Domain,
    Kind::ApiKey,
    Kind::UsagePlan,
    Kind::WebAcl,
    Kind::Shadow,
];

/// Largest bundle, in bytes: 10 000 routes with a model each are 7 MB.
pub const BUNDLE_MAX: usize = 24 << 20;

/// Reads YAML or JSON of up to [`BUNDLE_MAX`] bytes.
///
/// # Errors
/// Everything that keeps it from being a bundle.
pub fn read(text: &str) -> Result<Bundle, Problems> {
    if text.trim().is_empty() {
        return Ok(Bundle::default());
    }
    let value =
        edgeward_core::openapi::read_within(text, BUNDLE_MAX).map_err(|problem| Problems(vec![problem]))?;
    if value.is_null() {
        return Ok(Bundle::default());
    }
    typed(value)
}

impl Bundle {
    /// What is kept of the model as a document: without what comes from the configuration file.
    #[must_use]
    pub fn of(model: &Model) -> Self {
        Self::seen_by(&Authority::all(), model)
    }

    /// What somebody sees of the model.
    #[must_use]
    pub fn seen_by(authority: &Authority, model: &Model) -> Self {
        let all = |kind: Kind| {
            model
                .list(kind, "")
                .filter(|(name, document)| {
                    let key = Key::top(kind, name);
                    !model.is_of_file(&key) && authority.sees(&key, &document.body)
                })
                .map(|(name, document)| {
                    let mut body = document.body.clone();
                    if let Some(object) = body.as_object_mut() {
                        for child in kind.written_children() {
                            let within: Map<String, Value> = model
                                .list(child, name)
                                .filter(|(item, document)| {
                                    authority.sees(&Key::of(child, name, item), &document.body)
                                })
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
            api_keys: all(Kind::ApiKey),
            usage_plans: all(Kind::UsagePlan),
            waf: all(Kind::WebAcl),
            shadows: all(Kind::Shadow),
        }
    }

    /// Its lists, in the order of [`KINDS`].
    pub fn lists(&mut self) -> [(Kind, &mut Items); 6] {
        [
            (Kind::Api, &mut self.apis),
            (Kind::Domain, &mut self.domains),
            (Kind::ApiKey, &mut self.api_keys),
            (Kind::UsagePlan, &mut self.usage_plans),
            (Kind::WebAcl, &mut self.waf),
            (Kind::Shadow, &mut self.shadows),
        ]
    }

    fn into_lists(mut self) -> [(Kind, Items); 6] {
        self.lists().map(|(kind, items)| (kind, std::mem::take(items)))
    }

    /// Makes a draft what the document says.
    ///
    /// # Errors
    /// Everything that is not possible, at once.
    pub fn put_into(self, draft: &mut Draft) -> Result<(), ControlError> {
        self.put_by(&Authority::all(), draft)
    }

    /// The same in somebody's name: what they may not remove stays, where the document does not name it.
    ///
    /// # Errors
    /// As [`Self::put_into`].
    pub fn put_by(self, authority: &Authority, draft: &mut Draft) -> Result<(), ControlError> {
        let mut problems = Vec::new();
        for (kind, items) in self.into_lists() {
            let kept: BTreeSet<String> = items.keys().cloned().collect();
            for (name, body) in items {
                if kind == Kind::Api && !authority.covers(&name) {
                    return Err(authority.refusal(&Key::top(kind, &name)));
                }
                put_one(authority, draft, kind, &name, body, &mut problems);
            }
            let gone: Vec<String> = draft
                .model
                .list(kind, "")
                .filter(|(name, document)| {
                    let key = Key::top(kind, name);
                    !kept.contains(*name)
                        && !draft.model.is_of_file(&key)
                        && authority.may_change(&key, Some(&document.body), None)
                })
                .map(|(name, _)| name.clone())
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

    /// What a configuration file has of the model.
    #[must_use]
    pub fn of_file(config: &Config) -> Self {
        Self {
            apis: config.apis.clone(),
            domains: config.domains.clone(),
            ..Self::default()
        }
    }

    /// The model with what a configuration file has of it, and its stages but for what they serve.
    ///
    /// # Errors
    /// Everything that is not possible, at once.
    pub fn beside(self, kept: &Model) -> Result<Draft, ControlError> {
        let mut problems = Vec::new();
        let all = self.into_lists();
        let names = all
            .iter()
            .flat_map(|(kind, items)| items.keys().map(|name| (*kind, name.clone())));
        let mut draft = Draft::of_file(kept, names.collect());
        for (kind, items) in all {
            for (name, body) in items {
                if kept.get(&Key::top(kind, &name)).is_some() {
                    let collection = kind.collection();
                    let problem = Problem::new(
                        format!("{collection}.{name}"),
                        format!("{} `{name}` is in the data folder, too", kind.noun()),
                    );
                    problems.push(problem.hint(format!(
                        "take it out of the file, or remove it with `DELETE /v1/{collection}/{name}`"
                    )));
                    continue;
                }
                put_one(&Authority::all(), &mut draft, kind, &name, body, &mut problems);
            }
        }
        if problems.is_empty() {
            Ok(draft)
        } else {
            Err(ControlError::Invalid(Problems(problems)))
        }
    }
}

fn put_one(
    authority: &Authority,
    draft: &mut Draft,
    kind: Kind,
    name: &str,
    mut body: Value,
    problems: &mut Vec<Problem>,
) {
    let place = format!("{}.{name}", kind.collection());
    let mut within = Vec::new();
    if let Some(object) = body.as_object_mut() {
        for child in kind.written_children() {
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
            .filter(|(item, document)| {
                !items.contains_key(*item)
                    && authority.may_change(&Key::of(child, name, item), Some(&document.body), None)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for (item, mut body) in items {
            let place = format!("{place}.{}.{item}", child.collection());
            let key = Key::of(child, name, &item);
            if body.is_null() {
                body = Value::Object(Map::new());
            }
            if child == Kind::Stage
                && draft.is_of_file()
                && let Some(problem) = served_by_itself(&place, &mut body)
            {
                problems.push(problem);
                continue;
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

/// A stage of the configuration file serves what the file says, and nothing else can be said.
fn served_by_itself(place: &str, body: &mut Value) -> Option<Problem> {
    let object = body.as_object_mut()?;
    let said = ["deployment", "canary"]
        .into_iter()
        .find(|key| object.contains_key(*key));
    let said =
        said.or_else(|| (object.get("auto-deploy") == Some(&Value::Bool(false))).then_some("auto-deploy"));
    object.insert("auto-deploy".to_owned(), Value::Bool(true));
    said.map(|key| {
        Problem::new(
            format!("{place}.{key}"),
            "a stage of the configuration file serves its API as the file has it",
        )
        .hint("for deployments and canaries, keep the API in the data folder: `edgeward apply`")
    })
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
api-keys:
  ada: {customer-id: '7'}
usage-plans:
  free: {keys: [ada], stages: [{api: pets, stage: prod}]}
waf:
  front: {plugins: [rules]}
shadows:
  rules: {version: 2}
";

    #[test]
    fn a_bundle_is_put_and_read_back() {
        let mut draft = Draft::new(&Model::default());
        read(PETS).unwrap().put_into(&mut draft).unwrap();
        draft.check().unwrap();
        let back = Bundle::of(&draft.model);
        assert_eq!(back.apis["pets"]["routes"]["GET /pets"]["integration"], "web");
        assert_eq!(back.domains["api.example.com"]["mappings"]["v1"]["stage"], "prod");
        assert_eq!(
            (
                &back.api_keys["ada"]["enabled"],
                &back.usage_plans["free"]["keys"][0]
            ),
            (&Value::Bool(true), &Value::from("ada"))
        );
        assert_eq!(
            (
                &back.waf["front"]["plugins"][0],
                &back.shadows["rules"]["percent"]
            ),
            (&Value::from("rules"), &Value::from(100.0))
        );
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
        assert_eq!(told.len(), 9, "{told:?}");
        assert!(told.iter().all(|(_, action)| *action == "delete"));
    }

    #[test]
    fn everything_that_keeps_a_text_from_being_a_bundle_is_told_with_its_place() {
        let Problems(problems) = read(r#"{"aps": {}, "domans": {}, "apis": 5}"#).unwrap_err();
        let mut told: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
        told.sort_unstable();
        assert_eq!(told, ["apis", "aps", "domans"], "{problems:?}");
        let near = problems.iter().find(|problem| problem.path == "domans").unwrap();
        assert_eq!(near.hint.as_deref(), Some("did you mean `domains`?"));
    }

    #[test]
    fn a_bundle_has_every_kind_that_belongs_to_nothing_but_principals() {
        let mut kinds = Kind::ALL.to_vec();
        kinds.retain(|kind| kind.parent().is_none() && !kind.is_access());
        kinds.sort_unstable();
        let mut listed = KINDS;
        listed.sort_unstable();
        assert_eq!(kinds, listed);
        assert_eq!(Bundle::default().lists().map(|(kind, _)| kind), KINDS);
        let written = serde_json::to_value(Bundle::default()).unwrap();
        for kind in KINDS {
            assert!(written[kind.collection()].is_object(), "{kind:?}");
        }
    }

    #[test]
    fn a_plan_that_leads_nowhere_is_found_whichever_part_of_the_bundle_goes() {
        let mut draft = Draft::new(&Model::default());
        read(PETS).unwrap().put_into(&mut draft).unwrap();
        let model = draft.model;
        let refused = |gone: &str| {
            let mut wanted = Bundle::of(&model);
            match gone {
                "key" => wanted.api_keys.clear(),
                "stage" => wanted.apis.get_mut("pets").unwrap()["stages"] = Value::Null,
                _ => {
                    wanted.apis.clear();
                    wanted.domains.clear();
                    wanted.usage_plans.clear();
                }
            }
            let mut draft = Draft::new(&model);
            wanted.put_into(&mut draft).unwrap();
            let problems = draft.check().map_or_else(|error| error.problems().0, |()| vec![]);
            problems
                .into_iter()
                .map(|problem| problem.path)
                .filter(|path| path.starts_with("usage-plans/"))
                .collect::<Vec<_>>()
        };
        assert_eq!(refused("key"), ["usage-plans/free.keys[0]"]);
        assert_eq!(refused("stage"), ["usage-plans/free.stages[0]"]);
        assert_eq!(refused("all of them"), Vec::<String>::new());
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
