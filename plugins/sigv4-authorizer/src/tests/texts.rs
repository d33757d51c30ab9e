//! What AWS says, to the letter.

use edgeward_sigv4::{Signer, Timestamp};
use serde_json::json;

use super::wire::{ID, NOW, SECRET, Wire, outside, refused, settings, signer, wire};
use crate::{authorizer, refusal::Kind};

fn at(request: &Wire, now: Timestamp) -> String {
    let fake = outside();
    fake.set_time(now.0 * 1000);
    let refusal = authorizer::check(&settings(json!({})), request, &fake).unwrap_err();
    assert_eq!(refusal.kind.aws_type(), "InvalidSignatureException");
    refusal.aws
}

#[test]
fn a_request_without_credentials() {
    let refusal = refused(json!({}), &wire("/"));
    assert_eq!(refusal.aws, "Missing Authentication Token");
    assert_eq!(
        (refusal.kind.aws_status(), refusal.kind.aws_type()),
        (403, "MissingAuthenticationTokenException")
    );
}

#[test]
fn an_unknown_key() {
    let refusal = refused(
        json!({}),
        &wire("/").signed(&Signer {
            access_key_id: "AKIDOTHER",
            ..signer()
        }),
    );
    assert_eq!(
        refusal.aws,
        "The security token included in the request is invalid."
    );
    assert_eq!(
        (refusal.kind.aws_status(), refusal.kind.aws_type()),
        (403, "UnrecognizedClientException")
    );
    assert_eq!(refusal.detail, "nobody knows key AKIDOTHER");
}

#[test]
fn a_signature_that_does_not_match() {
    let request = wire("/pets?b=2&a=1").with("x-secret", "s3cr3t").signed(&Signer {
        secret: "wrong",
        ..signer()
    });
    let refusal = refused(json!({}), &request);
    assert_eq!(
        refusal.aws,
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. \
         Consult the service documentation for details.\n\n\
         The Canonical String for this request should have been\n\
         'GET\n/pets\na=1&b=2\nhost:api.test\nx-amz-date:20150830T123600Z\nx-secret:s3cr3t\n\nhost;x-amz-date;x-secret\n\
         e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'\n\n\
         The String-to-Sign should have been\n\
         'AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/execute-api/aws4_request\n\
         5160be2846d38ef25757c6514a21555b99488b5c3df42b57c3f92c5cef38bc27'\n"
    );
    assert_eq!(refusal.kind.aws_type(), "InvalidSignatureException");
    // the log says what to compare, without values of header fields and without the secret
    assert!(refusal.detail.starts_with(&format!(
        "key {ID}: the signature does not match; compare with the client: AWS4-HMAC-SHA256 of GET"
    )));
    for text in [&refusal.detail, &refusal.public.to_owned()] {
        assert!(!text.contains("s3cr3t") && !text.contains(SECRET));
    }
    assert!(!refusal.aws.contains(SECRET));
    let stripped = wire("/").with("x-gone", "1").signed(&signer()).without("x-gone");
    assert!(
        refused(json!({}), &stripped)
            .detail
            .contains("signed, but not in the request: x-gone; compare")
    );
}

#[test]
fn signatures_that_are_too_old_or_too_new() {
    let header = wire("/").signed(&signer());
    assert_eq!(
        at(&header, NOW.plus(600)),
        "Signature expired: 20150830T123600Z is now earlier than 20150830T124100Z (20150830T124600Z - 5 min.)"
    );
    assert_eq!(
        at(&header, NOW.minus(600)),
        "Signature not yet current: 20150830T123600Z is still later than 20150830T123100Z (20150830T122600Z + 5 min.)"
    );
    let query = wire("/").presigned(&signer(), 60);
    assert_eq!(
        at(&query, NOW.plus(61)),
        "Signature expired: 20150830T123700Z is now earlier than 20150830T123701Z (20150830T123600Z + 60 sec.)"
    );
    let refusal = refused(json!({"max-expires-seconds": 30}), &query);
    assert_eq!(refusal.aws, "X-Amz-Expires must be at most 30 seconds, got '60'.");
}

#[test]
fn scopes_that_do_not_fit() {
    let text = |signer: Signer<'_>| {
        let refusal = refused(json!({}), &wire("/").signed(&signer));
        assert_eq!(
            (refusal.kind, refusal.kind.aws_type()),
            (Kind::Scope, "InvalidSignatureException")
        );
        refusal.aws
    };
    assert_eq!(
        text(Signer {
            region: "us-west-2",
            ..signer()
        }),
        "Credential should be scoped to a valid region, not 'us-west-2'."
    );
    assert_eq!(
        text(Signer {
            service: "lambda",
            ..signer()
        }),
        "Credential should be scoped to correct service: 'execute-api'."
    );
    let ended = wire("/")
        .signed(&signer())
        .set("authorization", |text| text.replace("/aws4_request", "/aws5"));
    assert_eq!(
        refused(json!({}), &ended).aws,
        "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5'."
    );
    let day = wire("/")
        .signed(&signer())
        .set("authorization", |text| text.replace("/20150830/", "/20150831/"));
    assert_eq!(
        refused(json!({}), &day).aws,
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20150831' != '20150830', from '20150830T123600Z'."
    );
    let set = wire("/").signed_4a("ap-south-1");
    assert_eq!(
        refused(json!({}), &set).aws,
        "Credential should be scoped to a valid region, not 'ap-south-1'."
    );
    let both = Signer {
        region: "us-west-2",
        service: "lambda",
        ..signer()
    };
    assert_eq!(
        text(both),
        "Credential should be scoped to a valid region, not 'us-west-2'. Credential should be scoped to correct service: 'execute-api'."
    );
}

#[test]
fn credentials_that_cannot_be_read() {
    let text = |authorization: &str| {
        let refusal = refused(json!({}), &wire("/").with("authorization", authorization));
        assert_eq!(
            (refusal.kind.aws_status(), refusal.kind.aws_type()),
            (403, "IncompleteSignatureException")
        );
        assert!(
            !refusal.aws.contains("abc") && !refusal.detail.contains("abc"),
            "{refusal:?}"
        );
        refusal.aws
    };
    assert_eq!(
        text("Bearer abc"),
        format!(
            "Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with Base64): '{}'.",
            hash("Bearer abc")
        )
    );
    assert_eq!(
        text("abc"),
        format!(
            "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. Authorization header \
             requires 'SignedHeaders' parameter. Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. \
             (Hashed with SHA-256 and encoded with Base64) Authorization={}",
            hash("abc")
        )
    );
    let query = refused(
        json!({}),
        &wire("/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=1"),
    );
    assert_eq!(
        query.aws,
        "AWS query-string parameters must include 'X-Amz-Credential'. AWS query-string parameters must include 'X-Amz-Signature'. AWS \
         query-string parameters must include 'X-Amz-SignedHeaders'. Re-examine the query-string parameters."
    );
    let good = wire("/").signed(&signer());
    let changed = |from: &str, to: &str| {
        refused(
            json!({}),
            &good.clone().set("authorization", |text| text.replace(from, to)),
        )
    };
    assert_eq!(
        changed("host;", "").aws,
        "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
    );
    assert_eq!(changed("host;", "").kind.aws_type(), "InvalidSignatureException");
    assert_eq!(
        changed("HMAC-SHA256", "HMAC-SHA1").aws,
        "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA1'."
    );
    assert_eq!(
        changed("/execute-api", "").aws,
        "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got \
         'AKIDEXAMPLE/20150830/us-east-1/aws4_request'."
    );
    let date = good.clone().set("x-amz-date", |_| "201".into());
    assert_eq!(
        refused(json!({}), &date).aws,
        "Date must be in ISO-8601 'basic format'. Got '201'. See http://en.wikipedia.org/wiki/ISO_8601"
    );
    let refusal = refused(json!({"algorithms": ["sigv4"]}), &wire("/").signed_4a("*"));
    assert_eq!(
        refusal.aws,
        "Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256' (only AWS4-HMAC-SHA256 for now)."
    );
}

/// SHA-256 in Base64, as OpenSSL makes it.
fn hash(text: &str) -> &'static str {
    match text {
        "abc" => "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
        "Bearer abc" => "w1Xc6WwWEogNEZQP/dkBTThsJT4MNlKmzQanIm970rY=",
        other => panic!("no hash of {other:?} is known"),
    }
}
