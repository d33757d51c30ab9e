//! Documents that are policies, and what is told of those that are not.

use serde_json::{Value, json};

use super::*;
use crate::policy::{Home, Key, PolicyKind};

fn home() -> Home {
    Home::new("aws", "eu-west-1", "123456789012", "pets").unwrap()
}

/// Problems of a resource policy, each as `place: message`.
fn problems(policy: &Value) -> Vec<String> {
    let home = home();
    match Policy::from_value(policy, PolicyKind::Resource(&home)) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
    }
}

fn statement() -> Value {
    json!({"Effect": "Allow", "Principal": "*", "Action": "execute-api:Invoke", "Resource": "*"})
}

#[test]
fn a_policy_takes_one_or_many_wherever_aws_does() {
    let home = home();
    let long = json!({
        "Version": "2012-10-17", "Id": "x",
        "Statement": [{
            "Sid": "", "Effect": "Deny", "NotPrincipal": {"AWS": ["111122223333", "*"], "Service": "a.amazonaws.com", "Federated": "x"},
            "NotAction": ["execute-api:*", "*"], "NotResource": ["execute-api:/prod/GET/*", "*"],
            "Condition": {"Bool": {"aws:SecureTransport": false}, "NumericLessThan": {"aws:MultiFactorAuthAge": [1, "2", 3.5]}},
        }],
    });
    let read = Policy::from_value(&long, PolicyKind::Resource(&home)).unwrap();
    assert_eq!(read.warnings, []);
    let document = read.policy.document();
    let written = &document["Statement"][0];
    assert_eq!(
        written["NotResource"],
        json!(["arn:aws:execute-api:eu-west-1:123456789012:pets/prod/GET/*", "*"])
    );
    assert_eq!(
        written["Condition"]["NumericLessThan"],
        json!({"aws:MultiFactorAuthAge": ["1", "2", "3.5"]})
    );
    assert!(written.get("Sid").is_none());
    let again = Policy::from_value(&document, PolicyKind::Resource(&home)).unwrap();
    assert_eq!(again.policy, read.policy);
    assert_eq!(
        read.policy.keys(),
        [Key::SecureTransport, Key::MultiFactorAuthAge]
    );
    let short = json!({"Statement": statement()});
    let read = Policy::from_value(&short, PolicyKind::Resource(&home)).unwrap();
    assert_eq!(read.policy.document()["Version"], "2008-10-17");
    assert_eq!((read.policy.len(), read.policy.is_empty()), (1, false));
}

#[test]
fn every_fault_is_told_with_its_place() {
    let policy = json!({
        "Version": "2026-01-01", "Owner": "me",
        "Statement": [
            {
                "Effect": "allow", "Principal": {"AWS": [], "User": "x"}, "Action": "Invoke", "NotAction": "*",
                "Condition": {
                    "StringEqual": {"aws:SourceIp": "x"},
                    "IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "10.0.0.0/40", 7], "SourceIp": "::1"},
                    "ipaddress": {},
                    "Bool": {"aws:SecureTransport": [], "AWS:securetransport": "true"},
                    "Null": "aws:SourceVpc",
                },
            },
            {"Sid": 7, "Effect": "Deny", "Principal": "me", "Action": [1], "Resource": ["pets", ""]},
            "x",
        ],
    });
    let expected = [
        "/Owner: `Owner` is not known here; known: `Version`, `Id`, `Statement`",
        "/Version: `2026-01-01` is no version of the language: `2012-10-17` or `2008-10-17`",
        "/Statement/0/Effect: `allow` is neither `Allow` nor `Deny`",
        "/Statement/0/Principal/User: `User` is not known here; known: `AWS`, `Service`, `Federated`, `CanonicalUser`",
        "/Statement/0/Principal/AWS: is an empty list",
        "/Statement/0: has both `Action` and `NotAction`",
        "/Statement/0: has neither `Resource` nor `NotResource`",
        "/Statement/0/Condition/Bool/AWS:securetransport: is an empty list",
    ];
    let found = problems(&policy);
    for problem in expected.iter().take(7) {
        assert!(
            found.iter().any(|found| found == problem),
            "{problem}: {found:#?}"
        );
    }
    for place in [
        "/Statement/0/Condition/StringEqual: ",
        "/Statement/0/Condition/IpAddress/aws:SourceIp/1: ",
        "/Statement/0/Condition/IpAddress/SourceIp: ",
        "/Statement/0/Condition/Null: ",
        "/Statement/1/Sid: ",
        "/Statement/1/Principal: ",
        "/Statement/1/Action/0: ",
        "/Statement/1/Resource/0: ",
        "/Statement/1/Resource/1: ",
        "/Statement/2: is a string and has to be an object",
    ] {
        assert!(
            found.iter().any(|found| found.starts_with(place)),
            "{place}: {found:#?}"
        );
    }
    // names without case, one of them an empty list
    assert!(
        found
            .iter()
            .any(|found| found.contains("names of keys have no case")),
        "{found:#?}"
    );
}

#[test]
fn members_that_stand_twice_are_told() {
    let home = home();
    let text = r#"{"Statement": [], "Statement": {"Effect": "Allow", "Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"}}"#;
    let found = Policy::read(text, PolicyKind::Resource(&home)).unwrap_err();
    let told: Vec<_> = found.0.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "/Statement: `Statement` stands there twice",
            "/Statement: is an empty list"
        ]
    );
    let twice = json!({"Statement": [
        {"Sid": "a", "Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"},
        {"Sid": "a", "Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"},
    ]});
    assert_eq!(
        problems(&twice),
        ["/Statement/1/Sid: `a` is the Sid of an earlier statement, too"]
    );
    assert_eq!(problems(&json!([])), ["is a list and has to be an object"]);
    assert_eq!(problems(&json!({})), ["has no `Statement`"]);
}

#[test]
fn limits_name_the_value_and_the_limit() {
    let policy =
        |resource: String| json!({"Statement": {"Effect": "Allow", "Action": "*", "Resource": resource}});
    let arn = |length: usize| format!("arn:aws:execute-api:r:a:{}", "x".repeat(length - 24));
    assert!(Policy::from_value(&policy(arn(512)), PolicyKind::Authorizer).is_ok());
    let problems = Policy::from_value(&policy(arn(513)), PolicyKind::Authorizer).unwrap_err();
    let told = problems.to_string();
    assert!(
        told.starts_with("/Statement/Resource: `arn:aws:execute-api:"),
        "{told}"
    );
    assert!(
        told.ends_with("...` has 513 characters, which exceed 512"),
        "{told}"
    );
    assert!(Policy::from_value(&policy(arn(513)), PolicyKind::Identity).is_ok());
    let home = home();
    let long = json!({"Id": "x".repeat(8192), "Statement": statement()});
    let problems = Policy::from_value(&long, PolicyKind::Resource(&home)).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "8293 characters exceed 8192, white space not counted"
    );
    let many = json!({"Statement": vec![json!({"Effect": "Allow", "Action": "*", "Resource": "*"}); 257]});
    let problems = Policy::from_value(&many, PolicyKind::Authorizer).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "/Statement: has 257 statements, which exceed 256"
    );
    let values = json!({"Statement": {"Effect": "Allow", "Action": vec!["*"; 1025], "Resource": "*"}});
    let problems = Policy::from_value(&values, PolicyKind::Authorizer).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "/Statement/Action: has 1025 values, which exceed 1024"
    );
    let wrong = json!({"Statement": {"Effect": "Allow", "Action": vec!["x"; 1000], "Resource": "*"}});
    let problems = Policy::from_value(&wrong, PolicyKind::Authorizer).unwrap_err();
    assert_eq!(problems.0.len(), 101);
    assert_eq!(
        problems.0[100].message,
        "has more than 100 problems: the rest is not told"
    );
}

#[test]
fn a_policy_of_the_caller_names_no_principal_and_no_short_resource() {
    let policy = json!({"Statement": statement()});
    for kind in [PolicyKind::Authorizer, PolicyKind::Identity] {
        let problems = Policy::from_value(&policy, kind).unwrap_err();
        assert_eq!(problems.0[0].path, "/Statement/Principal");
    }
    let short =
        json!({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "execute-api:/prod/GET/"}});
    assert!(Policy::from_value(&short, PolicyKind::Identity).is_err());
    let read = Policy::from_value(&short, PolicyKind::Authorizer).unwrap();
    assert_eq!(read.warnings[0].path, "/Statement/Resource");
    let nobody = json!({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}});
    assert_eq!(
        problems(&nobody),
        ["/Statement: has neither `Principal` nor `NotPrincipal`"]
    );
}

#[test]
fn what_looks_like_a_mistake_is_warned_of() {
    let home = home();
    let policy = json!({"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "NotPrincipal": {"AWS": "AIDACKCEVSQ6C2EXAMPLE", "CanonicalUser": "79a5"},
        "Action": "execute-api:Invok",
        "Resource": ["arn:aws:s3:::bucket", "execute-api:/${aws:usernam}"],
        "Condition": {
            "StringLike": {"aws:PrincipalOrgPaths": "o-1/*", "aws:SourceIP4": "x"},
            "ForAllValues:StringEquals": {"aws:PrincipalOrgPaths": "x"},
            "StringEquals": {"aws:SourceVpce": "vpce-1"},
            "Bool": {},
        },
    }});
    let read = Policy::from_value(&policy, PolicyKind::Resource(&home)).unwrap();
    let warnings: Vec<_> = read.warnings.iter().map(|warning| &*warning.path).collect();
    assert_eq!(
        warnings,
        [
            "/Statement/NotPrincipal",
            "/Statement/NotPrincipal/AWS",
            "/Statement/NotPrincipal/CanonicalUser",
            "/Statement/Action",
            "/Statement/Resource/0",
            "/Statement/Resource/1",
            "/Statement/Condition/Bool",
            "/Statement/Condition/ForAllValues:StringEquals/aws:PrincipalOrgPaths",
            "/Statement/Condition/StringEquals/aws:SourceVpce",
            "/Statement/Condition/StringLike/aws:PrincipalOrgPaths",
            "/Statement/Condition/StringLike/aws:SourceIP4",
        ]
    );
    assert!(
        read.warnings[8]
            .message
            .starts_with("no request has the condition key `aws:SourceVpce`: "),
        "{}",
        read.warnings[8]
    );
    assert!(
        read.warnings[10].message.ends_with("`aws:SourceIp`?"),
        "{}",
        read.warnings[10]
    );
}

#[test]
fn variables_are_text_in_the_old_version_of_the_language() {
    let policy = |version: &str| json!({"Version": version, "Statement": {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "arn:${"}});
    assert_eq!(problems(&policy("2012-10-17")).len(), 1);
    let old = json!({"Version": "2008-10-17", "Statement": {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "arn:aws:execute-api:r:a:${"}});
    assert_eq!(problems(&old), [""; 0]);
    let policy = |principal: Value| json!({"Statement": {"Effect": "Allow", "Principal": principal, "Action": "*", "Resource": "*"}});
    for wrong in [
        json!({}),
        json!({"AWS": ""}),
        json!({"AWS": "x"}),
        json!({"AWS": 5}),
        json!([]),
        json!("arn:aws:iam::111122223333:root"),
    ] {
        assert_eq!(problems(&policy(wrong.clone())).len(), 1, "{wrong}");
    }
}
