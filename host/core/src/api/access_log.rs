//! The form of a stage's access log: a line with `$context` variables, as Amazon API Gateway has it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest format, in bytes (as AWS).
const FORMAT_MAX: usize = 3 << 10;
/// Longest value of a variable in a line, in bytes.
const VALUE_MAX: usize = 4 << 10;

/// A line for each request of a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct AccessLog {
    /// The line, with variables (`$context.requestId $context.status`); with `$context.requestId` or `$context.extendedRequestId` in it. Values are escaped
    /// where it is JSON or XML. A variable without a value is `-`, in JSON outside of quotes `null`.
    pub format: String,
    /// `stdout`, or a file below the folder `access-logs/{api}` of the data folder. One that is moved away is opened anew.
    pub destination: String,
}

impl AccessLog {
    /// The name of the file; none for standard output.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        (self.destination != "stdout").then_some(self.destination.as_str())
    }

    /// Everything that is wrong with it, by key.
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if let Err(message) = LogFormat::parse(&self.format) {
            problems.push(("format", message));
        }
        let is_name = |part: &str| {
            !part.starts_with('.')
                && (1..=100).contains(&part.len())
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        // publishers do not choose where on the machine is written
        if !self.destination.split('/').all(is_name) || self.destination.len() > 500 {
            problems.push((
                "destination",
                format!(
                    "`{}` is neither `stdout` nor the name of a file such as `pets/prod.log`",
                    self.destination
                ),
            ));
        }
        problems
    }
}

/// A format, ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFormat {
    parts: Vec<Part>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// Name, and whether it stands in quotes.
    Variable(String, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Json,
    Xml,
    Text,
}

/// Bytes of a variable's name, with members in brackets: `authorizer.claims['custom:role']`.
fn name_length(text: &str) -> usize {
    let mut end = 0;
    loop {
        let rest = &text[end..];
        end += rest
            .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != '.')
            .unwrap_or(rest.len());
        let member = text[end..].strip_prefix("['");
        match member.and_then(|member| member.split_once("']")) {
            // a quote within would end a text of JSON
            Some((name, _)) if !name.contains('"') => end += name.len() + 4,
            _ => return end,
        }
    }
}

impl LogFormat {
    /// Parses a format.
    ///
    /// # Errors
    /// What is wrong, for the publisher.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > FORMAT_MAX {
            return Err(format!("{} bytes exceed {FORMAT_MAX}", text.len()));
        }
        let text = text.trim_end_matches(['\r', '\n']);
        if text.contains(['\r', '\n']) {
            return Err("is more than one line".to_owned());
        }
        let kind = match text.trim().as_bytes() {
            [b'{', .., b'}'] => Kind::Json,
            [b'<', .., b'>'] => Kind::Xml,
            _ => Kind::Text,
        };
        let (mut parts, mut quoted, mut rest) = (Vec::new(), false, text);
        while let Some((before, behind)) = rest.split_once("$context.") {
            quoted ^= quotes(before) % 2 == 1;
            parts.push(Part::Text(before.to_owned()));
            let name = behind[..name_length(behind)].trim_end_matches('.');
            if name.is_empty() {
                return Err("`$context.` without a name".to_owned());
            }
            parts.push(Part::Variable(name.to_owned(), quoted));
            rest = &behind[name.len()..];
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| *part != Part::Text(String::new()));
        let format = Self { parts, kind };
        if !format
            .names()
            .any(|name| name == "requestId" || name == "extendedRequestId")
        {
            return Err("has neither `$context.requestId` nor `$context.extendedRequestId`".to_owned());
        }
        if kind == Kind::Json {
            let example = format.line(|_| Some("0".to_owned()));
            serde_json::from_str::<serde::de::IgnoredAny>(&example)
                .map_err(|error| format!("begins as JSON and is none: {error}"))?;
        }
        Ok(format)
    }

    /// Names of the variables.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(name, _) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// A line, without its end.
    #[must_use]
    pub fn line(&self, value: impl Fn(&str) -> Option<String>) -> String {
        let mut line = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => line.push_str(text),
                Part::Variable(name, quoted) => {
                    let mut value = value(name);
                    if let Some(value) = &mut value {
                        value.truncate(value.floor_char_boundary(VALUE_MAX));
                    }
                    self.push(&mut line, value, *quoted);
                }
            }
        }
        line
    }

    fn push(&self, line: &mut String, value: Option<String>, quoted: bool) {
        match (self.kind, value) {
            (Kind::Json, None) if !quoted => line.push_str("null"),
            (_, None) => line.push('-'),
            (Kind::Json, Some(value)) if quoted => {
                let text = serde_json::Value::String(value).to_string();
                line.push_str(text.get(1..text.len() - 1).unwrap_or_default());
            }
            (Kind::Json, Some(value)) => match serde_json::from_str::<serde_json::Value>(&value) {
                Ok(json) => line.push_str(&json.to_string()),
                Err(_) => line.push_str(&serde_json::Value::String(value).to_string()),
            },
            (Kind::Xml, Some(value)) => value.chars().for_each(|letter| match letter {
                '<' => line.push_str("&lt;"),
                '>' => line.push_str("&gt;"),
                '&' => line.push_str("&amp;"),
                '"' => line.push_str("&quot;"),
                _ => line.push(without_control(letter)),
            }),
            (Kind::Text, Some(value)) => line.extend(value.chars().map(without_control)),
        }
    }
}

/// One request is one line.
fn without_control(letter: char) -> char {
    if letter.is_control() { ' ' } else { letter }
}

/// Quotes in a text that end or begin one.
fn quotes(text: &str) -> usize {
    let mut escaped = false;
    text.chars()
        .filter(|letter| {
            let counts = *letter == '"' && !escaped;
            escaped = *letter == '\\' && !escaped;
            counts
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: &str) -> String {
        LogFormat::parse(format).unwrap().line(|name| {
            let value = match name {
                "requestId" => "id-1",
                "status" => "200",
                "path" => "/a\"b\n<c>&",
                "authorizer.claims.sub" => "ada",
                "error.messageString" => "\"Forbidden\"",
                _ => return None,
            };
            Some(value.to_owned())
        })
    }

    #[test]
    fn lines_are_what_the_format_says() {
        for (format, expected) in [
            ("$context.requestId", "id-1"),
            ("$context.requestId $context.status.\n", "id-1 200."),
            (
                "[$context.requestId]\"$context.path\" $context.user",
                "[id-1]\"/a\"b <c>&\" -",
            ),
            (
                "$context.requestId,$context.authorizer.claims.sub,$context.x-y",
                "id-1,ada,--y",
            ),
            (
                r#"{"id":"$context.requestId","status":$context.status,"none":$context.none,"no":"$context.none","path":"$context.path","error":$context.error.messageString,"text":$context.path}"#,
                r#"{"id":"id-1","status":200,"none":null,"no":"-","path":"/a\"b\n<c>&","error":"Forbidden","text":"/a\"b\n<c>&"}"#,
            ),
            (r#"{"a\"":"x\\$context.requestId"}"#, r#"{"a\"":"x\\id-1"}"#),
            (
                "<request id=\"$context.requestId\"><path>$context.path</path></request>",
                "<request id=\"id-1\"><path>/a&quot;b &lt;c&gt;&amp;</path></request>",
            ),
        ] {
            assert_eq!(line(format), expected, "{format}");
        }
    }

    #[test]
    fn formats_that_cannot_be_are_refused() {
        let long = format!("$context.requestId{}", " ".repeat(FORMAT_MAX));
        for format in [
            "",
            "$context.status",
            "$context.requestId\n$context.status",
            "$context. $context.requestId",
            "{$context.requestId}",
            &long,
        ] {
            assert!(LogFormat::parse(format).is_err(), "{format}");
        }
        let long = "x".repeat(2 * VALUE_MAX);
        let line = LogFormat::parse("$context.requestId")
            .unwrap()
            .line(|_| Some(long.clone()));
        assert_eq!(line.len(), VALUE_MAX);
    }

    #[test]
    fn files_are_below_their_folder() {
        let problems = |destination: &str| {
            let log = AccessLog {
                format: "$context.requestId".to_owned(),
                destination: destination.to_owned(),
            };
            log.problems()
        };
        for good in ["stdout", "prod.log", "pets/prod.log"] {
            assert_eq!(problems(good), [], "{good}");
        }
        for bad in [
            "",
            "/var/log/x",
            "../x",
            "a/../b",
            "a//b",
            "a/.ssh",
            "a b",
            "a\\b",
        ] {
            assert_eq!(problems(bad).len(), 1, "{bad}");
        }
    }
}
