//! What has to do with certificate authorities (ACME): `acme/`, mode 0600. Accounts, one file for each directory, and how far orders have come.

use std::{collections::BTreeMap, sync::Arc};

use instant_acme::AccountCredentials;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{ACME, FileStore, StoreError};
use crate::acme::Progress;

const ORDERS: &str = "acme/orders.json";

/// The accounts and orders.
#[derive(Debug)]
pub struct Acme {
    files: Arc<dyn FileStore>,
}

/// An account at an authority.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct StoredAccount {
    /// URL of the authority's directory.
    pub(crate) directory: String,
    /// URL of the account.
    pub(crate) id: String,
    /// Addresses that it knows.
    pub(crate) contact: Vec<String>,
    /// Identifier of the external account's key that it was made with.
    pub(crate) external_account: Option<String>,
    /// Its URL and key.
    pub(crate) credentials: AccountCredentials,
}

impl Acme {
    pub(super) fn new(files: Arc<dyn FileStore>) -> Self {
        Self { files }
    }

    /// The account at an authority. One that cannot be read is as good as none: another is made.
    pub(crate) fn account(&self, directory: &str) -> Option<StoredAccount> {
        let stored: StoredAccount = self.read(&account_name(directory))?;
        (stored.directory == directory).then_some(stored)
    }

    /// Keeps an account, durably.
    pub(crate) fn keep_account(&self, account: &StoredAccount) -> Result<(), StoreError> {
        self.files
            .replace_json(&account_name(&account.directory), account)
    }

    /// How far orders have come, by the names of their certificates.
    pub(crate) fn orders(&self) -> BTreeMap<String, Progress> {
        self.read(ORDERS).unwrap_or_default()
    }

    /// Keeps that, durably.
    pub(crate) fn keep_orders(&self, orders: &BTreeMap<String, Progress>) -> Result<(), StoreError> {
        self.files.replace_json(ORDERS, orders)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let path = self.files.place(name);
        let bytes = match self.files.read(name) {
            Ok(bytes) => bytes?,
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "cannot be read and is made anew");
                return None;
            }
        };
        let parsed = serde_json::from_slice(&bytes);
        if parsed.is_err() {
            // the parser's own words may quote a key
            tracing::error!(path = %path.display(), "is damaged and is made anew");
        }
        parsed.ok()
    }
}

fn account_name(directory: &str) -> String {
    // a URL is no file name
    let digest = edgeward_runtime::digest(directory.as_bytes()).to_string();
    let short: String = digest
        .chars()
        .filter(char::is_ascii_hexdigit)
        .rev()
        .take(32)
        .collect();
    format!("{ACME}/account-{short}.json")
}
