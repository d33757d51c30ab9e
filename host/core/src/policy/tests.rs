//! Policies against requests: what AWS's documentation shows, and random policies against an evaluator that is written otherwise.

use std::collections::BTreeMap;

use proptest::{prelude::*, sample::select};
use serde_json::{Map, Value, json};

use super::{
    Action, Authorization, Caller, Facts, Home, MethodArn, Nothing, Outcome, Policy, PolicyKind, Request,
    Side, Verdict, decide, decide_before,
    explain::explain,
    naive::{self, Asked},
};

fn home() -> Home {
    Home::new("aws", "eu-west-1", "123456789012", "pets").unwrap()
}

fn verdict(policy: &Value, path: &str, action: Action, caller: Caller<'_>, facts: &Facts) -> Verdict {
    let home = home();
    let read = Policy::from_value(policy, PolicyKind::Resource(&home)).unwrap();
    let (verb, path) = path.split_once(' ').unwrap();
    read.policy.judge(&Request {
        action,
        arn: &MethodArn::of(&home, "prod", verb, path),
        caller,
        now: 1_700_000_000,
        context: facts,
    })
}

const ALLOW: fn(usize) -> Verdict = |statement| Verdict::Allow {
    statement: Some(statement),
    by_account: false,
};
const DENY: fn(usize) -> Verdict = |statement| Verdict::Deny {
    statement: Some(statement),
};

#[test]
fn addresses_can_be_let_in_and_others_shut_out() {
    // as "Deny API traffic based on source IP address" in AWS's documentation
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "execute-api:Invoke", "Resource": "execute-api:/*/*/*"},
        {"Effect": "Deny", "Principal": "*", "Action": "execute-api:Invoke", "Resource": "execute-api:/*/*/*",
         "Condition": {"IpAddress": {"aws:SourceIp": ["192.0.2.0/24", "198.51.100.0/24"]}}},
    ]});
    for (address, expected) in [
        ("192.0.2.9", DENY(1)),
        ("203.0.113.1", ALLOW(0)),
        ("2001:db8::1", ALLOW(0)),
    ] {
        let mut facts = Facts::default();
        facts.add("aws:SourceIp", [address.to_owned()]);
        let verdict = verdict(&policy, "GET /pets", Action::Invoke, Caller::Anonymous, &facts);
        assert_eq!(verdict, expected, "{address}");
    }
}

#[test]
fn actions_and_resources_are_told_apart() {
    let policy = json!({"Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "EXECUTE-API:invoke", "Resource": "execute-api:/prod/GET/pets/*"},
        {"Effect": "Allow", "Principal": "*", "NotAction": "execute-api:Inv*", "Resource": "*"},
        {"Effect": "Deny", "Principal": "*", "Action": "*", "NotResource": ["execute-api:/prod/*", "arn:x"]},
    ]});
    let mut policy = policy;
    policy["Statement"][2]["NotResource"] = json!(["execute-api:/prod/*"]);
    for (path, action, expected) in [
        ("GET /pets/7", Action::Invoke, ALLOW(0)),
        ("GET /pets/", Action::Invoke, ALLOW(0)),
        ("GET /pets", Action::Invoke, Verdict::Silent),
        ("GET /Pets/7", Action::Invoke, Verdict::Silent),
        ("POST /pets/7", Action::Invoke, Verdict::Silent),
        ("GET /pets/7", Action::InvalidateCache, Verdict::Silent),
        ("POST /@connections/x", Action::ManageConnections, ALLOW(1)),
    ] {
        let facts = Facts::default();
        let verdict = verdict(&policy, path, action, Caller::Anonymous, &facts);
        assert_eq!(verdict, expected, "{path} {action:?}");
    }
}

#[test]
fn a_direct_grant_goes_before_one_to_the_account_and_a_deny_before_both() {
    let statement = |effect: &str, principal: &str| json!({"Effect": effect, "Principal": {"AWS": principal}, "Action": "*", "Resource": "*"});
    let ann = "arn:aws:iam::111122223333:user/ann";
    let caller = Caller::Aws {
        account: "111122223333",
        arn: ann,
        role: None,
    };
    let by_account = Verdict::Allow {
        statement: Some(0),
        by_account: true,
    };
    for (statements, expected) in [
        (vec![statement("Allow", "111122223333")], by_account),
        (
            vec![statement("Allow", "111122223333"), statement("Allow", ann)],
            ALLOW(1),
        ),
        (
            vec![statement("Allow", ann), statement("Allow", "111122223333")],
            ALLOW(0),
        ),
        (
            vec![statement("Allow", "*"), statement("Deny", "111122223333")],
            DENY(1),
        ),
        (vec![statement("Allow", "444455556666")], Verdict::Silent),
    ] {
        let policy = json!({"Statement": statements});
        let facts = Facts::default();
        let verdict = verdict(&policy, "GET /", Action::Invoke, caller, &facts);
        assert_eq!(verdict, expected, "{policy}");
    }
    let others = json!({"Statement": {"Effect": "Deny", "NotPrincipal": {"AWS": ann}, "Action": "*", "Resource": "*"}});
    let facts = Facts::default();
    assert_eq!(
        verdict(&others, "GET /", Action::Invoke, caller, &facts),
        Verdict::Silent
    );
    assert_eq!(
        verdict(&others, "GET /", Action::Invoke, Caller::Anonymous, &facts),
        DENY(0)
    );
}

#[test]
fn what_an_authorizer_said_is_held_against_each_path_anew() {
    let said = json!({"Version": "2012-10-17", "Statement": [
        {"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": ["arn:aws:execute-api:eu-west-1:123456789012:pets/prod/GET/pets/*"]},
    ]});
    let policy = Policy::from_value(&said, PolicyKind::Authorizer).unwrap().policy;
    let home = home();
    let mut arn = MethodArn::of(&home, "prod", "GET", "/pets/7");
    let judge = |arn: &MethodArn| {
        policy.judge(&Request {
            action: Action::Invoke,
            arn,
            caller: Caller::Anonymous,
            now: 0,
            context: &Nothing,
        })
    };
    assert_eq!(judge(&arn), ALLOW(0));
    arn.set(&home, "prod", "GET", "/cats/7");
    assert_eq!(judge(&arn), Verdict::Silent);
    arn.set(&home, "test", "GET", "/pets/7");
    assert_eq!(judge(&arn), Verdict::Silent);
}

/// One value, or a list of up to three.
fn some(values: &'static [&'static str]) -> BoxedStrategy<Value> {
    prop_oneof![
        select(values).prop_map(|value| json!(value)),
        prop::collection::vec(select(values), 1..4).prop_map(|values| json!(values)),
    ]
    .boxed()
}

const ACTIONS: &[&str] = &[
    "*",
    "execute-api:Invoke",
    "execute-api:*",
    "Execute-Api:in*E",
    "execute-api:Manage?onnections",
    "s3:Get",
];
const RESOURCES: &[&str] = &[
    "*",
    "execute-api:/*",
    "execute-api:/prod/GET/*",
    "execute-api:/${a:b}/GET/*",
    "execute-api:/*/?ET/pets${*}",
    "execute-api:/prod/*/p?ts/*7*",
    "arn:*:execute-api:*:${aws:PrincipalAccount, '123456789012'}:*/pets",
    "arn:aws:execute-api:eu-west-1:123456789012:pets/prod/GET/",
];
const TEXTS: &[&str] = &[
    "a",
    "A",
    "ab",
    "a*",
    "${a:b}",
    "${a:c, 'a'}b",
    "${*}",
    "?",
    "*b*",
    "é",
];
const NUMBERS: &[&str] = &["0", "1", "1.0", "-1", "1e3", "1699999999", "1700000000"];
const DATES: &[&str] = &[
    "0",
    "1700000000",
    "2023-11-14T22:13:20Z",
    "2023-11-14",
    "2023-11-14T23:13:21+01:00",
];
const FLAGS: &[&str] = &["true", "False"];
const NETWORKS: &[&str] = &[
    "10.0.0.0/8",
    "10.1.2.3",
    "::/0",
    "2001:db8::/33",
    "0.0.0.0/0",
    "::ffff:10.1.2.3",
    "10.1.2.3/31",
    "::ffff:10.1.2.2/127",
    "::ffff:0:0/96",
    "::ffff:0:0/95",
];
const ARNS: &[&str] = &[
    "*",
    "arn:aws:iam::*:user/a*",
    "arn:*:s3:::${a:b}",
    "arn:aws:${a:b, 'x:y'}::?:*",
    "arn:aws:s3:::b",
];
const BINARIES: &[&str] = &["QUI=", "", "AAAA"];
const SEEN: &[&str] = &[
    "",
    "a",
    "A",
    "ab",
    "b",
    "*",
    "é",
    "0",
    "1",
    "1000",
    "1700000000",
    "2023-11-14T22:13:20Z",
    "2023-11-14",
    "true",
    "FALSE",
    "10.1.2.3",
    "10.1.2.2",
    "::ffff:10.1.2.3",
    "2001:db8::1",
    "arn:aws:iam::1:user/ab",
    "arn:aws:s3:::b",
    "arn:aws:x:y::b",
    "QUI=",
];
const KEYS: &[&str] = &[
    "a:b",
    "A:C",
    "aws:SourceIp",
    "aws:CurrentTime",
    "aws:epochtime",
    "aws:PrincipalArn",
    "aws:username",
];
const NAMES: &[(&str, &[&str])] = &[
    ("StringEquals", TEXTS),
    ("StringNotEquals", TEXTS),
    ("StringEqualsIgnoreCase", TEXTS),
    ("StringNotEqualsIgnoreCase", TEXTS),
    ("StringLike", TEXTS),
    ("StringNotLike", TEXTS),
    ("NumericEquals", NUMBERS),
    ("NumericNotEquals", NUMBERS),
    ("NumericLessThan", NUMBERS),
    ("NumericLessThanEquals", NUMBERS),
    ("NumericGreaterThan", NUMBERS),
    ("NumericGreaterThanEquals", NUMBERS),
    ("DateEquals", DATES),
    ("DateNotEquals", DATES),
    ("DateLessThan", DATES),
    ("DateLessThanEquals", DATES),
    ("DateGreaterThan", DATES),
    ("DateGreaterThanEquals", DATES),
    ("Bool", FLAGS),
    ("BinaryEquals", BINARIES),
    ("IpAddress", NETWORKS),
    ("NotIpAddress", NETWORKS),
    ("ArnEquals", ARNS),
    ("ArnLike", ARNS),
    ("ArnNotEquals", ARNS),
    ("ArnNotLike", ARNS),
    ("Null", FLAGS),
];
const PRINCIPALS: &[&str] = &[
    "*",
    "111122223333",
    "arn:aws:iam::111122223333:user/a/ann",
    "arn:aws:iam::111122223333:role/x/R",
    "arn:aws:sts::111122223333:assumed-role/R/s",
    "arn:aws:iam::444455556666:root",
];
const CALLERS: &[Caller<'static>] = &[
    Caller::Anonymous,
    Caller::Aws {
        account: "111122223333",
        arn: "arn:aws:iam::111122223333:user/a/ann",
        role: None,
    },
    Caller::Aws {
        account: "111122223333",
        arn: "arn:aws:sts::111122223333:assumed-role/R/s",
        role: None,
    },
    Caller::Aws {
        account: "111122223333",
        arn: "arn:aws:sts::111122223333:assumed-role/R/t",
        role: Some("arn:aws:iam::111122223333:role/x/R"),
    },
    Caller::Aws {
        account: "111122223333",
        arn: "arn:aws:sts::111122223333:federated-user/ann",
        role: None,
    },
    Caller::Service("a.amazonaws.com"),
    Caller::Federated("idp"),
];

/// What answers of authorizers and policies of users name: no short form, and of the former also what is no ARN.
const OWN_RESOURCES: &[&str] = &[
    "*",
    "arn:aws:execute-api:eu-west-1:123456789012:pets/*",
    "arn:aws:execute-api:*:*:*/prod/GET/*",
    "arn:aws:execute-api:eu-west-1:123456789012:pets/${a:b}/GET/*",
    "arn:*:execute-api:*:${aws:PrincipalAccount, '123456789012'}:*/p?ts*",
    "arn:aws:execute-api:eu-west-1:123456789012:pets/*/?ET/pets${*}",
    "arn:aws:s3:::bucket",
];
const LOOSE_RESOURCES: &[&str] = &["*", "pets/prod/GET/*", "arn:aws:execute-api:*", "${a:b}*"];

/// Operator, key and values.
fn condition() -> impl Strategy<Value = (String, &'static str, Value)> {
    let operator = (
        select(NAMES),
        select(&["", "ForAnyValue:", "ForAllValues:"]),
        any::<bool>(),
    );
    operator.prop_flat_map(|((name, values), quantifier, if_exists)| {
        let name = match name {
            "Null" => name.to_owned(),
            _ => format!("{quantifier}{name}{}", if if_exists { "IfExists" } else { "" }),
        };
        (Just(name), select(KEYS), some(values))
    })
}

/// A statement of a resource policy, or of the caller's own, which names nobody.
fn statement(resources: impl Strategy<Value = Value>, names_somebody: bool) -> impl Strategy<Value = Value> {
    let parts = (
        any::<[bool; 4]>(),
        some(PRINCIPALS),
        select(&["", "Service", "Federated", "*"]),
        some(ACTIONS),
        resources,
        prop::collection::vec(condition(), 0..3),
    );
    parts.prop_map(move |(negated, names, other, actions, resources, conditions)| {
        let element = |index: usize, name: &str| format!("{}{name}", if negated[index] { "Not" } else { "" });
        let mut statement = Map::new();
        statement.insert("Effect".into(), json!(if negated[0] { "Deny" } else { "Allow" }));
        let principals = match other {
            "*" => json!("*"),
            "" => json!({"AWS": names}),
            kind => json!({"AWS": names, kind: ["a.amazonaws.com", "idp"]}),
        };
        if names_somebody {
            statement.insert(element(1, "Principal"), principals);
        }
        statement.insert(element(2, "Action"), actions);
        statement.insert(element(3, "Resource"), resources);
        let mut by_operator = Map::new();
        for (operator, key, values) in conditions {
            // one of two names that differ in case only
            let keys = by_operator.entry(operator).or_insert_with(|| json!({}));
            keys[key] = values;
        }
        statement.insert("Condition".into(), Value::Object(by_operator));
        Value::Object(statement)
    })
}

/// A policy.
fn document(statement: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let version = select(&["2012-10-17", "2008-10-17"]);
    let parts = (prop::collection::vec(statement, 1..4), version);
    parts.prop_map(|(statements, version)| json!({"Version": version, "Statement": statements}))
}

/// What an authorizer answers, and what a user or role is granted: whether it is the latter, and the policy.
fn own() -> impl Strategy<Value = (bool, Value)> {
    let of_user = document(statement(some(OWN_RESOURCES), false));
    let loose = prop_oneof![some(OWN_RESOURCES), some(LOOSE_RESOURCES)];
    let of_authorizer = document(statement(loose, false));
    prop_oneof![
        of_user.prop_map(|document| (true, document)),
        of_authorizer.prop_map(|document| (false, document)),
    ]
}

/// What comes of two policies, as the tables of AWS's documentation say it, by their cells. Rows are what the caller's says, columns what the API's does: allow, silent, deny.
fn by_the_tables(kind: Authorization, caller: Option<Verdict>, resource: Option<Verdict>) -> Outcome {
    use Outcome::{Allow as Yes, ExplicitDeny as Never, ImplicitDeny as No};
    const TABLE_A: [[Outcome; 3]; 3] = [[Yes, Yes, Never], [Yes, No, Never], [Never, Never, Never]];
    const TABLE_B: [[Outcome; 3]; 3] = [[Yes, No, Never], [No, No, Never], [Never, Never, Never]];
    let place = |verdict: Option<Verdict>| match verdict {
        Some(Verdict::Allow { .. }) => 0,
        Some(Verdict::Silent) | None => 1,
        Some(Verdict::Deny { .. }) => 2,
    };
    let (row, column) = (place(caller), place(resource));
    match kind {
        Authorization::Lambda => TABLE_A[row][column],
        // what is left to the account is left to the caller's policy
        Authorization::IamSameAccount => match resource {
            Some(Verdict::Allow { by_account: true, .. }) => TABLE_A[row][1],
            _ => TABLE_A[row][column],
        },
        Authorization::IamCrossAccount => TABLE_B[row][column],
        Authorization::None | Authorization::Cognito => match resource {
            None => Yes,
            // alone: as if the caller's were silent
            Some(_) => TABLE_A[1][column],
        },
    }
}

/// The context as the naive evaluator gets it: with what follows from the request.
fn known(facts: &[(&str, Vec<&str>)], caller: Caller<'_>) -> (Facts, BTreeMap<String, Vec<String>>) {
    let mut given = Facts::default();
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, values) in facts {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        given.add(key, values.clone());
        all.entry(key.to_lowercase()).or_default().extend(values);
    }
    let mut derive = |key: &str, value: &str| {
        all.entry(key.to_owned())
            .or_insert_with(|| vec![value.to_owned()]);
    };
    derive("aws:currenttime", "2023-11-14T22:13:20Z");
    derive("aws:epochtime", "1700000000");
    if let Caller::Aws { account, arn, role } = caller {
        derive("aws:principalaccount", account);
        derive("aws:principalarn", role.unwrap_or(arn));
        if arn.contains(":user/") {
            derive("aws:username", arn.rsplit('/').next().unwrap());
        }
    }
    (given, all)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn policies_say_what_a_naive_evaluator_says(
        of_api in prop::option::weighted(0.8, document(statement(some(RESOURCES), true))),
        of_caller in prop::option::weighted(0.8, own()),
        kind in select(&Authorization::ALL),
        action in select(&Action::ALL),
        stage in select(&["prod", "a"]),
        path in select(&["/", "/pets", "/pets*", "/pets/17", "/é"]),
        facts in prop::collection::vec((select(KEYS), prop::collection::vec(select(SEEN), 0..3)), 0..4),
        caller in select(CALLERS),
    ) {
        let home = home();
        let arn = MethodArn::of(&home, stage, "GET", path);
        let (given, all) = known(&facts, caller);
        let request = Request { action, arn: &arn, caller, now: 1_700_000_000, context: &given };
        let asked = Asked { action: action.name(), arn: arn.as_str(), caller, facts: &all };
        let judged = |document: Option<&Value>, of: PolicyKind<'_>| -> Result<_, TestCaseError> {
            let Some(document) = document else { return Ok((None, None)) };
            let policy = Policy::from_value(document, of).unwrap().policy;
            let written = policy.document();
            prop_assert_eq!(&Policy::from_value(&written, of).unwrap().policy, &policy);
            let verdict = policy.judge(&request);
            prop_assert_eq!(verdict, naive::judge(&written, &asked), "{} {:?}", written, facts);
            Ok((Some(policy), Some(verdict)))
        };
        let own = match of_caller {
            Some((true, _)) => PolicyKind::Identity,
            _ => PolicyKind::Authorizer,
        };
        let (own, said) = judged(of_caller.as_ref().map(|(_, document)| document), own)?;
        let (resource, says) = judged(of_api.as_ref(), PolicyKind::Resource(&home))?;
        // both together
        let (_, kind) = kind;
        let decision = decide(kind, said, says);
        prop_assert_eq!(decision.outcome, by_the_tables(kind, said, says), "{:?} {:?} {:?}", kind, said, says);
        // the statement that is named does what comes of it
        if let Some((side, index)) = decision.by {
            let policy = if side == Side::Caller { &own } else { &resource };
            let document = policy.as_ref().unwrap().document();
            let effect = if decision.outcome == Outcome::Allow { "Allow" } else { "Deny" };
            prop_assert_eq!(&document["Statement"][index]["Effect"], effect);
        }
        // what is decided before does not come out otherwise when the caller is known and its policy says nothing
        if let Some(before) = decide_before(kind, says) {
            prop_assert_eq!(before, decide(kind, None, says));
        }
        // an explanation is of the same decision
        let decision = decide_before(kind, says).unwrap_or(decision);
        let explanation = explain(kind, own.as_ref(), resource.as_ref(), &request);
        let by = explanation.decided_by.map(|by| (by.policy, by.statement));
        prop_assert_eq!((explanation.decision, by), (decision.outcome, decision.by));
    }
}
