//! What a field section says (RFC 9114 sections 4.2 and 4.3): request heads and trailers. A malformed one costs its stream.

use bytes::Bytes;
use edgeward_core::{
    config::Limits,
    forwarded::hop_by_hop,
    reject::{Reject, RejectCode},
};
use http::{
    HeaderMap, HeaderName, Method, Request, Uri, Version, header,
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};

use super::{
    code::{Code, Fault},
    qpack::{self, Text},
};
use crate::http1::digits;

/// Why a head is no request.
#[derive(Debug)]
pub(super) enum HeadError {
    Fault(Fault),
    /// It can be answered.
    Refused(Reject),
}

impl From<Fault> for HeadError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

const fn malformed(what: &'static str) -> Fault {
    Fault::Stream(Code::MessageError, what)
}

/// Size of a field section, bounded while it is read: a byte of it can stand for a whole field.
struct Budget {
    size: u64,
    fields: usize,
    limit: u64,
    most: usize,
}

impl Budget {
    /// Of twice what `admit` lets pass, so that it is `admit` that says what is too much where that is possible.
    fn new(limits: &Limits) -> Self {
        Self {
            size: 0,
            fields: 0,
            limit: limits.head.0.saturating_mul(2),
            most: usize::from(limits.header_count) * 2,
        }
    }

    fn take(&mut self, name: &Text, value: &Text) -> Result<(), Reject> {
        // RFC 9114 section 4.2.2
        self.size += (name.as_bytes().len() + value.as_bytes().len() + 32) as u64;
        self.fields += 1;
        if self.size > self.limit || self.fields > self.most {
            let detail = format!(
                "field section exceeds {} bytes or {} fields",
                self.limit, self.most
            );
            return Err(Reject::new(RejectCode::HeadTooLarge, detail));
        }
        Ok(())
    }
}

#[derive(Default)]
struct Pseudo {
    method: Option<Text>,
    scheme: Option<Text>,
    authority: Option<Text>,
    path: Option<Text>,
}

/// Reads the head of a request, and the length of its body if it tells.
///
/// # Errors
/// A fault of the client's, or what is answered with 431.
pub(super) fn request(section: Bytes, limits: &Limits) -> Result<(Parts, Option<u64>), HeadError> {
    let mut budget = Budget::new(limits);
    let mut pseudo = Pseudo::default();
    let mut headers = HeaderMap::new();
    qpack::decode(section, |name, value| {
        budget.take(&name, &value).map_err(HeadError::Refused)?;
        let text = name.as_bytes();
        if text.first() != Some(&b':') {
            return field(&mut headers, &name, value).map_err(HeadError::Fault);
        }
        let place = match text {
            b":method" => &mut pseudo.method,
            b":scheme" => &mut pseudo.scheme,
            b":authority" => &mut pseudo.authority,
            b":path" => &mut pseudo.path,
            // also :protocol: extended CONNECT was not offered (RFC 9220)
            _ => return Err(malformed("unknown pseudo field").into()),
        };
        if !headers.is_empty() {
            return Err(malformed("pseudo field behind other fields").into());
        }
        if place.replace(value).is_some() {
            return Err(malformed("pseudo field twice").into());
        }
        Ok(())
    })?;
    let length = content_length(&headers)?;
    let mut parts = Request::new(()).into_parts().0;
    parts.version = Version::HTTP_3;
    parts.headers = headers;
    parts.method = pseudo
        .method
        .and_then(|method| Method::from_bytes(method.as_bytes()).ok())
        .ok_or_else(|| malformed("no method, or none that is a token"))?;
    parts.uri = uri(&parts.method, pseudo.scheme, pseudo.authority, pseudo.path)?;
    Ok((parts, length))
}

/// Reads trailers, without the fields that do not belong there (RFC 9110 section 6.5.1).
///
/// # Errors
/// They are malformed, or more than the limits let pass.
pub(super) fn trailers(section: Bytes, limits: &Limits) -> Result<HeaderMap, Fault> {
    let mut budget = Budget::new(limits);
    let mut headers = HeaderMap::new();
    qpack::decode(section, |name, value| {
        budget
            .take(&name, &value)
            .map_err(|_reject| Fault::Stream(Code::ExcessiveLoad, "trailers exceed the limit of heads"))?;
        if name.as_bytes().first() == Some(&b':') {
            return Err(malformed("pseudo field in trailers"));
        }
        field(&mut headers, &name, value)
    })?;
    hop_by_hop::strip_trailers(&mut headers);
    Ok(headers)
}

fn field(headers: &mut HeaderMap, name: &Text, value: Text) -> Result<(), Fault> {
    // refuses upper case; that it lets a quote pass, which is no token's, is a slip of the library
    let name = HeaderName::from_lowercase(name.as_bytes()).map_err(|_error| malformed("field name"))?;
    if !hop_by_hop::is_token(&name) {
        return Err(malformed("field name"));
    }
    if is_connection_specific(&name) {
        return Err(malformed("field that belongs to HTTP/1 connections"));
    }
    let bytes = value.as_bytes();
    if name == header::TE && bytes != b"trailers" {
        return Err(malformed("te other than trailers"));
    }
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if blank(bytes.first()) || blank(bytes.last()) {
        return Err(malformed("blank at an end of a field value"));
    }
    let value = value.into_value().ok_or_else(|| malformed("field value"))?;
    headers
        .try_append(name, value)
        .map_err(|_full| Fault::Stream(Code::ExcessiveLoad, "too many fields"))?;
    Ok(())
}

/// RFC 9114 section 4.2.
pub(super) fn is_connection_specific(name: &HeaderName) -> bool {
    [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ]
    .contains(name)
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Fault> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else {
        return Ok(None);
    };
    if lengths.next().is_some() {
        return Err(malformed("more than one content-length"));
    }
    digits(first.as_bytes())
        .map(Some)
        .ok_or_else(|| malformed("content-length is no number"))
}

fn uri(
    method: &Method,
    scheme: Option<Text>,
    authority: Option<Text>,
    path: Option<Text>,
) -> Result<Uri, Fault> {
    let authority = authority
        .map(|text| Authority::from_maybe_shared(owned(text)))
        .transpose()
        .map_err(|_error| malformed(":authority"))?;
    let mut parts = http::uri::Parts::default();
    if *method == Method::CONNECT {
        // section 4.4; that it is not served is said where every protocol comes by
        if scheme.is_some() || path.is_some() || authority.is_none() {
            return Err(malformed("CONNECT needs :authority and nothing else"));
        }
        parts.authority = authority;
        return Uri::from_parts(parts).map_err(|_error| malformed(":authority"));
    }
    let scheme = scheme.ok_or_else(|| malformed("no :scheme"))?;
    let scheme = match scheme.as_bytes() {
        b"https" => Scheme::HTTPS,
        b"http" => Scheme::HTTP,
        _ => return Err(malformed(":scheme is not that of HTTP")),
    };
    let path = owned(path.ok_or_else(|| malformed("no :path"))?);
    let begins = path.first() == Some(&b'/') || (*method == Method::OPTIONS && &path[..] == b"*");
    // the parser would cut off a fragment
    if !begins || path.contains(&b'#') {
        return Err(malformed(":path"));
    }
    parts.path_and_query = Some(PathAndQuery::from_maybe_shared(path).map_err(|_error| malformed(":path"))?);
    // without an authority there is a Host field, or `admit` refuses
    if authority.is_some() {
        parts.scheme = Some(scheme);
        parts.authority = authority;
    }
    Uri::from_parts(parts).map_err(|_error| malformed("pseudo fields make no URI"))
}

fn owned(text: Text) -> Bytes {
    match text {
        Text::Static(text) => Bytes::from_static(text.as_bytes()),
        Text::Shared(bytes) => bytes,
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use edgeward_core::config;

    use super::*;

    const USUAL: [(&str, &str); 4] = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "example.com"),
        (":path", "/a?b"),
    ];

    fn section(fields: &[(&str, &str)]) -> Bytes {
        let mut out = BytesMut::new();
        qpack::put_nothing(&mut out);
        for (name, value) in fields {
            qpack::put_field(&mut out, name, value.as_bytes());
        }
        out.freeze()
    }

    fn read(fields: &[(&str, &str)]) -> Result<(Parts, Option<u64>), String> {
        request(section(fields), &Limits::default()).map_err(|error| match error {
            HeadError::Fault(fault) => fault.to_string(),
            HeadError::Refused(reject) => reject.to_string(),
        })
    }

    #[test]
    fn a_usual_head_is_read() {
        let fields = [
            &USUAL[..],
            &[("content-length", "3"), ("te", "trailers"), ("x", "")],
        ]
        .concat();
        let (parts, length) = read(&fields).unwrap();
        assert_eq!((parts.method, length), (Method::POST, Some(3)));
        assert_eq!(parts.uri, "https://example.com/a?b");
        assert_eq!(parts.headers.len(), 3);
    }

    #[test]
    fn malformed_heads_are_refused() {
        for (fields, part) in [
            (&[("connection", "close")][..], "HTTP/1"),
            (&[("keep-alive", "1")], "HTTP/1"),
            (&[("proxy-connection", "close")], "HTTP/1"),
            (&[("transfer-encoding", "chunked")], "HTTP/1"),
            (&[("upgrade", "websocket")], "HTTP/1"),
            (&[("te", "gzip")], "te other"),
            (&[("X-Upper", "1")], "field name"),
            (&[("", "1")], "field name"),
            (&[("a b", "1")], "field name"),
            (&[("x", "a\r\nb: c")], "field value"),
            (&[("x", "a\0")], "field value"),
            (&[("x", " a")], "blank"),
            (&[("x", "a\t")], "blank"),
            (
                &[("content-length", "3"), ("content-length", "3")],
                "more than one",
            ),
            (&[("content-length", "+3")], "no number"),
            (&[("content-length", "3, 3")], "no number"),
            (&[(":path", "/other")], "twice"),
            (&[(":protocol", "websocket")], "unknown pseudo"),
            (&[(":status", "200")], "unknown pseudo"),
            (&[("x", "1"), (":late", "1")], "unknown pseudo"),
        ] {
            let error = read(&[&USUAL[..], fields].concat()).unwrap_err();
            assert!(error.contains(part), "{error} should contain {part}");
        }
        let late = [&USUAL[..3], &[("x", "1"), (":path", "/")]].concat();
        assert!(read(&late).unwrap_err().contains("behind other fields"));
        for (at, value, part) in [
            (0, "", "method"),
            (0, "G T", "method"),
            (1, "ftp", ":scheme"),
            (2, "a b", ":authority"),
            (3, "", ":path"),
            (3, "a", ":path"),
            (3, "*", ":path"),
            (3, "/a#b", ":path"),
            (3, "/a b", ":path"),
            (3, "https://example.com/", ":path"),
        ] {
            let mut fields = USUAL;
            fields[at].1 = value;
            let error = read(&fields).unwrap_err();
            assert!(error.contains(part), "{error} should contain {part}");
        }
        for missing in [0, 1, 3] {
            let mut fields = USUAL.to_vec();
            fields.remove(missing);
            assert!(read(&fields).unwrap_err().contains("no "));
        }
        let connect = [(":method", "CONNECT"), (":authority", "a:1"), (":path", "/")];
        assert!(read(&connect).unwrap_err().contains("CONNECT"));
        assert!(read(&connect[..2]).is_ok());
    }

    #[test]
    fn a_section_that_grows_when_read_is_bounded() {
        // one byte each: a static entry of 64 bytes
        let bytes = [&[0, 0][..], &vec![0xc0 | 58; 60_000]].concat();
        let Err(HeadError::Refused(reject)) = request(Bytes::from(bytes), &Limits::default()) else {
            panic!("should be refused");
        };
        assert_eq!(reject.code, RejectCode::HeadTooLarge);
        let limits = Limits {
            head: config::Bytes(100),
            ..Limits::default()
        };
        let long = "v".repeat(300);
        assert!(request(section(&[("x", &long)]), &limits).is_err());
        assert!(trailers(section(&[("x", &long)]), &limits).is_err());
    }

    #[test]
    fn trailers_have_no_pseudo_fields() {
        let limits = Limits::default();
        let read = trailers(section(&[("checksum", "1")]), &limits).unwrap();
        assert_eq!(read["checksum"], "1");
        assert!(trailers(section(&[(":path", "/")]), &limits).is_err());
        assert!(trailers(section(&[("connection", "close")]), &limits).is_err());
    }
}
