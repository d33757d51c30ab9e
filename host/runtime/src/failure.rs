//! Every way in which a plugin can fail, each with a name of its own that logs and metrics carry.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use edgeward_core::{ids::Digest, phase::Phase};
use serde::Serialize;
use wasmtime::{Config, Engine, Store, WasmBacktrace};

macro_rules! kinds {
    ($($variant:ident $name:literal $doc:literal;)*) => {
        /// Kind of a failure.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum FailureKind {
            $(#[doc = $doc] $variant,)*
        }

        impl FailureKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Name in logs and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

kinds! {
    Trap "trap" "The guest trapped: panic, unreachable, out of bounds, stack overflow, division by zero.";
    CpuTime "cpu-time" "A call used more CPU time than `limits.cpu-time`.";
    WallTime "wall-time" "A call took longer than `limits.wall-time`, host calls included.";
    Memory "memory" "The guest asked for more than `limits.memory` and did not survive the refusal.";
    HostBuffer "host-buffer" "The guest made the host hold more than `limits.host-buffers`.";
    HostCalls "host-calls" "The guest made more host calls than `limits.host-calls`.";
    Denied "denied" "The guest used something that its binding does not grant, or that `init` may not use.";
    InvalidAnswer "invalid-answer" "The guest answered with something that is no valid response.";
    Capacity "capacity" "No instance was free in the pool.";
    BreakerOpen "breaker-open" "The version failed too often in a row and is not called for a while.";
    Init "init" "`init` of a reused instance returned an error.";
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A failed call of a plugin.
#[derive(Clone, Debug, thiserror::Error)]
#[error("plugin `{plugin}` version {version} ({digest}) failed in {phase}: {kind}: {message}", digest = digest.short())]
pub struct PluginFailure {
    /// Name of the binding.
    pub plugin: Arc<str>,
    /// Version of the binding.
    pub version: u64,
    /// Module.
    pub digest: Digest,
    /// Where in the exchange.
    pub phase: Phase,
    /// What went wrong.
    pub kind: FailureKind,
    /// What went wrong in words; for a trap with file and line where the module has line tables.
    pub message: String,
}

/// Kind and text of a failure that is not yet put down to a plugin and a phase.
pub(crate) type Failed = (FailureKind, String);

/// A limit that a host function found exceeded; travels through wasmtime as the error of the call.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Exceeded {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
}

/// An error that ends the call with this kind.
pub(crate) fn exceeded(kind: FailureKind, message: impl Into<String>) -> wasmtime::Error {
    let error = wasmtime::Error::new(Exceeded {
        kind,
        message: message.into(),
    });
    match nowhere() {
        Some(backtrace) => error.context(backtrace),
        None => error,
    }
}

/// A backtrace without frames. Of an error that has none wasmtime takes one itself, looking up file and line of each frame: milliseconds of a worker's time
/// that nobody would see anything of.
fn nowhere() -> Option<WasmBacktrace> {
    static ENGINE: LazyLock<Option<Engine>> = LazyLock::new(|| {
        let mut config = Config::new();
        config.wasm_backtrace_max_frames(None);
        Engine::new(&config).ok()
    });
    let engine = ENGINE.as_ref()?;
    Some(WasmBacktrace::capture(Store::new(engine, ())))
}

/// Why a module could not be made a live version. Its text is for the operator who deploys.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The bytes are no WebAssembly component and no core module with an embedded component type.
    #[error("plugin `{plugin}`: module {digest}: {message}")]
    Invalid {
        /// Name of the binding.
        plugin: String,
        /// Module.
        digest: Digest,
        /// What is wrong.
        message: String,
    },
    /// The module does not speak `edgeward:plugin`.
    #[error("plugin `{plugin}`: module {digest} is not an Edgeward plugin: {message}")]
    WrongWorld {
        /// Name of the binding.
        plugin: String,
        /// Module.
        digest: Digest,
        /// What is missing.
        message: String,
    },
    /// An import or a declared capability lacks its grant.
    #[error("plugin `{plugin}`: module {digest} needs what `grants` does not give: {message}")]
    NotGranted {
        /// Name of the binding.
        plugin: String,
        /// Module.
        digest: Digest,
        /// The missing grants.
        message: String,
    },
    /// `init` returned an error: the text is the plugin's.
    #[error("plugin `{plugin}`: init refused its configuration: {message}")]
    InitRefused {
        /// Name of the binding.
        plugin: String,
        /// The plugin's text.
        message: String,
    },
    /// `init` trapped, took too long or used what it may not.
    #[error("plugin `{plugin}`: init failed: {kind}: {message}")]
    InitFailed {
        /// Name of the binding.
        plugin: String,
        /// Kind.
        kind: FailureKind,
        /// What happened.
        message: String,
    },
    /// The interest that `init` returned cannot be served.
    #[error("plugin `{plugin}`: interest: {message}")]
    Interest {
        /// Name of the binding.
        plugin: String,
        /// What is wrong.
        message: String,
    },
    /// Something in the host failed (files, compiler).
    #[error("plugin `{plugin}`: {message}")]
    Host {
        /// Name of the binding.
        plugin: String,
        /// What failed.
        message: String,
    },
}
