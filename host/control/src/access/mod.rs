//! Who may do what through the admin API: principals with a role and the APIs that they are for, their tokens, and one table of what each call needs.

mod failures;
pub(crate) mod rules;
pub(crate) mod token;

use std::{fmt, sync::Arc};

use edgeward_core::config::{Problem, Problems};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use failures::Failures;
pub use token::Token;

use crate::{
    error::ControlError,
    model::{Key, Kind},
};

/// Name of the principal that is always there: whoever has the token file.
pub const ROOT: &str = "root";
/// What the audit log calls those who are no principals.
pub(crate) const NOBODY: &str = "nobody";
/// What the audit log calls the gateway itself.
pub(crate) const GATEWAY: &str = "gateway";
/// Most principals of a gateway.
pub(crate) const PRINCIPALS_MAX: usize = 1000;
/// Most patterns of a principal.
const PATTERNS_MAX: usize = 100;

/// What a principal may do. Each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads its APIs, domains, and the status of the gateway.
    Viewer,
    /// Edits and deploys its APIs.
    Publisher,
    /// Runs the gateway: plugins, certificates, domains, the configuration file, the audit log.
    Operator,
    /// Everything: principals, their tokens, and what plugins are granted.
    Admin,
}

impl Role {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Publisher => "publisher",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Somebody, or a program, that uses the admin API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Principal {
    /// What it may do.
    pub role: Role,
    /// Ids of the APIs that it sees and changes; `shop-*` for all that begin so. Default: all of them (`*`).
    #[serde(default = "everything")]
    pub apis: Vec<String>,
    /// Who that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether all its tokens and certificates are refused.
    #[serde(default)]
    pub disabled: bool,
}

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

impl Principal {
    /// What is wrong with it by itself.
    ///
    /// # Errors
    /// All problems.
    pub(crate) fn check(&self) -> Result<(), Problems> {
        let mut problems = Vec::new();
        if self.apis.len() > PATTERNS_MAX {
            let problem = format!("has {} patterns, {PATTERNS_MAX} is the limit", self.apis.len());
            problems.push(Problem::new("apis", problem));
        }
        for (index, pattern) in self.apis.iter().enumerate() {
            let id = pattern.strip_suffix('*').unwrap_or(pattern);
            let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if pattern.is_empty() || id.len() > 63 || !id.bytes().all(known) {
                problems.push(
                    Problem::new(
                        format!("apis[{index}]"),
                        format!("`{pattern}` cannot be the id of an API"),
                    )
                    .hint("1 to 63 of a-z, 0-9, `-`; at the end `*` stands for anything"),
                );
            }
        }
        if self.role == Role::Admin && !self.apis.iter().any(|pattern| pattern == "*") {
            problems.push(
                Problem::new("apis", "confines an admin, who could change that at any time")
                    .hint("leave it out, or take another role"),
            );
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Problems(problems))
        }
    }
}

/// What somebody may do, as it is when a call begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    role: Option<Role>,
    apis: Arc<[String]>,
}

impl Authority {
    /// Everything: the gateway itself, and `root`.
    #[must_use]
    pub fn all() -> Self {
        Self {
            role: Some(Role::Admin),
            apis: everything().into(),
        }
    }

    /// Nothing.
    #[must_use]
    pub fn none() -> Self {
        Self {
            role: None,
            apis: Arc::new([]),
        }
    }

    /// That of a principal.
    #[must_use]
    pub fn of(principal: &Principal) -> Self {
        if principal.disabled {
            return Self::none();
        }
        Self {
            role: Some(principal.role),
            apis: principal.apis.as_slice().into(),
        }
    }

    /// The role.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        self.role
    }

    /// The APIs, as patterns.
    #[must_use]
    pub fn apis(&self) -> &[String] {
        &self.apis
    }

    /// Whether it has a role, or one above it.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.role.is_some_and(|own| own >= role)
    }

    /// Whether it is for an API.
    #[must_use]
    pub fn covers(&self, api: &str) -> bool {
        self.apis.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => api.starts_with(start),
            None => pattern == api,
        })
    }

    /// Whether it is for all APIs, those to come included.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.apis.iter().any(|pattern| pattern == "*")
    }

    /// Whether a resource is shown. What leads to an API that it is not for, is not.
    #[must_use]
    pub fn sees(&self, key: &Key, body: &Value) -> bool {
        match key.kind {
            Kind::Principal | Kind::Token => self.has(Role::Admin),
            Kind::Domain => self.has(Role::Viewer),
            Kind::Mapping | Kind::Rule => self.has(Role::Viewer) && self.covers(leads_to(body)),
            // they are for every API
            Kind::Shadow | Kind::ApiKey | Kind::UsagePlan | Kind::WebAcl => {
                self.has(Role::Operator) && self.is_whole()
            }
            _ => self.has(Role::Viewer) && key.api().is_some_and(|api| self.covers(api)),
        }
    }

    /// Whether a resource may become another one, be made or removed.
    #[must_use]
    pub fn may_change(&self, key: &Key, before: Option<&Value>, after: Option<&Value>) -> bool {
        let role = match key.kind {
            Kind::Principal | Kind::Token => Role::Admin,
            Kind::Domain
            | Kind::Mapping
            | Kind::Rule
            | Kind::Shadow
            | Kind::ApiKey
            | Kind::UsagePlan
            | Kind::WebAcl => Role::Operator,
            _ => Role::Publisher,
        };
        self.has(role)
            && [before, after]
                .into_iter()
                .flatten()
                .all(|body| self.sees(key, body))
    }

    /// The refusal of a change.
    pub(crate) fn refusal(&self, key: &Key) -> ControlError {
        let role = self.role.map_or("nobody", Role::name);
        ControlError::Forbidden(format!(
            "`{}` is not yours to change: you are {role} for APIs {}",
            key.path(),
            self.told()
        ))
    }

    /// Its APIs, for sentences.
    pub(crate) fn told(&self) -> String {
        if self.apis.is_empty() {
            return "(none)".to_owned();
        }
        let quoted: Vec<String> = self.apis.iter().map(|pattern| format!("`{pattern}`")).collect();
        quoted.join(", ")
    }
}

/// The API of a mapping or rule.
fn leads_to(body: &Value) -> &str {
    body.get("api").and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn authority(role: &str, apis: &[&str]) -> Authority {
        let principal: Principal = serde_json::from_value(json!({"role": role, "apis": apis})).unwrap();
        Authority::of(&principal)
    }

    #[test]
    fn patterns_name_apis_or_how_they_begin() {
        let some = authority("viewer", &["pets", "shop-*"]);
        for (api, covered) in [
            ("pets", true),
            ("shop-eu", true),
            ("shop-", true),
            ("shop", false),
            ("pets2", false),
            ("", false),
        ] {
            assert_eq!(some.covers(api), covered, "{api}");
        }
        assert!(!some.is_whole() && authority("viewer", &["a", "*"]).is_whole());
        assert!(!authority("viewer", &[]).covers("pets"));
        assert!(Authority::all().covers("anything") && !Authority::none().covers("pets"));
    }

    #[test]
    fn changes_need_a_role_and_the_api_on_both_sides() {
        let (publisher, operator) = (
            authority("publisher", &["pets"]),
            authority("operator", &["pets"]),
        );
        let route = |api: &str| Key::of(Kind::Route, api, "GET /");
        let mapping = Key::of(Kind::Mapping, "a.example", "v1");
        let to = |api: &str| json!({"api": api, "stage": "prod"});
        let body = json!({});
        assert!(publisher.may_change(&route("pets"), None, Some(&body)));
        assert!(!publisher.may_change(&route("cats"), None, Some(&body)));
        assert!(!authority("viewer", &["pets"]).may_change(&route("pets"), None, Some(&body)));
        assert!(!publisher.may_change(&mapping, None, Some(&to("pets"))));
        assert!(operator.may_change(&mapping, None, Some(&to("pets"))));
        assert!(!operator.may_change(&mapping, Some(&to("cats")), Some(&to("pets"))));
        assert!(!operator.may_change(&mapping, Some(&to("cats")), None));
        assert!(!operator.may_change(&Key::top(Kind::Principal, "x"), None, Some(&body)));
        assert!(Authority::all().may_change(&Key::top(Kind::Principal, "x"), None, Some(&body)));
    }

    #[test]
    fn a_principal_that_is_disabled_may_nothing() {
        let principal: Principal =
            serde_json::from_value(json!({"role": "admin", "disabled": true})).unwrap();
        assert_eq!(Authority::of(&principal), Authority::none());
    }

    #[test]
    fn principals_are_checked() {
        let problems = |body: Value| {
            let principal: Principal = serde_json::from_value(body).unwrap();
            principal.check().err().map_or(0, |problems| problems.0.len())
        };
        assert_eq!(problems(json!({"role": "viewer"})), 0);
        assert_eq!(problems(json!({"role": "viewer", "apis": ["*", "a-*", "b"]})), 0);
        assert_eq!(
            problems(json!({"role": "viewer", "apis": ["", "A", "*x", "a b"]})),
            4
        );
        assert_eq!(problems(json!({"role": "admin", "apis": ["pets"]})), 1);
        assert_eq!(problems(json!({"role": "viewer", "apis": vec!["a"; 101]})), 1);
    }
}
