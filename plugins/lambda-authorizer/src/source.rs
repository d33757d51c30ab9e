//! Identity sources: what names the caller, and what the function is told as `identitySource`.

use crate::{
    refusal::{Kind, Refusal},
    seen::{Seen, lossy, scalar},
    settings::Settings,
};

/// An identity source. Path parameters are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A header field, name in lower case.
    Header(String),
    /// A query parameter.
    Query(String),
    /// A variable of the context.
    Context(String),
    /// A variable of the stage.
    StageVariable(String),
}

impl Source {
    /// Reads `method.request.header.X` (REST APIs), `$request.header.X` (HTTP APIs) and so on.
    ///
    /// # Errors
    /// It is none of those.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            Err(format!(
                "{text:?} is no identity source, such as $request.header.NAME, $request.querystring.NAME, $context.NAME or $stageVariables.NAME"
            ))
        };
        let after = |prefixes: [&str; 2]| {
            let rest = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix));
            rest.filter(|name| !name.is_empty()).map(str::to_owned)
        };
        if let Some(name) = after(["$request.header.", "method.request.header."]) {
            let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if !name.bytes().all(token) {
                return wrong();
            }
            return Ok(Self::Header(name.to_ascii_lowercase()));
        }
        if let Some(name) = after(["$request.querystring.", "method.request.querystring."]) {
            return Ok(Self::Query(name));
        }
        if let Some(name) = after(["$context.", "context."]) {
            return Ok(Self::Context(name));
        }
        if let Some(name) = after(["$stageVariables.", "stageVariables."]) {
            return Ok(Self::StageVariable(name));
        }
        wrong()
    }

    fn value(&self, seen: &Seen) -> Option<String> {
        let joined = |values: Vec<String>| (!values.is_empty()).then(|| values.join(","));
        match self {
            Self::Header(name) => joined(seen.header_values(name).map(lossy).collect()),
            Self::Query(name) => {
                let params = seen.query_params.iter().filter(|(one, _)| one == name);
                joined(params.map(|(_, value)| value.clone()).collect())
            }
            Self::Context(name) => seen.variable(name),
            Self::StageVariable(name) => seen.stage_variables.get(name).and_then(scalar),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Header(name) => format!("header {name}"),
            Self::Query(name) => format!("query parameter {name}"),
            Self::Context(name) => format!("context variable {name}"),
            Self::StageVariable(name) => format!("stage variable {name}"),
        }
    }
}

/// The values of all sources, in order.
///
/// # Errors
/// One is missing or empty.
pub fn values(sources: &[Source], seen: &Seen) -> Result<Vec<String>, Refusal> {
    let value = |source: &Source| {
        let value = source.value(seen).filter(|value| !value.is_empty());
        value.ok_or_else(|| {
            let detail = format!("identity source {} is missing or empty", source.name());
            Refusal::new(Kind::NoIdentity, detail)
        })
    };
    sources.iter().map(value).collect()
}

/// Name of the field of the token, in lower case: that of the configuration, else that by which the API tells callers apart.
#[must_use]
pub fn token_header<'a>(settings: &'a Settings, seen: &'a Seen) -> &'a str {
    let told = || {
        seen.sources.iter().find_map(|source| match source {
            Source::Header(name) => Some(name.as_str()),
            _ => None,
        })
    };
    let own = settings.token_header.as_deref();
    own.or_else(told).unwrap_or("authorization")
}

/// The token of a header field that is there once.
///
/// # Errors
/// It is missing, empty, there twice, or no text.
pub fn token(header: &str, seen: &Seen) -> Result<String, Refusal> {
    let refuse = |why: &str| Refusal::new(Kind::NoIdentity, format!("token header {header} {why}"));
    let mut lines = seen.header_values(header);
    let token = match (lines.next(), lines.next()) {
        (Some(line), None) => line,
        (None, _) => return Err(refuse("is missing")),
        (Some(_), Some(_)) => return Err(refuse("is there twice")),
    };
    match std::str::from_utf8(token) {
        Ok("") => Err(refuse("is empty")),
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(refuse("is no text")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn sources_are_read_in_the_words_of_both_kinds_of_api() {
        for (text, source) in [
            ("$request.header.X-Key", Source::Header("x-key".into())),
            ("method.request.header.Auth", Source::Header("auth".into())),
            ("$request.querystring.Key", Source::Query("Key".into())),
            ("method.request.querystring.a.b", Source::Query("a.b".into())),
            (
                "$context.identity.sourceIp",
                Source::Context("identity.sourceIp".into()),
            ),
            ("context.httpMethod", Source::Context("httpMethod".into())),
            ("$stageVariables.v", Source::StageVariable("v".into())),
            ("stageVariables.v", Source::StageVariable("v".into())),
        ] {
            assert_eq!(Source::parse(text), Ok(source), "{text}");
        }
        for text in [
            "",
            "header.x",
            "$request.header.",
            "$request.header.a b",
            "$request.path.id",
            "method.request.path.id",
            "$request.body",
        ] {
            assert!(
                Source::parse(text).unwrap_err().contains("no identity source"),
                "{text}"
            );
        }
    }

    fn seen() -> Seen {
        Seen {
            headers: vec![
                ("x-a".into(), b"1".to_vec()),
                ("x-a".into(), b"2".to_vec()),
                ("x-empty".into(), Vec::new()),
            ],
            query_params: vec![("q".into(), "v".into())],
            context: json!({"identity": {"sourceIp": "192.0.2.1"}, "n": 7, "o": {}})
                .as_object()
                .unwrap()
                .clone(),
            stage_variables: json!({"v": "blue"}).as_object().unwrap().clone(),
            ..Seen::default()
        }
    }

    #[test]
    fn values_are_those_of_the_request_and_none_may_be_missing() {
        let of = |texts: &[&str]| {
            let sources: Vec<Source> = texts.iter().map(|text| Source::parse(text).unwrap()).collect();
            values(&sources, &seen())
        };
        let all = of(&[
            "$request.header.X-A",
            "$request.querystring.q",
            "$context.identity.sourceIp",
            "$context.n",
            "$stageVariables.v",
        ]);
        assert_eq!(all.unwrap(), ["1,2", "v", "192.0.2.1", "7", "blue"]);
        assert_eq!(of(&[]).unwrap(), [""; 0]);
        for missing in [
            "$request.header.none",
            "$request.header.x-empty",
            "$request.querystring.Q",
            "$context.o",
            "$context.x.y",
            "$stageVariables.none",
        ] {
            let refusal = of(&["$request.header.x-a", missing]).unwrap_err();
            assert_eq!(
                (refusal.kind.status(), refusal.ttl_seconds),
                (401, None),
                "{missing}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,40}", name in "(\\$?request|context|\\$stageVariables|method)?\\.?[a-z.]{0,20}") {
            let _outcome = (Source::parse(&text).is_ok(), Source::parse(&name).is_ok());
        }
    }
}
