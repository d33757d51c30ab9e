//! JSON as it stands in a policy: members in their order, those that stand twice included, and no deeper or larger than any policy has to be.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::config::Problem;

/// Deepest nesting. A policy needs seven: document, statements, statement, conditions, operator, key, values.
const DEPTH_MAX: usize = 16;
/// Largest text with all its white space, in bytes.
const TEXT_MAX: usize = 256 << 10;

/// A JSON value.
#[derive(Debug)]
pub(super) enum Node {
    Null,
    Bool(bool),
    /// As JSON writes it.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

/// Reads JSON text of up to `limit` characters, white space not counted.
pub(super) fn read(text: &str, limit: usize) -> Result<Node, Problem> {
    if text.len() > TEXT_MAX {
        let message = format!("{} bytes exceed {TEXT_MAX}, white space included", text.len());
        return Err(Problem::new("", message));
    }
    let invalid = |error: serde_json::Error| {
        let place = format!("line {} column {}", error.line(), error.column());
        Problem::new(place, format!("is no JSON: {error}"))
    };
    let mut source = serde_json::Deserializer::from_str(text);
    let node = Nested(0).deserialize(&mut source).map_err(invalid)?;
    source.end().map_err(invalid)?;
    within(characters(text), limit).map(|()| node)
}

/// Takes over a value that was read already; what stood twice in its text is gone.
pub(super) fn of(value: &Value, limit: usize) -> Result<Node, Problem> {
    within(characters(&value.to_string()), limit)?;
    copy(value, 0)
}

fn within(characters: usize, limit: usize) -> Result<(), Problem> {
    if characters > limit {
        let message = format!("{characters} characters exceed {limit}, white space not counted");
        return Err(Problem::new("", message));
    }
    Ok(())
}

/// Characters of JSON text, without the white space between its tokens.
fn characters(text: &str) -> usize {
    let (mut count, mut inside, mut escaped) = (0, false, false);
    for c in text.chars() {
        if !inside && c.is_ascii_whitespace() {
            continue;
        }
        count += 1;
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = inside,
            '"' => inside = !inside,
            _ => {}
        }
    }
    count
}

fn too_deep() -> String {
    format!("it is nested deeper than {DEPTH_MAX}")
}

fn copy(value: &Value, depth: usize) -> Result<Node, Problem> {
    if depth > DEPTH_MAX {
        return Err(Problem::new("", too_deep()));
    }
    Ok(match value {
        Value::Null => Node::Null,
        Value::Bool(flag) => Node::Bool(*flag),
        Value::Number(number) => Node::Number(number.to_string()),
        Value::String(text) => Node::Text(text.clone()),
        Value::Array(items) => Node::List(
            items
                .iter()
                .map(|item| copy(item, depth + 1))
                .collect::<Result<_, _>>()?,
        ),
        Value::Object(members) => Node::Object(
            members
                .iter()
                .map(|(name, value)| Ok((name.clone(), copy(value, depth + 1)?)))
                .collect::<Result<_, Problem>>()?,
        ),
    })
}

/// Reads a value so deep inside.
#[derive(Clone, Copy)]
struct Nested(usize);

impl Nested {
    fn below<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.0 >= DEPTH_MAX {
            return Err(E::custom(too_deep()));
        }
        Ok(Self(self.0 + 1))
    }
}

impl<'de> DeserializeSeed<'de> for Nested {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Node, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Node, E> {
        Ok(Node::Bool(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Number(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Number(number.to_string()))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Node, E> {
        // written as JSON does, not in full length
        let number =
            serde_json::Number::from_f64(number).ok_or_else(|| E::custom("a number is not finite"))?;
        Ok(Node::Number(number.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let below = self.below::<A::Error>()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(below)? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let below = self.below::<A::Error>()?;
        let mut object = Vec::new();
        while let Some(name) = members.next_key::<String>()? {
            object.push((name, members.next_value_seed(below)?));
        }
        if object.len() > usize::from(u16::MAX) {
            return Err(A::Error::custom(format!(
                "an object has {} members, which exceed {}",
                object.len(),
                u16::MAX
            )));
        }
        Ok(Node::Object(object))
    }
}

/// The place of a member, as a JSON pointer (RFC 6901).
pub(super) fn at(place: &str, name: &str) -> String {
    format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_between_tokens_is_not_counted_and_that_in_strings_is() {
        for (text, count) in [
            ("", 0),
            ("{ \"a b\" :\n\t[ 1 ] }", 11),
            (r#"{"\" " : " \\"}"#, 13),
            ("\"é \"", 4),
        ] {
            assert_eq!(characters(text), count, "{text}");
        }
        assert!(read(&format!("[{}]", " ".repeat(10_000)), 2).is_ok());
        let problem = read("[1]", 2).unwrap_err();
        assert_eq!(problem.message, "3 characters exceed 2, white space not counted");
        let problem = read(&" ".repeat(TEXT_MAX + 1), 2).unwrap_err();
        assert_eq!(
            problem.message,
            "262145 bytes exceed 262144, white space included"
        );
    }

    #[test]
    fn members_that_stand_twice_are_kept_and_depth_is_bounded() {
        let Ok(Node::Object(members)) = read(r#"{"a": 1, "a": 2}"#, 100) else {
            panic!("no object");
        };
        assert_eq!(members.len(), 2);
        let nested = |depth| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&nested(DEPTH_MAX), 100).is_ok());
        let problem = read(&nested(DEPTH_MAX + 1), 100).unwrap_err();
        assert!(problem.message.contains("nested deeper than 16"), "{problem}");
        let value = |depth| serde_json::from_str::<Value>(&nested(depth)).unwrap();
        assert!(of(&value(DEPTH_MAX), 100).is_ok());
        assert!(of(&value(DEPTH_MAX + 1), 100).is_err());
    }

    #[test]
    fn what_is_no_json_is_told_with_its_place() {
        let problem = read("{\n \"a\": }", 100).unwrap_err();
        assert_eq!(problem.path, "line 2 column 7");
        for text in ["", "{} x", "{\"a\"}", "[1,]", "nul"] {
            assert!(read(text, 100).is_err(), "{text}");
        }
        assert_eq!(at("/a", "b/c~"), "/a/b~1c~0");
    }
}
