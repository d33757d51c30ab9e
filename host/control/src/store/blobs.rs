//! Modules by content: `modules/<sha256>.wasm`. A file appears under its name only when it is whole and durable.

use std::{collections::BTreeSet, sync::Arc};

use aws_lc_rs::digest::{Context, SHA256};
use edgeward_core::ids::Digest;
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt as _;

use super::{FileStore, MODULES, StoreError, io_error};

/// The modules.
#[derive(Debug)]
pub struct Blobs {
    files: Arc<dyn FileStore>,
}

/// A module on its way in; dropping it removes what was written.
pub struct Upload {
    file: NamedTempFile,
    writer: tokio::fs::File,
    hash: Context,
    size: u64,
    limit: u64,
}

impl Blobs {
    /// Opens them and removes those without a row in `known`.
    pub(super) fn open(files: Arc<dyn FileStore>, known: &BTreeSet<Digest>) -> Result<Self, StoreError> {
        let blobs = Self { files };
        let found = blobs.files.list(MODULES)?;
        let found: BTreeSet<_> = found.iter().filter_map(|name| digest_of_name(name)).collect();
        for digest in found.difference(known) {
            blobs.remove(*digest)?;
            tracing::info!(%digest, "removed what an interrupted upload left");
        }
        for digest in known.difference(&found) {
            tracing::error!(%digest, "the file of an uploaded module is gone: upload it again");
        }
        Ok(blobs)
    }

    /// Whether a module's bytes are there.
    pub(super) fn has(&self, digest: Digest) -> Result<bool, StoreError> {
        self.files.has(&name(digest))
    }

    /// Begins an upload of at most `limit` bytes.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn begin(&self, limit: u64) -> Result<Upload, StoreError> {
        let file = self.files.scratch(MODULES)?;
        let writer = file.as_file().try_clone();
        let writer = writer.map_err(io_error("open", file.path()))?;
        Ok(Upload {
            file,
            writer: tokio::fs::File::from_std(writer),
            hash: Context::new(&SHA256),
            size: 0,
            limit,
        })
    }

    /// Puts a sealed upload under its name, durably. The file of a module that is already there is replaced by the same
    /// bytes: that repairs one that was damaged.
    pub(super) fn keep(&self, upload: Upload) -> Result<(Digest, u64), StoreError> {
        let Upload {
            file,
            writer,
            hash,
            size,
            ..
        } = upload;
        drop(writer);
        let digest = finish(hash);
        self.files.adopt(&name(digest), file)?;
        Ok((digest, size))
    }

    /// Keeps bytes that have this digest, durably.
    pub(super) fn keep_bytes(&self, digest: Digest, bytes: &[u8]) -> Result<(), StoreError> {
        self.files.replace(&name(digest), bytes)
    }

    /// The bytes, checked against the digest.
    ///
    /// # Errors
    /// Not there, not readable or damaged.
    pub fn read(&self, digest: Digest) -> Result<Vec<u8>, StoreError> {
        let bytes = self.files.read(&name(digest))?;
        let bytes = bytes.ok_or_else(|| StoreError::NotFound(format!("no module {digest} was uploaded")))?;
        if edgeward_runtime::digest(&bytes) == digest {
            Ok(bytes)
        } else {
            let path = self.files.place(&name(digest));
            Err(StoreError::Damaged { digest, path })
        }
    }

    pub(super) fn remove(&self, digest: Digest) -> Result<(), StoreError> {
        self.files.remove(&name(digest))
    }
}

impl Upload {
    /// Adds bytes.
    ///
    /// # Errors
    /// The limit is exceeded, or the disk refuses.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.size = self.size.saturating_add(bytes.len() as u64);
        if self.size > self.limit {
            return Err(StoreError::TooLarge { limit: self.limit });
        }
        self.hash.update(bytes);
        self.writer
            .write_all(bytes)
            .await
            .map_err(io_error("write", self.file.path()))
    }

    /// Waits until everything is written, and returns the bytes for inspection.
    ///
    /// # Errors
    /// The disk refuses.
    pub async fn seal(&mut self) -> Result<Vec<u8>, StoreError> {
        self.writer
            .flush()
            .await
            .map_err(io_error("write", self.file.path()))?;
        tokio::fs::read(self.file.path())
            .await
            .map_err(io_error("read", self.file.path()))
    }
}

fn finish(hash: Context) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.finish().as_ref());
    Digest(bytes)
}

/// What a module is called among the files.
fn name(digest: Digest) -> String {
    format!("{MODULES}/{}.wasm", digest.hex())
}

/// The digest that a name in the folder stands for.
fn digest_of_name(name: &str) -> Option<Digest> {
    format!("sha256:{}", name.strip_suffix(".wasm")?).parse().ok()
}
