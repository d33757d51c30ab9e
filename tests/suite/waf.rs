//! The waf-rules plugin in front of a real origin, with the cases that its starter set comes with.

use std::collections::BTreeMap;

use edgeward_tests::{Connection, Gateway, Origin, bytes, empty, record_logs, wait_for_log, workspace};
use http::Request;
use serde_json::{Value, json};

fn vectors(name: &str) -> Vec<Value> {
    let path = workspace().join("plugins/waf-rules/tests/vectors").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

async fn gateway(origin: &Origin, config: Value) -> Gateway {
    Gateway::with_plugin(
        &origin.endpoint(),
        json!({"module": "waf-rules", "config": config}),
    )
    .await
}

async fn send(connection: &mut Connection, case: &Value) -> edgeward_tests::Reply {
    let target = match (case["path"].as_str(), case["query"].as_str()) {
        (path, Some(query)) => format!("{}?{query}", path.unwrap_or("/echo")),
        (path, None) => path.unwrap_or("/echo").to_owned(),
    };
    let body = case["body"].as_str();
    let mut request = Request::builder()
        .method(if body.is_some() { "POST" } else { "GET" })
        .uri(target);
    if let Some(kind) = case["content-type"].as_str() {
        request = request.header("content-type", kind);
    }
    for (name, value) in case["headers"].as_object().into_iter().flatten() {
        request = request.header(name, value.as_str().unwrap());
    }
    connection
        .send(request, body.map_or_else(empty, |body| bytes(body.to_owned())))
        .await
}

#[tokio::test]
async fn attacks_are_blocked_and_benign_requests_pass() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    let mut connection = Connection::h1(gateway.address()).await;
    let mut missed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let attacks: Vec<_> = vectors("attacks.json")
        .into_iter()
        .filter(|case| case["query"].is_string())
        .collect();
    assert!(attacks.len() > 50);
    for case in &attacks {
        let reply = send(&mut connection, case).await;
        if reply.status != 403 {
            missed
                .entry(case["class"].to_string())
                .or_default()
                .push(format!("{}: {case}", reply.status));
        }
    }
    assert_eq!(missed, BTreeMap::new());
    assert_eq!(origin.seen().len(), 0);
    for case in vectors("benign.json")
        .iter()
        .filter(|case| case["query"].is_string())
    {
        let reply = send(&mut connection, case).await;
        assert_eq!(reply.status, 200, "{case}: {}", reply.text());
    }
}

#[tokio::test]
async fn a_block_says_so_to_the_client_and_names_the_rule_in_the_log() {
    record_logs();
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({})).await;
    let reply = gateway
        .get("/echo?q=1%27%20UNION%20SELECT%20password%20FROM%20users--")
        .await;
    assert_eq!(
        (reply.status, reply.response_type().as_str()),
        (403, "WAF_FILTERED")
    );
    assert!(
        !reply.text().to_lowercase().contains("union"),
        "the rule is not told to the attacker"
    );
    let line = wait_for_log(&["\"waf\"", "rules matched", reply.header("x-request-id")]).await;
    assert!(line.contains("query.q"), "{line}");
}

#[tokio::test]
async fn bodies_are_looked_into_up_to_the_limit() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({"body": {"limit": 4096, "over": "block"}})).await;
    let json_type = [("content-type", "application/json")];
    let attack = json!({"comment": "<script>alert(document.cookie)</script>"}).to_string();
    let reply = gateway.send("POST", "/echo", &json_type, bytes(attack)).await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    let benign = json!({"comment": "I'd like to select a seat from row 5"}).to_string();
    let reply = gateway
        .send("POST", "/echo", &json_type, bytes(benign.clone()))
        .await;
    assert_eq!(
        (reply.status, reply.json()["body"].as_str()),
        (200, Some(benign.as_str()))
    );
    let reply = gateway
        .send(
            "POST",
            "/echo",
            &json_type,
            bytes(json!({"a": "b".repeat(5000)}).to_string()),
        )
        .await;
    assert!([403, 413].contains(&reply.status), "{}", reply.text());
}

#[tokio::test]
async fn own_rules_match_count_and_label() {
    let origin = Origin::start();
    let gateway = gateway(&origin, json!({
        "starter-set": {"sqli": "off", "xss": "off", "path-traversal": "off", "command-injection": "off"},
        "rules": [
            {"id": "no-bots", "field": "header.user-agent", "match": {"literals": ["evilbot"], "case-insensitive": true}, "action": "block"},
            {"id": "loopback", "field": "query.from", "match": {"ip": ["10.0.0.0/8"]}, "action": "block"},
            {"id": "long", "field": "query.q", "match": {"size": {"over": 10}}, "action": "count", "labels": ["long"]},
        ],
        "block": {"status": 406},
    }))
    .await;
    assert_eq!(
        gateway
            .call("GET", "/echo", &[("user-agent", "EvilBot/1")])
            .await
            .status,
        406
    );
    assert_eq!(gateway.get("/echo?from=10.2.3.4").await.status, 406);
    assert_eq!(gateway.get("/echo?from=11.2.3.4").await.status, 200);
    assert_eq!(gateway.get("/echo?q=longer-than-ten").await.status, 200);
    assert_eq!(
        gateway.get("/echo?q=1%27%20or%201%3D1--").await.status,
        200,
        "the starter set is off"
    );
}

#[tokio::test]
async fn labels_reach_later_plugins_and_the_log() {
    record_logs();
    let origin = Origin::start();
    let rules = json!({"rules": [
        {"id": "labelled", "field": "query.q", "match": {"size": {"over": 10}}, "action": "count", "labels": ["long", "odd"]},
    ]});
    let gateway = Gateway::start(json!({
        "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
        "plugins": {
            "guard": {"module": "waf-rules", "config": rules},
            "sink": {"module": "kitchen-sink", "config": {"phases": ["request-head"]}},
        },
        "routes": [{"name": "labels", "path": "/{path+}", "upstream": "origin", "pipeline": ["guard", "sink"]}],
    }))
    .await;
    let reply = gateway
        .call("GET", "/echo?q=longer-than-ten", &[("x-sink", "context")])
        .await;
    let entries = reply.json()["ok"].clone();
    let label = json!(["guard", "labels", ["json", "[\"long\",\"odd\"]"]]);
    assert!(entries.as_array().unwrap().contains(&label), "{entries}");
    let line = wait_for_log(&["rules matched", "labelled"]).await;
    assert!(line.contains("\"labels\":\"long,odd\""), "{line}");
}
