//! Lists the sources of the Rust SDK, so that `edgeward plugin new` can write them: they are in no registry.

use std::{env, fmt::Write as _, fs, io, path::Path};

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()?;
    let sdk = root.join("sdk/rust");
    let mut files = vec!["README.md".to_owned()];
    for folder in ["src", "wit"] {
        println!("cargo::rerun-if-changed={}", sdk.join(folder).display());
        collect(&sdk, folder, &mut files)?;
    }
    files.sort();
    let mut list = String::from("&[\n");
    for name in files {
        // writing to a String cannot fail
        let _unused = writeln!(list, "    ({name:?}, include_str!({:?})),", sdk.join(&name));
    }
    let _unused = writeln!(
        list,
        "    (\"LICENSE\", include_str!({:?})),\n]",
        root.join("LICENSE")
    );
    let out = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    fs::write(Path::new(&out).join("sdk.rs"), list)
}

fn collect(sdk: &Path, folder: &str, files: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(sdk.join(folder))? {
        let entry = entry?;
        let name = format!("{folder}/{}", entry.file_name().display());
        if entry.file_type()?.is_dir() {
            collect(sdk, &name, files)?;
        } else {
            files.push(name);
        }
    }
    Ok(())
}
