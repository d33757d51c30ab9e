//! What a configuration names and does not contain: files, and certificates that the control plane keeps. Files are read once for each time the
//! configuration is loaded; every snapshot until the next time is built from the same bytes, whatever has become of the files since.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use edgeward_core::ids::Digest;
use parking_lot::Mutex;

use crate::certificate::CertificatePem;

/// Largest file in bytes; revocation lists of public CAs have a few MiB.
const FILE_MAX: u64 = 64 << 20;

/// Certificates that the control plane keeps, by name.
pub type Certificates = BTreeMap<String, Arc<CertificatePem>>;

/// Contents of files, and certificates by name. Clones share what was read.
#[derive(Clone, Debug)]
pub struct Material {
    base_dir: PathBuf,
    read: Arc<Mutex<BTreeMap<PathBuf, Content>>>,
    certificates: Arc<Certificates>,
}

/// A file as it was when it was read.
#[derive(Clone)]
pub(crate) struct Content {
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) digest: Digest,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // it may be a key
        write!(f, "{}", self.digest)
    }
}

impl From<&[u8]> for Content {
    fn from(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.into(),
            digest: edgeward_runtime::digest(bytes),
        }
    }
}

impl Material {
    /// Files that are not read yet. Relative paths start from `base_dir`.
    #[must_use]
    pub fn new(base_dir: &Path, certificates: Certificates) -> Self {
        Self {
            base_dir: base_dir.to_owned(),
            read: Arc::default(),
            certificates: Arc::new(certificates),
        }
    }

    /// The same files with other certificates.
    #[must_use]
    pub fn with_certificates(&self, certificates: Certificates) -> Self {
        Self {
            certificates: Arc::new(certificates),
            ..self.clone()
        }
    }

    /// Certificates that the control plane keeps.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Folder that relative paths start from.
    pub(crate) fn base_dir(&self) -> &Path {
        &self.base_dir
    }

    /// A file's content; the error names it.
    pub(crate) fn file(&self, path: &Path) -> Result<Content, String> {
        let path = self.base_dir.join(path);
        if let Some(content) = self.read.lock().get(&path) {
            return Ok(content.clone());
        }
        let bytes = read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let content = Content::from(&*bytes);
        self.read.lock().insert(path, content.clone());
        Ok(content)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MAX {
        let problem = format!("larger than {FILE_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    Ok(bytes)
}
