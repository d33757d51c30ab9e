//! Checked operations, and how they are applied to a message.

use crate::{
    config::{Config, Of, Operation, When},
    template::{Rendered, Template, Values},
};

/// Most operations on one message.
const OPERATIONS_LIMIT: usize = 100;

/// Fields that the gateway itself sets (framing, and hop-by-hop of RFC 9110 section 7.6.1).
const PROTECTED: [&str; 9] = [
    "connection",
    "content-length",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Checked configuration.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Steps on the request.
    pub request: Vec<Step>,
    /// Steps on the response.
    pub response: Vec<Step>,
    /// The response steps apply to error responses of the gateway too.
    pub gateway_errors: bool,
    /// Binding whose claims count; none: the first that left some.
    pub claims_from: Option<String>,
}

/// A checked operation.
#[derive(Clone, Debug)]
pub struct Step {
    /// Where it stands in the configuration, for the log.
    label: String,
    action: Action,
    when: Option<Condition>,
}

#[derive(Clone, Debug)]
enum Action {
    Set(String, Text),
    Append(String, Text),
    Remove(String),
    Rename(String, String),
}

#[derive(Clone, Debug)]
struct Text {
    template: Template,
    skip_if_missing: bool,
}

#[derive(Clone, Debug)]
struct Condition {
    of: Of,
    header: String,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Present(bool),
    Equals(String),
}

/// The messages of an exchange and what can be said about it.
pub trait Messages: Values {
    /// Lines of a field.
    fn lines(&self, of: Of, name: &str) -> Vec<Vec<u8>>;
    /// Replaces all lines of a field of the message that is being changed.
    ///
    /// # Errors
    /// The gateway refuses.
    fn set(&self, name: &str, value: &[u8]) -> Result<(), String>;
    /// Adds a line.
    ///
    /// # Errors
    /// The gateway refuses.
    fn append(&self, name: &str, value: &[u8]) -> Result<(), String>;
    /// Removes all lines of a field.
    ///
    /// # Errors
    /// The gateway refuses.
    fn remove(&self, name: &str) -> Result<(), String>;
    /// Writes a warning into the log.
    fn warn(&self, message: &str);
}

impl Plan {
    /// Checks a configuration.
    ///
    /// # Errors
    /// All problems, separated by `; `, each with the path of the key.
    pub fn new(config: Config) -> Result<Self, String> {
        let mut problems = Vec::new();
        let mut steps = |list: &[Operation], of: Of, name: &str| {
            if list.len() > OPERATIONS_LIMIT {
                problems.push(format!(
                    "config.{name}: {} operations exceed {OPERATIONS_LIMIT}",
                    list.len()
                ));
            }
            let mut steps = Vec::new();
            for (index, operation) in list.iter().enumerate() {
                let label = format!("{name}[{index}]");
                match step(operation, of, label.clone()) {
                    Ok(step) => steps.push(step),
                    Err(error) => problems.push(format!("config.{label}{error}")),
                }
            }
            steps
        };
        let request = steps(&config.request, Of::Request, "request");
        let response = steps(&config.response, Of::Response, "response");
        if config.request.is_empty() && config.response.is_empty() {
            problems.push("config: no operations in `request` or `response`".into());
        }
        if config.gateway_errors && config.response.is_empty() {
            problems.push("config.gateway-errors: there are no operations in `response`".into());
        }
        if !problems.is_empty() {
            return Err(problems.join("; "));
        }
        Ok(Self {
            request,
            response,
            gateway_errors: config.gateway_errors,
            claims_from: config.claims_from,
        })
    }
}

/// Applies steps in order.
///
/// # Errors
/// A field could neither be set nor removed, so it may still hold what the sender of the message wrote. The message must not go on.
pub fn apply(steps: &[Step], messages: &mut dyn Messages) -> Result<(), String> {
    steps.iter().try_for_each(|step| step.apply(messages))
}

impl Step {
    fn apply(&self, messages: &mut dyn Messages) -> Result<(), String> {
        if !self.when.as_ref().is_none_or(|when| when.holds(messages)) {
            return Ok(());
        }
        match &self.action {
            Action::Set(name, text) => {
                let error = match text.value(messages) {
                    Ok(None) => return Ok(()),
                    Ok(Some(value)) => match messages.set(name, &value) {
                        Ok(()) => return Ok(()),
                        Err(error) => error,
                    },
                    Err(error) => error,
                };
                // Whoever configured `set` relies on the field not being what the client sent.
                messages.warn(&format!(
                    "{}: {name} is removed instead of set: {error}",
                    self.label
                ));
                self.remove(name, messages)
            }
            Action::Append(name, text) => {
                let outcome = text.value(messages).and_then(|value| match value {
                    Some(value) => messages.append(name, &value),
                    None => Ok(()),
                });
                outcome.unwrap_or_else(|error| {
                    messages.warn(&format!("{}: nothing is appended to {name}: {error}", self.label));
                });
                Ok(())
            }
            Action::Remove(name) => self.remove(name, messages),
            Action::Rename(from, to) => self.rename(from, to, messages),
        }
    }

    fn remove(&self, name: &str, messages: &dyn Messages) -> Result<(), String> {
        messages
            .remove(name)
            .map_err(|error| format!("{}: {name} cannot be removed: {error}", self.label))
    }

    fn rename(&self, from: &str, to: &str, messages: &dyn Messages) -> Result<(), String> {
        let of = if self.label.starts_with("request") {
            Of::Request
        } else {
            Of::Response
        };
        let lines = messages.lines(of, from);
        if lines.is_empty() {
            return Ok(());
        }
        self.remove(from, messages)?;
        self.remove(to, messages)?;
        for line in lines {
            if let Err(error) = messages.append(to, &line) {
                messages.warn(&format!("{}: a line of {from} is lost: {error}", self.label));
            }
        }
        Ok(())
    }
}

impl Text {
    /// The value; none when the operation is to be skipped.
    fn value(&self, messages: &mut dyn Messages) -> Result<Option<Vec<u8>>, String> {
        match self.template.render(messages) {
            Rendered::Value(value) => Ok(Some(value)),
            Rendered::Incomplete(_) if self.skip_if_missing => Ok(None),
            Rendered::Incomplete(value) => Ok(Some(value)),
            Rendered::Unsafe(reason) => Err(format!("the value is no field value: {reason}")),
        }
    }
}

impl Condition {
    fn holds(&self, messages: &dyn Messages) -> bool {
        let lines = messages.lines(self.of, &self.header);
        match &self.test {
            Test::Present(wanted) => lines.is_empty() != *wanted,
            Test::Equals(wanted) => lines.iter().any(|line| line == wanted.as_bytes()),
        }
    }
}

/// Checks one operation. Errors begin with what follows the label: `.value: ...` or `: ...`.
fn step(operation: &Operation, of: Of, label: String) -> Result<Step, String> {
    let Operation {
        set,
        append,
        remove,
        rename,
        value,
        to,
        skip_if_missing,
        when,
    } = operation;
    let text = |key: &str| {
        let value = value.as_ref().ok_or(format!(": {key} needs `value`"))?;
        let template = Template::parse(value, of).map_err(|error| format!(".value: {error}"))?;
        Ok::<Text, String>(Text {
            template,
            skip_if_missing: *skip_if_missing,
        })
    };
    let action = match (set, append, remove, rename) {
        (Some(name), None, None, None) => Action::Set(editable("set", name)?, text("set")?),
        (None, Some(name), None, None) => Action::Append(editable("append", name)?, text("append")?),
        (None, None, Some(name), None) => Action::Remove(editable("remove", name)?),
        (None, None, None, Some(from)) => {
            let to = to.as_ref().ok_or(": rename needs `to`")?;
            let (from, to) = (editable("rename", from)?, editable("to", to)?);
            if from == to {
                return Err(format!(
                    ".to: {to} is the same field; names are compared without case"
                ));
            }
            Action::Rename(from, to)
        }
        _ => return Err(": exactly one of set, append, remove and rename is needed".into()),
    };
    let has_text = matches!(action, Action::Set(..) | Action::Append(..));
    if !has_text && (value.is_some() || *skip_if_missing) {
        return Err(": value and skip-if-missing make sense with set and append only".into());
    }
    if to.is_some() && rename.is_none() {
        return Err(".to: makes sense with rename only".into());
    }
    let when = when.as_ref().map(|when| condition(when, of)).transpose()?;
    Ok(Step { label, action, when })
}

fn condition(when: &When, of: Of) -> Result<Condition, String> {
    let test = match (when.present, &when.equals) {
        (Some(present), None) => Test::Present(present),
        (None, Some(text)) => Test::Equals(text.clone()),
        _ => return Err(".when: exactly one of present and equals is needed".into()),
    };
    if (of, when.of) == (Of::Request, Some(Of::Response)) {
        return Err(".when.of: there is no response yet when the request is changed".into());
    }
    let header = field_name("when.header", &when.header)?;
    Ok(Condition {
        of: when.of.unwrap_or(of),
        header,
        test,
    })
}

/// Lower-case name of a field that plugins may change.
fn editable(key: &str, name: &str) -> Result<String, String> {
    let name = field_name(key, name)?;
    if PROTECTED.contains(&name.as_str()) {
        return Err(format!(".{key}: {name} is set by the gateway itself"));
    }
    Ok(name)
}

/// RFC 9110 section 5.6.2.
fn field_name(key: &str, name: &str) -> Result<String, String> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > 256 || !name.bytes().all(token) {
        return Err(format!(".{key}: {name:?} is no field name"));
    }
    Ok(name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn plan(config: Value) -> Result<Plan, String> {
        Plan::new(serde_json::from_value(config).unwrap())
    }

    #[test]
    fn mistakes_are_named_with_their_path() {
        for (config, wanted) in [
            (json!({}), "config: no operations"),
            (
                json!({"gateway-errors": true, "request": [{"remove": "a"}]}),
                "config.gateway-errors:",
            ),
            (
                json!({"request": [{"remove": "a"}, {}]}),
                "config.request[1]: exactly one of set",
            ),
            (
                json!({"request": [{"set": "a", "append": "b", "value": ""}]}),
                "config.request[0]: exactly one",
            ),
            (
                json!({"response": [{"set": "a"}]}),
                "config.response[0]: set needs `value`",
            ),
            (
                json!({"response": [{"rename": "a"}]}),
                "config.response[0]: rename needs `to`",
            ),
            (
                json!({"response": [{"rename": "a", "to": "A"}]}),
                "config.response[0].to: a is the same field",
            ),
            (
                json!({"request": [{"remove": "a", "value": "b"}]}),
                "value and skip-if-missing",
            ),
            (
                json!({"request": [{"remove": "a", "to": "b"}]}),
                "config.request[0].to: makes sense",
            ),
            (
                json!({"request": [{"remove": "Content-Length"}]}),
                "config.request[0].remove: content-length is set by",
            ),
            (
                json!({"request": [{"set": "a b", "value": "x"}]}),
                "config.request[0].set: \"a b\" is no field name",
            ),
            (
                json!({"request": [{"set": "a", "value": "${x}"}]}),
                "config.request[0].value: unknown variable ${x}",
            ),
            (
                json!({"request": [{"remove": "a", "when": {"header": "b"}}]}),
                "config.request[0].when: exactly one",
            ),
            (
                json!({"request": [{"remove": "a", "when": {"header": "", "present": true}}]}),
                ".when.header: \"\"",
            ),
            (
                json!({"request": [{"remove": "a", "when": {"header": "b", "present": true, "of": "response"}}]}),
                "config.request[0].when.of:",
            ),
            (
                json!({"request": vec![json!({"remove": "a"}); 101]}),
                "config.request: 101 operations",
            ),
        ] {
            let error = plan(config.clone()).unwrap_err();
            assert!(error.contains(wanted), "{config}: {error}");
        }
        let both = plan(json!({"request": [{}], "response": [{}]})).unwrap_err();
        assert!(
            both.contains("config.request[0]") && both.contains("config.response[0]"),
            "{both}"
        );
    }
}
