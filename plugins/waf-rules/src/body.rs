//! The strings of a JSON body, without building a document: duplicate members are all seen, whichever of them the application takes.

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Longest path that is kept for a leaf; deeper ones end in `*`.
const MAX_PATH: usize = 256;

/// Calls `found(path, is_key, text)` for all strings and keys of a JSON text in order. False when it is no JSON or nested deeper than
/// 128 levels; `found` may have been called before that shows.
pub fn json_leaves(body: &[u8], found: &mut dyn FnMut(&str, bool, &str)) -> bool {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let walked = Walk {
        path: &mut String::new(),
        found,
    }
    .deserialize(&mut deserializer);
    walked.and_then(|()| deserializer.end()).is_ok()
}

struct Walk<'a> {
    path: &'a mut String,
    found: &'a mut dyn FnMut(&str, bool, &str),
}

impl Walk<'_> {
    /// Runs `inside` with the path one step longer.
    fn step<T>(&mut self, step: &str, dot: bool, inside: impl FnOnce(Walk<'_>) -> T) -> T {
        let length = self.path.len();
        if length + step.len() < MAX_PATH {
            if dot && length > 0 {
                self.path.push('.');
            }
            self.path.push_str(step);
        } else if !self.path.ends_with('*') {
            self.path.push_str(".*");
        }
        let result = inside(Walk {
            path: self.path,
            found: self.found,
        });
        self.path.truncate(length);
        result
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        (self.found)(self.path, false, text);
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        while self
            .step("[]", false, |inside| seq.next_element_seed(inside))?
            .is_some()
        {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Key)? {
            self.step(&key, true, |inside| {
                (inside.found)(inside.path, true, &key);
                map.next_value_seed(inside)
            })?;
        }
        Ok(())
    }
}

struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        String::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn strings(body: &str) -> Option<Vec<(String, String)>> {
        let mut found = Vec::new();
        json_leaves(body.as_bytes(), &mut |path, _, text| {
            found.push((path.to_owned(), text.to_owned()))
        })
        .then_some(found)
    }

    #[test]
    fn strings_and_keys_are_found_with_their_path() {
        let pair = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        assert_eq!(
            strings(r#"{"a":1,"b":[{"c":"x"},"y"],"d":null}"#).unwrap(),
            [
                pair("a", "a"),
                pair("b", "b"),
                pair("b[].c", "c"),
                pair("b[].c", "x"),
                pair("b[]", "y"),
                pair("d", "d")
            ]
        );
        assert_eq!(strings(r#""\u003cscript>""#).unwrap(), [pair("", "<script>")]);
    }

    #[test]
    fn both_values_of_a_duplicate_member_are_seen() {
        let found = strings(r#"{"q":"attack","q":"harmless"}"#).unwrap();
        assert_eq!(found.iter().filter(|(path, _)| path == "q").count(), 2 + 2);
    }

    #[test]
    fn what_is_no_json_gives_nothing() {
        for body in ["", "{", "{}x", "[1,]", "'a'", &"[".repeat(100_000)] {
            assert_eq!(strings(body), None, "{body:.20}");
        }
    }

    #[test]
    fn paths_stay_short_however_deep_and_long_the_keys_are() {
        let key = "k".repeat(200);
        let body = format!("{}\"x\"{}", format!("{{\"{key}\":").repeat(100), "}".repeat(100));
        assert!(
            strings(&body)
                .unwrap()
                .iter()
                .all(|(path, _)| path.len() <= MAX_PATH + 2)
        );
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body: Vec<u8>) {
            json_leaves(&body, &mut |_, _, _| ());
        }
    }
}
