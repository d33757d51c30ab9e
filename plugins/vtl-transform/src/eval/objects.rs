//! What the gateway provides: `$input`, `$util`, `$context`, `$stageVariables`.

use super::Machine;
use crate::environment::{Environment, Pairs};
use crate::fault::Fault;
use crate::json;
use crate::jsonpath::Path;
use crate::overrides::{Fields, Overrides};
use crate::util;
use crate::value::{MapId, MapKind, Value};
use std::borrow::Cow;
use std::rc::Rc;

impl Machine {
    /// Puts what the gateway knows in place.
    pub(super) fn provide(
        &mut self,
        environment: &Environment,
        body: &[u8],
        overrides: &Overrides,
    ) -> Result<(), Fault> {
        let text = if body.is_empty() {
            // AWS presents no body as an empty object
            Cow::Borrowed("{}")
        } else {
            String::from_utf8_lossy(body)
        };
        self.heap.budget.take(text.len())?;
        self.body = text.into();
        let parameters = self.given_map()?;
        for (name, kind, pairs) in [
            ("path", MapKind::Given, &environment.path),
            ("querystring", MapKind::Given, &environment.querystring),
            ("header", MapKind::Headers, &environment.header),
        ] {
            let map = self.pairs(pairs, kind)?;
            self.heap.put(parameters, name.into(), map)?;
        }
        self.parameters = Value::Map(parameters);
        self.stage_variables = self.object(&environment.stage_variables).map(Value::Map)?;
        let context = self.object(&environment.context)?;
        let request = self.given_map()?;
        for (name, fields) in [
            ("header", &overrides.header),
            ("path", &overrides.path),
            ("querystring", &overrides.querystring),
        ] {
            let map = self.fields(fields)?;
            self.heap.put(request, name.into(), map)?;
        }
        self.heap
            .put(context, "requestOverride".into(), Value::Map(request))?;
        let response = self.given_map()?;
        let header = self.fields(&overrides.response_header)?;
        self.heap.put(response, "header".into(), header)?;
        if let Some(status) = overrides.status {
            self.heap.put(response, "status".into(), Value::Int(status))?;
        }
        self.heap
            .put(context, "responseOverride".into(), Value::Map(response))?;
        self.context = Some(context);
        Ok(())
    }

    fn object(&mut self, members: &serde_json::Map<String, serde_json::Value>) -> Result<MapId, Fault> {
        let map = self.given_map()?;
        for (name, value) in members {
            let value = self.heap.load(value)?;
            self.heap.put(map, name.as_str().into(), value)?;
        }
        Ok(map)
    }

    fn pairs(&mut self, pairs: &Pairs, kind: MapKind) -> Result<Value, Fault> {
        let map = self.heap.map(kind)?;
        for (name, value) in pairs {
            let value = self.heap.text(value)?;
            self.heap.put(map, name.as_str().into(), value)?;
        }
        Ok(Value::Map(map))
    }

    fn fields(&mut self, fields: &Fields) -> Result<Value, Fault> {
        let map = self.given_map()?;
        for (name, values) in fields {
            let mut items = values
                .iter()
                .map(|value| self.heap.text(value))
                .collect::<Result<Vec<_>, _>>()?;
            let value = match items.pop() {
                Some(only) if items.is_empty() => only,
                Some(last) => {
                    items.push(last);
                    self.heap.list(items)?
                }
                None => continue,
            };
            self.heap.put(map, name.as_str().into(), value)?;
        }
        Ok(Value::Map(map))
    }

    /// What the script left in the overrides.
    pub(super) fn overrides(&mut self) -> Result<Overrides, Fault> {
        let Some(context) = self.context else {
            return Ok(Overrides::default());
        };
        let (request, response) = (
            self.heap.member(context, "requestOverride"),
            self.heap.member(context, "responseOverride"),
        );
        let status = match self.property(&response, "status") {
            Value::Int(status) => Some(status),
            _ => None,
        };
        Ok(Overrides {
            header: self.fields_of(&request, "header")?,
            path: self.fields_of(&request, "path")?,
            querystring: self.fields_of(&request, "querystring")?,
            response_header: self.fields_of(&response, "header")?,
            status,
        })
    }

    fn fields_of(&mut self, holder: &Value, name: &str) -> Result<Fields, Fault> {
        let Value::Map(map) = self.property(holder, name) else {
            return Ok(Fields::new());
        };
        let mut fields = Fields::new();
        for (name, value) in self.heap.map_of(map).entries().to_vec() {
            let values = match value {
                Value::List(_) => self.elements(&value)?,
                Value::Null => continue,
                other => vec![other],
            };
            let mut texts = Vec::new();
            for value in values {
                texts.push(self.text_of(&value)?.to_string());
            }
            if !texts.is_empty() {
                fields.push((name.to_string(), texts));
            }
        }
        Ok(fields)
    }

    pub(super) fn input_method(&mut self, name: &str, arguments: &[Value]) -> Result<Option<Value>, Fault> {
        Ok(Some(match (name, arguments) {
            ("path", [path]) => {
                let path = self.text_of(path)?;
                match self.at_path(&path)? {
                    Some(Value::Null) | None => Value::Missing,
                    Some(value) => value,
                }
            }
            ("json", [path]) => {
                let path = self.text_of(path)?;
                let value = self.at_path(&path)?.unwrap_or(Value::Missing);
                Value::Text(self.json_of(&value)?)
            }
            ("params", []) => self.parameters.clone(),
            ("params", [name]) => {
                let name = self.text_of(name)?;
                self.parameter(&name)
            }
            ("getBody", []) => Value::Text(Rc::clone(&self.body)),
            _ => return Ok(None),
        }))
    }

    /// A parameter of the path, else of the query, else a header field, else the empty text.
    fn parameter(&self, name: &str) -> Value {
        for place in ["path", "querystring", "header"] {
            if let Value::Map(map) = self.property(&self.parameters, place)
                && let Some(value) = self.heap.map_of(map).get(name)
            {
                return value.clone();
            }
        }
        Value::text("")
    }

    fn at_path(&mut self, path: &str) -> Result<Option<Value>, Fault> {
        self.heap.budget.step(path.len())?;
        let path = Path::parse(path)?;
        let document = self.document()?;
        path.select(&mut self.heap, &document)
    }

    /// The body as a document; what is no JSON is one text.
    fn document(&mut self) -> Result<Value, Fault> {
        if let Some(document) = &self.document {
            return Ok(document.clone());
        }
        let body = Rc::clone(&self.body);
        let document = json::parse(&mut self.heap, &body)?.unwrap_or(Value::Text(body));
        self.document = Some(document.clone());
        Ok(document)
    }

    pub(super) fn util_method(&mut self, name: &str, arguments: &[Value]) -> Result<Option<Value>, Fault> {
        let [argument] = arguments else { return Ok(None) };
        if matches!(argument, Value::Null) {
            let escapes = name == "escapeJavaScript";
            return Ok(Some(if escapes { Value::text("null") } else { Value::Null }));
        }
        let text = match argument {
            Value::List(_) | Value::Map(_) if name != "escapeJavaScript" => self.json_of(argument)?,
            _ => self.text_of(argument)?,
        };
        self.heap.budget.step(text.len() / 64)?;
        let made = match name {
            "escapeJavaScript" => util::escape_java_script(&text),
            "urlEncode" => util::url_encode(&text),
            "urlDecode" => util::url_decode(&text),
            "base64Encode" => util::base64_encode(&text),
            "base64Decode" => match util::base64_decode(&text) {
                Some(decoded) => decoded,
                None => return Ok(Some(Value::Null)),
            },
            "parseJson" => {
                let parsed = json::parse(&mut self.heap, &text)?;
                let wrong = || Fault::Json(format!("`{:.40}` is no JSON", &*text));
                return parsed.ok_or_else(wrong).map(Some);
            }
            _ => return Ok(None),
        };
        self.heap.text(&made).map(Some)
    }
}
