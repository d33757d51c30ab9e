//! Between the logic and the gateway.

use edgeward_sdk::{
    ContextValue, Exchange, RequestHead, http_client,
    http_client::{Request, Response},
};

use crate::{
    ask::{Original, Question, Reply},
    settings::Settings,
};

/// Key of the entry by which the plugin finds its namespace: no field name.
const MARK: &str = ":mark";

/// What a question says about the request of a hook.
pub(crate) fn original(request: &RequestHead, exchange: &Exchange) -> Original {
    let (path, query) = (request.path(), request.query());
    let target = if query.is_empty() {
        path
    } else {
        format!("{path}?{query}")
    };
    let headers = request.headers().into_iter();
    Original {
        method: request.method(),
        scheme: request.scheme(),
        authority: request.authority(),
        target,
        client_address: exchange.peer().client_address,
        request_id: exchange.request_id(),
        headers: headers.map(|field| (field.name, field.value)).collect(),
    }
}

/// Puts a question to the service.
pub(crate) fn send(question: Question, timeout_ms: u32) -> Result<Reply, String> {
    let request = Request::new(question.method, question.url).timeout_ms(timeout_ms);
    let request = question
        .headers
        .into_iter()
        .fold(request, |request, (name, value)| request.header(name, value));
    let Response {
        status,
        headers,
        body,
    } = http_client::send(&request).map_err(|error| error.reason().to_owned())?;
    let headers = headers
        .into_iter()
        .map(|field| (field.name.to_ascii_lowercase(), field.value));
    Ok(Reply {
        status,
        headers: headers.collect(),
        body,
    })
}

/// Takes what the client sent under the names that the upstream trusts out of the request, and puts in what the service said.
pub(crate) fn identify(
    settings: &Settings,
    request: &RequestHead,
    exchange: &Exchange,
) -> Result<(), String> {
    for field in request.headers() {
        // servers that make variables of fields take `x_user` for `x-user`
        let name = field.name.replace('_', "-");
        let trusted = |one: &String| one.replace('_', "-").eq_ignore_ascii_case(&name);
        if settings.response_headers.iter().any(trusted) {
            request.remove_header(&field.name)?;
        }
    }
    let namespace = namespace(exchange)?;
    for name in &settings.response_headers {
        if let Some(ContextValue::Text(value)) = exchange.get(&namespace, name) {
            request.set_header(name, value)?;
        }
    }
    Ok(())
}

/// The plugin's namespace of the context. A fact under a name that any plugin can use is worth nothing; and the decision may be a kept one, so that
/// nothing is known from `authorize`. Nobody but this plugin writes a new mark between two looks at the context.
fn namespace(exchange: &Exchange) -> Result<String, String> {
    let entries = exchange.entries();
    let taken = |mark: i64| {
        entries
            .iter()
            .any(|entry| entry.key == MARK && entry.value == ContextValue::Integer(mark))
    };
    let mark = (0..=i64::MAX)
        .find(|mark| !taken(*mark))
        .ok_or("no mark is free")?;
    exchange.set(MARK, mark)?;
    exchange
        .entries()
        .into_iter()
        .find(|entry| entry.key == MARK && entry.value == ContextValue::Integer(mark))
        .map(|entry| entry.namespace)
        .ok_or_else(|| "the context lost an entry".to_owned())
}
