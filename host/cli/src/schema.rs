//! `edgeward schema`: the JSON Schema of the configuration file, and the pages in docs/ that are made from code.

use std::fmt::Write as _;

use edgeward_core::{config, reject};
use serde_json::{Map, Value};

use crate::output::Output;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// docs/config.md: every key of the configuration file.
    #[arg(long, conflicts_with = "errors")]
    markdown: bool,
    /// docs/errors.md: every error response.
    #[arg(long)]
    errors: bool,
}

/// Prints the schema or a page.
pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<()> {
    let schema = config::schema();
    let text = if args.markdown {
        markdown(&schema)
    } else if args.errors {
        reject::markdown()
    } else {
        // the schema is JSON whoever reads it
        serde_json::to_string_pretty(&schema)?
    };
    if output.is_json() && (args.markdown || args.errors) {
        output.show(&serde_json::json!({ "markdown": text }), String::new);
    } else {
        Output::new(false).line(text.trim_end());
    }
    Ok(())
}

const INTRO: &str = "# Configuration

Made from the code by `cargo xtask docs`: do not edit. The file is YAML; JSON is accepted. Unknown keys are refused.
`edgeward check` finds everything that is wrong with a file; `edgeward schema` prints a JSON Schema for editors.

Sizes are written as `64KiB` or `10MB` or as a number of bytes, times as `250ms`, `5s` or `10m`. Relative paths begin at
the folder of the configuration file.
";

/// The schema as tables, one for each object, in the order in which they are first named.
fn markdown(schema: &Value) -> String {
    let mut text = INTRO.to_owned();
    let mut names = vec![String::new()];
    let mut next = 0;
    while let Some(name) = names.get(next).cloned() {
        next += 1;
        let node = match name.as_str() {
            "" => schema,
            name => schema.pointer(&format!("/$defs/{name}")).unwrap_or(&Value::Null),
        };
        let title = if name.is_empty() { "gateway.yaml" } else { &name };
        // writing to a String cannot fail
        let _unused = write!(text, "\n## {title}\n\n{}\n", description(node));
        section(node, &mut text, &mut names);
    }
    text
}

fn section(node: &Value, text: &mut String, names: &mut Vec<String>) {
    if let Some(properties) = node.get("properties").and_then(Value::as_object) {
        rows(node, properties, text, names);
        return;
    }
    let Some(variants) = variants(node) else { return };
    *text += "\n| value | meaning |\n|---|---|\n";
    for variant in variants {
        let _unused = writeln!(
            text,
            "| {} | {} |",
            kind(variant, names),
            cell(&description(variant))
        );
    }
}

fn rows(node: &Value, properties: &Map<String, Value>, text: &mut String, names: &mut Vec<String>) {
    let required: Vec<_> = node
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .collect();
    *text += "\n| key | type | meaning |\n|---|---|---|\n";
    for (key, property) in properties {
        let must = required.iter().any(|name| name.as_str() == Some(key));
        let must = if must { " **Required.**" } else { "" };
        let _unused = writeln!(
            text,
            "| `{key}` | {} | {}{must} |",
            kind(property, names),
            cell(&description(property))
        );
    }
}

fn variants(node: &Value) -> Option<&Vec<Value>> {
    ["oneOf", "anyOf"]
        .iter()
        .find_map(|key| node.get(key)?.as_array())
}

fn description(node: &Value) -> String {
    node.get("description")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// A text that fits into one cell of a table.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

/// The type of a node in words; what it names gets a section of its own.
fn kind(node: &Value, names: &mut Vec<String>) -> String {
    if let Some(name) = node
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|to| to.strip_prefix("#/$defs/"))
    {
        match name {
            "Bytes" => return "size".to_owned(),
            "Time" => return "time".to_owned(),
            "Digest" => return "`sha256:<hex>`".to_owned(),
            "DataDir" => return "path".to_owned(),
            _ => {}
        }
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(value) = node.get("const").and_then(Value::as_str) {
        return format!("`{value}`");
    }
    if let Some(values) = node.get("enum").and_then(Value::as_array) {
        return values
            .iter()
            .map(|value| format!("`{}`", value.as_str().unwrap_or("null")))
            .collect::<Vec<_>>()
            .join(" or ");
    }
    if let Some(variants) = variants(node) {
        let mut kinds: Vec<_> = variants
            .iter()
            .filter(|variant| !is_null(variant))
            .map(|variant| kind(variant, names))
            .collect();
        kinds.dedup();
        return kinds.join(" or ");
    }
    match type_name(node) {
        Some("array") => {
            let items = node
                .get("items")
                .map_or_else(|| "anything".to_owned(), |items| kind(items, names));
            format!("list of {items}")
        }
        Some("object") => object(node, names),
        Some("string") if node.get("format").is_some_and(|format| format == "path") => "path".to_owned(),
        Some(name) => name.to_owned(),
        None => "any JSON".to_owned(),
    }
}

fn object(node: &Value, names: &mut Vec<String>) -> String {
    if let Some(properties) = node.get("properties").and_then(Value::as_object) {
        let keys: Vec<_> = properties
            .iter()
            .map(|(key, value)| format!("`{key}`: {}", kind(value, names)))
            .collect();
        return format!("{{{}}}", keys.join(", "));
    }
    match node
        .get("additionalProperties")
        .filter(|values| values.is_object())
    {
        Some(values) => format!("map of name to {}", kind(values, names)),
        None => "object".to_owned(),
    }
}

fn is_null(node: &Value) -> bool {
    node.get("type").is_some_and(|name| name == "null")
}

/// The type, or the one besides `null`.
fn type_name(node: &Value) -> Option<&str> {
    match node.get("type")? {
        Value::String(name) => Some(name),
        Value::Array(names) => names
            .iter()
            .filter_map(Value::as_str)
            .find(|name| *name != "null"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_schema_is_on_the_page() {
        let schema = config::schema();
        let page = markdown(&schema);
        let mut keys = 0;
        let definitions = schema["$defs"].as_object().unwrap().values().chain([&schema]);
        for (key, property) in definitions
            .filter_map(|node| node.get("properties")?.as_object())
            .flatten()
        {
            assert!(page.contains(&format!("| `{key}` | ")), "{key} is missing");
            assert!(!description(property).is_empty(), "{key} has no description");
            keys += 1;
        }
        assert!(keys > 60, "{keys}");
    }

    #[test]
    fn every_link_leads_to_a_section() {
        let page = markdown(&config::schema());
        for link in page
            .split("](#")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            assert!(
                page.lines()
                    .any(|line| line.to_lowercase() == format!("## {link}")),
                "{link}"
            );
        }
    }
}
