//! References: `$name`, `${name}`, `$!name`, and the steps behind the name.

use super::cursor::{Cursor, begins_name};
use super::{ParseError, Parser};
use crate::ast::{Expr, Print, Reference, Step};
use crate::jsonpath::Path;
use crate::regex::Regex;
use std::rc::Rc;

impl<'a> Parser<'a> {
    /// A reference in text, or none when `$` stands for itself.
    pub(super) fn print(&mut self, backslashes: usize) -> Result<Option<Print>, ParseError> {
        let start = self.cursor.clone();
        let Some((reference, quiet)) = self.reference()? else {
            self.cursor = start;
            return Ok(None);
        };
        Ok(Some(Print {
            reference,
            quiet,
            source: self.cursor.since(&start).to_owned(),
            backslashes,
        }))
    }

    /// A reference, and whether it is a quiet one. Where there is none the cursor may have moved.
    pub(super) fn reference(&mut self) -> Result<Option<(Reference, bool)>, ParseError> {
        if !self.cursor.eat("$") {
            return Ok(None);
        }
        let quiet = self.cursor.eat("!");
        let formal = self.cursor.eat("{");
        let line = self.cursor.line();
        let Some(name) = self.cursor.name() else {
            return Ok(None);
        };
        let mut reference = Reference {
            name: name.into(),
            steps: Vec::new(),
            line,
        };
        while let Some(step) = self.step(&reference)? {
            reference.steps.push(step);
        }
        if formal && !self.cursor.eat("}") {
            return Ok(None);
        }
        Ok(Some((reference, quiet)))
    }

    fn step(&mut self, before: &Reference) -> Result<Option<Step>, ParseError> {
        match self.cursor.peek() {
            Some(b'.') if self.cursor.second().is_some_and(begins_name) => {
                self.cursor.take(1);
                let name = self.cursor.name().unwrap_or_default();
                if self.cursor.peek() != Some(b'(') {
                    return Ok(Some(Step::Property(name.into())));
                }
                let arguments = self.deeper(|parser| parser.arguments(name))?;
                self.check(before, name, &arguments)?;
                Ok(Some(Step::Call(name.into(), arguments)))
            }
            Some(b'[') => {
                let start = self.cursor.clone();
                self.cursor.take(1);
                let index = self.deeper(Self::expression).ok();
                self.cursor.white_space();
                match index {
                    Some(index) if self.cursor.eat("]") => Ok(Some(Step::Index(index))),
                    // brackets behind a reference can be text
                    _ => {
                        self.cursor = start;
                        Ok(None)
                    }
                }
            }
            _ => Ok(None),
        }
    }

    fn arguments(&mut self, name: &str) -> Result<Vec<Expr>, ParseError> {
        self.cursor.take(1);
        let mut arguments = Vec::new();
        self.cursor.white_space();
        if self.cursor.eat(")") {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.expression()?);
            self.cursor.white_space();
            if self.cursor.eat(")") {
                return Ok(arguments);
            }
            if !self.cursor.eat(",") {
                let found = self.cursor.describe();
                return Err(self.error(format!("expected `,` or `)` in `{name}(...)`, found {found}")));
            }
        }
    }

    /// Paths and regular expressions that are known now are checked now.
    fn check(&self, before: &Reference, name: &str, arguments: &[Expr]) -> Result<(), ParseError> {
        let Some(Expr::Text(text)) = arguments.first() else {
            return Ok(());
        };
        let checked = match name {
            "json" | "path" if &*before.name == "input" && before.steps.is_empty() => {
                Path::parse(text).map(drop)
            }
            "matches" | "replaceAll" | "replaceFirst" | "split" => Regex::new(text).map(drop),
            _ => Ok(()),
        };
        checked.map_err(|fault| self.error(fault.to_string()))
    }

    /// The variable of `#foreach` or `#define`.
    pub(super) fn variable(&mut self) -> Result<Rc<str>, ParseError> {
        self.cursor.white_space();
        match self.reference()? {
            Some((reference, _)) if reference.steps.is_empty() => Ok(reference.name),
            _ => Err(self.error("expected a variable such as `$item`")),
        }
    }

    /// A parser for a part of the text, e.g. a text in quotes.
    pub(super) fn inner<'b>(&self, text: &'b str, line: u32) -> Parser<'b> {
        Parser {
            cursor: Cursor::new(text, line),
            depth: self.depth,
        }
    }
}
