//! Asks the authorization server about a token (RFC 7662 section 2).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeward_bearer::{refusal::excerpt, strict_json};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use crate::{
    config::{Authentication, Client},
    outside::{Outside, Post, Reply},
    settings::Settings,
};

/// Largest answer in bytes.
pub const ANSWER_LIMIT: usize = 64 * 1024;

/// Everything but the unreserved characters of RFC 3986, which every reader of forms takes.
const FORM: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What the authorization server says of a token: its members when it is active, none when it is not.
///
/// # Errors
/// It cannot be asked, or what it answers is no answer. The text has neither token nor secret.
pub fn ask(
    settings: &Settings,
    token: &str,
    outside: &impl Outside,
) -> Result<Option<Map<String, Value>>, String> {
    let post = prepare(settings, token, outside)?;
    let endpoint = named(&settings.endpoint);
    let reply = outside
        .post(&post)
        .map_err(|error| format!("{endpoint}: {error}"))?;
    read(&reply).map_err(|error| format!("{endpoint}: {error}"))
}

/// The address without its query, which may have a key in it.
fn named(endpoint: &str) -> &str {
    endpoint.split('?').next().unwrap_or_default()
}

fn prepare(settings: &Settings, token: &str, outside: &impl Outside) -> Result<Post, String> {
    let mut form = format!("token={}", encode(token));
    if let Some(hint) = &settings.hint {
        form += &format!("&token_type_hint={}", encode(hint));
    }
    let secret = |name: &str| {
        let bytes = outside.secret(name)?;
        // a line break at the end of a file is no part of it
        let text = std::str::from_utf8(bytes.trim_ascii_end()).unwrap_or_default();
        if text.is_empty() {
            return Err(format!("secret {name:?} is empty or no text"));
        }
        Ok(text.to_owned())
    };
    let authorization = match &settings.authentication {
        Authentication::Basic(Client {
            client_id,
            secret: name,
        }) => {
            // RFC 6749 section 2.3.1: both encoded as in forms
            let pair = format!("{}:{}", encode(client_id), encode(&secret(name)?));
            Some(format!("Basic {}", STANDARD.encode(pair)))
        }
        Authentication::Post(Client {
            client_id,
            secret: name,
        }) => {
            let (id, secret) = (encode(client_id), encode(&secret(name)?));
            form += &format!("&client_id={id}&client_secret={secret}");
            None
        }
        Authentication::Bearer(own) => Some(format!("Bearer {}", secret(&own.secret)?)),
    };
    Ok(Post {
        url: settings.endpoint.clone(),
        authorization,
        form,
        timeout_ms: settings.timeout_ms,
    })
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, FORM).to_string()
}

fn read(reply: &Reply) -> Result<Option<Map<String, Value>>, String> {
    match reply.status {
        200 => {}
        status @ (401 | 403) => {
            return Err(format!(
                "status {status}: the gateway's own credentials are not accepted"
            ));
        }
        status => return Err(format!("status {status} instead of 200")),
    }
    if reply.body.len() > ANSWER_LIMIT {
        let length = reply.body.len();
        return Err(format!(
            "the answer has {length} bytes, the limit is {ANSWER_LIMIT}"
        ));
    }
    let kind = reply.content_type.to_ascii_lowercase();
    if kind.starts_with("application/token-introspection+jwt") || kind.starts_with("application/jwt") {
        return Err(
            "the answer is a signed token (RFC 9701), which is not supported: let this client get application/json"
                .into(),
        );
    }
    let members = strict_json::object(&reply.body)
        // not the parser's text, which may repeat what it found
        .map_err(|_error| format!("the answer is no JSON object, its type is {:?}", excerpt(&kind)))?;
    match members.get("active") {
        Some(Value::Bool(true)) => Ok(Some(members)),
        Some(Value::Bool(false)) => Ok(None),
        Some(_) => Err("member active is no boolean".into()),
        None => Err("member active is missing".into()),
    }
}
