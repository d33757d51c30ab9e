//! Requests in a text file, as `plugin try` and `plugin test` run them.
//!
//! ```text
//! ### name of the first case
//! # expect: 403
//! POST https://api.example/pets?q=1
//! content-type: text/plain
//!
//! the body, up to the next `###` or the end
//! ```
//! Lines that begin with `#` before the request line are comments, except the settings in [`directive`].

use anyhow::{Context as _, bail};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use serde_json::Value;

/// One request and what is expected of it.
#[derive(Debug)]
pub(crate) struct Case {
    /// Text after `###`, or the request line.
    pub(crate) name: String,
    pub(crate) method: Method,
    /// With host; its scheme is `https` when the file does not say `http`.
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// Pattern of the route, for path parameters.
    pub(crate) route: Option<String>,
    /// What the upstream answers.
    pub(crate) response: Response,
    pub(crate) expect: Vec<Expectation>,
}

/// The upstream's answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// What is expected.
#[derive(Debug, PartialEq)]
pub(crate) enum Expectation {
    /// The request goes to the upstream.
    Pass,
    /// The client gets this status.
    Status(u16),
    /// The upstream gets this field; without it when the value is empty.
    RequestHeader(String, String),
    /// The client gets this field; without it when the value is empty.
    ResponseHeader(String, String),
    /// The upstream gets a body that contains this.
    RequestBody(String),
    /// The client gets a body that contains this.
    ResponseBody(String),
}

/// Reads a file of cases.
///
/// # Errors
/// What is wrong, with the line.
pub(crate) fn parse(text: &str) -> anyhow::Result<Vec<Case>> {
    let mut cases = Vec::new();
    let (mut name, mut first, mut lines) = (String::new(), 1, Vec::new());
    let end = text.lines().count() + 1;
    for (number, line) in (1..).zip(text.lines().chain(["###"])) {
        let Some(title) = line.strip_prefix("###") else {
            lines.push(line);
            continue;
        };
        if lines.iter().any(|line| !line.trim().is_empty()) {
            let case = one(&name, &lines).with_context(|| format!("request that begins at line {first}"))?;
            cases.push(case);
        } else if number < end && !name.is_empty() {
            bail!("line {first}: nothing follows `### {name}`");
        }
        name = title.trim().to_owned();
        first = number + 1;
        lines.clear();
    }
    if cases.is_empty() {
        bail!("there is no request");
    }
    Ok(cases)
}

fn one(name: &str, lines: &[&str]) -> anyhow::Result<Case> {
    let at = lines
        .iter()
        .position(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .context("there is no request line")?;
    let (before, rest) = lines.split_at(at);
    let (line, rest) = rest.split_first().context("there is no request line")?;
    let blank = rest
        .iter()
        .position(|line| line.trim().is_empty())
        .unwrap_or(rest.len());
    let (fields, body) = rest.split_at(blank);
    let mut headers = HeaderMap::new();
    for field in fields {
        let (name, value) = header(field)?;
        headers.append(name, value);
    }
    let mut words = line.split_whitespace();
    let method = words.next().unwrap_or_default();
    let method: Method = method
        .parse()
        .with_context(|| format!("`{method}` is not a method"))?;
    let target = words.next().with_context(|| format!("`{line}` has no target"))?;
    let mut body = body.get(1..).unwrap_or_default().join("\n");
    body.truncate(body.trim_end_matches('\n').len());
    let mut case = Case {
        name: if name.is_empty() {
            (*line).to_owned()
        } else {
            name.to_owned()
        },
        method,
        uri: absolute(target, &headers)?,
        headers,
        body: body.into_bytes(),
        route: None,
        response: Response {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: b"ok".to_vec(),
        },
        expect: Vec::new(),
    };
    for line in before.iter().filter_map(|line| line.strip_prefix('#')) {
        directive(&mut case, line.trim()).with_context(|| format!("`#{line}`"))?;
    }
    Ok(case)
}

/// The settings that a comment can be. Comments that look like one and are none are errors: they would expect nothing.
fn directive(case: &mut Case, line: &str) -> anyhow::Result<()> {
    let Some((key, value)) = line.split_once(':') else {
        return Ok(());
    };
    let value = value.trim();
    let field = || -> anyhow::Result<(String, String)> {
        let (name, value) = value.split_once(':').context("write `name: value`")?;
        Ok((name.trim().to_lowercase(), value.trim().to_owned()))
    };
    match key.trim() {
        "route" => case.route = Some(value.to_owned()),
        "response" => case.response.status = value.parse().context("not a status")?,
        "response-header" => {
            let (name, value) = header(value)?;
            case.response.headers.append(name, value);
        }
        "response-body" => case.response.body = value.as_bytes().to_vec(),
        "expect" if value == "pass" => case.expect.push(Expectation::Pass),
        "expect" => {
            let status = value
                .parse::<u16>()
                .ok()
                .filter(|status| (200..600).contains(status));
            case.expect
                .push(Expectation::Status(status.context("write `pass` or a status")?));
        }
        "expect-request-header" => {
            let (name, value) = field()?;
            case.expect.push(Expectation::RequestHeader(name, value));
        }
        "expect-response-header" => {
            let (name, value) = field()?;
            case.expect.push(Expectation::ResponseHeader(name, value));
        }
        "expect-request-body" => case.expect.push(Expectation::RequestBody(value.to_owned())),
        "expect-response-body" => case.expect.push(Expectation::ResponseBody(value.to_owned())),
        other if other.starts_with("expect") || other.starts_with("response") => {
            bail!("there is no setting `{other}`")
        }
        _ => {}
    }
    Ok(())
}

fn header(line: &str) -> anyhow::Result<(HeaderName, HeaderValue)> {
    let (name, value) = line
        .split_once(':')
        .with_context(|| format!("`{line}` is no header field"))?;
    let name = name
        .trim()
        .parse()
        .with_context(|| format!("`{name}` is no field name"))?;
    let value =
        HeaderValue::from_bytes(value.trim().as_bytes()).with_context(|| format!("value of `{line}`"))?;
    Ok((name, value))
}

fn absolute(target: &str, headers: &HeaderMap) -> anyhow::Result<Uri> {
    let full = if target.starts_with('/') {
        let host = headers
            .get(http::header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or("localhost");
        format!("https://{host}{target}")
    } else {
        target.to_owned()
    };
    let uri: Uri = full
        .parse()
        .with_context(|| format!("`{target}` is not a URL or path"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.authority().is_none() {
        bail!("`{target}` is not an http or https URL");
    }
    Ok(uri)
}

impl Case {
    /// As JSON, for reports.
    pub(crate) fn line(&self) -> Value {
        format!("{} {}", self.method, self.uri).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_cases_is_read() {
        let cases = parse(
            "
# a comment: about nothing
GET /pets?q=1
host: api.example

### second
# route: /pets/{id}
# response: 404
# response-header: server: x
# expect: pass
# expect-request-header: X-A: b:c
# expect-response-header: server:
POST http://other.example/pets/7 HTTP/1.1
content-type: text/plain

line one

line two

",
        )
        .unwrap();
        assert_eq!(cases.len(), 2);
        assert_eq!(cases[0].uri, "https://api.example/pets?q=1");
        assert_eq!(cases[0].name, "GET /pets?q=1");
        let second = &cases[1];
        assert_eq!(second.name, "second");
        assert_eq!(second.body, b"line one\n\nline two");
        assert_eq!(second.route.as_deref(), Some("/pets/{id}"));
        assert_eq!(second.response.status, 404);
        let expected = [
            Expectation::Pass,
            Expectation::RequestHeader("x-a".into(), "b:c".into()),
            Expectation::ResponseHeader("server".into(), String::new()),
        ];
        assert_eq!(second.expect, expected);
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, expected) in [
            ("", "no request"),
            ("###\n# expect: yes\nGET /", "line 2"),
            (
                "# expct: 200\n# expect-status: 200\nGET /",
                "no setting `expect-status`",
            ),
            ("GET", "no target"),
            ("GET /\nbroken", "no header field"),
            ("GET ftp://x/", "not an http"),
            ("### a\n### b\nGET /", "nothing follows"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
