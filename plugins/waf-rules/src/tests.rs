//! The plugin against the fake host: rules, actions, bodies, configuration errors.

use crate::WafRules;
use edgeward_sdk::prelude::*;
use edgeward_sdk::{Action, testing};

const OFF: &str =
    r#""starter-set": {"sqli": "off", "xss": "off", "path-traversal": "off", "command-injection": "off"}"#;

fn with_rules(rules: &str, more: &str) -> WafRules {
    testing::init::<WafRules>(&format!(r#"{{{OFF}, "rules": [{rules}] {more}}}"#))
        .unwrap()
        .0
}

fn inspect(plugin: &mut WafRules, request: &RequestHead) -> Verdict {
    plugin.inspect(
        request,
        &testing::exchange().with_client_address("203.0.113.9"),
        Vec::new(),
        BodyState::Last,
    )
}

fn get(target: &str) -> RequestHead {
    testing::request("GET", &format!("https://shop.example{target}"))
}

fn blocked(verdict: &Verdict) -> Option<u16> {
    match &verdict.action {
        Action::Allow => None,
        Action::Block(blocking) => Some(blocking.status),
    }
}

fn ids(verdict: &Verdict) -> Vec<&str> {
    verdict
        .matched
        .iter()
        .map(|matched| matched.id.as_str())
        .collect()
}

#[test]
fn the_starter_set_blocks_without_any_configuration() {
    let (mut plugin, interest) = testing::init::<WafRules>("null").unwrap();
    assert_eq!(
        interest,
        Interest::none().inspect(BodyMode::Buffer {
            limit: 1 << 20,
            over: OverLimit::Pass
        })
    );
    let verdict = inspect(&mut plugin, &get("/search?q=1%27%20or%20%271%27=%271"));
    assert_eq!(blocked(&verdict), Some(403));
    assert_eq!(
        (
            verdict.matched[0].id.as_str(),
            verdict.matched[0].location.as_str()
        ),
        ("sqli-tautology", "query.q")
    );
    assert_eq!(verdict.labels, ["attack-sqli"]);
    assert_eq!(inspect(&mut plugin, &get("/search?q=O'Brien")), Verdict::allow());
}

#[test]
fn rules_run_in_order_and_allow_and_block_end_the_evaluation() {
    let mut plugin = with_rules(
        r#"{"id": "seen", "field": "path", "match": {"regex": ["."]}, "action": "count", "labels": ["seen"]},
           {"id": "office", "field": "client-address", "match": {"ip": ["203.0.113.0/24"]}, "action": "allow"},
           {"id": "never", "field": "path", "match": {"regex": ["."]}, "action": "block"}"#,
        "",
    );
    let verdict = inspect(&mut plugin, &get("/"));
    assert_eq!(
        (blocked(&verdict), ids(&verdict), verdict.labels.as_slice()),
        (None, vec!["seen", "office"], &["seen".to_owned()][..])
    );
}

#[test]
fn every_kind_of_match_works_and_can_be_negated() {
    let rule = |field: &str, test: &str, more: &str| {
        with_rules(
            &format!(r#"{{"id": "r", "field": {field}, "match": {test}, "action": "block" {more}}}"#),
            "",
        )
    };
    let trim = r#", "transformations": ["trim", "lowercase"]"#;
    let negate = r#", "negate": true"#;
    for (field, test, more, target, expected) in [
        (r#""query.a""#, r#"{"regex": ["^x+$"]}"#, "", "/?a=xx", true),
        (r#""query.a""#, r#"{"regex": ["^x+$"]}"#, "", "/?b=xx", false),
        (
            r#""query.a""#,
            r#"{"regex": ["^x+$"], "case-insensitive": true}"#,
            "",
            "/?a=XX",
            true,
        ),
        (
            r#""query.id""#,
            r#"{"regex": ["^[0-9]+$"]}"#,
            negate,
            "/?id=7x",
            true,
        ),
        (
            r#""query.id""#,
            r#"{"regex": ["^[0-9]+$"]}"#,
            negate,
            "/?id=",
            true,
        ),
        (
            r#""query.id""#,
            r#"{"regex": ["^[0-9]+$"]}"#,
            negate,
            "/?id=7",
            false,
        ),
        (r#""query.id""#, r#"{"regex": ["^[0-9]+$"]}"#, negate, "/", false),
        (
            r#"["path", "query"]"#,
            r#"{"literals": ["admin"]}"#,
            "",
            "/x?admin",
            true,
        ),
        (
            r#""path""#,
            r#"{"literals": ["ADMIN"], "case-insensitive": true}"#,
            "",
            "/admin",
            true,
        ),
        (
            r#""client-address""#,
            r#"{"ip": ["203.0.113.9", "2001:db8::/32"]}"#,
            "",
            "/",
            true,
        ),
        (
            r#""client-address""#,
            r#"{"ip": ["10.0.0.0/8"]}"#,
            negate,
            "/",
            true,
        ),
        (r#""raw-query""#, r#"{"size": {"over": 5}}"#, "", "/?a=1234", true),
        (
            r#""raw-query""#,
            r#"{"size": {"over": 6}}"#,
            "",
            "/?a=1234",
            false,
        ),
        (r#""query.a""#, r#"{"size": {"under": 2}}"#, "", "/?a=1", true),
        (r#""query.a""#, r#"{"equals": ["yes"]}"#, trim, "/?a=+YES+", true),
        (
            r#""method""#,
            r#"{"equals": ["get", "post"], "case-insensitive": true}"#,
            negate,
            "/",
            false,
        ),
        (r#""header.x-key""#, r#"{"absent": true}"#, "", "/", true),
        (r#""query.a""#, r#"{"absent": true}"#, "", "/?a=1", false),
    ] {
        let verdict = inspect(&mut rule(field, test, more), &get(target));
        assert_eq!(
            blocked(&verdict).is_some(),
            expected,
            "{field} {test} {more} {target}"
        );
    }
}

#[test]
fn rules_with_the_same_chain_share_one_set() {
    let rules: Vec<String> = (0..20)
        .map(|i| format!(r#"{{"id": "r{i}", "field": "query", "transformations": ["lowercase"], "match": {{"regex": ["p{i}$"]}}, "action": "count"}}"#))
        .collect();
    let mut plugin = with_rules(&rules.join(","), "");
    assert_eq!((plugin.ruleset.groups.len(), plugin.ruleset.chains.len()), (1, 1));
    assert_eq!(ids(&inspect(&mut plugin, &get("/?a=P7&b=p13"))), ["r7", "r13"]);
}

#[test]
fn count_mode_and_exclusions_let_requests_pass() {
    let attack = get("/?q=%3Cscript%3E&html=%3Cscript%3E");
    let init = |config: &str| testing::init::<WafRules>(config).unwrap().0;
    let counted = inspect(&mut init(r#"{"mode": "count"}"#), &attack);
    assert_eq!((blocked(&counted), ids(&counted)), (None, vec!["xss-script-tag"]));
    let excluded = inspect(
        &mut init(r#"{"exclusions": [{"rule": "xss-*", "field": "query.html"}]}"#),
        &attack,
    );
    assert_eq!(
        (blocked(&excluded), excluded.matched[0].location.as_str()),
        (Some(403), "query.q")
    );
    let both = r#"{"exclusions": [{"rule": "xss-*", "field": "query.html"}, {"rule": "xss-script-tag", "field": "query.q"}]}"#;
    assert_eq!(inspect(&mut init(both), &attack), Verdict::allow());
}

#[test]
fn scores_add_up_to_the_threshold() {
    let rules = r#"{"id": "a", "field": "path", "match": {"literals": ["a"]}, "action": "count", "score": 2},
        {"id": "b", "field": "path", "match": {"literals": ["b"]}, "action": "count", "score": 3}"#;
    let mut plugin = with_rules(rules, r#", "threshold": 5"#);
    for (path, expected) in [("/a", None), ("/b", None), ("/ab", Some(403))] {
        assert_eq!(blocked(&inspect(&mut plugin, &get(path))), expected, "{path}");
    }
}

#[test]
fn bodies_that_cannot_be_looked_at_are_treated_as_configured() {
    for (body, expected) in [
        (r#"{}"#, (Some(413), Some(415), vec!["body-too-large"])),
        (
            r#"{"over": "count", "encoded": "count"}"#,
            (None, None, vec!["body-too-large"]),
        ),
        (r#"{"over": "pass", "encoded": "pass"}"#, (None, None, vec![])),
    ] {
        let (mut plugin, _) = testing::init::<WafRules>(&format!(r#"{{"body": {body}}}"#)).unwrap();
        let large = plugin.inspect(&get("/"), &testing::exchange(), Vec::new(), BodyState::TooLarge);
        let gzip = get("/").with_header("content-encoding", "gzip");
        let encoded = plugin.inspect(&gzip, &testing::exchange(), vec![31], BodyState::Last);
        assert_eq!(
            (blocked(&large), blocked(&encoded), ids(&large)),
            expected,
            "{body}"
        );
    }
}

#[test]
fn without_a_rule_about_bodies_no_body_is_asked_for() {
    let config = format!(
        r#"{{{OFF}, "rules": [{{"id": "a", "field": "path", "match": {{"literals": ["x"]}}, "action": "block"}}]}}"#
    );
    assert_eq!(
        testing::init::<WafRules>(&config).unwrap().1,
        Interest::none().inspect(BodyMode::None)
    );
}

#[test]
fn the_answer_of_a_block_can_be_replaced() {
    let config = r#"{"block": {"status": 406, "body": "{\"no\":1}", "content-type": "application/json"}}"#;
    let (mut plugin, _) = testing::init::<WafRules>(config).unwrap();
    let Action::Block(blocking) = inspect(&mut plugin, &get("/?q=%3Cscript%3E")).action else {
        panic!("blocked")
    };
    assert_eq!(blocking.status, 406);
    assert_eq!(
        blocking.answer,
        Some(
            Answer::new(406)
                .header("content-type", "application/json")
                .body(r#"{"no":1}"#)
        )
    );
}

#[test]
fn mistakes_are_named_with_rule_and_value() {
    let rule = |rule: &str| {
        format!(
            r#"{{"rules": [{{"id": "ok", "field": "path", "match": {{"literals": ["x"]}}, "action": "count"}}, {rule}]}}"#
        )
    };
    for (config, expected) in [
        (
            rule(r#"{"id": "r", "field": "pth", "match": {"regex": ["x"]}, "action": "block"}"#),
            "config.rules[1] `r`: field `pth` is none of method",
        ),
        (
            rule(r#"{"id": "r", "field": "path", "match": {"regex": ["a("]}, "action": "block"}"#),
            "config.rule `r`: match: regex: ",
        ),
        (
            rule(r#"{"id": "r", "field": "path", "match": {"ip": ["10.0.0.0/40"]}, "action": "block"}"#),
            "config.rules[1] `r`: match: ",
        ),
        (
            rule(r#"{"id": "r", "field": "path", "match": {}, "action": "block"}"#),
            "config.rules[1] `r`: match: 0 of regex",
        ),
        (
            rule(r#"{"id": "r", "field": "path", "match": {"regex": []}, "action": "block"}"#),
            "config.rules[1] `r`: match: regex: the list is empty",
        ),
        (
            rule(r#"{"id": "r", "field": "path", "match": {"literals": [""]}, "action": "block"}"#),
            "config.rules[1] `r`: match: literals[0] is empty",
        ),
        (
            rule(r#"{"id": "r", "field": "path", "match": {"size": {}}, "action": "block"}"#),
            "config.rules[1] `r`: match: size has neither",
        ),
        (
            rule(r#"{"id": "ok", "field": "path", "match": {"regex": ["x"]}, "action": "block"}"#),
            "config.rules[1] `ok`: the id is taken",
        ),
        (
            rule(r#"{"id": "a b", "field": "path", "match": {"regex": ["x"]}, "action": "block"}"#),
            "config.rules[1] `a b`: id: `a b` is not",
        ),
        (
            rule(r#"{"id": "r", "field": "path", "match": {"regex": ["x"]}, "action": "block", "score": 3}"#),
            "config.rules[1] `r`: score: 3",
        ),
        (
            rule(r#"{"id": "r", "field": "path", "match": {"regx": ["x"]}, "action": "block"}"#),
            "config.rules[1].match.regx: unknown field `regx`",
        ),
        (
            rule(
                r#"{"id": "r", "field": "path", "transformations": ["upper"], "match": {"regex": ["x"]}, "action": "block"}"#,
            ),
            "config.rules[1].transformations[0]: unknown variant `upper`",
        ),
        (
            r#"{"exclusions": [{"rule": "sqli-unoin"}]}"#.to_owned(),
            "config.exclusions[0].rule: no rule `sqli-unoin` is loaded",
        ),
        (
            r#"{"exclusions": [{}]}"#.to_owned(),
            "config.exclusions[0]: needs `rule` or `field`",
        ),
        (
            r#"{"block": {"status": 200}}"#.to_owned(),
            "config.block.status: 200 is not between 400 and 599",
        ),
        (r#"{"body": {"limit": 0}}"#.to_owned(), "config.body.limit: 0"),
        (r#"{"threshold": 0}"#.to_owned(), "config.threshold: 0"),
    ] {
        let Err(error) = testing::init::<WafRules>(&config) else {
            panic!("{config}")
        };
        assert!(error.starts_with(expected), "{config}\n{error}");
    }
}

#[test]
fn the_schema_and_the_plugin_agree() {
    let schema: serde_json::Value = serde_json::from_str(include_str!("../config.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let rule = r#"{"id": "r", "message": "m", "field": ["path", "query.a"], "transformations": ["trim"], "match": {"regex": ["x"], "case-insensitive": true},
        "action": "count", "labels": ["l"], "negate": true, "score": 1}"#;
    let full = format!(
        r#"{{"mode": "count", "starter-set": {{"sqli": "off", "path-traversal": "count"}}, "rules": [{rule}], "exclusions": [{{"rule": "xss-*"}}],
        "body": {{"limit": 5, "over": "pass", "encoded": "count"}}, "block": {{"status": 400, "body": "x", "content-type": "y/z"}}, "threshold": 5}}"#
    );
    for (config, good) in [
        ("{}", true),
        (full.as_str(), true),
        (r#"{"mod": "count"}"#, false),
        (r#"{"starter-set": {"sqli": "on"}}"#, false),
        (
            r#"{"rules": [{"id": "r", "field": "pth", "match": {"regex": ["x"]}, "action": "block"}]}"#,
            false,
        ),
        (
            r#"{"rules": [{"id": "r", "field": "path", "match": {}, "action": "block"}]}"#,
            false,
        ),
        (r#"{"exclusions": [{}]}"#, false),
        (r#"{"block": {"status": 200}}"#, false),
    ] {
        assert_eq!(
            schema.is_valid(&serde_json::from_str(config).unwrap()),
            good,
            "schema: {config}"
        );
        assert_eq!(
            testing::init::<WafRules>(config).is_ok(),
            good,
            "plugin: {config}"
        );
    }
}
