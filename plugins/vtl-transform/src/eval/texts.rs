//! Methods of `java.lang.String`. Places are counted in UTF-16 units, as in Java; one within a pair counts as the place before it.

use super::Machine;
use crate::fault::Fault;
use crate::value::Value;
use std::rc::Rc;

/// The byte at which a UTF-16 unit begins.
fn byte_at(text: &str, unit: i64) -> Result<usize, Fault> {
    let wanted = usize::try_from(unit).map_err(|_negative| Fault::Index(unit))?;
    let mut units = 0;
    for (at, c) in text.char_indices() {
        if wanted < units + c.len_utf16() {
            return Ok(at);
        }
        units += c.len_utf16();
    }
    if wanted == units {
        Ok(text.len())
    } else {
        Err(Fault::Index(unit))
    }
}

fn units(text: &str) -> Value {
    Value::count(text.encode_utf16().count())
}

/// Where a part was found, in UTF-16 units; -1 if it was not.
fn found(text: &str, byte: Option<usize>) -> Value {
    match byte.and_then(|byte| text.get(..byte)) {
        Some(before) => units(before),
        None => Value::Int(-1),
    }
}

impl Machine {
    pub(super) fn text_method(
        &mut self,
        text: &Rc<str>,
        name: &str,
        arguments: &[Value],
    ) -> Result<Option<Value>, Fault> {
        // every method looks at the text at least once
        self.heap.budget.step(1 + text.len() / 64)?;
        Ok(Some(match (name, arguments) {
            ("length", []) => units(text),
            ("isEmpty", []) => Value::Bool(text.is_empty()),
            ("isBlank", []) => Value::Bool(text.trim().is_empty()),
            ("toLowerCase", []) => self.heap.text(&text.to_lowercase())?,
            ("toUpperCase", []) => self.heap.text(&text.to_uppercase())?,
            // Java's `trim` takes all control characters
            ("trim" | "strip", []) => self.heap.text(text.trim_matches(|c| c <= ' '))?,
            ("substring", [Value::Int(from)]) => {
                let from = byte_at(text, *from)?;
                self.heap.text(text.get(from..).unwrap_or_default())?
            }
            ("substring", [Value::Int(from), Value::Int(to)]) => {
                let (start, end) = (byte_at(text, *from)?, byte_at(text, *to)?);
                self.heap.text(text.get(start..end).ok_or(Fault::Index(*to))?)?
            }
            ("charAt", [Value::Int(at)]) => {
                let c = text
                    .get(byte_at(text, *at)?..)
                    .and_then(|rest| rest.chars().next());
                self.heap.text(&c.ok_or(Fault::Index(*at))?.to_string())?
            }
            ("indexOf" | "lastIndexOf", [_, Value::Int(from)]) if name == "indexOf" => {
                let part = self.argument(arguments)?;
                let from = byte_at(text, (*from).max(0)).unwrap_or(text.len());
                let place = text.get(from..).and_then(|rest| rest.find(&*part));
                found(text, place.map(|place| place + from))
            }
            ("indexOf", [_]) => found(text, text.find(&*self.argument(arguments)?)),
            ("lastIndexOf", [_]) => found(text, text.rfind(&*self.argument(arguments)?)),
            ("contains", [_]) => Value::Bool(text.contains(&*self.argument(arguments)?)),
            ("startsWith", [_]) => Value::Bool(text.starts_with(&*self.argument(arguments)?)),
            ("startsWith", [_, Value::Int(from)]) => {
                let part = self.argument(arguments)?;
                let rest = byte_at(text, *from).ok().and_then(|from| text.get(from..));
                Value::Bool(rest.is_some_and(|rest| rest.starts_with(&*part)))
            }
            ("endsWith", [_]) => Value::Bool(text.ends_with(&*self.argument(arguments)?)),
            ("equalsIgnoreCase", [other]) => {
                let other = self.text_of(other)?;
                Value::Bool(text.to_lowercase() == other.to_lowercase())
            }
            ("compareTo", [_]) => {
                let other = self.argument(arguments)?;
                Value::Int((**text).cmp(&*other) as i64)
            }
            ("concat", [_]) => {
                let other = self.argument(arguments)?;
                self.heap.text(&[&**text, &*other].concat())?
            }
            ("replace", [from, to]) => {
                let (from, to) = (self.text_of(from)?, self.text_of(to)?);
                self.replace(text, &from, &to)?
            }
            ("matches", [_]) => {
                let regex = self.argument(arguments)?;
                let regex = self.pattern(&regex)?;
                Value::Bool(regex.matches_whole(text, &mut self.heap.budget)?)
            }
            ("replaceAll" | "replaceFirst", [_, with]) => {
                let (regex, with) = (self.argument(arguments)?, self.text_of(with)?);
                let regex = self.pattern(&regex)?;
                let most = if name == "replaceFirst" { 1 } else { usize::MAX };
                let replaced = regex.replace(text, &with, most, &mut self.heap.budget)?;
                Value::Text(replaced.into())
            }
            ("split", [_]) => self.split(text, arguments, 0)?,
            ("split", [_, Value::Int(limit)]) => self.split(text, arguments, *limit)?,
            _ => return Ok(None),
        }))
    }

    /// The first argument as text.
    fn argument(&mut self, arguments: &[Value]) -> Result<Rc<str>, Fault> {
        self.text_of(arguments.first().unwrap_or(&Value::Null))
    }

    fn replace(&mut self, text: &str, from: &str, to: &str) -> Result<Value, Fault> {
        let count = text.matches(from).count();
        // before the text is made: a short text can become a very long one
        self.heap
            .budget
            .take(text.len().saturating_add(count.saturating_mul(to.len())))?;
        Ok(Value::Text(text.replace(from, to).into()))
    }

    fn split(&mut self, text: &str, arguments: &[Value], limit: i64) -> Result<Value, Fault> {
        let regex = self.argument(arguments)?;
        let regex = self.pattern(&regex)?;
        let parts = regex.split(text, limit, &mut self.heap.budget)?;
        let parts = parts
            .into_iter()
            .map(|part| self.heap.text(part))
            .collect::<Result<_, _>>()?;
        self.heap.list(parts)
    }
}
