//! Capability `secret`: read where it lives when asked for, and a file once in a second at most; never logged.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use wasmtime::Result;

use crate::{
    bindings::edgeward::plugin::secret::{Error, Host},
    state::{HostState, Mode},
};

/// Largest secret, in bytes.
const SECRET_MAX: u64 = 64 * 1024;
/// How long the content of a file is good: asking the kernel would cost as much as a signature, and whoever changes the file waits no longer than this.
const KEPT: Duration = Duration::from_secs(1);

/// Where a secret is.
pub(crate) enum Secret {
    /// An environment variable.
    Env(String),
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
        /// What was in it, and when.
        kept: ArcSwapOption<(Instant, Vec<u8>)>,
    },
}

impl Secret {
    /// One in a file.
    pub(crate) fn file(path: PathBuf) -> Self {
        Self::File {
            path,
            kept: ArcSwapOption::empty(),
        }
    }
}

impl Host for HostState {
    fn get(&mut self, name: String) -> Result<std::result::Result<Vec<u8>, Error>> {
        self.enter()?;
        if self.mode == Mode::Init {
            return Ok(Err(Error::Unavailable(
                "secrets are not available during init: they would be frozen into the snapshot".to_owned(),
            )));
        }
        let Some(secret) = self.capabilities.secrets.get(&name) else {
            self.deny(&format!("secret `{name}`"));
            return Ok(Err(Error::NotGranted(format!("secret `{name}` is not granted"))));
        };
        Ok(read(&name, secret))
    }
}

fn read(name: &str, secret: &Secret) -> std::result::Result<Vec<u8>, Error> {
    match secret {
        Secret::Env(variable) => std::env::var_os(variable)
            .map(std::ffi::OsString::into_encoded_bytes)
            .ok_or_else(|| {
                Error::Missing(format!(
                    "secret `{name}`: environment variable `{variable}` is not set"
                ))
            }),
        Secret::File { path, kept } => {
            let now = Instant::now();
            if let Some(kept) = &*kept.load()
                && now.duration_since(kept.0) < KEPT
            {
                return Ok(kept.1.clone());
            }
            let missing = |error: std::io::Error| {
                Error::Missing(format!("secret `{name}`: {}: {error}", path.display()))
            };
            let size = std::fs::metadata(path).map_err(missing)?.len();
            if size > SECRET_MAX {
                return Err(Error::Missing(format!(
                    "secret `{name}`: file of {size} bytes exceeds {SECRET_MAX}"
                )));
            }
            let content = std::fs::read(path).map_err(missing)?.trim_ascii().to_vec();
            kept.store(Some(Arc::new((now, content.clone()))));
            Ok(content)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_after_a_while_and_what_is_gone_is_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let secret = Secret::file(path.clone());
        let missing = read("key", &secret).unwrap_err();
        assert!(matches!(missing, Error::Missing(_)), "{missing:?}");
        std::fs::write(&path, " one\n").unwrap();
        assert_eq!(
            read("key", &secret).unwrap(),
            b"one",
            "that it was missing is not kept"
        );
        std::fs::write(&path, "two").unwrap();
        assert_eq!(read("key", &secret).unwrap(), b"one");
        let Secret::File { kept, .. } = &secret else {
            unreachable!()
        };
        let long_ago = Instant::now().checked_sub(KEPT).unwrap();
        kept.store(Some(Arc::new((long_ago, b"one".to_vec()))));
        assert_eq!(read("key", &secret).unwrap(), b"two");
    }
}
