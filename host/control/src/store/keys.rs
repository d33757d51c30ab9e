//! Secrets that the gateway makes itself: made once from the system's random numbers, mode 0600, never half written.

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};

use super::{FileStore, StoreError, files::Folder, io_error};

/// Reads a key, making it first if need be.
pub(super) fn key(files: &dyn FileStore, name: &str) -> Result<[u8; 32], StoreError> {
    let text = read_or_make(files, name)?;
    let mut key = [0; 32];
    if hex_decode(text.trim(), &mut key).is_none() {
        return Err(unusable(
            &files.place(name),
            "not 64 hex digits: remove the file, a new key is made",
        ));
    }
    Ok(key)
}

/// Reads the admin token, making it first if need be.
///
/// # Errors
/// The file cannot be read or written, or holds fewer than 16 characters.
pub fn admin_token(path: &Path) -> Result<String, StoreError> {
    let (folder, name) = folder_of(path)?;
    token(path, &read_or_make(&folder, name)?)
}

/// Reads the admin token, which has to be there.
///
/// # Errors
/// As [`admin_token`].
pub fn existing_admin_token(path: &Path) -> Result<String, StoreError> {
    let (folder, name) = folder_of(path)?;
    let missing = || io_error("read", path)(io::ErrorKind::NotFound.into());
    token(path, &read(&folder, name)?.ok_or_else(missing)?)
}

/// Where a file is, and what it is called there.
fn folder_of(path: &Path) -> Result<(Folder, &str), StoreError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| unusable(path, "its name is not UTF-8"))?;
    Ok((Folder::new(path.parent().unwrap_or(Path::new(""))), name))
}

fn unusable(path: &Path, why: &'static str) -> StoreError {
    io_error("use", path)(io::Error::new(io::ErrorKind::InvalidData, why))
}

fn token(path: &Path, text: &str) -> Result<String, StoreError> {
    let token = text.trim().to_owned();
    if token.len() < 16 || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unusable(
            path,
            "a token is one line of at least 16 visible characters: remove the file, a new one is made",
        ));
    }
    Ok(token)
}

/// Warns where others than the owner may read a file.
fn warn_if_open(path: &Path) {
    let mode = fs::metadata(path).map_or(0, |meta| meta.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), mode = format!("{:o}", mode & 0o777), "others may read a secret file: set its mode to 0600");
    }
}

/// The text of a secret, if it is there.
fn read(files: &dyn FileStore, name: &str) -> Result<Option<String>, StoreError> {
    let Some(content) = files.read(name)? else {
        return Ok(None);
    };
    warn_if_open(&files.place(name));
    let text = String::from_utf8(content);
    text.map(Some)
        .map_err(|_bytes| unusable(&files.place(name), "it is not text"))
}

/// The text of a secret; 32 random bytes in hex when it was not there.
fn read_or_make(files: &dyn FileStore, name: &str) -> Result<String, StoreError> {
    if let Some(text) = read(files, name)? {
        return Ok(text);
    }
    let path = files.place(name);
    let mut random = [0; 32];
    SystemRandom::new().fill(&mut random).map_err(|_unspecified| {
        io_error("make", &path)(io::Error::other("the system has no random numbers"))
    })?;
    let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    files.replace(name, format!("{text}\n").as_bytes())?;
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
    fn a_key_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let files = Folder::new(dir.path());
        let made = key(&files, "cache.key").unwrap();
        assert_ne!(made, [0; 32]);
        assert_eq!(key(&files, "cache.key").unwrap(), made);
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
