//! `edgeward principal` and `edgeward token`: who may use the admin API.

use std::fmt::Write as _;

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::{
    client::{Client, ServerArgs, block_on, principal_path},
    output::Output,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a principal, or replace what it may do. It comes in with a token (`edgeward token create`), a certificate, or as a user of the machine.
    Add(AddArgs),
    /// List principals.
    List(ServerArgs),
    /// Remove a principal and its tokens.
    Remove(NameArgs),
}

#[derive(Clone, Copy, ValueEnum)]
enum Role {
    /// Reads its APIs, domains and the status of the gateway.
    Viewer,
    /// Edits and deploys its APIs.
    Publisher,
    /// Runs the gateway: plugins, certificates, domains, configuration, audit log.
    Operator,
    /// Everything.
    Admin,
}

#[derive(clap::Args)]
pub(crate) struct AddArgs {
    /// Name of the principal.
    name: String,
    /// What it may do.
    #[arg(long, value_enum)]
    role: Role,
    /// Ids of its APIs, with commas between them; `shop-*` for all that begin so [default: all].
    #[arg(long, value_delimiter = ',')]
    apis: Option<Vec<String>>,
    /// Who that is.
    #[arg(long)]
    description: Option<String>,
    /// Refuse all its tokens and certificates.
    #[arg(long)]
    disabled: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(clap::Args)]
pub(crate) struct NameArgs {
    /// Name of the principal.
    name: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token of a principal. It is printed once.
    Create(CreateArgs),
    /// List tokens of a principal: ids and fingerprints, until when they are good, when they were last used.
    List(NameArgs),
    /// Make a token in place of another, which is good for a while besides.
    Rotate(RotateArgs),
    /// Remove a token: it is refused from the next request on.
    Revoke(TokenArgs),
}

#[derive(clap::Args)]
pub(crate) struct CreateArgs {
    /// Name of the principal.
    name: String,
    /// How long it is good for, e.g. `12h` [default: 90d].
    #[arg(long)]
    expires_in: Option<String>,
    /// What it is for.
    #[arg(long)]
    description: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(clap::Args)]
pub(crate) struct RotateArgs {
    /// Name of the principal.
    name: String,
    /// Id of the token.
    id: String,
    /// How long the old one is good for besides, e.g. `0s` [default: 1d].
    #[arg(long)]
    overlap: Option<String>,
    /// How long the new one is good for [default: 90d].
    #[arg(long)]
    expires_in: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(clap::Args)]
pub(crate) struct TokenArgs {
    /// Name of the principal.
    name: String,
    /// Id of the token.
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs one of the commands about principals.
pub(crate) fn run(command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Add(args) => add(&args, output),
        Command::List(args) => list(&args, output),
        Command::Remove(args) => {
            let client = Client::new(&args.server)?;
            block_on(client.delete(&principal_path(&args.name, "")))?;
            removed(output, &args.name, &format!("principal `{}`", args.name));
            Ok(())
        }
    }
}

/// Runs one of the commands about tokens.
pub(crate) fn run_token(command: TokenCommand, output: Output) -> anyhow::Result<()> {
    match command {
        TokenCommand::Create(args) => {
            let body = given(&[
                ("expires-in", &args.expires_in),
                ("description", &args.description),
            ]);
            let path = principal_path(&args.name, "/tokens");
            make(&args.server, &path, &body, output)
        }
        TokenCommand::Rotate(args) => {
            let body = given(&[("expires-in", &args.expires_in), ("overlap", &args.overlap)]);
            let path = principal_path(&args.name, &format!("/tokens/{}/rotate", args.id));
            make(&args.server, &path, &body, output)
        }
        TokenCommand::List(args) => {
            let client = Client::new(&args.server)?;
            let answer = block_on(client.get(&principal_path(&args.name, "/tokens")))?;
            output.show(&answer, || lines(&answer, "no tokens", token_line));
            Ok(())
        }
        TokenCommand::Revoke(args) => {
            let client = Client::new(&args.server)?;
            let path = principal_path(&args.name, &format!("/tokens/{}", args.id));
            block_on(client.delete(&path))?;
            removed(output, &args.id, &format!("token `{}`", args.id));
            Ok(())
        }
    }
}

/// An object of what was said.
fn given(members: &[(&str, &Option<String>)]) -> Value {
    let said = members.iter();
    said.filter_map(|(name, value)| Some(((*name).to_owned(), json!(value.as_ref()?))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn removed(output: Output, id: &str, what: &str) {
    output.show(&json!({"id": id, "removed": true}), || format!("{what}: removed"));
}

fn add(args: &AddArgs, output: Output) -> anyhow::Result<()> {
    let role = args.role.to_possible_value();
    let mut body = given(&[("description", &args.description)]);
    body["role"] = json!(role.as_ref().map(clap::builder::PossibleValue::get_name));
    body["disabled"] = json!(args.disabled);
    if let Some(apis) = &args.apis {
        body["apis"] = json!(apis);
    }
    let client = Client::new(&args.server)?;
    let answer = block_on(client.put(&principal_path(&args.name, ""), &body))?;
    output.show(&answer, || principal_line(&answer));
    Ok(())
}

fn list(server: &ServerArgs, output: Output) -> anyhow::Result<()> {
    let client = Client::new(server)?;
    let answer = block_on(client.get("/v1/principals?limit=1000"))?;
    output.show(&answer, || {
        lines(
            &answer,
            "no principals beside `root`, who has the token file",
            principal_line,
        )
    });
    Ok(())
}

fn make(server: &ServerArgs, path: &str, body: &Value, output: Output) -> anyhow::Result<()> {
    let client = Client::new(server)?;
    let answer = block_on(client.post(path, body))?;
    output.show(&answer, || {
        let mut told = format!(
            "{}\n\ntoken `{}` of `{}`, good until {}. It is not shown again.",
            text(&answer, "token"),
            text(&answer, "id"),
            text(&answer, "principal"),
            text(&answer, "expires-at")
        );
        if let Some(old) = answer["replaces"].as_str() {
            let until = text(&answer, "replaced-expires-at");
            // writing to a String cannot fail
            let _unused = write!(told, "\ntoken `{old}` is good until {until}");
        }
        told
    });
    Ok(())
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or("-")
}

fn lines(answer: &Value, none: &str, line: fn(&Value) -> String) -> String {
    let items = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    if items.is_empty() {
        return none.to_owned();
    }
    items.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn principal_line(principal: &Value) -> String {
    let apis: Vec<_> = principal["apis"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let disabled = if principal["disabled"] == true {
        ", disabled"
    } else {
        ""
    };
    format!(
        "principal `{}`: {} for APIs {}{disabled}",
        text(principal, "id"),
        text(principal, "role"),
        apis.join(", ")
    )
}

fn token_line(token: &Value) -> String {
    let ended = if token["expired"] == true { " (ended)" } else { "" };
    format!(
        "token `{}` {} until {}{ended}, last used {}, {}",
        text(token, "id"),
        text(token, "fingerprint"),
        text(token, "expires-at"),
        text(token, "last-used-at"),
        text(token, "description")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_and_tokens_are_told_in_a_line_each() {
        let principal =
            json!({"id": "ci", "role": "publisher", "apis": ["pets", "shop-*"], "disabled": true});
        assert_eq!(
            principal_line(&principal),
            "principal `ci`: publisher for APIs pets, shop-*, disabled"
        );
        let tokens = json!({"items": [{"id": "abcdefgh", "fingerprint": "sha256:0123", "expires-at": "2027-01-01T00:00:00.000Z", "expired": true}]});
        assert_eq!(
            lines(&tokens, "none", token_line),
            "token `abcdefgh` sha256:0123 until 2027-01-01T00:00:00.000Z (ended), last used -, -"
        );
        assert_eq!(lines(&json!({"items": []}), "none", token_line), "none");
        assert_eq!(
            given(&[("a", &None), ("b", &Some("x".to_owned()))]),
            json!({"b": "x"})
        );
    }
}
