//! Configuration that plugins for bearer tokens have in common, and its checks. Problems begin with the path of the key.

use edgeward_sdk::config::Problems;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    claim_path::ClaimPath,
    claims::{Condition, Rule},
    locate::Location,
};

/// A place where a token may be: exactly one of `header`, `query` and `cookie`.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TokenFrom {
    /// Name of a header field.
    #[serde(default)]
    pub header: Option<String>,
    /// `header`: scheme before the token, compared without case; empty for none. Default `Bearer` for `authorization`, else none.
    #[serde(default)]
    pub scheme: Option<String>,
    /// Name of a query parameter. Query strings end up in logs: prefer a header (RFC 6750 section 2.3).
    #[serde(default)]
    pub query: Option<String>,
    /// Name of a cookie.
    #[serde(default)]
    pub cookie: Option<String>,
}

/// What happens to the token when the request goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Forward {
    /// The upstream gets the token too.
    #[default]
    Keep,
    /// The token is removed from the request.
    Strip,
}

/// A condition on a claim: exactly one of `equals`, `one-of`, `contains` and `exists`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClaimRule {
    /// Path of the claim: `tenant`, `realm_access.roles`, or a JSON Pointer when a name has a dot: `/https:~1~1example.com~1roles`.
    pub claim: String,
    /// The claim has exactly this value.
    #[serde(default)]
    pub equals: Option<Value>,
    /// The claim has one of these values.
    #[serde(default)]
    pub one_of: Option<Vec<Value>>,
    /// The claim is a list with this value, or a text with this word.
    #[serde(default)]
    pub contains: Option<Value>,
    /// The claim is there (true) or is not (false).
    #[serde(default)]
    pub exists: Option<bool>,
}

impl ClaimRule {
    /// Its condition; none unless there is exactly one.
    fn condition(&self) -> Option<Condition> {
        match (&self.equals, &self.one_of, &self.contains, self.exists) {
            (Some(value), None, None, None) => Some(Condition::OneOf(vec![value.clone()])),
            (None, Some(values), None, None) => Some(Condition::OneOf(values.clone())),
            (None, None, Some(value), None) => Some(Condition::Contains(value.clone())),
            (None, None, None, Some(exists)) => Some(Condition::Exists(exists)),
            _ => None,
        }
    }
}

/// Checks `token-from`; without it the token is in `Authorization`. `header` makes the location of a header field of its name and
/// the scheme that is configured for it: usually [`Location::header`].
pub fn locations(
    problems: &mut Problems,
    places: Option<&[TokenFrom]>,
    header: fn(&str, Option<&str>) -> Location,
) -> Vec<Location> {
    let Some(places) = places else {
        return vec![header("authorization", None)];
    };
    if places.is_empty() {
        problems.push("token-from: an empty list finds no token; leave it out for Authorization: Bearer");
    }
    let mut locations = Vec::new();
    for (index, place) in places.iter().enumerate() {
        let path = format!("token-from[{index}]");
        match (&place.header, &place.query, &place.cookie) {
            (Some(name), None, None) => locations.push(header(name, place.scheme.as_deref())),
            (None, Some(name), None) => locations.push(Location::Query(name.clone())),
            (None, None, Some(name)) => locations.push(Location::Cookie(name.clone())),
            _ => problems.push(format!(
                "{path}: exactly one of header, query and cookie is needed"
            )),
        }
        if place.scheme.is_some() && place.header.is_none() {
            problems.push(format!("{path}.scheme: makes sense with `header` only"));
        }
    }
    locations
}

/// Checks the path of a claim.
pub fn claim_path(problems: &mut Problems, key: &str, text: &str) -> Option<ClaimPath> {
    ClaimPath::parse(text)
        .map_err(|error| problems.push(format!("{key}: {error}")))
        .ok()
}

/// Checks the conditions `claims`.
pub fn rules(problems: &mut Problems, rules: &[ClaimRule]) -> Vec<Rule> {
    let mut checked = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let key = format!("claims[{index}]");
        let Some(condition) = rule.condition() else {
            problems.push(format!(
                "{key}: exactly one of equals, one-of, contains and exists is needed"
            ));
            continue;
        };
        if let Some(path) = claim_path(problems, &format!("{key}.claim"), &rule.claim) {
            checked.push(Rule { path, condition });
        }
    }
    checked
}

/// Checks `scopes`, which are written into the challenge.
pub fn scopes(problems: &mut Problems, scopes: &[String]) {
    for scope in scopes {
        // RFC 6749 section 3.3: no quotes, no space
        if scope.is_empty() || scope.contains(' ') || !fits_quotes(scope) {
            problems.push(format!("scopes: {scope:?} is no scope"));
        }
    }
}

/// Checks a text that is written into the challenge or into a question.
pub fn printable(problems: &mut Problems, key: &str, text: Option<&String>) {
    if text.is_some_and(|text| !fits_quotes(text)) {
        problems.push(format!(
            "{key}: only printable ASCII without quotes and backslashes"
        ));
    }
}

/// Printable ASCII that stands between quotes as it is.
fn fits_quotes(text: &str) -> bool {
    text.bytes()
        .all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\')
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What a check says, and the problems that it found.
    fn told<T>(check: impl FnOnce(&mut Problems) -> T) -> (T, String) {
        let mut problems = Problems::default();
        let outcome = check(&mut problems);
        (outcome, problems.to_string())
    }

    fn places(places: Value) -> (Vec<Location>, String) {
        let places: Vec<TokenFrom> = serde_json::from_value(places).unwrap();
        told(|problems| locations(problems, Some(&places), Location::header))
    }

    #[test]
    fn tokens_are_where_the_configuration_says() {
        let none = told(|problems| locations(problems, None, Location::header));
        assert_eq!(none, (vec![Location::bearer()], String::new()));
        let (found, problems) = places(
            json!([{"header": "X-Token"}, {"header": "a", "scheme": "t"}, {"query": "q"}, {"cookie": "c"}]),
        );
        assert_eq!(problems, "");
        let wanted = [
            Location::header("x-token", Some("")),
            Location::header("a", Some("t")),
            Location::Query("q".into()),
            Location::Cookie("c".into()),
        ];
        assert_eq!(found, wanted);
        let (_, problems) = places(json!([]));
        assert!(
            problems.starts_with("config.token-from: an empty list"),
            "{problems}"
        );
        let (found, problems) =
            places(json!([{}, {"query": "a", "cookie": "b"}, {"query": "a", "scheme": "b"}]));
        assert_eq!(found, [Location::Query("a".into())]);
        assert_eq!(
            problems,
            "config.token-from[0]: exactly one of header, query and cookie is needed; \
             config.token-from[1]: exactly one of header, query and cookie is needed; \
             config.token-from[2].scheme: makes sense with `header` only"
        );
    }

    fn rule(text: &str) -> ClaimRule {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_rule_has_one_condition() {
        for (condition, wanted) in [
            (r#", "equals": 1"#, "Some(OneOf([Number(1)]))"),
            (r#", "one-of": [1, 2]"#, "Some(OneOf([Number(1), Number(2)]))"),
            (r#", "contains": 1"#, "Some(Contains(Number(1)))"),
            (r#", "exists": false"#, "Some(Exists(false))"),
            ("", "None"),
            (r#", "equals": 1, "one-of": [1, 2]"#, "None"),
            (r#", "equals": 1, "exists": true"#, "None"),
            (r#", "contains": 1, "exists": true"#, "None"),
        ] {
            let rule = rule(&format!(r#"{{"claim": "a"{condition}}}"#));
            assert_eq!(format!("{:?}", rule.condition()), wanted, "{condition}");
        }
    }

    #[test]
    fn rules_have_a_path_and_one_condition() {
        let given = [
            rule(r#"{"claim": "a", "exists": true}"#),
            rule(r#"{"claim": "b"}"#),
            rule(r#"{"claim": "c..d", "exists": true}"#),
        ];
        let (rules, problems) = told(|problems| rules(problems, &given));
        assert_eq!((rules.len(), rules[0].path.to_string().as_str()), (1, "a"));
        assert!(
            problems.starts_with("config.claims[1]: exactly one of equals, one-of, contains and exists is needed; config.claims[2].claim: "),
            "{problems}"
        );
    }

    #[test]
    fn what_goes_into_a_challenge_needs_no_escape() {
        let given = ["a:b", "", "a b", "a\"", "a\\", "a\n", "ä"].map(str::to_owned);
        let ((), problems) = told(|problems| scopes(problems, &given));
        assert_eq!(problems.matches("is no scope").count(), 6, "{problems}");
        for (text, good) in [("a b", true), ("", true), ("a\"", false), ("\u{7f}", false)] {
            let ((), problems) = told(|problems| printable(problems, "realm", Some(&text.to_owned())));
            assert_eq!(problems.is_empty(), good, "{problems}");
        }
    }
}
