//! Values of a script, and the heap that lists and maps live in: as in Java, two names can stand for the same list. The heap lasts as
//! long as the script, so that lists may contain each other.

use crate::ast::Block;
use crate::fault::{Budget, Fault, Limits};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Bytes that an element is counted with.
const ELEMENT: usize = 32;
/// Maps with more members than this are searched by an index.
const INDEXED: usize = 16;

/// A value.
#[derive(Debug, Clone)]
pub enum Value {
    /// `null`, and what has no value.
    Null,
    /// What is not there in what the script was given (the body, parameters, context), or null there: prints nothing, equals both null and the
    /// empty text.
    Missing,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A number of a document that is no whole number of 64 bits, as it was written.
    Number(Rc<str>),
    /// A text.
    Text(Rc<str>),
    /// A list.
    List(ListId),
    /// A map.
    Map(MapId),
    /// What `#define` made.
    Block(Rc<Block>),
    /// `$input`
    Input,
    /// `$util`
    Util,
    /// `$foreach`; the place of the loop among those that run.
    Loop(usize),
}

impl Value {
    /// A text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// A count.
    #[must_use]
    pub fn count(count: usize) -> Self {
        Self::Int(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// True for what `#if` takes as false: null and false only.
    #[must_use]
    pub fn is_false(&self) -> bool {
        matches!(self, Self::Null | Self::Missing | Self::Bool(false))
    }

    /// True for what is no value.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null | Self::Missing)
    }
}

/// A list of the heap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListId(usize);

/// A map of the heap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapId(usize);

/// A list.
#[derive(Debug, Default)]
pub struct List {
    /// Elements.
    pub items: Vec<Value>,
    /// It is of a JSON document: prints as JSON, and null is [`Value::Missing`].
    pub json: bool,
}

impl List {
    /// An element.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<Value> {
        match self.items.get(place)? {
            Value::Null if self.json => Some(Value::Missing),
            value => Some(value.clone()),
        }
    }
}

/// What a map is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MapKind {
    /// One that the script made.
    #[default]
    Plain,
    /// One that the script was given: what is not there, or null, is [`Value::Missing`].
    Given,
    /// The same of header fields: names are compared without case.
    Headers,
    /// `key` and `value` of a member of a map.
    Entry,
}

/// A map; members keep their order.
#[derive(Debug, Default)]
pub struct Map {
    entries: Vec<(Rc<str>, Value)>,
    index: BTreeMap<Rc<str>, usize>,
    /// What it is.
    pub kind: MapKind,
}

impl Map {
    fn place(&self, key: &str) -> Option<usize> {
        if self.kind == MapKind::Headers {
            return self
                .entries
                .iter()
                .position(|(name, _)| name.eq_ignore_ascii_case(key));
        }
        if self.index.is_empty() {
            self.entries.iter().position(|(name, _)| **name == *key)
        } else {
            self.index.get(key).copied()
        }
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        let place = self.place(key)?;
        self.entries.get(place).map(|(_, value)| value)
    }

    /// Sets a member; the value that was there.
    pub fn put(&mut self, key: Rc<str>, value: Value) -> Option<Value> {
        if let Some((_, old)) = self.place(&key).and_then(|place| self.entries.get_mut(place)) {
            return Some(std::mem::replace(old, value));
        }
        if !self.index.is_empty() {
            self.index.insert(Rc::clone(&key), self.entries.len());
        }
        self.entries.push((key, value));
        if self.index.is_empty() && self.entries.len() > INDEXED {
            self.build_index();
        }
        None
    }

    /// Removes a member; its value.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let place = self.place(key)?;
        let (_, value) = self.entries.remove(place);
        self.index.clear();
        if self.entries.len() > INDEXED {
            self.build_index();
        }
        Some(value)
    }

    /// Removes all members.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.index.clear();
    }

    fn build_index(&mut self) {
        let places = self.entries.iter().enumerate();
        self.index = places
            .map(|(place, (name, _))| (Rc::clone(name), place))
            .collect();
    }

    /// Members in order.
    #[must_use]
    pub fn entries(&self) -> &[(Rc<str>, Value)] {
        &self.entries
    }
}

/// Lists and maps of a script, and what it has left of its limits.
#[derive(Debug)]
pub struct Heap {
    lists: Vec<List>,
    maps: Vec<Map>,
    /// What is left.
    pub budget: Budget,
}

impl Heap {
    /// An empty one.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            lists: Vec::new(),
            maps: Vec::new(),
            budget: Budget::new(limits),
        }
    }

    /// A text that the script made.
    pub fn text(&mut self, text: &str) -> Result<Value, Fault> {
        self.budget.take(text.len())?;
        Ok(Value::text(text))
    }

    /// A list of the script.
    pub fn list(&mut self, items: Vec<Value>) -> Result<Value, Fault> {
        self.any_list(items, false)
    }

    /// A list that prints as JSON.
    pub fn json_list(&mut self, items: Vec<Value>) -> Result<Value, Fault> {
        self.any_list(items, true)
    }

    fn any_list(&mut self, items: Vec<Value>, json: bool) -> Result<Value, Fault> {
        self.budget.take((items.len() + 2) * ELEMENT)?;
        self.budget.step(items.len())?;
        self.lists.push(List { items, json });
        Ok(Value::List(ListId(self.lists.len() - 1)))
    }

    /// A map without members.
    pub fn map(&mut self, kind: MapKind) -> Result<MapId, Fault> {
        self.budget.take(3 * ELEMENT)?;
        self.maps.push(Map {
            kind,
            ..Map::default()
        });
        Ok(MapId(self.maps.len() - 1))
    }

    /// Sets a member of a map; the value that was there, or null.
    pub fn put(&mut self, map: MapId, key: Rc<str>, value: Value) -> Result<Value, Fault> {
        self.budget.take(2 * ELEMENT + key.len())?;
        Ok(self.map_mut(map).put(key, value).unwrap_or(Value::Null))
    }

    /// Adds an element to a list.
    pub fn push(&mut self, list: ListId, value: Value) -> Result<(), Fault> {
        self.budget.take(ELEMENT)?;
        self.list_mut(list).items.push(value);
        Ok(())
    }

    /// A list.
    #[must_use]
    pub fn list_of(&self, id: ListId) -> &List {
        // ids come from this heap, which never shrinks
        &self.lists[id.0]
    }

    /// A list, to be changed.
    pub fn list_mut(&mut self, id: ListId) -> &mut List {
        &mut self.lists[id.0]
    }

    /// A map.
    #[must_use]
    pub fn map_of(&self, id: MapId) -> &Map {
        &self.maps[id.0]
    }

    /// A map, to be changed.
    pub fn map_mut(&mut self, id: MapId) -> &mut Map {
        &mut self.maps[id.0]
    }

    /// The member of a map, or what stands for one that is not there.
    #[must_use]
    pub fn member(&self, id: MapId, key: &str) -> Value {
        let map = self.map_of(id);
        match map.get(key) {
            Some(Value::Null) | None if matches!(map.kind, MapKind::Given | MapKind::Headers) => {
                Value::Missing
            }
            Some(value) => value.clone(),
            None => Value::Null,
        }
    }

    /// A JSON value that the gateway knows, on the heap.
    pub fn load(&mut self, json: &serde_json::Value) -> Result<Value, Fault> {
        Ok(match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(truth) => Value::Bool(*truth),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(whole) => Value::Int(whole),
                None => Value::Number(number.to_string().into()),
            },
            serde_json::Value::String(text) => self.text(text)?,
            serde_json::Value::Array(items) => {
                let items = items
                    .iter()
                    .map(|item| self.load(item))
                    .collect::<Result<_, _>>()?;
                self.json_list(items)?
            }
            serde_json::Value::Object(members) => {
                let map = self.map(MapKind::Given)?;
                for (name, value) in members {
                    let value = self.load(value)?;
                    self.put(map, name.as_str().into(), value)?;
                }
                Value::Map(map)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_are_found_in_small_and_large_maps() {
        let mut map = Map::default();
        for number in 0..100 {
            assert!(map.put(format!("k{number}").into(), Value::Int(number)).is_none());
        }
        assert!(matches!(map.put("k7".into(), Value::Null), Some(Value::Int(7))));
        assert!(matches!(map.remove("k0"), Some(Value::Int(0))));
        assert!(matches!(map.get("k99"), Some(Value::Int(99))));
        assert!(map.get("k0").is_none() && map.remove("k0").is_none());
        assert_eq!(&*map.entries()[0].0, "k1");
        for number in 1..95 {
            map.remove(&format!("k{number}"));
        }
        assert_eq!(map.entries().len(), 5);
        assert!(matches!(map.get("k95"), Some(Value::Int(95))));
    }

    #[test]
    fn names_of_header_fields_are_found_without_case() {
        let mut map = Map {
            kind: MapKind::Headers,
            ..Map::default()
        };
        map.put("user-agent".into(), Value::Int(1));
        assert!(matches!(map.get("User-Agent"), Some(Value::Int(1))));
    }

    #[test]
    fn what_a_script_makes_is_bounded() {
        let mut heap = Heap::new(Limits {
            steps: 10,
            memory: 1000,
            output: 0,
        });
        assert_eq!(heap.list(vec![Value::Null; 11]).err(), Some(Fault::Steps(10)));
        assert_eq!(heap.text(&"x".repeat(1000)).err(), Some(Fault::Memory(1000)));
    }
}
