//! What a module is: component or core module, which hooks it exports, which capabilities it imports. Parses only, compiles nothing.

use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
};

use edgeward_core::{config::Grants, ids::Digest};
use schemars::JsonSchema;
use serde::Serialize;
use wit_component::{ComponentEncoder, DecodedWasm};

/// The interface package and the versions of it that this host serves.
pub const WIT_PACKAGE: &str = "edgeward:plugin";
/// Major and minor version served; additions within it keep old plugins running.
pub const WIT_SERVED: &str = "0.1";

/// What a module is.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ModuleInfo {
    /// SHA-256 of the bytes.
    #[schemars(with = "String")]
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
    /// `component`, or `core-module` for one that carries its component type and is wrapped here.
    pub kind: &'static str,
    /// Hooks it exports: `authorize`, `transform`, `inspect`, `observe`.
    pub hooks: Vec<String>,
    /// Capabilities it imports; `wasi` stands for everything of WASI.
    pub capabilities: Vec<String>,
    /// Version of `edgeward:plugin` it was built for.
    pub wit_version: String,
    /// Version of `edgeward:plugin` that this host serves; what was built for an earlier one of the same 0.x runs, too.
    pub wit_served: &'static str,
}

/// What is wrong with a module.
#[derive(Debug)]
pub(crate) enum Wrong {
    Invalid(String),
    World(String),
}

/// Capabilities that need no grant.
const ALWAYS: [&str; 8] = [
    "types",
    "head",
    "lifecycle",
    "log",
    "clock",
    "entropy",
    "matcher",
    "crypto",
];
const HOOKS: [&str; 4] = ["authorize", "transform", "inspect", "observe"];

/// True when `grants` gives the capability.
pub(crate) fn granted(capability: &str, grants: &Grants) -> bool {
    match capability {
        "metrics" => grants.metrics,
        "kv" => !grants.kv.is_empty(),
        "http" => grants.http.is_some(),
        "secret" => !grants.secrets.is_empty(),
        "wasi" => grants.wasi,
        other => ALWAYS.contains(&other),
    }
}

/// A hostile module may hit a bug in the parsers: that must cost the upload, not the process.
fn guarded<T>(parse: impl FnOnce() -> Result<T, String>) -> Result<T, Wrong> {
    match catch_unwind(AssertUnwindSafe(parse)) {
        Ok(result) => result.map_err(Wrong::Invalid),
        Err(_panic) => Err(Wrong::Invalid("the module makes the parser fail".to_owned())),
    }
}

/// The bytes as a component; core modules with an embedded component type are wrapped.
pub(crate) fn component(wasm: Cow<'_, [u8]>) -> Result<(Cow<'_, [u8]>, &'static str), Wrong> {
    match wasm.get(..8) {
        Some([0, b'a', b's', b'm', 0x0d, 0, 1, 0]) => Ok((wasm, "component")),
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => {
            let wrapped = guarded(|| {
                let mut encoder = ComponentEncoder::default().validate(true);
                encoder = encoder
                    .module(&wasm)
                    .map_err(|error| format!("core module: {error:#}"))?;
                encoder
                    .encode()
                    .map_err(|error| format!("core module cannot be made a component: {error:#}"))
            })?;
            Ok((wrapped.into(), "core-module"))
        }
        Some([0, b'a', b's', b'm', version @ ..]) => Err(Wrong::Invalid(format!(
            "unknown WebAssembly version {version:02x?}"
        ))),
        _ => Err(Wrong::Invalid(format!("not WebAssembly ({} bytes)", wasm.len()))),
    }
}

/// Reads what a component imports and exports.
pub(crate) fn read(
    component: &[u8],
    kind: &'static str,
    digest: Digest,
    size: u64,
) -> Result<ModuleInfo, Wrong> {
    let (imports, exports) = guarded(|| {
        let decoded = wit_component::decode(component).map_err(|error| format!("{error:#}"))?;
        let DecodedWasm::Component(resolve, world) = decoded else {
            return Err("a WIT package, not a component".to_owned());
        };
        let world = resolve.worlds.get(world).ok_or("no world")?;
        let names = |keys: &mut dyn Iterator<Item = String>| keys.collect::<Vec<_>>();
        Ok((
            names(&mut world.imports.keys().map(|key| resolve.name_world_key(key))),
            names(&mut world.exports.keys().map(|key| resolve.name_world_key(key))),
        ))
    })?;
    let mut hooks = Vec::new();
    let mut wit_version = None;
    for name in &exports {
        if let Some((interface, version)) = ours(name)? {
            if interface == "lifecycle" {
                wit_version = Some(version.to_owned());
            } else if HOOKS.contains(&interface) {
                hooks.push(interface.to_owned());
            }
        }
    }
    let Some(wit_version) = wit_version else {
        let exports = if exports.is_empty() {
            "nothing".to_owned()
        } else {
            exports.join(", ")
        };
        return Err(Wrong::World(format!(
            "it does not export `{WIT_PACKAGE}/lifecycle@{WIT_SERVED}.x` (it exports {exports})"
        )));
    };
    if hooks.is_empty() {
        return Err(Wrong::World(format!(
            "it exports no hook: one of {}",
            HOOKS.join(", ")
        )));
    }
    let mut capabilities: Vec<String> = Vec::new();
    for name in &imports {
        let capability = match ours(name)? {
            Some((interface, _)) => {
                if !ALWAYS.contains(&interface) && !["metrics", "kv", "http", "secret"].contains(&interface) {
                    return Err(Wrong::World(format!(
                        "it imports `{name}`, which this host does not have"
                    )));
                }
                interface
            }
            None if name.starts_with("wasi:") => "wasi",
            None => {
                return Err(Wrong::World(format!(
                    "it imports `{name}`, which this host does not have"
                )));
            }
        };
        if !["types", "head", "lifecycle"].contains(&capability)
            && !capabilities.iter().any(|known| known == capability)
        {
            capabilities.push(capability.to_owned());
        }
    }
    Ok(ModuleInfo {
        digest,
        size,
        kind,
        hooks,
        capabilities,
        wit_version,
        wit_served: WIT_SERVED,
    })
}

/// Interface and version of a name in our package; refuses versions that this host does not serve.
fn ours(name: &str) -> Result<Option<(&str, &str)>, Wrong> {
    let Some(rest) = name
        .strip_prefix(WIT_PACKAGE)
        .and_then(|rest| rest.strip_prefix('/'))
    else {
        return Ok(None);
    };
    let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
    let served = version
        .strip_prefix(WIT_SERVED)
        .is_some_and(|patch| patch.starts_with('.'));
    if served {
        Ok(Some((interface, version)))
    } else {
        Err(Wrong::World(format!(
            "it was built for `{name}`; this host serves {WIT_SERVED}.x"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::{Wrong, component, read};
    use edgeward_core::ids::Digest;

    #[test]
    fn a_component_of_another_line_is_refused_with_both_versions() {
        for version in ["0.2.0", "1.0.0", "0.10.0"] {
            let text = format!(
                "(component (instance $hooks) (export \"edgeward:plugin/lifecycle@{version}\" (instance $hooks)))"
            );
            let wasm = wat::parse_str(text).unwrap();
            let (bytes, kind) = component(wasm.as_slice().into()).unwrap();
            match read(&bytes, kind, Digest([0; 32]), 0) {
                Err(Wrong::World(text)) => {
                    assert!(text.contains(version) && text.contains("0.1.x"), "{text}")
                }
                other => panic!("{version}: {other:?}"),
            }
        }
    }
}
