//! Texts with variables: `order ${path.id} of ${claims.sub}`. The same variables as in the plugin `headers`.

use crate::json::Json;

/// Longest template in bytes.
const MAX_LENGTH: usize = 4096;
/// The variables, for error messages.
const KNOWN: &str = "request.method, request.scheme, request.host, request.path, request.query, request.query.NAME, \
    request.header.NAME, request.id, path.NAME, context.BINDING.KEY, claims.NAME, principal, route, route.pattern, client.address, \
    response.status, response.header.NAME";

/// Something that differs from request to request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// A part that has no name of its own: `request.method`, `principal`, ...
    Plain(&'static str),
    /// Query parameter.
    Query(String),
    /// Header field of the request.
    RequestHeader(String),
    /// Header field of the response.
    ResponseHeader(String),
    /// Path parameter.
    Path(String),
    /// Entry of the context: binding and key.
    Context(String, String),
    /// Claim: member names from the outside in.
    Claim(Vec<String>),
}

/// Answers what variables stand for.
pub trait Values {
    /// The value; none when there is none.
    fn value(&mut self, variable: &Variable) -> Option<Json>;
}

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(Variable),
}

impl Template {
    /// Reads a template; `$${` stands for `${`.
    pub fn parse(text: &str, response: bool) -> Result<Self, String> {
        if text.len() > MAX_LENGTH {
            return Err(format!(
                "template of {} bytes is longer than {MAX_LENGTH}",
                text.len()
            ));
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
            let (name, after) = from[2..]
                .split_once('}')
                .ok_or_else(|| format!("`{from}` has no closing brace"))?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Variable(variable(name, response)?));
            rest = after;
        }
        plain += rest;
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    /// Fills in the variables. A template that is one variable takes over its type; any other gives a text. None when a variable
    /// has no value.
    pub fn render(&self, values: &mut dyn Values) -> Option<Json> {
        if let [Part::Variable(variable)] = self.0.as_slice() {
            return values.value(variable);
        }
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Variable(variable) => match values.value(variable)? {
                    Json::String(text) => out.push_str(&text),
                    other => out.push_str(&other.to_text()),
                },
            }
        }
        Some(Json::String(out))
    }
}

fn variable(name: &str, response: bool) -> Result<Variable, String> {
    const PLAIN: [&str; 11] = [
        "request.method",
        "request.scheme",
        "request.host",
        "request.path",
        "request.query",
        "request.id",
        "principal",
        "route",
        "route.pattern",
        "client.address",
        "response.status",
    ];
    let unknown = || format!("unknown variable `${{{name}}}`; known are {KNOWN}");
    let after = |prefix: &str| {
        name.strip_prefix(prefix)
            .filter(|rest| !rest.is_empty())
            .map(str::to_owned)
    };
    let variable = if let Some(plain) = PLAIN.iter().find(|plain| **plain == name) {
        Variable::Plain(plain)
    } else if let Some(name) = after("request.query.") {
        Variable::Query(name)
    } else if let Some(name) = after("request.header.") {
        Variable::RequestHeader(name)
    } else if let Some(name) = after("response.header.") {
        Variable::ResponseHeader(name)
    } else if let Some(name) = after("path.") {
        Variable::Path(name)
    } else if let Some((namespace, key)) = after("context.").as_deref().and_then(|rest| rest.split_once('.'))
    {
        Variable::Context(namespace.to_owned(), key.to_owned())
    } else if let Some(claim) = after("claims.") {
        let segments: Vec<String> = match claim.strip_prefix('/') {
            Some(pointer) => pointer
                .split('/')
                .map(|part| part.replace("~1", "/").replace("~0", "~"))
                .collect(),
            None => claim.split('.').map(str::to_owned).collect(),
        };
        if segments.iter().any(String::is_empty) {
            return Err(unknown());
        }
        Variable::Claim(segments)
    } else {
        return Err(unknown());
    };
    if !response
        && matches!(
            variable,
            Variable::Plain("response.status") | Variable::ResponseHeader(_)
        )
    {
        return Err(format!(
            "`${{{name}}}` does not exist yet when the request is changed"
        ));
    }
    Ok(variable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Fake;
    impl Values for Fake {
        fn value(&mut self, variable: &Variable) -> Option<Json> {
            match variable {
                Variable::Path(name) => Some(Json::String(name.clone())),
                Variable::Claim(_) => Some(Json::Number("42".to_owned())),
                _ => None,
            }
        }
    }

    fn render(text: &str) -> Option<String> {
        Template::parse(text, true)
            .unwrap()
            .render(&mut Fake)
            .map(|value| value.to_text())
    }

    #[test]
    fn one_variable_keeps_its_type_and_more_become_a_text() {
        assert_eq!(render("${claims.n}").unwrap(), "42");
        assert_eq!(render("n=${claims.n} id=${path.x}").unwrap(), r#""n=42 id=x""#);
        assert_eq!(render("$${path.x} $").unwrap(), r#""${path.x} $""#);
        assert_eq!(render("a${principal}"), None);
        assert_eq!(render("").unwrap(), r#""""#);
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text| Template::parse(text, false).unwrap_err();
        assert!(
            error("${request.methd}")
                .starts_with("unknown variable `${request.methd}`; known are request.method")
        );
        assert!(error("${path.id").contains("no closing brace"));
        assert!(error("${response.status}").contains("does not exist yet"));
        for text in ["${}", "${path.}", "${context.a}", "${claims.a..b}"] {
            assert!(error(text).starts_with("unknown variable"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_template_panics(text in r"[${}a-z. \PC]{0,60}") {
            if let Ok(template) = Template::parse(&text, true) {
                template.render(&mut Fake);
            }
        }
    }
}
