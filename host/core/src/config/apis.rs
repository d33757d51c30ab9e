//! Sections `apis` and `domains`: the API model in the configuration file. What they may say is said here; what it means is the control plane's, for which a
//! file is one of several ways to write the same model.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema};

use crate::api;

/// The documents of a map; one that says nothing may be left out.
type Parts<T> = BTreeMap<String, Option<T>>;

/// Form of one API: the API itself, with a map for each kind of what belongs to it.
#[derive(JsonSchema)]
#[schemars(rename = "ApiSection", rename_all = "kebab-case", transform = closed)]
pub(super) struct ApiForm {
    #[schemars(flatten)]
    _api: api::Api,
    /// Routes by key: `GET /pets/{id}`, `ANY /files/{proxy+}`, `$default`.
    #[schemars(default, rename = "routes")]
    _routes: Parts<api::Route>,
    /// Integrations by name.
    #[schemars(default, rename = "integrations")]
    _integrations: Parts<api::Integration>,
    /// Authorizers by name.
    #[schemars(default, rename = "authorizers")]
    _authorizers: Parts<api::Authorizer>,
    /// Models by name.
    #[schemars(default, rename = "models")]
    _models: Parts<api::Model>,
    /// Validators by name.
    #[schemars(default, rename = "validators")]
    _validators: Parts<api::Validator>,
    /// The gateway's own answers, by type, where they are not the usual ones.
    #[schemars(default, rename = "gateway-responses")]
    _gateway_responses: Parts<api::GatewayResponse>,
    /// Stages by name. They serve the API as the file has it.
    #[schemars(default, rename = "stages")]
    _stages: Parts<api::Stage>,
}

/// Form of one domain.
#[derive(JsonSchema)]
#[schemars(rename = "DomainSection", rename_all = "kebab-case", transform = closed)]
pub(super) struct DomainForm {
    #[schemars(flatten)]
    _domain: api::Domain,
    /// Mappings by base path, `(none)` for the rest.
    #[schemars(default, rename = "mappings")]
    _mappings: Parts<api::Mapping>,
    /// Rules by name.
    #[schemars(default, rename = "rules")]
    _rules: Parts<api::RoutingRule>,
}

/// Unknown keys are refused, which cannot be said of parts that are taken together.
fn closed(schema: &mut Schema) {
    schema.remove("unevaluatedProperties");
    schema.insert("additionalProperties".to_owned(), false.into());
}
