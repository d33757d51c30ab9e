//! From the text of an expression to its pieces.

use super::class::{Class, Item};

/// Deepest nesting of groups.
const MAX_NESTING: usize = 32;
/// Longest expression in bytes.
const MAX_LENGTH: usize = 4096;
/// Most repetitions that a quantifier may name.
const MAX_COUNT: u32 = 1000;

/// A part of an expression.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    Empty,
    /// A character; true: without case (ASCII only, as in Java).
    Char(char, bool),
    /// `.`; true: line ends too.
    Any(bool),
    Class(Class),
    Assert(Assertion),
    Group(Box<Piece>, usize),
    Sequence(Vec<Piece>),
    Choice(Vec<Piece>),
    Repeat {
        piece: Box<Piece>,
        min: u32,
        max: Option<u32>,
        lazy: bool,
    },
    /// `(?=`, `(?!`
    Look {
        piece: Box<Piece>,
        negative: bool,
    },
    /// `(?>`, and possessive quantifiers.
    Atomic(Box<Piece>),
    /// `\1`; true: without case.
    Back(usize, bool),
}

/// A place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Assertion {
    TextStart,
    LineStart,
    TextEnd,
    /// The end of the text or the line end there.
    LastLineEnd,
    LineEnd,
    Word,
    NoWord,
}

/// What was parsed.
pub(super) struct Parsed {
    pub(super) piece: Piece,
    /// Groups, the whole included.
    pub(super) groups: usize,
    pub(super) names: Vec<(String, usize)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    any_case: bool,
    lines: bool,
    all: bool,
}

struct Parser<'a> {
    rest: &'a str,
    flags: Flags,
    groups: usize,
    names: Vec<(String, usize)>,
    depth: usize,
}

pub(super) fn parse(pattern: &str) -> Result<Parsed, String> {
    if pattern.len() > MAX_LENGTH {
        return Err(format!("longer than {MAX_LENGTH} bytes"));
    }
    let mut parser = Parser {
        rest: pattern,
        flags: Flags::default(),
        groups: 1,
        names: Vec::new(),
        depth: 0,
    };
    let piece = parser.choice()?;
    if !parser.rest.is_empty() {
        return Err("`)` without `(`".to_owned());
    }
    Ok(Parsed {
        piece,
        groups: parser.groups,
        names: parser.names,
    })
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    fn eat(&mut self, text: &str) -> bool {
        let stripped = self.rest.strip_prefix(text);
        self.rest = stripped.unwrap_or(self.rest);
        stripped.is_some()
    }

    fn choice(&mut self) -> Result<Piece, String> {
        if self.depth >= MAX_NESTING {
            return Err(format!("nested deeper than {MAX_NESTING} levels"));
        }
        self.depth += 1;
        let outer = self.flags;
        let mut options = vec![self.sequence()?];
        while self.eat("|") {
            options.push(self.sequence()?);
        }
        self.flags = outer;
        self.depth -= 1;
        Ok(match options.pop() {
            Some(only) if options.is_empty() => only,
            last => Piece::Choice(options.into_iter().chain(last).collect()),
        })
    }

    fn sequence(&mut self) -> Result<Piece, String> {
        let mut pieces = Vec::new();
        while self.peek().is_some_and(|c| c != '|' && c != ')') {
            if self.eat("\\Q") {
                let (literal, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
                self.rest = rest;
                pieces.extend(literal.chars().map(|c| Piece::Char(c, self.flags.any_case)));
                // a quantifier is for the last character
                if let Some(last) = pieces.pop() {
                    pieces.push(self.quantified(last)?);
                }
                continue;
            }
            let piece = self.atom()?;
            pieces.push(self.quantified(piece)?);
        }
        Ok(Piece::Sequence(pieces))
    }

    fn quantified(&mut self, piece: Piece) -> Result<Piece, String> {
        let (min, max) = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => self.counts()?,
            _ => return Ok(piece),
        };
        self.next();
        let piece = Box::new(piece);
        let lazy = self.eat("?");
        let repeat = Piece::Repeat {
            piece,
            min,
            max,
            lazy,
        };
        Ok(if !lazy && self.eat("+") {
            Piece::Atomic(Box::new(repeat))
        } else {
            repeat
        })
    }

    /// `{2}`, `{2,}`, `{2,3}`, up to the closing brace.
    fn counts(&mut self) -> Result<(u32, Option<u32>), String> {
        let inside = self.rest.get(1..).and_then(|rest| rest.split_once('}'));
        let wrong = || "`{` without numbers and `}`".to_owned();
        let (inside, _) = inside.ok_or_else(wrong)?;
        let count = |text: &str| text.parse::<u32>().map_err(|_no_number| wrong());
        let (min, max) = match inside.split_once(',') {
            None => (count(inside)?, Some(count(inside)?)),
            Some((min, "")) => (count(min)?, None),
            Some((min, max)) => (count(min)?, Some(count(max)?)),
        };
        if max.unwrap_or(min) > MAX_COUNT || min > MAX_COUNT {
            return Err(format!("more than {MAX_COUNT} repetitions"));
        }
        if max.is_some_and(|max| max < min) {
            return Err(format!("`{{{inside}}}` ends before it begins"));
        }
        self.rest = self.rest.get(1 + inside.len()..).unwrap_or_default();
        Ok((min, max))
    }

    fn atom(&mut self) -> Result<Piece, String> {
        let Flags { any_case, lines, all } = self.flags;
        Ok(match self.next() {
            Some('(') => return self.group(),
            Some('[') => Piece::Class(self.class()?),
            Some('.') => Piece::Any(all),
            Some('^') if lines => Piece::Assert(Assertion::LineStart),
            Some('^') => Piece::Assert(Assertion::TextStart),
            Some('$') if lines => Piece::Assert(Assertion::LineEnd),
            Some('$') => Piece::Assert(Assertion::LastLineEnd),
            Some('\\') => return self.escape(),
            Some(c @ ('*' | '+' | '?' | '{')) => return Err(format!("`{c}` without something to repeat")),
            Some(c) => Piece::Char(c, any_case),
            None => Piece::Empty,
        })
    }

    fn close(&mut self, piece: Piece) -> Result<Piece, String> {
        if self.eat(")") {
            Ok(piece)
        } else {
            Err("`(` without `)`".to_owned())
        }
    }

    fn group(&mut self) -> Result<Piece, String> {
        if !self.eat("?") {
            return self.capture();
        }
        if self.eat(":") {
            let piece = self.choice()?;
            return self.close(piece);
        }
        if self.eat(">") {
            let piece = Piece::Atomic(Box::new(self.choice()?));
            return self.close(piece);
        }
        for (mark, negative) in [("=", false), ("!", true)] {
            if self.eat(mark) {
                let piece = Box::new(self.choice()?);
                return self.close(Piece::Look { piece, negative });
            }
        }
        if self.rest.starts_with("<=") || self.rest.starts_with("<!") {
            return Err("lookbehind is not supported".to_owned());
        }
        if self.eat("<") {
            let (name, rest) = self.rest.split_once('>').ok_or("a group name without `>`")?;
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                return Err(format!("`{name}` is no group name"));
            }
            self.names.push((name.to_owned(), self.groups));
            self.rest = rest;
            return self.capture();
        }
        self.inline_flags()
    }

    fn capture(&mut self) -> Result<Piece, String> {
        let number = self.groups;
        self.groups += 1;
        let piece = Piece::Group(Box::new(self.choice()?), number);
        self.close(piece)
    }

    /// `(?i)`, which lasts to the end of the group, and `(?i:...)`.
    fn inline_flags(&mut self) -> Result<Piece, String> {
        let outer = self.flags;
        let mut on = true;
        loop {
            match self.next() {
                Some('-') => on = false,
                Some('i') => self.flags.any_case = on,
                Some('m') => self.flags.lines = on,
                Some('s') => self.flags.all = on,
                // letters of all languages, Unicode classes, Unix lines: nothing that changes much here
                Some('u' | 'U' | 'd') => {}
                Some(')') => return Ok(Piece::Empty),
                Some(':') => {
                    let piece = self.choice()?;
                    self.flags = outer;
                    return self.close(piece);
                }
                Some(other) => return Err(format!("the flag `{other}` is not supported")),
                None => return Err("`(` without `)`".to_owned()),
            }
        }
    }

    fn escape(&mut self) -> Result<Piece, String> {
        let any_case = self.flags.any_case;
        let assertion = match self.peek() {
            Some('b') => Assertion::Word,
            Some('B') => Assertion::NoWord,
            Some('A') => Assertion::TextStart,
            Some('z') => Assertion::TextEnd,
            Some('Z') => Assertion::LastLineEnd,
            Some(digit @ '1'..='9') => {
                self.next();
                let group = digit as usize - '0' as usize;
                if group >= self.groups {
                    return Err(format!("there is no group {group} before `\\{group}`"));
                }
                return Ok(Piece::Back(group, any_case));
            }
            Some('k') => {
                self.next();
                let named = self.rest.strip_prefix('<').and_then(|rest| rest.split_once('>'));
                let (name, rest) = named.ok_or("`\\k` without `<name>`")?;
                let group = self.names.iter().find(|(known, _)| known == name);
                let (_, group) = group.ok_or_else(|| format!("there is no group `{name}`"))?;
                self.rest = rest;
                return Ok(Piece::Back(*group, any_case));
            }
            _ => {
                return Ok(match self.escaped()? {
                    Item::Range(c, _) => Piece::Char(c, any_case),
                    kind @ Item::Kind(..) => Piece::Class(Class {
                        items: vec![kind],
                        ..Class::default()
                    }),
                });
            }
        };
        self.next();
        Ok(Piece::Assert(assertion))
    }

    /// What a backslash stands before: a character, or a kind of characters.
    fn escaped(&mut self) -> Result<Item, String> {
        let c = self.next().ok_or("a backslash at the end")?;
        let kind: fn(char) -> bool = match c {
            'd' | 'D' => |c| c.is_ascii_digit(),
            'w' | 'W' => |c| c.is_ascii_alphanumeric() || c == '_',
            's' | 'S' => |c| matches!(c, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r'),
            'h' | 'H' => |c| {
                c == '\t' || c != '\n' && c != '\r' && c.is_whitespace() && !matches!(c, '\u{b}' | '\u{c}')
            },
            'p' | 'P' => return self.property(c == 'P'),
            _ => return self.character(c).map(|c| Item::Range(c, c)),
        };
        Ok(Item::Kind(kind, c.is_ascii_uppercase()))
    }

    fn character(&mut self, c: char) -> Result<char, String> {
        Ok(match c {
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'f' => '\u{c}',
            'a' => '\u{7}',
            'e' => '\u{1b}',
            'x' => return self.hex(2),
            'u' => return self.hex(4),
            letter if letter.is_ascii_alphanumeric() => return Err(format!("`\\{letter}` is not supported")),
            other => other,
        })
    }

    fn hex(&mut self, length: usize) -> Result<char, String> {
        let digits = self.rest.get(..length).unwrap_or_default();
        let code = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
        let c = code.ok_or_else(|| format!("`{digits}` is no character in hexadecimal"))?;
        self.rest = self.rest.get(length..).unwrap_or_default();
        Ok(c)
    }

    fn property(&mut self, negated: bool) -> Result<Item, String> {
        let named = self.rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let (name, rest) = match named {
            Some(named) => named,
            None => self.rest.split_at(self.peek().map_or(0, char::len_utf8)),
        };
        let kind: fn(char) -> bool = match name {
            "Alpha" => |c| c.is_ascii_alphabetic(),
            "Digit" => |c| c.is_ascii_digit(),
            "Alnum" => |c| c.is_ascii_alphanumeric(),
            "Upper" => |c| c.is_ascii_uppercase(),
            "Lower" => |c| c.is_ascii_lowercase(),
            "Punct" => |c| c.is_ascii_punctuation(),
            "Space" => |c| matches!(c, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r'),
            "ASCII" => |c| c.is_ascii(),
            "Cntrl" => |c| c.is_ascii_control(),
            "L" | "IsL" | "IsAlphabetic" | "IsLetter" => char::is_alphabetic,
            "Lu" | "IsUppercase" => char::is_uppercase,
            "Ll" | "IsLowercase" => char::is_lowercase,
            "N" | "Nd" | "IsDigit" => char::is_numeric,
            _ => return Err(format!("the property `{name}` is not supported")),
        };
        self.rest = rest;
        Ok(Item::Kind(kind, negated))
    }

    fn class(&mut self) -> Result<Class, String> {
        let mut class = Class {
            negated: self.eat("^"),
            any_case: self.flags.any_case,
            ..Class::default()
        };
        loop {
            if self.rest.starts_with("&&") {
                return Err("intersections of classes are not supported".to_owned());
            }
            let first = match self.next() {
                Some(']') if !class.items.is_empty() => return Ok(class),
                Some('[') => return Err("a class within a class is not supported".to_owned()),
                Some('\\') => self.escaped()?,
                Some(c) => Item::Range(c, c),
                None => return Err("`[` without `]`".to_owned()),
            };
            class.items.push(self.range(first)?);
        }
    }

    /// `a-z`, or the item alone.
    fn range(&mut self, first: Item) -> Result<Item, String> {
        let Item::Range(from, _) = first else {
            return Ok(first);
        };
        let mut ahead = self.rest.chars();
        if ahead.next() != Some('-') || matches!(ahead.next(), None | Some(']' | '[')) {
            return Ok(first);
        }
        self.next();
        let last = match self.next() {
            Some('\\') => self.escaped()?,
            Some(c) => Item::Range(c, c),
            None => return Err("`[` without `]`".to_owned()),
        };
        match last {
            Item::Range(to, _) if from <= to => Ok(Item::Range(from, to)),
            Item::Range(to, _) => Err(format!("the range `{from}-{to}` ends before it begins")),
            Item::Kind(..) => Err("a range that ends with a kind of characters".to_owned()),
        }
    }
}
