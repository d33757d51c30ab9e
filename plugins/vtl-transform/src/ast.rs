//! A template, parsed.

use std::rc::Rc;

/// Nodes in order.
pub type Block = Vec<Node>;

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// Text that comes out as it is.
    Text(String),
    /// A reference whose value is printed.
    Print(Print),
    /// `#set`
    Set {
        /// What gets the value.
        target: Reference,
        /// The value.
        value: Expr,
    },
    /// `#if`, `#elseif`, `#else`
    If {
        /// Conditions and what they guard, in order.
        branches: Vec<(Expr, Block)>,
        /// What comes when none holds.
        otherwise: Block,
    },
    /// `#foreach`
    Foreach {
        /// Name of the loop variable.
        name: Rc<str>,
        /// What is walked through.
        over: Expr,
        /// What is repeated.
        body: Block,
    },
    /// `#define`
    Define {
        /// Name of the variable.
        name: Rc<str>,
        /// What it prints.
        body: Rc<Block>,
    },
    /// `#break`
    Break,
    /// `#stop`
    Stop,
}

/// A reference in text.
#[derive(Debug, Clone, PartialEq)]
pub struct Print {
    /// The reference.
    pub reference: Reference,
    /// `$!`: nothing where there is no value.
    pub quiet: bool,
    /// As it was written: what is printed where there is no value.
    pub source: String,
    /// Backslashes before it.
    pub backslashes: usize,
}

/// A variable and the way into it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// Name of the variable.
    pub name: Rc<str>,
    /// Steps, in order.
    pub steps: Vec<Step>,
    /// Line of the template, from 1.
    pub line: u32,
}

/// A step into a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// `.name`
    Property(Rc<str>),
    /// `[index]`
    Index(Expr),
    /// `.name(arguments)`
    Call(Rc<str>, Vec<Expr>),
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// A text without references.
    Text(Rc<str>),
    /// A text in double quotes, rendered when it is needed.
    Template(Block),
    /// A reference.
    Reference(Reference),
    /// `[a, b]`
    List(Vec<Expr>),
    /// `[a..b]`
    Range(Box<(Expr, Expr)>),
    /// `{"a": b}`
    Map(Vec<(Expr, Expr)>),
    /// `!a`
    Not(Box<Expr>),
    /// `a && b && c`
    All(Vec<Expr>),
    /// `a || b || c`
    Any(Vec<Expr>),
    /// `a + b - c`: operators of one rank, from the left.
    Chain(Box<Expr>, Vec<(Operator, Expr)>),
}

/// An operator with two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `==`
    Equal,
    /// `!=`
    Unequal,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Remainder,
}
