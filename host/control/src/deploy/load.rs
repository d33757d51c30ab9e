//! Loads one plugin, unless the same one - name, version, module, settings, and what its grants read - is there already.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use edgeward_core::{
    config::{ModuleRef, Plugin, Problem, SecretSource},
    ids::Digest,
};
use edgeward_runtime::{Module, PluginVersion, Runtime, VersionSpec};
use parking_lot::Mutex;

use crate::{error::ControlError, file::grant_files, store::Store};

/// Largest module file that a configuration may name, in bytes.
const MODULE_MAX: u64 = 256 << 20;
/// Loaded versions that are kept besides those in use.
const RECENT: usize = 8;
/// Modules that are kept in memory while a configuration is loaded.
const MODULES: usize = 4;

/// Files of modules that are to become part of the store.
pub(super) type Unkept = BTreeMap<Digest, PathBuf>;

/// A plugin that was loaded, and what it was loaded from.
#[derive(Clone)]
pub struct Loaded {
    fingerprint: Digest,
    /// The plugin.
    pub version: Arc<PluginVersion>,
}

/// The newest few loaded versions.
#[derive(Default)]
pub(super) struct Recent(Mutex<VecDeque<Loaded>>);

impl Recent {
    fn find(&self, fingerprint: Digest) -> Option<Loaded> {
        self.0
            .lock()
            .iter()
            .find(|loaded| loaded.fingerprint == fingerprint)
            .cloned()
    }

    fn add(&self, loaded: Loaded) {
        let mut recent = self.0.lock();
        recent.retain(|other| other.fingerprint != loaded.fingerprint);
        recent.push_front(loaded);
        recent.truncate(RECENT);
    }
}

pub(super) struct Loader<'a> {
    runtime: &'a Runtime,
    store: &'a Store,
    recent: &'a Recent,
    base_dir: &'a Path,
    /// Modules that are not in the store yet.
    unkept: Option<&'a Unkept>,
    /// The newest few modules that were read.
    read: Mutex<VecDeque<(ModuleRef, Arc<Module<'static>>)>>,
}

impl<'a> Loader<'a> {
    /// For one change of the configuration: files are taken not to change meanwhile.
    pub(super) fn new(
        runtime: &'a Runtime,
        store: &'a Store,
        recent: &'a Recent,
        base_dir: &'a Path,
    ) -> Self {
        Self {
            runtime,
            store,
            recent,
            base_dir,
            unkept: None,
            read: Mutex::default(),
        }
    }

    /// The same for a change that brings modules with it.
    pub(super) fn with_unkept(mut self, unkept: &'a Unkept) -> Self {
        self.unkept = Some(unkept);
        self
    }

    /// The data folder.
    pub(super) fn data_dir(&self) -> &Path {
        self.store.root()
    }

    /// Loads a plugin or finds it loaded.
    ///
    /// # Errors
    /// What the operator has to know, with its place in the configuration.
    pub(super) async fn load(
        &self,
        name: &str,
        version: u64,
        plugin: &Plugin,
        current: Option<&Loaded>,
    ) -> Result<Loaded, Problem> {
        self.load_as(name, version, plugin, current, false).await
    }

    /// The same for a version that runs beside the live one.
    pub(super) async fn load_shadow(
        &self,
        name: &str,
        version: u64,
        plugin: &Plugin,
        current: Option<&Loaded>,
    ) -> Result<Loaded, Problem> {
        self.load_as(name, version, plugin, current, true).await
    }

    async fn load_as(
        &self,
        name: &str,
        version: u64,
        plugin: &Plugin,
        current: Option<&Loaded>,
        shadow: bool,
    ) -> Result<Loaded, Problem> {
        // the bytes of an uploaded module follow from its digest: read them only if they are needed
        let (digest, module) = match &plugin.module {
            ModuleRef::Digest(digest) => (*digest, None),
            ModuleRef::File(_) => {
                let module = self.module(name, &plugin.module)?;
                (module.info().digest, Some(module))
            }
        };
        let fingerprint = self.fingerprint(name, version, digest, plugin, shadow);
        let known = current
            .filter(|loaded| loaded.fingerprint == fingerprint)
            .cloned();
        if let Some(loaded) = known.or_else(|| self.recent.find(fingerprint)) {
            self.recent.add(loaded.clone());
            return Ok(loaded);
        }
        let module = match module {
            Some(module) => module,
            None => self.module(name, &plugin.module)?,
        };
        let spec = VersionSpec {
            name: name.to_owned(),
            version,
            settings: plugin.clone(),
            base_dir: self.base_dir.to_owned(),
            shadow,
        };
        let version = self
            .runtime
            .load_module(&module, spec)
            .await
            .map_err(|error| Problem::new(format!("plugins.{name}"), error.to_string()))?;
        let loaded = Loaded { fingerprint, version };
        self.recent.add(loaded.clone());
        Ok(loaded)
    }

    /// A module, read once for plugins that follow one another with it: many versions of one module are usual.
    fn module(&self, name: &str, which: &ModuleRef) -> Result<Arc<Module<'static>>, Problem> {
        let mut read = self.read.lock();
        if let Some((_, module)) = read.iter().find(|(known, _)| known == which) {
            return Ok(Arc::clone(module));
        }
        let wrong = |message: String| Problem::new(format!("plugins.{name}.module"), message);
        let bytes = match which {
            ModuleRef::Digest(digest) => match self.unkept.and_then(|unkept| unkept.get(digest)) {
                Some(path) => read_module_as(path, *digest).map_err(|error| wrong(error.to_string()))?,
                None => {
                    let bytes = self.store.blobs.read(*digest);
                    bytes.map_err(|error| wrong(error.to_string()))?
                }
            },
            ModuleRef::File(path) => {
                let path = self.base_dir.join(path);
                read_module(&path)
                    .map_err(|error| wrong(format!("cannot read {}: {error}", path.display())))?
            }
        };
        let module = Module::read(name, bytes)
            .map_err(|error| Problem::new(format!("plugins.{name}"), error.to_string()))?;
        let module = Arc::new(module);
        read.push_front((which.clone(), Arc::clone(&module)));
        read.truncate(MODULES);
        Ok(module)
    }

    fn fingerprint(&self, name: &str, version: u64, digest: Digest, plugin: &Plugin, shadow: bool) -> Digest {
        let settings = serde_json::to_string(plugin).unwrap_or_default();
        let mut text = format!(
            "{name}\0{version}\0{digest}\0{settings}\0{shadow}\0{}\0",
            self.base_dir.display()
        )
        .into_bytes();
        // a secret that was replaced is a reason to load again, though the settings are the same
        for path in grant_files(plugin) {
            let content = std::fs::read(self.base_dir.join(path)).unwrap_or_default();
            text.extend_from_slice(&edgeward_runtime::digest(&content).0);
        }
        for source in plugin.grants.secrets.values() {
            if let SecretSource::Env(name) = source {
                let value = std::env::var_os(name).unwrap_or_default();
                text.extend_from_slice(&edgeward_runtime::digest(value.as_encoded_bytes()).0);
            }
        }
        edgeward_runtime::digest(&text)
    }
}

/// Reads a module file that was seen with a digest.
///
/// # Errors
/// It cannot be read, or is another one by now.
pub(super) fn read_module_as(path: &Path, digest: Digest) -> Result<Vec<u8>, ControlError> {
    let place = path.display();
    let bytes =
        read_module(path).map_err(|error| ControlError::Conflict(format!("cannot read {place}: {error}")))?;
    if edgeward_runtime::digest(&bytes) == digest {
        return Ok(bytes);
    }
    Err(ControlError::Conflict(format!(
        "{place} was replaced while it was deployed: try again"
    )))
}

/// Reads a module file of at most [`MODULE_MAX`] bytes.
pub(super) fn read_module(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MODULE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MODULE_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("larger than {MODULE_MAX} bytes"),
        ));
    }
    Ok(bytes)
}
