//! The question to the service, and what its answer means. Fails closed: whatever is not clearly a yes or a no is an error.

use crate::{freshness, settings::Settings};

/// Most bytes of names and values that are copied into a question.
const COPIED_MAX: usize = 32 * 1024;
/// Most bytes of names and values of an answer that are passed on.
const PASSED_MAX: usize = 32 * 1024;
/// Longest principal in bytes.
const PRINCIPAL_MAX: usize = 1024;
/// The principal where the service does not say who is calling.
pub const UNNAMED: &str = "forward-auth";

/// Header fields: names in lower case, values as they were on the wire.
pub type Fields = Vec<(String, Vec<u8>)>;

/// What a question says about a request.
#[derive(Clone, Debug)]
pub struct Original {
    /// Method.
    pub method: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Host and port that the client asked for.
    pub authority: String,
    /// Path and query as the upstream will see them: normalised.
    pub target: String,
    /// Address of the client, after trusted hops.
    pub client_address: String,
    /// Request id of the gateway.
    pub request_id: String,
    /// Its header fields.
    pub headers: Fields,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Method.
    pub method: String,
    /// Absolute URL.
    pub url: String,
    /// Header fields.
    pub headers: Fields,
}

/// An answer of the service.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Header fields.
    pub headers: Fields,
    /// The whole body.
    pub body: Vec<u8>,
}

/// What the service decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request goes on.
    Allow {
        /// Who is calling, where the service says so.
        principal: Option<String>,
        /// Fields for the upstream, one value each.
        headers: Vec<(String, String)>,
        /// Seconds that this holds.
        ttl_seconds: u32,
    },
    /// The client gets the answer of the service.
    Refuse {
        /// 401, 403 or a redirect.
        status: u16,
        /// Chosen fields.
        headers: Fields,
        /// Its body, unless it is too large.
        body: Option<Vec<u8>>,
    },
}

/// Asks about a request. The error is for a request whose fields are too large to be asked about.
///
/// # Errors
/// The text says which limit was exceeded.
pub fn question(settings: &Settings, original: &Original) -> Result<Question, String> {
    let method = match settings.method.as_deref() {
        Some(method) => method,
        // asking is no tunnel: the service gets the method in a field, as ever
        None if matches!(original.method.as_str(), "CONNECT" | "TRACE") => "GET",
        None => &original.method,
    };
    let url = if settings.append_path {
        format!("{}{}", settings.url.trim_end_matches('/'), original.target)
    } else {
        settings.url.clone()
    };
    let Original {
        scheme,
        authority,
        target,
        ..
    } = original;
    let about = [
        ("x-forwarded-method", original.method.clone()),
        ("x-forwarded-proto", scheme.clone()),
        ("x-forwarded-host", authority.clone()),
        ("x-forwarded-uri", target.clone()),
        ("x-forwarded-for", original.client_address.clone()),
        ("x-original-method", original.method.clone()),
        ("x-original-url", format!("{scheme}://{authority}{target}")),
        ("x-original-uri", target.clone()),
        ("x-request-id", original.request_id.clone()),
    ];
    let mut headers: Fields = about
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into_bytes()))
        .collect();
    let mut copied = 0;
    for name in &settings.request_headers {
        let lines = original.headers.iter().filter(|(field, _)| field == name);
        let mut lines: Vec<Vec<u8>> = lines.map(|(_, value)| value.clone()).collect();
        if name == "cookie" && lines.len() > 1 {
            // RFC 9113 section 8.2.3
            lines = vec![lines.join(&b"; "[..])];
        }
        for value in lines {
            copied += name.len() + value.len();
            headers.push((name.clone(), value));
        }
    }
    if copied > COPIED_MAX {
        return Err(format!(
            "the fields of `request-headers` have {copied} bytes, more than {COPIED_MAX}"
        ));
    }
    Ok(Question {
        method: method.to_owned(),
        url,
        headers,
    })
}

/// Says what an answer means.
///
/// # Errors
/// It means nothing that this plugin knows; the text is for the log, and has no values of fields in it.
pub fn verdict(settings: &Settings, reply: Reply) -> Result<Verdict, String> {
    match reply.status {
        200..=299 => allow(settings, &reply),
        401 | 403 => refuse(settings, reply),
        status if settings.redirects.contains(&status) => {
            if reply.headers.iter().any(|(name, _)| name == "location") {
                refuse(settings, reply)
            } else {
                Err(format!("status {status} without location"))
            }
        }
        status => Err(format!("status {status}")),
    }
}

fn allow(settings: &Settings, reply: &Reply) -> Result<Verdict, String> {
    let mut headers = Vec::new();
    let mut passed = 0;
    for name in &settings.response_headers {
        if let Some(value) = text(reply, name)? {
            passed += name.len() + value.len();
            headers.push((name.clone(), value));
        }
    }
    if passed > PASSED_MAX {
        return Err(format!(
            "the fields of `response-headers` have {passed} bytes, more than {PASSED_MAX}"
        ));
    }
    let principal = match &settings.principal_header {
        None => None,
        Some(name) => {
            let principal = text(reply, name)?.filter(|principal| !principal.is_empty());
            let principal =
                principal.ok_or_else(|| format!("status {} without principal in {name}", reply.status))?;
            if principal.len() > PRINCIPAL_MAX {
                return Err(format!(
                    "the principal in {name} is longer than {PRINCIPAL_MAX} bytes"
                ));
            }
            Some(principal)
        }
    };
    Ok(Verdict::Allow {
        principal,
        headers,
        ttl_seconds: ttl(settings, reply),
    })
}

fn ttl(settings: &Settings, reply: &Reply) -> u32 {
    if !settings.cache_control {
        return settings.ttl_seconds;
    }
    // a line that is no text forbids
    let lines = lines(reply, "cache-control").map(|value| std::str::from_utf8(value).unwrap_or("no-store"));
    let age = lines_of_age(reply);
    freshness::seconds(lines, age).min(settings.ttl_seconds)
}

fn lines_of_age(reply: &Reply) -> Option<&str> {
    lines(reply, "age")
        .next()
        .map(|value| std::str::from_utf8(value).unwrap_or("unreadable"))
}

fn lines<'a>(reply: &'a Reply, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let fields = reply.headers.iter().filter(move |(field, _)| field == name);
    fields.map(|(_, value)| value.as_slice())
}

/// All lines of a field as one text (RFC 9110 section 5.3).
fn text(reply: &Reply, name: &str) -> Result<Option<String>, String> {
    let lines: Vec<&[u8]> = lines(reply, name).collect();
    if lines.is_empty() {
        return Ok(None);
    }
    let text = String::from_utf8(lines.join(&b", "[..]))
        .map_err(|error| format!("{name}: {}", error.utf8_error()))?;
    if text.chars().any(char::is_control) {
        return Err(format!("{name}: has control characters"));
    }
    Ok(Some(text))
}

fn refuse(settings: &Settings, reply: Reply) -> Result<Verdict, String> {
    let body = (reply.body.len() <= settings.max_body).then_some(reply.body);
    let has_body = body.as_ref().is_some_and(|body| !body.is_empty());
    let chosen = |name: &str| {
        settings.refusal_headers.iter().any(|chosen| chosen == name) || (has_body && name == "content-type")
    };
    let headers: Fields = reply
        .headers
        .into_iter()
        .filter(|(name, _)| chosen(name))
        .collect();
    let passed: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if passed > PASSED_MAX {
        return Err(format!(
            "the fields of `refusal-headers` have {passed} bytes, more than {PASSED_MAX}"
        ));
    }
    Ok(Verdict::Refuse {
        status: reply.status,
        headers,
        body,
    })
}
