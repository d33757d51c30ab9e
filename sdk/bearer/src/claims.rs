//! Checks of the claims of a token whose signature holds (RFC 7519 section 4.1, RFC 8725 section 3).

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    claim_path::ClaimPath,
    refusal::{Refusal, excerpt},
    strict_json::kind,
};

/// Largest NumericDate that is taken: every integer up to it is exact as a double.
const DATE_LIMIT: f64 = 9_007_199_254_740_992.0;

/// Longest principal and usage key in bytes.
const NAME_LIMIT: usize = 1024;

/// What a caller is told whose token has ended.
pub const EXPIRED: &str = "the token has expired";
/// What a caller is told whose token is not good yet.
pub const NOT_YET: &str = "the token is not valid yet";

/// What the times of a token must fulfil.
#[derive(Clone, Copy, Debug)]
pub struct TimeRules {
    /// Tolerated clock difference in seconds.
    pub leeway: f64,
    /// `exp` must be there.
    pub require_exp: bool,
    /// Largest age in seconds.
    pub max_age: Option<f64>,
}

/// A condition on a claim.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where the claim is.
    pub path: ClaimPath,
    /// What must hold.
    pub condition: Condition,
}

/// What must hold for a claim.
#[derive(Clone, Debug)]
pub enum Condition {
    /// The claim is one of these values.
    OneOf(Vec<Value>),
    /// The claim is a list with this value or a text with this word.
    Contains(Value),
    /// The claim is there, or is not.
    Exists(bool),
}

/// Checks `exp`, `nbf` and `iat`. Returns `exp` in seconds since 1970.
///
/// # Errors
/// The token is expired, not yet valid, from the future, too old, or has times that are no numbers.
pub fn check_times(
    claims: &Map<String, Value>,
    now_ms: u64,
    rules: TimeRules,
) -> Result<Option<f64>, Refusal> {
    // Milliseconds of this era are exact as a double.
    let now = now_ms as f64 / 1000.0;
    let expires = date(claims, "exp")?;
    match expires {
        None if rules.require_exp => {
            return Err(Refusal::token(
                "the token has no expiry",
                "claim exp is missing and require-exp is true",
            ));
        }
        // RFC 7519 section 4.1.4: not accepted "on or after" the time.
        Some(at) if now >= at + rules.leeway => {
            let detail = format!("expired {:.0} s ago, leeway {} s", now - at, rules.leeway);
            return Err(Refusal::token(EXPIRED, detail));
        }
        _ => {}
    }
    if let Some(at) = date(claims, "nbf")?
        && now + rules.leeway < at
    {
        let detail = format!(
            "not valid for another {:.0} s, leeway {} s",
            at - now,
            rules.leeway
        );
        return Err(Refusal::token(NOT_YET, detail));
    }
    let issued = date(claims, "iat")?;
    if let Some(at) = issued
        && now + rules.leeway < at
    {
        let detail = format!(
            "issued {:.0} s in the future, leeway {} s",
            at - now,
            rules.leeway
        );
        return Err(Refusal::token(NOT_YET, detail));
    }
    if let Some(max_age) = rules.max_age {
        let Some(at) = issued else {
            return Err(Refusal::token(
                "the token has no time of issue",
                "claim iat is missing and max-age-seconds is set",
            ));
        };
        if now > at + max_age + rules.leeway {
            let detail = format!("issued {:.0} s ago, max-age-seconds {max_age}", now - at);
            return Err(Refusal::token("the token is too old", detail));
        }
    }
    Ok(expires)
}

/// A NumericDate (RFC 7519 section 2): seconds, maybe with a fraction.
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, Refusal> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    match value.as_f64() {
        Some(seconds) if seconds.abs() <= DATE_LIMIT => Ok(Some(seconds)),
        Some(_) => Err(Refusal::token(
            "the token is malformed",
            format!("claim {name} is out of range"),
        )),
        None => {
            let detail = format!("claim {name} is {} instead of a number", kind(value));
            Err(Refusal::token("the token is malformed", detail))
        }
    }
}

/// Checks `iss`; an empty list accepts any.
///
/// # Errors
/// The issuer is missing or not accepted.
pub fn check_issuer<'a>(
    claims: &'a Map<String, Value>,
    accepted: &[String],
) -> Result<Option<&'a str>, Refusal> {
    let issuer = claims.get("iss").and_then(Value::as_str);
    if accepted.is_empty() {
        return Ok(issuer);
    }
    match issuer {
        Some(text) if accepted.iter().any(|one| one == text) => Ok(issuer),
        Some(text) => {
            let detail = format!("iss {:?} is not accepted", excerpt(text));
            Err(Refusal::token("the issuer is not accepted", detail))
        }
        None => Err(Refusal::token(
            "the issuer is not accepted",
            "claim iss is missing or no string",
        )),
    }
}

/// Checks `aud`, a string or a list of strings (RFC 7519 section 4.1.3); an empty list accepts any.
///
/// # Errors
/// None of the audiences is accepted.
pub fn check_audience(claims: &Map<String, Value>, accepted: &[String]) -> Result<(), Refusal> {
    const PUBLIC: &str = "the token is not meant for this service";
    if accepted.is_empty() {
        return Ok(());
    }
    let named = |value: &Value| {
        value
            .as_str()
            .is_some_and(|text| accepted.iter().any(|one| one == text))
    };
    let fits = match claims.get("aud") {
        None => return Err(Refusal::token(PUBLIC, "claim aud is missing")),
        Some(Value::Array(items)) => items.iter().any(named),
        Some(value) => named(value),
    };
    if fits {
        return Ok(());
    }
    let found = claims.get("aud").map(Value::to_string).unwrap_or_default();
    Err(Refusal::token(
        PUBLIC,
        format!("aud {:?} is not accepted", excerpt(&found)),
    ))
}

/// How many scopes a token must have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(rename = "ScopeMatch")
)]
#[serde(rename_all = "kebab-case")]
pub enum Scopes {
    /// All of them.
    #[default]
    All,
    /// At least one.
    Any,
}

/// Checks that scopes are granted, in `scope` (RFC 8693 section 4.2: one text) or `scp` (a list, as some issuers write it). No scopes are always
/// granted.
///
/// # Errors
/// Names the scopes that are missing.
pub fn check_scopes(claims: &Map<String, Value>, required: &[String], how: Scopes) -> Result<(), Refusal> {
    let granted = |scope: &str| {
        ["scope", "scp"]
            .iter()
            .filter_map(|name| claims.get(*name))
            .any(|value| match value {
                Value::String(text) => text.split(' ').any(|word| word == scope),
                Value::Array(items) => items.iter().any(|item| item == scope),
                _ => false,
            })
    };
    let missing = match how {
        Scopes::All => required.iter().find(|scope| !granted(scope)),
        Scopes::Any if required.iter().any(|scope| granted(scope)) => None,
        Scopes::Any => required.first(),
    };
    match (missing, how) {
        (None, _) => Ok(()),
        (Some(scope), Scopes::All) => Err(Refusal::scope(
            "a required scope is missing",
            format!("scope {scope:?} is missing"),
        )),
        (Some(_), Scopes::Any) => Err(Refusal::scope(
            "a required scope is missing",
            format!("none of the scopes {} is there", required.join(", ")),
        )),
    }
}

/// Checks the configured conditions.
///
/// # Errors
/// Names the first claim that does not fulfil its condition.
pub fn check_rules(claims: &Map<String, Value>, rules: &[Rule]) -> Result<(), Refusal> {
    let holds = |rule: &Rule| {
        let found = rule.path.find(claims);
        match &rule.condition {
            Condition::OneOf(values) => found.is_some_and(|value| values.contains(value)),
            Condition::Contains(wanted) => match (found, wanted) {
                (Some(Value::Array(items)), _) => items.contains(wanted),
                (Some(Value::String(text)), Value::String(word)) => {
                    text.split_whitespace().any(|one| one == word)
                }
                _ => false,
            },
            Condition::Exists(wanted) => found.is_some() == *wanted,
        }
    };
    match rules.iter().find(|rule| !holds(rule)) {
        None => Ok(()),
        Some(rule) => {
            let detail = match rule.path.find(claims) {
                None => format!("claim {} is missing", rule.path),
                Some(_) if matches!(rule.condition, Condition::Exists(false)) => {
                    format!("claim {} is there", rule.path)
                }
                Some(value) => format!("claim {} is {:?}", rule.path, excerpt(&value.to_string())),
            };
            Err(Refusal::scope(
                "the token does not permit this",
                format!("{detail}, which a rule does not allow"),
            ))
        }
    }
}

/// A claim that names somebody: a text or an integer, short and without control characters (it ends up in logs and header fields).
///
/// # Errors
/// The claim is missing or does not name anybody.
pub fn name(claims: &Map<String, Value>, path: &ClaimPath) -> Result<String, Refusal> {
    const PUBLIC: &str = "the token names no caller";
    let text = match path.find(claims) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) if !number.is_f64() => number.to_string(),
        Some(other) => {
            return Err(Refusal::token(
                PUBLIC,
                format!("claim {path} is {} instead of a string", kind(other)),
            ));
        }
        None => return Err(Refusal::token(PUBLIC, format!("claim {path} is missing"))),
    };
    if text.is_empty() || text.len() > NAME_LIMIT || text.chars().any(char::is_control) {
        let detail =
            format!("claim {path} is empty, longer than {NAME_LIMIT} bytes or has control characters");
        return Err(Refusal::token(PUBLIC, detail));
    }
    Ok(text)
}

/// Seconds for which the decision may be reused: as configured, but not beyond the expiry (without leeway).
#[must_use]
pub fn reuse_seconds(configured: u32, expires: Option<f64>, now_ms: u64) -> Option<u32> {
    let left = expires.map_or(f64::MAX, |at| at - now_ms as f64 / 1000.0);
    // The cast saturates: a token that lives on leeway gives 0.
    let seconds = configured.min(left.floor() as u32);
    (seconds > 0).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RULES: TimeRules = TimeRules {
        leeway: 30.0,
        require_exp: true,
        max_age: None,
    };

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn times(claims: Value, now: u64, rules: TimeRules) -> Result<Option<f64>, String> {
        check_times(&map(claims), now * 1000, rules).map_err(|refusal| refusal.detail)
    }

    #[test]
    fn times_hold_within_the_leeway_and_not_beyond() {
        assert_eq!(times(json!({"exp": 1000}), 1029, RULES), Ok(Some(1000.0)));
        assert!(
            times(json!({"exp": 1000}), 1030, RULES)
                .unwrap_err()
                .contains("expired 30 s ago")
        );
        assert!(times(json!({"exp": 1000.5, "nbf": 930}), 900, RULES).is_ok());
        assert!(
            times(json!({"exp": 1000, "nbf": 931}), 900, RULES)
                .unwrap_err()
                .contains("another 31 s")
        );
        assert!(
            times(json!({"exp": 1000, "iat": 931}), 900, RULES)
                .unwrap_err()
                .contains("31 s in the future")
        );
        assert!(
            times(json!({}), 900, RULES)
                .unwrap_err()
                .contains("exp is missing")
        );
        assert_eq!(
            times(
                json!({}),
                900,
                TimeRules {
                    require_exp: false,
                    ..RULES
                }
            ),
            Ok(None)
        );
        let aged = TimeRules {
            max_age: Some(60.0),
            ..RULES
        };
        assert!(times(json!({"exp": 2000, "iat": 900}), 990, aged).is_ok());
        assert!(
            times(json!({"exp": 2000, "iat": 900}), 991, aged)
                .unwrap_err()
                .contains("issued 91 s ago")
        );
        assert!(
            times(json!({"exp": 2000}), 991, aged)
                .unwrap_err()
                .contains("iat is missing")
        );
    }

    #[test]
    fn times_that_are_no_dates_are_refused() {
        for exp in [json!("1000"), json!(null), json!([1]), json!(true)] {
            assert!(
                times(json!({"exp": exp}), 0, RULES)
                    .unwrap_err()
                    .contains("instead of a number")
            );
        }
        assert!(
            times(json!({"exp": 1e300}), 0, RULES)
                .unwrap_err()
                .contains("out of range")
        );
        assert!(times(json!({"exp": 1e15, "nbf": "x"}), 0, RULES).is_err());
        assert!(
            times(json!({"exp": -1}), 100, RULES)
                .unwrap_err()
                .contains("expired")
        );
    }

    #[test]
    fn issuer_and_audience_must_be_named() {
        let accepted = ["a".to_owned(), "b".to_owned()];
        for (iss, good) in [
            (json!("a"), true),
            (json!("b"), true),
            (json!("A"), false),
            (json!(["a"]), false),
            (json!("a "), false),
        ] {
            assert_eq!(
                check_issuer(&map(json!({"iss": iss})), &accepted).is_ok(),
                good,
                "{iss}"
            );
        }
        assert!(check_issuer(&map(json!({})), &accepted).is_err());
        assert_eq!(check_issuer(&map(json!({"iss": "z"})), &[]), Ok(Some("z")));
        for (aud, good) in [
            (json!("a"), true),
            (json!(["z", "b"]), true),
            (json!("z"), false),
            (json!([]), false),
            (json!({"a": 1}), false),
            (json!(null), false),
        ] {
            assert_eq!(
                check_audience(&map(json!({"aud": aud})), &accepted).is_ok(),
                good,
                "{aud}"
            );
        }
        assert!(check_audience(&map(json!({})), &accepted).is_err());
        assert!(check_audience(&map(json!({})), &[]).is_ok());
    }

    #[test]
    fn all_scopes_must_be_granted_in_scope_or_scp() {
        let required = ["read".to_owned(), "write".to_owned()];
        for (claims, good) in [
            (json!({"scope": "read write"}), true),
            (json!({"scope": "write x read"}), true),
            (json!({"scp": ["write", "read"]}), true),
            (json!({"scope": "read", "scp": ["write"]}), true),
            (json!({"scope": "readwrite"}), false),
            (json!({"scope": "read"}), false),
            (json!({"scp": [["read"], "write"]}), false),
            (json!({}), false),
        ] {
            let outcome = check_scopes(&map(claims.clone()), &required, Scopes::All);
            assert_eq!(outcome.is_ok(), good, "{claims}");
            assert!(outcome.err().is_none_or(|refusal| refusal.status() == 403));
        }
    }

    #[test]
    fn one_scope_may_do() {
        let required = ["read".to_owned(), "write".to_owned()];
        for (claims, good) in [
            (json!({"scope": "x write"}), true),
            (json!({"scp": ["read"]}), true),
            (json!({"scp": "read x"}), true),
            (json!({"scope": "x"}), false),
            (json!({"scope": ""}), false),
            (json!({}), false),
        ] {
            let outcome = check_scopes(&map(claims.clone()), &required, Scopes::Any);
            assert_eq!(outcome.is_ok(), good, "{claims}");
        }
        for how in [Scopes::All, Scopes::Any] {
            assert!(check_scopes(&map(json!({})), &[], how).is_ok());
        }
    }

    #[test]
    fn rules_compare_values_lists_and_words() {
        let claims = map(json!({"tenant": "t1", "roles": ["a", 7], "groups": "x y", "n": 3}));
        let holds = |path: &str, condition: Condition| {
            check_rules(
                &claims,
                &[Rule {
                    path: ClaimPath::parse(path).unwrap(),
                    condition,
                }],
            )
            .is_ok()
        };
        assert!(holds("tenant", Condition::OneOf(vec![json!("t0"), json!("t1")])));
        assert!(!holds("tenant", Condition::OneOf(vec![json!("T1")])));
        assert!(holds("n", Condition::OneOf(vec![json!(3)])));
        assert!(!holds("n", Condition::OneOf(vec![json!("3")])));
        assert!(holds("roles", Condition::Contains(json!("a"))));
        assert!(holds("roles", Condition::Contains(json!(7))));
        assert!(!holds("roles", Condition::Contains(json!("b"))));
        assert!(holds("groups", Condition::Contains(json!("y"))));
        assert!(!holds("groups", Condition::Contains(json!("x y"))));
        assert!(holds("tenant", Condition::Exists(true)) && !holds("tenant", Condition::Exists(false)));
        assert!(holds("absent", Condition::Exists(false)) && !holds("absent", Condition::Exists(true)));
        assert!(!holds("absent", Condition::OneOf(vec![json!("x")])));
    }

    #[test]
    fn a_principal_is_a_short_text_without_control_characters() {
        let path = ClaimPath::parse("sub").unwrap();
        assert_eq!(name(&map(json!({"sub": "ada"})), &path), Ok("ada".into()));
        assert_eq!(name(&map(json!({"sub": 42})), &path), Ok("42".into()));
        for sub in [
            json!(""),
            json!("a\r\nb"),
            json!(["a"]),
            json!(1.5),
            json!("x".repeat(1025)),
            json!(null),
        ] {
            assert!(name(&map(json!({"sub": sub})), &path).is_err(), "{sub}");
        }
        assert!(name(&map(json!({})), &path).is_err());
    }

    #[test]
    fn a_decision_is_reused_until_the_expiry_at_most() {
        assert_eq!(reuse_seconds(60, Some(100.0), 10_000), Some(60));
        assert_eq!(reuse_seconds(60, Some(100.0), 50_500), Some(49));
        assert_eq!(reuse_seconds(60, Some(100.0), 110_000), None);
        assert_eq!(reuse_seconds(60, None, 110_000), Some(60));
        assert_eq!(reuse_seconds(0, Some(1e12), 0), None);
    }
}
