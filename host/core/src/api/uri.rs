//! Addresses of integrations: stage variables are filled in when a stage is built, path parameters with each request. The host is known before any
//! request comes, so that no request chooses whom the gateway talks to.

use std::collections::BTreeMap;

use http::uri::Authority;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::normalize::is_dot_segment;

/// Characters of a path segment that are written encoded (RFC 3986 section 3.3).
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// An address without stage variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// With TLS.
    pub https: bool,
    /// Host, and port if one is written.
    pub authority: String,
    /// Host without port and brackets.
    pub host: String,
    /// The port; that of the scheme where none is written.
    pub port: u16,
    /// The path, if there is one.
    pub path: Option<PathTemplate>,
    /// What stands behind `?`.
    pub query: Option<String>,
}

/// A path with parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Parameter(String),
}

/// What is put in place of a path parameter.
#[derive(Clone, Debug)]
pub enum Filling<'a> {
    /// A part of a path in normal form: stays as it is, slashes too.
    Raw(&'a str),
    /// Any text: is encoded.
    Text(String),
}

/// Why a path cannot be made of a template and a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FillError {
    /// A parameter has no value.
    #[error("path parameter `{0}` has no value")]
    Missing(String),
    /// A value would lead elsewhere.
    #[error("the value of path parameter `{0}` is no part of a path")]
    Unsafe(String),
}

/// Puts stage variables in: `${stageVariables.name}`, `${stageVariables['name']}`.
///
/// # Errors
/// Names of variables that are not there.
pub fn with_variables(text: &str, variables: &BTreeMap<String, String>) -> Result<String, Vec<String>> {
    let (mut out, mut missing) = (String::new(), Vec::new());
    let mut rest = text;
    while let Some(at) = rest.find("${stageVariables") {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let Some(end) = from.find('}') else {
            rest = from;
            break;
        };
        let inside = &from["${stageVariables".len()..end];
        let name = inside
            .strip_prefix('.')
            .or_else(|| inside.strip_prefix("['")?.strip_suffix("']"))
            .or_else(|| inside.strip_prefix("[\"")?.strip_suffix("\"]"))
            .unwrap_or(inside);
        match variables.get(name) {
            Some(value) => out.push_str(value),
            None => missing.push(name.to_owned()),
        }
        rest = &from[end + 1..];
    }
    out.push_str(rest);
    if missing.is_empty() { Ok(out) } else { Err(missing) }
}

/// Names of the stage variables in a text.
#[must_use]
pub fn variables_in(text: &str) -> Vec<String> {
    with_variables(text, &BTreeMap::new()).err().unwrap_or_default()
}

impl Address {
    /// Parses an address in which stage variables were filled in.
    ///
    /// # Errors
    /// What is wrong, for the operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}` {why}");
        let (https, rest) = if let Some(rest) = text.strip_prefix("https://") {
            (true, rest)
        } else if let Some(rest) = text.strip_prefix("http://") {
            (false, rest)
        } else {
            return Err(wrong("does not begin with `http://` or `https://`"));
        };
        if text.contains('#') {
            return Err(wrong("has a fragment, which is never sent"));
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('{') {
            return Err(wrong(
                "has a parameter in its host: only stage variables can be there, so that no request chooses the server",
            ));
        }
        let parsed: Authority = authority.parse().map_err(|_ignored| wrong("has no host"))?;
        if authority.contains('@') {
            return Err(wrong("has a user name, which is never sent"));
        }
        let host = parsed
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let port = match &authority[parsed.host().len()..] {
            "" => {
                if https {
                    443
                } else {
                    80
                }
            }
            port => port
                .strip_prefix(':')
                .filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|port| port.parse().ok())
                .filter(|port| *port != 0)
                .ok_or_else(|| wrong("has a port that is none"))?,
        };
        if host.is_empty() {
            return Err(wrong("has no host"));
        }
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        if query.as_deref().is_some_and(|query| query.contains(['{', '}'])) {
            return Err(wrong("has a parameter in its query: use `request-parameters`"));
        }
        let path = if path.is_empty() {
            None
        } else {
            Some(PathTemplate::parse(path)?)
        };
        Ok(Self {
            https,
            authority: authority.to_owned(),
            host,
            port,
            path,
            query: query.filter(|query| !query.is_empty()),
        })
    }
}

impl PathTemplate {
    fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let end = from
                .find('}')
                .ok_or_else(|| format!("`{text}` has a `{{` without `}}`"))?;
            let name = from[1..end].trim_end_matches('+');
            if name.is_empty() {
                return Err(format!("`{text}` has a parameter without a name"));
            }
            parts.push(Part::Parameter(name.to_owned()));
            rest = &from[end + 1..];
        }
        if rest.contains('}') {
            return Err(format!("`{text}` has a `}}` without `{{`"));
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        let valid = |part: &Part| match part {
            Part::Text(text) => {
                text.parse::<http::uri::PathAndQuery>().is_ok()
                    || !text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic())
            }
            Part::Parameter(_) => true,
        };
        if !parts.iter().all(valid) {
            return Err(format!("`{text}` is no path"));
        }
        Ok(Self { parts })
    }

    /// Names of the parameters.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Parameter(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// Fills the parameters in.
    ///
    /// # Errors
    /// A parameter has no value, or one that would lead to another place than the template says.
    pub fn fill<'a>(&self, value: impl Fn(&str) -> Option<Filling<'a>>) -> Result<String, FillError> {
        let mut path = String::new();
        let mut last = "";
        for part in &self.parts {
            match part {
                Part::Text(text) => path.push_str(text),
                Part::Parameter(name) => {
                    last = name;
                    match value(name).ok_or_else(|| FillError::Missing(name.clone()))? {
                        Filling::Raw(raw) => path.push_str(raw),
                        Filling::Text(text) if text.contains(['/', '\\', '\0']) => {
                            return Err(FillError::Unsafe(name.clone()));
                        }
                        Filling::Text(text) => path.extend(utf8_percent_encode(&text, SEGMENT)),
                    }
                }
            }
        }
        if !last.is_empty() && path.split('/').any(is_dot_segment) {
            return Err(FillError::Unsafe(last.to_owned()));
        }
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stage_variables_are_filled_in_or_named() {
        let variables = BTreeMap::from([("host".to_owned(), "a.example".to_owned())]);
        let fill = |text| with_variables(text, &variables);
        assert_eq!(
            fill("https://${stageVariables.host}/x").unwrap(),
            "https://a.example/x"
        );
        assert_eq!(
            fill("https://${stageVariables['host']}/x").unwrap(),
            "https://a.example/x"
        );
        assert_eq!(
            fill("http://${stageVariables.none}/${stageVariables.n2}").unwrap_err(),
            ["none", "n2"]
        );
        assert_eq!(
            fill("http://a/${stageVariables").unwrap(),
            "http://a/${stageVariables"
        );
    }

    #[test]
    fn addresses_have_a_host_that_no_request_chooses() {
        let address = Address::parse("https://api.example.com/v1/pets/{id}?x=1").unwrap();
        assert_eq!(
            (address.https, address.port, &*address.host),
            (true, 443, "api.example.com")
        );
        assert_eq!(address.path.unwrap().parameters().collect::<Vec<_>>(), ["id"]);
        assert_eq!(address.query.as_deref(), Some("x=1"));
        let bare = Address::parse("http://[::1]:8080").unwrap();
        assert_eq!((bare.port, &*bare.host, bare.path), (8080, "::1", None));
        for bad in [
            "ftp://a/",
            "http://",
            "http:///x",
            "http://{host}/",
            "http://u@a/",
            "http://a:0/",
            "http://a:x/",
            "http://a/{",
            "http://a/}",
            "http://a/{}",
            "http://a/?q={x}",
            "http://a/#f",
            "http://a/a b",
            "lambda:x",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_stay_in_their_segment() {
        let template = Address::parse("http://a/pets/{id}/x").unwrap().path.unwrap();
        let fill = |text: &str| template.fill(|_| Some(Filling::Text(text.to_owned())));
        assert_eq!(fill("7 ü%").unwrap(), "/pets/7%20%C3%BC%25/x");
        for bad in ["..", ".", "a/b", "..\\x", "\0"] {
            assert_eq!(fill(bad), Err(FillError::Unsafe("id".into())), "{bad}");
        }
        assert_eq!(
            template.fill(|_| Some(Filling::Raw("a%2Fb/c"))).unwrap(),
            "/pets/a%2Fb/c/x"
        );
        assert_eq!(template.fill(|_| None), Err(FillError::Missing("id".into())));
        let two = Address::parse("http://a/{x}{y}").unwrap().path.unwrap();
        assert!(two.fill(|_| Some(Filling::Text(".".into()))).is_err());
        // an empty value is no other segment
        assert_eq!(fill("").unwrap(), "/pets//x");
    }
}
