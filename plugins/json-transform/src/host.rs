//! What variables stand for, asked of the gateway.

use crate::json::Json;
use crate::template::{Values, Variable};
use edgeward_sdk::{ContextValue, Exchange, RequestHead, ResponseHead};

/// One exchange.
pub struct Hook<'a> {
    /// The request.
    pub request: &'a RequestHead,
    /// The response, once there is one.
    pub response: Option<&'a ResponseHead>,
    /// The exchange.
    pub exchange: &'a Exchange,
    /// Binding whose claims are read; the first one that left claims if none.
    pub claims_from: Option<&'a str>,
}

impl Hook<'_> {
    fn claims(&self) -> Option<Json> {
        let object = |value: ContextValue| json(value).filter(|value| matches!(value, Json::Object(_)));
        match self.claims_from {
            Some(namespace) => object(self.exchange.get(namespace, "claims")?),
            None => self
                .exchange
                .entries()
                .into_iter()
                .filter(|entry| entry.key == "claims")
                .find_map(|entry| object(entry.value)),
        }
    }
}

impl Values for Hook<'_> {
    fn value(&mut self, variable: &Variable) -> Option<Json> {
        let text = match variable {
            Variable::Plain("request.method") => self.request.method(),
            Variable::Plain("request.scheme") => self.request.scheme(),
            Variable::Plain("request.host") => self.request.authority(),
            Variable::Plain("request.path") => self.request.path(),
            Variable::Plain("request.query") => self.request.query(),
            Variable::Plain("request.id") => self.exchange.request_id(),
            Variable::Plain("principal") => self.exchange.principal()?,
            Variable::Plain("route") => self.exchange.route(),
            Variable::Plain("route.pattern") => self.exchange.route_pattern(),
            Variable::Plain("client.address") => self.exchange.peer().client_address,
            Variable::Plain("response.status") => {
                return Some(Json::Number(self.response?.status().to_string()));
            }
            Variable::Plain(_) => return None,
            Variable::Query(name) => self.request.query_param(name)?,
            Variable::Path(name) => self.request.path_param(name)?,
            Variable::RequestHeader(name) => joined(&self.request.header_values(name))?,
            Variable::ResponseHeader(name) => joined(&self.response?.header_values(name))?,
            Variable::Context(namespace, key) => return json(self.exchange.get(namespace, key)?),
            Variable::Claim(path) => {
                return path.iter().try_fold(self.claims()?, |value, name| match value {
                    Json::Object(members) => members
                        .into_iter()
                        .rev()
                        .find(|(other, _)| other == name)
                        .map(|(_, value)| value),
                    Json::Array(mut items) => name
                        .parse()
                        .ok()
                        .filter(|at| *at < items.len())
                        .map(|at: usize| items.swap_remove(at)),
                    _ => None,
                });
            }
        };
        Some(Json::String(text))
    }
}

/// All lines of a field as one text; none without a line, or when it is not UTF-8.
fn joined(lines: &[Vec<u8>]) -> Option<String> {
    if lines.is_empty() {
        None
    } else {
        String::from_utf8(lines.join(&b", "[..])).ok()
    }
}

fn json(value: ContextValue) -> Option<Json> {
    Some(match value {
        ContextValue::Text(text) => Json::String(text),
        ContextValue::Integer(integer) => Json::Number(integer.to_string()),
        ContextValue::Number(number) if number.is_finite() => Json::Number(format!("{number:?}")),
        ContextValue::Number(_) | ContextValue::Bytes(_) => return None,
        ContextValue::Boolean(truth) => Json::Bool(truth),
        ContextValue::Json(text) => return Json::parse(text.as_bytes()).ok(),
    })
}
