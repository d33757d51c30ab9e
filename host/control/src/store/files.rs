//! What is kept beside the database: modules, certificates, accounts, keys. Each is a whole that is replaced as a whole, under a name such as `certificates/site.json`.

use std::{
    fmt::Debug,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use serde::Serialize;
use tempfile::NamedTempFile;

use super::{StoreError, io_error};

/// How files begin that are being written.
pub(super) const TMP_PREFIX: &str = ".put-";

/// Where they are kept. What is done is durable when the call returns; a kill at any moment leaves the old or the new content.
pub trait FileStore: Debug + Send + Sync {
    /// Names in a folder, without it, in no order.
    ///
    /// # Errors
    /// The folder cannot be read.
    fn list(&self, folder: &str) -> Result<Vec<String>, StoreError>;

    /// Whether there is one of this name.
    ///
    /// # Errors
    /// That cannot be told.
    fn has(&self, name: &str) -> Result<bool, StoreError>;

    /// The content; `None` where there is none of this name.
    ///
    /// # Errors
    /// It cannot be read.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Keeps content in place of what was there.
    ///
    /// # Errors
    /// The disk refuses; what was there still is.
    fn replace(&self, name: &str, content: &[u8]) -> Result<(), StoreError>;

    /// Removes one; it is no error if it is not there.
    ///
    /// # Errors
    /// The disk refuses.
    fn remove(&self, name: &str) -> Result<(), StoreError>;

    /// A file for [`Self::adopt`] into a folder; dropping it removes it.
    ///
    /// # Errors
    /// The disk refuses.
    fn scratch(&self, folder: &str) -> Result<NamedTempFile, StoreError>;

    /// Keeps the content of a file in place of what was there.
    ///
    /// # Errors
    /// As [`Self::replace`].
    fn adopt(&self, name: &str, file: NamedTempFile) -> Result<(), StoreError>;

    /// What people find it by: a path, a URL.
    fn place(&self, name: &str) -> PathBuf;
}

impl dyn FileStore {
    /// Keeps a value as JSON.
    pub(super) fn replace_json(&self, name: &str, value: &impl Serialize) -> Result<(), StoreError> {
        let bytes =
            serde_json::to_vec(value).map_err(|error| io_error("write", &self.place(name))(error.into()))?;
        self.replace(name, &bytes)
    }
}

/// A folder of files with mode 0600.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// A folder as it is.
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Opens a folder, makes those in it that are not there (mode 0700), and removes what an interrupted change left.
    pub(super) fn open(root: &Path, folders: &[&str]) -> Result<Self, StoreError> {
        remove_unfinished(root)?;
        for folder in folders {
            let folder = root.join(folder);
            make_dir(&folder)?;
            remove_unfinished(&folder)?;
        }
        Ok(Self::new(root))
    }
}

impl FileStore for Folder {
    fn list(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let found = paths(&self.root.join(folder))?;
        let names = found.iter().filter_map(|path| path.file_name()?.to_str());
        Ok(names
            .filter(|name| !name.starts_with(TMP_PREFIX))
            .map(str::to_owned)
            .collect())
    }

    fn has(&self, name: &str) -> Result<bool, StoreError> {
        let path = self.place(name);
        path.try_exists().map_err(io_error("look for", &path))
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.place(name);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            content => content.map(Some).map_err(io_error("read", &path)),
        }
    }

    fn replace(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let path = self.place(name);
        let mut file = scratch(&dir_of(&path))?;
        file.write_all(content).map_err(io_error("write", &path))?;
        self.adopt(name, file)
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        let path = self.place(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &path)(error)),
            _ => sync_dir(&dir_of(&path)),
        }
    }

    fn scratch(&self, folder: &str) -> Result<NamedTempFile, StoreError> {
        scratch(&self.root.join(folder))
    }

    fn adopt(&self, name: &str, file: NamedTempFile) -> Result<(), StoreError> {
        let path = self.place(name);
        file.as_file().sync_all().map_err(io_error("sync", file.path()))?;
        file.persist(&path)
            .map_err(|error| io_error("write", &path)(error.error))?;
        sync_dir(&dir_of(&path))
    }

    fn place(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

/// A file to write; those of `tempfile` have mode 0600 from the first moment.
fn scratch(dir: &Path) -> Result<NamedTempFile, StoreError> {
    let file = tempfile::Builder::new().prefix(TMP_PREFIX).tempfile_in(dir);
    file.map_err(io_error("create a file in", dir))
}

fn dir_of(path: &Path) -> PathBuf {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    dir.unwrap_or(Path::new(".")).to_owned()
}

pub(super) fn make_dir(path: &Path) -> Result<(), StoreError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io_error("create folder", path))
}

/// Removes what an interrupted change left in a folder.
fn remove_unfinished(dir: &Path) -> Result<(), StoreError> {
    for path in paths(dir)? {
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.starts_with(TMP_PREFIX)) {
            fs::remove_file(&path).map_err(io_error("remove", &path))?;
            tracing::info!(path = %path.display(), "removed what an interrupted change left");
        }
    }
    Ok(())
}

/// Everything in a folder.
pub(super) fn paths(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = fs::read_dir(dir).map_err(io_error("read folder", dir))?;
    entries
        .map(|entry| Ok(entry.map_err(io_error("read folder", dir))?.path()))
        .collect()
}

/// Makes names in a folder durable: a rename survives a power cut only after this.
pub(super) fn sync_dir(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(io_error("sync folder", path))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read as _, os::unix::fs::PermissionsExt as _, sync::Arc};

    use parking_lot::Mutex;
    use proptest::prelude::*;

    use super::*;

    /// A store in memory.
    #[derive(Debug, Default)]
    struct Memory(Mutex<BTreeMap<String, Vec<u8>>>);

    impl FileStore for Memory {
        fn list(&self, folder: &str) -> Result<Vec<String>, StoreError> {
            let within = |name: &String| Some(name.strip_prefix(folder)?.strip_prefix('/')?.to_owned());
            Ok(self.0.lock().keys().filter_map(within).collect())
        }

        fn has(&self, name: &str) -> Result<bool, StoreError> {
            Ok(self.0.lock().contains_key(name))
        }

        fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
            Ok(self.0.lock().get(name).cloned())
        }

        fn replace(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
            self.0.lock().insert(name.to_owned(), content.to_owned());
            Ok(())
        }

        fn remove(&self, name: &str) -> Result<(), StoreError> {
            self.0.lock().remove(name);
            Ok(())
        }

        fn scratch(&self, _folder: &str) -> Result<NamedTempFile, StoreError> {
            Ok(NamedTempFile::new().unwrap())
        }

        fn adopt(&self, name: &str, file: NamedTempFile) -> Result<(), StoreError> {
            let mut content = Vec::new();
            file.reopen().unwrap().read_to_end(&mut content).unwrap();
            self.replace(name, &content)
        }

        fn place(&self, name: &str) -> PathBuf {
            PathBuf::from(name)
        }
    }

    /// Name, whether by a file, and content; nothing for its end.
    fn steps() -> impl Strategy<Value = Vec<(String, bool, Option<Vec<u8>>)>> {
        let content = prop::option::of(prop::collection::vec(any::<u8>(), 0..9));
        prop::collection::vec(("(a|b)/[xy]", any::<bool>(), content), 0..24)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn stores_keep_the_same_and_say_the_same(steps in steps()) {
            let root = tempfile::tempdir().unwrap();
            let memory: Arc<dyn FileStore> = Arc::new(Memory::default());
            let folder: Arc<dyn FileStore> = Arc::new(Folder::open(root.path(), &["a", "b"]).unwrap());
            for (name, by_file, content) in &steps {
                for store in [&memory, &folder] {
                    match content {
                        None => store.remove(name).unwrap(),
                        Some(content) if *by_file => {
                            let mut file = store.scratch(&name[..1]).unwrap();
                            file.write_all(content).unwrap();
                            store.adopt(name, file).unwrap();
                        }
                        Some(content) => store.replace(name, content).unwrap(),
                    }
                }
            }
            // what is kept is there for the next process, of mode 0600, and nothing else
            drop(folder);
            fs::write(root.path().join("a").join(format!("{TMP_PREFIX}x")), "half").unwrap();
            fs::write(root.path().join(format!("{TMP_PREFIX}x")), "half").unwrap();
            let folder: Arc<dyn FileStore> = Arc::new(Folder::open(root.path(), &["a", "b"]).unwrap());
            prop_assert_eq!(paths(root.path()).unwrap().len(), 2);
            for dir in ["a", "b"] {
                let names = |store: &dyn FileStore| {
                    let mut names = store.list(dir).unwrap();
                    names.sort();
                    names
                };
                prop_assert_eq!(names(&*memory), names(&*folder));
                prop_assert_eq!(paths(&root.path().join(dir)).unwrap().len(), names(&*folder).len());
                for name in ["x", "y"].map(|name| format!("{dir}/{name}")) {
                    prop_assert_eq!(memory.has(&name).unwrap(), folder.has(&name).unwrap());
                    prop_assert_eq!(memory.read(&name).unwrap(), folder.read(&name).unwrap());
                    if folder.has(&name).unwrap() {
                        let mode = fs::metadata(folder.place(&name)).unwrap().permissions().mode();
                        prop_assert_eq!(mode & 0o777, 0o600);
                    }
                }
            }
        }
    }
}
