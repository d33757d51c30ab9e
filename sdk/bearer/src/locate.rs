//! Finds the token in a request (RFC 6750 section 2), and takes it out of the request that goes upstream.

use crate::refusal::{Kind, Refusal};

/// A place where a token may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A header field.
    Header {
        /// Lower-case name.
        name: String,
        /// Scheme before the token; empty for none.
        scheme: String,
    },
    /// A header field whose value is a token, with or without a scheme before it.
    Bare {
        /// Lower-case name.
        name: String,
        /// Scheme that may be there.
        scheme: String,
    },
    /// A query parameter.
    Query(String),
    /// A cookie (RFC 6265 section 4.2).
    Cookie(String),
}

/// The parts of a request where a token can be.
pub trait Fields {
    /// All values of a header field.
    fn header_values(&self, name: &str) -> Vec<Vec<u8>>;
    /// All values of a query parameter, decoded.
    fn query_values(&self, name: &str) -> Vec<String>;
    /// The raw query.
    fn query(&self) -> String;
}

/// A change that takes a token out of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Remove a header field.
    RemoveHeader(String),
    /// Replace a header field.
    SetHeader(String, Vec<u8>),
    /// Replace the query.
    SetQuery(String),
}

impl Location {
    /// The identity source of an API that it is, as HTTP APIs of AWS write them.
    #[must_use]
    pub fn source(&self) -> String {
        match self {
            Self::Header { name, .. } | Self::Bare { name, .. } => format!("$request.header.{name}"),
            Self::Query(name) => format!("$request.querystring.{name}"),
            Self::Cookie(_) => "$request.header.cookie".to_owned(),
        }
    }

    /// `Authorization: Bearer <token>`.
    #[must_use]
    pub fn bearer() -> Self {
        Self::Header {
            name: "authorization".into(),
            scheme: "Bearer".into(),
        }
    }

    /// A header field. Without a scheme of its own `Authorization` has `Bearer`, and others have none.
    #[must_use]
    pub fn header(name: &str, scheme: Option<&str>) -> Self {
        let name = name.to_ascii_lowercase();
        let default = if name == "authorization" { "Bearer" } else { "" };
        let scheme = scheme.unwrap_or(default).to_owned();
        Self::Header { name, scheme }
    }

    /// Every token in this place.
    fn tokens(&self, fields: &dyn Fields) -> Vec<Vec<u8>> {
        let found: Vec<Vec<u8>> = match self {
            Self::Header { name, scheme } => fields
                .header_values(name)
                .iter()
                .filter_map(|value| after_scheme(value, scheme))
                .collect(),
            Self::Bare { name, scheme } => {
                let values = fields.header_values(name).into_iter();
                values
                    .map(|value| after_scheme(&value, scheme).unwrap_or_else(|| value.trim_ascii().to_vec()))
                    .collect()
            }
            Self::Query(name) => fields
                .query_values(name)
                .into_iter()
                .map(String::into_bytes)
                .collect(),
            Self::Cookie(name) => {
                let lines = fields.header_values("cookie");
                lines
                    .iter()
                    .flat_map(|line| cookies(line))
                    .filter_map(|pair| cookie_value(pair, name))
                    .collect()
            }
        };
        found.into_iter().filter(|token| !token.is_empty()).collect()
    }

    fn strip(&self, fields: &dyn Fields) -> Option<Edit> {
        if self.tokens(fields).is_empty() {
            return None;
        }
        Some(match self {
            Self::Header { name, .. } | Self::Bare { name, .. } => Edit::RemoveHeader(name.clone()),
            Self::Query(name) => {
                let query = fields.query();
                let kept: Vec<&str> = query
                    .split('&')
                    .filter(|pair| !is_parameter(pair, name))
                    .collect();
                Edit::SetQuery(kept.join("&"))
            }
            Self::Cookie(name) => {
                let lines = fields.header_values("cookie");
                let others = lines
                    .iter()
                    .flat_map(|line| cookies(line))
                    .filter(|pair| cookie_value(pair, name).is_none());
                let kept: Vec<&[u8]> = others.collect();
                if kept.is_empty() {
                    Edit::RemoveHeader("cookie".into())
                } else {
                    Edit::SetHeader("cookie".into(), kept.join(&b"; "[..]))
                }
            }
        })
    }
}

/// The one token of a request.
///
/// # Errors
/// There is none, more than one (RFC 6750 section 2), or one that is no ASCII text.
pub fn find(locations: &[Location], fields: &dyn Fields) -> Result<String, Refusal> {
    let mut tokens = locations.iter().flat_map(|location| location.tokens(fields));
    let Some(token) = tokens.next() else {
        let detail = "no token in any of the configured places".into();
        return Err(Refusal {
            kind: Kind::NoCredentials,
            public: "a token is required",
            detail,
        });
    };
    if tokens.next().is_some() {
        let detail = "more than one token in the configured places".into();
        return Err(Refusal {
            kind: Kind::InvalidRequest,
            public: "more than one token was sent",
            detail,
        });
    }
    let ascii = String::from_utf8(token).ok().filter(|text| text.is_ascii());
    ascii.ok_or_else(|| Refusal::token("the token is malformed", "the token has bytes outside ASCII"))
}

/// Edits that take the tokens out of the request, in every configured place.
#[must_use]
pub fn strip(locations: &[Location], fields: &dyn Fields) -> Vec<Edit> {
    locations
        .iter()
        .filter_map(|location| location.strip(fields))
        .collect()
}

/// The rest of a field value after its scheme, which is compared without case (RFC 9110 section 11.1).
fn after_scheme(value: &[u8], scheme: &str) -> Option<Vec<u8>> {
    if scheme.is_empty() {
        return Some(value.trim_ascii().to_vec());
    }
    let (head, rest) = value.split_at_checked(scheme.len())?;
    let fits = head.eq_ignore_ascii_case(scheme.as_bytes()) && rest.first().is_none_or(|byte| *byte == b' ');
    fits.then(|| rest.trim_ascii().to_vec())
}

fn cookies(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b';')
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty())
}

/// The value of a `name=value` pair of that name, without the quotes that it may have.
fn cookie_value(pair: &[u8], name: &str) -> Option<Vec<u8>> {
    let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
    let bare = value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""));
    Some(bare.unwrap_or(value).to_vec())
}

/// True when a raw `name=value` pair of a query has that name after decoding.
fn is_parameter(pair: &str, name: &str) -> bool {
    let raw = pair.split('=').next().unwrap_or(pair).as_bytes();
    let mut decoded = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(byte) = raw.get(at) {
        let hex = |offset: usize| {
            raw.get(at + offset)
                .and_then(|digit| char::from(*digit).to_digit(16))
        };
        match (byte, hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) => decoded.push(b' '),
            _ => decoded.push(*byte),
        }
        at += 1;
    }
    decoded == name.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Request {
        headers: Vec<(&'static str, &'static [u8])>,
        query: &'static str,
    }

    impl Fields for Request {
        fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
            self.headers
                .iter()
                .filter(|(one, _)| *one == name)
                .map(|(_, value)| value.to_vec())
                .collect()
        }
        fn query_values(&self, name: &str) -> Vec<String> {
            let pairs = self.query.split('&').filter(|pair| is_parameter(pair, name));
            pairs
                .filter_map(|pair| Some(pair.split_once('=')?.1.to_owned()))
                .collect()
        }
        fn query(&self) -> String {
            self.query.to_owned()
        }
    }

    fn header(value: &'static [u8]) -> Request {
        Request {
            headers: vec![("authorization", value)],
            query: "",
        }
    }

    #[test]
    fn bearer_tokens_are_found_whatever_the_case_of_the_scheme() {
        let find = |value| find(&[Location::bearer()], &header(value)).map_err(|refusal| refusal.kind);
        assert_eq!(find(b"Bearer abc"), Ok("abc".into()));
        assert_eq!(find(b"bEARER   abc"), Ok("abc".into()));
        for other in [
            &b"Basic abc"[..],
            b"Bearer",
            b"Bearer ",
            b"Bearerabc",
            b"",
            b"Bear",
        ] {
            assert_eq!(find(other), Err(Kind::NoCredentials), "{other:?}");
        }
        assert_eq!(find(b"Bearer \xff\xfe"), Err(Kind::InvalidToken));
        assert_eq!(find("Bearer ü".as_bytes()), Err(Kind::InvalidToken));
    }

    #[test]
    fn a_scheme_may_be_left_out_where_that_is_said() {
        let place = Location::Bare {
            name: "authorization".into(),
            scheme: "Bearer".into(),
        };
        let find = |value| find(std::slice::from_ref(&place), &header(value)).map_err(|refusal| refusal.kind);
        for value in [&b"abc"[..], b"Bearer abc", b"bearer abc", b" abc "] {
            assert_eq!(find(value), Ok("abc".into()), "{value:?}");
        }
        for value in [&b""[..], b"Bearer", b"Bearer "] {
            assert_eq!(find(value), Err(Kind::NoCredentials), "{value:?}");
        }
        assert_eq!(find(b"Bearerabc"), Ok("Bearerabc".into()));
    }

    #[test]
    fn two_tokens_are_an_invalid_request() {
        let twice = Request {
            headers: vec![("authorization", b"Bearer a"), ("authorization", b"Bearer a")],
            query: "",
        };
        assert_eq!(find(&[Location::bearer()], &twice).unwrap_err().status(), 400);
        let places = [Location::bearer(), Location::Query("t".into())];
        let both = Request {
            headers: vec![("authorization", b"Bearer a")],
            query: "t=b",
        };
        assert_eq!(find(&places, &both).unwrap_err().kind, Kind::InvalidRequest);
    }

    #[test]
    fn headers_queries_and_cookies_carry_tokens_and_lose_them() {
        let places = [
            Location::Header {
                name: "x-jwt".into(),
                scheme: String::new(),
            },
            Location::Query("a t".into()),
            Location::Cookie("s".into()),
        ];
        let in_header = Request {
            headers: vec![("x-jwt", b" abc ")],
            query: "",
        };
        assert_eq!(find(&places, &in_header).unwrap(), "abc");
        assert_eq!(strip(&places, &in_header), [Edit::RemoveHeader("x-jwt".into())]);
        let in_query = Request {
            headers: vec![],
            query: "x=1&a%20t=abc&y=%zz&a+t=",
        };
        assert_eq!(find(&places, &in_query).unwrap(), "abc");
        assert_eq!(strip(&places, &in_query), [Edit::SetQuery("x=1&y=%zz".into())]);
        let in_cookie = Request {
            headers: vec![("cookie", b"ss=1; s=\"abc\"; z=2"), ("cookie", b"q=3")],
            query: "",
        };
        assert_eq!(find(&places, &in_cookie).unwrap(), "abc");
        assert_eq!(
            strip(&places, &in_cookie),
            [Edit::SetHeader("cookie".into(), b"ss=1; z=2; q=3".to_vec())]
        );
        let alone = Request {
            headers: vec![("cookie", b"s=abc")],
            query: "",
        };
        assert_eq!(strip(&places, &alone), [Edit::RemoveHeader("cookie".into())]);
    }

    #[test]
    fn stripping_leaves_other_credentials_alone() {
        assert_eq!(strip(&[Location::bearer()], &header(b"Basic abc")), []);
    }
}
