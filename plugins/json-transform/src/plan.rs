//! Rules, checked and ready to run, and running them.

use crate::config::{self, OnFailure, Rule, Type};
use crate::edit::{self, Budget};
use crate::json::Json;
use crate::path::{Path, Segment, Selector};
use crate::template::{Template, Values};

/// Most rules of one direction.
const MAX_RULES: usize = 500;

/// What is done to a document.
#[derive(Debug)]
pub struct Plan(Vec<Step>);

/// Where a value comes from.
#[derive(Debug)]
enum Source {
    Value(Json),
    Template(Template),
}

#[derive(Debug)]
enum Step {
    Put {
        path: Path,
        source: Source,
        only_missing: bool,
    },
    Copy {
        from: Path,
        to: Path,
        and_remove: bool,
    },
    Rename {
        path: Path,
        to: String,
    },
    Remove(Vec<Path>),
    Keep(Vec<Path>),
    Wrap(String),
    Unwrap(Path),
    Map(Vec<(Path, Path)>),
    Convert {
        path: Path,
        to: Type,
        on_failure: OnFailure,
    },
}

impl Plan {
    /// Checks rules; the error names the rule by its index and the bad value.
    pub fn new(rules: &[Rule], response: bool) -> Result<Self, String> {
        if rules.len() > MAX_RULES {
            return Err(format!("rules: {} rules; the limit is {MAX_RULES}", rules.len()));
        }
        let step =
            |(index, rule)| Step::new(rule, response).map_err(|error| format!("rules[{index}].{error}"));
        rules
            .iter()
            .enumerate()
            .map(step)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// True if there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Runs the rules; says whether they changed anything. The error is for the client of a request, the operator of a response.
    pub fn run(&self, document: &mut Json, values: &mut dyn Values, budget: usize) -> Result<bool, String> {
        let mut budget = Budget(budget);
        let mut changed = false;
        for (index, step) in self.0.iter().enumerate() {
            changed |= step
                .run(document, values, &mut budget)
                .map_err(|error| format!("rule {index}: {error}"))?;
        }
        Ok(changed)
    }
}

fn paths(kind: &str, texts: &[String]) -> Result<Vec<Path>, String> {
    if texts.is_empty() {
        return Err(format!("{kind}.paths: the list is empty"));
    }
    texts
        .iter()
        .map(|text| Path::parse(text).map_err(|error| format!("{kind}.paths: {error}")))
        .collect()
}

impl Step {
    fn new(rule: &Rule, response: bool) -> Result<Self, String> {
        let path = |key: &str, text: &str| Path::parse(text).map_err(|error| format!("{key}: {error}"));
        match rule {
            Rule::Set(put) => Self::put("set", put, response, false),
            Rule::Default(put) => Self::put("default", put, response, true),
            Rule::Copy(copy) => Ok(Self::Copy {
                from: path("copy.from", &copy.from)?,
                to: path("copy.to", &copy.to)?,
                and_remove: false,
            }),
            Rule::Move(copy) => {
                let (from, to) = (path("move.from", &copy.from)?, path("move.to", &copy.to)?);
                if from.0.is_empty() {
                    return Err(
                        "move.from: the whole document cannot be moved; `wrap` puts it under a key"
                            .to_owned(),
                    );
                }
                Ok(Self::Copy {
                    from,
                    to,
                    and_remove: true,
                })
            }
            Rule::Rename(rename) => {
                let path = path("rename.path", &rename.path)?;
                match path.0.last() {
                    Some(Segment::Child(Selector::Name(_)) | Segment::Descendant(Selector::Name(_))) => {
                        Ok(Self::Rename {
                            path,
                            to: rename.to.clone(),
                        })
                    }
                    _ => Err(format!("rename.path: `{path}` does not end in a name")),
                }
            }
            Rule::Remove(list) => {
                let paths = paths("remove", &list.paths)?;
                if paths.iter().any(|path| path.0.is_empty()) {
                    return Err("remove.paths: `$`, the whole document, cannot be removed".to_owned());
                }
                Ok(Self::Remove(paths))
            }
            Rule::Keep(list) => paths("keep", &list.paths).map(Self::Keep),
            Rule::Wrap(wrap) => Ok(Self::Wrap(wrap.key.clone())),
            Rule::Unwrap(unwrap) => Ok(Self::Unwrap(path("unwrap.path", &unwrap.path)?)),
            Rule::Map(pairs) => {
                let mut targets = Vec::with_capacity(pairs.0.len());
                for (target, source) in &pairs.0 {
                    let target = path("map", target)?;
                    if !target
                        .0
                        .iter()
                        .all(|segment| matches!(segment, Segment::Child(Selector::Name(_))))
                    {
                        return Err(format!("map: target `{target}` may have names only"));
                    }
                    targets.push((target, path("map", source)?));
                }
                Ok(Self::Map(targets))
            }
            Rule::Convert(convert) => Ok(Self::Convert {
                path: path("convert.path", &convert.path)?,
                to: convert.to,
                on_failure: convert.on_failure,
            }),
        }
    }

    fn put(kind: &str, put: &config::Put, response: bool, only_missing: bool) -> Result<Self, String> {
        let path = Path::parse(&put.path).map_err(|error| format!("{kind}.path: {error}"))?;
        let source = match (&put.value, &put.template) {
            (Some(value), None) => Source::Value(value.clone()),
            (None, Some(text)) => Source::Template(
                Template::parse(text, response).map_err(|error| format!("{kind}.template: {error}"))?,
            ),
            (Some(_), Some(_)) => {
                return Err(format!("{kind}: has both `value` and `template`; one is needed"));
            }
            (None, None) => return Err(format!("{kind}: has neither `value` nor `template`")),
        };
        Ok(Self::Put {
            path,
            source,
            only_missing,
        })
    }

    fn run(&self, document: &mut Json, values: &mut dyn Values, budget: &mut Budget) -> Result<bool, String> {
        let too_large = |edit::TooLarge| "the document would grow above its limit".to_owned();
        match self {
            Self::Put {
                path,
                source,
                only_missing,
            } => {
                let rendered;
                let value = match source {
                    Source::Value(value) => value,
                    Source::Template(template) => match template.render(values) {
                        Some(value) => {
                            rendered = value;
                            &rendered
                        }
                        // a variable without a value: nothing to put
                        None => return Ok(false),
                    },
                };
                edit::put(document, &path.0, value, *only_missing, budget).map_err(too_large)
            }
            Self::Copy { from, to, and_remove } => {
                let Some(value) = from.get(document) else {
                    return Ok(false);
                };
                let removed = *and_remove && edit::remove(document, &from.0);
                Ok(edit::put(document, &to.0, &value, false, budget).map_err(too_large)? | removed)
            }
            Self::Rename { path, to } => Ok(edit::rename(document, &path.0, to)),
            Self::Remove(paths) => Ok(paths
                .iter()
                .fold(false, |changed, path| edit::remove(document, &path.0) | changed)),
            Self::Keep(paths) => {
                let segments: Vec<&[Segment]> = paths.iter().map(|path| path.0.as_slice()).collect();
                *document = edit::keep(document, &segments).unwrap_or_else(|| match document {
                    Json::Array(_) => Json::Array(Vec::new()),
                    _ => Json::Object(Vec::new()),
                });
                Ok(true)
            }
            Self::Wrap(key) => {
                let inner = std::mem::replace(document, Json::Null);
                *document = Json::Object(vec![(key.clone(), inner)]);
                Ok(true)
            }
            Self::Unwrap(path) => {
                let Some(part) = path.get(document) else {
                    return Ok(false);
                };
                *document = part;
                Ok(true)
            }
            Self::Map(pairs) => {
                let mut new = Json::Object(Vec::new());
                for (target, source) in pairs {
                    if let Some(value) = source.get(document) {
                        edit::put(&mut new, &target.0, &value, false, budget).map_err(too_large)?;
                    }
                }
                *document = new;
                Ok(true)
            }
            Self::Convert { path, to, on_failure } => {
                edit::each(document, &path.0, &mut |value| match converted(value, *to) {
                    Some(new) if new == *value => Ok(false),
                    Some(new) => {
                        *value = new;
                        Ok(true)
                    }
                    None => match on_failure {
                        OnFailure::Keep => Ok(false),
                        OnFailure::Null => {
                            *value = Json::Null;
                            Ok(true)
                        }
                        OnFailure::Reject => Err(format!("a value at `{path}` is no {}", to.name())),
                    },
                })
            }
        }
    }
}

impl Type {
    const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// The value as another type; none when it has no such form.
fn converted(value: &Json, to: Type) -> Option<Json> {
    match (value, to) {
        (Json::String(_), Type::String)
        | (Json::Number(_), Type::Number)
        | (Json::Bool(_), Type::Boolean) => Some(value.clone()),
        (Json::Number(_) | Json::Bool(_), Type::String) => Some(Json::String(value.to_text())),
        (Json::String(text), Type::Number) => Some(text.trim())
            .filter(|text| Json::is_number(text))
            .map(|text| Json::Number(text.to_owned())),
        (Json::Bool(truth), Type::Number) => Some(Json::Number(u8::from(*truth).to_string())),
        (Json::String(text) | Json::Number(text), Type::Boolean) => match text.trim() {
            "true" | "1" => Some(Json::Bool(true)),
            "false" | "0" => Some(Json::Bool(false)),
            _ => None,
        },
        (Json::Null | Json::Array(_) | Json::Object(_), _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Variable;

    struct Fake;
    impl Values for Fake {
        fn value(&mut self, variable: &Variable) -> Option<Json> {
            matches!(variable, Variable::Path(_)).then(|| Json::String("7".to_owned()))
        }
    }

    #[derive(serde::Deserialize)]
    struct Case {
        name: String,
        rules: Vec<Rule>,
        input: String,
        output: Option<String>,
        error: Option<String>,
    }

    #[test]
    fn rules_change_documents_as_the_vectors_say() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("../tests/vectors/rules.json")).unwrap();
        for case in cases {
            let plan = Plan::new(&case.rules, false).unwrap();
            let mut document = Json::parse(case.input.as_bytes()).unwrap();
            let result = plan.run(&mut document, &mut Fake, 10_000);
            match (case.output, case.error) {
                (Some(output), None) => {
                    assert_eq!(document.to_text(), output, "{}", case.name);
                    assert_eq!(result, Ok(case.input != output), "{}: changed", case.name);
                }
                (None, Some(error)) => assert_eq!(result, Err(error), "{}", case.name),
                _ => panic!("{}: either output or error", case.name),
            }
        }
    }

    #[test]
    fn bad_rules_are_named_with_index_and_value() {
        let error = |rule: &str| {
            let rules: Vec<Rule> =
                serde_json::from_str(&format!(r#"[{{"wrap": {{"key": "a"}}}}, {rule}]"#)).unwrap();
            Plan::new(&rules, false).unwrap_err()
        };
        for (rule, expected) in [
            (
                r#"{"set": {"path": "a.b", "value": 1}}"#,
                "rules[1].set.path: path `a.b`: does not begin with `$`",
            ),
            (
                r#"{"set": {"path": "$.a"}}"#,
                "rules[1].set: has neither `value` nor `template`",
            ),
            (
                r#"{"set": {"path": "$.a", "value": null, "template": "x"}}"#,
                "rules[1].set: has both `value` and `template`; one is needed",
            ),
            (
                r#"{"default": {"path": "$.a", "template": "${x}"}}"#,
                "rules[1].default.template: unknown variable `${x}`",
            ),
            (
                r#"{"move": {"from": "$", "to": "$.a"}}"#,
                "rules[1].move.from: the whole document cannot be moved",
            ),
            (
                r#"{"rename": {"path": "$[0]", "to": "a"}}"#,
                "rules[1].rename.path: `$[0]` does not end in a name",
            ),
            (
                r#"{"remove": {"paths": []}}"#,
                "rules[1].remove.paths: the list is empty",
            ),
            (
                r#"{"remove": {"paths": ["$"]}}"#,
                "rules[1].remove.paths: `$`, the whole document, cannot be removed",
            ),
            (
                r#"{"map": {"$.a[0]": "$.b"}}"#,
                "rules[1].map: target `$.a[0]` may have names only",
            ),
        ] {
            assert!(error(rule).starts_with(expected), "{rule}: {}", error(rule));
        }
    }
}
