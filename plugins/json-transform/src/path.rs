//! Paths: the part of JSONPath (RFC 9535) that names places, without filters, slices and lists of selectors.

use crate::json::Json;
use std::fmt;

/// Longest path in bytes.
const MAX_LENGTH: usize = 1024;
/// Largest index, the largest integer that all JSON implementations agree on (RFC 9535 section 2.1).
const MAX_INDEX: i64 = 9_007_199_254_740_991;

/// A path from the root of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(pub Vec<Segment>);

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// To children.
    Child(Selector),
    /// To children of the value and of everything inside of it.
    Descendant(Selector),
}

/// Which children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The member of that name.
    Name(String),
    /// The element at that index, from the end when negative.
    Index(i64),
    /// All.
    Wildcard,
}

impl Path {
    /// Reads a path.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fail = |reason: String| format!("path `{text}`: {reason}");
        if text.len() > MAX_LENGTH {
            return Err(format!(
                "path of {} bytes is longer than {MAX_LENGTH}",
                text.len()
            ));
        }
        let mut rest = text
            .strip_prefix('$')
            .ok_or_else(|| fail("does not begin with `$`".to_owned()))?;
        let mut segments = Vec::new();
        while !rest.is_empty() {
            let (segment, after) = parse_segment(rest).map_err(fail)?;
            segments.push(segment);
            rest = after;
        }
        // each further one would multiply the work by the depth of the document
        if segments
            .iter()
            .filter(|segment| matches!(segment, Segment::Descendant(_)))
            .count()
            > 1
        {
            return Err(fail("has more than one `..`".to_owned()));
        }
        Ok(Self(segments))
    }

    /// True if it names one place at most.
    pub fn is_singular(&self) -> bool {
        self.0
            .iter()
            .all(|segment| matches!(segment, Segment::Child(Selector::Name(_) | Selector::Index(_))))
    }

    /// What is there: all values in the order of the document.
    pub fn select<'a>(&self, document: &'a Json) -> Vec<&'a Json> {
        let mut found = Vec::new();
        select(document, &self.0, &mut found);
        found
    }

    /// What is there as one value: a singular path gives the value, any other an array of all values.
    pub fn get(&self, document: &Json) -> Option<Json> {
        let found = self.select(document);
        if self.is_singular() {
            found.first().map(|value| (*value).clone())
        } else if found.is_empty() {
            None
        } else {
            Some(Json::Array(found.into_iter().cloned().collect()))
        }
    }
}

fn parse_segment(text: &str) -> Result<(Segment, &str), String> {
    if let Some(rest) = text.strip_prefix("..") {
        let (selector, rest) = if rest.starts_with('[') {
            bracket(rest)?
        } else {
            shorthand(rest)?
        };
        return Ok((Segment::Descendant(selector), rest));
    }
    let (selector, rest) = match text.strip_prefix('.') {
        Some(rest) => shorthand(rest)?,
        None if text.starts_with('[') => bracket(text)?,
        None => return Err(format!("expected `.`, `..` or `[` at `{text}`")),
    };
    Ok((Segment::Child(selector), rest))
}

/// `*` or a member name (RFC 9535 section 2.5.1: letters, digits, `_` and everything that is not ASCII; no digit in front).
fn shorthand(text: &str) -> Result<(Selector, &str), String> {
    if let Some(rest) = text.strip_prefix('*') {
        return Ok((Selector::Wildcard, rest));
    }
    let end = text.find(|c: char| !is_name(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    match name.chars().next() {
        None => Err(format!(
            "expected a name or `*` at `{text}`; names with other characters are written ['like this']"
        )),
        Some(first) if first.is_ascii_digit() => Err(format!(
            "name `{name}` begins with a digit; write ['{name}'], or [{name}] for an index"
        )),
        Some(_) => Ok((Selector::Name(name.to_owned()), rest)),
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii()
}

/// `['name']`, `["name"]`, `[0]`, `[-1]`, `[*]`.
fn bracket(text: &str) -> Result<(Selector, &str), String> {
    let inside = text[1..].trim_start();
    let (selector, rest) = match inside.chars().next() {
        Some(quote @ ('\'' | '"')) => {
            let (name, rest) = quoted(&inside[1..], quote)?;
            (Selector::Name(name), rest)
        }
        Some('*') => (Selector::Wildcard, &inside[1..]),
        Some('?') => return Err("filters `[?...]` are not supported".to_owned()),
        _ => {
            let end = inside
                .find(|c: char| !c.is_ascii_digit() && c != '-')
                .unwrap_or(inside.len());
            let (digits, rest) = inside.split_at(end);
            let leading_zero = digits.trim_start_matches('-').starts_with('0') && digits != "0";
            let index = digits
                .parse::<i64>()
                .ok()
                .filter(|index| !leading_zero && index.abs() <= MAX_INDEX);
            (
                Selector::Index(
                    index.ok_or_else(|| format!("expected an index, '*' or a quoted name at `{inside}`"))?,
                ),
                rest,
            )
        }
    };
    let rest = rest.trim_start();
    match rest.chars().next() {
        Some(']') => Ok((selector, &rest[1..])),
        Some(':') => Err("slices `[a:b]` are not supported".to_owned()),
        Some(',') => Err("lists of selectors `[a, b]` are not supported".to_owned()),
        _ => Err(format!("expected `]` at `{rest}`")),
    }
}

/// The name up to the closing quote, and what follows it.
fn quoted(text: &str, quote: char) -> Result<(String, &str), String> {
    // the escapes of JSON strings, and of the quote itself (RFC 9535 section 2.3.1.1)
    let mut json = String::from("\"");
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some((_, '\'')) if quote == '\'' => json.push('\''),
                Some((_, '"')) if quote == '\'' => return Err("unknown escape in a name".to_owned()),
                Some((_, escaped)) => json.extend(['\\', escaped]),
                None => break,
            },
            c if c == quote => {
                json.push('"');
                return match Json::parse(json.as_bytes()) {
                    Ok(Json::String(name)) => Ok((name, &text[at + 1..])),
                    Ok(_) => Err("expected a name".to_owned()),
                    Err(error) => Err(format!("in a name: {}", error.reason)),
                };
            }
            '"' => json.push_str("\\\""),
            c => json.push(c),
        }
    }
    Err(format!("name without closing {quote}"))
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        for segment in &self.0 {
            let (selector, descendant) = match segment {
                Segment::Child(selector) => (selector, false),
                Segment::Descendant(selector) => (selector, true),
            };
            match selector {
                Selector::Name(name)
                    if name.chars().all(is_name)
                        && !name.starts_with(|c: char| c.is_ascii_digit())
                        && !name.is_empty() =>
                {
                    write!(f, "{}{name}", if descendant { ".." } else { "." })?;
                }
                Selector::Name(name) => write!(
                    f,
                    "{}[{}]",
                    if descendant { ".." } else { "" },
                    Json::String(name.clone()).to_text()
                )?,
                Selector::Index(index) => write!(f, "{}[{index}]", if descendant { ".." } else { "" })?,
                Selector::Wildcard => write!(f, "{}[*]", if descendant { ".." } else { "" })?,
            }
        }
        Ok(())
    }
}

/// The element that an index means.
pub fn resolve(index: i64, length: usize) -> Option<usize> {
    let at = if index < 0 {
        length.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?
    } else {
        usize::try_from(index).ok()?
    };
    (at < length).then_some(at)
}

fn select<'a>(value: &'a Json, path: &[Segment], found: &mut Vec<&'a Json>) {
    let Some((segment, rest)) = path.split_first() else {
        found.push(value);
        return;
    };
    let (Segment::Child(selector) | Segment::Descendant(selector)) = segment;
    match (value, selector) {
        (Json::Object(members), Selector::Name(name)) => {
            if let Some((_, child)) = members.iter().rev().find(|(other, _)| other == name) {
                select(child, rest, found);
            }
        }
        (Json::Object(members), Selector::Wildcard) => {
            members.iter().for_each(|(_, child)| select(child, rest, found))
        }
        (Json::Array(items), Selector::Wildcard) => items.iter().for_each(|child| select(child, rest, found)),
        (Json::Array(items), Selector::Index(index)) => {
            if let Some(at) = resolve(*index, items.len()) {
                select(&items[at], rest, found);
            }
        }
        _ => {}
    }
    if matches!(segment, Segment::Descendant(_)) {
        match value {
            Json::Object(members) => members.iter().for_each(|(_, child)| select(child, path, found)),
            Json::Array(items) => items.iter().for_each(|child| select(child, path, found)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn select_text(path: &str, document: &str) -> String {
        let document = Json::parse(document.as_bytes()).unwrap();
        Json::Array(
            Path::parse(path)
                .unwrap()
                .select(&document)
                .into_iter()
                .cloned()
                .collect(),
        )
        .to_text()
    }

    #[test]
    fn paths_find_what_they_name() {
        let document = r#"{"a":{"b":[1,2,{"b":3}]},"x y":4,"k'q":5,"é":6,"":7}"#;
        for (path, expected) in [
            ("$.a.b[0]", "[1]"),
            ("$.a.b[-1].b", "[3]"),
            ("$['a'][\"b\"][ 1 ]", "[2]"),
            ("$.a.b[*]", r#"[1,2,{"b":3}]"#),
            ("$.a.*[1]", "[2]"),
            ("$['x y']", "[4]"),
            (r"$['k\'q']", "[5]"),
            (r"$['\u00e9']", "[6]"),
            ("$.é", "[6]"),
            ("$['']", "[7]"),
            ("$..b", r#"[[1,2,{"b":3}],3]"#),
            ("$..[0]", "[1]"),
            ("$.a.b[3]", "[]"),
            ("$.a.b[-4]", "[]"),
            ("$.a.b.c", "[]"),
            ("$.a[0]", "[]"),
        ] {
            assert_eq!(select_text(path, document), expected, "{path}");
        }
        assert_eq!(select_text("$", "1"), "[1]");
        assert_eq!(
            select_text("$.a", r#"{"a":1,"a":2}"#),
            "[2]",
            "the last of duplicate members counts"
        );
        assert_eq!(select_text("$..*", r#"{"a":[1]}"#), "[[1],1]");
    }

    #[test]
    fn mistakes_are_named() {
        for (path, expected) in [
            ("a.b", "does not begin with `$`"),
            ("$a", "expected `.`, `..` or `[` at `a`"),
            ("$.", "expected a name"),
            ("$.a-b", "expected `.`, `..` or `[` at `-b`"),
            ("$.1a", "begins with a digit"),
            ("$[1:2]", "slices"),
            ("$[0,1]", "lists of selectors"),
            ("$[?@.a]", "filters"),
            ("$[01]", "expected an index"),
            ("$[-0]", "expected an index"),
            ("$[9007199254740992]", "expected an index"),
            ("$['a", "without closing '"),
            ("$['a'", "expected `]`"),
            (r"$['\q']", "unknown escape"),
            ("$..a..b", "more than one `..`"),
        ] {
            let error = Path::parse(path).unwrap_err();
            assert!(
                error.contains(expected) && error.contains(path),
                "{path}: {error}"
            );
        }
    }

    fn segment(descendant: bool) -> impl Strategy<Value = Segment> {
        let selector = prop_oneof![
            any::<String>().prop_map(Selector::Name),
            "[a-zé_][a-z0-9]{0,5}".prop_map(Selector::Name),
            (-MAX_INDEX..=MAX_INDEX).prop_map(Selector::Index),
            Just(Selector::Wildcard)
        ];
        selector.prop_map(move |selector| {
            if descendant {
                Segment::Descendant(selector)
            } else {
                Segment::Child(selector)
            }
        })
    }

    proptest! {
        #[test]
        fn a_printed_path_reads_as_the_same_path(
            before in prop::collection::vec(segment(false), 0..4), middle in prop::option::of(segment(true)), after in prop::collection::vec(segment(false), 0..4),
        ) {
            let path = Path(before.into_iter().chain(middle).chain(after).collect());
            let text = path.to_string();
            prop_assume!(text.len() <= MAX_LENGTH);
            prop_assert_eq!(Path::parse(&text), Ok(path));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in r#"\$?([.\[\]*'"\\?:,0-9a-zé -]|\\u00e9|\\ud800){0,20}|\PC{0,20}"#) {
            drop(Path::parse(&text));
        }
    }
}
