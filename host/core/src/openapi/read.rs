//! Text to a document: YAML or JSON, within bounds that aliases of YAML cannot get around; names that come twice are refused.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::config::Problem;

/// Largest document in bytes, as AWS.
pub const DOCUMENT_MAX: usize = 6 << 20;
/// Most values in a document, after YAML's aliases are followed.
const VALUES_MAX: usize = 1_000_000;
/// Most bytes of texts, after YAML's aliases are followed.
const TEXTS_MAX: usize = 4 * DOCUMENT_MAX;

/// Reads a document of up to [`DOCUMENT_MAX`] bytes.
///
/// # Errors
/// It is too large, or neither JSON nor YAML.
pub fn read(text: &str) -> Result<Value, Problem> {
    read_within(text, DOCUMENT_MAX)
}

/// Reads a document of up to `bytes_max`.
///
/// # Errors
/// It is too large, or neither JSON nor YAML.
pub fn read_within(text: &str, bytes_max: usize) -> Result<Value, Problem> {
    if text.len() > bytes_max {
        return Err(Problem::new(
            "",
            format!("{} bytes exceed {bytes_max}", text.len()),
        ));
    }
    let looks_like_json = text.trim_start().starts_with('{');
    let not_json = match read_json(text.as_bytes()) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let mut budget = Budget::new(true);
    let from_yaml = Seed(&mut budget).deserialize(serde_yaml_ng::Deserializer::from_str(text));
    from_yaml.map_err(|error| {
        if looks_like_json {
            let place = format!("line {} column {}", not_json.line(), not_json.column());
            return Problem::new(place, format!("not valid JSON: {not_json}"));
        }
        let place = error.location().map_or_else(String::new, |at| {
            format!("line {} column {}", at.line(), at.column())
        });
        Problem::new(place, format!("not valid YAML: {error}"))
    })
}

/// Reads JSON, and nothing else.
///
/// # Errors
/// It is not JSON, or a name in it comes twice.
pub fn read_json(text: &[u8]) -> Result<Value, serde_json::Error> {
    let mut budget = Budget::new(false);
    let mut json = serde_json::Deserializer::from_slice(text);
    let value = Seed(&mut budget).deserialize(&mut json)?;
    json.end()?;
    Ok(value)
}

struct Budget {
    values: usize,
    texts: usize,
    /// `<<` takes in what another mapping has.
    merges: bool,
}

impl Budget {
    fn new(merges: bool) -> Self {
        Self {
            values: VALUES_MAX,
            texts: TEXTS_MAX,
            merges,
        }
    }

    fn value<E: Error>(&mut self) -> Result<(), E> {
        self.values = self
            .values
            .checked_sub(1)
            .ok_or_else(|| E::custom(format!("there are more than {VALUES_MAX} values")))?;
        Ok(())
    }

    fn text<E: Error>(&mut self, text: &str) -> Result<(), E> {
        self.texts = self
            .texts
            .checked_sub(text.len())
            .ok_or_else(|| E::custom(format!("there are more than {TEXTS_MAX} bytes of text")))?;
        Ok(())
    }
}

struct Seed<'b>(&'b mut Budget);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.0.value()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "JSON's numbers beyond 64 bits are floats here"
    )]
    fn visit_u128<E: Error>(self, value: u128) -> Result<Value, E> {
        self.visit_f64(value as f64)
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "JSON's numbers beyond 64 bits are floats here"
    )]
    fn visit_i128<E: Error>(self, value: i128) -> Result<Value, E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number that JSON does not have"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.0.text(value)?;
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = access.next_element_seed(Seed(self.0))? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let (mut object, mut merged) = (Map::new(), Vec::new());
        while let Some(key) = access.next_key_seed(Name)? {
            self.0.text(&key)?;
            let value = access.next_value_seed(Seed(self.0))?;
            if self.0.merges && key == "<<" {
                merged.push(value);
            } else if object.contains_key(&key) {
                return Err(A::Error::custom(format!("`{key}` is there twice")));
            } else {
                object.insert(key, value);
            }
        }
        for value in merged {
            merge(value, &mut object);
        }
        Ok(Value::Object(object))
    }
}

/// Takes in what an object, or each of a list, has and this one has not.
fn merge(value: Value, into: &mut Map<String, Value>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                into.entry(key).or_insert(value);
            }
        }
        Value::Array(values) => values.into_iter().for_each(|value| {
            if value.is_object() {
                merge(value, into);
            }
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A name. Those that YAML takes for numbers and the like (`200:`) are texts.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Name {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, value: &str) -> Result<String, E> {
        Ok(value.to_owned())
    }

    fn visit_bool<E>(self, value: bool) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_u64<E>(self, value: u64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_i64<E>(self, value: i64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_f64<E>(self, value: f64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_unit<E>(self) -> Result<String, E> {
        Ok("null".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_formats_are_read_and_status_codes_are_names() {
        let wanted = json!({"a": {"200": [1, -1, 1.5, true, null, "x"], "true": {}}});
        assert_eq!(
            read("a:\n  200: [1, -1, 1.5, true, null, x]\n  true: {}\n").unwrap(),
            wanted
        );
        assert_eq!(read(&wanted.to_string()).unwrap(), wanted);
        assert_eq!(
            read("x: &x {a: 1, b: 2}\ny: {<<: *x, a: 3}\n").unwrap()["y"],
            json!({"a": 3, "b": 2})
        );
    }

    #[test]
    fn what_is_broken_too_large_or_said_twice_is_refused_with_its_place() {
        for (bad, part) in [
            ("{\"a\": ]", "line 1 column 7"),
            ("a: [", "not valid YAML"),
            ("{\"a\": 1, \"a\": 2}", "`a` is there twice"),
            ("a: 1\na: 2\n", "twice"),
            ("a: .nan", "JSON does not have"),
            ("a: !x 1", ""),
        ] {
            let problem = read(bad).unwrap_err().to_string();
            assert!(problem.contains(part), "{bad}: {problem}");
        }
        let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for (before, name) in "abcdefgh".chars().zip("bcdefghi".chars()) {
            bomb += &format!(
                "{name}: &{name} [*{before},*{before},*{before},*{before},*{before},*{before},*{before},*{before},*{before},*{before}]\n"
            );
        }
        assert!(read(&bomb).is_err());
        assert!(read(&"[".repeat(100_000)).is_err());
        assert!(read(&" ".repeat(DOCUMENT_MAX + 1)).is_err());
    }
}
