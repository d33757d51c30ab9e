//! Policies, and requests that are held against them.

use std::collections::BTreeMap;

use crate::policy::{
    Action, Authorization, Caller, Facts, Home, MethodArn, Policy, PolicyKind, Request, Verdict,
    explain::{Question, explain},
    naive::{self, Asked},
};

/// Most values of a request: the naive evaluator takes its time.
const FACTS_MAX: usize = 16;
/// Longest text of a path or a value.
const TEXT_MAX: usize = 200;

const ARNS: [&str; 3] = [
    "arn:aws:iam::111122223333:user/a/ann",
    "arn:aws:sts::111122223333:assumed-role/R/s",
    "arn:aws:sts::111122223333:federated-user/ann",
];

/// Any text is a policy, of a resource, an authorizer or a user, or a list of problems. What is a policy is the same one when it is written and read again, says of a request
/// what a naive evaluator says of its document, and is explained so. What is before an empty line is the request: action, caller and path by a line, then
/// a value of a condition key in each.
pub fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (head, document) = text.split_once("\n\n").unwrap_or(("", text));
    let home = Home::new("aws", "eu-west-1", "123456789012", "pets").expect("the parts of an ARN");
    for kind in [
        PolicyKind::Resource(&home),
        PolicyKind::Authorizer,
        PolicyKind::Identity,
    ] {
        match Policy::read(document, kind) {
            Err(problems) => {
                assert!(!problems.0.is_empty(), "refused without a reason");
                assert!(problems.0.iter().all(|problem| !problem.message.is_empty()));
            }
            Ok(read) => {
                let written = read.policy.document();
                let again = Policy::from_value(&written, kind).map(|again| again.policy);
                // what is written in full may be too long then
                let is_short = !written.to_string().contains("arn:aws:execute-api:eu-west-1:");
                match again {
                    Ok(again) => assert_eq!(again, read.policy),
                    Err(problems) => assert!(
                        !is_short || written.to_string().len() > 8192,
                        "{problems}: {written}"
                    ),
                }
                is_judged(&home, &read.policy, head);
            }
        }
    }
    if let Ok(question) = serde_json::from_str::<Question>(text) {
        match question.answer(0) {
            Err(problems) => assert!(!problems.0.is_empty(), "refused without a reason"),
            Ok(explanation) => assert!(!explanation.to_string().is_empty()),
        }
    }
}

/// Holds a request against a policy.
fn is_judged(home: &Home, policy: &Policy, head: &str) {
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().splitn(3, ' ');
    let mut number = || {
        words
            .next()
            .and_then(|word| word.parse::<usize>().ok())
            .unwrap_or(0)
    };
    let action = Action::ALL[number() % Action::ALL.len()];
    let caller = match number() {
        index @ 0..3 => Caller::Aws {
            account: "111122223333",
            arn: ARNS[index],
            role: None,
        },
        3 => Caller::Service("a.amazonaws.com"),
        4 => Caller::Federated("idp"),
        _ => Caller::Anonymous,
    };
    let path = short(words.next().unwrap_or_default());
    let arn = MethodArn::of(home, "prod", "GET", path);
    let mut facts = Facts::default();
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in lines.take(FACTS_MAX) {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        facts.add(key, [short(value).to_owned()]);
        let values = all.entry(key.to_ascii_lowercase()).or_default();
        values.push(short(value).to_owned());
    }
    let mut derive = |key: &str, value: &str| {
        all.entry(key.to_owned())
            .or_insert_with(|| vec![value.to_owned()]);
    };
    derive("aws:currenttime", "2023-11-14T22:13:20Z");
    derive("aws:epochtime", "1700000000");
    if let Caller::Aws { account, arn, .. } = caller {
        derive("aws:principalaccount", account);
        derive("aws:principalarn", arn);
        let kinds = [
            ("user/", "User"),
            ("assumed", "AssumedRole"),
            ("federated", "FederatedUser"),
        ];
        let kind = kinds.iter().find(|(part, _)| arn.contains(&format!(":{part}")));
        derive("aws:principaltype", kind.expect("one of the three").1);
        if arn == ARNS[0] {
            derive("aws:username", "ann");
        }
    }
    let request = Request {
        action,
        arn: &arn,
        caller,
        now: 1_700_000_000,
        context: &facts,
    };
    let asked = Asked {
        action: action.name(),
        arn: arn.as_str(),
        caller,
        facts: &all,
    };
    let document = policy.document();
    let verdict = policy.judge(&request);
    assert_eq!(verdict, naive::judge(&document, &asked), "{document}");
    let explanation = explain(Authorization::None, None, Some(policy), &request);
    assert!(!explanation.to_string().is_empty());
    let by = explanation.decided_by.map(|by| by.statement);
    let expected = match verdict {
        Verdict::Allow { statement, .. } | Verdict::Deny { statement } => statement,
        Verdict::Silent => None,
    };
    assert_eq!(by, expected, "{document}");
    let statements = explanation.policies.iter().flat_map(|policy| &policy.statements);
    let applies = statements
        .filter(|statement| statement.applies)
        .map(|statement| statement.index);
    let applies: Vec<usize> = applies.collect();
    assert!(
        expected.map_or(applies.is_empty(), |index| applies.contains(&index)),
        "{document}"
    );
}

fn short(text: &str) -> &str {
    text.char_indices()
        .nth(TEXT_MAX)
        .map_or(text, |(end, _)| &text[..end])
}
