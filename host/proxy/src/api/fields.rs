//! Header fields that Amazon API Gateway keeps to itself, gives other names, or makes itself.

use edgeward_core::reject::{Reject, RejectCode};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{Call, Voice};

/// Largest sum of the names and values of a request's fields in the profile `apigw`, as AWS, in bytes.
const HEAD_MAX: usize = 10_240;
/// What the names of fields begin with that tell of the viewer at the edge.
const VIEWER: &str = "cloudfront-";
/// What the credentials of SigV4 and SigV4a begin with.
const SIGNED: &[u8] = b"AWS4-";
/// Fields of requests that nothing behind the method request sees, beside those of the connection, which are gone already.
const DROPPED: [HeaderName; 8] = [
    HeaderName::from_static("content-md5"),
    header::EXPECT,
    header::MAX_FORWARDS,
    header::PROXY_AUTHENTICATE,
    header::SERVER,
    header::TE,
    header::TRAILER,
    header::WWW_AUTHENTICATE,
];
/// Fields of responses that get another name, whatever the integration is. `Connection` is kept by [`keep_connection`], `Content-Length` stays beside its copy.
const REMAPPED: [(HeaderName, HeaderName); 2] = [
    (header::DATE, HeaderName::from_static("x-amzn-remapped-date")),
    (header::SERVER, HeaderName::from_static("x-amzn-remapped-server")),
];
/// The same of answers that are made of mappings. Others of AWS's list cannot be mapped to at all.
const REMAPPED_OF_MAPPINGS: [(HeaderName, HeaderName); 7] = [
    (
        header::AUTHORIZATION,
        HeaderName::from_static("x-amzn-remapped-authorization"),
    ),
    (
        HeaderName::from_static("content-md5"),
        HeaderName::from_static("x-amzn-remapped-content-md5"),
    ),
    (header::HOST, HeaderName::from_static("x-amzn-remapped-host")),
    (
        header::MAX_FORWARDS,
        HeaderName::from_static("x-amzn-remapped-max-forwards"),
    ),
    (
        header::PROXY_AUTHENTICATE,
        HeaderName::from_static("x-amzn-remapped-proxy-authenticate"),
    ),
    (
        header::USER_AGENT,
        HeaderName::from_static("x-amzn-remapped-user-agent"),
    ),
    (
        header::WWW_AUTHENTICATE,
        HeaderName::from_static("x-amzn-remapped-www-authenticate"),
    ),
];
const REMAPPED_CONNECTION: HeaderName = HeaderName::from_static("x-amzn-remapped-connection");
const REMAPPED_LENGTH: HeaderName = HeaderName::from_static("x-amzn-remapped-content-length");

/// What holds for the head of a request as soon as its API is known: clients do not tell of viewers, which only the edge knows, and the fields have an end.
///
/// # Errors
/// They are too large.
pub(crate) fn arrive(call: &mut Call, headers: &mut HeaderMap, is_trusted: bool) -> Result<(), Reject> {
    if call.arm.voice == Voice::Native {
        return Ok(());
    }
    let size: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if !is_trusted {
        drop_viewers(headers);
        if let Some(kept) = &mut call.headers {
            drop_viewers(kept);
        }
    }
    if size > HEAD_MAX {
        return Err(Reject::new(
            RejectCode::HeadTooLarge,
            format!("header fields of {size} bytes exceed {HEAD_MAX}"),
        ));
    }
    if call.arm.voice == Voice::Rest {
        call.signatures = signatures(headers);
    }
    Ok(())
}

/// Credentials that are signatures.
fn signatures(headers: &HeaderMap) -> Vec<HeaderValue> {
    let credentials = headers.get_all(header::AUTHORIZATION).iter();
    let signed = |value: &&HeaderValue| value.as_bytes().starts_with(SIGNED);
    credentials.filter(signed).cloned().collect()
}

/// Whether a field counts: of viewers only an edge that is trusted tells.
pub(super) fn is_believed(name: &HeaderName, is_trusted: bool) -> bool {
    is_trusted || !name.as_str().starts_with(VIEWER)
}

fn drop_viewers(headers: &mut HeaderMap) {
    let names = headers.keys().filter(|name| !is_believed(name, false));
    for name in names.cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
}

/// Leaves what mappings, templates and servers of REST APIs may see. Authorizers have seen what the client sent; `signatures` are those that it sent.
pub(super) fn before_mapping(voice: Voice, signatures: &[HeaderValue], headers: &mut HeaderMap) {
    if voice != Voice::Rest {
        return;
    }
    for name in &DROPPED {
        headers.remove(name);
    }
    // whoever has a signature can use it again; those that plugins make are for the server
    let mut credentials = headers.get_all(header::AUTHORIZATION).iter();
    if credentials.any(|value| signatures.contains(value)) {
        headers.remove(header::AUTHORIZATION);
    }
}

/// Leaves what the server of an `HTTP_PROXY` integration gets of what the client sent.
pub(super) fn before_passing(voice: Voice, headers: &mut HeaderMap) {
    if voice == Voice::Native {
        return;
    }
    for name in &DROPPED {
        headers.remove(name);
    }
    headers.remove(header::VIA);
}

/// Keeps what a server said of its connection under the name that clients of REST APIs get it by.
pub(crate) fn keep_connection(call: Option<&Call>, headers: &mut HeaderMap) {
    if call.is_some_and(|call| call.arm.voice == Voice::Rest)
        && let Some(value) = headers.get(header::CONNECTION).cloned()
    {
        headers.insert(REMAPPED_CONNECTION, value);
    }
}

/// Gives fields of a response that passes other names.
pub(super) fn remap_passing(voice: Voice, headers: &mut HeaderMap) {
    if voice != Voice::Rest {
        return;
    }
    remap(headers, &REMAPPED);
    if let Some(length) = headers.get(header::CONTENT_LENGTH).cloned() {
        headers.insert(REMAPPED_LENGTH, length);
    }
    headers.remove(header::VIA);
}

/// The same of a response that is made of mappings.
pub(super) fn remap_mapped(voice: Voice, headers: &mut HeaderMap) {
    if voice == Voice::Rest {
        remap(headers, &REMAPPED);
        remap(headers, &REMAPPED_OF_MAPPINGS);
    }
}

fn remap(headers: &mut HeaderMap, names: &[(HeaderName, HeaderName)]) {
    for (name, to) in names {
        let values: Vec<HeaderValue> = headers.get_all(name).iter().cloned().collect();
        if values.is_empty() {
            continue;
        }
        headers.remove(name);
        headers.remove(to);
        for value in values {
            headers.append(to.clone(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_signature_goes_no_further_and_other_credentials_do() {
        for (credentials, stays) in [
            (
                "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=1",
                false,
            ),
            (
                "AWS4-ECDSA-P256-SHA256 Credential=a/b, SignedHeaders=host, Signature=1",
                false,
            ),
            ("Bearer AWS4-HMAC-SHA256", true),
            ("Basic dTpw", true),
        ] {
            let mut headers = fields(&[("authorization", credentials)]);
            let sent = signatures(&headers);
            before_mapping(Voice::Rest, &sent, &mut headers);
            assert_eq!(headers.contains_key("authorization"), stays, "{credentials}");
            // a plugin has put its own in its place
            let own = fields(&[("authorization", "AWS4-HMAC-SHA256 Credential=own")]);
            let mut headers = own.clone();
            before_mapping(Voice::Rest, &sent, &mut headers);
            assert_eq!(headers, own);
            let mut headers = fields(&[("authorization", credentials)]);
            before_mapping(Voice::Native, &sent, &mut headers);
            assert!(headers.contains_key("authorization"));
        }
    }

    #[test]
    fn fields_of_responses_get_their_other_names_with_all_values() {
        let of_server = [
            ("date", "d"),
            ("server", "a"),
            ("content-length", "5"),
            ("www-authenticate", "Basic"),
            ("x-amzn-remapped-date", "mine"),
            ("x-other", "o"),
        ];
        let mut passing = fields(&of_server);
        passing.append("server", HeaderValue::from_static("b"));
        remap_passing(Voice::Rest, &mut passing);
        let mut expected = fields(&[
            ("x-amzn-remapped-date", "d"),
            ("x-amzn-remapped-server", "a"),
            ("content-length", "5"),
            ("x-amzn-remapped-content-length", "5"),
            ("www-authenticate", "Basic"),
            ("x-other", "o"),
        ]);
        expected.append("x-amzn-remapped-server", HeaderValue::from_static("b"));
        assert_eq!(passing, expected);
        let mut mapped = fields(&of_server);
        remap_mapped(Voice::Rest, &mut mapped);
        assert_eq!(mapped["x-amzn-remapped-www-authenticate"], "Basic");
        assert!(!mapped.contains_key("www-authenticate") && !mapped.contains_key("date"));
        let mut others = fields(&of_server);
        remap_mapped(Voice::Http, &mut others);
        remap_passing(Voice::Native, &mut others);
        assert_eq!(others, fields(&of_server));
    }
}
