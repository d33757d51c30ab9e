//! Expressions: literals, logic, comparison, arithmetic.

use super::Machine;
use crate::ast::{Expr, Operator};
use crate::fault::{Fault, MAX_DEPTH};
use crate::value::{MapKind, Value};
use std::cmp::Ordering;

/// Most elements of a range.
const MAX_RANGE: u64 = 10_000;

impl Machine {
    pub(super) fn expression(&mut self, expression: &Expr) -> Result<Value, Fault> {
        self.heap.budget.step(1)?;
        self.deeper(|machine| machine.evaluate(expression))
    }

    fn evaluate(&mut self, expression: &Expr) -> Result<Value, Fault> {
        Ok(match expression {
            Expr::Null => Value::Null,
            Expr::Bool(truth) => Value::Bool(*truth),
            Expr::Int(number) => Value::Int(*number),
            Expr::Float(number) => Value::Float(*number),
            Expr::Text(text) => Value::Text(text.clone()),
            Expr::Template(block) => {
                let mut text = String::new();
                self.block(block, &mut text)?;
                Value::Text(text.into())
            }
            Expr::Reference(reference) => self.reference(reference)?,
            Expr::List(items) => {
                let items = items
                    .iter()
                    .map(|item| self.expression(item))
                    .collect::<Result<_, _>>()?;
                self.heap.list(items)?
            }
            Expr::Range(ends) => {
                let (from, to) = (self.expression(&ends.0)?, self.expression(&ends.1)?);
                self.range(&from, &to)?
            }
            Expr::Map(members) => {
                let map = self.heap.map(MapKind::Plain)?;
                for (key, value) in members {
                    let key = self.expression(key)?;
                    let key = self.text_of(&key)?;
                    let value = self.expression(value)?;
                    self.heap.put(map, key, value)?;
                }
                Value::Map(map)
            }
            Expr::Not(inner) => Value::Bool(self.expression(inner)?.is_false()),
            Expr::All(parts) => {
                for part in parts {
                    if self.expression(part)?.is_false() {
                        return Ok(Value::Bool(false));
                    }
                }
                Value::Bool(true)
            }
            Expr::Any(parts) => {
                for part in parts {
                    if !self.expression(part)?.is_false() {
                        return Ok(Value::Bool(true));
                    }
                }
                Value::Bool(false)
            }
            Expr::Chain(first, rest) => {
                let mut left = self.expression(first)?;
                for (operator, right) in rest {
                    let right = self.expression(right)?;
                    left = self.operate(*operator, &left, &right)?;
                }
                left
            }
        })
    }

    fn range(&mut self, from: &Value, to: &Value) -> Result<Value, Fault> {
        let whole = |value: &Value| match value {
            Value::Int(number) => Some(*number),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        };
        let (Some(from), Some(to)) = (whole(from), whole(to)) else {
            return Ok(Value::Null);
        };
        let length = from.abs_diff(to).saturating_add(1);
        if length > MAX_RANGE {
            return Err(Fault::Turns(usize::try_from(length).unwrap_or(usize::MAX)));
        }
        let items = if from <= to {
            (from..=to).map(Value::Int).collect()
        } else {
            (to..=from).rev().map(Value::Int).collect()
        };
        self.heap.list(items)
    }

    fn operate(&mut self, operator: Operator, left: &Value, right: &Value) -> Result<Value, Fault> {
        let ordered = |fits: fn(Ordering) -> bool| Value::Bool(compare(left, right).is_some_and(fits));
        Ok(match operator {
            Operator::Equal => Value::Bool(self.equal(left, right)?),
            Operator::Unequal => Value::Bool(!self.equal(left, right)?),
            Operator::Less => ordered(Ordering::is_lt),
            Operator::LessOrEqual => ordered(Ordering::is_le),
            Operator::Greater => ordered(Ordering::is_gt),
            Operator::GreaterOrEqual => ordered(Ordering::is_ge),
            Operator::Add if is_text(left) || is_text(right) => {
                if matches!(left, Value::Null) || matches!(right, Value::Null) {
                    return Ok(Value::Null);
                }
                let (left, right) = (self.text_of(left)?, self.text_of(right)?);
                self.heap.budget.take(left.len() + right.len())?;
                Value::Text([&*left, &*right].concat().into())
            }
            Operator::Add
            | Operator::Subtract
            | Operator::Multiply
            | Operator::Divide
            | Operator::Remainder => calculate(operator, left, right),
        })
    }

    /// Equal as `==` of Velocity has it: numbers by value, others of one kind as Java's `equals`, of different kinds by their text.
    pub(super) fn equal(&mut self, left: &Value, right: &Value) -> Result<bool, Fault> {
        if let Some(order) = compare(left, right) {
            return Ok(order.is_eq());
        }
        Ok(match (left, right) {
            (Value::Missing, Value::Text(text)) | (Value::Text(text), Value::Missing) => text.is_empty(),
            _ if left.is_null() || right.is_null() => left.is_null() && right.is_null(),
            (Value::Bool(left), Value::Bool(right)) => left == right,
            (Value::List(_), Value::List(_)) | (Value::Map(_), Value::Map(_)) => self.same(left, right, 0)?,
            _ => self.text_of(left)? == self.text_of(right)?,
        })
    }

    /// Java's `equals`.
    pub(super) fn same(&mut self, left: &Value, right: &Value, depth: usize) -> Result<bool, Fault> {
        self.heap.budget.step(1)?;
        if depth > MAX_DEPTH {
            return Err(Fault::Depth);
        }
        match (left, right) {
            (Value::List(a), Value::List(b)) => {
                let length = self.heap.list_of(*a).items.len();
                if length != self.heap.list_of(*b).items.len() {
                    return Ok(false);
                }
                for at in 0..length {
                    let item = |id| self.heap.list_of(id).items.get(at).cloned();
                    let (Some(left), Some(right)) = (item(*a), item(*b)) else {
                        return Ok(false);
                    };
                    if !self.same(&left, &right, depth + 1)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Value::Map(a), Value::Map(b)) => {
                let entries = self.heap.map_of(*a).entries().to_vec();
                self.heap.budget.step(entries.len())?;
                if entries.len() != self.heap.map_of(*b).entries().len() {
                    return Ok(false);
                }
                for (name, left) in entries {
                    let Some(right) = self.heap.map_of(*b).get(&name).cloned() else {
                        return Ok(false);
                    };
                    if !self.same(&left, &right, depth + 1)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Value::Text(a), Value::Text(b)) => Ok(a == b),
            (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
            (a, b) if a.is_null() && b.is_null() => Ok(true),
            (a, b) => Ok(compare(a, b).is_some_and(Ordering::is_eq)),
        }
    }
}

fn is_text(value: &Value) -> bool {
    matches!(value, Value::Text(_) | Value::Missing | Value::Block(_))
}

/// A number as floating point; none for what is no number.
pub(super) fn float(value: &Value) -> Option<f64> {
    match value {
        #[expect(clippy::cast_precision_loss, reason = "as in Java")]
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        Value::Number(text) => text.parse().ok(),
        _ => None,
    }
}

/// Compares numbers; none when one of the two is none.
fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    if let (Value::Int(left), Value::Int(right)) = (left, right) {
        return Some(left.cmp(right));
    }
    float(left)?.partial_cmp(&float(right)?)
}

/// Whole numbers stay whole, and become floating point where they would overflow; nothing is divided by zero.
fn calculate(operator: Operator, left: &Value, right: &Value) -> Value {
    if let (Value::Int(left), Value::Int(right)) = (left, right) {
        let whole = match operator {
            Operator::Add => left.checked_add(*right),
            Operator::Subtract => left.checked_sub(*right),
            Operator::Multiply => left.checked_mul(*right),
            Operator::Divide if *right != 0 => left.checked_div(*right),
            Operator::Remainder if *right != 0 => left.checked_rem(*right),
            _ => return Value::Null,
        };
        if let Some(whole) = whole {
            return Value::Int(whole);
        }
    }
    let (Some(left), Some(right)) = (float(left), float(right)) else {
        return Value::Null;
    };
    Value::Float(match operator {
        Operator::Add => left + right,
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide if right != 0.0 => left / right,
        Operator::Remainder if right != 0.0 => left % right,
        _ => return Value::Null,
    })
}
