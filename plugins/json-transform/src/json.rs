//! A JSON document that comes out as it went in: numbers keep their digits (RFC 8259 section 6 sets no limit on them), members
//! their order.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Deepest nesting that is read.
pub const MAX_DEPTH: usize = 128;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number, as it was written.
    Number(String),
    /// A text.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// Members in order; a name may occur twice, then the last one counts.
    Object(Vec<(String, Json)>),
}

/// Why a text is no JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// What was wrong.
    pub reason: &'static str,
    /// Byte offset.
    pub offset: usize,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.reason, self.offset)
    }
}

impl Json {
    /// Reads a JSON text (RFC 8259); a byte order mark is skipped.
    pub fn parse(text: &[u8]) -> Result<Self, ParseError> {
        let start = if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let mut parser = Parser { text, at: start };
        let value = parser.value(0)?;
        parser.white_space();
        if parser.at < text.len() {
            Err(parser.error("text after the document"))
        } else {
            Ok(value)
        }
    }

    /// Writes the value without white space.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Number(digits) => out.extend_from_slice(digits.as_bytes()),
            Self::String(text) => write_string(text, out),
            Self::Array(items) => {
                out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Self::Object(members) => {
                out.push(b'{');
                for (index, (name, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_string(name, out);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }

    /// The JSON text.
    pub fn to_text(&self) -> String {
        let mut out = Vec::new();
        self.write(&mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    /// About as many bytes as the value takes when it is written.
    pub fn size(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) => 5,
            Self::Number(text) => text.len() + 1,
            Self::String(text) => text.len() + 3,
            Self::Array(items) => items.iter().map(Self::size).sum::<usize>() + 2,
            Self::Object(members) => {
                members
                    .iter()
                    .map(|(name, value)| name.len() + 4 + value.size())
                    .sum::<usize>()
                    + 2
            }
        }
    }

    /// Equal in the sense of JSON: numbers by value, members in any order.
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => {
                a == b
                    || a.parse::<f64>()
                        .ok()
                        .is_some_and(|a| b.parse() == Ok(a) && a.abs() < 9e15)
            }
            (Self::Array(a), Self::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b)),
            (Self::Object(a), Self::Object(b)) => {
                a.len() == b.len()
                    && a.iter()
                        .all(|(name, value)| b.iter().any(|(other, to)| name == other && value.same(to)))
            }
            (a, b) => a == b,
        }
    }

    /// True if the text is a number of JSON.
    pub fn is_number(text: &str) -> bool {
        let mut parser = Parser {
            text: text.as_bytes(),
            at: 0,
        };
        parser.number().is_ok() && parser.at == text.len()
    }
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            0..=0x1f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            other => out.push(other),
        }
    }
    out.push(b'"');
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn error(&self, reason: &'static str) -> ParseError {
        ParseError {
            reason,
            offset: self.at,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
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

    fn value(&mut self, depth: usize) -> Result<Json, ParseError> {
        if depth > MAX_DEPTH {
            return Err(self.error("nested deeper than 128 levels"));
        }
        self.white_space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Json::String),
            Some(b'-' | b'0'..=b'9') => {
                let start = self.at;
                self.number()?;
                Ok(Json::Number(
                    String::from_utf8_lossy(&self.text[start..self.at]).into_owned(),
                ))
            }
            Some(b't') => self.word(b"true", Json::Bool(true)),
            Some(b'f') => self.word(b"false", Json::Bool(false)),
            Some(b'n') => self.word(b"null", Json::Null),
            Some(_) => Err(self.error("unexpected character")),
            None => Err(self.error("unexpected end")),
        }
    }

    fn word(&mut self, word: &[u8], value: Json) -> Result<Json, ParseError> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.error("unexpected character"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn object(&mut self, depth: usize) -> Result<Json, ParseError> {
        self.at += 1;
        let mut members = Vec::new();
        self.white_space();
        if self.eat(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.white_space();
            if self.peek() != Some(b'"') {
                return Err(self.error("expected a member name"));
            }
            let name = self.string()?;
            self.white_space();
            if !self.eat(b':') {
                return Err(self.error("expected `:`"));
            }
            members.push((name, self.value(depth + 1)?));
            self.white_space();
            if self.eat(b'}') {
                return Ok(Json::Object(members));
            }
            if !self.eat(b',') {
                return Err(self.error("expected `,` or `}`"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, ParseError> {
        self.at += 1;
        let mut items = Vec::new();
        self.white_space();
        if self.eat(b']') {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.white_space();
            if self.eat(b']') {
                return Ok(Json::Array(items));
            }
            if !self.eat(b',') {
                return Err(self.error("expected `,` or `]`"));
            }
        }
    }

    fn digits(&mut self) -> Result<(), ParseError> {
        if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
            return Err(self.error("expected a digit"));
        }
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), ParseError> {
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
        Ok(())
    }

    fn string(&mut self) -> Result<String, ParseError> {
        let opening = self.at;
        self.at += 1;
        let mut out = Vec::new();
        loop {
            let start = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..=0x1f)) {
                self.at += 1;
            }
            out.extend_from_slice(&self.text[start..self.at]);
            if self.eat(b'"') {
                return String::from_utf8(out).map_err(|_not_utf8| ParseError {
                    reason: "a text that is not UTF-8",
                    offset: opening,
                });
            }
            if !self.eat(b'\\') {
                return Err(self.error(if self.peek().is_none() {
                    "unexpected end in a text"
                } else {
                    "control character in a text"
                }));
            }
            self.escape(&mut out)?;
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), ParseError> {
        let kind = self.peek();
        self.at += usize::from(kind.is_some());
        out.push(match kind {
            Some(c @ (b'"' | b'\\' | b'/')) => c,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                let mut code = self.hex()?;
                if (0xd800..0xdc00).contains(&code) && self.text[self.at..].starts_with(b"\\u") {
                    self.at += 2;
                    let low = self.hex()?;
                    if (0xdc00..0xe000).contains(&low) {
                        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                    }
                }
                let Some(c) = char::from_u32(code) else {
                    return Err(self.error("half of a surrogate pair"));
                };
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(self.error("unknown escape")),
        });
        Ok(())
    }

    fn hex(&mut self) -> Result<u32, ParseError> {
        let digits = self
            .text
            .get(self.at..self.at + 4)
            .ok_or_else(|| self.error("unexpected end in a text"))?;
        let code = digits
            .iter()
            .try_fold(0, |sum, digit| Some(sum * 16 + char::from(*digit).to_digit(16)?));
        let code = code.ok_or_else(|| self.error("expected four hexadecimal digits"))?;
        self.at += 4;
        Ok(code)
    }
}

/// Values in the configuration.
impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FromConfig)
    }
}

struct FromConfig;

impl<'de> Visitor<'de> for FromConfig {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        if value.is_finite() {
            Ok(Json::Number(format!("{value:?}")))
        } else {
            Err(E::custom("not a number of JSON"))
        }
    }
    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }
    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn same_text(text: &str) {
        assert_eq!(Json::parse(text.as_bytes()).unwrap().to_text(), text);
    }

    #[test]
    fn numbers_keep_all_digits_and_members_their_order() {
        same_text(
            r#"{"z":123456789012345678901234567890,"a":0.1000000000000000055511151231257827,"m":[1E+2,-0,1.0]}"#,
        );
        same_text(r#"{"a":1,"a":2}"#);
        same_text(r#"["\u0000\b\f\n\r\t\"\\é😀",null,true,false,{},[]]"#);
        assert_eq!(
            Json::parse(br#""\ud83d\ude00\/\u00e9""#).unwrap(),
            Json::String("😀/é".to_owned())
        );
        assert_eq!(
            Json::parse(b"\xef\xbb\xbf 1 ").unwrap(),
            Json::Number("1".to_owned())
        );
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        let message = |text: &[u8]| Json::parse(text).unwrap_err().to_string();
        assert_eq!(message(b"{\"a\":}"), "unexpected character at byte 5");
        assert_eq!(message(b""), "unexpected end at byte 0");
        assert_eq!(message(b"1 2"), "text after the document at byte 2");
        assert_eq!(message(b"\"\\ud800\""), "half of a surrogate pair at byte 7");
        for text in [
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "[1,]",
            "{a:1}",
            "'a'",
            "NaN",
            "\"a",
            "\"\n\"",
            "\"\\x\"",
            "tru",
            "{\"a\" 1}",
            "[1 2]",
        ] {
            assert!(Json::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(message("[".repeat(200).as_bytes()).contains("128 levels"));
        assert!(message(b"\"\xff\"").contains("UTF-8"));
    }

    #[test]
    fn equality_is_by_value() {
        let same = |a: &str, b: &str| {
            Json::parse(a.as_bytes())
                .unwrap()
                .same(&Json::parse(b.as_bytes()).unwrap())
        };
        assert!(same(r#"{"a":1.0,"b":2}"#, r#"{"b":2,"a":1}"#));
        assert!(!same("12345678901234567890", "12345678901234567891"));
        assert!(!same("1", "\"1\""));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            drop(Json::parse(&bytes));
        }

        #[test]
        fn it_agrees_with_serde_json_on_what_is_json(text in r#"([\[\]{},:" \\u0-9a-f.eE+\-]|true|null|"a"){0,20}"#) {
            let ours = Json::parse(text.as_bytes());
            match serde_json::from_str::<serde_json::Value>(&text) {
                Ok(theirs) => prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&ours.unwrap().to_text()).unwrap(), theirs),
                // numbers beyond f64 are refused by serde_json only
                Err(error) => prop_assert!(ours.is_err() || error.to_string().contains("out of range")),
            }
        }
    }
}
