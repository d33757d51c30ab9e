//! A question to the simulator, as its command and the admin API take it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Value, value::RawValue};

use super::{Explanation, explain};
use crate::{
    config::{Problem, Problems},
    policy::{
        Action, Authorization, Caller, Context as _, Facts, Home, Key, MethodArn, Policy, PolicyKind, Read,
        Request, Values, arn::split, date, read::shown, request::role_of_session,
    },
};

/// Keys of the context, bytes of all its values, and of an ARN: what somebody may have looked at by one question.
const KEYS_MAX: usize = 256;
const CONTEXT_MAX: usize = 32 << 10;
const ARN_MAX: usize = 16 << 10;

/// A question: may somebody do something to a method?
#[derive(Clone, Debug, Default, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Question {
    /// How callers are authorized: `none`, `lambda`, `cognito`, `iam-same-account`, `iam-cross-account`, or `iam`, which looks at the accounts. Default: `iam`
    /// for a principal of IAM, else `lambda` if there is a policy of the caller, else `none`.
    pub kind: Option<String>,
    /// The caller's policy: what an authorizer answers, or what IAM grants. As an object, or as text.
    #[serde(deserialize_with = "document")]
    #[schemars(schema_with = "document_schema")]
    pub policy: Option<String>,
    /// The API's policy, likewise.
    #[serde(deserialize_with = "document")]
    #[schemars(schema_with = "document_schema")]
    pub resource_policy: Option<String>,
    /// What is called: `arn:aws:execute-api:{region}:{account}:{api}/{stage}/{VERB}/{path}`.
    pub arn: String,
    /// What is done. Default `execute-api:Invoke`.
    pub action: Option<String>,
    /// Who calls: the ARN of a user, a session or an account's root, an account, the name of a service or of a provider of identities. Default: nobody that IAM knows.
    pub principal: Option<String>,
    /// The caller's account. Default: that of its ARN.
    pub account: Option<String>,
    /// Condition keys of the request: a text, a number, a boolean, or a list of some.
    pub context: BTreeMap<String, Value>,
}

/// What a policy may be in a question.
fn document_schema(_all: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": ["object", "string", "null"]})
}

/// The text of a policy that stands in a document as it is, or as a string.
fn document<'de, D: Deserializer<'de>>(source: D) -> Result<Option<String>, D::Error> {
    let Some(raw) = Option::<Box<RawValue>>::deserialize(source)? else {
        return Ok(None);
    };
    if raw.get().starts_with('"') {
        return serde_json::from_str(raw.get())
            .map(Some)
            .map_err(D::Error::custom);
    }
    Ok(Some(raw.get().to_owned()))
}

impl Question {
    /// The answer, at an instant in seconds since 1970, unless the context has `aws:CurrentTime`.
    ///
    /// # Errors
    /// Everything that is wrong with the question and its policies. Places in policies begin with `policy` or `resource-policy`.
    pub fn answer(&self, now: i64) -> Result<Explanation, Problems> {
        let mut problems = Vec::new();
        let mut keep = |problem: Problem| problems.push(problem);
        let arn = self.arn().map_err(&mut keep).ok();
        let home = arn.as_ref().and_then(|arn| arn.home().ok());
        let action = self.action().map_err(&mut keep).ok();
        let caller = self.caller().map_err(&mut keep).ok();
        let kind = match (&home, caller) {
            (Some(home), Some(caller)) => self.kind(home, caller).map_err(&mut keep).ok(),
            _ => None,
        };
        let facts = self.facts(caller).map_err(&mut keep).ok();
        let own = match kind {
            Some(Authorization::IamSameAccount | Authorization::IamCrossAccount) => PolicyKind::Identity,
            Some(Authorization::None | Authorization::Lambda | Authorization::Cognito) | None => {
                PolicyKind::Authorizer
            }
        };
        let policy = read("policy", self.policy.as_deref(), own, &mut problems);
        let resource = home.as_ref().and_then(|home| {
            let text = self.resource_policy.as_deref();
            read("resource-policy", text, PolicyKind::Resource(home), &mut problems)
        });
        if self.policy.is_none() && self.resource_policy.is_none() {
            problems.push(Problem::new(
                "",
                "needs a `policy` of the caller, a `resource-policy`, or both",
            ));
        }
        let ready = (arn, action, caller, kind, facts);
        let (Some(arn), Some(action), Some(caller), Some(kind), Some(facts)) = ready else {
            return Err(Problems(problems));
        };
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        let request = Request {
            action,
            arn: &arn,
            caller,
            now: instant(&facts).unwrap_or(now),
            context: &facts,
        };
        let policies = [&policy, &resource].map(|read| read.as_ref().map(|read| &read.policy));
        let mut explanation = explain(kind, policies[0], policies[1], &request);
        explanation.warnings = [policy, resource]
            .into_iter()
            .flatten()
            .flat_map(|read| read.warnings)
            .collect();
        Ok(explanation)
    }

    fn arn(&self) -> Result<MethodArn, Problem> {
        if self.arn.len() > ARN_MAX {
            let message = format!("{} bytes exceed {ARN_MAX}", self.arn.len());
            return Err(Problem::new("arn", message));
        }
        MethodArn::read(&self.arn)
    }

    fn action(&self) -> Result<Action, Problem> {
        let Some(name) = &self.action else {
            return Ok(Action::default());
        };
        Action::of(name).ok_or_else(|| {
            let all = Action::ALL.map(Action::name).join("`, `");
            Problem::new("action", format!("{} is none of `{all}`", shown(name)))
        })
    }

    fn caller(&self) -> Result<Caller<'_>, Problem> {
        let wrong = |name: &str| {
            let message = format!("{} is no principal that can call an API", shown(name));
            Problem::new("principal", message).hint("e.g. arn:aws:iam::123456789012:user/ann")
        };
        let name = match self.principal.as_deref() {
            None | Some("*" | "anonymous") if self.account.is_none() => return Ok(Caller::Anonymous),
            None => {
                return Err(Problem::new("account", "needs a `principal` that is in it"));
            }
            Some(name) => name,
        };
        let is_account = name.len() == 12 && name.bytes().all(|byte| byte.is_ascii_digit());
        if is_account {
            return Ok(Caller::Aws {
                account: self.account.as_deref().unwrap_or(name),
                arn: name,
                role: None,
            });
        }
        let Some([arn, _, service, _, account, resource]) = split(name) else {
            let service = name.ends_with(".amazonaws.com") || name.ends_with(".amazonaws.com.cn");
            return match name {
                _ if name.is_empty() || name.starts_with("arn:") => Err(wrong(name)),
                _ if service => Ok(Caller::Service(name)),
                _ => Ok(Caller::Federated(name)),
            };
        };
        let kind = resource.split('/').next().unwrap_or_default();
        match (arn, service, kind) {
            ("arn", "iam", "user" | "root") | ("arn", "sts", "assumed-role" | "federated-user") => {
                Ok(Caller::Aws {
                    account: self.account.as_deref().unwrap_or(account),
                    arn: name,
                    role: None,
                })
            }
            ("arn", "iam", "saml-provider" | "oidc-provider") => Ok(Caller::Federated(name)),
            ("arn", "iam", "role") => Err(wrong(name)
                .hint("a role calls as a session: arn:aws:sts::{account}:assumed-role/{role}/{session}")),
            _ => Err(wrong(name)),
        }
    }

    fn kind(&self, home: &Home, caller: Caller<'_>) -> Result<Authorization, Problem> {
        let by_account = match caller {
            Caller::Aws { account, .. } if account == home.account() => Authorization::IamSameAccount,
            Caller::Anonymous | Caller::Aws { .. } | Caller::Service(_) | Caller::Federated(_) => {
                Authorization::IamCrossAccount
            }
        };
        let kind = match self.kind.as_deref() {
            Some("iam") => by_account,
            Some(name) => Authorization::of(name).ok_or_else(|| {
                let all = Authorization::ALL.map(|(name, _)| name).join("`, `");
                Problem::new("kind", format!("{} is none of `iam`, `{all}`", shown(name)))
            })?,
            None if caller != Caller::Anonymous => by_account,
            None if self.policy.is_some() => Authorization::Lambda,
            None => Authorization::None,
        };
        let is_iam = matches!(
            kind,
            Authorization::IamSameAccount | Authorization::IamCrossAccount
        );
        if is_iam && caller == Caller::Anonymous {
            return Err(Problem::new(
                "principal",
                format!("is missing: `{}` knows the caller", kind.name()),
            ));
        }
        if !is_iam && caller != Caller::Anonymous {
            let message = format!(
                "`{}` leaves the caller anonymous: policies do not see it",
                kind.name()
            );
            return Err(Problem::new("principal", message));
        }
        if self.policy.is_some() && matches!(kind, Authorization::None | Authorization::Cognito) {
            let message = format!(
                "`{}` has no policy of the caller: only the resource policy counts",
                kind.name()
            );
            return Err(Problem::new("policy", message));
        }
        Ok(kind)
    }

    /// The context, and what follows from the caller.
    fn facts(&self, caller: Option<Caller<'_>>) -> Result<Facts, Problem> {
        if self.context.len() > KEYS_MAX {
            let message = format!("{} keys exceed {KEYS_MAX}", self.context.len());
            return Err(Problem::new("context", message));
        }
        let mut facts = Facts::default();
        let mut size = 0;
        for (name, value) in &self.context {
            let place = format!("context.{name}");
            let items = match value {
                Value::Array(items) => items.iter().collect(),
                one => vec![one],
            };
            let texts = items.into_iter().map(|item| match item {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                Value::Bool(flag) => Some(flag.to_string()),
                Value::Null | Value::Array(_) | Value::Object(_) => None,
            });
            let texts: Option<Vec<String>> = texts.collect();
            let texts = texts.ok_or_else(|| {
                Problem::new(place, "has to be a text, a number, a boolean, or a list of some")
            })?;
            size += texts.iter().map(String::len).sum::<usize>();
            if size > CONTEXT_MAX {
                let message = format!("has values of more than {CONTEXT_MAX} bytes");
                return Err(Problem::new("context", message));
            }
            facts.add(name, texts);
        }
        if !matches!(facts.values(&Key::CurrentTime), Values::Absent) && instant(&facts).is_none() {
            return Err(Problem::new(
                "context.aws:CurrentTime",
                "is no instant, e.g. `2026-01-31T12:00:00Z`",
            ));
        }
        // the two names of the time go together
        if let Some(now) = instant(&facts) {
            let given: Vec<Key> = facts.keys().cloned().collect();
            if !given.contains(&Key::EpochTime) {
                facts.add("aws:EpochTime", [now.to_string()]);
            }
        }
        if let Some(Caller::Aws { arn, .. }) = caller
            && matches!(facts.values(&Key::PrincipalArn), Values::Absent)
            && let Some(role) = role_of_session(arn)
        {
            facts.add("aws:PrincipalArn", [role]);
        }
        Ok(facts)
    }
}

/// `aws:CurrentTime` of a context, in seconds.
fn instant(facts: &Facts) -> Option<i64> {
    let value = facts.values(&Key::CurrentTime).single()?;
    let ms = value.with_text(date::read)?;
    Some(ms.div_euclid(1000))
}

fn read(name: &str, text: Option<&str>, kind: PolicyKind<'_>, problems: &mut Vec<Problem>) -> Option<Read> {
    let placed = |problem: Problem| {
        // a line and a column of the text, or a pointer into it
        let between = if problem.path.starts_with('/') || problem.path.is_empty() {
            ""
        } else {
            " "
        };
        Problem {
            path: format!("{name}{between}{}", problem.path),
            ..problem
        }
    };
    match Policy::read(text?, kind) {
        Ok(mut read) => {
            read.warnings = read.warnings.into_iter().map(placed).collect();
            Some(read)
        }
        Err(found) => {
            problems.extend(found.0.into_iter().map(placed));
            None
        }
    }
}
