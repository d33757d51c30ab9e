//! `edgeward backup` and `edgeward restore`: the data folder as one file, and back.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use edgeward_control::{ConfigFile, store::backup};
use serde_json::json;

use crate::{output::Output, serve::unusable};

/// Which data folder.
#[derive(clap::Args)]
struct Folder {
    /// The configuration file, whose `data-dir` is meant.
    #[arg(long, short, default_value = "gateway.yaml")]
    config: PathBuf,
    /// The data folder, in place of that of the configuration file.
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

impl Folder {
    fn path(&self) -> anyhow::Result<PathBuf> {
        if let Some(dir) = &self.data_dir {
            return Ok(dir.clone());
        }
        let file = ConfigFile::read(&self.config).map_err(|error| unusable(&self.config, error))?;
        Ok(file.base_dir.join(&file.config.data_dir.0))
    }
}

#[derive(clap::Args)]
pub(crate) struct BackupArgs {
    /// File to write, which must not be there yet; `-` for standard output.
    #[arg(short, long)]
    output: PathBuf,
    #[command(flatten)]
    folder: Folder,
}

#[derive(clap::Args)]
pub(crate) struct RestoreArgs {
    /// The backup; `-` for standard input.
    #[arg(short, long)]
    file: PathBuf,
    #[command(flatten)]
    folder: Folder,
}

/// Writes a backup of the data folder. The gateway may run.
pub(crate) fn backup(args: &BackupArgs, output: Output) -> anyhow::Result<()> {
    let folder = args.folder.path()?;
    if args.output == Path::new("-") {
        let mut out = BufWriter::new(io::stdout().lock());
        backup::backup(&folder, &mut out)?;
        return Ok(());
    }
    let parent = args
        .output
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    // mode 0600, and gone if anything fails
    let mut file = tempfile::Builder::new()
        .prefix(".edgeward-backup-")
        .tempfile_in(parent)
        .with_context(|| format!("cannot write in {}", parent.display()))?;
    let manifest = {
        let mut out = BufWriter::new(file.as_file_mut());
        let manifest = backup::backup(&folder, &mut out)?;
        out.flush()?;
        manifest
    };
    file.as_file().sync_all()?;
    file.persist_noclobber(&args.output)
        .with_context(|| format!("cannot make {}", args.output.display()))?;
    tell(output, "written to", &args.output, &manifest);
    Ok(())
}

/// Makes a data folder of a backup. The gateway must not run.
pub(crate) fn restore(args: &RestoreArgs, output: Output) -> anyhow::Result<()> {
    let folder = args.folder.path()?;
    let manifest = if args.file == Path::new("-") {
        backup::restore(&mut io::stdin().lock(), &folder)?
    } else {
        let file = File::open(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
        backup::restore(&mut BufReader::new(file), &folder)?
    };
    tell(output, "restored to", &folder, &manifest);
    Ok(())
}

fn tell(output: Output, what: &str, path: &Path, manifest: &backup::Manifest) {
    let (files, size) = (manifest.files.len(), manifest.size());
    let told = json!({"path": path, "files": files, "bytes": size, "created-at": manifest.created_at});
    output.show(&told, || {
        format!(
            "{files} files, {size} bytes, of {}, {what} {}",
            manifest.created_at,
            path.display()
        )
    });
}
