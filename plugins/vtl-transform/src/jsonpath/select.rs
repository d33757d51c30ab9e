//! What a path names in a document.

use super::filter::{Comparison, Filter, Operand};
use super::{Path, Segment, Selector};
use crate::fault::{Fault, MAX_DEPTH};
use crate::value::{Heap, Value};
use std::cmp::Ordering;

impl Path {
    /// The value at the path; none where a path that names one place leads nowhere.
    ///
    /// # Errors
    /// A limit was hit.
    pub fn select(&self, heap: &mut Heap, document: &Value) -> Result<Option<Value>, Fault> {
        self.select_from(heap, document, document)
    }

    fn select_from(&self, heap: &mut Heap, root: &Value, start: &Value) -> Result<Option<Value>, Fault> {
        let mut found = vec![start.clone()];
        for segment in &self.segments {
            found = segment.select(heap, root, found)?;
        }
        if self.length {
            return Ok(if self.is_definite() {
                found.first().and_then(|value| length(heap, value))
            } else {
                Some(Value::count(found.len()))
            });
        }
        if self.is_definite() {
            return Ok(found.pop());
        }
        heap.json_list(found).map(Some)
    }
}

fn length(heap: &Heap, value: &Value) -> Option<Value> {
    Some(Value::count(match value {
        Value::List(id) => heap.list_of(*id).items.len(),
        Value::Map(id) => heap.map_of(*id).entries().len(),
        Value::Text(text) => text.encode_utf16().count(),
        _ => return None,
    }))
}

impl Segment {
    fn select(&self, heap: &mut Heap, root: &Value, from: Vec<Value>) -> Result<Vec<Value>, Fault> {
        let from = if self.deep { descendants(heap, from)? } else { from };
        let mut found = Vec::new();
        for value in &from {
            heap.budget.step(1)?;
            self.selector.select(heap, root, value, &mut found)?;
        }
        Ok(found)
    }
}

/// Values and everything in them, each before what it contains.
fn descendants(heap: &mut Heap, from: Vec<Value>) -> Result<Vec<Value>, Fault> {
    let mut found = Vec::new();
    let mut waiting: Vec<(Value, usize)> = from.into_iter().rev().map(|value| (value, 0)).collect();
    while let Some((value, depth)) = waiting.pop() {
        heap.budget.step(1)?;
        if depth > MAX_DEPTH {
            return Err(Fault::Depth);
        }
        let inside = children(heap, &value);
        waiting.extend(inside.into_iter().rev().map(|child| (child, depth + 1)));
        found.push(value);
    }
    Ok(found)
}

fn children(heap: &Heap, value: &Value) -> Vec<Value> {
    match value {
        Value::List(id) => heap.list_of(*id).items.clone(),
        Value::Map(id) => {
            let entries = heap.map_of(*id).entries().iter();
            entries.map(|(_, value)| value.clone()).collect()
        }
        _ => Vec::new(),
    }
}

impl Selector {
    fn select(
        &self,
        heap: &mut Heap,
        root: &Value,
        value: &Value,
        found: &mut Vec<Value>,
    ) -> Result<(), Fault> {
        match (self, value) {
            (Self::Names(names), Value::Map(id)) => {
                let map = heap.map_of(*id);
                found.extend(names.iter().filter_map(|name| map.get(name)).cloned());
            }
            (Self::Indices(indices), Value::List(id)) => {
                let items = &heap.list_of(*id).items;
                let at = |index: &i64| items.get(place(*index, items.len())?);
                found.extend(indices.iter().filter_map(at).cloned());
            }
            (Self::Slice { from, to, step }, Value::List(id)) => {
                let items = &heap.list_of(*id).items;
                let end =
                    |index: Option<i64>, other: usize| index.map_or(other, |index| clamp(index, items.len()));
                let (from, to) = (end(*from, 0), end(*to, items.len()));
                let part = items.get(from..to.max(from)).unwrap_or_default();
                found.extend(part.iter().step_by(usize::try_from(*step).unwrap_or(1)).cloned());
            }
            (Self::All, Value::List(_) | Value::Map(_)) => {
                let inside = children(heap, value);
                heap.budget.step(inside.len())?;
                found.extend(inside);
            }
            (Self::Filter(filter), Value::List(_) | Value::Map(_)) => {
                // an object is asked itself, of a list the elements
                let asked = match value {
                    Value::List(_) => children(heap, value),
                    _ => vec![value.clone()],
                };
                for item in asked {
                    if filter.holds(heap, root, &item)? {
                        found.push(item);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// An index, from the end if it is negative.
fn place(index: i64, length: usize) -> Option<usize> {
    let offset = usize::try_from(index.unsigned_abs()).ok()?;
    if index < 0 {
        length.checked_sub(offset)
    } else {
        Some(offset)
    }
}

fn clamp(index: i64, length: usize) -> usize {
    place(index, length).map_or(0, |place| place.min(length))
}

impl Filter {
    fn holds(&self, heap: &mut Heap, root: &Value, here: &Value) -> Result<bool, Fault> {
        heap.budget.step(1)?;
        match self {
            Self::Any(parts) => {
                for part in parts {
                    if part.holds(heap, root, here)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::All(parts) => {
                for part in parts {
                    if !part.holds(heap, root, here)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Not(inner) => Ok(!inner.holds(heap, root, here)?),
            Self::Exists(operand) => Ok(operand.value(heap, root, here)?.is_some()),
            Self::Compare(left, comparison, right) => {
                let (left, right) = (left.value(heap, root, here)?, right.value(heap, root, here)?);
                Ok(match (left, right) {
                    (Some(left), Some(right)) => comparison.holds(&left, &right),
                    _ => false,
                })
            }
        }
    }
}

impl Operand {
    fn value(&self, heap: &mut Heap, root: &Value, here: &Value) -> Result<Option<Value>, Fault> {
        Ok(Some(match self {
            Self::Here(path) => return path.select_from(heap, root, here),
            Self::Root(path) => return path.select_from(heap, root, root),
            Self::Text(text) => Value::Text(text.clone()),
            Self::Number(number) => Value::Float(*number),
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Null => Value::Null,
        }))
    }
}

impl Comparison {
    fn holds(self, left: &Value, right: &Value) -> bool {
        let order = match (left, right) {
            (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
            (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
            (Value::Null, Value::Null) => Some(Ordering::Equal),
            _ => match (number(left), number(right)) {
                (Some(left), Some(right)) => left.partial_cmp(&right),
                _ => None,
            },
        };
        match self {
            Self::Unequal => order != Some(Ordering::Equal),
            Self::Equal => order == Some(Ordering::Equal),
            Self::Less => order == Some(Ordering::Less),
            Self::LessOrEqual => order.is_some_and(Ordering::is_le),
            Self::Greater => order == Some(Ordering::Greater),
            Self::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        }
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        #[expect(clippy::cast_precision_loss, reason = "as in Java")]
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        Value::Number(text) => text.parse().ok(),
        _ => None,
    }
}
