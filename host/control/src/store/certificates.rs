//! Certificates: `certificates/<name>.json`, mode 0600. Chain and key are in one file, so that they are replaced as one: a kill at any moment leaves
//! the old or the new pair.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use edgeward_proxy::CertificatePem;
use serde::{Deserialize, Serialize};

use super::{StoreError, io_error, paths, remove_unfinished, replace_json, sync_dir};
use crate::clock::now_ms;

/// The folder of certificates.
#[derive(Debug)]
pub struct Certificates {
    dir: PathBuf,
}

/// A certificate as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StoredCertificate {
    /// Chain, key and names.
    #[serde(flatten)]
    pub pem: Arc<CertificatePem>,
    /// When it was put, milliseconds since 1970.
    pub updated_at: i64,
    /// Directory of the authority that it was ordered from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
}

impl StoredCertificate {
    /// One that is put now.
    #[must_use]
    pub fn new(pem: CertificatePem) -> Self {
        Self {
            pem: Arc::new(pem),
            updated_at: now_ms(),
            directory: None,
        }
    }
}

impl Certificates {
    /// Opens the folder and removes what an interrupted change left.
    pub(super) fn open(dir: PathBuf) -> Result<Self, StoreError> {
        remove_unfinished(&dir)?;
        Ok(Self { dir })
    }

    /// All of them, by name. One that cannot be read is left out, and the log says why: the others still serve.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn read(&self) -> Result<BTreeMap<String, StoredCertificate>, StoreError> {
        read_dir(&self.dir)
    }

    /// Keeps one, durably, in place of what was there under the name.
    ///
    /// # Errors
    /// The disk refuses; what was there still is.
    pub fn keep(&self, name: &str, certificate: &StoredCertificate) -> Result<(), StoreError> {
        replace_json(&self.path(name), certificate)
    }

    /// Removes one; it is no error if it is not there.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &path)(error)),
            _ => sync_dir(&self.dir),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.json"))
    }
}

fn read_dir(dir: &Path) -> Result<BTreeMap<String, StoredCertificate>, StoreError> {
    let mut found = BTreeMap::new();
    for path in paths(dir)? {
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name.and_then(|name| name.strip_suffix(".json")) else {
            continue;
        };
        let read = || -> io::Result<StoredCertificate> { Ok(serde_json::from_slice(&fs::read(&path)?)?) };
        match read().and_then(|certificate| match certificate.pem.inspect() {
            Ok(_) => Ok(certificate),
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }) {
            Ok(certificate) => drop(found.insert(name.to_owned(), certificate)),
            Err(error) => {
                // the error of the parser may quote the text
                let error = if error.kind() == io::ErrorKind::NotFound || error.get_ref().is_none() {
                    error.to_string()
                } else {
                    "its content is damaged".to_owned()
                };
                tracing::error!(path = %path.display(), error, "a stored certificate cannot be used: put it again");
            }
        }
    }
    Ok(found)
}

/// The certificates in a data folder that a running gateway may have open.
///
/// # Errors
/// The folder cannot be read.
pub fn peek(root: &Path) -> Result<BTreeMap<String, StoredCertificate>, StoreError> {
    let dir = root.join(super::CERTIFICATES);
    if dir.exists() {
        read_dir(&dir)
    } else {
        Ok(BTreeMap::new())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::{super::TMP_PREFIX, *};

    fn certificate(name: &str) -> StoredCertificate {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        StoredCertificate::new(CertificatePem {
            chain: params.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
            names: vec![name.to_owned()],
        })
    }

    #[test]
    fn what_is_kept_is_there_after_opening_again_with_mode_0600() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().to_owned();
        let kept = certificate("a.example");
        let certificates = Certificates::open(dir.clone()).unwrap();
        certificates.keep("site", &kept).unwrap();
        certificates.keep("site", &kept).unwrap();
        let mode = fs::metadata(dir.join("site.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = Certificates::open(dir).unwrap().read().unwrap();
        assert_eq!(again["site"].pem, kept.pem);
        assert_eq!(again["site"].updated_at, kept.updated_at);
        certificates.remove("site").unwrap();
        certificates.remove("site").unwrap();
        assert!(certificates.read().unwrap().is_empty());
    }

    #[test]
    fn what_an_interrupted_change_left_goes_and_a_damaged_one_does_not_take_the_others_along() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().to_owned();
        let certificates = Certificates::open(dir.clone()).unwrap();
        certificates.keep("good", &certificate("a.example")).unwrap();
        fs::write(dir.join(format!("{TMP_PREFIX}x")), "half").unwrap();
        fs::write(dir.join("bad.json"), "{\"chain\": \"-----").unwrap();
        let certificates = Certificates::open(dir.clone()).unwrap();
        let names: Vec<_> = certificates.read().unwrap().into_keys().collect();
        assert_eq!(names, ["good"]);
        assert!(!dir.join(format!("{TMP_PREFIX}x")).exists());
    }
}
