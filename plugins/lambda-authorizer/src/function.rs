//! Calls the function: behind the Invoke API of AWS Lambda, or at an address of its own.

use edgeward_sigv4::{HostCrypto, Mac as _, PathStyle, Request, Signer, Timestamp, split_target, to_hex};
use serde::Deserialize;

use crate::{
    outside::{Call, Outside, Reply},
    refusal::{Kind, Refusal, excerpt},
    settings::{Credentials, Function, Settings},
};

/// Largest answer of a function in bytes.
pub const OUTPUT_LIMIT: usize = 256 * 1024;

/// What Lambda says of a function that failed, and what functions elsewhere may say.
#[derive(Deserialize)]
struct Failed {
    #[serde(rename = "errorMessage")]
    message: String,
}

/// What the function answers to an event.
///
/// # Errors
/// It cannot be called, or failed.
pub fn call(settings: &Settings, event: &[u8], outside: &impl Outside) -> Result<Vec<u8>, Refusal> {
    let failure = |detail: String| Refusal::new(Kind::Failure, detail);
    let name = settings.function.name();
    let call = prepare(settings, event, outside).map_err(failure)?;
    let reply = outside
        .post(&call)
        .map_err(|error| failure(format!("{name} cannot be called: {error}")))?;
    if reply.body.len() > OUTPUT_LIMIT {
        return Err(failure(format!(
            "{name} answered {} bytes, the limit is {OUTPUT_LIMIT}",
            reply.body.len()
        )));
    }
    if reply.status != 200 {
        let kind = reply.error_type.as_deref().map(excerpt).unwrap_or_default();
        return Err(failure(format!(
            "{name} answered with status {} {kind:?} instead of 200",
            reply.status
        )));
    }
    match error_of(&reply) {
        None => Ok(reply.body),
        // exactly this text is an answer; everything else is a failure
        Some(message) if message == "Unauthorized" => Err(Refusal::new(
            Kind::Unauthorized,
            format!("{name} says Unauthorized"),
        )),
        Some(message) => Err(failure(format!("{name} failed: {:?}", excerpt(&message)))),
    }
}

/// The error message when the function failed. A function that is not behind Lambda says so in the body alone.
fn error_of(reply: &Reply) -> Option<String> {
    let told = serde_json::from_slice::<Failed>(&reply.body);
    match (&reply.function_error, told) {
        (_, Ok(failed)) => Some(failed.message),
        (Some(kind), Err(_)) => Some(format!("{} error without a message", excerpt(kind))),
        (None, Err(_)) => None,
    }
}

fn prepare(settings: &Settings, event: &[u8], outside: &impl Outside) -> Result<Call, String> {
    let mut call = Call {
        url: settings.function.url().to_owned(),
        headers: vec![("content-type".into(), b"application/json".to_vec())],
        body: event.to_vec(),
        timeout_ms: settings.timeout_ms,
    };
    match &settings.function {
        Function::Invoke { credentials, .. } => {
            call.headers
                .push(("x-amz-invocation-type".into(), b"RequestResponse".to_vec()));
            if let Some(credentials) = credentials {
                sign(&mut call, credentials, outside)?;
            }
        }
        Function::Url { bearer_secret, .. } => {
            if let Some(secret) = bearer_secret {
                let value = format!("Bearer {}", text_secret(secret, outside)?);
                call.headers.push(("authorization".into(), value.into_bytes()));
            }
        }
    }
    Ok(call)
}

fn sign(call: &mut Call, credentials: &Credentials, outside: &impl Outside) -> Result<(), String> {
    let secret = text_secret(&credentials.secret, outside)?;
    let token = credentials.session_token.as_ref();
    let token = token.map(|name| text_secret(name, outside)).transpose()?;
    let signer = Signer {
        access_key_id: &credentials.access_key_id,
        secret: &secret,
        session_token: token.as_deref(),
        sign_token: true,
        region: &credentials.region,
        service: "lambda",
        style: PathStyle::default(),
        send_payload_hash: false,
    };
    let (path, query) = split_target(&call.url);
    let fields = call.headers.iter();
    let fields: Vec<_> = fields
        .map(|(name, value)| (name.as_str(), value.as_slice()))
        .collect();
    let request = Request {
        method: "POST",
        path,
        query,
        host: host(&call.url),
        headers: &fields,
    };
    let hash = to_hex(&HostCrypto.sha256(&call.body));
    let time = Timestamp(outside.now_ms() / 1000);
    let added = signer
        .headers(&request, &hash, time, &HostCrypto)
        .map_err(|error| format!("the call of the function cannot be signed: {error}"))?;
    let added = added.into_iter();
    call.headers
        .extend(added.map(|(name, value)| (name, value.into_bytes())));
    Ok(())
}

/// The authority of an absolute URL, as it is sent in `Host`: without the port that belongs to the scheme.
fn host(url: &str) -> &str {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let usual = if scheme == "https" { ":443" } else { ":80" };
    authority.strip_suffix(usual).unwrap_or(authority)
}

/// A secret that is one line of text.
fn text_secret(name: &str, outside: &impl Outside) -> Result<String, String> {
    let bytes = outside.secret(name)?;
    let text = bytes.trim_ascii();
    if text.is_empty() || !text.iter().all(|byte| (0x20..0x7f).contains(byte)) {
        return Err(format!("secret {name:?} is empty or no line of printable ASCII"));
    }
    Ok(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn the_host_is_written_as_it_is_sent() {
        for (url, wanted) in [
            ("https://a.test/x?y", "a.test"),
            ("https://a.test:443/x", "a.test"),
            ("https://a.test:8443", "a.test:8443"),
            ("http://a.test:80?x", "a.test"),
            ("http://[::1]:443/", "[::1]:443"),
        ] {
            assert_eq!(host(url), wanted, "{url}");
        }
    }
}
