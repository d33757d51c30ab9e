//! Filters: `?(@.price < 10 && @.category == 'fiction')`.

use super::{MAX_NESTING, Parser, Path};
use std::rc::Rc;

/// A condition.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Filter {
    /// One of them.
    Any(Vec<Filter>),
    /// All of them.
    All(Vec<Filter>),
    /// The opposite.
    Not(Box<Filter>),
    /// There is something.
    Exists(Operand),
    /// A comparison.
    Compare(Operand, Comparison, Operand),
}

/// A side of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    /// `@...`
    Here(Path),
    /// `$...`
    Root(Path),
    Text(Rc<str>),
    Number(f64),
    Bool(bool),
    Null,
}

/// How two sides are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

const COMPARISONS: [(&str, Comparison); 6] = [
    ("==", Comparison::Equal),
    ("!=", Comparison::Unequal),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

impl Parser<'_> {
    pub(super) fn filter(&mut self) -> Result<Filter, String> {
        if self.depth >= MAX_NESTING {
            return Err(format!("filters nested deeper than {MAX_NESTING} levels"));
        }
        self.depth += 1;
        let mut parts = vec![self.conjunction()?];
        while self.word("||") {
            parts.push(self.conjunction()?);
        }
        self.depth -= 1;
        Ok(Filter::Any(parts))
    }

    fn conjunction(&mut self) -> Result<Filter, String> {
        let mut parts = vec![self.condition()?];
        while self.word("&&") {
            parts.push(self.condition()?);
        }
        Ok(Filter::All(parts))
    }

    fn word(&mut self, word: &str) -> bool {
        self.space();
        self.eat(word)
    }

    fn condition(&mut self) -> Result<Filter, String> {
        self.space();
        let negations = self.rest().bytes().take_while(|byte| *byte == b'!').count();
        self.at += negations;
        let filter = if self.word("(") {
            let inner = self.filter()?;
            self.expect(")")?;
            inner
        } else {
            let left = self.operand()?;
            self.space();
            let found = COMPARISONS.iter().find(|(symbol, _)| self.eat(symbol));
            match found {
                Some((_, comparison)) => Filter::Compare(left, *comparison, self.operand()?),
                None => Filter::Exists(left),
            }
        };
        Ok(if negations % 2 == 1 {
            Filter::Not(Box::new(filter))
        } else {
            filter
        })
    }

    fn operand(&mut self) -> Result<Operand, String> {
        self.space();
        if self.eat("@") {
            return self.nested().map(Operand::Here);
        }
        if self.eat("$") {
            return self.nested().map(Operand::Root);
        }
        if self.rest().starts_with(['\'', '"']) {
            return self.quoted().map(|text| Operand::Text(text.into()));
        }
        for (word, operand) in [
            ("true", Operand::Bool(true)),
            ("false", Operand::Bool(false)),
            ("null", Operand::Null),
        ] {
            if self.eat(word) {
                return Ok(operand);
            }
        }
        let rest = self.rest();
        let end = rest
            .bytes()
            .position(|byte| !(byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)));
        let text = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        let number = number.ok_or_else(|| format!("cannot read `{rest}` in a filter"))?;
        self.at += text.len();
        Ok(Operand::Number(number))
    }

    fn nested(&mut self) -> Result<Path, String> {
        if self.depth >= MAX_NESTING {
            return Err(format!("filters nested deeper than {MAX_NESTING} levels"));
        }
        self.depth += 1;
        let path = self.segments();
        self.depth -= 1;
        path
    }
}
