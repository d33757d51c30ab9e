//! Secrets that the binding was granted, by name. Not available during `init`, so that none ends up in a snapshot.

pub use crate::bindings::imports::edgeward::plugin::secret::Error;

/// Reads a secret.
///
/// # Errors
/// It was not granted, has no value now, or this is `init`.
pub fn get(name: &str) -> Result<Vec<u8>, Error> {
    crate::host::secret::get(name)
}

impl Error {
    /// The host's words.
    pub fn reason(&self) -> &str {
        match self {
            Self::NotGranted(reason) | Self::Missing(reason) | Self::Unavailable(reason) => reason,
        }
    }
}
