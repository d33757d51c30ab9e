//! Runs a template: nodes and references. Expressions, methods and what the gateway provides are in the files beside.

mod expression;
mod lists;
mod maps;
mod numbers;
mod objects;
mod references;
#[cfg(test)]
mod tests;
mod texts;

use crate::ast::{Block, Expr, Node, Print};
use crate::environment::Environment;
use crate::fault::{Fault, Limits, MAX_DEPTH, MAX_TURNS};
use crate::overrides::Overrides;
use crate::print::{self, Out};
use crate::regex::Regex;
use crate::value::{Heap, MapId, MapKind, Value};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Compiled regular expressions that are kept for a script.
const KEPT_PATTERNS: usize = 32;

/// What a template makes of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendering {
    /// The text.
    pub text: String,
    /// What the script left in `$context.requestOverride` and `$context.responseOverride`.
    pub overrides: Overrides,
}

/// Why a template could not be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct Failure {
    /// Line of the reference that was looked at last.
    pub line: u32,
    /// The reason.
    pub fault: Fault,
}

/// Renders a template.
pub fn render(
    template: &Block,
    environment: &Environment,
    body: &[u8],
    overrides: &Overrides,
    limits: Limits,
) -> Result<Rendering, Failure> {
    let mut machine = Machine::new(limits);
    let mut text = String::new();
    let mut run = || {
        machine.provide(environment, body, overrides)?;
        machine.block(template, &mut text)?;
        machine.overrides()
    };
    match run() {
        Ok(overrides) => Ok(Rendering { text, overrides }),
        Err(fault) => Err(Failure {
            line: machine.line,
            fault,
        }),
    }
}

/// What comes after a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Stop,
}

/// A `#foreach` that runs.
#[derive(Debug, Clone, Copy)]
struct Turn {
    index: usize,
    count: usize,
}

struct Machine {
    heap: Heap,
    variables: BTreeMap<Rc<str>, Value>,
    loops: Vec<Turn>,
    patterns: BTreeMap<Rc<str>, Rc<Regex>>,
    body: Rc<str>,
    document: Option<Value>,
    parameters: Value,
    context: Option<MapId>,
    stage_variables: Value,
    line: u32,
    depth: usize,
}

impl Machine {
    fn new(limits: Limits) -> Self {
        Self {
            heap: Heap::new(limits),
            variables: BTreeMap::new(),
            loops: Vec::new(),
            patterns: BTreeMap::new(),
            body: "".into(),
            document: None,
            parameters: Value::Null,
            context: None,
            stage_variables: Value::Missing,
            line: 1,
            depth: 0,
        }
    }

    fn deeper<T>(&mut self, part: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.depth >= MAX_DEPTH {
            return Err(Fault::Depth);
        }
        self.depth += 1;
        let result = part(self);
        self.depth -= 1;
        result
    }

    fn emit(&mut self, text: &str, out: &mut String) -> Result<(), Fault> {
        self.heap.budget.take(text.len())?;
        let limit = self.heap.budget.limits.output;
        if out.len().saturating_add(text.len()) > limit {
            return Err(Fault::Output(limit));
        }
        out.push_str(text);
        Ok(())
    }

    fn block(&mut self, nodes: &[Node], out: &mut String) -> Result<Flow, Fault> {
        self.deeper(|machine| {
            for node in nodes {
                let flow = machine.node(node, out)?;
                if flow != Flow::Next {
                    return Ok(flow);
                }
            }
            Ok(Flow::Next)
        })
    }

    fn node(&mut self, node: &Node, out: &mut String) -> Result<Flow, Fault> {
        self.heap.budget.step(1)?;
        match node {
            Node::Text(text) => self.emit(text, out)?,
            Node::Print(print) => self.print(print, out)?,
            Node::Set { target, value } => {
                let value = self.expression(value)?;
                // as in Velocity, null leaves what is there
                if !matches!(value, Value::Null) {
                    self.assign(target, value)?;
                }
            }
            Node::If { branches, otherwise } => {
                for (condition, block) in branches {
                    if !self.expression(condition)?.is_false() {
                        return self.block(block, out);
                    }
                }
                return self.block(otherwise, out);
            }
            Node::Foreach { name, over, body } => return self.foreach(name, over, body, out),
            Node::Define { name, body } => {
                self.variables
                    .insert(Rc::clone(name), Value::Block(Rc::clone(body)));
            }
            Node::Break => return Ok(Flow::Break),
            Node::Stop => return Ok(Flow::Stop),
        }
        Ok(Flow::Next)
    }

    fn foreach(
        &mut self,
        name: &Rc<str>,
        over: &Expr,
        body: &[Node],
        out: &mut String,
    ) -> Result<Flow, Fault> {
        let over = self.expression(over)?;
        let items = self.elements(&over)?;
        if items.len() > MAX_TURNS {
            return Err(Fault::Turns(items.len()));
        }
        let count = items.len();
        let hidden = self.variables.remove(name);
        let mut flow = Flow::Next;
        for (index, item) in items.into_iter().enumerate() {
            self.heap.budget.step(1)?;
            self.variables.insert(Rc::clone(name), item);
            self.loops.push(Turn { index, count });
            flow = self.block(body, out)?;
            self.loops.pop();
            if flow != Flow::Next {
                break;
            }
        }
        match hidden {
            Some(value) => self.variables.insert(Rc::clone(name), value),
            None => self.variables.remove(name),
        };
        Ok(if flow == Flow::Stop {
            Flow::Stop
        } else {
            Flow::Next
        })
    }

    /// What `#foreach` walks through: elements of a list, values of a map.
    fn elements(&mut self, value: &Value) -> Result<Vec<Value>, Fault> {
        let items: Vec<Value> = match value {
            Value::List(id) => {
                let list = self.heap.list_of(*id);
                (0..list.items.len())
                    .filter_map(|place| list.get(place))
                    .collect()
            }
            Value::Map(id) => {
                let entries = self.heap.map_of(*id).entries().iter();
                entries.map(|(_, value)| value.clone()).collect()
            }
            _ => Vec::new(),
        };
        self.heap.budget.step(items.len())?;
        Ok(items)
    }

    /// Backslashes before a reference escape it if it has a value, and are text otherwise.
    fn print(&mut self, print: &Print, out: &mut String) -> Result<(), Fault> {
        let value = self.reference(&print.reference)?;
        if matches!(value, Value::Null | Value::Input | Value::Util) {
            self.emit(&"\\".repeat(print.backslashes), out)?;
            return if print.quiet {
                Ok(())
            } else {
                self.emit(&print.source, out)
            };
        }
        self.emit(&"\\".repeat(print.backslashes / 2), out)?;
        if print.backslashes % 2 == 1 {
            return self.emit(&print.source, out);
        }
        match value {
            Value::Block(block) => self.block(&block, out).map(drop),
            Value::Text(text) => self.emit(&text, out),
            value => {
                let before = out.len();
                let limit = self.heap.budget.limits.output;
                print::java(&self.heap, &value, &mut Out::new(out, limit), 0)?;
                self.heap.budget.take(out.len() - before)
            }
        }
    }

    /// A value as text, as `toString` gives it.
    fn text_of(&mut self, value: &Value) -> Result<Rc<str>, Fault> {
        if let Value::Text(text) = value {
            return Ok(Rc::clone(text));
        }
        let mut text = String::new();
        if let Value::Block(block) = value {
            self.block(block, &mut text)?;
        } else {
            let limit = self.heap.budget.limits.output;
            print::java(&self.heap, value, &mut Out::new(&mut text, limit), 0)?;
            self.heap.budget.take(text.len())?;
        }
        Ok(text.into())
    }

    /// A value as JSON.
    fn json_of(&mut self, value: &Value) -> Result<Rc<str>, Fault> {
        let mut text = String::new();
        let limit = self.heap.budget.limits.output;
        print::json(&self.heap, value, &mut Out::new(&mut text, limit), 0)?;
        self.heap.budget.take(text.len())?;
        Ok(text.into())
    }

    /// Calls a method; none when there is no such method.
    fn call(&mut self, value: &Value, name: &str, arguments: &[Value]) -> Result<Option<Value>, Fault> {
        match (name, arguments) {
            ("toString", []) if !matches!(value, Value::Input | Value::Util | Value::Loop(_)) => {
                return self.text_of(value).map(|text| Some(Value::Text(text)));
            }
            ("equals", [other]) => return self.equal(value, other).map(|same| Some(Value::Bool(same))),
            _ => {}
        }
        match value {
            Value::Text(text) => self.text_method(text, name, arguments),
            Value::List(id) => self.list_method(*id, name, arguments),
            Value::Map(id) => self.map_method(*id, name, arguments),
            Value::Int(_) | Value::Float(_) | Value::Number(_) | Value::Bool(_) => {
                Self::number_method(value, name, arguments)
            }
            Value::Input => self.input_method(name, arguments),
            Value::Util => self.util_method(name, arguments),
            Value::Loop(place) => Ok(Some(self.loop_method(*place, name))),
            Value::Missing => self.missing_method(name, arguments),
            Value::Block(_) => {
                let text = self.text_of(value)?;
                self.text_method(&text, name, arguments)
            }
            Value::Null => Ok(None),
        }
    }

    fn loop_method(&self, place: usize, name: &str) -> Value {
        let property = match name {
            "getCount" => "count",
            "getIndex" => "index",
            "hasNext" | "getHasNext" => "hasNext",
            "isFirst" => "first",
            "isLast" => "last",
            "getParent" => "parent",
            "getTopmost" => "topmost",
            _ => return Value::Null,
        };
        self.turn(place, property)
    }

    /// A path that led nowhere is an empty text and an empty list at once.
    fn missing_method(&mut self, name: &str, arguments: &[Value]) -> Result<Option<Value>, Fault> {
        match name {
            "size" => Ok(Some(Value::Int(0))),
            "keySet" | "values" | "entrySet" => self.heap.list(Vec::new()).map(Some),
            _ => {
                let called = self.text_method(&"".into(), name, arguments)?;
                Ok(Some(called.unwrap_or(Value::Missing)))
            }
        }
    }

    /// A compiled regular expression.
    fn pattern(&mut self, pattern: &Rc<str>) -> Result<Rc<Regex>, Fault> {
        if let Some(regex) = self.patterns.get(pattern) {
            return Ok(Rc::clone(regex));
        }
        self.heap.budget.step(pattern.len())?;
        let regex = Rc::new(Regex::new(pattern)?);
        if self.patterns.len() >= KEPT_PATTERNS {
            self.patterns.clear();
        }
        self.patterns.insert(Rc::clone(pattern), Rc::clone(&regex));
        Ok(regex)
    }

    fn given_map(&mut self) -> Result<MapId, Fault> {
        self.heap.map(MapKind::Given)
    }
}
