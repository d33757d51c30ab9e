//! What a function answers: a policy (any payload format) or a verdict (`isAuthorized`).

use serde_json::{Map, Number, Value};

use crate::{
    config::{ApiKind, PayloadFormat},
    seen::scalar,
    settings::Settings,
};

/// Longest policy in bytes: what the gateway takes.
pub const POLICY_LIMIT: usize = 32_768;
/// Most statements of a policy.
pub const STATEMENTS_LIMIT: usize = 256;
/// Longest resource of a policy in characters.
pub const RESOURCE_LIMIT: usize = 512;
/// Longest `principalId` and `usageIdentifierKey` in bytes.
pub const NAME_LIMIT: usize = 1024;
/// Most members of `context`.
pub const CONTEXT_LIMIT: usize = 100;
/// Names and values of `context` together, in bytes.
pub const CONTEXT_BYTES_LIMIT: usize = 32_768;

/// What a function said.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// May the caller pass?
    pub verdict: Verdict,
    /// `context`, without members that are null.
    pub context: Vec<(String, Fact)>,
    /// `usageIdentifierKey`
    pub usage_key: Option<String>,
    /// `principalId`, or what stands for it.
    pub principal: Option<String>,
}

/// May the caller pass?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As the policy says, request by request: JSON text.
    Policy(String),
    /// Yes.
    Authorized,
    /// No.
    Refused,
}

/// A member of `context`.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// Text, or a scalar as text.
    Text(String),
    /// A number.
    Number(Number),
    /// A truth value.
    Boolean(bool),
    /// An object or an array, JSON text.
    Json(String),
}

/// Reads what a function answered.
///
/// # Errors
/// It is no verdict; the text names the member and not its value.
pub fn read(settings: &Settings, body: &[u8]) -> Result<Output, String> {
    let value: Value = serde_json::from_slice(body).map_err(|error| format!("no JSON: {error}"))?;
    let Value::Object(members) = value else {
        return Err("no JSON object".into());
    };
    let context = context(settings, members.get("context"))?;
    let (verdict, principal) = if settings.simple_responses {
        let of = settings.principal_from.as_ref();
        let name = of.and_then(|name| members.get("context")?.get(name).and_then(scalar));
        if let (Some(of), None, Verdict::Authorized) = (of, &name, simple(&members)?) {
            return Err(format!(
                "context.{of}, which names the caller, is missing or no scalar"
            ));
        }
        let name = name.map(|name| checked("the caller's name", &name)).transpose()?;
        (simple(&members)?, name)
    } else {
        let principal = match members.get("principalId") {
            Some(Value::String(text)) => checked("principalId", text)?,
            Some(_) => return Err("principalId is no text".into()),
            None => return Err("principalId is missing".into()),
        };
        (Verdict::Policy(policy(&members)?), Some(principal))
    };
    let usage_key = match members.get("usageIdentifierKey") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(checked("usageIdentifierKey", text)?),
        Some(_) => return Err("usageIdentifierKey is no text".into()),
    };
    Ok(Output {
        verdict,
        context,
        usage_key,
        principal,
    })
}

/// A real boolean: `"false"` is none.
fn simple(members: &Map<String, Value>) -> Result<Verdict, String> {
    match members.get("isAuthorized") {
        Some(Value::Bool(true)) => Ok(Verdict::Authorized),
        Some(Value::Bool(false)) => Ok(Verdict::Refused),
        Some(_) => Err("isAuthorized is no boolean".into()),
        None => Err("isAuthorized is missing".into()),
    }
}

/// A name that ends up in logs and header fields.
fn checked(what: &str, text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > NAME_LIMIT || text.chars().any(char::is_control) {
        return Err(format!(
            "{what} is empty, longer than {NAME_LIMIT} bytes or has control characters"
        ));
    }
    Ok(text.to_owned())
}

/// The policy as text. The gateway reads it: here is looked at what everybody's policy must have, so that the log can say what is missing.
fn policy(members: &Map<String, Value>) -> Result<String, String> {
    let policy = match members.get("policyDocument") {
        Some(Value::Object(policy)) => policy,
        Some(_) => return Err("policyDocument is no object".into()),
        None => return Err("policyDocument is missing".into()),
    };
    let statements = match policy.get("Statement") {
        Some(Value::Array(list)) if list.len() > STATEMENTS_LIMIT => {
            return Err(format!(
                "policyDocument.Statement has {} members, the limit is {STATEMENTS_LIMIT}",
                list.len()
            ));
        }
        Some(Value::Array(list)) => list.as_slice(),
        Some(one @ Value::Object(_)) => std::slice::from_ref(one),
        Some(_) => return Err("policyDocument.Statement is no list and no object".into()),
        None => return Err("policyDocument.Statement is missing".into()),
    };
    for (index, statement) in statements.iter().enumerate() {
        let at = format!("policyDocument.Statement[{index}]");
        let wrong = |what: &str| Err(format!("{at}.{what}"));
        if !statement.is_object() {
            return Err(format!("{at} is no object"));
        }
        if !matches!(statement["Effect"].as_str(), Some("Allow" | "Deny")) {
            return wrong("Effect is neither \"Allow\" nor \"Deny\"");
        }
        for (name, not) in [("Action", "NotAction"), ("Resource", "NotResource")] {
            let texts = match (statement.get(name), statement.get(not)) {
                (Some(value), None) | (None, Some(value)) => texts(value),
                _ => return Err(format!("{at} needs {name} or {not}")),
            };
            let Some(texts) = texts else {
                return wrong(&format!("{name} is no text and no list of texts"));
            };
            let long = |text: &&str| text.chars().count() > RESOURCE_LIMIT;
            if texts.iter().any(long) {
                return wrong(&format!("{name} is longer than {RESOURCE_LIMIT} characters"));
            }
        }
    }
    let text = serde_json::to_string(policy).map_err(|error| error.to_string())?;
    if text.len() > POLICY_LIMIT {
        let length = text.len();
        return Err(format!(
            "policyDocument has {length} bytes, the limit is {POLICY_LIMIT}"
        ));
    }
    Ok(text)
}

fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(list) if !list.is_empty() => list.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

fn context(settings: &Settings, value: Option<&Value>) -> Result<Vec<(String, Fact)>, String> {
    let members = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(members)) => members,
        Some(_) => return Err("context is no object".into()),
    };
    if members.len() > CONTEXT_LIMIT {
        let count = members.len();
        return Err(format!(
            "context has {count} members, the limit is {CONTEXT_LIMIT}"
        ));
    }
    let typed = settings.payload_format == PayloadFormat::V2;
    let mut facts = Vec::new();
    let mut bytes = 0;
    for (name, value) in members {
        if name == "claims" && settings.api == ApiKind::Http && !typed {
            return Err("context.claims is a reserved name".into());
        }
        let fact = match value {
            Value::Null => continue,
            Value::String(text) => Fact::Text(text.clone()),
            Value::Number(number) if typed => Fact::Number(number.clone()),
            Value::Bool(truth) if typed => Fact::Boolean(*truth),
            Value::Number(number) => Fact::Text(number.to_string()),
            Value::Bool(truth) => Fact::Text(truth.to_string()),
            Value::Array(_) | Value::Object(_) if typed => Fact::Json(value.to_string()),
            Value::Array(_) | Value::Object(_) => {
                return Err("context has a member that is an object or an array".into());
            }
        };
        bytes += name.len()
            + match &fact {
                Fact::Text(text) | Fact::Json(text) => text.len(),
                Fact::Number(_) | Fact::Boolean(_) => 8,
            };
        if bytes > CONTEXT_BYTES_LIMIT {
            return Err(format!("context has more than {CONTEXT_BYTES_LIMIT} bytes"));
        }
        facts.push((name.clone(), fact));
    }
    Ok(facts)
}
