//! Compiled code on disk. An entry is keyed by everything that decides what the compiler makes of a module and what `init` left in its memory,
//! and carries a MAC with a key that the process keeps: machine code from anybody else is never loaded, it is compiled anew.

use std::{
    fs,
    hash::{Hash as _, Hasher},
    io::Write as _,
    path::{Path, PathBuf},
};

use aws_lc_rs::{digest, hmac};
use serde::{Deserialize, Serialize};
use wasmtime::{Engine, component::Component};

use crate::{capabilities::matcher::Source, interest::Interest};

/// Changes whenever the layout of an entry or the meaning of its parts does.
const FORMAT: &[u8] = b"edgeward-artifact-3";
const MAC_LEN: usize = 32;

/// What has to be known besides the code, so that a start from the cache needs no `init`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) interest: Interest,
    pub(crate) matchers: Vec<Source>,
    /// Why there is no snapshot, if there is none.
    pub(crate) no_snapshot: Option<String>,
}

/// The cache.
pub(crate) struct Cache {
    dir: PathBuf,
    key: hmac::Key,
}

impl Cache {
    pub(crate) fn new(dir: PathBuf, key: &[u8; 32]) -> std::io::Result<Self> {
        fs::create_dir_all(&dir)?;
        Ok(Self {
            dir,
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
        })
    }

    fn path(&self, key: &str) -> PathBuf {
        self.dir.join(format!("{key}.cwasm"))
    }

    /// The entry, if it is there and ours.
    pub(crate) fn load(&self, engine: &Engine, key: &str) -> Option<(Component, Meta)> {
        let path = self.path(key);
        let bytes = fs::read(&path).ok()?;
        match self.open(engine, key, &bytes) {
            Ok(entry) => Some(entry),
            Err(reason) => {
                tracing::warn!(path = %path.display(), reason, "compiled code in the cache is not used and will be made anew");
                None
            }
        }
    }

    #[expect(
        unsafe_code,
        reason = "the one place that loads machine code, which our own MAC proved to be ours"
    )]
    fn open(&self, engine: &Engine, key: &str, bytes: &[u8]) -> Result<(Component, Meta), String> {
        let (mac, rest) = bytes.split_at_checked(MAC_LEN).ok_or("it is truncated")?;
        let mut signed = Vec::from(key.as_bytes());
        signed.extend_from_slice(rest);
        hmac::verify(&self.key, &signed, mac)
            .map_err(|_ignored| "its MAC is wrong: it was changed or made with another key")?;
        let (len, rest) = rest.split_at_checked(4).ok_or("it is truncated")?;
        let len = u32::from_le_bytes(len.try_into().map_err(|_ignored| "it is truncated")?) as usize;
        let (meta, code) = rest.split_at_checked(len).ok_or("it is truncated")?;
        let meta = serde_json::from_slice(meta).map_err(|error| error.to_string())?;
        // SAFETY: `deserialize` asks for bytes that came from `Component::serialize` unchanged. The MAC over exactly these bytes was made in
        // `store` below with a key that only this gateway has.
        let component = unsafe { Component::deserialize(engine, code) }.map_err(|error| error.to_string())?;
        Ok((component, meta))
    }

    /// Writes an entry. A failure is reported, not fatal: the next start compiles.
    pub(crate) fn store(&self, key: &str, component: &Component, meta: &Meta) {
        if let Err(error) = self.try_store(key, component, meta) {
            tracing::warn!(path = %self.path(key).display(), %error, "compiled code could not be cached");
        }
    }

    fn try_store(
        &self,
        key: &str,
        component: &Component,
        meta: &Meta,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let meta = serde_json::to_vec(meta)?;
        let mut signed = Vec::from(key.as_bytes());
        signed.extend_from_slice(&u32::try_from(meta.len())?.to_le_bytes());
        signed.extend_from_slice(&meta);
        signed.extend_from_slice(&component.serialize()?);
        let mac = hmac::sign(&self.key, &signed);
        let path = self.path(key);
        let unique = format!("{}.{}.{:x}.tmp", key, std::process::id(), fastrand::u64(..));
        let temporary = self.dir.join(unique);
        let mut file = fs::File::create(&temporary)?;
        let written = file
            .write_all(mac.as_ref())
            .and_then(|()| file.write_all(signed.get(key.len()..).unwrap_or_default()))
            .and_then(|()| fs::rename(&temporary, &path));
        if written.is_err() {
            // nothing more can be done about a temporary file that cannot be removed
            let _ignored = fs::remove_file(&temporary);
        }
        Ok(written?)
    }

    /// Key of an entry: module, configuration, memory limit, engine.
    pub(crate) fn key(engine: &Engine, module: &[u8; 32], config: &str, memory: u64) -> String {
        struct Sha(digest::Context);
        impl Hasher for Sha {
            fn finish(&self) -> u64 {
                0
            }
            fn write(&mut self, bytes: &[u8]) {
                self.0.update(bytes);
            }
        }
        let mut sha = Sha(digest::Context::new(&digest::SHA256));
        sha.write(FORMAT);
        // wasmtime's version, CPU features and every setting that changes code
        engine.precompile_compatibility_hash().hash(&mut sha);
        sha.write(module);
        sha.write(&memory.to_le_bytes());
        sha.write(config.as_bytes());
        edgeward_core::ids::Digest(sha.0.finish().as_ref().try_into().unwrap_or_default()).hex()
    }
}

/// SHA-256 of a file's bytes.
#[must_use]
pub fn digest(bytes: &[u8]) -> edgeward_core::ids::Digest {
    let hash = digest::digest(&digest::SHA256, bytes);
    edgeward_core::ids::Digest(hash.as_ref().try_into().unwrap_or_default())
}

/// Removes what a crash left half-written.
pub(crate) fn clean(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "tmp")
        {
            // another process's temporary file or a read-only folder: not worth failing a start
            let _ignored = fs::remove_file(entry.path());
        }
    }
}
