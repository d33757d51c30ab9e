//! Methods of `java.util.List`.

use super::Machine;
use crate::fault::Fault;
use crate::value::{ListId, Value};

/// An index below `end`.
fn place(at: i64, end: usize) -> Result<usize, Fault> {
    let place = usize::try_from(at).ok().filter(|place| *place < end);
    place.ok_or(Fault::Index(at))
}

impl Machine {
    pub(super) fn element(&self, id: ListId, at: i64) -> Result<Value, Fault> {
        let list = self.heap.list_of(id);
        let place = place(at, list.items.len())?;
        Ok(list.get(place).unwrap_or(Value::Null))
    }

    pub(super) fn set_element(&mut self, id: ListId, at: i64, value: Value) -> Result<Value, Fault> {
        let place = place(at, self.heap.list_of(id).items.len())?;
        let old = self.heap.list_mut(id).items.get_mut(place);
        Ok(old.map_or(Value::Null, |old| std::mem::replace(old, value)))
    }

    fn position(&mut self, id: ListId, wanted: &Value) -> Result<Option<usize>, Fault> {
        for at in 0..self.heap.list_of(id).items.len() {
            let item = self.heap.list_of(id).items.get(at).cloned();
            if self.same(&item.unwrap_or(Value::Null), wanted, 0)? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    pub(super) fn list_method(
        &mut self,
        id: ListId,
        name: &str,
        arguments: &[Value],
    ) -> Result<Option<Value>, Fault> {
        let length = self.heap.list_of(id).items.len();
        Ok(Some(match (name, arguments) {
            ("size", []) => Value::count(length),
            ("isEmpty", []) => Value::Bool(length == 0),
            ("iterator", []) => Value::List(id),
            ("get", [Value::Int(at)]) => self.element(id, *at)?,
            ("set", [Value::Int(at), value]) => self.set_element(id, *at, value.clone())?,
            ("add", [value]) => {
                self.heap.push(id, value.clone())?;
                Value::Bool(true)
            }
            ("add", [Value::Int(at), value]) => {
                let place = place(*at, length + 1)?;
                self.heap.budget.step(1 + length / 16)?;
                // takes the memory of an element
                self.heap.push(id, Value::Null)?;
                let items = &mut self.heap.list_mut(id).items;
                items.pop();
                items.insert(place, value.clone());
                Value::Null
            }
            ("addAll", [other]) => {
                let more = self.elements(other)?;
                let changed = !more.is_empty();
                for value in more {
                    self.heap.push(id, value)?;
                }
                Value::Bool(changed)
            }
            ("remove", [Value::Int(at)]) => {
                let place = place(*at, length)?;
                self.heap.budget.step(1 + length / 16)?;
                self.heap.list_mut(id).items.remove(place)
            }
            ("remove", [value]) => {
                let place = self.position(id, value)?;
                if let Some(place) = place {
                    self.heap.list_mut(id).items.remove(place);
                }
                Value::Bool(place.is_some())
            }
            ("removeAll" | "retainAll", [other]) => {
                let Value::List(other) = other else {
                    return Ok(None);
                };
                let keep = name == "retainAll";
                let mut kept = Vec::new();
                for item in self.elements(&Value::List(id))? {
                    if self.position(*other, &item)?.is_some() == keep {
                        kept.push(item);
                    }
                }
                let changed = kept.len() != length;
                self.heap.list_mut(id).items = kept;
                Value::Bool(changed)
            }
            ("clear", []) => {
                self.heap.list_mut(id).items.clear();
                Value::Null
            }
            ("contains", [value]) => Value::Bool(self.position(id, value)?.is_some()),
            ("containsAll", [other]) => {
                for item in self.elements(other)? {
                    if self.position(id, &item)?.is_none() {
                        return Ok(Some(Value::Bool(false)));
                    }
                }
                Value::Bool(true)
            }
            ("indexOf", [value]) => self.position(id, value)?.map_or(Value::Int(-1), Value::count),
            ("subList", [Value::Int(from), Value::Int(to)]) => {
                let (from, to) = (place(*from, length + 1)?, place(*to, length + 1)?);
                let part = self.heap.list_of(id).items.get(from..to);
                let part = part
                    .ok_or(Fault::Index(i64::try_from(from).unwrap_or(i64::MAX)))?
                    .to_vec();
                if self.heap.list_of(id).json {
                    self.heap.json_list(part)?
                } else {
                    self.heap.list(part)?
                }
            }
            _ => return Ok(None),
        }))
    }
}
