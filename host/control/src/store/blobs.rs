//! Modules by content: `modules/<sha256>.wasm`. A file appears under its name only when it is whole and durable.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{Context, SHA256};
use edgeward_core::ids::Digest;
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt as _;

use super::{StoreError, io_error, sync_dir};

const TMP_PREFIX: &str = "upload-";

/// The folder of modules.
#[derive(Debug)]
pub struct Blobs {
    dir: PathBuf,
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
    /// Opens the folder and removes unfinished uploads and modules without a row in `known`.
    pub(super) fn open(dir: PathBuf, known: &BTreeSet<Digest>) -> Result<Self, StoreError> {
        let blobs = Self { dir };
        let entries = fs::read_dir(&blobs.dir).map_err(io_error("read folder", &blobs.dir))?;
        for entry in entries {
            let path = entry.map_err(io_error("read folder", &blobs.dir))?.path();
            let leftover = match digest_of_name(&path) {
                Some(digest) => !known.contains(&digest),
                None => path
                    .file_name()
                    .and_then(|name| name.to_str())
                    .is_some_and(|n| n.starts_with(TMP_PREFIX)),
            };
            if leftover {
                fs::remove_file(&path).map_err(io_error("remove", &path))?;
                tracing::info!(path = %path.display(), "removed what an interrupted upload left");
            }
        }
        for digest in known {
            if !blobs.path(*digest).exists() {
                tracing::error!(%digest, "the file of an uploaded module is gone: upload it again");
            }
        }
        Ok(blobs)
    }

    /// Where a module's bytes are.
    #[must_use]
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.dir.join(format!("{}.wasm", digest.hex()))
    }

    /// Begins an upload of at most `limit` bytes.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn begin(&self, limit: u64) -> Result<Upload, StoreError> {
        let open = || -> io::Result<Upload> {
            let file = tempfile::Builder::new()
                .prefix(TMP_PREFIX)
                .suffix(".tmp")
                .tempfile_in(&self.dir)?;
            let writer = tokio::fs::File::from_std(file.as_file().try_clone()?);
            Ok(Upload {
                file,
                writer,
                hash: Context::new(&SHA256),
                size: 0,
                limit,
            })
        };
        open().map_err(io_error("create a file in", &self.dir))
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
        let path = self.path(digest);
        file.as_file().sync_all().map_err(io_error("sync", file.path()))?;
        file.persist(&path)
            .map_err(|error| io_error("create", &path)(error.error))?;
        sync_dir(&self.dir)?;
        Ok((digest, size))
    }

    /// The bytes, checked against the digest.
    ///
    /// # Errors
    /// Not there, not readable or damaged.
    pub fn read(&self, digest: Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.path(digest);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NotFound(format!("no module {digest} was uploaded")));
            }
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        if edgeward_runtime::digest(&bytes) == digest {
            Ok(bytes)
        } else {
            Err(StoreError::Damaged { digest, path })
        }
    }

    pub(super) fn remove(&self, digest: Digest) -> Result<(), StoreError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &path)(error)),
            _ => sync_dir(&self.dir),
        }
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

/// The digest that a file's name stands for.
fn digest_of_name(path: &Path) -> Option<Digest> {
    let hex = path.file_name()?.to_str()?.strip_suffix(".wasm")?;
    format!("sha256:{hex}").parse().ok()
}
