//! Extensions of AWS where nothing reads them: each is told.

use serde_json::Value;

use super::{
    AMAZON,
    import::Importer,
    report::{at, escaped},
};

/// Members that hold values as they are, and no parts of a document.
const VALUES: [&str; 5] = ["example", "examples", "default", "enum", "const"];

impl<'d> Importer<'d> {
    /// Says that something reads a member.
    pub(super) fn reads(&mut self, place: &str, key: &str) {
        if key.starts_with(AMAZON) {
            self.read.insert(at(place, key));
        }
    }

    /// Tells of what nothing has read.
    pub(super) fn unread(&mut self) {
        let mut found = Vec::new();
        walk(self.document, &mut String::new(), &mut |place: &str| {
            if !self.read.contains(place) {
                found.push(place.to_owned());
            }
        });
        for place in found {
            self.report.warn(&place, "is not understood here");
        }
    }
}

/// Every extension of AWS, with its place. The depth is bounded by that of a parsed document.
fn walk(value: &Value, path: &mut String, each: &mut impl FnMut(&str)) {
    let here = path.len();
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                // what they have inside is read with them, but for an operation
                let is_operation = key == "x-amazon-apigateway-any-method";
                let is_passed = key.starts_with("x-") || VALUES.contains(&key.as_str());
                path.push('/');
                path.push_str(&escaped(key));
                if key.starts_with(AMAZON) {
                    each(path);
                }
                if is_operation || !is_passed {
                    walk(value, path, each);
                }
                path.truncate(here);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                path.push('/');
                path.push_str(&index.to_string());
                walk(value, path, each);
                path.truncate(here);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
