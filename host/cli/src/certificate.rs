//! `edgeward certificate`: put, list, renew and delete certificates of a running gateway.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::{Value, json};

use crate::{
    client::{Client, ServerArgs, block_on, certificate_path},
    output::Output,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Keep a certificate under a name, in place of what was there. Listeners show it by `certificates: [{stored: NAME}]`.
    Put(PutArgs),
    /// List certificates: names, listeners, until when they hold.
    List(ServerArgs),
    /// Order a certificate of an authority (ACME) now. `edgeward status` tells how it went.
    Renew(RenewArgs),
    /// Remove a certificate that no listener asks for by its name.
    Delete(DeleteArgs),
}

#[derive(clap::Args)]
pub(crate) struct PutArgs {
    /// Name of the certificate.
    name: String,
    /// File with the chain, PEM, leaf first.
    #[arg(long)]
    cert: PathBuf,
    /// File with the private key, PEM.
    #[arg(long)]
    key: PathBuf,
    /// A server name it is for, more than once for several. Default: the DNS names in the certificate.
    #[arg(long = "for", value_name = "SERVER-NAME")]
    names: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(clap::Args)]
pub(crate) struct RenewArgs {
    /// Name of the certificate, e.g. `acme:www.example.com`.
    name: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(clap::Args)]
pub(crate) struct DeleteArgs {
    /// Name of the certificate.
    name: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs one of the commands.
pub(crate) fn run(command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Put(args) => put(&args, output),
        Command::List(args) => list(&args, output),
        Command::Renew(args) => renew(&args, output),
        Command::Delete(args) => delete(&args, output),
    }
}

fn put(args: &PutArgs, output: Output) -> anyhow::Result<()> {
    let body = json!({
        "chain": read(&args.cert)?,
        "key": read(&args.key)?,
        "names": args.names,
    });
    let client = Client::new(&args.server)?;
    let answer = block_on(client.put(&certificate_path(&args.name), &body))?;
    output.show(&answer, || line(&answer));
    Ok(())
}

fn list(server: &ServerArgs, output: Output) -> anyhow::Result<()> {
    let client = Client::new(server)?;
    let answer = block_on(client.get("/v1/certificates"))?;
    output.show(&answer, || {
        let all = answer.as_array().map_or(&[][..], Vec::as_slice);
        if all.is_empty() {
            return "no certificates".to_owned();
        }
        all.iter().fold(String::new(), |mut text, certificate| {
            // writing to a String cannot fail
            let _unused = writeln!(text, "{}", line(certificate));
            text
        })
    });
    Ok(())
}

fn renew(args: &RenewArgs, output: Output) -> anyhow::Result<()> {
    let client = Client::new(&args.server)?;
    let path = format!("{}/renew", certificate_path(&args.name));
    let answer = block_on(client.post(&path, &json!({})))?;
    output.show(&answer, || format!("certificate `{}`: being ordered", args.name));
    Ok(())
}

fn delete(args: &DeleteArgs, output: Output) -> anyhow::Result<()> {
    let client = Client::new(&args.server)?;
    block_on(client.delete(&certificate_path(&args.name)))?;
    let text = || format!("certificate `{}`: removed", args.name);
    output.show(&json!({"name": args.name, "removed": true}), text);
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// A certificate, for people.
fn line(certificate: &Value) -> String {
    let text = |key: &str| certificate.get(key).and_then(Value::as_str).unwrap_or("-");
    let list = |key: &str| {
        let values = certificate.get(key).and_then(Value::as_array);
        let values: Vec<_> = values.into_iter().flatten().filter_map(Value::as_str).collect();
        if values.is_empty() {
            "none".to_owned()
        } else {
            values.join(", ")
        }
    };
    format!(
        "certificate `{}` for {}, until {}, listeners: {}",
        text("name"),
        list("names"),
        text("not-after"),
        list("listeners")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_told_in_one_line() {
        let certificate = json!({
            "name": "site", "names": ["a.example", "b.example"], "not-after": "2027-01-01T00:00:00.000Z", "listeners": [],
        });
        assert_eq!(
            line(&certificate),
            "certificate `site` for a.example, b.example, until 2027-01-01T00:00:00.000Z, listeners: none"
        );
    }
}
