//! JSONPath as far as templates need it: the notation of Jayway's library, which AWS uses.
//!
//! Names, indices, lists of both, slices, `*`, `..`, filters, and `length()` at the end. A path that can name several places (it has one of
//! the last five but `length()`) gives a list.

mod filter;
mod select;
#[cfg(test)]
mod tests;

use crate::fault::{Fault, MAX_DEPTH};
use filter::Filter;
use std::rc::Rc;

/// Longest path that is read, in bytes.
const MAX_LENGTH: usize = 4096;
/// Deepest nesting of filters.
const MAX_NESTING: usize = MAX_DEPTH / 4;

/// A path.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    segments: Vec<Segment>,
    length: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Segment {
    /// `..`: at every depth.
    deep: bool,
    selector: Selector,
}

#[derive(Debug, Clone, PartialEq)]
enum Selector {
    Names(Vec<Rc<str>>),
    Indices(Vec<i64>),
    Slice {
        from: Option<i64>,
        to: Option<i64>,
        step: i64,
    },
    All,
    Filter(Filter),
}

impl Segment {
    fn is_definite(&self) -> bool {
        let single = match &self.selector {
            Selector::Names(names) => names.len() == 1,
            Selector::Indices(indices) => indices.len() == 1,
            _ => false,
        };
        single && !self.deep
    }
}

impl Path {
    /// Reads a path. One that does not begin with `$` is taken as if it began with `$.`.
    ///
    /// # Errors
    /// It is no path, or uses what is not supported.
    pub fn parse(path: &str) -> Result<Self, Fault> {
        let wrong = |reason: String| Fault::Path {
            path: path.to_owned(),
            reason,
        };
        if path.len() > MAX_LENGTH {
            return Err(wrong(format!("longer than {MAX_LENGTH} bytes")));
        }
        let text = path.trim();
        let whole = match text.strip_prefix('$') {
            Some(rest) => rest.to_owned(),
            None if text.starts_with('[') => text.to_owned(),
            None => format!(".{text}"),
        };
        let mut parser = Parser {
            text: &whole,
            at: 0,
            depth: 0,
        };
        let parsed = parser.segments().map_err(wrong)?;
        if parser.rest().is_empty() {
            Ok(parsed)
        } else {
            Err(wrong(format!("cannot read `{}`", parser.rest())))
        }
    }

    fn is_definite(&self) -> bool {
        self.segments.iter().all(Segment::is_definite)
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

fn name_byte(byte: u8) -> bool {
    !byte.is_ascii()
        || byte.is_ascii_alphanumeric()
        || matches!(byte, b'_' | b'-' | b'$' | b'@' | b':' | b'#')
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        self.at += if found { text.len() } else { 0 };
        found
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn expect(&mut self, text: &str) -> Result<(), String> {
        self.space();
        if self.eat(text) {
            return Ok(());
        }
        let found = self.rest().chars().next();
        Err(match found {
            Some(found) => format!("expected `{text}`, found `{found}`"),
            None => format!("expected `{text}` at its end"),
        })
    }

    fn segments(&mut self) -> Result<Path, String> {
        let mut segments = Vec::new();
        loop {
            let deep = self.eat("..");
            if !deep && self.eat(".") || deep && !self.rest().starts_with('[') {
                if self.eat("length()") || self.eat("size()") {
                    return Ok(Path {
                        segments,
                        length: true,
                    });
                }
                let selector = self.dotted()?;
                segments.push(Segment { deep, selector });
            } else if self.eat("[") {
                let selector = self.brackets()?;
                segments.push(Segment { deep, selector });
            } else {
                let length = false;
                return Ok(Path { segments, length });
            }
        }
    }

    /// What stands behind a dot.
    fn dotted(&mut self) -> Result<Selector, String> {
        if self.eat("*") {
            return Ok(Selector::All);
        }
        let rest = self.rest();
        let end = rest
            .bytes()
            .position(|byte| !name_byte(byte))
            .unwrap_or(rest.len());
        let name = rest.get(..end).unwrap_or_default();
        if name.is_empty() {
            return Err("a dot without a name".to_owned());
        }
        self.at += end;
        if self.rest().starts_with('(') {
            return Err(format!("the function `{name}` is not supported"));
        }
        Ok(Selector::Names(vec![name.into()]))
    }

    /// What stands between brackets.
    fn brackets(&mut self) -> Result<Selector, String> {
        self.space();
        if self.eat("*") {
            self.expect("]")?;
            return Ok(Selector::All);
        }
        if self.eat("?") {
            self.expect("(")?;
            let filter = self.filter()?;
            self.expect(")")?;
            self.expect("]")?;
            return Ok(Selector::Filter(filter));
        }
        if self.rest().starts_with(['\'', '"']) {
            let mut names = vec![self.quoted()?.into()];
            self.space();
            while self.eat(",") {
                self.space();
                names.push(self.quoted()?.into());
                self.space();
            }
            self.expect("]")?;
            return Ok(Selector::Names(names));
        }
        self.numbers()
    }

    fn numbers(&mut self) -> Result<Selector, String> {
        let first = self.integer()?;
        self.space();
        if self.eat(":") {
            let to = self.integer()?;
            self.space();
            let step = if self.eat(":") {
                self.integer()?.unwrap_or(1)
            } else {
                1
            };
            self.expect("]")?;
            if step < 1 {
                return Err(format!("the step {step} of a slice is below 1"));
            }
            return Ok(Selector::Slice {
                from: first,
                to,
                step,
            });
        }
        let missing = || "expected a name in quotes, an index, `*` or `?(` in brackets".to_owned();
        let mut indices = vec![first.ok_or_else(missing)?];
        while self.eat(",") {
            indices.push(self.integer()?.ok_or_else(missing)?);
            self.space();
        }
        self.expect("]")?;
        Ok(Selector::Indices(indices))
    }

    fn integer(&mut self) -> Result<Option<i64>, String> {
        self.space();
        let rest = self.rest();
        let sign = usize::from(rest.starts_with('-'));
        let digits = rest.bytes().skip(sign).take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return Ok(None);
        }
        let text = rest.get(..sign + digits).unwrap_or_default();
        self.at += text.len();
        let number = text.parse();
        number
            .map(Some)
            .map_err(|_too_large| format!("the index {text} is out of range"))
    }

    /// A text in quotes; a backslash takes away the meaning of what follows it.
    fn quoted(&mut self) -> Result<String, String> {
        let mut chars = self.rest().chars();
        let quote = chars.next().filter(|c| matches!(c, '\'' | '"'));
        let quote = quote.ok_or_else(|| "expected a name in quotes".to_owned())?;
        let mut text = String::new();
        while let Some(c) = chars.next() {
            if c == quote {
                self.at = self.text.len() - chars.as_str().len();
                return Ok(text);
            }
            text.extend(if c == '\\' { chars.next() } else { Some(c) });
        }
        Err("a name in quotes is not closed".to_owned())
    }
}
