//! The configuration: what an operator writes. Reading only; `ruleset` checks it against the rest and compiles it.

use crate::transformation::Transformation;
use serde::Deserialize;

/// `config` of the binding.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// `count` turns every block into a count: for the first days in front of real traffic.
    pub mode: Mode,
    /// The rules that come with the plugin.
    pub starter_set: StarterSet,
    /// Own rules; they run before the starter set.
    pub rules: Vec<Rule>,
    /// Pairs of rule and field that are not looked at.
    pub exclusions: Vec<Exclusion>,
    /// Treatment of request bodies.
    pub body: Body,
    /// The answer of a block.
    pub block: Block,
    /// Sum of the scores of `count` rules from which on a request is blocked.
    pub threshold: Option<u32>,
}

/// What a block does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Blocks block.
    #[default]
    Block,
    /// Blocks are only counted.
    Count,
}

/// Switches of the starter set, one per class.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct StarterSet {
    /// SQL and NoSQL injection.
    pub sqli: StarterAction,
    /// Cross-site scripting.
    pub xss: StarterAction,
    /// Path traversal and access to local files.
    pub path_traversal: StarterAction,
    /// Injection of shell commands and of expressions that execute code.
    pub command_injection: StarterAction,
}

/// What a class of the starter set does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StarterAction {
    /// Refuse the request.
    #[default]
    Block,
    /// Report only.
    Count,
    /// The rules are not loaded.
    Off,
}

/// One rule.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// 1 to 64 letters, digits, `.`, `_`, `-`; unique.
    pub id: String,
    /// What a match means, for logs.
    pub message: Option<String>,
    /// Field or fields it looks at.
    pub field: OneOrMany,
    /// Applied in order before matching.
    #[serde(default)]
    pub transformations: Vec<Transformation>,
    /// The test.
    #[serde(rename = "match")]
    pub test: Match,
    /// What a match does.
    pub action: Action,
    /// Labels for later plugins, logs and metrics.
    #[serde(default)]
    pub labels: Vec<String>,
    /// A value that does not match is the finding.
    #[serde(default)]
    pub negate: bool,
    /// Added up against `threshold`; only for `count`.
    #[serde(default)]
    pub score: u32,
}

/// A text or a list of texts.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "a field name or a list of field names")]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl OneOrMany {
    /// All texts.
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// What a match does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Refuse the request; ends the evaluation.
    Block,
    /// Report and go on.
    Count,
    /// Let the request pass; ends the evaluation.
    Allow,
}

/// A test: exactly one of the kinds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Match {
    /// Any of these regular expressions occurs.
    pub regex: Option<Vec<String>>,
    /// Any of these texts occurs.
    pub literals: Option<Vec<String>>,
    /// The value is an address in one of these blocks.
    pub ip: Option<Vec<String>>,
    /// The length in bytes.
    pub size: Option<Size>,
    /// The value is one of these texts.
    pub equals: Option<Vec<String>>,
    /// The request has no such field.
    pub absent: Option<bool>,
    /// For `regex`, `literals` and `equals`: ASCII letters match in either case (for `regex`, Unicode letters too).
    pub case_insensitive: bool,
}

/// Bounds in bytes; a match when one of them is broken.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Size {
    /// Longer than this.
    pub over: Option<usize>,
    /// Shorter than this.
    pub under: Option<usize>,
}

/// A rule that does not look at a field.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Exclusion {
    /// Rule id, or its beginning and `*`.
    #[serde(default = "everything")]
    pub rule: String,
    /// Location as logs name it (`query.q`, `json-body.items[].text`), or its beginning and `*`.
    #[serde(default = "everything")]
    pub field: String,
}

fn everything() -> String {
    "*".to_owned()
}

/// Request bodies.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Body {
    /// Largest body in bytes that is looked at.
    pub limit: u64,
    /// What happens above.
    pub over: OverAction,
    /// What happens to bodies with a `Content-Encoding`, which cannot be looked into.
    pub encoded: OverAction,
}

impl Default for Body {
    fn default() -> Self {
        Self {
            limit: 1 << 20,
            over: OverAction::Block,
            encoded: OverAction::Block,
        }
    }
}

/// What happens to a body that cannot be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverAction {
    /// Refuse the request.
    Block,
    /// Pass and say nothing.
    Pass,
    /// Pass and report.
    Count,
}

/// The answer of a block.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Block {
    /// 400 to 599.
    pub status: u16,
    /// Body in place of the gateway's own error body.
    pub body: Option<String>,
    /// Its content type.
    pub content_type: String,
}

impl Default for Block {
    fn default() -> Self {
        Self {
            status: 403,
            body: None,
            content_type: "text/plain; charset=utf-8".to_owned(),
        }
    }
}
