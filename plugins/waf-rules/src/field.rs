//! Fields: which parts of a request a rule looks at, and the values they have in one request.

use crate::body;
use crate::transformation::url_decode;

/// Values that are scanned one by one; further ones of the same kind are joined with line feeds and scanned as one, so that the
/// number of host calls is bounded while nothing passes unseen.
pub const MAX_SINGLE_VALUES: usize = 512;
/// Header fields that `any` covers: those that applications print, store or log.
pub const ANY_HEADERS: [&str; 8] = [
    "user-agent",
    "referer",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-original-url",
    "x-rewrite-url",
    "accept-language",
    "content-type",
];

/// Kinds of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Request method.
    Method,
    /// Path as it is on the wire.
    Path,
    /// Query as it is on the wire.
    RawQuery,
    /// A decoded query parameter.
    Query,
    /// A header field line.
    Header,
    /// A cookie.
    Cookie,
    /// The body as it is.
    Body,
    /// A string or key of a JSON body.
    Json,
    /// A decoded parameter of an urlencoded body.
    Form,
    /// The client's address.
    ClientAddress,
}

impl Kind {
    /// How fields and locations call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Path => "path",
            Self::RawQuery => "raw-query",
            Self::Query => "query",
            Self::Header => "header",
            Self::Cookie => "cookie",
            Self::Body => "body",
            Self::Json => "json-body",
            Self::Form => "form-body",
            Self::ClientAddress => "client-address",
        }
    }

    const fn is_body(self) -> bool {
        matches!(self, Self::Body | Self::Json | Self::Form)
    }
}

/// What a rule looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// All values of a kind; with a name only the values under it.
    Of(Kind, Option<String>),
    /// Query, path, the headers of `ANY_HEADERS`, cookies and the body in its best reading.
    Any,
}

impl Field {
    /// Reads a field name of the configuration.
    pub fn parse(text: &str) -> Result<Self, String> {
        let simple = |kind| Ok(Self::Of(kind, None));
        let (head, name) = text
            .split_once('.')
            .map_or((text, None), |(head, name)| (head, Some(name)));
        let kind = match (head, name) {
            ("any", None) => return Ok(Self::Any),
            ("method", None) => return simple(Kind::Method),
            ("path", None) => return simple(Kind::Path),
            ("raw-query", None) => return simple(Kind::RawQuery),
            ("body", None) => return simple(Kind::Body),
            ("client-address", None) => return simple(Kind::ClientAddress),
            ("headers", None) => return simple(Kind::Header),
            ("cookies", None) => return simple(Kind::Cookie),
            ("query", _) => Kind::Query,
            ("json-body", _) => Kind::Json,
            ("form-body", _) => Kind::Form,
            ("header", Some(_)) => Kind::Header,
            ("cookie", Some(_)) => Kind::Cookie,
            _ => {
                return Err(format!(
                    "field `{text}` is none of method, path, raw-query, query, query.NAME, headers, header.NAME, cookies, cookie.NAME, body, \
                     json-body, json-body.PATH, form-body, form-body.NAME, client-address, any"
                ));
            }
        };
        match name {
            Some("") => Err(format!("field `{text}` has an empty name after the dot")),
            Some(name) if kind == Kind::Header => Ok(Self::Of(kind, Some(name.to_ascii_lowercase()))),
            name => Ok(Self::Of(kind, name.map(str::to_owned))),
        }
    }

    /// True if the rule has to look at this value.
    pub fn covers(&self, value: &Value) -> bool {
        match self {
            Self::Any => value.in_any,
            Self::Of(kind, None) => *kind == value.kind,
            Self::Of(kind, Some(name)) => *kind == value.kind && !value.is_name && *name == value.name,
        }
    }

    /// True if the body has to be read for it.
    pub fn needs_body(&self) -> bool {
        matches!(self, Self::Any) || matches!(self, Self::Of(kind, _) if kind.is_body())
    }
}

/// One value of a request.
#[derive(Debug, Clone)]
pub struct Value {
    /// What it is.
    pub kind: Kind,
    /// Parameter, header or cookie name, or path in a JSON body; empty where there is none.
    pub name: String,
    /// True when the bytes are the name itself.
    pub is_name: bool,
    /// True when the field `any` covers it.
    pub in_any: bool,
    /// The bytes.
    pub data: Vec<u8>,
}

impl Value {
    /// Where it is, for logs and exclusions: `query.q`, `json-body.items[].text`. Characters that names seldom have appear as `?`,
    /// so that no attack is repeated in a log.
    pub fn location(&self) -> String {
        let mut location = self.kind.name().to_owned();
        if !self.name.is_empty() {
            location.push('.');
            let safe = |c: char| c.is_ascii_alphanumeric() || "_-.[]:$@*".contains(c);
            location.extend(self.name.chars().take(128).map(|c| if safe(c) { c } else { '?' }));
        }
        location
    }
}

/// A request as the rules see it.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Path, percent-encoded.
    pub path: String,
    /// Query without `?`.
    pub query: String,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Client address.
    pub client_address: String,
    /// The body; empty without one.
    pub body: Vec<u8>,
}

impl Request {
    /// A header field as text, in lower case, without parameters after `;`. With several lines `*`: servers differ in which they take.
    fn token(&self, name: &str) -> Option<String> {
        let mut lines = self
            .headers
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, value)| value);
        let value = lines.next()?;
        if lines.next().is_some() {
            return Some("*".to_owned());
        }
        let value = value
            .split(|b| *b == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        Some(String::from_utf8_lossy(value).to_ascii_lowercase())
    }

    /// True if the body is in a content coding and cannot be looked into.
    pub fn is_encoded(&self) -> bool {
        !self.body.is_empty()
            && self
                .token("content-encoding")
                .is_some_and(|coding| !coding.is_empty() && coding != "identity")
    }
}

/// The values of a request that any of the fields covers.
pub fn values(request: &Request, fields: &[Field]) -> Vec<Value> {
    let mut values = Collector {
        fields,
        single: Vec::new(),
        joined: Vec::new(),
    };
    values.push(Kind::Method, "", false, false, request.method.as_bytes());
    values.push(Kind::Path, "", false, true, request.path.as_bytes());
    values.push(
        Kind::ClientAddress,
        "",
        false,
        false,
        request.client_address.as_bytes(),
    );
    values.push(Kind::RawQuery, "", false, false, request.query.as_bytes());
    values.pairs(Kind::Query, request.query.as_bytes());
    for (name, value) in &request.headers {
        values.push(
            Kind::Header,
            name,
            false,
            ANY_HEADERS.contains(&name.as_str()),
            value,
        );
        if name == "cookie" {
            for (name, value) in cookies(value) {
                let text = String::from_utf8_lossy(name);
                values.push(Kind::Cookie, &text, true, true, name);
                values.push(Kind::Cookie, &text, false, true, value);
            }
        }
    }
    if fields.iter().any(Field::needs_body) && !request.body.is_empty() && !request.is_encoded() {
        body_values(request, &mut values);
    }
    values.single.append(&mut values.joined);
    values.single
}

/// Collects what a field covers. Above `MAX_SINGLE_VALUES`, values are joined, except those that a rule asks for by name.
struct Collector<'a> {
    fields: &'a [Field],
    single: Vec<Value>,
    joined: Vec<Value>,
}

impl Collector<'_> {
    fn push(&mut self, kind: Kind, name: &str, is_name: bool, in_any: bool, data: &[u8]) {
        let covering = |field: &&Field| match field {
            Field::Any => in_any,
            Field::Of(of, wanted) => {
                *of == kind && wanted.as_ref().is_none_or(|wanted| !is_name && wanted == name)
            }
        };
        let mut covering = self.fields.iter().filter(covering).peekable();
        let may_be_empty = !is_name
            && matches!(
                kind,
                Kind::Query | Kind::Header | Kind::Cookie | Kind::Json | Kind::Form
            );
        if (data.is_empty() && !may_be_empty) || covering.peek().is_none() {
            return;
        }
        if self.single.len() < MAX_SINGLE_VALUES
            || covering.any(|field| matches!(field, Field::Of(_, Some(_))))
        {
            self.single.push(Value {
                kind,
                name: name.to_owned(),
                is_name,
                in_any,
                data: data.to_vec(),
            });
        } else if let Some(into) = self
            .joined
            .iter_mut()
            .find(|into| into.kind == kind && into.in_any == in_any)
        {
            into.data.push(b'\n');
            into.data.extend_from_slice(data);
        } else {
            self.joined.push(Value {
                kind,
                name: "*".to_owned(),
                is_name: true,
                in_any,
                data: data.to_vec(),
            });
        }
    }

    /// `name=value` pairs of a query or an urlencoded body, decoded once.
    fn pairs(&mut self, kind: Kind, input: &[u8]) {
        for pair in input.split(|b| *b == b'&').filter(|pair| !pair.is_empty()) {
            let (name, value) = split_at_byte(pair, b'=');
            let name = url_decode(name, false);
            let text = String::from_utf8_lossy(&name);
            self.push(kind, &text, true, true, &name);
            self.push(kind, &text, false, true, &url_decode(value, false));
        }
    }
}

/// The readings of the body. What it is said to be decides, but a JSON text is also read as such under any other type, because
/// many frameworks do.
fn body_values(request: &Request, values: &mut Collector<'_>) {
    let content_type = request.token("content-type").unwrap_or_default();
    let is_json =
        content_type == "application/json" || content_type == "text/json" || content_type.ends_with("+json");
    let looks_like_json = matches!(request.body.trim_ascii_start().first(), Some(b'{' | b'['));
    let structured = if is_json || looks_like_json {
        // when it turns out to be no JSON, the raw body is looked at instead
        body::json_leaves(&request.body, &mut |path, is_key, text| {
            values.push(Kind::Json, path, is_key, true, text.as_bytes())
        })
    } else if content_type == "application/x-www-form-urlencoded" || content_type.is_empty() {
        values.pairs(Kind::Form, &request.body);
        true
    } else {
        false
    };
    let binary = ["image/", "audio/", "video/", "font/"]
        .iter()
        .any(|prefix| content_type.starts_with(prefix))
        || [
            "application/octet-stream",
            "application/pdf",
            "application/zip",
            "application/gzip",
        ]
        .contains(&content_type.as_str());
    values.push(Kind::Body, "", false, !structured && !binary, &request.body);
}

fn cookies(header: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    header
        .split(|b| *b == b';')
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty())
        .map(|pair| split_at_byte(pair, b'='))
}

fn split_at_byte(input: &[u8], byte: u8) -> (&[u8], &[u8]) {
    input
        .iter()
        .position(|b| *b == byte)
        .map_or((input, &[]), |at| (&input[..at], &input[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(request: &Request, fields: &[&str]) -> Vec<(String, String)> {
        let fields: Vec<Field> = fields.iter().map(|f| Field::parse(f).unwrap()).collect();
        values(request, &fields)
            .iter()
            .map(|v| (v.location(), String::from_utf8_lossy(&v.data).into_owned()))
            .collect()
    }

    fn pair(location: &str, data: &str) -> (String, String) {
        (location.to_owned(), data.to_owned())
    }

    #[test]
    fn every_field_name_is_read_and_others_are_refused_by_name() {
        for name in [
            "method",
            "query",
            "query.a.b",
            "header.User-Agent",
            "json-body.a[].b",
            "cookies",
            "any",
        ] {
            assert!(Field::parse(name).is_ok(), "{name}");
        }
        assert_eq!(
            Field::parse("header.User-Agent").unwrap(),
            Field::Of(Kind::Header, Some("user-agent".to_owned()))
        );
        for name in ["", "header", "cookie", "query.", "path.x", "headers.x", "Body"] {
            assert!(
                Field::parse(name).unwrap_err().contains(&format!("`{name}`")),
                "{name}"
            );
        }
    }

    #[test]
    fn query_and_cookies_give_names_and_values() {
        let request = Request {
            query: "q=a%20b&empty=&x%5B%5D=1&&flag".to_owned(),
            headers: vec![("cookie".to_owned(), b"s=1; theme=dark".to_vec())],
            ..Request::default()
        };
        assert_eq!(found(&request, &["query.q"]), [pair("query.q", "a b")]);
        let all = found(&request, &["query"]);
        assert_eq!(all[0], pair("query.q", "q"));
        assert!(all.contains(&pair("query.x[]", "1")) && all.contains(&pair("query.flag", "flag")));
        assert_eq!(found(&request, &["cookie.theme"]), [pair("cookie.theme", "dark")]);
    }

    #[test]
    fn a_body_is_read_as_what_it_is() {
        let with = |content_type: &str, body: &str| Request {
            headers: vec![("content-type".to_owned(), content_type.as_bytes().to_vec())],
            body: body.as_bytes().to_vec(),
            ..Request::default()
        };
        let json = with("application/json; charset=utf-8", r#"{"a":{"b":["x"]}}"#);
        assert_eq!(found(&json, &["json-body.a.b[]"]), [pair("json-body.a.b[]", "x")]);
        assert!(
            !found(&json, &["any"])
                .iter()
                .any(|(location, _)| location == "body"),
            "read once, not twice"
        );
        assert!(
            found(&with("text/plain", r#"{"a":"x"}"#), &["json-body"]).contains(&pair("json-body.a", "x"))
        );
        assert_eq!(
            found(
                &with("application/x-www-form-urlencoded", "a=%3Cb"),
                &["form-body.a"]
            ),
            [pair("form-body.a", "<b")]
        );
        assert!(found(&with("application/json", "{broken"), &["any"]).contains(&pair("body", "{broken")));
        assert!(
            !found(&with("image/png", "abc"), &["any"])
                .iter()
                .any(|(location, _)| location == "body")
        );
        assert_eq!(found(&with("image/png", "abc"), &["body"]), [pair("body", "abc")]);
    }

    #[test]
    fn a_second_content_type_or_coding_hides_nothing() {
        let lines = |name: &str, values: [&str; 2]| Request {
            headers: values
                .iter()
                .map(|value| (name.to_owned(), value.as_bytes().to_vec()))
                .collect(),
            body: b"a=%3Cb".to_vec(),
            ..Request::default()
        };
        let types = lines("content-type", ["image/png", "application/x-www-form-urlencoded"]);
        assert!(found(&types, &["any"]).contains(&pair("body", "a=%3Cb")));
        assert!(lines("content-encoding", ["identity", "gzip"]).is_encoded());
    }

    #[test]
    fn names_do_not_carry_attacks_into_logs() {
        let request = Request {
            query: "%3Cscript%3Ealert(1)=1".to_owned(),
            ..Request::default()
        };
        assert_eq!(found(&request, &["query"])[0].0, "query.?script?alert?1?");
    }

    #[test]
    fn many_values_are_joined_but_named_ones_stay_findable() {
        let query = (0..2000)
            .map(|i| format!("k{i}=v{i}"))
            .collect::<Vec<_>>()
            .join("&")
            + "&id=evil";
        let request = Request {
            query,
            ..Request::default()
        };
        let found = found(&request, &["query", "query.id"]);
        assert!(found.len() <= MAX_SINGLE_VALUES + 2, "{}", found.len());
        assert!(found.contains(&pair("query.id", "evil")));
        assert!(found.last().unwrap().1.contains("v1999"));
    }
}
