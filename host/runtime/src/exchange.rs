//! What plugins see of an exchange: heads, route, peer, context. It is one box that moves into the instance for a call and out again, so that
//! accessors read the real thing and nothing is copied. Edits apply at once and are written to an undo log, so that a plugin that fails half-way
//! leaves no trace.

use std::{borrow::Cow, collections::BTreeMap, net::SocketAddr, sync::Arc};

use edgeward_core::{
    normalize::{PathError, normalize_path, refuse_ambiguous},
    phase::Phase,
    policy::Policy,
    route::Params,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, uri::PathAndQuery};
use smallvec::SmallVec;

/// Handle type of the WIT resource `request-head`.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub enum RequestHandle {}
/// Handle type of the WIT resource `response-head`.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub enum ResponseHandle {}
/// Handle type of the WIT resource `exchange`.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub enum ExchangeHandle {}

/// The client's connection.
#[derive(Debug)]
pub struct Peer {
    /// Address of the TCP peer.
    pub address: SocketAddr,
    /// `1.2` or `1.3` on TLS.
    pub tls_version: Option<&'static str>,
    /// Server name the client asked for.
    pub sni: Option<String>,
    /// Verified client certificate, DER.
    pub client_certificate: Option<Vec<u8>>,
}

/// What an authorizer says that a caller may do.
#[derive(Debug)]
pub struct Granted {
    /// The policy.
    pub policy: Policy,
    /// Bytes of its text.
    pub(crate) text: usize,
}

/// Name and pattern of a matched route.
#[derive(Debug)]
pub struct RouteInfo {
    /// Name.
    pub name: String,
    /// Path pattern.
    pub pattern: String,
    /// Scopes of which a caller needs one; none: it needs none.
    pub scopes: Vec<String>,
}

/// Request head as plugins see and edit it.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// Method.
    pub method: Method,
    /// True when the client used TLS.
    pub https: bool,
    /// Host and optional port.
    pub authority: String,
    /// Version the client spoke.
    pub version: Version,
    /// Normalised path, percent-encoded.
    pub path: String,
    /// Raw query without `?`.
    pub query: Option<String>,
    /// Header fields without hop-by-hop ones.
    pub headers: HeaderMap,
}

/// Response head as plugins see and edit it.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// Status.
    pub status: StatusCode,
    /// Header fields without hop-by-hop ones.
    pub headers: HeaderMap,
}

/// A typed value of the context.
#[derive(Clone, Debug, PartialEq)]
pub enum ContextValue {
    /// Text.
    Text(String),
    /// Integer.
    Integer(i64),
    /// Floating point number.
    Number(f64),
    /// Truth value.
    Boolean(bool),
    /// JSON text, checked.
    Json(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl ContextValue {
    /// Bytes it holds, for budgets.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Text(text) | Self::Json(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Integer(_) | Self::Number(_) | Self::Boolean(_) => 8,
        }
    }
}

/// Everything plugins see of one exchange.
#[derive(Debug)]
pub struct Exchange {
    /// Unique id.
    pub request_id: String,
    /// Matched route.
    pub route: Arc<RouteInfo>,
    /// Path parameters, as places in the path that was routed.
    pub params: Params,
    /// The path that was routed, once a plugin changed `request.path`.
    matched_path: Option<String>,
    /// True when the request head has gone upstream: it can no longer be edited.
    pub request_sent: bool,
    /// True when the response head has gone to the client.
    pub response_sent: bool,
    /// Plugins may put `%2F` and `%5C` into the path.
    pub encoded_slashes: bool,
    /// Connection.
    pub peer: Arc<Peer>,
    /// Client address after trusted hops.
    pub client: std::net::IpAddr,
    /// Path and query as the client sent them, where plugins of the route want to know.
    pub raw_target: Option<PathAndQuery>,
    /// Host and port as the client sent them, likewise.
    pub raw_authority: Option<HeaderValue>,
    /// Header fields as the client sent them, likewise.
    pub raw_headers: Option<HeaderMap>,
    /// SHA-256 of the body as the client sent it, once it was collected for `authorize`.
    pub body_digest: Option<[u8; 32]>,
    /// Request head.
    pub request: RequestHead,
    /// Response head, once there is one.
    pub response: Option<ResponseHead>,
    /// Context: (namespace, key) to value.
    pub context: BTreeMap<(Arc<str>, String), ContextValue>,
    /// Who the caller is, once an authorizer said so.
    pub principal: Option<String>,
    /// Key that usage is counted by.
    pub usage_key: Option<String>,
    /// What the last authorizer says that the caller may do; none: everything.
    pub policy: Option<Arc<Granted>>,
    pub(crate) undo: Vec<Undo>,
}

/// How to take back one edit.
#[derive(Debug)]
pub(crate) enum Undo {
    Method(Method),
    Path(String),
    Query(Option<String>),
    Status(StatusCode),
    RequestHeader(HeaderName, SmallVec<[HeaderValue; 1]>),
    ResponseHeader(HeaderName, SmallVec<[HeaderValue; 1]>),
    Context((Arc<str>, String), Option<ContextValue>),
}

/// Which head a setter edits.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Request,
    Response,
}

/// What a setter does with a header field.
pub(crate) enum HeaderEdit<'v> {
    Set(&'v [u8]),
    Append(&'v [u8]),
    Remove,
}

/// Most header fields that plugins may build up in one head.
const HEADERS_MAX: usize = 256;
/// Longest value of one header field that a plugin may write, in bytes.
const HEADER_VALUE_MAX: usize = 16 * 1024;

impl Exchange {
    /// A new exchange from what the data plane knows.
    #[must_use]
    pub fn new(
        request_id: String,
        route: Arc<RouteInfo>,
        params: Params,
        peer: Arc<Peer>,
        client: std::net::IpAddr,
        request: RequestHead,
    ) -> Self {
        Self {
            request_id,
            route,
            params,
            matched_path: None,
            request_sent: false,
            response_sent: false,
            encoded_slashes: false,
            peer,
            client,
            raw_target: None,
            raw_authority: None,
            raw_headers: None,
            body_digest: None,
            request,
            response: None,
            context: BTreeMap::new(),
            principal: None,
            usage_key: None,
            policy: None,
            undo: Vec::new(),
        }
    }

    /// The exchange as it is, for somebody who must not change it: edits that are under way cannot be taken back in the copy.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self {
            request_id: self.request_id.clone(),
            route: Arc::clone(&self.route),
            params: self.params.clone(),
            matched_path: self.matched_path.clone(),
            request_sent: self.request_sent,
            response_sent: self.response_sent,
            encoded_slashes: self.encoded_slashes,
            peer: Arc::clone(&self.peer),
            client: self.client,
            raw_target: self.raw_target.clone(),
            raw_authority: self.raw_authority.clone(),
            raw_headers: self.raw_headers.clone(),
            body_digest: self.body_digest,
            request: self.request.clone(),
            response: self.response.clone(),
            context: self.context.clone(),
            principal: self.principal.clone(),
            usage_key: self.usage_key.clone(),
            policy: self.policy.clone(),
            undo: Vec::new(),
        }
    }

    /// Who is calling, by what an authorizer says. One that says the same as one before it takes nothing away from that.
    pub(crate) fn set_caller(&mut self, principal: String, usage_key: Option<String>) {
        let is_known = self.principal.as_ref() == Some(&principal);
        if usage_key.is_some() || !is_known {
            self.usage_key = usage_key;
        }
        self.principal = Some(principal);
    }

    /// Name and raw value of each path parameter.
    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> {
        self.params
            .iter(self.matched_path.as_deref().unwrap_or(&self.request.path))
    }

    /// Takes back every edit since the last commit, newest first.
    pub(crate) fn roll_back(&mut self) {
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Method(method) => self.request.method = method,
                Undo::Path(path) => self.request.path = path,
                Undo::Query(query) => self.request.query = query,
                Undo::Status(status) => {
                    if let Some(response) = &mut self.response {
                        response.status = status;
                    }
                }
                Undo::RequestHeader(name, values) => restore(&mut self.request.headers, &name, values),
                Undo::ResponseHeader(name, values) => {
                    if let Some(response) = &mut self.response {
                        restore(&mut response.headers, &name, values);
                    }
                }
                Undo::Context(key, Some(value)) => {
                    self.context.insert(key, value);
                }
                Undo::Context(key, None) => {
                    self.context.remove(&key);
                }
            }
        }
    }

    /// Keeps the edits made since the last commit.
    pub(crate) fn commit(&mut self) {
        self.undo.clear();
    }

    /// Applies a header edit, or says why it cannot be.
    pub(crate) fn edit_header(
        &mut self,
        side: Side,
        name: &str,
        edit: &HeaderEdit<'_>,
    ) -> Result<(), String> {
        let name = editable_name(name)?;
        let headers = match side {
            Side::Request => &mut self.request.headers,
            Side::Response => &mut self.response.as_mut().ok_or("there is no response yet")?.headers,
        };
        let value = match edit {
            HeaderEdit::Remove => None,
            HeaderEdit::Set(bytes) | HeaderEdit::Append(bytes) => Some(field_value(&name, bytes)?),
        };
        if value.is_some() && headers.len() >= HEADERS_MAX {
            return Err(format!(
                "header `{name}`: the head has {} fields, the limit is {HEADERS_MAX}",
                headers.len()
            ));
        }
        let old = headers.get_all(&name).iter().cloned().collect();
        match (edit, value) {
            (HeaderEdit::Append(_), Some(value)) => {
                headers.append(name.clone(), value);
            }
            (_, Some(value)) => {
                headers.insert(name.clone(), value);
            }
            (_, None) => {
                headers.remove(&name);
            }
        }
        self.undo.push(match side {
            Side::Request => Undo::RequestHeader(name, old),
            Side::Response => Undo::ResponseHeader(name, old),
        });
        Ok(())
    }

    pub(crate) fn set_method(&mut self, method: &str) -> Result<(), String> {
        let new: Method = method
            .parse()
            .map_err(|_ignored| format!("`{method}` is not a method"))?;
        if new == Method::CONNECT {
            return Err("method CONNECT cannot be set".to_owned());
        }
        self.undo
            .push(Undo::Method(std::mem::replace(&mut self.request.method, new)));
        Ok(())
    }

    pub(crate) fn set_path(&mut self, path: &str) -> Result<(), String> {
        if !path.starts_with('/') {
            return Err(format!("path `{path}` does not begin with `/`"));
        }
        let wrong = |error: PathError| format!("path `{path}`: {error}");
        let normalised: Cow<'_, str> = normalize_path(path).map_err(wrong)?;
        refuse_ambiguous(&normalised, self.encoded_slashes).map_err(wrong)?;
        let new = normalised.into_owned();
        if self.matched_path.is_none() {
            self.matched_path = Some(self.request.path.clone());
        }
        self.undo
            .push(Undo::Path(std::mem::replace(&mut self.request.path, new)));
        Ok(())
    }

    pub(crate) fn set_query(&mut self, query: &str) -> Result<(), String> {
        if let Some(byte) = query
            .bytes()
            .find(|byte| !(0x21..=0x7e).contains(byte) || b"#\"<>".contains(byte))
        {
            return Err(format!(
                "query has the byte {byte:#04x}, which must be percent-encoded"
            ));
        }
        let new = (!query.is_empty()).then(|| query.to_owned());
        self.undo
            .push(Undo::Query(std::mem::replace(&mut self.request.query, new)));
        Ok(())
    }

    pub(crate) fn set_status(&mut self, status: u16) -> Result<(), String> {
        let response = self.response.as_mut().ok_or("there is no response yet")?;
        let new = final_status(status)?;
        self.undo
            .push(Undo::Status(std::mem::replace(&mut response.status, new)));
        Ok(())
    }

    pub(crate) fn set_context(&mut self, namespace: &Arc<str>, key: &str, value: ContextValue) {
        let key = (Arc::clone(namespace), key.to_owned());
        let old = self.context.insert(key.clone(), value);
        self.undo.push(Undo::Context(key, old));
    }
}

fn restore(headers: &mut HeaderMap, name: &HeaderName, values: SmallVec<[HeaderValue; 1]>) {
    headers.remove(name);
    for value in values {
        headers.append(name.clone(), value);
    }
}

/// A status that a response to a client can end with.
pub(crate) fn final_status(status: u16) -> Result<StatusCode, String> {
    match StatusCode::from_u16(status) {
        Ok(code) if (200..600).contains(&status) => Ok(code),
        _ => Err(format!("status {status} is not between 200 and 599")),
    }
}

/// A field name that a plugin may write: valid, and neither framing nor hop-by-hop.
pub(crate) fn editable_name(name: &str) -> Result<HeaderName, String> {
    let parsed = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_ignored| format!("`{name}` is not a field name"))?;
    if is_framing(&parsed) {
        return Err(format!(
            "header `{parsed}` belongs to the connection and cannot be changed by a plugin"
        ));
    }
    Ok(parsed)
}

/// A field value without CR, LF, NUL and within the limit.
pub(crate) fn field_value(name: &HeaderName, bytes: &[u8]) -> Result<HeaderValue, String> {
    if bytes.len() > HEADER_VALUE_MAX {
        return Err(format!(
            "header `{name}`: value of {} bytes exceeds {HEADER_VALUE_MAX}",
            bytes.len()
        ));
    }
    HeaderValue::from_bytes(bytes)
        .map_err(|_ignored| format!("header `{name}`: the value has bytes that no field may have"))
}

/// Framing fields (RFC 9112 section 6) and hop-by-hop fields (RFC 9110 section 7.6.1).
#[must_use]
pub fn is_framing(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "content-length"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

/// True when a plugin may still change the request in this phase.
pub(crate) const fn request_editable(phase: Phase) -> bool {
    matches!(phase, Phase::Authorize | Phase::RequestHead | Phase::RequestBody)
}

/// True when a plugin may still change the response in this phase.
pub(crate) const fn response_editable(phase: Phase) -> bool {
    matches!(
        phase,
        Phase::ResponseHead | Phase::ResponseBody | Phase::GatewayError
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_plugin_splits_a_message() {
        let name = HeaderName::from_static("x");
        for value in [
            &b"a\r\nset-cookie: b"[..],
            b"a\nb",
            b"a\rb",
            b"a\0b",
            b"\x0b",
            b"\x7f",
        ] {
            assert!(
                field_value(&name, value).is_err(),
                "{:?}",
                value.escape_ascii().to_string()
            );
        }
        for name in [
            "",
            "a b",
            "a:b",
            "a\r\nb",
            "a\0",
            "transfer-encoding",
            "Connection",
            "TE",
            "Trailer",
        ] {
            assert!(editable_name(name).is_err(), "{name:?}");
        }
        for status in [0, 99, 100, 101, 199, 600, 1000] {
            assert!(final_status(status).is_err(), "{status}");
        }
    }
}
