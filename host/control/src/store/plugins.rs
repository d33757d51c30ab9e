//! Modules, versions of bindings made of them, and which one is live: in the data folder's database ([`super::Journal`]), or elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use edgeward_core::ids::Digest;
use serde::Serialize;
use serde_json::Value;

use super::StoreError;

/// An uploaded module.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ModuleRow {
    /// SHA-256 of its bytes.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// What inspection found.
    pub info: Value,
    /// RFC 3339.
    pub uploaded_at: String,
    /// Bindings' versions made of it, as `name@version`.
    pub used_by: Vec<String>,
}

/// A version of a binding that was made through the API.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct VersionRow {
    /// The binding.
    pub name: String,
    /// 1 and up.
    pub version: u64,
    /// Its module.
    #[schema(value_type = String)]
    pub module: Digest,
    /// What it says differently from the binding in the configuration file.
    pub settings: Value,
    /// RFC 3339.
    pub created_at: String,
}

/// Why a version went live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It was published.
    Publish,
    /// Somebody went back to it by number.
    Rollback,
}

/// One entry of a binding's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Publication {
    /// Version that went live; 0 is the configuration file's.
    pub version: u64,
    /// `publish` or `rollback`.
    pub action: String,
    /// RFC 3339.
    pub at: String,
    /// When a rollback took it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undone_at: Option<String>,
}

/// A change that can be taken back.
#[derive(Debug)]
#[must_use]
pub enum Receipt {
    /// A publication was added.
    Added(i64),
    /// A publication was taken back.
    Undone(i64),
}

/// Where modules, versions and publications are kept.
///
/// Each change is made as a whole and durable before it is answered. There is one writer at a time. Calls may block, on a disk or on another machine: they are
/// made on threads of the control plane, never on those that serve requests.
pub trait PluginStore: std::fmt::Debug + Send + Sync {
    /// Digests of all modules.
    ///
    /// # Errors
    /// The store cannot be read.
    fn digests(&self) -> Result<BTreeSet<Digest>, StoreError>;

    /// Makes a module known whose bytes are kept; doing it twice is the same as once.
    ///
    /// # Errors
    /// The store refuses.
    fn add_module(&self, digest: Digest, size: u64, info: &Value) -> Result<ModuleRow, StoreError>;

    /// All modules, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    fn modules(&self) -> Result<Vec<ModuleRow>, StoreError>;

    /// One module.
    ///
    /// # Errors
    /// Not there.
    fn module(&self, digest: Digest) -> Result<ModuleRow, StoreError>;

    /// Forgets a module that no version is made of.
    ///
    /// # Errors
    /// Not there, or in use.
    fn remove_module(&self, digest: Digest) -> Result<(), StoreError>;

    /// A version with a number of its own that is not kept yet: a number is never given twice, and gaps are usual. When the newest version of the
    /// binding is the same, it is returned instead and the flag is false.
    ///
    /// # Errors
    /// The module was not uploaded.
    fn next_version(
        &self,
        name: &str,
        module: Digest,
        settings: &Value,
    ) -> Result<(VersionRow, bool), StoreError>;

    /// Keeps a version that was given a number and found to work.
    ///
    /// # Errors
    /// The module was removed meanwhile.
    fn keep_version(&self, row: &VersionRow) -> Result<VersionRow, StoreError>;

    /// One version.
    ///
    /// # Errors
    /// Not there.
    fn version(&self, name: &str, version: u64) -> Result<VersionRow, StoreError>;

    /// The newest `limit` versions of a binding, newest first: those before number `before`, if there is one.
    ///
    /// # Errors
    /// The database cannot be read.
    fn versions(&self, name: &str, before: Option<u64>, limit: u32) -> Result<Vec<VersionRow>, StoreError>;

    /// Removes a version that is not live, and its part of the history.
    ///
    /// # Errors
    /// Not there, or live.
    fn remove_version(&self, name: &str, version: u64) -> Result<(), StoreError>;

    /// Bindings whose live version is not the configuration file's.
    ///
    /// # Errors
    /// The database cannot be read.
    fn live(&self) -> Result<BTreeMap<String, VersionRow>, StoreError>;

    /// What a rollback without a number would go back to.
    ///
    /// # Errors
    /// Nothing was published.
    fn previous(&self, name: &str) -> Result<u64, StoreError>;

    /// Makes `version` live.
    ///
    /// # Errors
    /// Not there.
    fn publish(&self, name: &str, version: u64, action: Action) -> Result<Receipt, StoreError>;

    /// Takes the newest publication of a binding back.
    ///
    /// # Errors
    /// Nothing was published.
    fn undo(&self, name: &str) -> Result<Receipt, StoreError>;

    /// Takes a change back as if it had never been.
    ///
    /// # Errors
    /// The database refuses.
    fn revert(&self, receipt: Receipt) -> Result<(), StoreError>;

    /// The newest `limit` publications of a binding, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    fn history(&self, name: &str, limit: u32) -> Result<Vec<Publication>, StoreError>;
}
