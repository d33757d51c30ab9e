//! Who calls, as an authorizer of IAM's kind says it: its facts, and the condition keys that AWS has after IAM authorization only.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{
    key::{Key, Value, Values},
    request::{Caller, role_of_session},
};

/// What an authorizer says of a caller. Nothing, where nobody was asked who may say so.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    account: Option<String>,
    arn: Option<String>,
    role: Option<String>,
    user_id: Option<String>,
    org_id: Option<String>,
    org_paths: Vec<String>,
    /// By name in lower case.
    tags: BTreeMap<String, String>,
    issued: Option<i64>,
    mfa: Option<bool>,
    mfa_age: Option<i64>,
}

impl Identity {
    /// Takes the facts of an authorizer at an instant in seconds since 1970. `fact` has the value of each, null where there is none; those of another type than
    /// the one said here do not count.
    ///
    /// | fact | type | condition key |
    /// |---|---|---|
    /// | `accountId` | text | `aws:PrincipalAccount` |
    /// | `userArn` | text | `aws:PrincipalArn`, `aws:PrincipalType`, `aws:username` |
    /// | `userId` | text | `aws:userid` |
    /// | `principalOrgId` | text | `aws:PrincipalOrgID` |
    /// | `principalOrgPaths` | list of texts | `aws:PrincipalOrgPaths` |
    /// | `principalTags` | object of texts | `aws:PrincipalTag/NAME` |
    /// | `tokenIssueTime` | seconds since 1970 | `aws:TokenIssueTime` |
    /// | `multiFactorAuthPresent` | true or false | `aws:MultiFactorAuthPresent` |
    /// | `multiFactorAuthTime` | seconds since 1970 | `aws:MultiFactorAuthAge` |
    #[must_use]
    pub fn of(fact: impl Fn(&str) -> Json, now: i64) -> Self {
        let one = |name: &str| text(fact(name));
        let org_paths = match fact("principalOrgPaths") {
            Json::Array(items) => items.into_iter().filter_map(text).collect(),
            _ => Vec::new(),
        };
        let tags = match fact("principalTags") {
            Json::Object(members) => members
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_ascii_lowercase(), text(value)?)))
                .collect(),
            _ => BTreeMap::new(),
        };
        let arn = one("userArn");
        Self {
            account: one("accountId"),
            role: arn.as_deref().and_then(role_of_session),
            arn,
            user_id: one("userId"),
            org_id: one("principalOrgId"),
            org_paths,
            tags,
            issued: fact("tokenIssueTime").as_i64(),
            mfa: fact("multiFactorAuthPresent").as_bool(),
            mfa_age: fact("multiFactorAuthTime")
                .as_i64()
                .map(|at| now.saturating_sub(at).max(0)),
        }
    }

    /// The account.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// The ARN.
    #[must_use]
    pub fn arn(&self) -> Option<&str> {
        self.arn.as_deref()
    }

    /// The caller to policies: one that has an account and an ARN.
    #[must_use]
    pub fn caller(&self) -> Caller<'_> {
        match (self.account(), self.arn()) {
            (Some(account), Some(arn)) => Caller::Aws {
                account,
                arn,
                role: None,
            },
            _ => Caller::Anonymous,
        }
    }

    /// The values of a condition key that do not follow from the caller.
    #[must_use]
    pub fn values(&self, key: &Key) -> Values<'_> {
        let one = match key {
            Key::PrincipalArn => self.role.as_deref().map(Value::Text),
            Key::UserId => self.user_id.as_deref().map(Value::Text),
            Key::PrincipalOrgId => self.org_id.as_deref().map(Value::Text),
            Key::PrincipalOrgPaths => return Values::Many(&self.org_paths),
            Key::PrincipalTag(name) => self.tags.get(&**name).map(|tag| Value::Text(tag)),
            Key::TokenIssueTime => self.issued.map(Value::Instant),
            Key::MultiFactorAuthPresent => self.mfa.map(Value::Flag),
            Key::MultiFactorAuthAge => self.mfa_age.map(Value::Number),
            _ => None,
        };
        Values::of(one)
    }
}

fn text(value: Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::{Context, Policy, PolicyKind, Request, Verdict, request::tests::request};

    impl Context for Identity {
        fn values(&self, key: &Key) -> Values<'_> {
            Self::values(self, key)
        }
    }

    fn identity(facts: &Json) -> Identity {
        Identity::of(|name| facts[name].clone(), 1_700_000_000)
    }

    /// Whether a condition holds for a caller of whom that is said.
    fn holds(facts: &Json, operator: &str, key: &str, value: &Json) -> bool {
        let statement =
            json!({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {operator: {key: value}}});
        let policy = json!({"Version": "2012-10-17", "Statement": statement});
        let policy = Policy::from_value(&policy, PolicyKind::Identity).unwrap().policy;
        let identity = identity(facts);
        let verdict = policy.judge(&Request {
            caller: identity.caller(),
            ..request(&identity)
        });
        matches!(verdict, Verdict::Allow { .. })
    }

    #[test]
    fn each_fact_is_the_value_of_its_condition_keys() {
        let all = json!({
            "accountId": "123456789012",
            "userArn": "arn:aws:iam::123456789012:user/team/ada",
            "userId": "AIDA",
            "principalOrgId": "o-a1",
            "principalOrgPaths": ["o-a1/r-b2/ou-c3/", "o-a1/r-b2/ou-d4/"],
            "principalTags": {"Team": "pets", "cost center": "7"},
            "tokenIssueTime": 1_699_990_000,
            "multiFactorAuthPresent": true,
            "multiFactorAuthTime": 1_699_999_400,
        });
        for (operator, key, good, bad) in [
            (
                "StringEquals",
                "aws:PrincipalAccount",
                "123456789012",
                "999999999999",
            ),
            (
                "ArnLike",
                "aws:PrincipalArn",
                "arn:aws:iam::*:user/team/*",
                "arn:aws:iam::*:role/*",
            ),
            ("StringEquals", "aws:PrincipalType", "User", "AssumedRole"),
            ("StringEquals", "aws:username", "ada", "team/ada"),
            ("StringEquals", "aws:userid", "AIDA", "ada"),
            ("StringEquals", "aws:PrincipalOrgID", "o-a1", "o-a2"),
            (
                "ForAnyValue:StringLike",
                "aws:PrincipalOrgPaths",
                "o-a1/*/ou-d4/*",
                "o-a1/ou-d4/*",
            ),
            (
                "ForAllValues:StringLike",
                "aws:PrincipalOrgPaths",
                "o-a1/r-b2/*",
                "o-a1/r-b2/ou-c3/*",
            ),
            ("StringEquals", "aws:PrincipalTag/team", "pets", "Pets"),
            ("StringEquals", "aws:principaltag/Cost Center", "7", "8"),
            (
                "DateLessThan",
                "aws:TokenIssueTime",
                "2023-11-14T19:26:41Z",
                "2023-11-14T19:26:40Z",
            ),
            ("Bool", "aws:MultiFactorAuthPresent", "true", "false"),
            ("NumericLessThanEquals", "aws:MultiFactorAuthAge", "600", "599"),
        ] {
            assert!(holds(&all, operator, key, &json!(good)), "{key} {good}");
            assert!(!holds(&all, operator, key, &json!(bad)), "{key} {bad}");
            // of somebody of whom nothing is said there is no value
            assert!(holds(&json!({}), "Null", key, &json!("true")), "{key}");
        }
        let by_tag = json!("${aws:PrincipalTag/team}");
        assert!(holds(
            &all,
            "StringNotEquals",
            "aws:PrincipalTag/cost center",
            &by_tag
        ));
    }

    #[test]
    fn facts_of_another_type_do_not_count() {
        let wrong = json!({
            "accountId": 123_456_789_012_u64,
            "userArn": ["arn:aws:iam::123456789012:user/ada"],
            "principalOrgPaths": "o-a1/",
            "principalTags": ["team"],
            "tokenIssueTime": "1699990000",
            "multiFactorAuthPresent": "true",
            "multiFactorAuthTime": true,
        });
        assert_eq!(identity(&wrong), Identity::default());
        assert_eq!(identity(&wrong).caller(), Caller::Anonymous);
        let some = json!({"principalOrgPaths": [1, "o-a1/"], "principalTags": {"a": 1, "b": "c"}});
        assert!(holds(&some, "StringEquals", "aws:PrincipalTag/b", &json!("c")));
        assert!(holds(&some, "Null", "aws:PrincipalTag/a", &json!("true")));
        assert!(holds(
            &some,
            "StringEquals",
            "aws:PrincipalOrgPaths",
            &json!("o-a1/")
        ));
    }

    #[test]
    fn a_factor_of_the_future_is_as_old_as_one_of_now() {
        let future = json!({"multiFactorAuthTime": 1_800_000_000});
        assert!(holds(
            &future,
            "NumericEquals",
            "aws:MultiFactorAuthAge",
            &json!(0)
        ));
    }
}
