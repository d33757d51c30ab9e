//! What is told of an import, and how places are written and found: JSON pointers (RFC 6901).

use std::collections::{BTreeMap, BTreeSet};

use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::config::Problem;

/// Most bytes that are made of a document.
const SIZE_MAX: usize = 64 << 20;
/// Longest chain of references.
const HOPS_MAX: usize = 16;
/// Longest name that is made of another one, in bytes.
const NAME_MAX: usize = 120;

/// A part of a document, and what it became.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Became {
    /// Where it stands, as a JSON pointer.
    pub place: String,
    /// What it is now.
    pub became: String,
}

/// What was found so far, and how much more of it there may be.
#[derive(Debug)]
pub(super) struct Report {
    left: usize,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    pub(super) notes: Vec<Problem>,
    pub(super) became: Vec<Became>,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            left: SIZE_MAX,
            problems: Vec::new(),
            warnings: Vec::new(),
            notes: Vec::new(),
            became: Vec::new(),
        }
    }
}

impl Report {
    /// Counts what is made of a document: by references a small one can say something large many times. False when it is too much.
    pub(super) fn spend(&mut self, bytes: usize) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left = self.left.saturating_sub(bytes);
        if self.left == 0 {
            let message = format!("says the same too often: more than {SIZE_MAX} bytes would be made of it");
            self.problems.push(Problem::new("", message));
            return false;
        }
        true
    }

    fn told(&mut self, place: &str, message: impl Into<String>) -> Option<Problem> {
        let message = message.into();
        self.spend(place.len() + message.len())
            .then(|| Problem::new(place, message))
    }

    pub(super) fn problem(&mut self, place: &str, message: impl Into<String>) {
        let problem = self.told(place, message);
        self.problems.extend(problem);
    }

    pub(super) fn warn(&mut self, place: &str, message: impl Into<String>) {
        let problem = self.told(place, message);
        self.warnings.extend(problem);
    }

    pub(super) fn note(&mut self, place: &str, message: impl Into<String>) {
        let problem = self.told(place, message);
        self.notes.extend(problem);
    }

    pub(super) fn became(&mut self, place: &str, what: impl Into<String>) {
        if let Some(told) = self.told(place, what) {
            self.became.push(Became {
                place: told.path,
                became: told.message,
            });
        }
    }

    /// An object that has to be one. Nothing at all is none.
    pub(super) fn object<'d>(
        &mut self,
        value: Option<&'d Value>,
        place: &str,
    ) -> Option<&'d Map<String, Value>> {
        match value {
            None | Some(Value::Null) => None,
            Some(Value::Object(object)) => Some(object),
            Some(_) => {
                self.problem(place, "is not an object");
                None
            }
        }
    }

    /// A list that has to be one. Nothing at all is an empty one.
    pub(super) fn list<'d>(&mut self, value: Option<&'d Value>, place: &str) -> &'d [Value] {
        match value {
            None | Some(Value::Null) => &[],
            Some(Value::Array(values)) => values,
            Some(_) => {
                self.problem(place, "is not a list");
                &[]
            }
        }
    }

    /// A text that has to be one. Nothing at all is none.
    pub(super) fn text<'d>(&mut self, value: Option<&'d Value>, place: &str) -> Option<&'d str> {
        match value {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(_) => {
                self.problem(place, "is not a text");
                None
            }
        }
    }

    /// Follows references within the document to what is meant, with its place.
    pub(super) fn resolved<'d>(
        &mut self,
        document: &'d Value,
        value: &'d Value,
        place: &str,
    ) -> Option<(&'d Value, String)> {
        let (mut value, mut at) = (value, place.to_owned());
        for _ in 0..HOPS_MAX {
            let Some(reference) = value.get("$ref").and_then(Value::as_str) else {
                return Some((value, at));
            };
            let Some(pointer) = pointer(reference) else {
                self.problem(
                    &at,
                    format!("refers to `{reference}`: other documents are not fetched"),
                );
                return None;
            };
            let Some(found) = document.pointer(&pointer) else {
                self.problem(&at, format!("refers to `{reference}`, which is not there"));
                return None;
            };
            (value, at) = (found, pointer);
        }
        self.problem(place, "refers to what refers to itself");
        None
    }
}

/// The pointer of a reference into the same document.
pub(super) fn pointer(reference: &str) -> Option<String> {
    let fragment = reference.strip_prefix('#')?;
    if !fragment.is_empty() && !fragment.starts_with('/') {
        return None;
    }
    Some(percent_decode_str(fragment).decode_utf8().ok()?.into_owned())
}

/// A name as it stands in a pointer.
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A name out of a pointer.
pub(super) fn unescaped(name: &str) -> String {
    name.replace("~1", "/").replace("~0", "~")
}

/// The place of a member.
pub(super) fn at(place: &str, name: &str) -> String {
    format!("{place}/{}", escaped(name))
}

/// Names that are given to what has none, or one that cannot be; each once.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: BTreeSet<String>,
    next: BTreeMap<String, usize>,
}

impl Names {
    /// The name as it is, or what comes next to it.
    pub(super) fn give(&mut self, wanted: &str, otherwise: &str) -> String {
        self.give_but(wanted, otherwise, |_name| false)
    }

    /// The same, but for names that are not free for another reason.
    pub(super) fn give_but(
        &mut self,
        wanted: &str,
        otherwise: &str,
        is_used: impl Fn(&str) -> bool,
    ) -> String {
        let mut name = String::new();
        for part in wanted.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))) {
            if !part.is_empty() && !name.is_empty() {
                name.push('-');
            }
            name.push_str(part);
        }
        let mut name = name.trim_start_matches('.').to_owned();
        name.truncate(NAME_MAX);
        if name.is_empty() {
            otherwise.clone_into(&mut name);
        }
        if !is_used(&name) && self.taken.insert(name.clone()) {
            return name;
        }
        loop {
            let count = self.next.entry(name.clone()).or_insert(1);
            *count += 1;
            let other = format!("{name}-{count}");
            if !is_used(&other) && self.taken.insert(other.clone()) {
                return other;
            }
        }
    }

    /// Keeps a name from being given.
    pub(super) fn take(&mut self, name: &str) {
        self.taken.insert(name.to_owned());
    }
}

/// A number, or a text that is one.
pub(super) fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_made_possible_and_given_once() {
        let mut names = Names::default();
        for (wanted, given) in [
            ("Pet", "Pet"),
            ("Pet", "Pet-2"),
            ("Pet-2", "Pet-2-2"),
            ("List«Pet» of", "List-Pet-of"),
            ("..x", "x"),
            ("«»", "none"),
        ] {
            assert_eq!(names.give(wanted, "none"), given, "{wanted}");
        }
        assert!(crate::api::is_name(&names.give(&"é/x".repeat(200), "none")));
    }

    #[test]
    fn references_are_followed_to_their_end_or_told() {
        let document = json!({
            "a": {"$ref": "#/b~1c"}, "b/c": {"$ref": "#/d%20e"}, "d e": {"x": 1},
            "loop": {"$ref": "#/loop"}, "gone": {"$ref": "#/none"}, "far": {"$ref": "other.yaml#/x"},
        });
        let mut report = Report::default();
        let (found, place) = report.resolved(&document, &document["a"], "/a").unwrap();
        assert_eq!((found, &*place), (&json!({"x": 1}), "/d e"));
        for name in ["loop", "gone", "far"] {
            assert!(report.resolved(&document, &document[name], name).is_none());
        }
        assert_eq!(report.problems.len(), 3);
    }
}
