//! From the text of a template to its nodes: the language of Apache Velocity 1.7, as far as Amazon API Gateway has it.

mod cursor;
mod expression;
mod reference;
#[cfg(test)]
mod tests;

use crate::ast::{Block, Node};
use crate::fault::MAX_DEPTH;
use cursor::Cursor;
use std::fmt;

/// Deepest nesting of blocks and expressions.
const MAX_NESTING: usize = MAX_DEPTH / 3;

/// Why a template is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// Line, from 1.
    pub line: u32,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// Parses a template.
pub fn parse(text: &str) -> Result<Block, ParseError> {
    Parser::new(text, 1, 0).template()
}

/// What ended a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Text,
    End,
    Else,
    ElseIf,
}

impl Ending {
    fn name(self) -> &'static str {
        match self {
            Self::Text => "the end of the template",
            Self::End => "`#end`",
            Self::Else => "`#else`",
            Self::ElseIf => "`#elseif`",
        }
    }
}

/// Directives that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Directive {
    Set,
    If,
    ElseIf,
    Else,
    End,
    Foreach,
    Break,
    Stop,
    Define,
    Refused,
}

impl Directive {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "set" => Self::Set,
            "if" => Self::If,
            "elseif" => Self::ElseIf,
            "else" => Self::Else,
            "end" => Self::End,
            "foreach" => Self::Foreach,
            "break" => Self::Break,
            "stop" => Self::Stop,
            "define" => Self::Define,
            "macro" | "parse" | "include" | "evaluate" => Self::Refused,
            _ => return None,
        })
    }
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, line: u32, depth: usize) -> Self {
        Self {
            cursor: Cursor::new(text, line),
            depth,
        }
    }

    fn error(&self, reason: impl Into<String>) -> ParseError {
        ParseError {
            line: self.cursor.line(),
            reason: reason.into(),
        }
    }

    /// Runs a part of the grammar one level deeper.
    fn deeper<T>(&mut self, part: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        if self.depth >= MAX_NESTING {
            return Err(self.error(format!("nested deeper than {MAX_NESTING} levels")));
        }
        self.depth += 1;
        let result = part(self);
        self.depth -= 1;
        result
    }

    fn template(&mut self) -> Result<Block, ParseError> {
        let (block, ending) = self.block()?;
        if ending == Ending::Text {
            Ok(block)
        } else {
            Err(self.error(format!("{} without a directive that it could end", ending.name())))
        }
    }

    /// Nodes up to a directive that ends them.
    fn block(&mut self) -> Result<(Block, Ending), ParseError> {
        self.deeper(|parser| {
            let mut nodes = Nodes::default();
            let ending = parser.nodes(&mut nodes)?;
            Ok((nodes.finish(), ending))
        })
    }

    fn nodes(&mut self, nodes: &mut Nodes) -> Result<Ending, ParseError> {
        loop {
            nodes.text(self.cursor.until(|byte| matches!(byte, b'$' | b'#' | b'\\')));
            match self.cursor.peek() {
                None => return Ok(Ending::Text),
                Some(b'\\') => {
                    let count = self.cursor.until(|byte| byte != b'\\').len();
                    if self.escaped(count, nodes)? {
                        continue;
                    }
                }
                _ => {}
            }
            match self.cursor.peek() {
                Some(b'$') => match self.print(0)? {
                    Some(print) => nodes.push(Node::Print(print)),
                    None => nodes.text(self.cursor.take(1)),
                },
                Some(b'#') => {
                    if let Some(ending) = self.hash(nodes)? {
                        return Ok(ending);
                    }
                }
                _ => {}
            }
        }
    }

    /// Backslashes that were just read; true when what follows them was dealt with too.
    fn escaped(&mut self, count: usize, nodes: &mut Nodes) -> Result<bool, ParseError> {
        match self.cursor.peek() {
            Some(b'$') => {
                if let Some(print) = self.print(count)? {
                    nodes.push(Node::Print(print));
                    return Ok(true);
                }
                nodes.text(&"\\".repeat(count));
                Ok(false)
            }
            Some(b'#') if self.directive().is_some() => {
                nodes.text(&"\\".repeat(count / 2));
                if count % 2 == 1 {
                    // the rest of the directive is text like any other
                    nodes.text(self.cursor.take(1));
                    return Ok(true);
                }
                Ok(false)
            }
            _ => {
                nodes.text(&"\\".repeat(count));
                Ok(false)
            }
        }
    }

    /// The directive that begins here, and its length.
    fn directive(&self) -> Option<(Directive, usize)> {
        let rest = self.cursor.rest().strip_prefix('#')?;
        let (name, extra) = match rest.strip_prefix('{') {
            Some(inner) => (inner.split_once('}')?.0, 3),
            None => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                (rest.get(..end.unwrap_or(rest.len()))?, 1)
            }
        };
        Directive::of(name).map(|directive| (directive, name.len() + extra))
    }

    /// What begins with `#`.
    fn hash(&mut self, nodes: &mut Nodes) -> Result<Option<Ending>, ParseError> {
        let rest = self.cursor.rest();
        if rest.starts_with("##") {
            self.cursor.until(|byte| byte == b'\n');
            self.cursor.take(1);
        } else if rest.starts_with("#*") {
            let length = rest.find("*#").map_or(rest.len(), |end| end + 2);
            self.cursor.take(length);
        } else if let Some(literal) = rest.strip_prefix("#[[") {
            let length = literal.find("]]#");
            let length = length.ok_or_else(|| self.error("`#[[` is not closed by `]]#`"))?;
            self.cursor.take(3);
            nodes.text(self.cursor.take(length));
            self.cursor.take(3);
        } else if let Some((directive, length)) = self.directive() {
            let name = self.cursor.take(length);
            return self.directive_body(directive, name, nodes);
        } else {
            nodes.text(self.cursor.take(1));
        }
        Ok(None)
    }

    fn directive_body(
        &mut self,
        directive: Directive,
        name: &str,
        nodes: &mut Nodes,
    ) -> Result<Option<Ending>, ParseError> {
        match directive {
            Directive::Set => {
                self.open(name)?;
                let node = self.set()?;
                self.close(name)?;
                nodes.push(node);
            }
            Directive::If => nodes.push(self.branches(name)?),
            Directive::Foreach => nodes.push(self.foreach(name)?),
            Directive::Define => {
                self.open(name)?;
                let variable = self.variable()?;
                self.close(name)?;
                let body = self.body(name)?.into();
                nodes.push(Node::Define { name: variable, body });
            }
            Directive::Break => {
                self.cursor.line_end();
                nodes.push(Node::Break);
            }
            Directive::Stop => {
                self.cursor.line_end();
                nodes.push(Node::Stop);
            }
            Directive::ElseIf => return Ok(Some(Ending::ElseIf)),
            Directive::Else => {
                self.cursor.line_end();
                return Ok(Some(Ending::Else));
            }
            Directive::End => {
                self.cursor.line_end();
                return Ok(Some(Ending::End));
            }
            Directive::Refused => return Err(self.error(format!("`{name}` is not supported"))),
        }
        Ok(None)
    }

    fn open(&mut self, name: &str) -> Result<(), ParseError> {
        self.cursor.white_space();
        if self.cursor.eat("(") {
            Ok(())
        } else {
            Err(self.error(format!("`{name}` without `(`")))
        }
    }

    /// The closing parenthesis of a directive; what is left of the line goes with it if it is blank.
    fn close(&mut self, name: &str) -> Result<(), ParseError> {
        self.cursor.white_space();
        if !self.cursor.eat(")") {
            let found = self.cursor.describe();
            return Err(self.error(format!("expected the `)` of `{name}`, found {found}")));
        }
        self.cursor.line_end();
        Ok(())
    }

    /// A block that only `#end` may end.
    fn body(&mut self, name: &str) -> Result<Block, ParseError> {
        let line = self.cursor.line();
        let (block, ending) = self.block()?;
        if ending == Ending::End {
            return Ok(block);
        }
        Err(ParseError {
            line,
            reason: format!("`{name}` is ended by {} and not by `#end`", ending.name()),
        })
    }

    fn branches(&mut self, name: &str) -> Result<Node, ParseError> {
        let line = self.cursor.line();
        let mut branches = Vec::new();
        loop {
            self.open(name)?;
            let condition = self.expression()?;
            self.close(name)?;
            let (block, ending) = self.block()?;
            branches.push((condition, block));
            let otherwise = match ending {
                Ending::ElseIf => continue,
                Ending::Else => self.body("#else")?,
                Ending::End => Block::new(),
                Ending::Text => {
                    let reason = format!("`{name}` is not closed by `#end`");
                    return Err(ParseError { line, reason });
                }
            };
            return Ok(Node::If { branches, otherwise });
        }
    }

    fn foreach(&mut self, directive: &str) -> Result<Node, ParseError> {
        self.open(directive)?;
        let name = self.variable()?;
        self.cursor.white_space();
        if !self.cursor.eat("in") {
            return Err(self.error("expected `in` behind the variable of `#foreach`"));
        }
        let over = self.expression()?;
        self.close(directive)?;
        let body = self.body(directive)?;
        Ok(Node::Foreach { name, over, body })
    }
}

/// Nodes of a block; neighbouring texts become one.
#[derive(Default)]
struct Nodes {
    done: Block,
    text: String,
}

impl Nodes {
    fn text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn push(&mut self, node: Node) {
        self.flush();
        self.done.push(node);
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            self.done.push(Node::Text(std::mem::take(&mut self.text)));
        }
    }

    fn finish(mut self) -> Block {
        self.flush();
        self.done
    }
}
