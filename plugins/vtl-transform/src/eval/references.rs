//! References: from a name into what it stands for, to read it and to change it.

use super::Machine;
use crate::ast::{Reference, Step};
use crate::fault::Fault;
use crate::value::Value;
use std::rc::Rc;

impl Machine {
    pub(super) fn reference(&mut self, reference: &Reference) -> Result<Value, Fault> {
        self.line = reference.line;
        let value = self.variable(&reference.name);
        self.follow(value, &reference.steps)
    }

    fn variable(&self, name: &str) -> Value {
        if let Some(value) = self.variables.get(name) {
            return value.clone();
        }
        match name {
            "input" => Value::Input,
            "util" => Value::Util,
            "context" => self.context.map_or(Value::Missing, Value::Map),
            "stageVariables" => self.stage_variables.clone(),
            "foreach" if !self.loops.is_empty() => Value::Loop(self.loops.len() - 1),
            "velocityCount" => self
                .loops
                .last()
                .map_or(Value::Null, |turn| Value::count(turn.index + 1)),
            _ => Value::Null,
        }
    }

    fn follow(&mut self, mut value: Value, steps: &[Step]) -> Result<Value, Fault> {
        for step in steps {
            if matches!(value, Value::Null) {
                break;
            }
            self.heap.budget.step(1)?;
            value = match step {
                Step::Property(name) => self.property(&value, name),
                Step::Index(index) => {
                    let index = self.expression(index)?;
                    self.index(&value, &index)?
                }
                Step::Call(name, arguments) => {
                    let arguments = arguments
                        .iter()
                        .map(|argument| self.expression(argument))
                        .collect::<Result<Vec<_>, _>>()?;
                    self.call(&value, name, &arguments)?.unwrap_or(Value::Null)
                }
            };
        }
        Ok(value)
    }

    pub(super) fn property(&self, value: &Value, name: &str) -> Value {
        match (value, name) {
            (Value::Map(id), _) => self.heap.member(*id, name),
            (Value::List(id), "empty") => Value::Bool(self.heap.list_of(*id).items.is_empty()),
            (Value::Text(text), "empty") => Value::Bool(text.is_empty()),
            (Value::Input, "body") => Value::Text(Rc::clone(&self.body)),
            (Value::Loop(place), _) => self.turn(*place, name),
            (Value::Missing, _) => Value::Missing,
            _ => Value::Null,
        }
    }

    pub(super) fn turn(&self, place: usize, name: &str) -> Value {
        let Some(turn) = self.loops.get(place) else {
            return Value::Null;
        };
        match name {
            "count" => Value::count(turn.index + 1),
            "index" => Value::count(turn.index),
            "hasNext" => Value::Bool(turn.index + 1 < turn.count),
            "first" => Value::Bool(turn.index == 0),
            "last" => Value::Bool(turn.index + 1 == turn.count),
            "parent" => place.checked_sub(1).map_or(Value::Null, Value::Loop),
            "topmost" => Value::Loop(0),
            _ => Value::Null,
        }
    }

    fn index(&mut self, value: &Value, index: &Value) -> Result<Value, Fault> {
        match (value, index) {
            (Value::List(id), Value::Int(at)) => self.element(*id, *at),
            (Value::Map(id), _) if !index.is_null() => {
                let key = self.text_of(index)?;
                Ok(self.heap.member(*id, &key))
            }
            (Value::Missing, _) => Ok(Value::Missing),
            _ => Ok(Value::Null),
        }
    }

    /// Gives the place that a reference names a value. Where the way to it leads nowhere, nothing happens.
    pub(super) fn assign(&mut self, target: &Reference, value: Value) -> Result<(), Fault> {
        self.line = target.line;
        let Some((last, way)) = target.steps.split_last() else {
            self.heap.budget.take(target.name.len())?;
            self.variables.insert(Rc::clone(&target.name), value);
            return Ok(());
        };
        let holder = self.variable(&target.name);
        let holder = self.follow(holder, way)?;
        match (holder, last) {
            (Value::Map(id), Step::Property(name)) => {
                self.heap.put(id, Rc::clone(name), value)?;
            }
            (Value::Map(id), Step::Index(index)) => {
                let index = self.expression(index)?;
                let key = self.text_of(&index)?;
                self.heap.put(id, key, value)?;
            }
            (Value::List(id), Step::Index(index)) => {
                if let Value::Int(at) = self.expression(index)? {
                    self.set_element(id, at, value)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}
