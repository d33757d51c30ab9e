//! Where built things are: found from the place of the test binary, so that any target folder works.

use std::path::{Path, PathBuf};

/// The folder that cargo builds into.
#[must_use]
pub fn target_dir() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let found = exe
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").exists());
    found
        .unwrap_or_else(|| panic!("{} is in no target folder", exe.display()))
        .to_path_buf()
}

/// The root of the repository: of the checkout that runs, which need not be the one that was built in where several share a target folder.
#[must_use]
pub fn workspace() -> PathBuf {
    let running = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let tests = running.filter(|folder| folder.ends_with("tests"));
    let tests = tests.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).to_owned());
    tests.parent().unwrap().to_path_buf()
}

/// The module of a guest or plugin.
#[must_use]
pub fn guest(name: &str) -> PathBuf {
    let path = target_dir().join("guests").join(format!("{name}.wasm"));
    assert!(
        path.exists(),
        "{} is not there: run `cargo xtask guests` first",
        path.display()
    );
    path
}

/// Its bytes.
#[must_use]
pub fn guest_bytes(name: &str) -> Vec<u8> {
    std::fs::read(guest(name)).unwrap()
}

/// The bytes of a guest as cargo built it: a core module that carries its component type.
#[must_use]
pub fn core_module_bytes(name: &str) -> Vec<u8> {
    let folder = target_dir().join("guest-build/wasm32-unknown-unknown/guest");
    let path = folder.join(format!("guest_{}.wasm", name.replace('-', "_")));
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{error}: {}: run `cargo xtask guests` first", path.display()))
}

/// Compiled code, kept between tests and runs: each test is a process of its own, and compiling is most of its time.
#[must_use]
pub fn suite_cache() -> PathBuf {
    target_dir().join("suite-cache")
}

/// The real binary.
#[must_use]
pub fn edgeward() -> PathBuf {
    // the demonstration is <target>/<profile>/demo, the suite <target>/<profile>/deps/suite-<hash>
    let exe = std::env::current_exe().unwrap();
    let folder = exe.parent().unwrap();
    let profile = if folder.ends_with("deps") {
        folder.parent().unwrap()
    } else {
        folder
    };
    let path = profile.join("edgeward");
    assert!(
        path.exists(),
        "{} is not there: run `cargo build --workspace --bins` first",
        path.display()
    );
    path
}
