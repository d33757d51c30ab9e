//! Methods of `java.util.Map` and of its entries. Keys are texts: what is no text is turned into one.

use super::Machine;
use crate::fault::Fault;
use crate::value::{MapId, MapKind, Value};
use std::rc::Rc;

impl Machine {
    fn members(&mut self, id: MapId) -> Result<Vec<(Rc<str>, Value)>, Fault> {
        let entries = self.heap.map_of(id).entries().to_vec();
        self.heap.budget.step(entries.len())?;
        Ok(entries)
    }

    pub(super) fn map_method(
        &mut self,
        id: MapId,
        name: &str,
        arguments: &[Value],
    ) -> Result<Option<Value>, Fault> {
        Ok(Some(match (name, arguments) {
            ("getKey", []) if self.heap.map_of(id).kind == MapKind::Entry => self.heap.member(id, "key"),
            ("getValue", []) if self.heap.map_of(id).kind == MapKind::Entry => self.heap.member(id, "value"),
            ("size", []) => Value::count(self.heap.map_of(id).entries().len()),
            ("isEmpty", []) => Value::Bool(self.heap.map_of(id).entries().is_empty()),
            ("get", [key]) => {
                let key = self.text_of(key)?;
                self.heap.member(id, &key)
            }
            ("getOrDefault", [key, other]) => {
                let key = self.text_of(key)?;
                self.heap.map_of(id).get(&key).unwrap_or(other).clone()
            }
            ("put", [key, value]) => {
                let key = self.text_of(key)?;
                self.heap.put(id, key, value.clone())?
            }
            ("putIfAbsent", [key, value]) => {
                let key = self.text_of(key)?;
                match self.heap.map_of(id).get(&key).cloned() {
                    Some(there) if !there.is_null() => there,
                    _ => self.heap.put(id, key, value.clone())?,
                }
            }
            ("putAll", [Value::Map(other)]) => {
                for (key, value) in self.members(*other)? {
                    self.heap.put(id, key, value)?;
                }
                Value::Null
            }
            ("remove", [key]) => {
                let key = self.text_of(key)?;
                let length = self.heap.map_of(id).entries().len();
                self.heap.budget.step(length)?;
                self.heap.map_mut(id).remove(&key).unwrap_or(Value::Null)
            }
            ("clear", []) => {
                self.heap.map_mut(id).clear();
                Value::Null
            }
            ("containsKey", [key]) => {
                let key = self.text_of(key)?;
                Value::Bool(self.heap.map_of(id).get(&key).is_some())
            }
            ("containsValue", [wanted]) => {
                for (_, value) in self.members(id)? {
                    if self.same(&value, wanted, 0)? {
                        return Ok(Some(Value::Bool(true)));
                    }
                }
                Value::Bool(false)
            }
            ("keySet", []) => {
                let members = self.members(id)?;
                self.heap
                    .list(members.into_iter().map(|(key, _)| Value::Text(key)).collect())?
            }
            ("values", []) => {
                let members = self.members(id)?;
                self.heap
                    .list(members.into_iter().map(|(_, value)| value).collect())?
            }
            ("entrySet", []) => {
                let mut entries = Vec::new();
                for (key, value) in self.members(id)? {
                    let entry = self.heap.map(MapKind::Entry)?;
                    self.heap.put(entry, "key".into(), Value::Text(key))?;
                    self.heap.put(entry, "value".into(), value)?;
                    entries.push(Value::Map(entry));
                }
                self.heap.list(entries)?
            }
            _ => return Ok(None),
        }))
    }
}
