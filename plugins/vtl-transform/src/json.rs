//! Reads JSON (RFC 8259) onto the heap. Numbers that are no whole numbers of 64 bits keep their digits.

use crate::fault::{Fault, MAX_DEPTH};
use crate::value::{Heap, MapKind, Value};
use std::rc::Rc;

/// Reads a document; none when it is no JSON.
///
/// # Errors
/// A limit was hit.
pub fn parse(heap: &mut Heap, text: &str) -> Result<Option<Value>, Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    heap.budget.step(text.len() / 64)?;
    let mut parser = Parser { heap, text, at: 0 };
    let parsed = parser.value(0).and_then(|value| {
        parser.white_space();
        if parser.at < text.len() {
            Err(Bad::Syntax)
        } else {
            Ok(value)
        }
    });
    match parsed {
        Ok(value) => Ok(Some(value)),
        Err(Bad::Syntax) => Ok(None),
        Err(Bad::Limit(fault)) => Err(fault),
    }
}

enum Bad {
    Syntax,
    Limit(Fault),
}

impl From<Fault> for Bad {
    fn from(fault: Fault) -> Self {
        Self::Limit(fault)
    }
}

struct Parser<'a> {
    heap: &'a mut Heap,
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn white_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn value(&mut self, depth: usize) -> Result<Value, Bad> {
        if depth > MAX_DEPTH {
            return Err(Fault::Depth.into());
        }
        self.white_space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Value::Text(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => Err(Bad::Syntax),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Bad> {
        if !self.rest().starts_with(word) {
            return Err(Bad::Syntax);
        }
        self.at += word.len();
        Ok(value)
    }

    fn object(&mut self, depth: usize) -> Result<Value, Bad> {
        self.at += 1;
        let map = self.heap.map(MapKind::Given)?;
        self.white_space();
        if self.eat(b'}') {
            return Ok(Value::Map(map));
        }
        loop {
            self.white_space();
            if self.peek() != Some(b'"') {
                return Err(Bad::Syntax);
            }
            let name = self.string()?;
            self.white_space();
            if !self.eat(b':') {
                return Err(Bad::Syntax);
            }
            let value = self.value(depth + 1)?;
            self.heap.put(map, name, value)?;
            self.white_space();
            if self.eat(b'}') {
                return Ok(Value::Map(map));
            }
            if !self.eat(b',') {
                return Err(Bad::Syntax);
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, Bad> {
        self.at += 1;
        let mut items = Vec::new();
        self.white_space();
        if !self.eat(b']') {
            loop {
                items.push(self.value(depth + 1)?);
                self.white_space();
                if self.eat(b']') {
                    break;
                }
                if !self.eat(b',') {
                    return Err(Bad::Syntax);
                }
            }
        }
        Ok(self.heap.json_list(items)?)
    }

    fn digits(&mut self) -> Result<(), Bad> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(Bad::Syntax);
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Value, Bad> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            self.digits()?;
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        match text.parse() {
            // minus zero is no whole number
            Ok(whole) if text != "-0" => Ok(Value::Int(whole)),
            _ => {
                self.heap.budget.take(text.len())?;
                Ok(Value::Number(text.into()))
            }
        }
    }

    fn string(&mut self) -> Result<Rc<str>, Bad> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = self.rest();
            let end = rest
                .find(|c: char| c < ' ' || c == '"' || c == '\\')
                .ok_or(Bad::Syntax)?;
            let (plain, tail) = rest.split_at(end);
            self.heap.budget.take(plain.len())?;
            self.at += end + 1;
            match tail.as_bytes().first() {
                Some(b'"') if out.is_empty() => return Ok(plain.into()),
                Some(b'"') => {
                    out.push_str(plain);
                    return Ok(out.into());
                }
                Some(b'\\') => {
                    out.push_str(plain);
                    out.push(self.escape()?);
                }
                _ => return Err(Bad::Syntax),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Bad> {
        let kind = self.peek().ok_or(Bad::Syntax)?;
        self.at += 1;
        Ok(match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = self.hex()?;
                if (0xd800..0xdc00).contains(&high) && self.rest().starts_with("\\u") {
                    let before = self.at;
                    self.at += 2;
                    let low = self.hex()?;
                    if (0xdc00..0xe000).contains(&low) {
                        let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                        return char::from_u32(code).ok_or(Bad::Syntax);
                    }
                    self.at = before;
                }
                // half of a pair has no form in UTF-8
                char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return Err(Bad::Syntax),
        })
    }

    fn hex(&mut self) -> Result<u32, Bad> {
        let digits = self.rest().get(..4).ok_or(Bad::Syntax)?;
        let code = digits
            .chars()
            .try_fold(0, |sum, digit| Some(sum * 16 + digit.to_digit(16)?));
        self.at += 4;
        code.ok_or(Bad::Syntax)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Limits;
    use crate::print::{self, Out};
    use proptest::prelude::*;

    fn again(text: &str) -> Option<String> {
        let mut heap = Heap::new(Limits::for_bodies(1 << 20));
        let value = parse(&mut heap, text).unwrap()?;
        let mut out = String::new();
        print::json(&heap, &value, &mut Out::new(&mut out, 1 << 20), 0).unwrap();
        Some(out)
    }

    #[test]
    fn documents_come_out_as_they_went_in() {
        for text in [
            r#"{"z":123456789012345678901234567890,"a":0.10,"m":[1E+2,-0,1.0,-7]}"#,
            r#"["\b\f\n\r\t\"\\é😀",null,true,false,{},[]]"#,
            "\"\"",
        ] {
            assert_eq!(again(text).as_deref(), Some(text));
        }
        assert_eq!(
            again(r#""\ud83d\ude00\/\u00e9\ud800x""#).as_deref(),
            Some("\"😀/é\u{fffd}x\"")
        );
        assert_eq!(
            again("\u{feff} {\"a\" : 1 , \"a\":2} ").as_deref(),
            Some(r#"{"a":2}"#),
            "the last of two members counts"
        );
    }

    #[test]
    fn what_is_nested_too_deeply_is_refused() {
        let mut heap = Heap::new(Limits::for_bodies(1 << 20));
        assert_eq!(parse(&mut heap, &"[".repeat(10_000)).err(), Some(Fault::Depth));
    }

    proptest! {
        #[test]
        fn it_agrees_with_serde_json_on_what_is_json(text in r#"([\[\]{},:" \\u0-9a-f.eE+\-]|true|null|"a"){0,20}"#) {
            let ours = again(&text);
            match serde_json::from_str::<serde_json::Value>(&text) {
                Ok(theirs) => prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&ours.unwrap()).unwrap(), theirs),
                Err(error) => prop_assert!(
                    ours.is_none() || error.to_string().contains("out of range") || text.contains("\\u"),
                    "{}", error
                ),
            }
        }
    }
}
