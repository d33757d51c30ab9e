//! What survives a restart: one folder that belongs to one gateway. `blobs` holds modules, `plugins` what was made of
//! them and what is live, `documents` the API model, `certificates` those of listeners, `acme` the accounts and orders behind them, `keys` the secrets that the gateway makes
//! itself.
//!
//! Crash safety: a module's file is durable before its row, a row's transaction is durable before anyone is told, and
//! [`Store::open`] removes what an interrupted upload left behind. So a kill at any moment leaves the old or the new state.

mod access;
mod acme;
pub mod backup;
mod blobs;
pub mod certificates;
pub mod documents;
mod journal;
pub mod keys;
pub mod plugins;

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use edgeward_core::ids::Digest;
use serde::Serialize;

pub use acme::Acme;
pub(crate) use acme::StoredAccount;
pub use blobs::{Blobs, Upload};
pub use certificates::{Certificates, StoredCertificate};
pub use documents::{AuditCheck, AuditEntry, AuditQuery, AuditRow, DocumentChange, ModelStore, audit_mac};
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
/// How files begin that are being written.
const TMP_PREFIX: &str = ".put-";

/// The open data folder; at most one process has it at a time.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
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
        remove_unfinished(&root)?;
        for name in ["modules", "keys", "compiled", CERTIFICATES, ACME] {
            make_dir(&root.join(name))?;
        }
        let journal = Arc::new(Journal::open(&root.join(DATABASE))?);
        // only of a new one: else whoever sets the format back could have another end sealed
        if journal.is_new {
            journal.seal_audit(&keys::key(&root.join(AUDIT_KEY))?)?;
        }
        let blobs = Blobs::open(root.join("modules"), &journal.digests()?)?;
        let certificates = Certificates::open(root.join(CERTIFICATES))?;
        let acme = Acme::open(root.join(ACME))?;
        Ok(Self {
            root,
            blobs,
            model: Arc::clone(&journal) as Arc<dyn ModelStore>,
            plugins: journal,
            certificates,
            acme,
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
        keys::key(&self.root.join("keys").join("cache.key"))
    }

    /// Secret behind what HTTP/3 tells clients of a process that is gone; made on first use.
    ///
    /// # Errors
    /// As [`Self::cache_key`].
    pub fn quic_secret(&self) -> Result<[u8; 32], StoreError> {
        keys::key(&self.root.join("keys").join("quic.key"))
    }

    /// Key of the MACs in the audit log; made on first use.
    ///
    /// # Errors
    /// As [`Self::cache_key`].
    pub fn audit_key(&self) -> Result<[u8; 32], StoreError> {
        keys::key(&self.root.join(AUDIT_KEY))
    }

    /// Key of the MACs by which tokens of principals are kept; made on first use.
    ///
    /// # Errors
    /// As [`Self::cache_key`].
    pub fn token_key(&self) -> Result<[u8; 32], StoreError> {
        keys::key(&self.root.join("keys").join("tokens.key"))
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
        let text = fs::read(self.root.join(TOLD)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Keeps that.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn keep_told_of_file(&self, told: &BTreeMap<String, serde_json::Value>) -> Result<(), StoreError> {
        replace_json(&self.root.join(TOLD), told)
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
        if !self.blobs.path(digest).exists() {
            replace(&self.blobs.path(digest), bytes)?;
        }
        if self.plugins.module(digest).is_err() {
            self.plugins.add_module(digest, bytes.len() as u64, &info())?;
        }
        Ok(digest)
    }

    /// Whether a module is part of the store.
    #[must_use]
    pub fn has(&self, digest: Digest) -> bool {
        self.blobs.path(digest).exists() && self.plugins.module(digest).is_ok()
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

fn make_dir(path: &Path) -> Result<(), StoreError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io_error("create folder", path))
}

/// Writes a file of mode 0600 in place of what was there, durably: a kill at any moment leaves the old or the new content.
fn replace(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let dir = path
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let write = || -> io::Result<()> {
        // files of `tempfile` have mode 0600 from the first moment
        let mut file = tempfile::Builder::new().prefix(TMP_PREFIX).tempfile_in(dir)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(io_error("write", path))?;
    sync_dir(dir)
}

/// The same with a value as JSON.
fn replace_json(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    let bytes = serde_json::to_vec(value).map_err(|error| io_error("write", path)(error.into()))?;
    replace(path, &bytes)
}

/// Removes what an interrupted [`replace`] left in a folder.
fn remove_unfinished(dir: &Path) -> Result<(), StoreError> {
    for path in paths(dir)? {
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.starts_with(TMP_PREFIX)) {
            fs::remove_file(&path).map_err(io_error("remove", &path))?;
        }
    }
    Ok(())
}

/// Everything in a folder.
fn paths(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = fs::read_dir(dir).map_err(io_error("read folder", dir))?;
    entries
        .map(|entry| Ok(entry.map_err(io_error("read folder", dir))?.path()))
        .collect()
}

/// Makes names in a folder durable: a rename survives a power cut only after this.
fn sync_dir(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(io_error("sync folder", path))
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
