//! Certificates: `certificates/<name>.json`, mode 0600. Chain and key are in one file, so that they are replaced as one: a kill at any moment leaves
//! the old or the new pair.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use edgeward_proxy::CertificatePem;
use serde::{Deserialize, Serialize};

use super::{CERTIFICATES, FileStore, StoreError, files::Folder};
use crate::clock::now_ms;

/// The certificates.
#[derive(Debug)]
pub struct Certificates {
    files: Arc<dyn FileStore>,
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
    pub(super) fn new(files: Arc<dyn FileStore>) -> Self {
        Self { files }
    }

    /// All of them, by name. One that cannot be read is left out, and the log says why: the others still serve.
    ///
    /// # Errors
    /// They cannot be listed.
    pub fn read(&self) -> Result<BTreeMap<String, StoredCertificate>, StoreError> {
        let mut found = BTreeMap::new();
        for file in self.files.list(CERTIFICATES)? {
            let Some(name) = file.strip_suffix(".json") else {
                continue;
            };
            match self.read_one(name) {
                Ok(certificate) => {
                    found.extend(certificate.map(|certificate| (name.to_owned(), certificate)))
                }
                Err(error) => {
                    let path = self.files.place(&path(name));
                    tracing::error!(path = %path.display(), error, "a stored certificate cannot be used: put it again");
                }
            }
        }
        Ok(found)
    }

    fn read_one(&self, name: &str) -> Result<Option<StoredCertificate>, String> {
        let Some(content) = self.files.read(&path(name)).map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        // the errors of parsers may quote the text
        let damaged = || "its content is damaged".to_owned();
        let certificate: StoredCertificate = serde_json::from_slice(&content).map_err(|_quotes| damaged())?;
        certificate.pem.inspect().map_err(|_quotes| damaged())?;
        Ok(Some(certificate))
    }

    /// Keeps one, durably, in place of what was there under the name.
    ///
    /// # Errors
    /// The disk refuses; what was there still is.
    pub fn keep(&self, name: &str, certificate: &StoredCertificate) -> Result<(), StoreError> {
        self.files.replace_json(&path(name), certificate)
    }

    /// Removes one; it is no error if it is not there.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.files.remove(&path(name))
    }
}

/// What a certificate is called among the files.
fn path(name: &str) -> String {
    format!("{CERTIFICATES}/{name}.json")
}

/// The certificates in a data folder that a running gateway may have open.
///
/// # Errors
/// The folder cannot be read.
pub fn peek(root: &Path) -> Result<BTreeMap<String, StoredCertificate>, StoreError> {
    if root.join(CERTIFICATES).exists() {
        Certificates::new(Arc::new(Folder::new(root))).read()
    } else {
        Ok(BTreeMap::new())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn certificate(name: &str) -> StoredCertificate {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        StoredCertificate::new(CertificatePem {
            chain: params.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
            names: vec![name.to_owned()],
        })
    }

    fn open(root: &Path) -> Certificates {
        Certificates::new(Arc::new(Folder::open(root, &[CERTIFICATES]).unwrap()))
    }

    #[test]
    fn what_is_kept_is_there_after_opening_again() {
        let root = tempfile::tempdir().unwrap();
        let kept = certificate("a.example");
        let certificates = open(root.path());
        certificates.keep("site", &kept).unwrap();
        certificates.keep("site", &kept).unwrap();
        let again = open(root.path()).read().unwrap();
        assert_eq!(again["site"].pem, kept.pem);
        assert_eq!(again["site"].updated_at, kept.updated_at);
        certificates.remove("site").unwrap();
        certificates.remove("site").unwrap();
        assert!(certificates.read().unwrap().is_empty());
    }

    #[test]
    fn a_damaged_one_does_not_take_the_others_along() {
        let root = tempfile::tempdir().unwrap();
        let certificates = open(root.path());
        certificates.keep("good", &certificate("a.example")).unwrap();
        let bad = root.path().join(path("bad"));
        fs::write(bad, "{\"chain\": \"-----").unwrap();
        let names: Vec<_> = certificates.read().unwrap().into_keys().collect();
        assert_eq!(names, ["good"]);
    }
}
