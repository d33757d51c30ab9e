//! Text to `Config`, or to all problems at once: the text is checked against the JSON Schema generated from the structs (so that every unknown
//! key and wrong type is reported, not only the first), then deserialized, then `check`ed across sections.

use std::{
    any::TypeId,
    collections::HashMap,
    fmt,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use jsonschema::{
    JsonType,
    error::{TypeKind, ValidationErrorKind as Kind},
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Config, check::check};

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Problem {
    /// Where, as a path from the root: `routes[2].upstream`.
    pub path: String,
    /// What is wrong: names the value and the limit.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without a hint.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
            hint: None,
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

/// All problems of a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema, thiserror::Error)]
#[serde(transparent)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// Reads YAML or JSON.
///
/// # Errors
/// All problems at once: syntax (only the first), unknown keys, wrong types and values, references to what is not there.
pub fn read(text: &str) -> Result<Config, Problems> {
    let value = document(text).map_err(|problem| Problems(vec![problem]))?;
    from_value(if value.is_null() {
        Value::Object(serde_json::Map::new())
    } else {
        value
    })
}

fn document(text: &str) -> Result<Value, Problem> {
    let invalid = |error: serde_yaml_ng::Error| {
        let place = error.location().map_or_else(String::new, |at| {
            format!("line {} column {}", at.line(), at.column())
        });
        Problem::new(place, format!("not valid YAML: {error}"))
    };
    // by way of YAML's own values, which have each key once. JSON is read as such first: it has characters and escapes that YAML has not
    let value: serde_yaml_ng::Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(_not_json) => serde_yaml_ng::from_str(text).map_err(invalid)?,
    };
    serde_json::to_value(&value).map_err(|error| {
        let place = odd_key(&value, "").unwrap_or_else(|| "?".to_owned());
        Problem::new(place, error.to_string())
    })
}

/// The place of the first key that is no text.
fn odd_key(value: &serde_yaml_ng::Value, path: &str) -> Option<String> {
    use serde_yaml_ng::Value::{Bool, Mapping, Null, Number, Sequence, String, Tagged};
    match value {
        Mapping(mapping) => mapping.iter().find_map(|(key, value)| match key {
            String(key) => odd_key(value, &join(path, key)),
            Null | Bool(_) | Number(_) | Sequence(_) | Mapping(_) | Tagged(_) => Some(join(path, "?")),
        }),
        Sequence(values) => {
            let mut values = values.iter().enumerate();
            values.find_map(|(index, value)| odd_key(value, &format!("{path}[{index}]")))
        }
        Tagged(tagged) => odd_key(&tagged.value, path),
        Null | Bool(_) | Number(_) | String(_) => None,
    }
}

/// The same from a parsed document.
///
/// # Errors
/// As [`read`].
pub fn from_value(value: Value) -> Result<Config, Problems> {
    let config: Config = typed(value)?;
    let problems = check(&config);
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(Problems(problems))
    }
}

/// A value of any type that has a JSON Schema, from a parsed document.
///
/// # Errors
/// All problems at once: unknown keys, wrong types and values.
pub fn typed<T: DeserializeOwned + JsonSchema + 'static>(value: Value) -> Result<T, Problems> {
    let problems = against_schema(&value, &Known::of::<T>());
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        Problems(vec![Problem::new(
            error.path().to_string(),
            error.inner().to_string(),
        )])
    })
}

/// The schema of a type, and what checks documents against it.
struct Known {
    schema: Value,
    validator: Result<jsonschema::Validator, String>,
}

impl Known {
    /// Made once for each type.
    fn of<T: JsonSchema + 'static>() -> Arc<Self> {
        static ALL: LazyLock<Mutex<HashMap<TypeId, Arc<Known>>>> = LazyLock::new(Mutex::default);
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(TypeId::of::<T>()).or_insert_with(|| {
            let schema = schemars::schema_for!(T).to_value();
            let validator = jsonschema::validator_for(&schema).map_err(|error| error.to_string());
            Arc::new(Self { schema, validator })
        });
        Arc::clone(known)
    }
}

/// JSON Schema (2020-12) of the configuration.
#[must_use]
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Config).to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert("$id".into(), "https://edgeward.dev/gateway.schema.json".into());
        object.insert("title".into(), "Edgeward gateway.yaml".into());
    }
    schema
}

fn against_schema(value: &Value, known: &Known) -> Vec<Problem> {
    let validator = match &known.validator {
        Ok(validator) => validator,
        Err(error) => return vec![Problem::new("", format!("the schema itself is broken: {error}"))],
    };
    let mut problems = Vec::new();
    for error in validator.iter_errors(value) {
        let path = dotted(&error.instance_path().to_string());
        problems.extend(explain(&path, &error, &known.schema));
    }
    problems.dedup();
    problems
}

fn explain(path: &str, error: &jsonschema::ValidationError<'_>, schema: &Value) -> Vec<Problem> {
    match error.kind() {
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            // an alternative of another kind (the `null` of what may be left out, the names of a choice) is not what was meant
            let here = error.instance_path().to_string();
            let other_kind = |nested: &jsonschema::ValidationError<'_>| {
                let kind = matches!(
                    nested.kind(),
                    Kind::Type { .. } | Kind::Constant { .. } | Kind::Enum { .. }
                );
                kind && nested.instance_path().to_string() == here
            };
            let mut meant = context.iter().filter(|errors| !errors.iter().any(other_kind));
            if let (Some(errors), None) = (meant.next(), meant.next()) {
                return errors
                    .iter()
                    .flat_map(|nested| explain(&dotted(&nested.instance_path().to_string()), nested, schema))
                    .collect();
            }
            let names: Vec<String> = context.iter().flatten().flat_map(names).collect();
            let problem = Problem::new(path, "this value is none of those that are possible");
            vec![if names.is_empty() {
                problem
            } else {
                problem.hint(format!("possible: {}", names.join(", ")))
            }]
        }
        Kind::AdditionalProperties { unexpected } => {
            let known = siblings(schema, error.schema_path().as_str());
            unexpected
                .iter()
                .map(|key| {
                    let problem = Problem::new(join(path, key), format!("unknown key `{key}`"));
                    match nearest(key, &known) {
                        Some(near) => problem.hint(format!("did you mean `{near}`?")),
                        None if known.is_empty() => problem,
                        None => problem.hint(format!("known keys: {}", known.join(", "))),
                    }
                })
                .collect()
        }
        Kind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            vec![Problem::new(join(path, key), "is missing")]
        }
        _ => vec![Problem::new(path, error.masked_with("this value").to_string())],
    }
}

/// What a value can be, by an alternative that it is not.
fn names(error: &jsonschema::ValidationError<'_>) -> Vec<String> {
    match error.kind() {
        Kind::Constant { expected_value } => vec![expected_value.to_string()],
        Kind::Enum { options } => options
            .as_array()
            .map(|options| options.iter().map(Value::to_string).collect())
            .unwrap_or_default(),
        Kind::Type {
            kind: TypeKind::Single(kind),
        } if *kind != JsonType::Null => vec![kind.to_string()],
        _ => Vec::new(),
    }
}

/// Keys that the schema node with the failing `additionalProperties` knows.
fn siblings(schema: &Value, schema_path: &str) -> Vec<String> {
    // the schema path goes through `$ref`s, which `pointer` does not follow: resolve them step by step
    let mut node = schema;
    for step in schema_path.split('/').filter(|step| !step.is_empty()) {
        if step == "additionalProperties" {
            break;
        }
        let next = if step == "$ref" {
            node.get("$ref")
                .and_then(Value::as_str)
                .and_then(|to| schema.pointer(to.trim_start_matches('#')))
        } else if let Some(array) = node.as_array() {
            step.parse::<usize>().ok().and_then(|index| array.get(index))
        } else {
            node.get(step)
        };
        let Some(next) = next else { return Vec::new() };
        node = next;
    }
    node.get("properties")
        .and_then(Value::as_object)
        .map(|keys| keys.keys().cloned().collect())
        .unwrap_or_default()
}

fn nearest<'k>(key: &str, known: &'k [String]) -> Option<&'k String> {
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(key, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

fn join(path: &str, key: &str) -> String {
    // a place is not nothing
    let key = if key.is_empty() { "\"\"" } else { key };
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// `/routes/2/upstream` as `routes[2].upstream`.
fn dotted(pointer: &str) -> String {
    let mut path = String::new();
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        if step.bytes().all(|byte| byte.is_ascii_digit()) && !step.is_empty() {
            path += &format!("[{step}]");
        } else {
            path = join(&path, &step);
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
listeners: [{address: '127.0.0.1:0'}]
upstreams: {pets: {endpoints: ['127.0.0.1:9000']}}
plugins: {auth: {module: auth.wasm, limits: {cpu-time: 5ms, memory: 16MiB}, isolation: {reuse: {requests: 10}}}}
routes:
  - {path: '/pets/{id}', upstream: pets, pipeline: [auth]}
";

    fn problems(text: &str) -> Vec<String> {
        read(text)
            .unwrap_err()
            .0
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_good_file_reads_and_round_trips() {
        let config = read(GOOD).unwrap();
        assert_eq!(config.routes.len(), 1);
        let again = serde_json::to_value(&config).unwrap();
        assert_eq!(from_value(again).unwrap(), config);
    }

    #[test]
    fn json_is_accepted_and_an_empty_file_names_what_is_missing() {
        read(r#"{"listeners": [{"address": "127.0.0.1:0"}]}"#).unwrap();
        assert!(problems("")[0].contains("listeners"));
    }

    #[test]
    fn json_has_characters_and_escapes_that_yaml_does_not_know() {
        let config = read(
            "{\"listeners\": [{\"address\": \"127.0.0.1:0\"}], \"routes\": [{\"path\": \"/\", \"respond\": {\"status\": 200, \"body\": \"\\ud83d\\ude00\u{7f}\"}}]}",
        );
        let body = config.unwrap().routes.remove(0).respond.unwrap().body;
        assert_eq!(body, "\u{1f600}\u{7f}");
    }

    #[test]
    fn a_key_that_is_there_twice_is_a_problem_with_its_place() {
        for text in [
            "listeners: [{address: '127.0.0.1:0'}]\nroutes: []\nroutes: []\n",
            "{\"listeners\": [{\"address\": \"127.0.0.1:0\"}], \"routes\": [], \"routes\": []}",
            "listeners: [{address: '127.0.0.1:0', address: '127.0.0.1:1'}]\n",
        ] {
            let found = problems(text);
            assert!(
                found[0].starts_with("line ") && found[0].contains("duplicate"),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_key_that_is_no_text_is_a_problem_with_its_place() {
        for (text, place) in [
            ("&a: a", "?: "),
            ("'': a", "\"\": "),
            ("routes: [{path: /, ? [a] : b}]", "routes[0].?: "),
        ] {
            let found = problems(text);
            assert!(found[0].starts_with(place), "{found:?}");
        }
    }

    #[test]
    fn every_unknown_key_is_reported_at_once_with_a_hint() {
        let found = problems(
            "
listeners: [{address: '127.0.0.1:0', trusted-hop: []}]
upstrems: {}
routes: [{path: /, respond: {status: 200}, pipelin: []}]
",
        );
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found
                .iter()
                .any(|line| line == "upstrems: unknown key `upstrems` (did you mean `upstreams`?)"),
            "{found:?}"
        );
        assert!(
            found
                .iter()
                .any(|line| line.starts_with("routes[0].pipelin: ") && line.contains("`pipeline`")),
            "{found:?}"
        );
        assert!(
            found
                .iter()
                .any(|line| line.starts_with("listeners[0].trusted-hop: ")),
            "{found:?}"
        );
    }

    #[test]
    fn what_is_wrong_with_an_alternative_is_said_of_the_one_that_was_meant() {
        let found = problems(
            "
listeners: [{address: '127.0.0.1:0'}]
plugins:
  a: {module: a.wasm, grants: {http: {hots: []}}, isolation: {reuse: {request: 1}}}
  b: {module: b.wasm, decision-cache: 5, isolation: reused, on-error: {answer: {}}}
",
        );
        for expected in [
            "plugins.a.grants.http.hots: unknown key `hots` (did you mean `hosts`?)",
            "plugins.a.isolation.reuse.request: unknown key `request` (did you mean `requests`?)",
            "plugins.b.decision-cache: this value is none of those that are possible (possible: object)",
            "plugins.b.isolation: this value is none of those that are possible (possible: \"request\", object)",
            "plugins.b.on-error.answer: unknown key `answer` (known keys: respond)",
            "plugins.b.on-error.respond: is missing",
        ] {
            assert!(
                found.iter().any(|line| line.starts_with(expected)),
                "{expected} not in {found:#?}"
            );
        }
        assert_eq!(found.len(), 6, "{found:#?}");
    }

    #[test]
    fn wrong_types_and_bad_units_name_the_place() {
        let found = problems("{listeners: [{address: '127.0.0.1:0'}], routes: 5}");
        assert!(found[0].starts_with("routes: "), "{found:?}");
        let found = problems("{listeners: [{address: '127.0.0.1:0'}], limits: {head: 12 potatoes}}");
        assert!(found[0].contains("12 potatoes"), "{found:?}");
    }

    #[test]
    fn values_that_no_schema_can_check_are_reported_with_their_path() {
        let found = problems("{listeners: [{address: 'nowhere:80'}]}");
        assert!(found[0].starts_with("listeners[0].address: "), "{found:?}");
        let found = problems("{listeners: [{address: '127.0.0.1:0', trusted-hops: [10.0.0.0/8, ten]}]}");
        assert_eq!(
            found,
            ["listeners[0].trusted-hops: `ten` is neither a CIDR block nor an address"]
        );
    }

    #[test]
    fn trusted_hops_are_blocks_or_addresses() {
        let config =
            read("listeners: [{address: '127.0.0.1:0', trusted-hops: [10.0.0.0/8, 127.0.0.1, '::1']}]")
                .unwrap();
        let hops: Vec<_> = config.listeners[0]
            .trusted_hops
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(hops, ["10.0.0.0/8", "127.0.0.1/32", "::1/128"]);
    }

    #[test]
    fn broken_yaml_names_line_and_column() {
        assert!(problems("listeners: [")[0].contains("not valid YAML"));
    }
}
