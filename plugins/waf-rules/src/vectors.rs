//! The starter set against recorded attacks, which must match in their class, and harmless requests, which must not match at all.

use crate::WafRules;
use edgeward_sdk::{Action, BodyState, Inspect, testing};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    class: Option<String>,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    query: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Option<String>,
}

/// Rules and locations that match in a case when every class only counts.
fn matches(plugin: &mut WafRules, case: &Case) -> Vec<(String, String, Vec<String>)> {
    let (path, query) = (
        case.path.as_deref().unwrap_or("/search"),
        case.query.as_deref().unwrap_or_default(),
    );
    let mut request = testing::request("POST", &format!("https://shop.example{path}?{query}"));
    for (name, value) in &case.headers {
        request = request.with_header(name, value);
    }
    let body = case.body.clone().unwrap_or_default().into_bytes();
    let verdict = plugin.inspect(&request, &testing::exchange(), body, BodyState::Last);
    assert!(
        matches!(verdict.action, Action::Allow),
        "classes that count do not block"
    );
    verdict
        .matched
        .into_iter()
        .map(|m| (m.id, m.location, verdict.labels.clone()))
        .collect()
}

fn counting() -> WafRules {
    let config = r#"{"starter-set": {"sqli": "count", "xss": "count", "path-traversal": "count", "command-injection": "count"}}"#;
    testing::init::<WafRules>(config).unwrap().0
}

#[test]
fn every_recorded_attack_is_found_in_its_class() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../tests/vectors/attacks.json")).unwrap();
    let mut plugin = counting();
    let mut per_class: BTreeMap<&str, usize> = BTreeMap::new();
    let mut missed = Vec::new();
    for case in &cases {
        let class = case.class.as_deref().unwrap();
        *per_class.entry(class).or_default() += 1;
        let label = format!("attack-{class}");
        let found = matches(&mut plugin, case);
        if !found.iter().any(|(_, _, labels)| labels.contains(&label)) {
            missed.push(format!("{case:?} found {found:?}"));
        }
    }
    assert!(
        missed.is_empty(),
        "{} of {} missed:\n{}",
        missed.len(),
        cases.len(),
        missed.join("\n")
    );
    assert_eq!(per_class.len(), 4);
    assert!(per_class.values().all(|count| *count >= 25), "{per_class:?}");
}

#[test]
fn no_harmless_request_matches() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../tests/vectors/benign.json")).unwrap();
    let mut plugin = counting();
    let mut wrong = Vec::new();
    for case in &cases {
        for (id, location, _) in matches(&mut plugin, case) {
            wrong.push(format!("{id} at {location}: {case:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    assert!(cases.len() >= 60);
}

#[test]
fn a_number_that_cuts_the_statement_off_is_no_word() {
    let mut plugin = testing::init::<WafRules>("{}").unwrap().0;
    let request = testing::request("GET", "https://shop.example/x?id=0--");
    let verdict = plugin.inspect(&request, &testing::exchange(), Vec::new(), BodyState::Last);
    assert!(
        verdict.matched.iter().any(|found| found.id == "sqli-comment"),
        "{:?}",
        verdict.matched
    );
}

proptest::proptest! {
    #[test]
    fn no_rule_of_the_starter_set_matches_a_single_word(word in "[A-Za-z0-9_-]{0,40}|(select|union|script|alert|sleep|etc|passwd|whoami|id|cat|--|_|-|[0-9]){1,6}") {
        let mut word = word;
        while word.contains("--") {
            word = word.replace("--", "-");
        }
        assert!(crate::evaluate::is_word(word.as_bytes()));
        // joined with a rule of the same chain, so that the short cut for words is not taken
        let chains = [
            r#"["url-decode-uni", "remove-nulls", "replace-comments", "compress-whitespace", "lowercase"]"#,
            r#"["url-decode-uni", "html-entity-decode", "js-decode", "remove-nulls", "compress-whitespace", "lowercase"]"#,
            r#"["url-decode-uni", "url-decode-uni", "remove-nulls", "lowercase"]"#,
            r#"["url-decode-uni", "url-decode-uni", "remove-nulls", "lowercase", "normalize-path"]"#,
            r#"["url-decode-uni", "remove-nulls", "command-line", "lowercase"]"#,
        ];
        thread_local! {
            static PLUGIN: std::cell::RefCell<Option<WafRules>> = const { std::cell::RefCell::new(None) };
        }
        let rules: Vec<String> = chains.iter().enumerate().map(|(at, chain)| {
            format!(r#"{{"id": "own-{at}", "field": "any", "transformations": {chain}, "match": {{"regex": ["never\\\\."]}}, "action": "count"}}"#)
        }).collect();
        PLUGIN.with_borrow_mut(|plugin| {
            let plugin = plugin.get_or_insert_with(|| testing::init::<WafRules>(&format!(r#"{{"rules": [{}]}}"#, rules.join(","))).unwrap().0);
            assert!(plugin.ruleset.groups.iter().all(|group| !group.starter_only), "every chain of the starter set is listed");
            let request = testing::request("GET", &format!("https://shop.example/x?{word}={word}"));
            let verdict = plugin.inspect(&request, &testing::exchange(), Vec::new(), BodyState::Last);
            assert!(verdict.matched.is_empty(), "{:?}", verdict.matched);
        });
    }
}

/// Prints how much of other people's payloads is found: files with one payload per line in the directory that
/// `EDGEWARD_WAF_CORPUS` names. `cargo test -p plugin-waf-rules -- --ignored --nocapture corpus`
#[test]
#[ignore = "needs EDGEWARD_WAF_CORPUS"]
fn corpus() {
    let mut plugin = counting();
    let directory = std::env::var("EDGEWARD_WAF_CORPUS").unwrap();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read(&path).unwrap();
        let lines: Vec<&[u8]> = text
            .split(|b| *b == b'\n')
            .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
            .collect();
        let mut matched = 0;
        for line in &lines {
            let value: String = line.iter().map(|byte| format!("%{byte:02x}")).collect();
            let body = Some(format!("q={value}"));
            let headers = BTreeMap::from([(
                "content-type".to_owned(),
                "application/x-www-form-urlencoded".to_owned(),
            )]);
            let found = matches(
                &mut plugin,
                &Case {
                    class: None,
                    path: None,
                    query: None,
                    headers,
                    body,
                },
            );
            matched += usize::from(!found.is_empty());
            let ids: Vec<&str> = found.iter().map(|(id, ..)| id.as_str()).collect();
            println!(
                "{} {ids:?} {}",
                if found.is_empty() { "-" } else { "+" },
                String::from_utf8_lossy(line)
            );
        }
        println!("{}: {matched} of {}", path.display(), lines.len());
    }
}
