//! Capability `secret`: read where it lives when asked for, never kept, never logged.

use wasmtime::Result;

use super::Secret;
use crate::{
    bindings::edgeward::plugin::secret::{Error, Host},
    state::{HostState, Mode},
};

/// Largest secret, in bytes.
const SECRET_MAX: u64 = 64 * 1024;

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
        Secret::File(path) => {
            let missing = |error: std::io::Error| {
                Error::Missing(format!("secret `{name}`: {}: {error}", path.display()))
            };
            let size = std::fs::metadata(path).map_err(missing)?.len();
            if size > SECRET_MAX {
                return Err(Error::Missing(format!(
                    "secret `{name}`: file of {size} bytes exceeds {SECRET_MAX}"
                )));
            }
            Ok(std::fs::read(path).map_err(missing)?.trim_ascii().to_vec())
        }
    }
}
