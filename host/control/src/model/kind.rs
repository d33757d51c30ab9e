//! Kinds of resources: what they are called, where they belong, and what their documents have to be.

use edgeward_core::{
    api::{
        self, Domain, GatewayResponseType, Mapping, RouteKey, RoutingRule, is_base_path, is_name,
        is_stage_name,
    },
    config::{Problem, Problems, typed},
    route::HostPattern,
};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::Deployment;
use crate::access::{GATEWAY, NOBODY, Principal, ROOT, Token};

/// A kind of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An API.
    Api,
    /// A route of an API; its name is its key.
    Route,
    /// An integration of an API.
    Integration,
    /// An authorizer of an API.
    Authorizer,
    /// A model of an API.
    Model,
    /// A request validator of an API.
    Validator,
    /// A gateway response of an API; its name is its type.
    GatewayResponse,
    /// A stage of an API.
    Stage,
    /// A deployment of an API; its name says what is in it.
    Deployment,
    /// A domain.
    Domain,
    /// A base-path mapping of a domain; its name is the path, `(none)` for none.
    Mapping,
    /// A routing rule of a domain.
    Rule,
    /// A version of a plugin that runs beside the live one; its name is that of the binding.
    Shadow,
    /// An API key.
    ApiKey,
    /// A usage plan.
    UsagePlan,
    /// A firewall.
    WebAcl,
    /// Somebody who uses the admin API.
    Principal,
    /// A token of a principal; its name is its id.
    Token,
}

impl Kind {
    /// Every kind; parents before what belongs to them.
    pub const ALL: [Self; 18] = [
        Self::Api,
        Self::Route,
        Self::Integration,
        Self::Authorizer,
        Self::Model,
        Self::Validator,
        Self::GatewayResponse,
        Self::Stage,
        Self::Deployment,
        Self::Domain,
        Self::Mapping,
        Self::Rule,
        Self::Shadow,
        Self::ApiKey,
        Self::UsagePlan,
        Self::WebAcl,
        Self::Principal,
        Self::Token,
    ];

    /// Name of the collection, in paths and in the database.
    #[must_use]
    pub const fn collection(self) -> &'static str {
        match self {
            Self::Api => "apis",
            Self::Route => "routes",
            Self::Integration => "integrations",
            Self::Authorizer => "authorizers",
            Self::Model => "models",
            Self::Validator => "validators",
            Self::GatewayResponse => "gateway-responses",
            Self::Stage => "stages",
            Self::Deployment => "deployments",
            Self::Domain => "domains",
            Self::Mapping => "mappings",
            Self::Rule => "rules",
            Self::Shadow => "shadows",
            Self::ApiKey => "api-keys",
            Self::UsagePlan => "usage-plans",
            Self::WebAcl => "waf",
            Self::Principal => "principals",
            Self::Token => "tokens",
        }
    }

    /// What it is called in sentences.
    #[must_use]
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Api => "API",
            Self::Route => "route",
            Self::Integration => "integration",
            Self::Authorizer => "authorizer",
            Self::Model => "model",
            Self::Validator => "validator",
            Self::GatewayResponse => "gateway response",
            Self::Stage => "stage",
            Self::Deployment => "deployment",
            Self::Domain => "domain",
            Self::Mapping => "mapping",
            Self::Rule => "rule",
            Self::Shadow => "shadow",
            Self::ApiKey => "API key",
            Self::UsagePlan => "usage plan",
            Self::WebAcl => "web ACL",
            Self::Principal => "principal",
            Self::Token => "token",
        }
    }

    /// Kinds of what stands within one of this kind. Deployments are made, not written.
    pub fn written_children(self) -> impl Iterator<Item = Self> {
        let within = move |kind: &Self| kind.parent() == Some(self) && *kind != Self::Deployment;
        Self::ALL.into_iter().filter(within)
    }

    /// The kind of what it belongs to.
    #[must_use]
    pub const fn parent(self) -> Option<Self> {
        match self {
            Self::Api
            | Self::Domain
            | Self::Shadow
            | Self::ApiKey
            | Self::UsagePlan
            | Self::WebAcl
            | Self::Principal => None,
            Self::Mapping | Self::Rule => Some(Self::Domain),
            Self::Token => Some(Self::Principal),
            Self::Route
            | Self::Integration
            | Self::Authorizer
            | Self::Model
            | Self::Validator
            | Self::GatewayResponse
            | Self::Stage
            | Self::Deployment => Some(Self::Api),
        }
    }

    /// Whether it says who may use the admin API, and nothing of what is served.
    #[must_use]
    pub const fn is_access(self) -> bool {
        matches!(self, Self::Principal | Self::Token)
    }

    /// The kind of a collection's name.
    #[must_use]
    pub fn parse(collection: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.collection() == collection)
    }

    /// JSON Schema (2020-12) of its documents.
    #[must_use]
    pub fn schema(self) -> Value {
        let schema = match self {
            Self::Api => schemars::schema_for!(api::Api),
            Self::Route => schemars::schema_for!(api::Route),
            Self::Integration => schemars::schema_for!(api::Integration),
            Self::Authorizer => schemars::schema_for!(api::Authorizer),
            Self::Model => schemars::schema_for!(api::Model),
            Self::Validator => schemars::schema_for!(api::Validator),
            Self::GatewayResponse => schemars::schema_for!(api::GatewayResponse),
            Self::Stage => schemars::schema_for!(api::Stage),
            Self::Deployment => schemars::schema_for!(Deployment),
            Self::Domain => schemars::schema_for!(Domain),
            Self::Mapping => schemars::schema_for!(Mapping),
            Self::Rule => schemars::schema_for!(RoutingRule),
            Self::Shadow => schemars::schema_for!(api::ShadowPlan),
            Self::ApiKey => schemars::schema_for!(api::ApiKey),
            Self::UsagePlan => schemars::schema_for!(api::UsagePlan),
            Self::WebAcl => schemars::schema_for!(api::WebAcl),
            Self::Principal => schemars::schema_for!(Principal),
            Self::Token => schemars::schema_for!(Token),
        };
        let mut schema = schema.to_value();
        if self == Self::Token {
            // kept, and never shown
            if let Some(members) = schema["properties"].as_object_mut() {
                members.remove("mac");
            }
            if let Some(required) = schema["required"].as_array_mut() {
                required.retain(|member| member != "mac");
            }
        }
        schema
    }

    /// A document of this kind in the form that is kept, with every default that matters said.
    ///
    /// # Errors
    /// All problems of the name and the document by itself.
    pub fn check(self, name: &str, body: Value) -> Result<Value, Problems> {
        if let Some(problem) = self.problem_of_name(name) {
            return Err(Problems(vec![problem]));
        }
        match self {
            Self::Api => canonical::<api::Api>(body),
            Self::Route => canonical::<api::Route>(body),
            Self::Integration => canonical::<api::Integration>(body),
            Self::Authorizer => canonical::<api::Authorizer>(body),
            Self::Model => canonical::<api::Model>(body),
            Self::Validator => canonical::<api::Validator>(body),
            Self::GatewayResponse => canonical::<api::GatewayResponse>(body),
            Self::Stage => checked(body, api::check_stage),
            Self::Deployment => canonical::<Deployment>(body),
            Self::Domain => canonical::<Domain>(body),
            Self::Mapping => canonical::<Mapping>(body),
            Self::Rule => canonical::<RoutingRule>(body),
            Self::Shadow => checked(body, api::check_shadow),
            Self::ApiKey => canonical::<api::ApiKey>(body),
            Self::UsagePlan => checked(body, api::check_usage_plan),
            Self::WebAcl => checked(body, api::check_web_acl),
            Self::Principal => {
                let principal: Principal = typed(body)?;
                principal.check()?;
                written(&principal)
            }
            Self::Token => canonical::<Token>(body),
        }
    }

    fn problem_of_name(self, name: &str) -> Option<Problem> {
        let label = |name: &str| {
            (1..=63).contains(&name.len())
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
                && !name.starts_with('-')
                && !name.ends_with('-')
        };
        let (good, hint) = match self {
            // it is part of a host name
            Self::Api => (label(name), "1 to 63 of a-z, 0-9, `-`, not at its ends"),
            Self::Route => {
                return RouteKey::parse(name)
                    .err()
                    .map(|message| Problem::new("id", message));
            }
            Self::Stage => (
                is_stage_name(name),
                "1 to 128 of a-z, A-Z, 0-9, `-`, `_`, or `$default`",
            ),
            Self::GatewayResponse => (
                response_type(name).is_some(),
                "one of the types of gateway responses, e.g. `DEFAULT_4XX`",
            ),
            Self::Domain => (
                HostPattern::parse(name).is_ok()
                    && name != "*"
                    && !name.contains(':')
                    && name == name.to_ascii_lowercase(),
                "a host name in lower case, `*.example.com` for all below it",
            ),
            Self::Mapping => (
                name == NO_BASE_PATH || (!name.is_empty() && is_base_path(name)),
                "a base path such as `v1` or `v1/pets`, or `(none)`",
            ),
            Self::Principal => (
                is_name(name) && ![ROOT, NOBODY, GATEWAY].contains(&name),
                "1 to 128 of a-z, A-Z, 0-9, `-`, `_`, `.`; `root`, `nobody` and `gateway` are taken",
            ),
            Self::Integration
            | Self::Authorizer
            | Self::Model
            | Self::Validator
            | Self::Deployment
            | Self::Token
            | Self::Rule
            | Self::Shadow
            | Self::ApiKey
            | Self::UsagePlan
            | Self::WebAcl => (is_name(name), "1 to 128 of a-z, A-Z, 0-9, `-`, `_`, `.`"),
        };
        (!good).then(|| {
            Problem::new(
                "id",
                format!("`{name}` cannot be the name of {} {}", article(self), self.noun()),
            )
            .hint(hint)
        })
    }
}

fn article(kind: Kind) -> &'static str {
    match kind {
        Kind::Api | Kind::Integration | Kind::Authorizer | Kind::ApiKey => "an",
        _ => "a",
    }
}

/// Name of the mapping of no base path, as AWS calls it.
pub const NO_BASE_PATH: &str = "(none)";

pub(super) fn response_type(name: &str) -> Option<GatewayResponseType> {
    GatewayResponseType::ALL
        .iter()
        .copied()
        .find(|kind| kind.name() == name)
}

fn canonical<T: Serialize + DeserializeOwned + JsonSchema + 'static>(body: Value) -> Result<Value, Problems> {
    written(&typed::<T>(body)?)
}

/// The same with what is wrong with it beyond its form.
fn checked<T: Serialize + DeserializeOwned + JsonSchema + 'static>(
    body: Value,
    check: impl FnOnce(&T) -> Vec<Problem>,
) -> Result<Value, Problems> {
    let value: T = typed(body)?;
    let problems = check(&value);
    if problems.is_empty() {
        written(&value)
    } else {
        Err(Problems(problems))
    }
}

pub(super) fn written(value: &impl Serialize) -> Result<Value, Problems> {
    serde_json::to_value(value).map_err(|error| Problems(vec![Problem::new("", error.to_string())]))
}
