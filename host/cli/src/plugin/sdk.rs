//! The Rust SDK as this binary carries it: for projects of people who have nothing but the binary.

/// Name and text of its files, without the manifest.
pub(crate) const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

const MANIFEST: &str = include_str!("../../../../sdk/rust/Cargo.toml");
const WORKSPACE: &str = include_str!("../../../../Cargo.toml");

/// Its manifest with what it inherits from the workspace filled in, so that it stands alone.
pub(crate) fn manifest() -> String {
    let mut text = String::new();
    // the lints are for those who work on the SDK
    for line in MANIFEST.split("\n[lints]").next().unwrap_or_default().lines() {
        let line = match line.strip_suffix(".workspace = true") {
            Some(key) => inherited(key).unwrap_or(line),
            None => line,
        };
        text += line;
        text.push('\n');
    }
    text
}

/// The line of the workspace's manifest that a key inherits.
fn inherited(key: &str) -> Option<&'static str> {
    WORKSPACE
        .lines()
        .find(|line| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(" = ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_stands_alone() {
        let text = manifest();
        for part in [
            "name = \"edgeward-sdk\"",
            "\nversion = \"",
            "\nedition = \"",
            "\nwit-bindgen = ",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("workspace"), "{text}");
    }

    #[test]
    fn sources_and_interface_are_there() {
        for name in [
            "src/lib.rs",
            "src/testing/fake/kv.rs",
            "wit/world.wit",
            "README.md",
            "LICENSE",
        ] {
            assert!(FILES.iter().any(|(known, _)| *known == name), "{name}");
        }
    }
}
