//! Checks that what lies beside the code of a plugin fits it: the schema of its configuration, and the examples of its README.

use std::{env, fs};

use serde::Serialize;
use serde_json::Value;

use crate::hooks::Plugin;

/// Checks that `config.schema.json`, in the folder of the package (where tests run), is this schema, pretty-printed. With
/// `UPDATE_SCHEMA` in the environment it is written anew.
///
/// # Panics
/// It is another one, or cannot be written.
#[track_caller]
pub fn schema_is_written(schema: &impl Serialize) {
    let path = "config.schema.json";
    let schema = serde_json::to_string_pretty(schema).expect("a schema is JSON") + "\n";
    if env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(path, &schema).expect("config.schema.json can be written");
    }
    let written = fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == schema,
        "config.schema.json is old: run this test with UPDATE_SCHEMA=1"
    );
}

/// Runs `init` with each `config` below `plugins` in the YAML blocks of a README, which `parse` reads, and returns how many
/// there were. Blocks without `plugins` are passed over: compare the number.
///
/// # Panics
/// The plugin refuses one of them.
#[track_caller]
pub fn examples<P: Plugin>(readme: &str, parse: impl Fn(&str) -> Value) -> usize {
    let blocks = readme.split("```yaml\n").skip(1);
    let blocks = blocks.filter_map(|block| block.split("```").next());
    let mut configs = 0;
    for document in blocks.map(parse) {
        let plugins = document["plugins"].as_object();
        for plugin in plugins.into_iter().flat_map(|plugins| plugins.values()) {
            let outcome = super::init::<P>(&plugin["config"].to_string());
            assert!(outcome.is_ok(), "{:?}", outcome.err());
            configs += 1;
        }
    }
    configs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::Interest;

    struct Even;

    impl Plugin for Even {
        fn init(config: &str) -> Result<(Self, Interest), String> {
            let even = config.parse::<u32>().is_ok_and(|number| number % 2 == 0);
            even.then_some((Self, Interest::none())).ok_or("odd".into())
        }
    }

    fn run(readme: &str) -> usize {
        // JSON is YAML
        examples::<Even>(readme, |text| serde_json::from_str(text).unwrap())
    }

    #[test]
    fn every_plugin_of_every_block_counts() {
        let readme = "a\n```yaml\n{\"plugins\": {\"a\": {\"config\": 2}, \"b\": {\"config\": 4}}}\n```\n```json\n7\n```\n\
             ```yaml\n{\"config\": 1}\n```\n```yaml\n{\"plugins\": {\"c\": {\"config\": 6}}}\n```\n";
        assert_eq!(run(readme), 3);
        assert_eq!(run("no example"), 0);
    }

    #[test]
    #[should_panic(expected = "odd")]
    fn an_example_that_is_refused_fails_the_test() {
        run("```yaml\n{\"plugins\": {\"a\": {\"config\": 1}}}\n```\n");
    }
}
