//! Values as text: as Java prints them, and as JSON.

use crate::fault::{Fault, MAX_DEPTH};
use crate::value::{Heap, MapKind, Value};

/// A text that may not become longer than a limit.
pub struct Out<'a> {
    text: &'a mut String,
    limit: usize,
}

impl<'a> Out<'a> {
    /// Writes behind what is there.
    pub fn new(text: &'a mut String, limit: usize) -> Self {
        Self { text, limit }
    }

    fn push(&mut self, text: &str) -> Result<(), Fault> {
        if self.text.len().saturating_add(text.len()) > self.limit {
            return Err(Fault::Output(self.limit));
        }
        self.text.push_str(text);
        Ok(())
    }
}

/// Writes a value as Java's `toString` does. Lists of documents come out as JSON, as those of AWS do.
pub fn java(heap: &Heap, value: &Value, out: &mut Out<'_>, depth: usize) -> Result<(), Fault> {
    if depth > MAX_DEPTH {
        return Err(Fault::Depth);
    }
    match value {
        Value::Null => out.push("null"),
        Value::Bool(truth) => out.push(if *truth { "true" } else { "false" }),
        Value::Int(number) => out.push(&number.to_string()),
        Value::Float(number) => out.push(&double(*number)),
        Value::Number(text) | Value::Text(text) => out.push(text),
        Value::List(id) if heap.list_of(*id).json => json(heap, value, out, depth),
        Value::List(id) => {
            out.push("[")?;
            for (index, item) in heap.list_of(*id).items.iter().enumerate() {
                if index > 0 {
                    out.push(", ")?;
                }
                java(heap, item, out, depth + 1)?;
            }
            out.push("]")
        }
        Value::Map(id) => {
            let map = heap.map_of(*id);
            if map.kind == MapKind::Entry {
                let part = |name: &str| map.get(name).unwrap_or(&Value::Null);
                java(heap, part("key"), out, depth + 1)?;
                out.push("=")?;
                return java(heap, part("value"), out, depth + 1);
            }
            out.push("{")?;
            for (index, (name, value)) in map.entries().iter().enumerate() {
                out.push(if index > 0 { ", " } else { "" })?;
                out.push(name)?;
                out.push("=")?;
                java(heap, value, out, depth + 1)?;
            }
            out.push("}")
        }
        Value::Missing | Value::Block(_) | Value::Input | Value::Util | Value::Loop(_) => Ok(()),
    }
}

/// Writes a value as JSON, without white space.
pub fn json(heap: &Heap, value: &Value, out: &mut Out<'_>, depth: usize) -> Result<(), Fault> {
    if depth > MAX_DEPTH {
        return Err(Fault::Depth);
    }
    match value {
        Value::Null => out.push("null"),
        Value::Float(number) if !number.is_finite() => out.push("null"),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Number(_) => java(heap, value, out, depth),
        Value::Text(text) => string(text, out),
        Value::List(id) => {
            out.push("[")?;
            for (index, item) in heap.list_of(*id).items.iter().enumerate() {
                out.push(if index > 0 { "," } else { "" })?;
                json(heap, item, out, depth + 1)?;
            }
            out.push("]")
        }
        Value::Map(id) => {
            out.push("{")?;
            for (index, (name, value)) in heap.map_of(*id).entries().iter().enumerate() {
                out.push(if index > 0 { "," } else { "" })?;
                string(name, out)?;
                out.push(":")?;
                json(heap, value, out, depth + 1)?;
            }
            out.push("}")
        }
        Value::Missing | Value::Block(_) | Value::Input | Value::Util | Value::Loop(_) => out.push("\"\""),
    }
}

fn string(text: &str, out: &mut Out<'_>) -> Result<(), Fault> {
    out.push("\"")?;
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
        let (plain, tail) = rest.split_at(at);
        out.push(plain)?;
        let mut chars = tail.chars();
        match chars.next() {
            Some('\n') => out.push("\\n")?,
            Some('\r') => out.push("\\r")?,
            Some('\t') => out.push("\\t")?,
            Some('\u{8}') => out.push("\\b")?,
            Some('\u{c}') => out.push("\\f")?,
            Some('"') => out.push("\\\"")?,
            Some('\\') => out.push("\\\\")?,
            Some(other) => out.push(&format!("\\u{:04x}", u32::from(other)))?,
            None => {}
        }
        rest = chars.as_str();
    }
    out.push(rest)?;
    out.push("\"")
}

/// As Java's `Double.toString`: an exponent below 0.001 and from ten millions on.
fn double(number: f64) -> String {
    let size = number.abs();
    if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else if size == 0.0 || (1e-3..1e7).contains(&size) {
        format!("{number:?}")
    } else {
        let text = format!("{number:E}");
        match text.split_once('E') {
            Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
            _ => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Limits;

    #[test]
    fn numbers_print_as_in_java() {
        for (number, text) in [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (0.001, "0.001"),
            (0.0001, "1.0E-4"),
            (9_999_999.5, "9999999.5"),
            (1e7, "1.0E7"),
            (1.25e30, "1.25E30"),
            (f64::INFINITY, "Infinity"),
        ] {
            assert_eq!(double(number), text);
        }
    }

    #[test]
    fn a_list_that_contains_itself_is_an_error_and_no_endless_print() {
        let mut heap = Heap::new(Limits::for_bodies(1000));
        let Ok(Value::List(id)) = heap.list(vec![]) else {
            panic!()
        };
        heap.push(id, Value::List(id)).unwrap();
        let mut text = String::new();
        assert_eq!(
            java(&heap, &Value::List(id), &mut Out::new(&mut text, 1000), 0),
            Err(Fault::Depth)
        );
    }

    #[test]
    fn texts_in_json_are_escaped() {
        let mut text = String::new();
        string("a\"\\\n\u{1}é", &mut Out::new(&mut text, 100)).unwrap();
        assert_eq!(text, "\"a\\\"\\\\\\n\\u0001é\"");
        assert_eq!(
            string("abc", &mut Out::new(&mut text, 10)),
            Err(Fault::Output(10))
        );
    }
}
