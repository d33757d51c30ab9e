//! Secrets that the gateway makes itself: made once from the system's random numbers, mode 0600, never half written.

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};

use super::{StoreError, io_error, replace};

/// Reads a key, making it first if need be.
pub(super) fn key(path: &Path) -> Result<[u8; 32], StoreError> {
    let text = read_or_make(path)?;
    let mut key = [0; 32];
    if hex_decode(text.trim(), &mut key).is_none() {
        let wrong = io::Error::new(
            io::ErrorKind::InvalidData,
            "not 64 hex digits: remove the file, a new key is made",
        );
        return Err(io_error("use", path)(wrong));
    }
    Ok(key)
}

/// Reads the admin token, making it first if need be.
///
/// # Errors
/// The file cannot be read or written, or holds fewer than 16 characters.
pub fn admin_token(path: &Path) -> Result<String, StoreError> {
    token(path, &read_or_make(path)?)
}

/// Reads the admin token, which has to be there.
///
/// # Errors
/// As [`admin_token`].
pub fn existing_admin_token(path: &Path) -> Result<String, StoreError> {
    token(path, &fs::read_to_string(path).map_err(io_error("read", path))?)
}

fn token(path: &Path, text: &str) -> Result<String, StoreError> {
    let token = text.trim().to_owned();
    if token.len() < 16 || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let wrong = io::Error::new(
            io::ErrorKind::InvalidData,
            "a token is one line of at least 16 visible characters: remove the file, a new one is made",
        );
        return Err(io_error("use", path)(wrong));
    }
    Ok(token)
}

/// The text of the file; 32 random bytes in hex when it was not there.
fn read_or_make(path: &Path) -> Result<String, StoreError> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let mode = fs::metadata(path).map_or(0, |meta| meta.permissions().mode());
            if mode & 0o077 != 0 {
                tracing::warn!(path = %path.display(), mode = format!("{:o}", mode & 0o777), "others may read a secret file: set its mode to 0600");
            }
            return Ok(text);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error("read", path)(error)),
    }
    let mut random = [0; 32];
    SystemRandom::new().fill(&mut random).map_err(|_unspecified| {
        io_error("make", path)(io::Error::other("the system has no random numbers"))
    })?;
    let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    replace(path, format!("{text}\n").as_bytes())?;
    tracing::info!(path = %path.display(), "made a secret file");
    Ok(text)
}

fn hex_decode(text: &str, into: &mut [u8; 32]) -> Option<()> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in into.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_with_mode_0600_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cache.key");
        let made = key(&path).unwrap();
        assert_ne!(made, [0; 32]);
        assert_eq!(key(&path).unwrap(), made);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "no temporary file is left"
        );
    }

    #[test]
    fn a_token_that_is_too_short_or_not_text_is_refused_with_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        for bad in ["short\n", "", "two words that are long enough"] {
            fs::write(&path, bad).unwrap();
            let error = admin_token(&path).unwrap_err().to_string();
            assert!(error.contains("token") && error.contains("16 visible"), "{error}");
        }
        fs::write(&path, "a-token-chosen-by-the-operator\n").unwrap();
        assert_eq!(admin_token(&path).unwrap(), "a-token-chosen-by-the-operator");
    }
}
