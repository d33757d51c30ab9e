//! Credentials are read in exactly one way or not at all.

use crate::{AUTHORIZATION_LIMIT, Algorithm, Form, Malformed, Payload, Presented, Request, Timestamp};

const SIGNATURE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn fields<'a>(list: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a [u8])> {
    list.iter()
        .map(|(name, value)| (*name, value.as_bytes()))
        .collect()
}

fn read(query: &str, list: &[(&str, &str)]) -> Result<Option<Presented>, Malformed> {
    let headers = fields(list);
    let request = Request {
        method: "GET",
        path: "/",
        query,
        host: "api.test",
        headers: &headers,
    };
    Presented::read(&request)
}

fn authorization() -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=AKID/20150830/us-east-1/execute-api/aws4_request, SignedHeaders=host;x-amz-date, Signature={SIGNATURE}"
    )
}

fn by_header(authorization: &str) -> Result<Option<Presented>, Malformed> {
    read(
        "",
        &[
            ("authorization", authorization),
            ("x-amz-date", "20150830T123600Z"),
        ],
    )
}

fn query() -> String {
    format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F20150830%2Fus-east-1%2Fexecute-api%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature={SIGNATURE}"
    )
}

#[test]
fn both_forms_are_read() {
    let presented = by_header(&authorization()).unwrap().unwrap();
    assert_eq!(
        (presented.form, presented.algorithm),
        (Form::Header, Algorithm::HmacSha256)
    );
    assert_eq!(presented.credential.access_key_id, "AKID");
    assert_eq!(
        (presented.time, presented.expires),
        (Timestamp(1_440_938_160), None)
    );
    assert_eq!(presented.signed_headers, ["host", "x-amz-date"]);
    assert_eq!(
        (presented.payload, presented.signature.len()),
        (Payload::Unsaid, 32)
    );
    let presented = read(&query(), &[]).unwrap().unwrap();
    assert_eq!((presented.form, presented.expires), (Form::Query, Some(60)));
    assert_eq!(
        presented.credential.scope(),
        "20150830/us-east-1/execute-api/aws4_request"
    );
}

#[test]
fn commas_and_spaces_separate_in_any_mixture() {
    for text in [
        authorization().replace(", ", ","),
        authorization().replace(", ", " "),
        authorization().replace(", ", " ,\t "),
        format!("  {} ", authorization()),
    ] {
        assert!(by_header(&text).unwrap().is_some(), "{text}");
    }
}

#[test]
fn a_request_without_credentials_is_not_malformed() {
    for (query, list) in [
        ("", &[][..]),
        (
            "a=%zz&x-amz-algorithm=1&X-Amz-Date=1",
            &[("x-amz-date", "1"), ("x-amz-date", "2")],
        ),
        ("", &[("authorization", "")]),
    ] {
        assert!(read(query, list).unwrap().is_none(), "{query}");
    }
}

#[test]
fn header_forms_that_mean_nothing_or_two_things_are_refused() {
    let good = authorization();
    let cases = [
        ("Bearer abc".to_owned(), "no key=value pair"),
        (
            "abc".to_owned(),
            "header missing: Credential, Signature, SignedHeaders",
        ),
        (
            "Basic YWJj=".to_owned(),
            "header missing: Credential, Signature, SignedHeaders",
        ),
        (
            good.replace("Signature=", "Signatur="),
            "header missing: Signature",
        ),
        (format!("{good}, Extra=1"), "unknown parameter 'Extra'"),
        (
            format!("{good}, Signature={SIGNATURE}"),
            "'Signature' occurs more than once",
        ),
        (
            good.replace("HMAC-SHA256", "HMAC-SHA1"),
            "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA1'",
        ),
        (good.replace("AWS4-", "aws4-"), "Unsupported AWS 'algorithm'"),
        (
            good.replace("/aws4_request", ""),
            "Credential must have exactly 5",
        ),
        (good.replace("AKID/", "AK%ID/"), "access key id 'AK%ID'"),
        (
            good.replace("host;x-amz-date", "x-amz-date;host"),
            "SignedHeaders must be lower-case names in ascending order",
        ),
        (
            good.replace("host;x-amz-date", "Host;x-amz-date"),
            "SignedHeaders must be",
        ),
        (
            good.replace("host;x-amz-date", "host;host"),
            "SignedHeaders must be",
        ),
        (good.replace("host;x-amz-date", "host;"), "SignedHeaders must be"),
        (good.replace("host;x-amz-date", ""), "SignedHeaders must be"),
        (
            good.replace("host;", ""),
            "'Host' or ':authority' must be a 'SignedHeader'",
        ),
        (
            good.replace("0123456789abcdef0123456789abcdef", ""),
            "64 lower-case hexadecimal digits",
        ),
        (
            good.replace("abcdef", "ABCDEF"),
            "64 lower-case hexadecimal digits",
        ),
        (good.replace("cdef", "cdeg"), "64 lower-case hexadecimal digits"),
        (
            format!("{good}{}", " ".repeat(AUTHORIZATION_LIMIT) + "x"),
            "Authorization has",
        ),
    ];
    for (text, wanted) in cases {
        let error = by_header(&text).unwrap_err().to_string();
        assert!(error.contains(wanted), "{text}: {error}");
    }
}

#[test]
fn fields_that_must_be_single_are_single() {
    let good = authorization();
    let date = ("x-amz-date", "20150830T123600Z");
    for name in [
        "authorization",
        "x-amz-date",
        "x-amz-security-token",
        "x-amz-content-sha256",
    ] {
        let mut list = vec![("authorization", good.as_str()), date];
        list.extend([(name, good.as_str()); 2]);
        let error = read("", &list).unwrap_err();
        assert!(matches!(error, Malformed::Repeated(_)), "{name}: {error}");
    }
    for name in [
        "X-Amz-Signature",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Algorithm",
        "X-Amz-SignedHeaders",
        "X-Amz-Expires",
    ] {
        let error = read(&format!("{}&{name}=1", query()), &[]).unwrap_err();
        assert_eq!(error, Malformed::Repeated(name));
    }
    let token = read(
        &format!("{}&X-Amz-Security-Token=a", query()),
        &[("x-amz-security-token", "a")],
    );
    assert!(matches!(token, Err(Malformed::Repeated("X-Amz-Security-Token"))));
}

#[test]
fn both_forms_at_once_are_refused() {
    for query in [
        query(),
        "X-Amz-Algorithm".to_owned(),
        "X-Amz-Signature=1".to_owned(),
    ] {
        let error = read(&query, &[("authorization", "anything")]).unwrap_err();
        assert_eq!(error, Malformed::BothForms);
    }
}

#[test]
fn presigned_requests_are_read_strictly() {
    let good = query();
    for (text, wanted) in [
        (
            good.replace("&X-Amz-Date=20150830T123600Z", ""),
            "query missing: X-Amz-Date",
        ),
        (
            "X-Amz-Algorithm=x".to_owned(),
            "query missing: X-Amz-Credential, X-Amz-Signature, X-Amz-SignedHeaders, X-Amz-Date",
        ),
        (
            good.replace("Expires=60", "Expires=0"),
            "from 1 to 604800, got '0'",
        ),
        (good.replace("Expires=60", "Expires=604801"), "got '604801'"),
        (good.replace("Expires=60", "Expires=%2B60"), "got '+60'"),
        (good.replace("Expires=60", "Expires="), "got ''"),
        (
            good.replace("20150830T", "Sun, 30 Aug 2015 "),
            "Date must be in ISO-8601",
        ),
        (format!("{good}&a=%"), "Illegal hex character"),
        (good.replace("AWS4-HMAC", "AWS4-ECDSA"), "Unsupported"),
        (good.replace("HMAC-SHA256", "ECDSA-P256-SHA256"), "exactly 4"),
    ] {
        let error = read(&text, &[]).unwrap_err().to_string();
        assert!(error.contains(wanted), "{text}: {error}");
    }
    assert_eq!(
        read(&good.replace("&X-Amz-Expires=60", ""), &[])
            .unwrap()
            .unwrap()
            .expires,
        None
    );
}

#[test]
fn the_time_can_come_from_a_signed_date() {
    let date = ("date", "Sun, 30 Aug 2015 12:36:00 GMT");
    let by_date = authorization().replace("host;x-amz-date", "date;host");
    let presented = read("", &[("authorization", &by_date), date]).unwrap().unwrap();
    assert_eq!(presented.time, Timestamp(1_440_938_160));
    let unsigned = authorization().replace("host;x-amz-date", "host");
    assert!(matches!(
        read("", &[("authorization", &unsigned), date]),
        Err(Malformed::DateNotSigned)
    ));
    let amz = ("x-amz-date", "Sun, 30 Aug 2015 12:36:00 GMT");
    assert!(matches!(
        read("", &[("authorization", &authorization()), amz]),
        Err(Malformed::Date(_))
    ));
    assert!(matches!(
        read("", &[("authorization", &authorization())]),
        Err(Malformed::Missing { .. })
    ));
}

#[test]
fn the_payload_hash_is_one_or_unsigned() {
    let payload = |value: &str| {
        read(
            "",
            &[
                ("authorization", &authorization()),
                ("x-amz-date", "20150830T123600Z"),
                ("x-amz-content-sha256", value),
            ],
        )
        .map(|presented| presented.unwrap().payload)
    };
    assert_eq!(payload(SIGNATURE), Ok(Payload::Sha256(SIGNATURE.into())));
    assert_eq!(payload("UNSIGNED-PAYLOAD"), Ok(Payload::Unsigned));
    for value in [
        "",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        &SIGNATURE.to_uppercase(),
        "abcd",
    ] {
        assert!(
            matches!(payload(value), Err(Malformed::PayloadHash(_))),
            "{value}"
        );
    }
}

#[test]
fn version_4a_needs_a_region_set_and_a_signature_in_der() {
    let der = "3006020101020102";
    let text = format!(
        "AWS4-ECDSA-P256-SHA256 Credential=AKID/20150830/execute-api/aws4_request, SignedHeaders=host;x-amz-date;x-amz-region-set, Signature={der}"
    );
    let read_it = |text: &str, set: Option<&str>| {
        let mut list = vec![("authorization", text), ("x-amz-date", "20150830T123600Z")];
        list.extend(set.map(|set| ("x-amz-region-set", set)));
        read("", &list)
    };
    let presented = read_it(&text, Some("*")).unwrap().unwrap();
    assert_eq!(
        (presented.region_set.as_deref(), presented.signature.len()),
        (Some("*"), 64)
    );
    assert!(matches!(read_it(&text, None), Err(Malformed::Missing { .. })));
    assert!(matches!(
        read_it(&text.replace(der, SIGNATURE), Some("*")),
        Err(Malformed::Signature(_))
    ));
}

#[test]
fn header_fields_of_amazon_that_are_not_signed_are_named() {
    let authorization = authorization();
    let list = fields(&[
        ("authorization", &authorization),
        ("x-amz-date", "20150830T123600Z"),
        ("x-amz-target", "a"),
        ("x-amz-security-token", "t"),
        ("x-amzn-trace-id", "Root=1"),
    ]);
    let request = Request {
        method: "GET",
        path: "/",
        query: "",
        host: "h",
        headers: &list,
    };
    let presented = Presented::read(&request).unwrap().unwrap();
    assert_eq!(
        presented.unsigned_amz_headers(&request).collect::<Vec<_>>(),
        ["x-amz-target"]
    );
    assert_eq!(presented.absent_headers(&request).count(), 0);
    let shorter = Request {
        headers: &list[..1],
        ..request
    };
    assert_eq!(
        presented.absent_headers(&shorter).collect::<Vec<_>>(),
        ["x-amz-date"]
    );
}
