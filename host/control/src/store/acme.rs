//! What has to do with certificate authorities (ACME): `acme/`, mode 0600. Accounts, one file for each directory, and how far orders have come.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use instant_acme::AccountCredentials;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{StoreError, remove_unfinished, replace_json};
use crate::acme::Progress;

const ORDERS: &str = "orders.json";

/// The folder of accounts and orders.
#[derive(Debug)]
pub struct Acme {
    dir: PathBuf,
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
    /// Opens the folder and removes what an interrupted change left.
    pub(super) fn open(dir: PathBuf) -> Result<Self, StoreError> {
        remove_unfinished(&dir)?;
        Ok(Self { dir })
    }

    /// The account at an authority. One that cannot be read is as good as none: another is made.
    pub(crate) fn account(&self, directory: &str) -> Option<StoredAccount> {
        let stored: StoredAccount = read(&self.account_path(directory))?;
        (stored.directory == directory).then_some(stored)
    }

    /// Keeps an account, durably.
    pub(crate) fn keep_account(&self, account: &StoredAccount) -> Result<(), StoreError> {
        replace_json(&self.account_path(&account.directory), account)
    }

    /// How far orders have come, by the names of their certificates.
    pub(crate) fn orders(&self) -> BTreeMap<String, Progress> {
        read(&self.dir.join(ORDERS)).unwrap_or_default()
    }

    /// Keeps that, durably.
    pub(crate) fn keep_orders(&self, orders: &BTreeMap<String, Progress>) -> Result<(), StoreError> {
        replace_json(&self.dir.join(ORDERS), orders)
    }

    fn account_path(&self, directory: &str) -> PathBuf {
        // a URL is no file name
        let digest = edgeward_runtime::digest(directory.as_bytes()).to_string();
        let short: String = digest
            .chars()
            .filter(char::is_ascii_hexdigit)
            .rev()
            .take(32)
            .collect();
        self.dir.join(format!("account-{short}.json"))
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
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
