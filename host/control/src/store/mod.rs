//! What survives a restart: one folder that belongs to one gateway. `plugins` has what is live and of which modules, `documents` the API model; both are traits that the
//! database implements. `files` is the trait of what is kept beside it: `blobs` holds modules, `certificates` those of listeners, `acme` the accounts and orders
//! behind them, `keys` the secrets that the gateway makes itself.
//!
//! Crash safety: a module's file is durable before its row, a row's transaction is durable before anyone is told, and
//! [`Store::open`] removes what an interrupted upload left behind. So a kill at any moment leaves the old or the new state.

mod access;
mod acme;
pub mod backup;
mod blobs;
pub mod certificates;
pub mod documents;
mod files;
mod journal;
pub mod keys;
pub mod plugins;

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use edgeward_core::ids::Digest;
use files::{Folder, make_dir};

pub use acme::Acme;
pub(crate) use acme::StoredAccount;
pub use blobs::{Blobs, Upload};
pub use certificates::{Certificates, StoredCertificate};
pub use documents::{AuditCheck, AuditEntry, AuditQuery, AuditRow, DocumentChange, ModelStore, audit_mac};
pub use files::FileStore;
pub use journal::Journal;
pub use plugins::{Action, ModuleRow, PluginStore, Publication, Receipt, VersionRow};

/// File of the database.
const DATABASE: &str = "edgeward.db";
/// Key of the MACs in the audit log.
const AUDIT_KEY: &str = "keys/audit.key";
/// What the configuration file had of the API model when the audit log was last told of it.
const TOLD: &str = "configuration-file.json";
/// Folder of certificates.
const CERTIFICATES: &str = "certificates";
/// Folder of accounts at certificate authorities, and of orders.
const ACME: &str = "acme";
/// Folder of modules.
const MODULES: &str = "modules";

/// The open data folder; at most one process has it at a time.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    files: Arc<dyn FileStore>,
    /// Modules by digest.
    pub blobs: Blobs,
    /// Modules, versions and publications.
    pub plugins: Arc<dyn PluginStore>,
    /// The API model and the audit log.
    pub model: Arc<dyn ModelStore>,
    /// Certificates by name.
    pub certificates: Certificates,
    /// Accounts at certificate authorities, and orders.
    pub acme: Acme,
    /// The kernel gives the lock up when the process ends, however it ends.
    _lock: File,
}

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried: `create`, `read`, ...
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The database refused.
    #[error("database: cannot {what}: {source}")]
    Database {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: rusqlite::Error,
    },
    /// Another gateway uses the folder.
    #[error("data folder {} is in use by another gateway{owner}", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
        /// ` (process 123)`, or empty when that is not known.
        owner: String,
    },
    /// The folder was written by a later version of Edgeward.
    #[error(
        "data folder has format {found}, this edgeward knows up to {known}: use the edgeward that wrote it, or a later one"
    )]
    Newer {
        /// Format of the folder.
        found: i64,
        /// Latest format that this program knows.
        known: i64,
    },
    /// A module's bytes are not those that were uploaded.
    #[error("module {digest} is damaged on disk ({}): upload it again", path.display())]
    Damaged {
        /// The module.
        digest: Digest,
        /// Its file.
        path: PathBuf,
    },
    /// Larger than the upload limit.
    #[error("module is larger than the upload limit of {limit} bytes (`admin.upload-limit`)")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// No such module, version or publication.
    #[error("{0}")]
    NotFound(String),
    /// The state does not allow it.
    #[error("{0}")]
    Conflict(String),
}

impl StoreError {
    /// Whether the disk or the quota is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => {
                matches!(
                    source.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                )
            }
            Self::Database { source, .. } => {
                source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
            }
            _ => false,
        }
    }
}

/// For `map_err`: names what was tried and on which path.
pub(crate) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Io { what, path, source }
}

impl Store {
    /// Opens the folder, making it (mode 0700) where it is not there, and removes what an interrupted upload left.
    ///
    /// # Errors
    /// The folder cannot be written, is in use by another gateway, is of a later format, or its database is damaged.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        make_dir(root)?;
        let root = root.canonicalize().map_err(io_error("find", root))?;
        let lock = lock(&root)?;
        let folders = [MODULES, "keys", "compiled", CERTIFICATES, ACME];
        let files: Arc<dyn FileStore> = Arc::new(Folder::open(&root, &folders)?);
        let journal = Arc::new(Journal::open(&root.join(DATABASE))?);
        // only of a new one: else whoever sets the format back could have another end sealed
        if journal.is_new {
            journal.seal_audit(&keys::key(&*files, AUDIT_KEY)?)?;
        }
        Ok(Self {
            root,
            blobs: Blobs::open(Arc::clone(&files), &journal.digests()?)?,
            certificates: Certificates::new(Arc::clone(&files)),
            acme: Acme::new(Arc::clone(&files)),
            files,
            model: Arc::clone(&journal) as Arc<dyn ModelStore>,
            plugins: journal,
            _lock: lock,
        })
    }

    /// The folder, absolute.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Folder for compiled code.
    #[must_use]
    pub fn compiled_dir(&self) -> PathBuf {
        self.root.join("compiled")
    }

    /// Key that authenticates compiled code on disk; made on first use.
    ///
    /// # Errors
    /// The file cannot be read or written, or has another length.
    pub fn cache_key(&self) -> Result<[u8; 32], StoreError> {
        keys::key(&*self.files, "keys/cache.key")
    }

    /// Secret behind what HTTP/3 tells clients of a process that is gone; made on first use.
    ///
    /// # Errors
    /// As [`Self::cache_key`].
    pub fn quic_secret(&self) -> Result<[u8; 32], StoreError> {
        keys::key(&*self.files, "keys/quic.key")
    }

    /// Key of the MACs in the audit log; made on first use.
    ///
    /// # Errors
    /// As [`Self::cache_key`].
    pub fn audit_key(&self) -> Result<[u8; 32], StoreError> {
        keys::key(&*self.files, AUDIT_KEY)
    }

    /// Key of the MACs by which tokens of principals are kept; made on first use.
    ///
    /// # Errors
    /// As [`Self::cache_key`].
    pub fn token_key(&self) -> Result<[u8; 32], StoreError> {
        keys::key(&*self.files, "keys/tokens.key")
    }

    /// Where the admin token is unless the configuration says otherwise.
    #[must_use]
    pub fn token_path(&self) -> PathBuf {
        self.root.join("admin.token")
    }

    /// What the configuration file had of the API model when the audit log was last told of it: documents without secrets by the path of the resource.
    /// Nothing where that is not known, so that everything is told again.
    #[must_use]
    pub fn told_of_file(&self) -> BTreeMap<String, serde_json::Value> {
        let text = self.files.read(TOLD).ok().flatten().unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Keeps that.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn keep_told_of_file(&self, told: &BTreeMap<String, serde_json::Value>) -> Result<(), StoreError> {
        self.files.replace_json(TOLD, told)
    }

    /// Makes an inspected upload part of the store: first the file, then the row. Doing it twice is the same as once.
    ///
    /// # Errors
    /// The disk or the database refuses.
    pub fn keep(&self, upload: Upload, info: &serde_json::Value) -> Result<ModuleRow, StoreError> {
        let (digest, size) = self.blobs.keep(upload)?;
        self.plugins.add_module(digest, size, info)
    }

    /// Makes a module of the configuration part of the store, so that it stays what it is; `info` is what inspection finds in it.
    ///
    /// # Errors
    /// The disk or the database refuses.
    pub fn keep_bytes(
        &self,
        bytes: &[u8],
        info: impl FnOnce() -> serde_json::Value,
    ) -> Result<Digest, StoreError> {
        let digest = edgeward_runtime::digest(bytes);
        if !self.blobs.has(digest)? {
            self.blobs.keep_bytes(digest, bytes)?;
        }
        if self.plugins.module(digest).is_err() {
            self.plugins.add_module(digest, bytes.len() as u64, &info())?;
        }
        Ok(digest)
    }

    /// Whether a module is part of the store.
    #[must_use]
    pub fn has(&self, digest: Digest) -> bool {
        self.blobs.has(digest).unwrap_or(false) && self.plugins.module(digest).is_ok()
    }

    /// Removes a module that no version uses: first the row, then the file.
    ///
    /// # Errors
    /// Not there, or in use.
    pub fn forget(&self, digest: Digest) -> Result<(), StoreError> {
        self.plugins.remove_module(digest)?;
        self.blobs.remove(digest)
    }
}

fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(io_error("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            let known = (&file).take(16).read_to_string(&mut owner).is_ok();
            let owner = match owner.trim().parse::<u32>() {
                Ok(pid) if known => format!(" (process {pid})"),
                _ => String::new(),
            };
            return Err(StoreError::Locked {
                path: root.to_owned(),
                owner,
            });
        }
        Err(TryLockError::Error(source)) => return Err(io_error("lock", &path)(source)),
    }
    // who holds it, for the message above; the lock itself is the kernel's
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(io_error("write", &path))?;
    Ok(file)
}

#[cfg(test)]
mod contract;
#[cfg(test)]
mod plugin_contract;
#[cfg(test)]
mod tests;
