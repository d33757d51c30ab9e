//! Compiled code on disk. An entry is keyed by everything that decides what the compiler makes of a module and what `init` left in its memory,
//! and carries a MAC with a key that the process keeps: machine code from anybody else is never loaded, it is compiled anew.

use std::{
    fs,
    hash::{Hash as _, Hasher},
    io::{Read as _, Write as _},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use wasmtime::{Engine, component::Component};

use crate::{capabilities::matcher::Source, interest::Interest};

/// Changes whenever the layout of an entry or the meaning of its parts does.
const FORMAT: &[u8] = b"edgeward-artifact-7";
const MAC_LEN: usize = blake3::OUT_LEN;
/// Extension of a file with compiled code alone, so that it can be mapped.
const CODE: &str = "cwasm";
/// Extension of the file with MAC and [`Meta`].
const META: &str = "meta";

/// What has to be known besides the code, so that a start from the cache needs no `init`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) interest: Interest,
    pub(crate) matchers: Vec<Source>,
    /// Why there is no snapshot, if there is none.
    pub(crate) no_snapshot: Option<String>,
    /// Why its instances cannot be rewound, if they cannot.
    pub(crate) no_rewind: Option<String>,
}

/// The cache.
pub(crate) struct Cache {
    dir: PathBuf,
    key: [u8; blake3::KEY_LEN],
}

impl Cache {
    pub(crate) fn new(dir: PathBuf, key: &[u8; 32]) -> std::io::Result<Self> {
        fs::create_dir_all(&dir)?;
        Ok(Self { dir, key: *key })
    }

    fn path(&self, key: &str, extension: &str) -> PathBuf {
        self.dir.join(format!("{key}.{extension}"))
    }

    /// The entry, if it is there and ours. `engine` chooses the one it is for.
    pub(crate) fn load<'a>(
        &self,
        engine: impl Fn(&Meta) -> &'a Engine,
        key: &str,
    ) -> Option<(Component, Meta)> {
        let path = self.path(key, CODE);
        let code = fs::File::open(&path).ok()?;
        match self.open(engine, key, code) {
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
    fn open<'a>(
        &self,
        engine: impl Fn(&Meta) -> &'a Engine,
        key: &str,
        mut code: fs::File,
    ) -> Result<(Component, Meta), String> {
        let head = fs::read(self.path(key, META)).map_err(|error| format!("what belongs to it: {error}"))?;
        let (mac, meta) = head.split_at_checked(MAC_LEN).ok_or("it is truncated")?;
        let mut context = self.context(key, meta).map_err(|error| error.to_string())?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            match code.read(&mut buffer).map_err(|error| error.to_string())? {
                0 => break,
                count => drop(context.update(buffer.get(..count).unwrap_or_default())),
            }
        }
        let wrong = "its MAC is wrong: it was changed or made with another key";
        let mac = blake3::Hash::from_slice(mac).map_err(|error| error.to_string())?;
        // takes the same time whatever the difference is
        if context.finalize() != mac {
            return Err(wrong.to_owned());
        }
        let meta: Meta = serde_json::from_slice(meta).map_err(|error| error.to_string())?;
        // by its descriptor: the very file that was read above, whatever its name stands for by now
        let path = format!("/proc/self/fd/{}", code.as_raw_fd());
        // SAFETY: `deserialize_file` asks for a file that came from `Component::serialize` unchanged, and that nobody changes while it is mapped. The
        // MAC over exactly this file was made in `store` below with a key that only this gateway has. The file is in the gateway's own folder
        // (mode 0700); it is never written again, only unlinked (docs/decisions/0009-compiled-code-cache.md).
        let component =
            unsafe { Component::deserialize_file(engine(&meta), path) }.map_err(|error| error.to_string())?;
        Ok((component, meta))
    }

    /// MAC over everything in front of the code.
    fn context(&self, key: &str, meta: &[u8]) -> Result<blake3::Hasher, std::num::TryFromIntError> {
        let mut context = blake3::Hasher::new_keyed(&self.key);
        context.update(key.as_bytes());
        context.update(&u32::try_from(meta.len())?.to_le_bytes());
        context.update(meta);
        Ok(context)
    }

    /// Writes an entry. A failure is reported, not fatal: the next start compiles.
    pub(crate) fn store(&self, key: &str, component: &Component, meta: &Meta) {
        if let Err(error) = self.try_store(key, component, meta) {
            tracing::warn!(path = %self.path(key, CODE).display(), %error, "compiled code could not be cached");
        }
    }

    fn try_store(
        &self,
        key: &str,
        component: &Component,
        meta: &Meta,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let meta = serde_json::to_vec(meta)?;
        let code = component.serialize()?;
        let mut context = self.context(key, &meta)?;
        context.update(&code);
        self.write(key, CODE, &[&code])?;
        self.write(key, META, &[context.finalize().as_bytes(), &meta])?;
        Ok(())
    }

    /// Puts a new file in the place of an old one, which others may have mapped.
    fn write(&self, key: &str, extension: &str, parts: &[&[u8]]) -> std::io::Result<()> {
        let unique = format!("{}.{}.{:x}.tmp", key, std::process::id(), fastrand::u64(..));
        let temporary = self.dir.join(unique);
        let mut file = fs::File::create(&temporary)?;
        let written = parts
            .iter()
            .try_for_each(|part| file.write_all(part))
            .and_then(|()| fs::rename(&temporary, self.path(key, extension)));
        if written.is_err() {
            // nothing more can be done about a temporary file that cannot be removed
            let _ignored = fs::remove_file(&temporary);
        }
        written
    }

    /// Key of an entry: module, configuration, memory limit, engine, and whether instances are to be rewound.
    pub(crate) fn key(engine: &Engine, module: &[u8; 32], config: &str, memory: u64, rewind: bool) -> String {
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
        sha.write(&[u8::from(rewind)]);
        sha.write(config.as_bytes());
        edgeward_core::ids::Digest(sha.0.finish().as_ref().try_into().unwrap_or_default()).hex()
    }
}

/// Gives back the memory of code that [`Cache::load`] mapped. What is used again comes from the page cache.
#[expect(unsafe_code, reason = "wasmtime has no function for it")]
pub(crate) fn rest(mapped: &Component) {
    #[cfg(target_os = "linux")]
    {
        let range = mapped.image_range();
        let length = range.end.addr() - range.start.addr();
        // SAFETY: the range is one private mapping of a file, by `deserialize_file`. Nothing is lost with its pages: it is read-only, and wasmtime
        // does not write to it before either, since it takes no code with relocations.
        let rested = unsafe {
            rustix::mm::madvise(
                range.start.cast_mut().cast(),
                length,
                rustix::mm::Advice::LinuxDontNeed,
            )
        };
        if let Err(error) = rested {
            tracing::debug!(%error, "pages of an idle plugin version could not be given back");
        }
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
