//! `edgeward import` and `edgeward export`: APIs from OpenAPI documents, and as such.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::{
    client::{Client, ServerArgs, api_path, block_on},
    output::Output,
};

/// Header field with the routes that a document cannot have.
const LEFT_OUT: &str = "edgeward-left-out";

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Mode {
    /// What the document does not name stays.
    Merge,
    /// Everything but stages and deployments is replaced.
    Overwrite,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum BasePath {
    /// It is that of the stage or domain.
    Ignore,
    /// Routes begin with it.
    Prepend,
    /// Routes begin with it, but for its first segment.
    Split,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Protocol {
    /// As REST APIs of Amazon API Gateway.
    Rest,
    /// As its HTTP APIs.
    Http,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Profile {
    /// As the RFCs say.
    Native,
    /// As Amazon API Gateway answers.
    Apigw,
}

#[derive(clap::Args)]
pub(crate) struct ImportArgs {
    /// The document (OpenAPI 2.0, 3.0 or 3.1; YAML or JSON); `-` for standard input.
    document: PathBuf,
    /// Id of the API [default: made of the title].
    #[arg(long)]
    id: Option<String>,
    /// Put it into the API that is there, instead of making one.
    #[arg(long, value_enum, requires = "id")]
    mode: Option<Mode>,
    /// What is done with the base path of the document [default: ignore].
    #[arg(long, value_enum)]
    base_path: Option<BasePath>,
    /// The kind of API [default: what the document says, what is there, what the document needs].
    #[arg(long, value_enum, ignore_case = true)]
    protocol: Option<Protocol>,
    /// How it answers [default: what the document says, what is there, native].
    #[arg(long, value_enum)]
    profile: Option<Profile>,
    /// Where operations without an integration lead: an address, or `servers` for that in the document.
    #[arg(long, value_name = "URL", conflicts_with = "upstream")]
    backend: Option<String>,
    /// Where operations without an integration lead: an upstream of the configuration file.
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// The plugin that stands behind a security scheme. Can be said for several.
    #[arg(long = "authorizer", value_name = "SCHEME=PLUGIN")]
    authorizers: Vec<String>,
    /// Let operations be open whose security no plugin stands behind.
    #[arg(long)]
    allow_unsecured: bool,
    /// Refuse a document that is not understood in full.
    #[arg(long)]
    fail_on_warnings: bool,
    /// Only tell what would become of it.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(clap::Args)]
pub(crate) struct ExportArgs {
    /// Id of the API.
    api: String,
    /// What this stage serves, instead of the API as it is now.
    #[arg(long)]
    stage: Option<String>,
    /// Version of the format: 2.0, 3.0 or 3.1.
    #[arg(long = "version", value_name = "VERSION", default_value = "3.0")]
    format: String,
    /// `all`: it can be read back as it was; some of `integrations,authorizers,apigateway`; `none`: for people who call the API.
    #[arg(long, default_value = "all")]
    extensions: String,
    /// File to write [default: standard output]. Names that end in `.json` get JSON, others YAML.
    #[arg(short, long)]
    output: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Makes or changes an API by a document.
pub(crate) fn import(args: &ImportArgs, output: Output) -> anyhow::Result<()> {
    let text = read(&args.document)?;
    let client = Client::new(&args.server)?;
    let query = query(args);
    let answer = block_on(async {
        match (args.mode, &args.id) {
            (Some(_), Some(id)) => {
                client
                    .put_text(&api_path(id, &format!("/openapi?{query}")), text)
                    .await
            }
            _ => client.post_text(&format!("/v1/imports?{query}"), text).await,
        }
    })?;
    output.show(&answer, || told(&answer));
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        io::stdin()
            .read_to_string(&mut text)
            .context("cannot read standard input")?;
        return Ok(text);
    }
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn query(args: &ImportArgs) -> String {
    let mut query = format!(
        "dry-run={}&fail-on-warnings={}&allow-unsecured={}",
        args.dry_run, args.fail_on_warnings, args.allow_unsecured
    );
    let authorizers = (!args.authorizers.is_empty()).then(|| args.authorizers.join(","));
    let pairs = [
        ("id", args.id.clone()),
        ("mode", args.mode.map(|mode| word(&mode))),
        ("base-path", args.base_path.map(|mode| word(&mode))),
        (
            "protocol",
            args.protocol.map(|protocol| word(&protocol).to_uppercase()),
        ),
        ("profile", args.profile.map(|profile| word(&profile))),
        ("backend", args.backend.clone()),
        ("upstream", args.upstream.clone()),
        ("authorizers", authorizers),
    ];
    for (key, value) in pairs {
        if let Some(value) = value {
            // writing to a String cannot fail
            let _unused = write!(query, "&{key}={}", utf8_percent_encode(&value, NON_ALPHANUMERIC));
        }
    }
    query
}

/// A choice as it is written on the command line.
fn word(choice: &impl clap::ValueEnum) -> String {
    choice
        .to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}

fn told(answer: &Value) -> String {
    let word = |key: &str| answer[key].as_str().unwrap_or_default();
    let list = |key: &str| answer[key].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut text = format!(
        "API `{}`: {}, {}\n",
        word("api"),
        word("protocol"),
        word("profile")
    );
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    for became in list("became") {
        let part = |key: &str| became[key].as_str().unwrap_or_default();
        line(format!("  {}: {}", part("place"), part("became")));
    }
    for (key, title) in [
        ("warnings", "not understood or not enforced:"),
        ("undeployable", "to do before it can be deployed:"),
        ("notes", "without effect, not kept:"),
    ] {
        if !list(key).is_empty() {
            line(title.to_owned());
        }
        for problem in list(key) {
            let part = |key: &str| problem[key].as_str().unwrap_or_default();
            let hint = match part("hint") {
                "" => String::new(),
                hint => format!(" ({hint})"),
            };
            let place = match part("path") {
                "" => "the document",
                place => place,
            };
            line(format!("  {place}: {}{hint}", part("message")));
        }
    }
    let count = list("changes").len();
    let plural = if count == 1 { "" } else { "s" };
    line(if answer["dry-run"] == true {
        format!("{count} change{plural}; nothing was changed")
    } else {
        format!("{count} change{plural} after {} ms", answer["took-ms"])
    });
    text
}

/// Writes an API as a document.
pub(crate) fn export(args: &ExportArgs, output: Output) -> anyhow::Result<()> {
    let client = Client::new(&args.server)?;
    let is_json = match &args.output {
        Some(path) => path.extension().is_some_and(|kind| kind == "json"),
        None => output.is_json(),
    };
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let mut query = format!(
        "/openapi?version={}&extensions={}&format={}",
        encoded(&args.format),
        encoded(&args.extensions),
        if is_json { "json" } else { "yaml" }
    );
    if let Some(stage) = &args.stage {
        query += &format!("&stage={}", encoded(stage));
    }
    let (headers, text) = block_on(async { client.get_text(&api_path(&args.api, &query)).await })?;
    if let Some(routes) = headers.get(LEFT_OUT).and_then(|value| value.to_str().ok()) {
        // nothing can be done when standard error is closed
        let _closed = writeln!(io::stderr(), "warning: left out: {routes}");
    }
    match &args.output {
        Some(path) => {
            fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
            output.line(&format!("wrote {}", path.display()));
        }
        None => output.text(&text),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_became_what_and_what_was_not_understood_is_told() {
        let answer = json!({
            "api": "pets", "protocol": "REST", "profile": "native", "dry-run": true, "took-ms": 3,
            "became": [{"place": "/paths/~1pets/get", "became": "route `GET /pets`"}],
            "warnings": [{"path": "/x", "message": "is not understood", "hint": "leave it"}],
            "undeployable": [], "notes": [{"path": "", "message": "something"}],
            "changes": [{"path": "apis/pets", "action": "create"}],
        });
        assert_eq!(
            told(&answer),
            "API `pets`: REST, native\n  /paths/~1pets/get: route `GET /pets`\nnot understood or not enforced:\n  /x: is not understood (leave it)\nwithout effect, not kept:\n  the document: something\n1 change; nothing was changed\n"
        );
    }
}
