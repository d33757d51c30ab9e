//! Text with wildcards and policy variables, taken apart once. Matching takes time in proportion to text times pattern at most, and mostly to their sum.

use smallvec::SmallVec;

use super::{
    key::{Key, Value},
    request::Request,
    small::Small,
};

/// What is read in a text of a policy beside itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// `*` is any run of characters, `?` any one.
    pub(super) wildcards: bool,
    /// `${key}` is the value of a condition key.
    pub(super) variables: bool,
}

/// A text of a policy, ready to be compared.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pattern {
    pieces: Box<[Piece]>,
    has_variables: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(Box<str>),
    One,
    Many,
    Variable { key: Key, default: Option<Box<str>> },
}

/// A piece as it is in one request.
enum Part<'a> {
    Text(&'a str),
    Small(Small),
    One,
    Many,
}

/// A piece without variables.
#[derive(Clone, Copy)]
enum Token<'a> {
    Text(&'a str),
    One,
    Many,
}

/// Pieces, of which all variables are known.
trait Tokens {
    /// How many.
    fn count(&self) -> usize;
    /// One of them; `None` behind the end.
    fn token(&self, index: usize) -> Option<Token<'_>>;
}

impl Tokens for [Piece] {
    fn count(&self) -> usize {
        self.len()
    }

    fn token(&self, index: usize) -> Option<Token<'_>> {
        match self.get(index)? {
            Piece::Text(text) => Some(Token::Text(text)),
            Piece::One => Some(Token::One),
            Piece::Many => Some(Token::Many),
            Piece::Variable { .. } => None,
        }
    }
}

impl Tokens for [Part<'_>] {
    fn count(&self) -> usize {
        self.len()
    }

    fn token(&self, index: usize) -> Option<Token<'_>> {
        Some(match self.get(index)? {
            Part::Text(text) => Token::Text(text),
            Part::Small(text) => Token::Text(text.as_str()),
            Part::One => Token::One,
            Part::Many => Token::Many,
        })
    }
}

impl Pattern {
    /// Takes a text apart. What is wrong with it is told for a message that begins with the text.
    pub(super) fn read(source: &str, reading: Reading) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some(next) = rest.chars().next() {
            let special = match next {
                '*' if reading.wildcards => Some((Piece::Many, 1)),
                '?' if reading.wildcards => Some((Piece::One, 1)),
                '$' if reading.variables && rest.starts_with("${") => {
                    let length = variable(rest)?;
                    let inside = rest.get(2..length - 1).unwrap_or_default();
                    if let "*" | "?" | "$" = inside {
                        text.push_str(inside);
                        rest = rest.get(length..).unwrap_or_default();
                        continue;
                    }
                    Some((named(inside)?, length))
                }
                _ => None,
            };
            let Some((piece, length)) = special else {
                text.push(next);
                rest = rest.get(next.len_utf8()..).unwrap_or_default();
                continue;
            };
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text).into()));
            }
            if !(piece == Piece::Many && pieces.last() == Some(&Piece::Many)) {
                pieces.push(piece);
            }
            rest = rest.get(length..).unwrap_or_default();
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text.into()));
        }
        Ok(Self {
            has_variables: pieces.iter().any(|piece| matches!(piece, Piece::Variable { .. })),
            pieces: pieces.into(),
        })
    }

    /// The condition keys of its variables.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Variable { key, .. } => Some(key),
            _ => None,
        })
    }

    /// Whether all of a text is what the pattern says. A variable without a value is like nothing.
    pub(super) fn matches(&self, text: &str, request: &Request<'_>) -> bool {
        if !self.has_variables {
            return is_like(&*self.pieces, text);
        }
        self.resolved(request)
            .is_some_and(|parts| is_like(parts.as_slice(), text))
    }

    /// Whether all of a text is what a pattern without variables says.
    pub(super) fn matches_plain(&self, text: &str) -> bool {
        is_like(&*self.pieces, text)
    }

    /// Whether a text is the same but for upper and lower case. The pattern has no wildcards.
    pub(super) fn matches_ignoring_case(&self, text: &str, request: &Request<'_>) -> bool {
        if !self.has_variables {
            return is_same(&*self.pieces, text);
        }
        self.resolved(request)
            .is_some_and(|parts| is_same(parts.as_slice(), text))
    }

    /// Its parts with the values of variables in place; `None` where one has no value.
    fn resolved<'a>(&'a self, request: &'a Request<'_>) -> Option<SmallVec<[Part<'a>; 8]>> {
        let part = |piece: &'a Piece| {
            Some(match piece {
                Piece::Text(text) => Part::Text(text),
                Piece::One => Part::One,
                Piece::Many => Part::Many,
                Piece::Variable { key, default } => match (request.values(key).single(), default) {
                    (Some(Value::Text(text)), _) => Part::Text(text),
                    (Some(value), _) => Part::Small(value.with_text(|text| Small::of(text))),
                    (None, Some(default)) => Part::Text(default),
                    (None, None) => return None,
                },
            })
        };
        self.pieces.iter().map(part).collect()
    }
}

/// Length of a variable, up to its closing brace, at the beginning of a text. A default in quotes may have braces.
fn variable(text: &str) -> Result<usize, String> {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            '}' if !quoted => return Ok(at + 1),
            _ => {}
        }
    }
    Err("has a variable without an end: `${` needs `}`".to_owned())
}

/// The variable that stands between braces: `key`, or `key, 'default'`. A quote in a default is written twice.
fn named(inside: &str) -> Result<Piece, String> {
    let (name, default) = match inside.split_once(',') {
        None => (inside, None),
        Some((name, default)) => {
            let text = default
                .trim()
                .strip_prefix('\'')
                .and_then(|text| text.strip_suffix('\''));
            let text = text.ok_or_else(|| {
                format!(
                    "has the variable `${{{inside}}}`, whose default does not stand between single quotes"
                )
            })?;
            (name, Some(text.replace("''", "'").into()))
        }
    };
    let name = name.trim();
    if name.is_empty() || name.contains(|c| "*?$'{".contains(c)) {
        return Err(format!(
            "has the variable `${{{inside}}}`, which names no condition key"
        ));
    }
    Ok(Piece::Variable {
        key: Key::of(name),
        default,
    })
}

/// Whether all of a text is like pieces with wildcards: what stands before the first run is at its beginning, what stands behind the last one at its end,
/// and each piece between two runs is looked for behind the one before it. The first place that is found is as good as any later one.
fn is_like<T: Tokens + ?Sized>(tokens: &T, text: &str) -> bool {
    let mut rest = text;
    let mut from = 0;
    loop {
        match tokens.token(from) {
            None => return from >= tokens.count() && rest.is_empty(),
            Some(Token::Many) => break,
            Some(token) => match front(token, rest) {
                Some(behind) => rest = behind,
                None => return false,
            },
        }
        from += 1;
    }
    let mut end = tokens.count();
    while let Some(last) = end.checked_sub(1) {
        match tokens.token(last) {
            None => return false,
            Some(Token::Many) => break,
            Some(token) => match back(token, rest) {
                Some(before) => rest = before,
                None => return false,
            },
        }
        end = last;
    }
    // now a run stands at `from`, and one, maybe the same, right before `end`
    from += 1;
    while from < end {
        let is_run = |index: &usize| matches!(tokens.token(*index), Some(Token::Many) | None);
        let stop = (from..end).find(is_run).unwrap_or(end);
        match find(tokens, from..stop, rest) {
            Some(behind) => rest = behind,
            None => return false,
        }
        from = stop + 1;
    }
    true
}

/// What is behind the first place of some pieces, none of them a run, in a text.
fn find<'t, T: Tokens + ?Sized>(tokens: &T, range: std::ops::Range<usize>, text: &'t str) -> Option<&'t str> {
    let mut rest = text;
    loop {
        if let Some(Token::Text(first)) = tokens.token(range.start).filter(|_| !range.is_empty()) {
            rest = rest.get(rest.find(first)?..)?;
        }
        let mut behind = Some(rest);
        for index in range.clone() {
            behind = behind.and_then(|rest| front(tokens.token(index)?, rest));
        }
        if behind.is_some() {
            return behind;
        }
        rest = front(Token::One, rest)?;
    }
}

/// What is behind a piece that stands at the beginning.
fn front<'t>(token: Token<'_>, text: &'t str) -> Option<&'t str> {
    match token {
        Token::Text(piece) => text.strip_prefix(piece),
        Token::One | Token::Many => {
            let mut chars = text.chars();
            chars.next().map(|_| chars.as_str())
        }
    }
}

/// What is before a piece that stands at the end.
fn back<'t>(token: Token<'_>, text: &'t str) -> Option<&'t str> {
    match token {
        Token::Text(piece) => text.strip_suffix(piece),
        Token::One | Token::Many => {
            let mut chars = text.chars();
            chars.next_back().map(|_| chars.as_str())
        }
    }
}

/// Whether pieces without wildcards are a text but for upper and lower case.
fn is_same<T: Tokens + ?Sized>(tokens: &T, text: &str) -> bool {
    let pieces = (0..tokens.count()).map(|index| match tokens.token(index) {
        Some(Token::Text(piece)) => piece,
        _ => "",
    });
    let lower = |text| str::chars(text).flat_map(char::to_lowercase);
    pieces.flat_map(lower).eq(lower(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::{Facts, key::Nothing, naive, request::tests::request};

    const ALL: Reading = Reading {
        wildcards: true,
        variables: true,
    };

    fn like(pattern: &str, text: &str) -> bool {
        let pattern = Pattern::read(pattern, ALL).unwrap();
        pattern.matches(text, &request(&Nothing))
    }

    #[test]
    fn wildcards_match_runs_and_single_characters() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "a/b:c", true),
            ("a*", "a", true),
            ("a*b", "ab", true),
            ("a*b", "a", false),
            ("a*a", "a", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("?", "é", true),
            ("?", "", false),
            ("*?*", "", false),
            ("*?*", "é", true),
            ("a?c*?e", "abcde", true),
            ("a?c*?e", "abce", false),
            ("*ab?d*", "xabyabzd", true),
            ("${*}${?}${$}", "*?$", true),
            ("${*}", "x", false),
            ("$*", "${", true),
            ("A", "a", false),
        ] {
            assert_eq!(like(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn variables_are_values_of_the_request_and_not_patterns() {
        let mut facts = Facts::default();
        facts.add("aws:username", ["a*".to_owned()]);
        facts.add("aws:many", ["x".to_owned(), "y".to_owned()]);
        let request = request(&facts);
        for (pattern, text, expected) in [
            ("/${aws:username}/*", "/a*/x", true),
            ("/${AWS:UserName}/*", "/ab/x", false),
            ("${aws:username}${aws:username}", "a*a*", true),
            ("${aws:none}", "", false),
            ("*${aws:none}*", "x", false),
            ("${aws:many}", "x", false),
            ("${aws:many, 'z'}", "z", true),
            ("${aws:none, 'it''s {*}'}!", "it's {*}!", true),
            ("${ aws:username , 'z' }", "a*", true),
            ("${aws:EpochTime}", "1700000000", true),
            ("${aws:CurrentTime}", "2023-11-14T22:13:20Z", true),
        ] {
            let read = Pattern::read(pattern, ALL).unwrap();
            assert_eq!(read.matches(text, &request), expected, "{pattern} {text}");
        }
        let plain = Reading {
            variables: false,
            ..ALL
        };
        let read = Pattern::read("${aws:username}", plain).unwrap();
        assert!(read.matches("${aws:username}", &request));
        for wrong in [
            "${",
            "a${b",
            "${}",
            "${ , 'x'}",
            "${a:b, x}",
            "${a:b, 'x}",
            "${a*}",
        ] {
            assert!(Pattern::read(wrong, ALL).is_err(), "{wrong}");
        }
    }

    #[test]
    fn case_is_ignored_where_it_shall_be() {
        let mut facts = Facts::default();
        facts.add("aws:username", ["Österreich".to_owned()]);
        let request = request(&facts);
        let exact = Reading {
            wildcards: false,
            variables: true,
        };
        for (pattern, text, expected) in [
            ("a*B", "A*b", true),
            ("a*B", "AxB", false),
            ("in ${aws:username}", "IN ÖSTERREICH", true),
            ("in ${aws:username}", "in Österreic", false),
            ("${aws:none}", "", false),
        ] {
            let read = Pattern::read(pattern, exact).unwrap();
            assert_eq!(read.matches_ignoring_case(text, &request), expected, "{pattern}");
        }
    }

    #[test]
    fn a_pattern_made_to_be_slow_is_not() {
        let text = "a".repeat(10_000);
        let begin = std::time::Instant::now();
        for pattern in [
            "*a".repeat(250) + "b",
            format!("*?{}b*", "a".repeat(500)),
            "*?a".repeat(160) + "*b*",
        ] {
            assert!(!like(&pattern, &text), "{pattern}");
        }
        assert!(begin.elapsed().as_secs() < 5, "{:?}", begin.elapsed());
    }

    proptest! {
        #[test]
        fn matching_agrees_with_a_naive_matcher(pattern in "[ab*?é]{0,10}", text in "[abé]{0,12}") {
            prop_assert_eq!(like(&pattern, &text), naive::like(&pattern, &text), "{} {}", pattern, text);
        }

        #[test]
        fn any_text_is_a_pattern_or_not(pattern in "[$a{},' *]{0,12}", text in ".{0,8}") {
            if let Ok(read) = Pattern::read(&pattern, ALL) {
                read.matches(&text, &request(&Nothing));
                read.matches_ignoring_case(&text, &request(&Nothing));
            }
        }
    }
}
