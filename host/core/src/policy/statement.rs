//! A policy that was read, and what it says about a request.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    arn::{Action, Actions, Home},
    condition::Condition,
    key::Key,
    pattern::Pattern,
    principal::{Grasp, Name},
    request::Request,
};

/// What a policy belongs to, which decides what has to stand in it and how large it may be.
#[derive(Clone, Copy, Debug)]
pub enum PolicyKind<'a> {
    /// The resource policy of an API. It names principals; resources may be written in short.
    Resource(&'a Home),
    /// What an authorizer says of the caller that it has looked at.
    Authorizer,
    /// What is granted to an IAM user or role.
    Identity,
}

/// The version of the language.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Version {
    /// What a policy without a version has: no variables.
    #[default]
    Of2008,
    /// With variables.
    Of2012,
}

impl Version {
    /// Both, with how they are written.
    pub(super) const ALL: [(&str, Self); 2] = [("2012-10-17", Self::Of2012), ("2008-10-17", Self::Of2008)];
}

/// What a statement does to the requests that it applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Effect {
    /// They may.
    Allow,
    /// They may not, whatever else allows them.
    Deny,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "Allow",
            Self::Deny => "Deny",
        })
    }
}

/// A policy, ready to be held against requests. Nothing is parsed or allocated for a request, except that of a pattern with more than eight parts, some
/// of them variables, the parts are put into one list.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub(super) version: Version,
    pub(super) id: Option<Box<str>>,
    pub(super) statements: Box<[Statement]>,
}

/// A rule of a policy.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Statement {
    pub(super) sid: Option<Box<str>>,
    pub(super) effect: Effect,
    /// None in policies that belong to somebody.
    pub(super) principals: Option<Principals>,
    pub(super) actions: ActionTest,
    pub(super) resources: Resources,
    pub(super) conditions: Box<[Condition]>,
}

/// `Principal` or `NotPrincipal`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Principals {
    pub(super) negated: bool,
    /// Kind and text as they stand in the policy, and what they mean.
    pub(super) names: Box<[(&'static str, Box<str>, Name)]>,
}

/// `Action` or `NotAction`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ActionTest {
    pub(super) negated: bool,
    pub(super) texts: Box<[Box<str>]>,
    /// Those of all actions that the texts match.
    pub(super) named: Actions,
}

/// `Resource` or `NotResource`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Resources {
    pub(super) negated: bool,
    /// As they stand in the policy, short ones in full.
    pub(super) texts: Box<[Box<str>]>,
    pub(super) patterns: Box<[Pattern]>,
}

impl Principals {
    pub(super) fn grasp(&self, request: &Request<'_>) -> Grasp {
        let grasps = self.names.iter().map(|(_, _, name)| name.grasp(&request.caller));
        if !self.negated {
            // the closest one
            return grasps.max_by_key(|grasp| *grasp as u8).unwrap_or(Grasp::Not);
        }
        let mut grasps = grasps;
        if grasps.any(|grasp| grasp != Grasp::Not) {
            Grasp::Not
        } else {
            Grasp::Direct
        }
    }
}

impl ActionTest {
    pub(super) fn matches(&self, action: Action) -> bool {
        self.named.has(action) != self.negated
    }
}

impl Resources {
    pub(super) fn matches(&self, request: &Request<'_>) -> bool {
        let mut patterns = self.patterns.iter();
        patterns.any(|pattern| pattern.matches(request.arn.as_str(), request)) != self.negated
    }
}

impl Statement {
    /// Whether it applies to a request, and by what of the caller. Cheap tests come first.
    fn grasp(&self, request: &Request<'_>) -> Grasp {
        if !self.actions.matches(request.action) {
            return Grasp::Not;
        }
        let grasp = self
            .principals
            .as_ref()
            .map_or(Grasp::Direct, |principals| principals.grasp(request));
        let applies = grasp != Grasp::Not
            && self.resources.matches(request)
            && self.conditions.iter().all(|condition| condition.holds(request));
        if applies { grasp } else { Grasp::Not }
    }

    /// The condition keys of policy variables in it.
    pub(super) fn variables(&self) -> impl Iterator<Item = &Key> {
        let of_conditions = self.conditions.iter().flat_map(Condition::variables);
        let of_resources = self.resources.patterns.iter().flat_map(Pattern::keys);
        of_conditions.chain(of_resources)
    }

    /// The condition keys that it looks at.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        let own = self.conditions.iter().map(|condition| &condition.key);
        own.chain(self.variables())
    }

    fn document(&self) -> Value {
        let mut document = Map::new();
        if let Some(sid) = &self.sid {
            document.insert("Sid".to_owned(), json!(sid));
        }
        document.insert("Effect".to_owned(), json!(self.effect));
        if let Some(principals) = &self.principals {
            let mut by_kind = Map::new();
            for (kind, text, _) in &principals.names {
                let texts = by_kind.entry(*kind).or_insert_with(|| json!([]));
                if let Some(texts) = texts.as_array_mut() {
                    texts.push(json!(text));
                }
            }
            document.insert(named("Principal", principals.negated), Value::Object(by_kind));
        }
        document.insert(named("Action", self.actions.negated), json!(self.actions.texts));
        document.insert(
            named("Resource", self.resources.negated),
            json!(self.resources.texts),
        );
        let mut by_operator = Map::new();
        for condition in &self.conditions {
            let keys = by_operator
                .entry(condition.operator.name())
                .or_insert_with(|| json!({}));
            if let Some(keys) = keys.as_object_mut() {
                keys.insert(condition.key.name().into_owned(), json!(condition.values));
            }
        }
        if !by_operator.is_empty() {
            document.insert("Condition".to_owned(), Value::Object(by_operator));
        }
        Value::Object(document)
    }
}

/// The name of an element or of its negation.
pub(super) fn named(name: &str, negated: bool) -> String {
    format!("{}{name}", if negated { "Not" } else { "" })
}

/// What a policy says about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is allowed.
    Allow {
        /// Index of the statement; `None` for the answer of an authorizer that is no policy.
        statement: Option<usize>,
        /// The statement names the caller's account and not the caller: within that account it only lets the account's own policies decide.
        by_account: bool,
    },
    /// Nothing.
    Silent,
    /// It is denied.
    Deny {
        /// Index of the statement; `None` for the answer of an authorizer that is no policy.
        statement: Option<usize>,
    },
}

impl From<bool> for Verdict {
    /// The simple answer of an authorizer: whether the caller is authorized.
    fn from(is_authorized: bool) -> Self {
        if is_authorized {
            Self::Allow {
                statement: None,
                by_account: false,
            }
        } else {
            Self::Deny { statement: None }
        }
    }
}

impl Policy {
    /// What it says about a request: the first statement that denies it, else the first one that allows it.
    #[must_use]
    pub fn judge(&self, request: &Request<'_>) -> Verdict {
        let mut verdict = Verdict::Silent;
        for (index, statement) in self.statements.iter().enumerate() {
            // another statement could only allow what is allowed already
            let is_settled = matches!(
                verdict,
                Verdict::Allow {
                    by_account: false,
                    ..
                }
            );
            if is_settled && statement.effect == Effect::Allow {
                continue;
            }
            let grasp = statement.grasp(request);
            match statement.effect {
                _ if grasp == Grasp::Not => {}
                Effect::Deny => {
                    return Verdict::Deny {
                        statement: Some(index),
                    };
                }
                Effect::Allow => {
                    let by_account = grasp == Grasp::ByAccount;
                    if verdict == Verdict::Silent || !by_account {
                        verdict = Verdict::Allow {
                            statement: Some(index),
                            by_account,
                        };
                    }
                }
            }
        }
        verdict
    }

    /// Number of its statements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.statements.len()
    }

    /// Whether it has no statements, which no policy is that was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// The name of a statement.
    #[must_use]
    pub fn sid(&self, statement: usize) -> Option<&str> {
        self.statements.get(statement)?.sid.as_deref()
    }

    /// The condition keys that it looks at, each once. A caller that keeps decisions has to know them.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = self
            .statements
            .iter()
            .flat_map(Statement::keys)
            .cloned()
            .collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// The policy as a document: lists everywhere, short resources in full. It reads as the same policy.
    #[must_use]
    pub fn document(&self) -> Value {
        let version = Version::ALL.iter().find(|(_, version)| *version == self.version);
        let mut document = json!({"Version": version.map(|(name, _)| *name)});
        if let Some(id) = &self.id {
            document["Id"] = json!(id);
        }
        document["Statement"] = self.statements.iter().map(Statement::document).collect();
        document
    }
}
