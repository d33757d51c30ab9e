//! The messages of an exchange, answered by the gateway.

use edgeward_sdk::{ContextValue, Exchange, RequestHead, ResponseHead, log};
use serde_json::{Map, Value};

use crate::{
    claims,
    config::Of,
    plan::Messages,
    template::{Values, Variable},
};

/// What a hook was given. The message that is changed is the response when there is one, else the request.
pub(crate) struct Hook<'a> {
    request: &'a RequestHead,
    response: Option<&'a ResponseHead>,
    exchange: &'a Exchange,
    claims_from: Option<&'a str>,
    /// Claims, once a variable asked for them.
    claims: Option<Option<Map<String, Value>>>,
}

impl<'a> Hook<'a> {
    pub(crate) fn new(
        request: &'a RequestHead,
        response: Option<&'a ResponseHead>,
        exchange: &'a Exchange,
        claims_from: Option<&'a str>,
    ) -> Self {
        Self {
            request,
            response,
            exchange,
            claims_from,
            claims: None,
        }
    }

    fn claims(&mut self) -> Option<&Map<String, Value>> {
        if self.claims.is_none() {
            self.claims = Some(self.read_claims());
        }
        self.claims.as_ref()?.as_ref()
    }

    fn read_claims(&self) -> Option<Map<String, Value>> {
        let object = |value: ContextValue| match value.to_json() {
            Some(Value::Object(map)) => Some(map),
            _ => None,
        };
        match self.claims_from {
            Some(namespace) => object(self.exchange.get(namespace, "claims")?),
            None => {
                let entries = self.exchange.entries().into_iter();
                entries
                    .filter(|entry| entry.key == "claims")
                    .find_map(|entry| object(entry.value))
            }
        }
    }

    fn context(&self, namespace: &str, key: &str) -> Option<Vec<u8>> {
        Some(match self.exchange.get(namespace, key)? {
            ContextValue::Text(text) | ContextValue::Json(text) => text.into_bytes(),
            ContextValue::Integer(integer) => integer.to_string().into_bytes(),
            ContextValue::Number(number) => number.to_string().into_bytes(),
            ContextValue::Boolean(truth) => truth.to_string().into_bytes(),
            ContextValue::Bytes(bytes) => bytes,
        })
    }
}

impl Values for Hook<'_> {
    fn value(&mut self, variable: &Variable) -> Option<Vec<u8>> {
        let text = match variable {
            Variable::Method => self.request.method(),
            Variable::Scheme => self.request.scheme(),
            Variable::Host => self.request.authority(),
            Variable::Path => self.request.path(),
            Variable::Query => self.request.query(),
            Variable::QueryParam(name) => self.request.query_param(name)?,
            Variable::Header(of, name) => {
                let lines = self.lines(*of, name);
                return (!lines.is_empty()).then(|| lines.join(&b", "[..]));
            }
            Variable::RequestId => self.exchange.request_id(),
            Variable::PathParam(name) => self.request.path_param(name)?,
            Variable::Context { namespace, key } => return self.context(namespace, key),
            Variable::Claim(path) => claims::text(self.claims()?, path)?,
            Variable::Principal => self.exchange.principal()?,
            Variable::Route => self.exchange.route(),
            Variable::RoutePattern => self.exchange.route_pattern(),
            Variable::ClientAddress => self.exchange.peer().client_address,
            Variable::Status => self.response?.status().to_string(),
        };
        Some(text.into_bytes())
    }
}

impl Messages for Hook<'_> {
    fn lines(&self, of: Of, name: &str) -> Vec<Vec<u8>> {
        match of {
            Of::Request => self.request.header_values(name),
            Of::Response => self
                .response
                .map(|response| response.header_values(name))
                .unwrap_or_default(),
        }
    }

    fn set(&self, name: &str, value: &[u8]) -> Result<(), String> {
        match self.response {
            Some(response) => response.set_header(name, value),
            None => self.request.set_header(name, value),
        }
    }

    fn append(&self, name: &str, value: &[u8]) -> Result<(), String> {
        match self.response {
            Some(response) => response.append_header(name, value),
            None => self.request.append_header(name, value),
        }
    }

    fn remove(&self, name: &str) -> Result<(), String> {
        match self.response {
            Some(response) => response.remove_header(name),
            None => self.request.remove_header(name),
        }
    }

    fn warn(&self, message: &str) {
        log::warn(message);
    }
}
