//! Definitions that came from documents, as changes of the API model: put beside what is there, or in its place.

use std::collections::BTreeSet;

use edgeward_core::{
    api::{Authorizer, Definition},
    config::{Problem, Problems},
    openapi::{Imported, models_of},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    bundle::collect,
    error::ControlError,
    file,
    model::{Draft, Expect, Key, Kind, Model},
};

/// What becomes of what is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// What the document does not name stays.
    #[default]
    Merge,
    /// The definition is replaced as a whole. Stages and deployments stay.
    Overwrite,
}

/// Kinds that a definition is made of, beside the API itself.
const PARTS: [Kind; 6] = [
    Kind::Route,
    Kind::Integration,
    Kind::Authorizer,
    Kind::Model,
    Kind::Validator,
    Kind::GatewayResponse,
];

/// Puts what a document became into a draft. Tells what that does to routes that the document does not name.
///
/// # Errors
/// Everything that is not possible, at once.
pub fn put(
    draft: &mut Draft,
    api: &str,
    imported: &Imported,
    mode: Mode,
) -> Result<Vec<Problem>, ControlError> {
    let mut warnings = Vec::new();
    if mode == Mode::Merge {
        warnings = changed_beside(&draft.model, api, &imported.definition)?;
    }
    let definition = file::json(&imported.definition)?;
    let mut problems = Vec::new();
    let key = Key::top(Kind::Api, api);
    let body = match (mode, draft.model.get(&key)) {
        (Mode::Merge, Some(old)) => merged(&old.body, &definition["api"], &imported.named),
        _ => definition["api"].clone(),
    };
    if collect(draft.put(&key, body, Expect::Any), "api", &mut problems) {
        let nothing = Map::new();
        for kind in PARTS {
            let items = definition[kind.collection()].as_object().unwrap_or(&nothing);
            put_part(draft, kind, api, items, mode, &mut problems);
        }
    }
    if problems.is_empty() {
        Ok(warnings)
    } else {
        Err(ControlError::Invalid(Problems(problems)))
    }
}

fn put_part(
    draft: &mut Draft,
    kind: Kind,
    api: &str,
    items: &Map<String, Value>,
    mode: Mode,
    problems: &mut Vec<Problem>,
) {
    let place = |name: &str| format!("{}.{name}", kind.collection());
    if mode == Mode::Overwrite {
        let gone: Vec<String> = draft
            .model
            .list(kind, api)
            .map(|(name, _)| name.clone())
            .filter(|name| !items.contains_key(name))
            .collect();
        for name in gone {
            let removed = draft.remove(&Key::of(kind, api, &name), Expect::Any);
            collect(removed, &place(&name), problems);
        }
    }
    for (name, body) in items {
        let put = draft.put(&Key::of(kind, api, name), body.clone(), Expect::Any);
        collect(put, &place(name), problems);
    }
}

/// The API as it was, with what a document names of it.
fn merged(old: &Value, new: &Value, named: &BTreeSet<String>) -> Value {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return new.clone();
    };
    let mut merged = old.clone();
    // these two were chosen with what is there in mind
    let chosen = ["protocol", "profile"].map(str::to_owned);
    for key in named.iter().chain(&chosen) {
        match new.get(key) {
            Some(value) => drop(merged.insert(key.clone(), value.clone())),
            None => drop(merged.remove(key)),
        }
    }
    Value::Object(merged)
}

/// Integrations, authorizers, models and the like that become others under routes that the document does not name.
fn changed_beside(model: &Model, api: &str, new: &Definition) -> Result<Vec<Problem>, ControlError> {
    if model.get(&Key::top(Kind::Api, api)).is_none() {
        return Ok(Vec::new());
    }
    let old = model.definition(api)?;
    let mut warnings = Vec::new();
    for (key, route) in &old.routes {
        if new.routes.contains_key(key) {
            continue;
        }
        let mut warn = |what: &str, name: &str| {
            let message = format!("{what} `{name}` becomes that of the document, and this route uses it");
            warnings.push(Problem::new(format!("routes.{key}"), message));
        };
        if let Some(name) = &route.integration
            && new.integrations.contains_key(name)
            && new.integrations.get(name) != old.integrations.get(name)
        {
            warn("integration", name);
        }
        if let Some(name) = &route.authorizer
            && new.authorizers.contains_key(name)
            && new.authorizers.get(name).map(what_it_does) != old.authorizers.get(name).map(what_it_does)
        {
            warn("authorizer", name);
        }
        if let Some(name) = &route.validator
            && new.validators.contains_key(name)
            && new.validators.get(name) != old.validators.get(name)
        {
            warn("validator", name);
        }
        for name in models_of(route, &old.models) {
            if new.models.contains_key(&name) && new.models.get(&name) != old.models.get(&name) {
                warn("model", &name);
            }
        }
    }
    Ok(warnings)
}

/// An authorizer without what is for readers only.
fn what_it_does(authorizer: &Authorizer) -> Authorizer {
    Authorizer {
        description: None,
        scheme: None,
        ..authorizer.clone()
    }
}

#[cfg(test)]
mod tests {
    use edgeward_core::openapi::{self, Options};
    use serde_json::json;

    use super::*;
    use crate::bundle;

    fn pets() -> Draft {
        let mut draft = Draft::new(&Model::default());
        let text = "
apis:
  pets:
    protocol: REST
    description: of pets
    tags: {team: a}
    integrations: {web: {type: HTTP_PROXY, uri: 'http://a.example/'}, old: {type: MOCK}}
    authorizers: {auth: {plugin: jwt}}
    routes: {GET /pets: {integration: web}, GET /old: {integration: web, authorizer: auth}}
    stages: {prod: {}}
";
        bundle::read(text).unwrap().put_into(&mut draft).unwrap();
        draft
    }

    fn imported(draft: &Draft) -> Imported {
        let document = json!({
            "openapi": "3.0.0", "info": {"title": "Pets", "version": "2"},
            "components": {"securitySchemes": {"auth": {"type": "http", "scheme": "bearer"}}},
            "paths": {"/pets": {"get": {"security": [{"auth": []}], "x-amazon-apigateway-integration": {
                "type": "http_proxy", "uri": "http://b.example/", "x-edgeward-name": "web"
            }}}},
        });
        let options = Options {
            known: draft.model.definition("pets").ok(),
            ..Options::default()
        };
        openapi::import(&document, &options).unwrap()
    }

    #[test]
    fn merging_leaves_what_the_document_does_not_name() {
        let mut draft = pets();
        let imported = imported(&draft);
        let warnings = put(&mut draft, "pets", &imported, Mode::Merge).unwrap();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0]
                .to_string()
                .starts_with("routes.GET /old: integration `web`")
        );
        let now = draft.model.definition("pets").unwrap();
        assert_eq!(now.api.description.as_deref(), Some("of pets"));
        assert_eq!(
            (now.api.name.as_deref(), now.api.version.as_deref()),
            (Some("Pets"), Some("2"))
        );
        assert_eq!(now.api.protocol, edgeward_core::api::Protocol::Rest);
        assert_eq!(now.routes.len(), 2);
        assert_eq!(now.routes["GET /pets"].authorizer.as_deref(), Some("auth"));
        assert_eq!(
            now.authorizers["auth"].plugin, "jwt",
            "what stands behind it stays"
        );
        assert_eq!(now.integrations.len(), 2);
    }

    #[test]
    fn models_that_become_others_under_other_routes_are_told() {
        let mut draft = pets();
        let document = |kind: &str, path: &str| {
            json!({
                "openapi": "3.0.0", "info": {"title": "Pets"},
                "paths": {(path): {"post": {"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}}}},
                "components": {"schemas": {
                    "Pet": {"properties": {"leg": {"$ref": "#/components/schemas/Leg"}}}, "Leg": {"type": kind},
                }},
            })
        };
        let mut take = |document: &Value| {
            let options = Options {
                known: draft.model.definition("pets").ok(),
                beside: true,
                ..Options::default()
            };
            let imported = openapi::import(document, &options).unwrap();
            put(&mut draft, "pets", &imported, Mode::Merge).unwrap()
        };
        assert_eq!(take(&document("string", "/a")), []);
        assert_eq!(take(&document("string", "/b")), []);
        let warnings = take(&document("integer", "/c"));
        let told: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        for (told, route) in told.iter().zip(["POST /a", "POST /b"]) {
            assert!(
                told.starts_with(&format!("routes.{route}: model `Leg` becomes")),
                "{told}"
            );
        }
    }

    #[test]
    fn overwriting_leaves_the_stages() {
        let mut draft = pets();
        let imported = imported(&draft);
        assert_eq!(put(&mut draft, "pets", &imported, Mode::Overwrite).unwrap(), []);
        let now = draft.model.definition("pets").unwrap();
        assert_eq!(now, imported.definition);
        assert_eq!((now.routes.len(), now.integrations.len()), (1, 1));
        assert_eq!(now.api.description, None);
        assert!(draft.model.stages("pets").unwrap().contains_key("prod"));
    }
}
