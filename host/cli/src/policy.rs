//! `edgeward policy`: what policies say, without a gateway.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use edgeward_control::clock::now_ms;
use edgeward_core::policy::explain::Question;
use serde_json::{Value, json};

use crate::output::{Invalid, Output};

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Decide whether a caller may call a method, and say why: which statement decides, and what of each does not match.
    Explain(ExplainArgs),
}

#[derive(clap::Args)]
pub(crate) struct ExplainArgs {
    /// File with the caller's policy: what an authorizer answers, or what IAM grants.
    #[arg(long, value_name = "FILE", required_unless_present = "resource_policy")]
    policy: Option<PathBuf>,
    /// File with the resource policy of the API.
    #[arg(long, value_name = "FILE")]
    resource_policy: Option<PathBuf>,
    /// What is called: `arn:aws:execute-api:{region}:{account}:{api}/{stage}/{VERB}/{path}`.
    #[arg(long)]
    arn: String,
    /// What is done [default: execute-api:Invoke].
    #[arg(long)]
    action: Option<String>,
    /// Who calls: an ARN, an account, a service [default: nobody that IAM knows].
    #[arg(long)]
    principal: Option<String>,
    /// The caller's account [default: that of its ARN].
    #[arg(long)]
    account: Option<String>,
    /// A condition key of the request, e.g. `aws:SourceIp=192.0.2.1`. Can be said for several, and of one several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    context: Vec<(String, String)>,
    /// How callers are authorized: none, lambda, cognito, iam, iam-same-account or iam-cross-account [default: what principal and policies suggest].
    #[arg(long)]
    kind: Option<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("needs the form KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Runs a command about policies.
pub(crate) fn run(command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Explain(args) => explain(args, output),
    }
}

fn explain(args: ExplainArgs, output: Output) -> anyhow::Result<()> {
    let read =
        |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let question = Question {
        kind: args.kind,
        policy: args.policy.as_deref().map(read).transpose()?,
        resource_policy: args.resource_policy.as_deref().map(read).transpose()?,
        arn: args.arn,
        action: args.action,
        principal: args.principal,
        account: args.account,
        context: context(args.context),
    };
    let explanation = question
        .answer(now_ms().div_euclid(1000))
        .map_err(|problems| Invalid {
            what: "cannot explain".to_owned(),
            problems,
        })?;
    output.show(&explanation, || explanation.to_string());
    Ok(())
}

/// Values by key; what is said several times has several values.
fn context(pairs: Vec<(String, String)>) -> BTreeMap<String, Value> {
    let mut context = BTreeMap::new();
    for (key, value) in pairs {
        match context.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(json!(value));
            }
            Entry::Occupied(mut entry) => match entry.get_mut() {
                Value::Array(values) => values.push(json!(value)),
                first => *first = json!([first.take(), value]),
            },
        }
    }
    context
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_several_times_has_several_values() {
        let pairs = ["a=1", "b=x=y", "a=2", "a="].map(|text| pair(text).unwrap());
        assert_eq!(
            json!(context(pairs.into())),
            json!({"a": ["1", "2", ""], "b": "x=y"})
        );
        assert!(pair("a").is_err());
    }
}
