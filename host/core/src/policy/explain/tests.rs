//! Explanations: what they say, and how they read.

use serde_json::{Value, json};

use super::*;

const ARN: &str = "arn:aws:execute-api:eu-west-1:123456789012:pets/prod/GET/pets/7";

fn ask(question: &Value) -> Explanation {
    let question: Question = serde_json::from_str(&question.to_string()).unwrap();
    question.answer(1_700_000_000).unwrap()
}

fn problems(question: &Value) -> Vec<String> {
    let question: Question = serde_json::from_str(&question.to_string()).unwrap();
    let problems = question.answer(0).map(drop).unwrap_err();
    problems.0.into_iter().map(|problem| problem.path).collect()
}

fn own(effect: &str, resource: &str) -> Value {
    json!({"Version": "2012-10-17", "Statement": {"Effect": effect, "Action": "execute-api:Invoke", "Resource": resource}})
}

#[test]
fn every_part_that_does_not_match_is_told_with_what_was_seen() {
    let explanation = ask(&json!({
        "arn": ARN,
        "resource-policy": {"Version": "2012-10-17", "Statement": [
            {"Sid": "Office", "Effect": "Allow", "Principal": "*", "Action": "execute-api:Invoke", "Resource": "execute-api:/prod/GET/pets/*",
             "Condition": {"IpAddress": {"aws:SourceIp": ["192.0.2.0/24", "2001:db8::/32"]}, "Bool": {"aws:SecureTransport": "true"}}},
            {"Effect": "Deny", "Principal": {"AWS": "111122223333"}, "Action": ["execute-api:InvalidateCache", "execute-api:ManageConnections"],
             "NotResource": "*", "Condition": {"StringEquals": {"aws:UserAgent": "${aws:Referer}"}}},
        ]},
        "context": {"aws:SourceIp": "198.51.100.7", "aws:useragent": "curl"},
    }));
    let expected = "\
denied (implicitly): the resource policy has to allow it, and no statement does
  execute-api:Invoke on arn:aws:execute-api:eu-west-1:123456789012:pets/prod/GET/pets/7
  by anonymous, authorization: none
the resource policy says nothing about it:
  statement 0 `Office` (Allow): does not apply
    Condition Bool aws:SecureTransport: no value against `true`
    Condition IpAddress aws:SourceIp: `198.51.100.7` against `192.0.2.0/24`, `2001:db8::/32`
  statement 1 (Deny): does not apply
    Principal: `anonymous` against `AWS: 111122223333`
    Action: `execute-api:Invoke` against `execute-api:InvalidateCache`, `execute-api:ManageConnections`
    NotResource: `arn:aws:execute-api:eu-west-1:123456789012:pets/prod/GET/pets/7` against `*`
    Condition StringEquals aws:UserAgent: `curl` against `${aws:Referer}`
variables:
  ${aws:Referer} has no value, which is like nothing
";
    let text = explanation.to_string();
    // the order of operators is that of the document
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&text), sorted(expected), "{text}");
    let json = serde_json::to_value(&explanation).unwrap();
    assert_eq!(json["decision"], "implicit-deny");
    assert_eq!(json["decided-by"], Value::Null);
    assert_eq!(json["policies"][0]["statements"][0]["resource"]["matches"], true);
    assert_eq!(json["policies"][0]["says"], "silent");
}

#[test]
fn each_kind_of_authorization_has_its_reasons() {
    let user = "arn:aws:iam::123456789012:user/ann";
    let other = "arn:aws:sts::444455556666:assumed-role/R/s";
    let resource = |effect: &str, principal: &str| json!({"Statement": {"Sid": "S", "Effect": effect, "Principal": {"AWS": principal}, "Action": "*", "Resource": "*"}});
    for (question, decision, reason) in [
        (
            json!({"policy": own("Allow", ARN)}),
            Outcome::Allow,
            "statement 0 of the caller's policy allows it",
        ),
        (
            json!({"policy": own("Allow", ARN), "resource-policy": resource("Deny", "*")}),
            Outcome::ExplicitDeny,
            "statement 0 `S` of the resource policy denies it, before the authorizer is called",
        ),
        (
            json!({"policy": own("Allow", "arn:aws:execute-api:*:*:cats/*")}),
            Outcome::ImplicitDeny,
            "no statement allows it",
        ),
        (
            json!({"kind": "cognito", "resource-policy": resource("Deny", "111122223333")}),
            Outcome::ImplicitDeny,
            "the resource policy has to allow it, and no statement does",
        ),
        (
            json!({"principal": user, "policy": own("Deny", "*"), "resource-policy": resource("Allow", "*")}),
            Outcome::ExplicitDeny,
            "statement 0 of the caller's policy denies it",
        ),
        (
            json!({"principal": user, "resource-policy": resource("Allow", "123456789012")}),
            Outcome::ImplicitDeny,
            "the resource policy allows it to the account, which leaves it to the caller's policy, and that does not allow it",
        ),
        (
            json!({"principal": other, "policy": own("Allow", "*"), "resource-policy": resource("Allow", "444455556666")}),
            Outcome::Allow,
            "statement 0 of the caller's policy allows it",
        ),
        (
            json!({"principal": other, "policy": own("Allow", "*")}),
            Outcome::ImplicitDeny,
            "both policies have to allow it: the caller's (does) and the resource policy (there is none)",
        ),
        (
            json!({"principal": "arn:aws:iam::444455556666:root", "kind": "iam", "account": "123456789012", "policy": own("Allow", "*")}),
            Outcome::Allow,
            "statement 0 of the caller's policy allows it",
        ),
        (
            json!({"principal": "events.amazonaws.com", "resource-policy": {"Statement": {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "*", "Resource": "*"}}}),
            Outcome::ImplicitDeny,
            "both policies have to allow it: the caller's (there is none) and the resource policy (does)",
        ),
    ] {
        let mut question = question;
        question["arn"] = json!(ARN);
        let explanation = ask(&question);
        assert_eq!(
            (explanation.decision, &*explanation.reason),
            (decision, reason),
            "{question}"
        );
    }
}

#[test]
fn sessions_and_instants_are_known_as_on_aws() {
    let explanation = ask(&json!({
        "arn": ARN, "principal": "arn:aws:sts::123456789012:assumed-role/Dev/s1",
        "policy": {"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "*", "Resource": "*",
            "Condition": {
                "ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/Dev"},
                "DateLessThan": {"aws:CurrentTime": "2020-01-02", "aws:EpochTime": "2020-01-02"},
            },
        }},
        "context": {"aws:CurrentTime": "2020-01-01T00:00:00Z"},
    }));
    assert_eq!(explanation.decision, Outcome::Allow, "{explanation}");
    let text = json!({"arn": ARN, "policy": own("Allow", "*").to_string()});
    assert_eq!(ask(&text).decision, Outcome::Allow);
}

#[test]
fn everything_that_is_wrong_with_a_question_is_told() {
    assert_eq!(
        problems(
            &json!({"arn": "x", "action": "Call", "principal": "arn:aws:iam::1:group/x", "context": {"a:b": null}, "policy": {}})
        ),
        ["arn", "action", "principal", "context.a:b", "policy"]
    );
    let policy = own("Allow", "*");
    for (question, expected) in [
        (json!({}), ["" as &str; 1].as_slice()),
        (json!({"policy": policy, "kind": "x"}), &["kind"]),
        (json!({"policy": policy, "kind": "none"}), &["policy"]),
        (json!({"policy": policy, "kind": "iam"}), &["principal"]),
        (
            json!({"policy": policy, "kind": "lambda", "principal": "x"}),
            &["principal"],
        ),
        (json!({"policy": policy, "account": "123456789012"}), &["account"]),
        (
            json!({"policy": policy, "principal": "arn:aws:iam::123456789012:role/R"}),
            &["principal"],
        ),
        (json!({"policy": {"Statement": {}}}), &["policy/Statement"; 3]),
        (json!({"policy": "{"}), &["policy line 1 column 1"]),
        (
            json!({"policy": policy, "context": {"aws:CurrentTime": "now"}}),
            &["context.aws:CurrentTime"],
        ),
        (json!({"resource-policy": policy}), &["resource-policy/Statement"]),
    ] {
        let mut question = question;
        question["arn"] = json!(ARN);
        assert_eq!(problems(&question), expected, "{question}");
    }
    let twice = r#"{"arn": "x", "policy": {"Statement": 1, "Statement": 2}}"#;
    let question: Question = serde_json::from_str(twice).unwrap();
    assert!(
        question
            .answer(0)
            .unwrap_err()
            .to_string()
            .contains("stands there twice")
    );
    assert!(serde_json::from_str::<Question>(r#"{"polizy": {}}"#).is_err());
}
