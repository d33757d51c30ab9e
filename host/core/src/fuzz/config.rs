//! Configuration files.

use serde_json::Value;

use crate::config::{Problems, from_value, read};

/// Any text is a configuration or a list of problems, each with its place. What is a configuration is the same one when it is written and read again, as a
/// document and as JSON text.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match read(text) {
        Err(problems) => tells_where(text, &problems),
        Ok(config) => {
            let value = serde_json::to_value(&config).expect("a configuration can be written");
            let json = value.to_string();
            assert_eq!(from_value(value).as_ref(), Ok(&config), "as a document");
            assert_eq!(read(&json).as_ref(), Ok(&config), "as JSON: {json}");
        }
    }
}

/// Only what is no mapping at all has no place in it.
fn tells_where(text: &str, problems: &Problems) {
    assert!(!problems.0.is_empty(), "refused without a reason");
    let document: Option<Value> = serde_yaml_ng::from_str(text).ok();
    let has_places = document.is_some_and(|document| document.is_object() || document.is_null());
    for problem in &problems.0 {
        assert!(!problem.message.is_empty());
        assert!(!has_places || !problem.path.is_empty(), "{problem} has no place");
        assert!(problem.to_string().contains(&problem.message));
    }
}
