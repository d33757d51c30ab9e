//! Values with variables: `Bearer ${context.login.token}`. Parsed once in `init`; a request only fills in.
//!
//! `$${` stands for `${` itself. A `$` before anything else is a plain character.

use crate::config::Of;

/// Longest template in bytes.
const TEMPLATE_LIMIT: usize = 4096;
/// Longest value that comes out in bytes; upstreams refuse longer header fields.
const VALUE_LIMIT: usize = 8192;

/// The variables, for error messages.
const KNOWN: &str = "request.method, request.scheme, request.host, request.path, request.query, request.query.NAME, \
    request.header.NAME, request.id, path.NAME, context.BINDING.KEY, claims.PATH, principal, route, route.pattern, \
    client.address, response.status, response.header.NAME";

/// Something that differs from request to request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    /// `request.method`
    Method,
    /// `request.scheme`
    Scheme,
    /// `request.host`: host and optional port
    Host,
    /// `request.path`
    Path,
    /// `request.query`: raw, without `?`
    Query,
    /// `request.query.NAME`: decoded
    QueryParam(String),
    /// `request.header.NAME`, `response.header.NAME`: all lines, joined by `, `
    Header(Of, String),
    /// `request.id`
    RequestId,
    /// `path.NAME`: decoded
    PathParam(String),
    /// `context.BINDING.KEY`
    Context {
        /// Namespace: name of the binding that wrote it.
        namespace: String,
        /// Key in the namespace.
        key: String,
    },
    /// `claims.PATH`: names from the outside in
    Claim(Vec<String>),
    /// `principal`
    Principal,
    /// `route`
    Route,
    /// `route.pattern`
    RoutePattern,
    /// `client.address`
    ClientAddress,
    /// `response.status`
    Status,
}

/// Answers what variables stand for.
pub trait Values {
    /// The value of a variable; none when it has none.
    fn value(&mut self, variable: &Variable) -> Option<Vec<u8>>;
}

/// A text with variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(Variable),
}

/// What comes out of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rendered {
    /// A field value.
    Value(Vec<u8>),
    /// A variable had no value; this is the text with nothing in its place.
    Incomplete(Vec<u8>),
    /// The text is no field value; why.
    Unsafe(&'static str),
}

impl Template {
    /// Parses a template for a message.
    ///
    /// # Errors
    /// Names the variable that does not exist or does not exist yet, or what else is wrong.
    pub fn parse(text: &str, of: Of) -> Result<Self, String> {
        if text.len() > TEMPLATE_LIMIT {
            return Err(format!(
                "template of {} bytes exceeds {TEMPLATE_LIMIT}",
                text.len()
            ));
        }
        if text.chars().any(|c| c.is_control() && c != '\t') {
            return Err("a field value cannot have line breaks or control characters".into());
        }
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, from) = rest.split_at(at);
            if let Some(before) = before.strip_suffix('$') {
                plain += before;
                plain += "${";
                rest = &from[2..];
                continue;
            }
            plain += before;
            let Some((name, after)) = from[2..].split_once('}') else {
                return Err(format!("{from:?} has no closing brace"));
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Variable(variable(name, of)?));
            rest = after;
        }
        plain += rest;
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    /// Fills in the variables.
    pub fn render(&self, values: &mut dyn Values) -> Rendered {
        let mut complete = true;
        let mut bytes = Vec::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => bytes.extend_from_slice(text.as_bytes()),
                Part::Variable(variable) => match values.value(variable) {
                    Some(value) => bytes.extend_from_slice(&value),
                    None => complete = false,
                },
            }
            if bytes.len() > VALUE_LIMIT {
                return Rendered::Unsafe("it is longer than 8192 bytes");
            }
        }
        // RFC 9110 section 5.5. Nothing is taken out of the value: what remains could name somebody else.
        if bytes.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Rendered::Unsafe("it has line breaks or control characters");
        }
        let bytes = bytes.trim_ascii().to_vec();
        if complete {
            Rendered::Value(bytes)
        } else {
            Rendered::Incomplete(bytes)
        }
    }
}

fn variable(name: &str, of: Of) -> Result<Variable, String> {
    let unknown = || format!("unknown variable ${{{name}}}; known are {KNOWN}");
    let named = |rest: &str| {
        if rest.is_empty() {
            Err(unknown())
        } else {
            Ok(rest.to_owned())
        }
    };
    let variable = match name {
        "request.method" => Variable::Method,
        "request.scheme" => Variable::Scheme,
        "request.host" => Variable::Host,
        "request.path" => Variable::Path,
        "request.query" => Variable::Query,
        "request.id" => Variable::RequestId,
        "principal" => Variable::Principal,
        "route" => Variable::Route,
        "route.pattern" => Variable::RoutePattern,
        "client.address" => Variable::ClientAddress,
        "response.status" => Variable::Status,
        _ => {
            if let Some(rest) = name.strip_prefix("request.query.") {
                Variable::QueryParam(named(rest)?)
            } else if let Some(rest) = name.strip_prefix("request.header.") {
                Variable::Header(Of::Request, named(rest)?.to_ascii_lowercase())
            } else if let Some(rest) = name.strip_prefix("response.header.") {
                Variable::Header(Of::Response, named(rest)?.to_ascii_lowercase())
            } else if let Some(rest) = name.strip_prefix("path.") {
                Variable::PathParam(named(rest)?)
            } else if let Some(rest) = name.strip_prefix("claims.") {
                Variable::Claim(claim_path(rest).ok_or_else(unknown)?)
            } else if let Some((namespace, key)) = name
                .strip_prefix("context.")
                .and_then(|rest| rest.split_once('.'))
            {
                Variable::Context {
                    namespace: named(namespace)?,
                    key: named(key)?,
                }
            } else {
                return Err(unknown());
            }
        }
    };
    let late = matches!(variable, Variable::Status | Variable::Header(Of::Response, _));
    if late && of == Of::Request {
        return Err(format!(
            "${{{name}}} does not exist yet when the request is changed"
        ));
    }
    Ok(variable)
}

/// `a.b`, or a JSON Pointer (RFC 6901) for names with dots: `/https:~1~1example.com~1role`.
fn claim_path(text: &str) -> Option<Vec<String>> {
    let segments: Vec<String> = match text.strip_prefix('/') {
        Some(pointer) => pointer
            .split('/')
            .map(|part| part.replace("~1", "/").replace("~0", "~"))
            .collect(),
        None => text.split('.').map(str::to_owned).collect(),
    };
    segments
        .iter()
        .all(|segment| !segment.is_empty())
        .then_some(segments)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Knows the method, the query parameter that is asked for by its name, and nothing else.
    struct Known;

    impl Values for Known {
        fn value(&mut self, variable: &Variable) -> Option<Vec<u8>> {
            match variable {
                Variable::Method => Some(b"GET".to_vec()),
                Variable::QueryParam(name) => Some(name.clone().into_bytes()),
                _ => None,
            }
        }
    }

    fn render(text: &str) -> Rendered {
        Template::parse(text, Of::Response).unwrap().render(&mut Known)
    }

    fn value(text: &str) -> Rendered {
        Rendered::Value(text.as_bytes().to_vec())
    }

    #[test]
    fn variables_are_filled_in_and_dollars_stay() {
        assert_eq!(
            render("m=${request.method}; ${request.query.a}"),
            value("m=GET; a")
        );
        assert_eq!(render("$5 $${request.method} $"), value("$5 ${request.method} $"));
        assert_eq!(render("$$${request.method}"), value("$${request.method}"));
        assert_eq!(render(""), value(""));
        assert_eq!(render(" x "), value("x"));
        assert_eq!(render("a${principal}b"), Rendered::Incomplete(b"ab".to_vec()));
    }

    #[test]
    fn values_that_would_split_a_header_do_not_come_out() {
        for name in ["a\r\nx: y", "a\nb", "\0", "\u{7f}"] {
            let template = Template(vec![Part::Variable(Variable::QueryParam(name.into()))]);
            assert!(
                matches!(template.render(&mut Known), Rendered::Unsafe(_)),
                "{name:?}"
            );
        }
        let long = Template(vec![Part::Variable(Variable::QueryParam(
            "x".repeat(VALUE_LIMIT + 1),
        ))]);
        assert!(matches!(long.render(&mut Known), Rendered::Unsafe(_)));
        let utf8 = Template(vec![Part::Variable(Variable::QueryParam("käse\t1".into()))]);
        assert_eq!(utf8.render(&mut Known), value("käse\t1"));
    }

    #[test]
    fn every_documented_variable_parses() {
        for name in KNOWN.split(',').map(str::trim) {
            assert!(
                Template::parse(&format!("${{{name}}}"), Of::Response).is_ok(),
                "{name}"
            );
        }
        let claim = |text| Template::parse(text, Of::Request).unwrap().0.remove(0);
        assert_eq!(
            claim("${claims.a.b}"),
            Part::Variable(Variable::Claim(vec!["a".into(), "b".into()]))
        );
        assert_eq!(
            claim("${claims./x.y~1z}"),
            Part::Variable(Variable::Claim(vec!["x.y/z".into()]))
        );
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text| Template::parse(text, Of::Request).unwrap_err();
        assert!(
            error("a ${request.methd}")
                .starts_with("unknown variable ${request.methd}; known are request.method")
        );
        for text in [
            "${}",
            "${request.query.}",
            "${context.a}",
            "${context..b}",
            "${claims.}",
            "${claims.a..b}",
            "${secret.x}",
        ] {
            assert!(error(text).starts_with("unknown variable"), "{text}");
        }
        assert!(error("x ${request.path").contains("no closing brace"));
        assert!(error("${response.status}").contains("does not exist yet"));
        assert!(error("a\nb").contains("line breaks"));
        assert!(error(&"x".repeat(TEMPLATE_LIMIT + 1)).contains("4097 bytes exceeds 4096"));
    }

    proptest! {
        #[test]
        fn no_template_makes_the_parser_panic(text in "[a-z${}. \\PC]{0,60}") {
            if let Ok(template) = Template::parse(&text, Of::Response) {
                let _rendered = template.render(&mut Known);
            }
        }

        #[test]
        fn text_without_variables_comes_out_as_it_is(text in "[!-#%-~]{1,60}") {
            prop_assert_eq!(render(&text), value(&text));
        }
    }
}
