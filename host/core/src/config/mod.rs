//! The configuration file as data: one struct per section, with defaults and docs beside each field. `read` turns text into a `Config` or into
//! all its problems at once. Owns no meaning beyond that: `Snapshot::build` in the proxy turns it into ready parts.

mod acme;
mod admin;
mod apis;
mod check;
mod limits;
mod listener;
mod plugin;
mod read;
mod route;
pub mod units;
mod upstream;

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::policy::Home;

pub use acme::{
    Acme, AcmeChallenge, ExternalAccount, acme_certificate_name, canonical_names, is_acme_certificate_name,
};
pub use admin::*;
pub use check::check;
pub use limits::*;
pub use listener::*;
pub use plugin::*;
pub use read::{Problem, Problems, from_value, read, schema, typed};
pub use route::*;
pub use units::{Bytes, Time};
pub use upstream::*;

/// Root of `gateway.yaml` (JSON is accepted: it is a subset of YAML).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// Sockets that clients connect to.
    pub listeners: Vec<Listener>,
    /// Certificate authorities by name, for certificates that are ordered and renewed (ACME).
    pub acme: BTreeMap<String, Acme>,
    /// The admin API. On by default, on loopback.
    pub admin: Admin,
    /// Folder for everything that has to survive a restart: uploaded modules, history, compiled code, keys. Default `./edgeward-data`.
    pub data_dir: DataDir,
    /// Worker threads on the request path, each with its own sockets and upstream pools. Default: one per core.
    pub workers: Option<u16>,
    /// Limits that hold for every listener and route unless they say otherwise.
    pub limits: Limits,
    /// Upstreams by name.
    pub upstreams: BTreeMap<String, Upstream>,
    /// Plugin bindings by name: a module, its configuration, grants and budgets.
    pub plugins: BTreeMap<String, Plugin>,
    /// Routes. Order does not matter except between routes that differ in header conditions only.
    pub routes: Vec<Route>,
    /// Access log and log settings.
    pub log: Log,
    /// Domain under which each API of the API model is reached by its own name: `{api}.{api-domain}`. Default `execute-api.localhost`.
    pub api_domain: String,
    /// What names of Amazon's are made of: ARNs in policies, `accountId` in contexts.
    pub aws: Aws,
    /// APIs by id. They are part of the API model as if they had been put there by the admin API, and can be changed here only. A plugin's live version holds
    /// for them at once.
    #[schemars(with = "BTreeMap<String, apis::ApiForm>")]
    pub apis: BTreeMap<String, Value>,
    /// Domains by name, likewise. They may lead to stages of any API.
    #[schemars(with = "BTreeMap<String, apis::DomainForm>")]
    pub domains: BTreeMap<String, Value>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            acme: BTreeMap::new(),
            admin: Admin::default(),
            data_dir: DataDir::default(),
            workers: None,
            limits: Limits::default(),
            upstreams: BTreeMap::new(),
            plugins: BTreeMap::new(),
            routes: Vec::new(),
            log: Log::default(),
            api_domain: api_domain(),
            aws: Aws::default(),
            apis: BTreeMap::new(),
            domains: BTreeMap::new(),
        }
    }
}

/// What names of Amazon's are made of. Policies of APIs that come from there run unchanged with what they name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Aws {
    /// Partition. Default `aws`.
    pub partition: String,
    /// Region. Default `local`.
    pub region: String,
    /// Account that APIs are of. Default `000000000000`.
    pub account_id: String,
}

impl Default for Aws {
    fn default() -> Self {
        Self {
            partition: "aws".to_owned(),
            region: "local".to_owned(),
            account_id: "000000000000".to_owned(),
        }
    }
}

impl Aws {
    /// Where an API is: what its ARNs begin with.
    ///
    /// # Errors
    /// A name cannot be part of an ARN.
    pub fn home(&self, api: &str) -> Result<Home, Problem> {
        Home::new(&self.partition, &self.region, &self.account_id, api).map_err(|problem| Problem {
            path: match problem.path.as_str() {
                "account" => "aws.account-id".to_owned(),
                name => format!("aws.{name}"),
            },
            ..problem
        })
    }
}

fn api_domain() -> String {
    "execute-api.localhost".to_owned()
}

/// Folder for persistent state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct DataDir(pub PathBuf);

impl Default for DataDir {
    fn default() -> Self {
        Self(PathBuf::from("edgeward-data"))
    }
}

/// Log settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Log {
    /// Write one line per finished exchange (target `access`). Default `true`.
    pub access: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { access: true }
    }
}
