//! The seams of the logic, answered by the gateway.

use edgeward_sdk::{
    Allowed, ContextValue, Denied, Exchange, RequestHead, clock, http_client, log, matcher::RegexSet, secret,
};
use serde_json::{Map, Value};

use crate::{
    authorizer::Accepted,
    output::Fact,
    outside::{Call, Outside, Reply},
    refusal::Refusal,
    seen::{Known, Seen},
    settings::Settings,
    source::Source,
};

/// Namespace of what the gateway itself knows.
const GATEWAY: &str = "gateway";

/// The gateway.
pub(crate) struct Gateway {
    pub(crate) validation: Option<RegexSet>,
}

impl Outside for Gateway {
    fn now_ms(&self) -> u64 {
        clock::now_ms()
    }

    fn secret(&self, name: &str) -> Result<Vec<u8>, String> {
        secret::get(name).map_err(|error| format!("secret {name:?}: {}", error.reason()))
    }

    fn post(&self, call: &Call) -> Result<Reply, String> {
        let request = http_client::Request::new("POST", &call.url)
            .body(call.body.clone())
            .timeout_ms(call.timeout_ms);
        let fields = call.headers.iter();
        let request = fields.fold(request, |request, (name, value)| request.header(name, value));
        let response = http_client::send(&request).map_err(|error| error.reason().to_owned())?;
        let field = |name: &str| {
            let value = response.header(name)?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        Ok(Reply {
            status: response.status,
            function_error: field("x-amz-function-error"),
            error_type: field("x-amzn-errortype"),
            body: response.body,
        })
    }

    fn is_valid(&self, token: &str) -> bool {
        self.validation
            .is_none_or(|validation| validation.is_match(token.as_bytes()))
    }
}

/// What the function is told of a request.
pub(crate) fn seen(request: &RequestHead, exchange: &Exchange, settings: &Settings) -> Seen {
    let peer = exchange.peer();
    let fields = request.headers().into_iter();
    let context = object(exchange, "context");
    let mut seen = Seen {
        method: request.method(),
        scheme: request.scheme(),
        authority: request.authority(),
        path: request.path(),
        query: request.query(),
        query_params: request.query_params(),
        path_params: request.path_params(),
        headers: fields.map(|field| (field.name, field.value)).collect(),
        client: peer.client_address,
        certificate: peer.client_certificate,
        is_api: context.is_some(),
        context: context.unwrap_or_default(),
        stage_variables: object(exchange, "stage-variables").unwrap_or_default(),
        sources: exchange
            .identity_sources()
            .iter()
            .filter_map(|text| Source::parse(text).ok())
            .collect(),
    };
    let known = Known {
        request_id: exchange.request_id(),
        route: exchange.route(),
        pattern: exchange.route_pattern(),
        version: request.version(),
    };
    seen.fill(&settings.account, &known, clock::now_ms());
    seen
}

fn object(exchange: &Exchange, key: &str) -> Option<Map<String, Value>> {
    match exchange.get(GATEWAY, key)?.to_json()? {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

/// The decision for a caller whom the function lets pass.
pub(crate) fn allowed(accepted: Accepted) -> Allowed {
    let allowed = Allowed {
        usage_key: accepted.usage_key,
        policy: accepted.policy,
        ttl_seconds: accepted.ttl_seconds,
        ..Allowed::new(accepted.principal)
    };
    let facts = accepted.context.into_iter();
    facts.fold(allowed, |allowed, (name, fact)| {
        let value = match fact {
            Fact::Text(text) => ContextValue::Text(text),
            Fact::Boolean(truth) => ContextValue::Boolean(truth),
            Fact::Json(text) => ContextValue::Json(text),
            Fact::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) => ContextValue::Integer(integer),
                (None, Some(number)) => ContextValue::Number(number),
                (None, None) => ContextValue::Text(number.to_string()),
            },
        };
        allowed.fact(name, value)
    })
}

/// The decision for a caller who is refused.
pub(crate) fn denied(refusal: &Refusal) -> Denied {
    log::log(refusal.kind.level(), &format!("refused: {}", refusal.detail));
    Denied {
        ttl_seconds: refusal.ttl_seconds,
        ..Denied::new(refusal.kind.status(), refusal.kind.public())
    }
}
