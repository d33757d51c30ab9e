//! A data folder as one file, and back. The file is a tar archive that begins with a list of what is in it, with sizes and SHA-256, and has the keys and
//! certificates of the gateway in it: it is as secret as they are.
//!
//! A backup is taken from the folder itself, whether a gateway runs on it or not: the database is copied as of one moment, modules never change, and every
//! other file is replaced as a whole. Compiled code is not in it; it is made again.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Component, Path, PathBuf},
};

use aws_lc_rs::digest::{Context, SHA256};
use edgeward_core::ids::Digest;
use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};

use super::{
    ACME, CERTIFICATES, DATABASE, MODULES, PluginStore as _, StoreError,
    files::{TMP_PREFIX, make_dir, paths, sync_dir},
    io_error,
    journal::{Journal, failed},
};
use crate::clock::{now_ms, rfc3339};

/// First entry of a backup.
const MANIFEST: &str = "edgeward-backup.json";
/// Form of backups that this program writes and reads.
const FORMAT: u32 = 1;
/// Largest manifest that is read, in bytes.
const MANIFEST_MAX: u64 = 16 << 20;
/// Largest file that is neither the database nor a module, in bytes.
const SMALL_MAX: u64 = 16 << 20;
/// Folders whose files are all taken.
const FOLDERS: [&str; 3] = ["keys", CERTIFICATES, ACME];
/// The admin token, where it is in the data folder.
const TOKEN: &str = "admin.token";

/// What is in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Manifest {
    /// Form of the backup.
    pub format: u32,
    /// Version of Edgeward that wrote it.
    pub edgeward: String,
    /// RFC 3339.
    pub created_at: String,
    /// Files in their order.
    pub files: Vec<Entry>,
}

/// A file in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry {
    /// Relative to the data folder.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the content.
    pub digest: Digest,
}

impl Manifest {
    /// Bytes of all files.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// Where the content of an entry is while a backup is written.
enum Content {
    File(PathBuf),
    Bytes(Vec<u8>),
}

/// Writes a backup of a data folder.
///
/// # Errors
/// The folder cannot be read, is no data folder, or has a damaged module or database; `into` cannot be written.
pub fn backup(root: &Path, into: &mut impl Write) -> Result<Manifest, StoreError> {
    let database = root.join(DATABASE);
    let scratch = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
        .map_err(io_error("make a folder for", &database))?;
    let copy = scratch.path().join(DATABASE);
    let modules = copy_database(&database, &copy)?;
    let mut files = vec![measure(DATABASE.to_owned(), copy)?];
    for module in modules {
        let path = format!("{MODULES}/{}.wasm", module.hex());
        let file = root.join(&path);
        let (entry, content) = measure(path, file.clone())?;
        if entry.digest != module {
            return Err(StoreError::Damaged {
                digest: module,
                path: file,
            });
        }
        files.push((entry, content));
    }
    let mut small: Vec<PathBuf> = vec![root.join(TOKEN)];
    for folder in FOLDERS {
        let folder = root.join(folder);
        if folder.is_dir() {
            small.extend(paths(&folder)?);
        }
    }
    small.sort();
    for path in small {
        // what is being written is replaced by a name of its own
        let unfinished = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_none_or(|name| name.starts_with(TMP_PREFIX));
        if !unfinished && path.is_file() {
            files.push(hold(root, &path)?);
        }
    }
    let manifest = Manifest {
        format: FORMAT,
        edgeward: env!("CARGO_PKG_VERSION").to_owned(),
        created_at: rfc3339(now_ms()),
        files: files.iter().map(|(entry, _)| entry.clone()).collect(),
    };
    write(&manifest, &files, into).map_err(io_error("write", Path::new("the backup")))?;
    Ok(manifest)
}

/// The database as of one moment, checked; digests of the modules that it knows.
fn copy_database(from: &Path, to: &Path) -> Result<Vec<Digest>, StoreError> {
    if !from.is_file() {
        let none = io::Error::new(
            io::ErrorKind::NotFound,
            "there is no database: this is no data folder",
        );
        return Err(io_error("read", from)(none));
    }
    let name = to.to_string_lossy().into_owned();
    let copy = || -> rusqlite::Result<()> {
        // not read-only: what a gateway that was killed has left is read by way of files beside it
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let source = Connection::open_with_flags(from, flags)?;
        source.busy_timeout(std::time::Duration::from_secs(5))?;
        source.execute("VACUUM INTO ?1", [name])?;
        Ok(())
    };
    copy().map_err(failed("copy"))?;
    // opening checks it
    Ok(Journal::open(to)?.digests()?.into_iter().collect())
}

fn measure(path: String, file: PathBuf) -> Result<(Entry, Content), StoreError> {
    let poured = File::open(&file).and_then(|mut source| pour(&mut source, &mut io::sink()));
    let (size, digest) = poured.map_err(io_error("read", &file))?;
    Ok((Entry { path, size, digest }, Content::File(file)))
}

/// Copies everything; how much it was, and its SHA-256.
fn pour(from: &mut impl Read, into: &mut impl Write) -> io::Result<(u64, Digest)> {
    let mut context = Context::new(&SHA256);
    let mut size = 0;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut buffer)?;
        let Some(chunk) = buffer.get(..count).filter(|chunk| !chunk.is_empty()) else {
            break;
        };
        context.update(chunk);
        into.write_all(chunk)?;
        size += chunk.len() as u64;
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Ok((size, Digest(digest)))
}

/// A small file, read once: it may be replaced meanwhile.
fn hold(root: &Path, file: &Path) -> Result<(Entry, Content), StoreError> {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|file| file.take(SMALL_MAX + 1).read_to_end(&mut bytes));
    read.map_err(io_error("read", file))?;
    if bytes.len() as u64 > SMALL_MAX {
        let large = io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("larger than {SMALL_MAX} bytes"),
        );
        return Err(io_error("read", file)(large));
    }
    let path = file.strip_prefix(root).unwrap_or(file);
    let entry = Entry {
        path: path.to_string_lossy().into_owned(),
        size: bytes.len() as u64,
        digest: edgeward_runtime::digest(&bytes),
    };
    Ok((entry, Content::Bytes(bytes)))
}

fn write(manifest: &Manifest, files: &[(Entry, Content)], into: &mut impl Write) -> io::Result<()> {
    let mut archive = tar::Builder::new(into);
    let text = serde_json::to_vec_pretty(manifest)?;
    append(&mut archive, MANIFEST, text.len() as u64, text.as_slice())?;
    for (entry, content) in files {
        match content {
            // never more than was measured: a module that grows is found when it is read back
            Content::File(path) => {
                append(
                    &mut archive,
                    &entry.path,
                    entry.size,
                    File::open(path)?.take(entry.size),
                )?;
            }
            Content::Bytes(bytes) => append(&mut archive, &entry.path, entry.size, bytes.as_slice())?,
        }
    }
    archive.into_inner()?.flush()
}

fn append(
    archive: &mut tar::Builder<impl Write>,
    path: &str,
    size: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o600);
    archive.append_data(&mut header, path, content)
}

/// Makes a data folder of a backup. The folder must not be there, or be empty; it is there as a whole or not at all.
///
/// # Errors
/// The folder is in use, the backup is damaged, incomplete or of a later format, or the disk refuses.
pub fn restore(from: &mut impl Read, root: &Path) -> Result<Manifest, StoreError> {
    let root = std::path::absolute(root).map_err(io_error("find", root))?;
    if root.exists() && !paths(&root)?.is_empty() {
        return Err(StoreError::Conflict(format!(
            "{} is not empty: move it away first",
            root.display()
        )));
    }
    let parent = root.parent().unwrap_or(Path::new("/")).to_owned();
    fs::create_dir_all(&parent).map_err(io_error("create folder", &parent))?;
    // gone if anything fails
    let scratch = tempfile::Builder::new()
        .prefix(".edgeward-restore-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(&parent)
        .map_err(io_error("create a folder in", &parent))?;
    let manifest = unpack(from, scratch.path())?;
    // opening checks the database, and brings it to this program's format
    let kept = Journal::open(&scratch.path().join(DATABASE))?.digests()?;
    let missing = kept.iter().find(|digest| {
        let path = format!("modules/{}.wasm", digest.hex());
        !manifest.files.iter().any(|file| file.path == path)
    });
    if let Some(digest) = missing {
        return Err(damaged(format!("module {digest} is missing")));
    }
    if root.exists() {
        fs::remove_dir(&root).map_err(io_error("replace", &root))?;
    }
    fs::rename(scratch.path(), &root).map_err(io_error("create", &root))?;
    sync_dir(&parent)?;
    Ok(manifest)
}

fn damaged(what: String) -> StoreError {
    StoreError::Conflict(format!("the backup cannot be used: {what}"))
}

fn unpack(from: &mut impl Read, into: &Path) -> Result<Manifest, StoreError> {
    let unreadable = |error: io::Error| damaged(format!("it cannot be read: {error}"));
    let mut archive = tar::Archive::new(from);
    let mut entries = archive.entries().map_err(unreadable)?;
    let first = entries.next().ok_or_else(|| damaged("it is empty".to_owned()))?;
    let first = first.map_err(unreadable)?;
    if first.path().map_err(unreadable)?.as_ref() != Path::new(MANIFEST) {
        return Err(damaged(format!("it does not begin with `{MANIFEST}`")));
    }
    let mut text = Vec::new();
    first
        .take(MANIFEST_MAX)
        .read_to_end(&mut text)
        .map_err(unreadable)?;
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|error| damaged(format!("`{MANIFEST}`: {error}")))?;
    if manifest.format != FORMAT {
        return Err(damaged(format!(
            "it has format {}, this edgeward knows {FORMAT}",
            manifest.format
        )));
    }
    for wanted in &manifest.files {
        let entry = entries
            .next()
            .ok_or_else(|| damaged(format!("it ends before `{}`", wanted.path)))?
            .map_err(unreadable)?;
        if entry.path().map_err(unreadable)?.as_ref() != Path::new(&wanted.path)
            || entry.size() != wanted.size
        {
            return Err(damaged(format!("`{}` is not where it has to be", wanted.path)));
        }
        put(entry, wanted, into)?;
    }
    for folder in FOLDERS.into_iter().chain(["modules"]) {
        let folder = into.join(folder);
        if folder.is_dir() {
            sync_dir(&folder)?;
        }
    }
    sync_dir(into)?;
    Ok(manifest)
}

/// Whether a path in a backup is one that a data folder has.
fn is_known(path: &str) -> bool {
    let parts: Vec<_> = Path::new(path).components().collect();
    let name = |part: &Component<'_>| match part {
        Component::Normal(name) => name.to_str().map(str::to_owned),
        _ => None,
    };
    match parts.as_slice() {
        [file] => name(file).is_some_and(|name| name == DATABASE || name == TOKEN),
        [folder, file] => {
            name(folder).is_some_and(|name| name == "modules" || FOLDERS.contains(&name.as_str()))
                && name(file).is_some()
        }
        _ => false,
    }
}

fn put(mut entry: impl Read, wanted: &Entry, into: &Path) -> Result<(), StoreError> {
    if !is_known(&wanted.path) {
        return Err(damaged(format!("`{}` is nothing of a data folder", wanted.path)));
    }
    let path = into.join(&wanted.path);
    if let Some(folder) = path.parent() {
        make_dir(folder)?;
    }
    let mut write = || -> io::Result<Digest> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let (_size, digest) = pour(&mut entry, &mut file)?;
        file.sync_all()?;
        Ok(digest)
    };
    if write().map_err(io_error("write", &path))? != wanted.digest {
        return Err(damaged(format!("`{}` is not what was written", wanted.path)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::store::Store;

    fn folder_with_everything(root: &Path) -> Digest {
        let store = Store::open(root).unwrap();
        let module = store.keep_bytes(b"a module", || serde_json::json!({})).unwrap();
        store.audit_key().unwrap();
        fs::write(store.token_path(), "0123456789abcdef0").unwrap();
        fs::write(root.join(CERTIFICATES).join("site.json"), "{}").unwrap();
        fs::write(root.join(CERTIFICATES).join(".put-x"), "half").unwrap();
        fs::write(root.join("compiled").join("x"), "made again").unwrap();
        module
    }

    fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        for folder in ["", "keys", "modules", CERTIFICATES, ACME] {
            for path in paths(&root.join(folder)).unwrap_or_default() {
                if path.is_file() && !path.to_string_lossy().contains(DATABASE) && !path.ends_with("lock") {
                    let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                    found.insert(name, fs::read(&path).unwrap());
                }
            }
        }
        found
    }

    #[test]
    fn a_backup_brings_back_everything_but_what_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let (root, again) = (folder.path().join("data"), folder.path().join("deep/again"));
        let module = folder_with_everything(&root);
        // a gateway may have it open
        let store = Store::open(&root).unwrap();
        let mut bytes = Vec::new();
        let written = backup(&root, &mut bytes).unwrap();
        drop(store);
        let read = restore(&mut bytes.as_slice(), &again).unwrap();
        assert_eq!(written, read);
        let mut wanted = files(&root);
        wanted.retain(|name, _| !name.contains(".put-"));
        assert_eq!(files(&again), wanted);
        assert!(!again.join("compiled").exists());
        let store = Store::open(&again).unwrap();
        assert_eq!(store.blobs.read(module).unwrap(), b"a module");
    }

    #[test]
    fn what_is_there_is_not_written_over_and_nothing_is_left_of_a_bad_backup() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        folder_with_everything(&root);
        let mut bytes = Vec::new();
        backup(&root, &mut bytes).unwrap();
        let error = restore(&mut bytes.as_slice(), &root).unwrap_err();
        assert!(error.to_string().contains("is not empty"), "{error}");
        let target = folder.path().join("target");
        let refused = |bytes: &[u8]| restore(&mut &*bytes, &target).unwrap_err().to_string();
        // cut off anywhere
        for length in [0, 100, 512, 1500, bytes.len() / 2, bytes.len() - 3000] {
            let error = refused(&bytes[..length]);
            assert!(error.contains("cannot"), "{length}: {error}");
        }
        // one bit in the module
        let at = bytes.windows(8).position(|window| window == b"a module").unwrap();
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let error = refused(&changed);
        assert!(error.contains("is not what was written"), "{error}");
        assert_eq!(paths(folder.path()).unwrap(), [root]);
    }

    #[test]
    fn a_backup_writes_nothing_beside_the_folder() {
        for path in [
            "../x",
            "/etc/passwd",
            "keys/../../x",
            "compiled/x",
            "keys",
            "keys/a/b",
            "modules/..",
            "",
        ] {
            assert!(!is_known(path), "{path}");
        }
        for path in [
            DATABASE,
            TOKEN,
            "keys/audit.key",
            "modules/00.wasm",
            "certificates/a",
            "acme/b",
        ] {
            assert!(is_known(path), "{path}");
        }
    }

    #[test]
    fn a_damaged_module_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let module = folder_with_everything(folder.path());
        let path = folder.path().join(format!("{MODULES}/{}.wasm", module.hex()));
        fs::write(path, "another").unwrap();
        let error = backup(folder.path(), &mut io::sink()).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        let nothing = tempfile::tempdir().unwrap();
        let error = backup(nothing.path(), &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("no data folder"), "{error}");
    }
}
