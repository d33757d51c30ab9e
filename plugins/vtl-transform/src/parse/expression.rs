//! Expressions: literals, lists, maps, ranges, operators.

use super::{ParseError, Parser};
use crate::ast::{Expr, Node, Operator};

/// Operators with two sides by rank, lowest first, each as symbol or word. A symbol that begins another stands behind it.
const RANKS: [&[(&str, Operator)]; 4] = [
    &[
        ("==", Operator::Equal),
        ("eq", Operator::Equal),
        ("!=", Operator::Unequal),
        ("ne", Operator::Unequal),
    ],
    &[
        ("<=", Operator::LessOrEqual),
        ("le", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("ge", Operator::GreaterOrEqual),
        ("<", Operator::Less),
        ("lt", Operator::Less),
        (">", Operator::Greater),
        ("gt", Operator::Greater),
    ],
    &[("+", Operator::Add), ("-", Operator::Subtract)],
    &[
        ("*", Operator::Multiply),
        ("/", Operator::Divide),
        ("%", Operator::Remainder),
    ],
];

impl Parser<'_> {
    /// The inside of `#set(...)`.
    pub(super) fn set(&mut self) -> Result<Node, ParseError> {
        self.cursor.white_space();
        let Some((target, _)) = self.reference()? else {
            return Err(self.error("`#set` without a reference that is to get a value"));
        };
        self.cursor.white_space();
        if !self.cursor.eat("=") {
            let found = self.cursor.describe();
            return Err(self.error(format!("expected `=` in `#set`, found {found}")));
        }
        let value = self.expression()?;
        Ok(Node::Set { target, value })
    }

    /// An expression, white space before it included.
    pub(super) fn expression(&mut self) -> Result<Expr, ParseError> {
        self.deeper(|parser| {
            let mut parts = vec![parser.conjunction()?];
            while parser.operator(&[("||", ()), ("or", ())]).is_some() {
                parts.push(parser.conjunction()?);
            }
            Ok(single_or(parts, Expr::Any))
        })
    }

    fn conjunction(&mut self) -> Result<Expr, ParseError> {
        let mut parts = vec![self.chain(0)?];
        while self.operator(&[("&&", ()), ("and", ())]).is_some() {
            parts.push(self.chain(0)?);
        }
        Ok(single_or(parts, Expr::All))
    }

    fn chain(&mut self, rank: usize) -> Result<Expr, ParseError> {
        let Some(operators) = RANKS.get(rank) else {
            return self.unary();
        };
        let first = self.chain(rank + 1)?;
        let mut rest = Vec::new();
        while let Some(operator) = self.operator(operators) {
            rest.push((operator, self.chain(rank + 1)?));
        }
        Ok(if rest.is_empty() {
            first
        } else {
            Expr::Chain(Box::new(first), rest)
        })
    }

    fn operator<T: Copy>(&mut self, operators: &[(&str, T)]) -> Option<T> {
        self.cursor.white_space();
        let found = operators.iter().find(|(symbol, _)| {
            if symbol.starts_with(|c: char| c.is_ascii_alphabetic()) {
                self.cursor.eat_word(symbol)
            } else {
                self.cursor.eat(symbol)
            }
        });
        found.map(|(_, operator)| *operator)
    }

    fn unary(&mut self) -> Result<Expr, ParseError> {
        self.cursor.white_space();
        if self.cursor.eat("!") || self.cursor.eat_word("not") {
            let inner = self.deeper(Self::unary)?;
            return Ok(Expr::Not(Box::new(inner)));
        }
        match self.cursor.peek() {
            Some(b'-') if self.cursor.second().is_some_and(|byte| byte.is_ascii_digit()) => self.number(),
            Some(b'-') => {
                self.cursor.take(1);
                let inner = self.deeper(Self::unary)?;
                Ok(Expr::Chain(
                    Box::new(Expr::Int(0)),
                    vec![(Operator::Subtract, inner)],
                ))
            }
            _ => self.primary(),
        }
    }

    fn primary(&mut self) -> Result<Expr, ParseError> {
        match self.cursor.peek() {
            Some(b'$') => match self.reference()? {
                Some((reference, _)) => Ok(Expr::Reference(reference)),
                None => Err(self.error("`$` without a name")),
            },
            Some(b'"') => self.double_quoted(),
            Some(b'\'') => self.quoted('\'').map(|text| Expr::Text(unicode(&text).into())),
            Some(b'(') => {
                self.cursor.take(1);
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            Some(b'[') => self.list(),
            Some(b'{') => self.map(),
            Some(b'0'..=b'9') => self.number(),
            _ if self.cursor.eat_word("true") => Ok(Expr::Bool(true)),
            _ if self.cursor.eat_word("false") => Ok(Expr::Bool(false)),
            _ if self.cursor.eat_word("null") => Ok(Expr::Null),
            _ => {
                let found = self.cursor.describe();
                Err(self.error(format!("expected a value, found {found}")))
            }
        }
    }

    fn expect(&mut self, symbol: &str) -> Result<(), ParseError> {
        self.cursor.white_space();
        if self.cursor.eat(symbol) {
            return Ok(());
        }
        let found = self.cursor.describe();
        Err(self.error(format!("expected `{symbol}`, found {found}")))
    }

    fn list(&mut self) -> Result<Expr, ParseError> {
        self.cursor.take(1);
        self.cursor.white_space();
        let mut items = Vec::new();
        if self.cursor.eat("]") {
            return Ok(Expr::List(items));
        }
        loop {
            items.push(self.expression()?);
            self.cursor.white_space();
            if items.len() == 1 && self.cursor.eat("..") {
                let end = self.expression()?;
                self.expect("]")?;
                let start = items.pop().unwrap_or(Expr::Null);
                return Ok(Expr::Range(Box::new((start, end))));
            }
            if self.cursor.eat("]") {
                return Ok(Expr::List(items));
            }
            self.expect(",")?;
        }
    }

    fn map(&mut self) -> Result<Expr, ParseError> {
        self.cursor.take(1);
        self.cursor.white_space();
        let mut members = Vec::new();
        if self.cursor.eat("}") {
            return Ok(Expr::Map(members));
        }
        loop {
            let key = self.expression()?;
            self.expect(":")?;
            members.push((key, self.expression()?));
            self.cursor.white_space();
            if self.cursor.eat("}") {
                return Ok(Expr::Map(members));
            }
            self.expect(",")?;
        }
    }

    fn number(&mut self) -> Result<Expr, ParseError> {
        let start = self.cursor.clone();
        self.cursor.eat("-");
        let digits = |parser: &mut Self| parser.cursor.until(|byte| !byte.is_ascii_digit()).len();
        digits(self);
        let mut whole = true;
        // `1..3` is a range
        if self.cursor.peek() == Some(b'.') && self.cursor.second().is_some_and(|byte| byte.is_ascii_digit())
        {
            self.cursor.take(1);
            digits(self);
            whole = false;
        }
        if matches!(self.cursor.peek(), Some(b'e' | b'E')) {
            let before = self.cursor.clone();
            self.cursor.take(1);
            if !self.cursor.eat("+") {
                self.cursor.eat("-");
            }
            if digits(self) == 0 {
                self.cursor = before;
            } else {
                whole = false;
            }
        }
        let text = self.cursor.since(&start);
        let wrong = || self.error(format!("the number `{text:.40}` is out of range"));
        if whole {
            text.parse().map(Expr::Int).map_err(|_too_large| wrong())
        } else {
            text.parse().map(Expr::Float).map_err(|_no_number| wrong())
        }
    }

    /// The inside of quotes; a doubled quote stands for one. A backslash is a character like any other, as in Velocity.
    fn quoted(&mut self, quote: char) -> Result<String, ParseError> {
        let start = self.error("a text in quotes is not closed");
        self.cursor.take(1);
        let mut text = String::new();
        loop {
            let rest = self.cursor.rest();
            let Some(end) = rest.find(quote) else {
                return Err(start);
            };
            text.push_str(self.cursor.take(end));
            self.cursor.take(1);
            if !self.cursor.rest().starts_with(quote) {
                return Ok(text);
            }
            self.cursor.take(1);
            text.push(quote);
        }
    }

    fn double_quoted(&mut self) -> Result<Expr, ParseError> {
        let line = self.cursor.line();
        let text = self.quoted('"')?;
        if !text.contains(['$', '#']) {
            return Ok(Expr::Text(unicode(&text).into()));
        }
        let block = self.inner(&unicode(&text), line).template()?;
        Ok(match block.as_slice() {
            [] => Expr::Text("".into()),
            [Node::Text(text)] => Expr::Text(text.as_str().into()),
            _ => Expr::Template(block),
        })
    }
}

fn single_or(mut parts: Vec<Expr>, several: fn(Vec<Expr>) -> Expr) -> Expr {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            several(parts)
        }
        None => Expr::Null,
    }
}

/// `\uXXXX` is the only escape in texts in quotes.
fn unicode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\\u") {
        let (before, tail) = rest.split_at(at);
        out.push_str(before);
        let digits = tail
            .get(2..6)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        match code.and_then(char::from_u32) {
            Some(c) => {
                out.push(c);
                rest = tail.get(6..).unwrap_or_default();
            }
            None => {
                out.push_str("\\u");
                rest = tail.get(2..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out
}
