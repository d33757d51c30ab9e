//! The plugin against the fake host: what the gateway gets to see.

use edgeward_sdk::{
    Allowed, Authorize as _, Decision, Interest, Plugin as _, RequestHead, http_client,
    testing::{self, Host},
};
use serde_json::{Value, json};

use super::wire::{ID, NOW, SECRET, Wire, config, signer, wire};
use crate::Sigv4Authorizer;

fn host() -> Host {
    Host::new()
        .at_time(NOW.0 * 1000)
        .with_secret("key", format!("{SECRET}\n"))
        .install()
}

fn request(wire: &Wire) -> RequestHead {
    let url = format!("https://{}{}", wire.host, wire.target);
    let request = testing::request(wire.method, &url);
    wire.headers
        .iter()
        .fold(request, |request, (name, value)| request.with_header(name, value))
}

fn init(extra: Value) -> (Sigv4Authorizer, Interest) {
    testing::init(&config(extra).to_string()).unwrap()
}

fn ask(extra: Value, wire: &Wire) -> Decision {
    init(extra).0.authorize(&request(wire), &testing::exchange())
}

#[test]
fn a_caller_with_a_good_signature_goes_on_with_principal_and_facts() {
    let _host = host();
    let wanted: Decision = Allowed::new("arn:aws:iam::123456789012:user/ada")
        .fact("accountId", "123456789012")
        .fact("userArn", "arn:aws:iam::123456789012:user/ada")
        .fact("userId", ID)
        .fact("accessKey", ID)
        .into();
    for good in [
        wire("/pets?a=1").signed(&signer()),
        wire("/pets?a=1").presigned(&signer(), 60),
        wire("/pets?a=1").signed_4a("*"),
    ] {
        assert_eq!(ask(json!({}), &good), wanted);
    }
    let anonymous = json!({"credentials": [{"access-key-id": ID, "secret": "key", "user-id": "AIDA"}]});
    let wanted = Allowed::new(ID).fact("userId", "AIDA").fact("accessKey", ID);
    assert_eq!(ask(anonymous, &wire("/").signed(&signer())), wanted.into());
}

#[test]
fn what_policies_may_ask_of_the_caller_is_in_facts_wherever_the_key_is_from() {
    let said = json!({
        "tags": {"Team": "pets"},
        "org-id": "o-a1",
        "org-paths": ["o-a1/r-b2/"],
        "issued-at": "2015-08-30T12:00:00Z",
        "mfa-at": "2015-08-30T11:59:00Z",
    });
    let mut key = json!({"access-key-id": ID, "secret": "key", "user-id": "AIDA"});
    key.as_object_mut()
        .unwrap()
        .extend(said.as_object().unwrap().clone());
    let wanted: Decision = Allowed::new(ID)
        .fact("userId", "AIDA")
        .fact("accessKey", ID)
        .fact("principalOrgId", "o-a1")
        .fact("principalOrgPaths", json!(["o-a1/r-b2/"]))
        .fact("principalTags", json!({"Team": "pets"}))
        .fact("tokenIssueTime", 1_440_936_000_i64)
        .fact("multiFactorAuthPresent", true)
        .fact("multiFactorAuthTime", 1_440_935_940_i64)
        .into();
    let good = wire("/").signed(&signer());
    let configured = host();
    assert_eq!(ask(json!({"credentials": [key]}), &good), wanted);
    drop(configured);
    let _host = Host::new()
        .at_time(NOW.0 * 1000)
        .with_kv("sigv4")
        .with_http(move |_| {
            let body = json!({
                "secretAccessKey": SECRET, "userId": "AIDA", "tags": said["tags"], "orgId": said["org-id"], "orgPaths": said["org-paths"],
                "issuedAt": said["issued-at"], "mfaAt": said["mfa-at"],
            });
            Ok(http_client::Response {
                status: 200,
                headers: Vec::new(),
                body: body.to_string().into_bytes(),
            })
        })
        .install();
    let source = json!({"credentials": [], "source": {"url": "https://keys.test/"}});
    let (mut plugin, _) = init(source);
    // asked, and from what was kept
    for _ in 0..2 {
        assert_eq!(plugin.authorize(&request(&good), &testing::exchange()), wanted);
    }
}

#[test]
fn refusals_look_like_those_of_aws() {
    let host = host();
    let Decision::Respond(answer) = ask(json!({}), &wire("/")) else {
        panic!("no answer")
    };
    assert_eq!(answer.status, 403);
    assert_eq!(answer.body, br#"{"message":"Missing Authentication Token"}"#);
    let header = |name: &str| {
        let field = answer.headers.iter().find(|field| field.name == name).unwrap();
        field.value_str().unwrap().to_owned()
    };
    assert_eq!(header("x-amzn-errortype"), "MissingAuthenticationTokenException");
    assert_eq!(header("content-type"), "application/json");
    let post = wire("/")
        .signed(&signer())
        .set("authorization", |text| text.replace(ID, "AKIDOTHER"));
    assert!(matches!(ask(json!({}), &post), Decision::Respond(answer) if answer.status == 403));
    let lines: Vec<String> = host.log_lines().into_iter().map(|(_, line)| line).collect();
    assert!(
        lines
            .iter()
            .any(|line| line == "refused: nobody knows key AKIDOTHER"),
        "{lines:?}"
    );
}

#[test]
fn plain_refusals_do_not_tell_an_unknown_key_from_a_wrong_signature() {
    let _host = host();
    let plain = |wire: &Wire| {
        let Decision::Deny(denied) = ask(json!({"errors": "plain"}), wire) else {
            panic!("not denied")
        };
        (denied.status, denied.reason, denied.headers)
    };
    let good = wire("/").signed(&signer());
    let unknown = plain(
        &good
            .clone()
            .set("authorization", |text| text.replace(ID, "AKIDOTHER")),
    );
    let wrong = plain(&Wire {
        method: "PUT",
        ..good.clone()
    });
    assert_eq!(
        (unknown.0, unknown.1.as_str()),
        (401, "the signature does not match")
    );
    assert_eq!(unknown, wrong);
    assert_eq!(wrong.2[0].value, "AWS4-HMAC-SHA256, AWS4-ECDSA-P256-SHA256");
    assert_eq!(plain(&wire("/")).0, 401);
    assert_eq!(
        plain(&good.set("authorization", |text| text.replace("us-east-1", "x"))).0,
        403
    );
}

#[test]
fn a_secret_that_is_not_there_is_no_fault_of_the_caller() {
    let _host = Host::new()
        .at_time(NOW.0 * 1000)
        .with_missing_secret("key")
        .install();
    let good = wire("/").signed(&signer());
    assert!(matches!(ask(json!({}), &good), Decision::Respond(answer) if answer.status == 503));
    let Decision::Deny(denied) = ask(json!({"errors": "plain"}), &good) else {
        panic!("not denied")
    };
    assert_eq!(
        (denied.status, denied.headers[0].name.as_str()),
        (503, "retry-after")
    );
    assert!(!denied.reason.contains("key"));
}

#[test]
fn keys_of_a_source_are_fetched_once() {
    let host = Host::new()
        .at_time(NOW.0 * 1000)
        .with_kv("sigv4")
        .with_http(|_| {
            let body = json!({"secretAccessKey": SECRET, "principalArn": "arn:aws:iam::42:user/ada"});
            Ok(http_client::Response {
                status: 200,
                headers: Vec::new(),
                body: body.to_string().into_bytes(),
            })
        })
        .install();
    let extra = json!({"credentials": [], "source": {"url": "https://keys.test/"}, "replay": {}});
    let (mut plugin, interest) = init(extra);
    assert_eq!(
        interest,
        Interest::none()
            .authorize()
            .request_digest()
            .needs("http")
            .needs("kv")
    );
    for target in ["/1", "/2", "/3"] {
        let decision = plugin.authorize(&request(&wire(target).signed(&signer())), &testing::exchange());
        assert!(
            matches!(decision, Decision::Allow(allowed) if allowed.principal == "arn:aws:iam::42:user/ada")
        );
    }
    let again = plugin.authorize(&request(&wire("/1").signed(&signer())), &testing::exchange());
    assert!(matches!(again, Decision::Respond(answer) if answer.status == 403));
    assert_eq!(host.http_requests().len(), 1);
    assert_eq!(
        host.http_requests()[0].url,
        format!("https://keys.test/?access-key-id={ID}")
    );
}

#[test]
fn init_refuses_mistakes_with_their_path() {
    let error = |config: Value| Sigv4Authorizer::init(&config.to_string()).err().unwrap();
    assert!(
        error(json!({"regions": ["a"], "credentials": [{"access-key": "x"}]}))
            .contains("config.credentials[0]")
    );
    assert!(error(json!({"regions": ["a"]})).starts_with("config.credentials: no access keys"));
}

#[test]
fn the_examples_of_the_readme_are_accepted() {
    let parse = |yaml: &str| serde_yaml_ng::from_str(yaml).unwrap();
    let configs = testing::examples::<Sigv4Authorizer>(include_str!("../../README.md"), parse);
    assert_eq!(configs, 2);
}
