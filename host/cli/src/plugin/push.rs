//! `edgeward plugin push`: upload, version, and publication if wanted.

use std::path::PathBuf;

use anyhow::Context as _;
use bytes::Bytes;
use serde_json::Value;

use super::settings::SettingsArgs;
use crate::{
    client::{Client, ServerArgs, block_on, plugin_path},
    output::Output,
    publish::live,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of the plugin in the configuration file.
    name: String,
    /// The module.
    module: PathBuf,
    /// Publish the version at once.
    #[arg(long)]
    publish: bool,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Uploads a module and makes a version of it.
pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<()> {
    let bytes =
        std::fs::read(&args.module).with_context(|| format!("cannot read {}", args.module.display()))?;
    let mut body = args.settings.document()?;
    let client = Client::new(&args.server)?;
    let answer = block_on(async {
        let module = client.upload(Bytes::from(bytes), output).await?;
        body.insert("module".into(), module.get("digest").cloned().unwrap_or_default());
        let progress = output.spinner(format!("{}: compiling and verifying", args.name));
        let query = if args.publish {
            "/versions?publish=true"
        } else {
            "/versions"
        };
        let answer = client
            .post(&plugin_path(&args.name, query), &Value::Object(body))
            .await;
        progress.finish_and_clear();
        answer
    })?;
    output.show(&answer, || text(&args.name, &answer));
    Ok(())
}

fn text(name: &str, answer: &Value) -> String {
    let version = answer.get("version").and_then(Value::as_u64).unwrap_or(0);
    let made = match answer.get("created") {
        Some(Value::Bool(false)) => {
            format!("plugin `{name}`: version {version} is the same module with the same settings")
        }
        _ => format!("plugin `{name}`: made version {version}"),
    };
    match answer.get("published").filter(|published| !published.is_null()) {
        Some(published) => format!("{made}\n{}", live(published)),
        None => format!("{made}\nnext: edgeward publish {name} {version}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_outcome_is_told_in_words() {
        let answer = json!({"version": 3, "created": true, "published": null});
        assert_eq!(
            text("auth", &answer),
            "plugin `auth`: made version 3\nnext: edgeward publish auth 3"
        );
        let published =
            json!({"name": "auth", "version": 3, "previous-version": 0, "changed": true, "took-ms": 12});
        let answer = json!({"version": 3, "created": true, "published": published});
        assert!(
            text("auth", &answer)
                .ends_with("version 3 is live (before: the configuration file's version), after 12 ms")
        );
    }
}
