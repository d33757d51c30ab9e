//! An evaluator that knows the language and nothing of the code beside it: it reads the document anew for each question, and wildcards are tried out in a table.
//! Tests and fuzzing hold [`Policy`](super::Policy) against it.

use std::{collections::BTreeMap, net::IpAddr};

use serde_json::{Map, Value};

use super::{Caller, Verdict, date};

/// What is asked of a policy.
pub(crate) struct Asked<'a> {
    pub(crate) action: &'a str,
    pub(crate) arn: &'a str,
    pub(crate) caller: Caller<'a>,
    /// Values by key, in lower case.
    pub(crate) facts: &'a BTreeMap<String, Vec<String>>,
}

/// A character of a pattern.
#[derive(Clone, Copy, PartialEq)]
enum Sign {
    Is(char),
    One,
    Many,
}

/// Whether a text is like a pattern with `*` and `?`.
#[cfg(test)]
pub(crate) fn like(pattern: &str, text: &str) -> bool {
    let signs: Vec<Sign> = pattern.chars().map(wild).collect();
    fits(&signs, text)
}

fn wild(c: char) -> Sign {
    match c {
        '*' => Sign::Many,
        '?' => Sign::One,
        c => Sign::Is(c),
    }
}

/// A row for each sign: which beginnings of the text are like the pattern up to it.
fn fits(signs: &[Sign], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let mut row = vec![false; text.len() + 1];
    row[0] = true;
    for sign in signs {
        let mut next = vec![false; text.len() + 1];
        for end in 0..=text.len() {
            next[end] = match sign {
                Sign::Many => row[end] || (end > 0 && next[end - 1]),
                Sign::One => end > 0 && row[end - 1],
                Sign::Is(c) => end > 0 && row[end - 1] && text[end - 1] == *c,
            };
        }
        row = next;
    }
    row[text.len()]
}

impl Asked<'_> {
    /// Values that are no empty text; `None` if there is none.
    fn values(&self, key: &str) -> Option<Vec<&String>> {
        let values = self.facts.get(&key.to_ascii_lowercase())?.iter();
        let values: Vec<_> = values.filter(|value| !value.is_empty()).collect();
        (!values.is_empty()).then_some(values)
    }

    /// A text with its variables in place, as signs. `None`: one has no value.
    fn signs(&self, text: &str, wildcards: bool, variables: bool) -> Option<Vec<Sign>> {
        let plain = |c| if wildcards { wild(c) } else { Sign::Is(c) };
        if !variables {
            return Some(text.chars().map(plain).collect());
        }
        let mut parts = text.split("${");
        let mut signs: Vec<Sign> = parts.next()?.chars().map(plain).collect();
        let mut open = String::new();
        for part in parts {
            open += part;
            // a brace in a default ends nothing
            let end = open
                .char_indices()
                .find(|(at, c)| *c == '}' && open[..*at].matches('\'').count().is_multiple_of(2));
            let Some((end, _)) = end else {
                open += "${";
                continue;
            };
            let (inside, behind) = (&open[..end], &open[end + 1..]);
            match inside {
                "*" | "?" | "$" => signs.extend(inside.chars().map(Sign::Is)),
                _ => signs.extend(self.variable(inside)?.chars().map(Sign::Is)),
            }
            signs.extend(behind.chars().map(plain));
            open.clear();
        }
        Some(signs)
    }

    fn variable(&self, inside: &str) -> Option<String> {
        let (name, default) = inside.split_once(',').unwrap_or((inside, ""));
        if let Some([value]) = self.values(name.trim()).as_deref() {
            return Some((*value).clone());
        }
        let default = default.trim();
        let inner = default.get(1..default.len().checked_sub(1)?)?;
        Some(inner.replace("''", "'"))
    }

    fn is_like(&self, pattern: &str, text: &str, wildcards: bool, variables: bool) -> bool {
        let signs = self.signs(pattern, wildcards, variables);
        signs.is_some_and(|signs| fits(&signs, text))
    }

    /// Whether a value of the request is as one of the policy's, by the name of an operator without its negation.
    fn compares(&self, operator: &str, wanted: &str, seen: &str, variables: bool) -> bool {
        let ordered = |order: Option<std::cmp::Ordering>| {
            let rest = operator.trim_start_matches("numeric").trim_start_matches("date");
            order.is_some_and(|order| match rest {
                "equals" => order.is_eq(),
                "lessthan" => order.is_lt(),
                "lessthanequals" => order.is_le(),
                "greaterthan" => order.is_gt(),
                _ => order.is_ge(),
            })
        };
        match operator {
            "stringequals" => self.is_like(wanted, seen, false, variables),
            "stringlike" => self.is_like(wanted, seen, true, variables),
            "stringequalsignorecase" => {
                let signs = self.signs(wanted, false, variables).map(|signs| {
                    let chars = signs.iter().filter_map(|sign| match sign {
                        Sign::Is(c) => Some(*c),
                        Sign::One | Sign::Many => None,
                    });
                    chars.flat_map(char::to_lowercase).collect::<String>()
                });
                let seen: String = seen.chars().flat_map(char::to_lowercase).collect();
                signs == Some(seen)
            }
            "bool" => {
                let is_flag = ["true", "false"].contains(&&*seen.to_ascii_lowercase());
                is_flag && self.compares("stringequalsignorecase", wanted, seen, variables)
            }
            "binaryequals" => wanted == seen,
            "ipaddress" => {
                let (base, length) = match wanted.split_once('/') {
                    Some((base, length)) => (base, length.parse().ok()),
                    None => (wanted, None),
                };
                in_range(base, length, seen)
            }
            "arnequals" | "arnlike" => {
                let seen: Vec<&str> = seen.splitn(6, ':').collect();
                let wanted_parts = parts(wanted, variables);
                seen.len() == 6
                    && (wanted == "*"
                        || wanted_parts
                            .iter()
                            .zip(&seen)
                            .all(|(wanted, seen)| self.is_like(wanted, seen, true, variables)))
            }
            _ if operator.starts_with("numeric") => {
                let number = |text: &str| {
                    let plain = text.bytes().all(|byte| b"0123456789+-.eE".contains(&byte));
                    text.parse::<f64>()
                        .ok()
                        .filter(|number| plain && number.is_finite())
                };
                let both = number(seen).zip(number(wanted));
                ordered(both.and_then(|(seen, wanted)| seen.partial_cmp(&wanted)))
            }
            _ => {
                let both = date::read(seen).zip(date::read(wanted));
                ordered(both.map(|(seen, wanted)| seen.cmp(&wanted)))
            }
        }
    }

    fn condition(&self, name: &str, key: &str, wanted: &[String], variables: bool) -> bool {
        let name = name.to_lowercase();
        let (quantifier, name) = match name.split_once(':') {
            Some((quantifier, name)) => (quantifier, name),
            None => ("", &*name),
        };
        let (name, if_exists) = match name.strip_suffix("ifexists") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let seen = self.values(key);
        if name == "null" {
            let says = if seen.is_none() { "true" } else { "false" };
            return wanted.iter().any(|wanted| wanted.to_lowercase() == says);
        }
        let negated = name.contains("not");
        let name = name.replace("not", "");
        let Some(seen) = seen else {
            return match quantifier {
                "forallvalues" => true,
                "foranyvalue" => if_exists,
                _ => if_exists || negated,
            };
        };
        let one = |seen: &&String| {
            let mut wanted = wanted.iter();
            wanted.any(|wanted| self.compares(&name, wanted, seen, variables))
        };
        let count = seen.iter().filter(|seen| one(seen)).count();
        match (quantifier, negated) {
            ("forallvalues", false) => count == seen.len(),
            ("foranyvalue", true) => count < seen.len(),
            ("forallvalues", true) | (_, true) => count == 0,
            _ => count > 0,
        }
    }

    /// How the names of a statement and the caller go together: 0 not, 1 by the account, 2 directly.
    fn principal(&self, names: &Value) -> u8 {
        if names == "*" {
            return 2;
        }
        let grasp = |kind: &str, name: &String| match (kind, self.caller) {
            ("AWS", _) if name == "*" => 2,
            ("AWS", Caller::Aws { account, arn, role }) => {
                let root = format!(":{account}:root");
                let fields: Vec<&str> = name.splitn(6, ':').collect();
                let short = fields
                    .last()
                    .and_then(|name| name.rsplit('/').next())
                    .unwrap_or_default();
                let session = |word: &str, end: &str| match fields.as_slice() {
                    [_, partition, "iam", _, account, _] => {
                        format!("arn:{partition}:sts::{account}:{word}/{short}{end}")
                    }
                    _ => "\0".to_owned(),
                };
                let is_role = fields.last().is_some_and(|name| name.starts_with("role/"));
                let is_user = fields.last().is_some_and(|name| name.starts_with("user/"));
                if name == account || name.ends_with(&root) {
                    1
                } else if name == arn
                    || role.is_some_and(|role| name == role)
                    || (role.is_none() && is_role && arn.starts_with(&session("assumed-role", "/")))
                    || (role.is_none() && is_user && arn == session("federated-user", ""))
                {
                    2
                } else {
                    0
                }
            }
            ("Service", Caller::Service(own)) | ("Federated", Caller::Federated(own))
                if name == "*" || name == own =>
            {
                2
            }
            _ => 0,
        };
        let kinds = names.as_object().into_iter().flatten();
        let all = kinds.flat_map(|(kind, names)| {
            texts(names)
                .into_iter()
                .map(|name| grasp(kind, &name))
                .collect::<Vec<_>>()
        });
        all.max().unwrap_or(0)
    }

    fn statement(&self, statement: &Map<String, Value>, variables: bool) -> u8 {
        let action = |text: &String| {
            let action = self.action.to_ascii_lowercase();
            self.is_like(&text.to_ascii_lowercase(), &action, true, false)
        };
        let resource = |text: &String| self.is_like(text, self.arn, true, variables);
        let by = match (statement.get("Principal"), statement.get("NotPrincipal")) {
            (Some(names), _) => self.principal(names),
            (None, Some(names)) if self.principal(names) > 0 => 0,
            _ => 2,
        };
        let element = |name: &str, fits: &dyn Fn(&String) -> bool| match statement.get(name) {
            Some(value) => texts(value).iter().any(fits),
            None => !texts(&statement[&format!("Not{name}")]).iter().any(fits),
        };
        let conditions = statement.get("Condition").and_then(Value::as_object);
        let holds = conditions.into_iter().flatten().all(|(operator, keys)| {
            let mut keys = keys.as_object().into_iter().flatten();
            keys.all(|(key, wanted)| self.condition(operator, key, &texts(wanted), variables))
        });
        if element("Action", &action) && element("Resource", &resource) && holds {
            by
        } else {
            0
        }
    }
}

/// The parts of an ARN between colons that belong to no variable.
fn parts(text: &str, variables: bool) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut depth, mut quotes) = (0, 0);
    let chars: Vec<char> = text.chars().collect();
    for (at, c) in chars.iter().enumerate() {
        let opens = variables && depth == 0 && *c == '$' && chars.get(at + 1) == Some(&'{');
        if opens {
            depth = 1;
            quotes = 0;
        }
        if *c == '\'' {
            quotes += 1;
        }
        let count = parts.len();
        match parts.last_mut() {
            Some(_) if *c == ':' && depth == 0 && count < 6 => parts.push(String::new()),
            Some(last) => last.push(*c),
            None => {}
        }
        if *c == '}' && quotes % 2 == 0 {
            depth = 0;
        }
    }
    parts
}

/// Whether the first bits of two addresses are the same.
fn in_range(base: &str, length: Option<u32>, seen: &str) -> bool {
    let (Ok(base), Ok(seen)) = (base.parse::<IpAddr>(), seen.parse::<IpAddr>()) else {
        return false;
    };
    // all in the form of IPv6
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    };
    let length = length.map_or(128, |length| if base.is_ipv4() { 96 + length } else { length });
    // what is larger than all IPv4 addresses is of IPv6 and has none of them
    if length < 96 && seen.to_canonical().is_ipv4() {
        return false;
    }
    let free = 128 - length;
    bits(base).checked_shr(free).unwrap_or(0) == bits(seen).checked_shr(free).unwrap_or(0)
}

/// A value or a list of some as texts.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::String(text) => vec![text.clone()],
        other => vec![other.to_string()],
    }
}

/// What a document, which has to be a policy, says.
pub(crate) fn judge(document: &Value, asked: &Asked<'_>) -> Verdict {
    let variables = document["Version"] == "2012-10-17";
    let statements: Vec<&Value> = match &document["Statement"] {
        Value::Array(items) => items.iter().collect(),
        one => vec![one],
    };
    let applies = |effect: &str, by: u8| {
        statements.iter().position(|statement| {
            let members = statement.as_object();
            statement["Effect"] == effect
                && members.is_some_and(|members| asked.statement(members, variables) == by)
        })
    };
    let denies = [applies("Deny", 1), applies("Deny", 2)];
    if let Some(statement) = denies.into_iter().flatten().min() {
        return Verdict::Deny {
            statement: Some(statement),
        };
    }
    match (applies("Allow", 2), applies("Allow", 1)) {
        (None, None) => Verdict::Silent,
        (direct, account) => Verdict::Allow {
            statement: direct.or(account),
            by_account: direct.is_none(),
        },
    }
}
