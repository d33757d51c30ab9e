//! Documents to policies, or to everything that is wrong with them.

use std::collections::BTreeSet;

use super::{
    arn::{Action, Actions, SERVICE, split},
    condition::{Condition, Operator},
    key::Key,
    pattern::{Pattern, Reading},
    principal::{self, Name},
    statement::{ActionTest, Effect, Policy, PolicyKind, Principals, Resources, Statement, Version, named},
    tree::{self, Node, at},
};
use crate::config::{Problem, Problems};

/// Characters without white space: of a resource policy (as AWS), of what an authorizer says, of a policy of a user or role (the largest that AWS has).
const RESOURCE_MAX: usize = 8192;
const AUTHORIZER_MAX: usize = 32_768;
const IDENTITY_MAX: usize = 10_240;
/// Characters of an ARN in what an authorizer says (as AWS).
const ARN_MAX: usize = 512;
/// Statements of a policy, and values of a list.
const STATEMENTS_MAX: usize = 256;
const VALUES_MAX: usize = 1024;
/// Problems that are told, and warnings.
const PROBLEMS_MAX: usize = 100;
/// Characters of a value in a message.
const SHOWN_MAX: usize = 80;

/// A policy that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// The policy.
    pub policy: Policy,
    /// What is allowed and looks like a mistake; with its place.
    pub warnings: Vec<Problem>,
}

impl Policy {
    /// Reads a policy from JSON text.
    ///
    /// # Errors
    /// All problems at once, each with its place as a JSON pointer: syntax (only the first, by line and column), size, members that are unknown, missing or there twice, wrong types, empty
    /// lists, unknown operators, values that an operator cannot compare, principals where there may be none or none where there have to be.
    pub fn read(text: &str, kind: PolicyKind<'_>) -> Result<Read, Problems> {
        let node = tree::read(text, limit(kind)).map_err(|problem| Problems(vec![problem]))?;
        Reader::new(kind).policy(&node)
    }

    /// Reads a policy from a value. Members that stood there twice are gone in it.
    ///
    /// # Errors
    /// As [`Policy::read`].
    pub fn from_value(value: &serde_json::Value, kind: PolicyKind<'_>) -> Result<Read, Problems> {
        let node = tree::of(value, limit(kind)).map_err(|problem| Problems(vec![problem]))?;
        Reader::new(kind).policy(&node)
    }
}

fn limit(kind: PolicyKind<'_>) -> usize {
    match kind {
        PolicyKind::Resource(_) => RESOURCE_MAX,
        PolicyKind::Authorizer => AUTHORIZER_MAX,
        PolicyKind::Identity => IDENTITY_MAX,
    }
}

/// A value as it is shown in a message.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("`{}...`", text.get(..end).unwrap_or_default()),
        None => format!("`{text}`"),
    }
}

type Members<'n> = [(&'n str, &'n Node)];

fn member<'n>(members: &Members<'n>, name: &str) -> Option<&'n Node> {
    let found = members.iter().find(|(known, _)| *known == name);
    found.map(|(_, node)| *node)
}

struct Reader<'k> {
    kind: PolicyKind<'k>,
    variables: bool,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    /// Keys that were warned of.
    warned: BTreeSet<Key>,
}

impl<'k> Reader<'k> {
    fn new(kind: PolicyKind<'k>) -> Self {
        Self {
            kind,
            variables: false,
            problems: Vec::new(),
            warnings: Vec::new(),
            warned: BTreeSet::new(),
        }
    }

    fn problem(&mut self, place: &str, message: impl Into<String>) {
        let problem = match self.problems.len() {
            0..PROBLEMS_MAX => Problem::new(place, message),
            PROBLEMS_MAX => Problem::new(
                "",
                format!("has more than {PROBLEMS_MAX} problems: the rest is not told"),
            ),
            _ => return,
        };
        self.problems.push(problem);
    }

    fn warn(&mut self, place: &str, message: impl Into<String>) {
        if self.warnings.len() < PROBLEMS_MAX {
            self.warnings.push(Problem::new(place, message));
        }
    }

    /// The members of an object, each name once. Without `known` any name is good.
    fn object<'n>(
        &mut self,
        node: &'n Node,
        place: &str,
        known: &[&str],
    ) -> Option<Vec<(&'n str, &'n Node)>> {
        let Node::Object(all) = node else {
            self.problem(place, format!("is {} and has to be an object", node.kind()));
            return None;
        };
        let mut seen = BTreeSet::new();
        let mut members = Vec::new();
        for (name, node) in all {
            let place = at(place, name);
            if !seen.insert(name.as_str()) {
                self.problem(&place, format!("{} stands there twice", shown(name)));
            } else if !known.is_empty() && !known.contains(&name.as_str()) {
                let expected = known.join("`, `");
                self.problem(
                    &place,
                    format!("{} is not known here; known: `{expected}`", shown(name)),
                );
            } else {
                members.push((name.as_str(), node));
            }
        }
        Some(members)
    }

    fn text<'n>(&mut self, node: &'n Node, place: &str) -> Option<&'n str> {
        if let Node::Text(text) = node {
            return Some(text);
        }
        self.problem(place, format!("is {} and has to be a string", node.kind()));
        None
    }

    /// One value, or a list of some, with their places. Numbers and booleans count as text where `scalars` may stand.
    fn texts(&mut self, node: &Node, place: &str, scalars: bool) -> Vec<(String, String)> {
        let items = match node {
            Node::List(items) if items.is_empty() => {
                self.problem(place, "is an empty list");
                return Vec::new();
            }
            Node::List(items) if items.len() > VALUES_MAX => {
                self.problem(
                    place,
                    format!("has {} values, which exceed {VALUES_MAX}", items.len()),
                );
                return Vec::new();
            }
            Node::List(items) => {
                let places = (0..items.len()).map(|index| format!("{place}/{index}"));
                items.iter().zip(places).collect()
            }
            one => vec![(one, place.to_owned())],
        };
        let mut texts = Vec::new();
        for (item, place) in items {
            match item {
                Node::Text(text) => texts.push((text.clone(), place)),
                Node::Number(number) if scalars => texts.push((number.clone(), place)),
                Node::Bool(flag) if scalars => texts.push((flag.to_string(), place)),
                other => {
                    let wanted = if scalars {
                        "a string, a number or a boolean"
                    } else {
                        "a string"
                    };
                    self.problem(&place, format!("is {} and has to be {wanted}", other.kind()));
                }
            }
        }
        texts
    }

    fn policy(mut self, node: &Node) -> Result<Read, Problems> {
        let members = self
            .object(node, "", &["Version", "Id", "Statement"])
            .unwrap_or_default();
        let is_object = matches!(node, Node::Object(_));
        let version = member(&members, "Version")
            .and_then(|node| self.version(node))
            .unwrap_or_default();
        self.variables = version == Version::Of2012;
        let id = member(&members, "Id").and_then(|node| self.text(node, "/Id"));
        let mut statements = Vec::new();
        match member(&members, "Statement") {
            Some(Node::List(items)) if items.is_empty() => self.problem("/Statement", "is an empty list"),
            Some(Node::List(items)) if items.len() > STATEMENTS_MAX => {
                let count = items.len();
                self.problem(
                    "/Statement",
                    format!("has {count} statements, which exceed {STATEMENTS_MAX}"),
                );
            }
            Some(Node::List(items)) => {
                for (index, item) in items.iter().enumerate() {
                    let place = format!("/Statement/{index}");
                    statements.extend(self.statement(item, &place).map(|statement| (place, statement)));
                }
            }
            Some(one) => {
                let place = "/Statement".to_owned();
                statements.extend(self.statement(one, &place).map(|statement| (place, statement)));
            }
            None if is_object => self.problem("", "has no `Statement`"),
            None => {}
        }
        let mut sids = BTreeSet::new();
        for (place, statement) in &statements {
            if let Some(sid) = statement.sid.as_deref().filter(|sid| !sids.insert(*sid)) {
                let message = format!("{} is the Sid of an earlier statement, too", shown(sid));
                self.problem(&at(place, "Sid"), message);
            }
        }
        if !self.problems.is_empty() {
            return Err(Problems(self.problems));
        }
        Ok(Read {
            policy: Policy {
                version,
                id: id.map(Into::into),
                statements: statements.into_iter().map(|(_, statement)| statement).collect(),
            },
            warnings: self.warnings,
        })
    }

    fn version(&mut self, node: &Node) -> Option<Version> {
        let text = self.text(node, "/Version")?;
        let found = Version::ALL.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let message = format!(
                "{} is no version of the language: `2012-10-17` or `2008-10-17`",
                shown(text)
            );
            self.problem("/Version", message);
        }
        found.map(|(_, version)| *version)
    }

    fn statement(&mut self, node: &Node, place: &str) -> Option<Statement> {
        let known = [
            "Sid",
            "Effect",
            "Principal",
            "NotPrincipal",
            "Action",
            "NotAction",
            "Resource",
            "NotResource",
            "Condition",
        ];
        let members = self.object(node, place, &known)?;
        let sid = member(&members, "Sid").and_then(|node| self.text(node, &at(place, "Sid")));
        let effect = self.effect(member(&members, "Effect"), place);
        let principals = self.principals(&members, place, effect);
        let actions = self.actions(&members, place);
        let resources = self.resources(&members, place);
        let conditions = match member(&members, "Condition") {
            Some(node) => self.conditions(node, &at(place, "Condition"), effect),
            None => Vec::new(),
        };
        Some(Statement {
            sid: sid.filter(|sid| !sid.is_empty()).map(Into::into),
            effect: effect?,
            principals,
            actions: actions?,
            resources: resources?,
            conditions: conditions.into(),
        })
    }

    fn effect(&mut self, node: Option<&Node>, place: &str) -> Option<Effect> {
        let Some(node) = node else {
            self.problem(place, "has no `Effect`");
            return None;
        };
        let place = at(place, "Effect");
        match self.text(node, &place)? {
            "Allow" => Some(Effect::Allow),
            "Deny" => Some(Effect::Deny),
            other => {
                self.problem(&place, format!("{} is neither `Allow` nor `Deny`", shown(other)));
                None
            }
        }
    }

    /// An element or its negation: whether it is negated, its value and its place.
    fn either<'n>(
        &mut self,
        members: &Members<'n>,
        name: &str,
        place: &str,
    ) -> Option<(bool, &'n Node, String)> {
        let not = named(name, true);
        match (member(members, name), member(members, &not)) {
            (Some(node), None) => Some((false, node, at(place, name))),
            (None, Some(node)) => Some((true, node, at(place, &not))),
            (Some(_), Some(_)) => {
                self.problem(place, format!("has both `{name}` and `{not}`"));
                None
            }
            (None, None) => {
                self.problem(place, format!("has neither `{name}` nor `{not}`"));
                None
            }
        }
    }

    fn principals(
        &mut self,
        members: &Members<'_>,
        place: &str,
        effect: Option<Effect>,
    ) -> Option<Principals> {
        if !matches!(self.kind, PolicyKind::Resource(_)) {
            for name in ["Principal", "NotPrincipal"] {
                if member(members, name).is_some() {
                    self.problem(
                        &at(place, name),
                        "has no place here: this policy is the caller's own (only resource policies name principals)",
                    );
                }
            }
            return None;
        }
        let (negated, node, place) = self.either(members, "Principal", place)?;
        if negated && effect == Some(Effect::Allow) {
            self.warn(&place, "allows everybody else, those whom nobody knows included");
        }
        let mut names = Vec::new();
        if let Node::Text(text) = node {
            if text == "*" {
                names.push(("AWS", Box::from("*"), Name::Everybody));
            } else {
                let message = format!(
                    r#"{} has to be `*`, or an object like {{"AWS": ...}}"#,
                    shown(text)
                );
                self.problem(&place, message);
            }
        } else {
            let kinds = ["AWS", "Service", "Federated", "CanonicalUser"];
            let members = self.object(node, &place, &kinds)?;
            if members.is_empty() {
                self.problem(&place, "names nobody");
            }
            for kind in kinds {
                let Some(node) = member(&members, kind) else {
                    continue;
                };
                for (text, place) in self.texts(node, &at(&place, kind), false) {
                    if let Some(name) = self.principal(kind, &text, &place) {
                        names.push((kind, text.into(), name));
                    }
                }
            }
        }
        Some(Principals {
            negated,
            names: names.into(),
        })
    }

    fn principal(&mut self, kind: &str, text: &str, place: &str) -> Option<Name> {
        if text.is_empty() {
            self.problem(place, "is empty");
            return None;
        }
        match kind {
            "AWS" => match principal::aws(text) {
                Ok((name, warning)) => {
                    if let Some(warning) = warning {
                        self.warn(place, format!("{} {warning}", shown(text)));
                    }
                    Some(name)
                }
                Err(message) => {
                    self.problem(place, format!("{} {message}", shown(text)));
                    None
                }
            },
            "Service" => Some(Name::Service(text.into())),
            "Federated" => Some(Name::Federated(text.into())),
            _ => {
                self.warn(
                    place,
                    "no caller of an API is known as a canonical user: it matches nobody",
                );
                Some(Name::Nobody)
            }
        }
    }

    fn actions(&mut self, members: &Members<'_>, place: &str) -> Option<ActionTest> {
        let (negated, node, place) = self.either(members, "Action", place)?;
        let mut named = Actions::default();
        let mut texts = Vec::new();
        for (text, place) in self.texts(node, &place, false) {
            let good = text == "*"
                || text
                    .split_once(':')
                    .is_some_and(|(service, action)| !service.is_empty() && !action.is_empty());
            if !good {
                self.problem(
                    &place,
                    format!(
                        "{} is no action, like `execute-api:Invoke`, nor `*`",
                        shown(&text)
                    ),
                );
                continue;
            }
            let mut count = 0;
            for action in Action::ALL.into_iter().filter(|action| is_action(&text, *action)) {
                named.add(action);
                count += 1;
            }
            if count == 0 {
                let all = Action::ALL.map(Action::name).join("`, `");
                self.warn(
                    &place,
                    format!("{} is nothing that is done to APIs: `{all}`", shown(&text)),
                );
            }
            texts.push(text.into());
        }
        Some(ActionTest {
            negated,
            texts: texts.into(),
            named,
        })
    }

    fn resources(&mut self, members: &Members<'_>, place: &str) -> Option<Resources> {
        let (negated, node, place) = self.either(members, "Resource", place)?;
        let (mut texts, mut patterns) = (Vec::new(), Vec::new());
        for (text, place) in self.texts(node, &place, false) {
            let Some(text) = self.resource(text, &place) else {
                continue;
            };
            let reading = Reading {
                wildcards: true,
                variables: self.variables,
            };
            match Pattern::read(&text, reading) {
                Ok(pattern) => {
                    for key in pattern.keys() {
                        self.key(key, &place);
                    }
                    texts.push(text.into());
                    patterns.push(pattern);
                }
                Err(message) => self.problem(&place, format!("{} {message}", shown(&text))),
            }
        }
        Some(Resources {
            negated,
            texts: texts.into(),
            patterns: patterns.into(),
        })
    }

    /// A resource in full.
    fn resource(&mut self, text: String, place: &str) -> Option<String> {
        if matches!(self.kind, PolicyKind::Authorizer) {
            let count = text.chars().count();
            if count > ARN_MAX {
                self.problem(
                    place,
                    format!("{} has {count} characters, which exceed {ARN_MAX}", shown(&text)),
                );
                return None;
            }
        }
        if let PolicyKind::Resource(home) = self.kind
            && let Some(rest) = text
                .strip_prefix(SERVICE)
                .and_then(|rest| rest.strip_prefix(":/"))
        {
            return Some(format!("{}/{rest}", home.prefix()));
        }
        if text == "*" {
            return Some(text);
        }
        let service = split(&text).map(|parts| parts[2]);
        let message = match service {
            Some(service) if text.starts_with("arn:") => {
                if service != SERVICE && !service.contains(['*', '?', '$']) {
                    self.warn(
                        place,
                        format!("{} is no ARN of an API: it matches no call", shown(&text)),
                    );
                }
                return Some(text);
            }
            // a run of characters at the end may be the parts that are not there
            None if text.starts_with("arn:") && text.ends_with('*') => return Some(text),
            _ => format!("{} is neither `*` nor an ARN", shown(&text)),
        };
        // an authorizer's answer is not looked at before it is used, on AWS
        if matches!(self.kind, PolicyKind::Authorizer) {
            self.warn(place, message);
            return Some(text);
        }
        self.problem(place, message);
        None
    }

    fn conditions(&mut self, node: &Node, place: &str, effect: Option<Effect>) -> Vec<Condition> {
        let mut conditions: Vec<Condition> = Vec::new();
        for (name, node) in self.object(node, place, &[]).unwrap_or_default() {
            let place = at(place, name);
            let operator = match Operator::read(name) {
                Ok(operator) => operator,
                Err(message) => {
                    self.problem(&place, message);
                    continue;
                }
            };
            if conditions.iter().any(|condition| condition.operator == operator) {
                self.problem(
                    &place,
                    format!(
                        "{} stands there twice: names of operators have no case",
                        shown(name)
                    ),
                );
                continue;
            }
            let members = self.object(node, &place, &[]);
            if members.as_ref().is_some_and(Vec::is_empty) {
                self.warn(&place, "has no keys: it asks for nothing");
            }
            let mut keys = BTreeSet::new();
            for (name, node) in members.unwrap_or_default() {
                let place = at(&place, name);
                let key = Key::of(name);
                if !keys.insert(key.clone()) {
                    self.problem(
                        &place,
                        format!("{} stands there twice: names of keys have no case", shown(name)),
                    );
                    continue;
                }
                if !name.contains(':') {
                    self.problem(
                        &place,
                        format!("{} is no condition key, like `aws:SourceIp`", shown(name)),
                    );
                }
                self.doubts(&key, operator, effect, &place);
                conditions.extend(self.condition(operator, key, node, &place));
            }
        }
        // all have to hold: their order means nothing
        conditions.sort_by(|a, b| (a.operator.name(), &a.key).cmp(&(b.operator.name(), &b.key)));
        conditions
    }

    fn condition(&mut self, operator: Operator, key: Key, node: &Node, place: &str) -> Option<Condition> {
        let before = self.problems.len();
        let (values, places): (Vec<Box<str>>, Vec<String>) = self
            .texts(node, place, true)
            .into_iter()
            .map(|(text, place)| (text.into(), place))
            .unzip();
        if self.problems.len() > before {
            return None;
        }
        match Condition::new(operator, key, values.clone().into(), self.variables) {
            Ok(condition) => {
                for key in condition.variables() {
                    self.key(key, place);
                }
                Some(condition)
            }
            Err(wrong) => {
                for (index, message) in wrong {
                    let value = values.get(index).map_or("", |value| value);
                    let place = places.get(index).map_or(place, |place| place);
                    self.problem(place, format!("{} {message}", shown(value)));
                }
                None
            }
        }
    }

    /// Warns of what a condition probably does not mean.
    fn doubts(&mut self, key: &Key, operator: Operator, effect: Option<Effect>, place: &str) {
        self.key(key, place);
        if key.has_many() && !operator.is_quantified() {
            let message = format!(
                "`{}` may have several values: `ForAnyValue:` or `ForAllValues:`?",
                key.name()
            );
            self.warn(place, message);
        }
        let name = operator.name();
        if effect == Some(Effect::Allow) && name.starts_with("ForAllValues:") {
            let message = format!("`{name}` holds for requests without `{}`, too", key.name());
            self.warn(place, message);
        }
    }

    /// Warns of a key that no request has.
    fn key(&mut self, key: &Key, place: &str) {
        let hint = match key {
            Key::Other(name) => Key::nearest(name).map_or_else(String::new, |known| format!("; `{known}`?")),
            key if key.is_nobodys() => {
                ": the gateway is in no network of AWS, and nothing there calls it".to_owned()
            }
            _ => return,
        };
        if self.warned.insert(key.clone()) {
            let name = key.name();
            self.warn(
                place,
                format!("no request has the condition key {}{hint}", shown(&name)),
            );
        }
    }
}

/// Whether the text of a policy stands for an action. Names have no case.
fn is_action(text: &str, action: Action) -> bool {
    let reading = Reading {
        wildcards: true,
        variables: false,
    };
    let pattern = Pattern::read(&text.to_ascii_lowercase(), reading);
    pattern.is_ok_and(|pattern| pattern.matches_plain(&action.name().to_ascii_lowercase()))
}

#[cfg(test)]
mod tests;
