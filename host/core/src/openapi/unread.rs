//! Extensions of AWS where nothing reads them: each is told.

use serde_json::Value;

use super::{
    AMAZON,
    import::Importer,
    report::{at, escaped},
};

/// Members that hold values as they are, and no parts of a document.
const VALUES: [&str; 5] = ["example", "examples", "default", "enum", "const"];
/// Members whose own members have names that somebody chose, and are no words of a document's.
const NAMED: [&str; 21] = [
    "$defs",
    "callbacks",
    "content",
    "definitions",
    "dependencies",
    "dependentSchemas",
    "encoding",
    "headers",
    "links",
    "parameters",
    "pathItems",
    "paths",
    "patternProperties",
    "properties",
    "requestBodies",
    "responses",
    "schemas",
    "securityDefinitions",
    "securitySchemes",
    "variables",
    "webhooks",
];

/// Of these such that have extensions beside.
const EXTENDED: [&str; 3] = ["callbacks", "paths", "responses"];

impl<'d> Importer<'d> {
    /// Says that something reads a member.
    pub(super) fn reads(&mut self, place: &str, key: &str) {
        if key.starts_with(AMAZON) && self.report.spend(place.len() + key.len()) {
            self.read.insert(at(place, key));
        }
    }

    /// Tells of what nothing has read.
    pub(super) fn unread(&mut self) {
        walk(self.document, None, &mut String::new(), &mut |place: &str| {
            // long places are as much work to look for as to tell
            if self.report.spend(place.len()) && !self.read.contains(place) {
                self.report.warn(place, "is not understood here");
            }
        });
    }
}

/// Every extension of AWS, with its place. `names` is the member of which the value is, if those in it have names that somebody chose. The depth is
/// bounded by that of a parsed document.
fn walk(value: &Value, names: Option<&str>, path: &mut String, each: &mut impl FnMut(&str)) {
    let here = path.len();
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                // what they have inside is read with them, but for an operation
                let is_operation = key == "x-amazon-apigateway-any-method";
                let is_passed = match names {
                    None => key.starts_with("x-") || VALUES.contains(&key.as_str()),
                    Some(of) => key.starts_with("x-") && EXTENDED.contains(&of),
                };
                let inside = (names.is_none() && NAMED.contains(&key.as_str())).then_some(key.as_str());
                path.push('/');
                path.push_str(&escaped(key));
                if key.starts_with(AMAZON) {
                    each(path);
                }
                if is_operation || !is_passed {
                    walk(value, inside, path, each);
                }
                path.truncate(here);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                path.push('/');
                path.push_str(&index.to_string());
                walk(value, None, path, each);
                path.truncate(here);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
