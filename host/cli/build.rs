//! Lists the sources of the Rust SDK, so that `edgeward plugin new` can write them: they are in no registry.

use std::{env, fmt::Write as _, fs, io, path::Path};

fn main() -> io::Result<()> {
    // cargo runs this in the folder of the package: the list is of use in any checkout that shares the target folder
    let sdk = Path::new("../../sdk/rust");
    let mut files = vec!["README.md".to_owned()];
    for folder in ["src", "wit"] {
        println!("cargo::rerun-if-changed={}", sdk.join(folder).display());
        collect(sdk, folder, &mut files)?;
    }
    files.sort();
    let mut list = String::from("&[\n");
    for name in files {
        embed(&mut list, &name, &sdk.join(&name))?;
    }
    embed(&mut list, "LICENSE", Path::new("../../LICENSE"))?;
    list.push(']');
    let out = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    fs::write(Path::new(&out).join("sdk.rs"), list)
}

/// Adds a file's name and text to `list`.
fn embed(list: &mut String, name: &str, path: &Path) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", path.display());
    let text = fs::read_to_string(path)?;
    // writing to a String cannot fail
    let _unused = writeln!(list, "    ({name:?}, {text:?}),");
    Ok(())
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
