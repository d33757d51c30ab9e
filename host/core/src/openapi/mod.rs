//! OpenAPI documents and API definitions: [`read`] a text, [`import`] a document (2.0, 3.0, 3.1, with `x-amazon-apigateway-*` extensions), [`export`] a
//! definition. Pure: what is done with the outcome is the control plane's.
//!
//! What the formats have no place for is written as `x-edgeward-NAME`, beside what it belongs to, with the names and values of the API model; and what
//! is then still different after reading it back stands under `x-edgeward-definition`, whole. So a document with all extensions loses nothing.

mod amazon;
mod export;
mod import;
mod integration;
mod operation;
mod read;
mod report;
mod root;
mod schema;
mod scheme;
mod security;
#[cfg(test)]
mod tests;
mod unread;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    api::{Definition, Profile, Protocol},
    config::Problem,
};

pub use export::{Exported, Extensions, export};
pub use import::import;
pub use read::{DOCUMENT_MAX, read, read_json, read_within};
pub use report::Became;
pub use schema::models_of;

/// What begins the names of extensions of our own.
const OWN: &str = "x-edgeward-";
/// What begins those of Amazon API Gateway.
const AMAZON: &str = "x-amazon-apigateway-";
/// What a reference to another model begins with. Which API it names does not matter.
const MODELS: &str = "https://apigateway.amazonaws.com/restapis/api/models/";
/// Methods that path items have.
const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];

/// A version of the format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// OpenAPI 2.0, which was called Swagger.
    V2,
    /// OpenAPI 3.0.
    #[default]
    V3,
    /// OpenAPI 3.1.
    V31,
}

impl Version {
    /// Every version.
    pub const ALL: [Self; 3] = [Self::V2, Self::V3, Self::V31];

    /// Parses `2.0`, `3.0`, `3.1`, or a name that AWS gives them: `swagger`, `oas30`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "2.0" | "swagger" => Self::V2,
            "3.0" | "oas30" => Self::V3,
            "3.1" | "oas31" => Self::V31,
            _ => return None,
        })
    }

    /// Whether a header parameter is ignored, as OpenAPI has it since 3.0: other parts of the document say what these fields have to be.
    fn ignores_header(self, name: &str) -> bool {
        let ignored = ["accept", "content-type", "authorization"];
        self != Self::V2 && ignored.iter().any(|other| name.eq_ignore_ascii_case(other))
    }

    /// Where schemas stand that have a name.
    const fn schemas(self) -> &'static str {
        match self {
            Self::V2 => "/definitions/",
            Self::V3 | Self::V31 => "/components/schemas/",
        }
    }
}

/// What is done with the base path of a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BasePath {
    /// Nothing: it is that of the stage or domain.
    #[default]
    Ignore,
    /// Routes begin with it.
    Prepend,
    /// Routes begin with it, but for its first segment.
    Split,
}

/// Where operations without an integration lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// To the address that the document says its API has.
    Servers,
    /// To this address; its path is put before those of the document.
    Url(String),
    /// To an upstream of the configuration file, with the path of the request.
    Upstream(String),
}

/// How a document is understood.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The kind of API. Without it: what the document says (`x-edgeward-protocol`), what is there already, `REST` if the document has what only REST APIs
    /// have, else `HTTP`.
    pub protocol: Option<Protocol>,
    /// The profile. Without it: what the document says (`x-edgeward-profile`), what is there already, `native`.
    pub profile: Option<Profile>,
    /// What is done with the base path.
    pub base_path: BasePath,
    /// Where operations without an integration lead. Without it they get none.
    pub backend: Option<Backend>,
    /// Plugin bindings that stand behind security schemes, by name of the scheme.
    pub authorizers: BTreeMap<String, String>,
    /// Operations whose security cannot be had are open, with a warning.
    pub allow_unsecured: bool,
    /// What is there already: its protocol, profile and authorizers stay where nothing else is said.
    pub known: Option<Definition>,
    /// The document is put beside what is there: names that are made up for it are none that routes use which it does not name.
    pub beside: bool,
}

/// What a document became.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The definition.
    pub definition: Definition,
    /// Members of the API itself that the document names.
    pub named: BTreeSet<String>,
    /// What became what.
    pub became: Vec<Became>,
    /// What was not understood or is not enforced, by place.
    pub warnings: Vec<Problem>,
    /// What has no effect on requests and is not kept, by place.
    pub notes: Vec<Problem>,
}
