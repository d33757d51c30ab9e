//! The configuration: what an operator writes. `plan` checks and compiles it.

use crate::json::Json;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use std::fmt;

/// `config` of the binding.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// What is done to request bodies.
    pub request: Option<Request>,
    /// What is done to response bodies.
    pub response: Option<Response>,
    /// Name of the authorizer binding whose claims `${claims...}` reads. Default: the first binding that left claims.
    pub claims_from: Option<String>,
}

/// Request bodies.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Request {
    /// Changes, in order.
    pub rules: Vec<Rule>,
    /// Largest body in bytes.
    pub limit: u64,
    /// What happens above.
    pub over: Unusable,
    /// What happens to a body that is no JSON although its content type says so.
    pub invalid: Unusable,
    /// What happens to a body with a `Content-Encoding`.
    pub encoded: Unusable,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            limit: 1 << 20,
            over: Unusable::Reject,
            invalid: Unusable::Reject,
            encoded: Unusable::Pass,
        }
    }
}

/// Response bodies.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Response {
    /// Changes, in order.
    pub rules: Vec<Rule>,
    /// The first that fits changes the status of the response; looked at before the rules.
    pub status: Vec<StatusRule>,
    /// Statuses of the upstream that are looked at, e.g. `2xx`, `404`; empty: all.
    pub only: Vec<String>,
    /// Largest body in bytes.
    pub limit: u64,
    /// What happens above.
    pub over: Unusable,
    /// What happens to a body that is no JSON although its content type says so.
    pub invalid: Unusable,
    /// What happens to a body with a `Content-Encoding`.
    pub encoded: Unusable,
}

impl Default for Response {
    fn default() -> Self {
        let request = Request::default();
        Self {
            rules: Vec::new(),
            status: Vec::new(),
            only: Vec::new(),
            limit: request.limit,
            over: request.over,
            invalid: request.invalid,
            encoded: request.encoded,
        }
    }
}

/// What happens to a body that cannot be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unusable {
    /// An error in its place.
    Reject,
    /// It passes as it is.
    Pass,
}

/// Status of the response by its body.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StatusRule {
    /// Where to look.
    pub path: String,
    /// The value that has to be there; without it, any.
    #[serde(default, deserialize_with = "present")]
    pub equals: Option<Json>,
    /// New status, 200 to 599.
    pub status: u16,
}

/// One change: a map with one key.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Puts a value.
    Set(Put),
    /// Puts a value where there is none.
    Default(Put),
    /// Puts what is at one place at another too.
    Copy(FromTo),
    /// Puts what is at one place at another instead.
    Move(FromTo),
    /// Gives members another name.
    Rename(Rename),
    /// Removes.
    Remove(Paths),
    /// Removes everything else.
    Keep(Paths),
    /// The document becomes a member of a new one.
    Wrap(Wrap),
    /// A part of the document takes its place.
    Unwrap(Unwrap),
    /// A new document from places of the old one.
    Map(Pairs),
    /// Changes the type of values.
    Convert(Convert),
}

/// See `Rule::Set`.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Put {
    /// Where.
    pub path: String,
    /// The value.
    #[serde(default, deserialize_with = "present")]
    pub value: Option<Json>,
    /// Or a text with variables.
    #[serde(default)]
    pub template: Option<String>,
}

/// See `Rule::Copy`.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FromTo {
    /// From where.
    pub from: String,
    /// To where.
    pub to: String,
}

/// See `Rule::Rename`.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rename {
    /// Members; the path ends in a name.
    pub path: String,
    /// The new name.
    pub to: String,
}

/// See `Rule::Remove`.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Paths {
    /// The places.
    pub paths: Vec<String>,
}

/// See `Rule::Wrap`.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Wrap {
    /// Name of the member.
    pub key: String,
}

/// See `Rule::Unwrap`.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Unwrap {
    /// The part.
    pub path: String,
}

/// See `Rule::Convert`.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Convert {
    /// The values.
    pub path: String,
    /// To which type.
    pub to: Type,
    /// What happens to a value that has no such form.
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// Types of `convert`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Type {
    /// Text.
    String,
    /// Number.
    Number,
    /// Truth value.
    Boolean,
}

/// See `Convert::on_failure`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// It stays.
    #[default]
    Keep,
    /// It becomes null.
    Null,
    /// The message is refused.
    Reject,
}

/// A map of texts in the order in which it was written.
#[derive(Debug, Clone)]
pub struct Pairs(pub Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Pairs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of target paths to source paths")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// `null` is a value too.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(deserializer).map(Some)
}
