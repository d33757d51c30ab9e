//! Parameter mappings: where a value comes from, and where it goes. One language for the forms of REST APIs (`method.request.header.x`, `'text'`), of
//! HTTP APIs (`$request.header.x`, `${context.requestId}/x`) and of gateway responses (`$context.error.messageString`). Parsed when an API is
//! deployed; [`Facts`] give the values of a request.

use http::HeaderName;
use serde_json::Value as Json;

/// Most steps of a path into a JSON body.
const STEPS_MAX: usize = 32;

/// The values of one exchange.
pub trait Facts {
    /// Values of a request header field, in order.
    fn request_headers(&self, name: &str) -> Vec<String>;
    /// Values of a query parameter, decoded, in order.
    fn query(&self, name: &str) -> Vec<String>;
    /// A path parameter, decoded.
    fn path_parameter(&self, name: &str) -> Option<String>;
    /// The request's path.
    fn path(&self) -> String;
    /// The request's body, as far as it was read.
    fn request_body(&self) -> &[u8];
    /// Values of a response header field, in order.
    fn response_headers(&self, name: &str) -> Vec<String>;
    /// The response's body, as far as it was read.
    fn response_body(&self) -> &[u8];
    /// A variable such as `requestId` or `identity.sourceIp`.
    fn context(&self, name: &str) -> Option<String>;
    /// A stage variable.
    fn stage_variable(&self, name: &str) -> Option<String>;
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A request header field; with `true` all of its values.
    RequestHeader(String, bool),
    /// A query parameter; with `true` all of its values.
    Query(String, bool),
    /// A path parameter.
    PathParameter(String),
    /// The request's path.
    Path,
    /// The request's body, or a place in it.
    RequestBody(Vec<Step>),
    /// A response header field; with `true` all of its values.
    ResponseHeader(String, bool),
    /// The response's body, or a place in it.
    ResponseBody(Vec<Step>),
    /// A variable.
    Context(String),
    /// A stage variable.
    StageVariable(String),
}

/// A step into a JSON document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A member.
    Member(String),
    /// An element; from the end when negative.
    Element(i64),
}

/// A text with values in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Source(Source),
}

/// Where a value goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A header field.
    Header(HeaderName),
    /// A query parameter.
    Query(String),
    /// A parameter of the integration's path.
    PathParameter(String),
    /// The whole path.
    Path,
    /// The response's status.
    Status,
}

/// What is done there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The value is added to what is there.
    Append,
    /// It replaces what is there.
    Overwrite,
    /// What is there goes.
    Remove,
}

/// One mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Where.
    pub place: Place,
    /// What.
    pub action: Action,
    /// From what.
    pub value: Value,
}

/// Header fields that belong to the connection or to the gateway: no mapping may write them.
fn is_reserved(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "content-length"
            | "expect"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "x-amzn-trace-id"
            | "x-amzn-apigateway-api-id"
            | "x-request-id"
            | "forwarded"
            | "x-forwarded-for"
            | "x-forwarded-host"
            | "x-forwarded-proto"
            | "via"
    )
}

/// Header fields that HTTP APIs of AWS do not let be mapped to, beside those of [`is_reserved`].
fn is_reserved_by_http_apis(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let beginnings = ["access-control-", "apigw-", "x-amz-", "x-amzn-"];
    beginnings.iter().any(|begin| name.starts_with(begin))
        || matches!(
            &*name,
            "authorization"
                | "content-encoding"
                | "content-location"
                | "origin"
                | "proxy-authenticate"
                | "proxy-authorization"
        )
}

impl Mapping {
    /// Parses a mapping of a request: `integration.request.header.x` (REST), or `append:header.x`, `overwrite:path`, `remove:querystring.y` (HTTP).
    ///
    /// # Errors
    /// What is wrong, for the operator.
    pub fn request(key: &str, value: &str) -> Result<Self, String> {
        if let Some(rest) = key.strip_prefix("integration.request.") {
            let (place, action) = match rest.split_once('.') {
                Some(("header", name)) => (header(name)?, Action::Overwrite),
                Some(("querystring", name)) => (Place::Query(name.to_owned()), Action::Append),
                Some(("path", name)) => (Place::PathParameter(name.to_owned()), Action::Overwrite),
                _ => {
                    return Err(format!(
                        "`{key}` is not `integration.request.header|querystring|path.NAME`"
                    ));
                }
            };
            return Self {
                place,
                action,
                value: Value::rest(value, "method.request.")?,
            }
            .of_request(key);
        }
        Self::by_action(key, value, "path")?.of_request(key)
    }

    /// The server is told which host it is by the API, never by a request: it may serve others.
    fn of_request(self, key: &str) -> Result<Self, String> {
        let is_host = matches!(&self.place, Place::Header(name) if name == http::header::HOST);
        let fixed = self
            .value
            .sources()
            .all(|source| matches!(source, Source::StageVariable(_)));
        if is_host && !(fixed && self.action == Action::Overwrite) {
            return Err(format!(
                "`{key}` can only be overwritten, with a text or a stage variable"
            ));
        }
        Ok(self)
    }

    /// Parses a mapping of a response: `method.response.header.x` (REST), or `append:header.x`, `overwrite:statuscode` (HTTP).
    ///
    /// # Errors
    /// What is wrong, for the operator.
    pub fn response(key: &str, value: &str) -> Result<Self, String> {
        if let Some(rest) = key.strip_prefix("method.response.") {
            let Some(("header", name)) = rest.split_once('.') else {
                return Err(format!("`{key}` is not `method.response.header.NAME`"));
            };
            return Ok(Self {
                place: header(name)?,
                action: Action::Overwrite,
                value: Value::rest(value, "integration.response.")?,
            });
        }
        Self::by_action(key, value, "statuscode")
    }

    /// Parses a header field of a gateway response.
    ///
    /// # Errors
    /// What is wrong, for the operator.
    pub fn gateway_response(key: &str, value: &str) -> Result<Self, String> {
        Ok(Self {
            place: header(key.strip_prefix("gatewayresponse.header.").unwrap_or(key))?,
            action: Action::Overwrite,
            value: Value::rest(value, "method.request.")?,
        })
    }

    /// The same mapping, if all variables that it names are some. What was deployed before may name others, which are empty.
    ///
    /// # Errors
    /// There is none of a name.
    pub fn checked(self) -> Result<Self, String> {
        for source in self.value.sources() {
            if let Source::Context(name) = source {
                super::context::check(name)?;
            }
        }
        Ok(self)
    }

    fn by_action(key: &str, value: &str, other: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{key}` is not `append|overwrite|remove:header|querystring.NAME` or `overwrite:{other}`")
        };
        let (action, place) = key.split_once(':').ok_or_else(wrong)?;
        let action = match action {
            "append" => Action::Append,
            "overwrite" => Action::Overwrite,
            "remove" => Action::Remove,
            _ => return Err(wrong()),
        };
        let place = match place.split_once('.') {
            Some(("header", name)) if is_reserved_by_http_apis(name) => {
                return Err(format!("`{name}` is reserved and cannot be mapped to"));
            }
            Some(("header", name)) => header(name)?,
            Some(("querystring", name)) if other == "path" => Place::Query(name.to_owned()),
            None if place == other && action == Action::Overwrite => {
                if other == "path" {
                    Place::Path
                } else {
                    Place::Status
                }
            }
            _ => return Err(wrong()),
        };
        let value = match action {
            Action::Remove => Value::default(),
            Action::Append | Action::Overwrite => Value::http(value)?,
        };
        Ok(Self { place, action, value })
    }
}

/// A field that mappings and templates may write: none of the connection or the gateway.
///
/// # Errors
/// What is wrong with it.
pub fn writable_field(name: &str) -> Result<HeaderName, String> {
    let parsed = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_ignored| format!("`{name}` is not a field name"))?;
    if is_reserved(&parsed) {
        return Err(format!(
            "`{name}` belongs to the connection or the gateway and cannot be mapped to"
        ));
    }
    Ok(parsed)
}

fn header(name: &str) -> Result<Place, String> {
    writable_field(name).map(Place::Header)
}

impl Value {
    /// The form of REST APIs: one source behind `prefix` (`method.request.` or `integration.response.`), `context.x`, `stageVariables.x` or `'text'`.
    ///
    /// # Errors
    /// What is wrong, for the operator.
    pub fn rest(text: &str, prefix: &str) -> Result<Self, String> {
        if let Some(literal) = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
            return Ok(Self::text(literal));
        }
        let source = match text.strip_prefix(prefix) {
            Some(rest) if prefix == "integration.response." => response_source(rest),
            Some(rest) => request_source(rest, true),
            None => common_source(text),
        };
        let wrong = || {
            format!(
                "`{text}` is no source: write `{prefix}header.NAME`, `context.NAME`, `stageVariables.NAME` or `'text'`"
            )
        };
        Ok(Self {
            parts: vec![Part::Source(source.ok_or_else(wrong)?)],
        })
    }

    /// The form of HTTP APIs: text with `$request.x`, `$response.x`, `$context.x`, `$stageVariables.x`, also as `${...}`.
    ///
    /// # Errors
    /// What is wrong, for the operator.
    pub fn http(text: &str) -> Result<Self, String> {
        let source = |reference: &str| {
            let (root, rest) = reference.split_once('.').unwrap_or((reference, ""));
            match root {
                "request" => request_source(rest, false),
                "response" => response_source(rest),
                _ => common_source(reference),
            }
        };
        let mut value = Self::default();
        scan(text, &mut |piece| match piece {
            Piece::Text(text) => {
                value.push(text);
                Ok(())
            }
            Piece::Reference(_, reference) => {
                let source =
                    source(reference).ok_or_else(|| format!("`${reference}` is no value of a request"))?;
                value.parts.push(Part::Source(source));
                Ok(())
            }
        })?;
        Ok(value)
    }

    /// The form of gateway responses: text with `$context.x`, `$stageVariables.x`, `$method.request.header.x`. What is none of these stays as it is.
    #[must_use]
    pub fn template(text: &str) -> Self {
        let mut value = Self::default();
        let scanned = scan(text, &mut |piece| {
            match piece {
                Piece::Text(text) => value.push(text),
                Piece::Reference(written, reference) => {
                    let source = match reference.strip_prefix("method.request.") {
                        Some(rest) => request_source(rest, true),
                        None => common_source(reference),
                    };
                    match source {
                        Some(source) => value.parts.push(Part::Source(source)),
                        None => value.push(written),
                    }
                }
            }
            Ok(())
        });
        debug_assert!(scanned.is_ok());
        value
    }

    /// Just this text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        let mut value = Self::default();
        value.push(text);
        value
    }

    fn push(&mut self, text: &str) {
        match self.parts.last_mut() {
            Some(Part::Text(before)) => before.push_str(text),
            _ if text.is_empty() => {}
            _ => self.parts.push(Part::Text(text.to_owned())),
        }
    }

    fn sources(&self) -> impl Iterator<Item = &Source> {
        self.parts.iter().filter_map(|part| match part {
            Part::Source(source) => Some(source),
            Part::Text(_) => None,
        })
    }

    /// The path parameter, if it is nothing but one.
    #[must_use]
    pub fn as_path_parameter(&self) -> Option<&str> {
        match &*self.parts {
            [Part::Source(Source::PathParameter(name))] => Some(name),
            _ => None,
        }
    }

    /// Whether the request's body is needed.
    #[must_use]
    pub fn reads_request_body(&self) -> bool {
        self.sources()
            .any(|source| matches!(source, Source::RequestBody(_)))
    }

    /// Whether the response's body is needed.
    #[must_use]
    pub fn reads_response_body(&self) -> bool {
        self.sources()
            .any(|source| matches!(source, Source::ResponseBody(_)))
    }

    /// The values: of one source all that it has, possibly none; of a text with several the text, in which what is missing is empty.
    #[must_use]
    pub fn values(&self, facts: &dyn Facts) -> Vec<String> {
        match &*self.parts {
            [] => vec![String::new()],
            [Part::Source(source)] => source.values(facts),
            parts => vec![parts.iter().fold(String::new(), |mut text, part| {
                match part {
                    Part::Text(part) => text.push_str(part),
                    Part::Source(source) => text.push_str(&source.values(facts).join(",")),
                }
                text
            })],
        }
    }

    /// The same as one text.
    #[must_use]
    pub fn render(&self, facts: &dyn Facts) -> String {
        self.values(facts).join(",")
    }
}

impl Source {
    fn values(&self, facts: &dyn Facts) -> Vec<String> {
        let some = |mut values: Vec<String>, all: bool| {
            if !all && values.len() > 1 {
                // the last one counts, as in AWS's single-value maps
                values.drain(..values.len() - 1);
            }
            values
        };
        match self {
            Self::RequestHeader(name, all) => some(facts.request_headers(name), *all),
            Self::ResponseHeader(name, all) => some(facts.response_headers(name), *all),
            Self::Query(name, all) => some(facts.query(name), *all),
            Self::PathParameter(name) => facts.path_parameter(name).into_iter().collect(),
            Self::Path => vec![facts.path()],
            Self::RequestBody(steps) => json_at(facts.request_body(), steps).into_iter().collect(),
            Self::ResponseBody(steps) => json_at(facts.response_body(), steps).into_iter().collect(),
            Self::Context(name) => facts.context(name).into_iter().collect(),
            Self::StageVariable(name) => facts.stage_variable(name).into_iter().collect(),
        }
    }
}

fn common_source(text: &str) -> Option<Source> {
    let (root, name) = text.split_once('.')?;
    if name.is_empty() {
        return None;
    }
    match root {
        "context" => Some(Source::Context(name.to_owned())),
        "stageVariables" => Some(Source::StageVariable(name.to_owned())),
        _ => None,
    }
}

/// What stands behind `method.request.` (`rest`) or `$request.`.
fn request_source(text: &str, rest: bool) -> Option<Source> {
    let (kind, name) = text.split_once('.').unwrap_or((text, ""));
    let name_of = || (!name.is_empty()).then(|| name.to_owned());
    Some(match kind {
        "header" => Source::RequestHeader(name_of()?, !rest),
        "multivalueheader" if rest => Source::RequestHeader(name_of()?, true),
        "querystring" => Source::Query(name_of()?, !rest),
        "multivaluequerystring" if rest => Source::Query(name_of()?, true),
        "path" if name.is_empty() && !rest => Source::Path,
        "path" => Source::PathParameter(name_of()?),
        "body" => Source::RequestBody(steps(name)?),
        _ => return None,
    })
}

/// What stands behind `integration.response.` or `$response.`.
fn response_source(text: &str) -> Option<Source> {
    let (kind, name) = text.split_once('.').unwrap_or((text, ""));
    let name_of = || (!name.is_empty()).then(|| name.to_owned());
    Some(match kind {
        "header" => Source::ResponseHeader(name_of()?, false),
        "multivalueheader" => Source::ResponseHeader(name_of()?, true),
        "body" => Source::ResponseBody(steps(name)?),
        _ => return None,
    })
}

/// A path into JSON: names, `['names']` and `[0]`; no wildcards and no filters.
pub(super) fn steps(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = path
        .strip_prefix("$.")
        .or_else(|| path.strip_prefix('$'))
        .unwrap_or(path);
    while !rest.is_empty() {
        if steps.len() == STEPS_MAX {
            return None;
        }
        if let Some(inside) = rest.strip_prefix('[') {
            let (index, behind) = inside.split_once(']')?;
            let quoted = index
                .strip_prefix('\'')
                .and_then(|name| name.strip_suffix('\''))
                .or_else(|| index.strip_prefix('"')?.strip_suffix('"'));
            steps.push(match quoted {
                Some(name) => Step::Member(name.to_owned()),
                None => Step::Element(index.parse().ok()?),
            });
            rest = behind;
            if let Some(next) = rest.strip_prefix('.') {
                rest = (!next.is_empty()).then_some(next)?;
            }
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (name, behind) = rest.split_at(end);
            if name.is_empty() || name == "*" {
                return None;
            }
            steps.push(Step::Member(name.to_owned()));
            rest = behind;
            if let Some(next) = rest.strip_prefix('.') {
                rest = (!next.is_empty()).then_some(next)?;
            }
        }
    }
    Some(steps)
}

/// The text of a place in a JSON body: texts as they are, everything else as JSON.
pub(super) fn json_at(body: &[u8], steps: &[Step]) -> Option<String> {
    if steps.is_empty() {
        return Some(String::from_utf8_lossy(body).into_owned());
    }
    let document: Json = serde_json::from_slice(body).ok()?;
    let mut value = &document;
    for step in steps {
        value = match step {
            Step::Member(name) => value.get(name)?,
            Step::Element(index) => {
                let list = value.as_array()?;
                let at = if *index < 0 {
                    list.len()
                        .checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?
                } else {
                    usize::try_from(*index).ok()?
                };
                list.get(at)?
            }
        };
    }
    Some(match value {
        Json::String(text) => text.clone(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => value.to_string(),
    })
}

enum Piece<'t> {
    Text(&'t str),
    /// As written, and what it refers to.
    Reference(&'t str, &'t str),
}

/// Takes a text apart at `$name.name` and `${...}`. A `$` that nothing of that kind follows is text.
fn scan(text: &str, each: &mut dyn FnMut(Piece<'_>) -> Result<(), String>) -> Result<(), String> {
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        each(Piece::Text(before))?;
        let behind = &from[1..];
        if let Some(inside) = behind.strip_prefix('{')
            && let Some(end) = inside.find('}')
        {
            each(Piece::Reference(&from[..end + 3], &inside[..end]))?;
            rest = &inside[end + 1..];
            continue;
        }
        let length = reference_length(behind);
        if length == 0 {
            each(Piece::Text("$"))?;
            rest = behind;
        } else {
            each(Piece::Reference(&from[..=length], &behind[..length]))?;
            rest = &behind[length..];
        }
    }
    each(Piece::Text(rest))
}

/// Bytes of names, dots, indices and quoted names in brackets; a dot at the end belongs to the text.
fn reference_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    if !bytes.first().is_some_and(u8::is_ascii_alphabetic) {
        return 0;
    }
    let mut end = 0;
    while let Some(byte) = bytes.get(end) {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => end += 1,
            b'.' if bytes
                .get(end + 1)
                .is_some_and(|next| next.is_ascii_alphanumeric() || matches!(next, b'_' | b'$')) =>
            {
                end += 1
            }
            b'$' if bytes.get(end.wrapping_sub(1)) == Some(&b'.') => end += 1,
            b'[' => match text[end..].find(']') {
                Some(close) => end += close + 1,
                None => break,
            },
            _ => break,
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Example;

    impl Facts for Example {
        fn request_headers(&self, name: &str) -> Vec<String> {
            match name.to_ascii_lowercase().as_str() {
                "one" => vec!["1".to_owned()],
                "two" => vec!["a".to_owned(), "b".to_owned()],
                _ => Vec::new(),
            }
        }
        fn query(&self, name: &str) -> Vec<String> {
            if name == "q" {
                vec!["x".to_owned(), "y".to_owned()]
            } else {
                Vec::new()
            }
        }
        fn path_parameter(&self, name: &str) -> Option<String> {
            (name == "id").then(|| "7".to_owned())
        }
        fn path(&self) -> String {
            "/pets/7".to_owned()
        }
        fn request_body(&self) -> &[u8] {
            br#"{"a": {"b": [1, "two", {"c": true}]}, "odd.name": "o"}"#
        }
        fn response_headers(&self, name: &str) -> Vec<String> {
            if name == "etag" {
                vec!["\"e\"".to_owned()]
            } else {
                Vec::new()
            }
        }
        fn response_body(&self) -> &[u8] {
            b"plain"
        }
        fn context(&self, name: &str) -> Option<String> {
            match name {
                "requestId" => Some("id-1".to_owned()),
                "error.messageString" => Some("\"no\"".to_owned()),
                _ => None,
            }
        }
        fn stage_variable(&self, name: &str) -> Option<String> {
            (name == "env").then(|| "prod".to_owned())
        }
    }

    #[test]
    fn values_come_from_all_places_in_the_form_of_rest_apis() {
        for (text, values) in [
            ("'literal'", vec!["literal"]),
            ("'it''s'", vec!["it''s"]),
            ("method.request.header.one", vec!["1"]),
            ("method.request.header.two", vec!["b"]),
            ("method.request.multivalueheader.two", vec!["a", "b"]),
            ("method.request.header.none", vec![]),
            ("method.request.querystring.q", vec!["y"]),
            ("method.request.multivaluequerystring.q", vec!["x", "y"]),
            ("method.request.path.id", vec!["7"]),
            ("method.request.body.a.b[1]", vec!["two"]),
            ("method.request.body.$.a.b[2]", vec![r#"{"c":true}"#]),
            ("method.request.body.a.b[-1].c", vec!["true"]),
            ("method.request.body['odd.name']", vec![]),
            ("context.requestId", vec!["id-1"]),
            ("context.nothing", vec![]),
            ("stageVariables.env", vec!["prod"]),
        ] {
            let value = Value::rest(text, "method.request.");
            match value {
                Ok(value) => assert_eq!(value.values(&Example), values, "{text}"),
                Err(_) => assert!(values.is_empty(), "{text}"),
            }
        }
        let etag = Value::rest("integration.response.header.etag", "integration.response.").unwrap();
        assert_eq!(etag.render(&Example), "\"e\"");
        for bad in [
            "header.x",
            "method.request.cookie.x",
            "method.request.header.",
            "",
            "method.request.body.a..b",
        ] {
            assert!(Value::rest(bad, "method.request.").is_err(), "{bad}");
        }
    }

    #[test]
    fn values_are_put_together_in_the_form_of_http_apis() {
        for (text, expected) in [
            ("plain", "plain"),
            ("$request.header.two", "a,b"),
            ("${request.querystring.q}!", "x,y!"),
            ("/v/$stageVariables.env/$request.path.id.", "/v/prod/7."),
            ("$request.path", "/pets/7"),
            ("${context.requestId}-${request.body.a.b[0]}", "id-1-1"),
            ("costs 5 $", "costs 5 $"),
        ] {
            assert_eq!(Value::http(text).unwrap().render(&Example), expected, "{text}");
        }
        assert!(Value::http("$request.cookie.x").is_err());
    }

    #[test]
    fn templates_keep_what_they_do_not_know() {
        let text = "{\"message\":$context.error.messageString, \"p\": \"$method.request.header.one\", \"v\": \"$util.x\", \"c\": \"$5\"}";
        assert_eq!(
            Value::template(text).render(&Example),
            "{\"message\":\"no\", \"p\": \"1\", \"v\": \"$util.x\", \"c\": \"$5\"}"
        );
    }

    #[test]
    fn mappings_name_a_place_and_an_action() {
        let map = |key, value| Mapping::request(key, value).unwrap();
        let place = map("integration.request.querystring.a", "'b'");
        assert_eq!(
            (place.place, place.action),
            (Place::Query("a".into()), Action::Append)
        );
        let place = map("overwrite:path", "/x");
        assert_eq!((place.place, place.action), (Place::Path, Action::Overwrite));
        let place = map("remove:header.x-a", "''");
        assert_eq!(place.action, Action::Remove);
        let status = Mapping::response("overwrite:statuscode", "418").unwrap();
        assert_eq!(status.place, Place::Status);
        for key in [
            "integration.request.header.transfer-encoding",
            "integration.request.header.Content-Length",
            "integration.request.cookie.a",
            "append:header.Via",
            "append:path",
            "overwrite:statuscode",
            "overwrite:header.a b",
            "replace:header.a",
            "append:header.authorization",
            "overwrite:header.X-Amz-Date",
            "append:header.host",
        ] {
            assert!(Mapping::request(key, "'x'").is_err(), "{key}");
        }
        assert!(Mapping::response("overwrite:querystring.x", "y").is_err());
        let host = "integration.request.header.host";
        assert!(Mapping::request(host, "method.request.header.host").is_err());
        assert!(
            Mapping::request(host, "'a.example'").is_ok()
                && Mapping::request(host, "stageVariables.host").is_ok()
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            let _read = Value::http(&text).map(|value| value.render(&Example));
            let _read = Value::rest(&text, "method.request.");
            let _read = Mapping::request(&text, &text);
            // a text without references stays as it is
            if !text.contains('$') {
                prop_assert_eq!(Value::template(&text).render(&Example), text.clone());
            }
            let _rendered = Value::template(&text).render(&Example);
        }
    }
}
