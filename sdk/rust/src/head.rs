//! Message heads and the exchange, as hooks see them.
//!
//! Accessors ask the gateway for one thing at a time, so a plugin that looks at one header does not pay for forty; take
//! [`RequestHead::headers`] to get all fields in one call. Every method takes `&self`: edits are recorded by the gateway, and
//! read back at once.

use ref_cast::RefCast;

use crate::hooks::Decision;
use crate::host::head as host;
use crate::messages::{ContextEntry, ContextValue, Header, HeaderBlock, Pair, Peer};

/// The request as the client sent it plus the edits made so far.
///
/// Setters return an error that names the field when it is a framing field (`content-length`, `transfer-encoding`), hop-by-hop
/// (RFC 9110 section 7.6.1) or no valid field, and in phases that come too late to change the request.
#[derive(Debug, RefCast)]
#[repr(transparent)]
pub struct RequestHead(pub(crate) host::RequestHead);

impl RequestHead {
    /// Method, e.g. `GET`.
    pub fn method(&self) -> String {
        self.0.method()
    }

    /// Changes the method sent upstream. Routing is not repeated.
    ///
    /// # Errors
    /// The method is no token (RFC 9110 section 5.6.2), or the phase is too late.
    pub fn set_method(&self, method: &str) -> Result<(), String> {
        self.0.set_method(method)
    }

    /// `http` or `https`, as the client used it.
    pub fn scheme(&self) -> String {
        self.0.scheme()
    }

    /// Host and optional port that the client asked for.
    pub fn authority(&self) -> String {
        self.0.authority()
    }

    /// `HTTP/1.0`, `HTTP/1.1`, `HTTP/2.0` or `HTTP/3.0`.
    pub fn version(&self) -> String {
        self.0.version()
    }

    /// Path, percent-encoded, normalised, without query; begins with `/`.
    pub fn path(&self) -> String {
        self.0.path()
    }

    /// Changes the path sent upstream.
    ///
    /// # Errors
    /// The path does not begin with `/` or is no valid RFC 3986 path, or the phase is too late.
    pub fn set_path(&self, path: &str) -> Result<(), String> {
        self.0.set_path(path)
    }

    /// Raw query without `?`, empty when absent.
    pub fn query(&self) -> String {
        self.0.query()
    }

    /// Path and query exactly as the client sent them, before anything was normalised: for signatures.
    pub fn raw_target(&self) -> String {
        self.0.raw_target()
    }

    /// Host and optional port exactly as the client sent them.
    pub fn raw_authority(&self) -> String {
        self.0.raw_authority()
    }

    /// All header fields as the client sent them, before the gateway edited any (hops, addresses, ids, decompressed bodies), for signatures: on routes with a plugin
    /// whose interest has [`request_digest`](crate::Interest::request_digest). Else as [`Self::headers`].
    pub fn raw_headers(&self) -> HeaderBlock {
        self.0.raw_headers()
    }

    /// SHA-256 of the request's body as the client sent it: in [`crate::Authorize::authorize`], where the interest has
    /// [`request_digest`](crate::Interest::request_digest). None where there is no body.
    pub fn body_digest(&self) -> Option<Vec<u8>> {
        self.0.body_digest()
    }

    /// Replaces the query; an empty text removes it.
    ///
    /// # Errors
    /// The query is no valid RFC 3986 query, or the phase is too late.
    pub fn set_query(&self, query: &str) -> Result<(), String> {
        self.0.set_query(query)
    }

    /// Query parameters, decoded (`+` and percent-encoding), in order.
    pub fn query_params(&self) -> Vec<(String, String)> {
        tuples(self.0.query_params())
    }

    /// First query parameter of that name, decoded.
    pub fn query_param(&self, name: &str) -> Option<String> {
        self.0.query_param(name)
    }

    /// Path parameters of the matched route, percent-decoded, in order of the path.
    pub fn path_params(&self) -> Vec<(String, String)> {
        tuples(self.0.path_params())
    }

    /// Path parameters of the matched route as they were on the wire.
    pub fn path_params_raw(&self) -> Vec<(String, String)> {
        tuples(self.0.path_params_raw())
    }

    /// One path parameter, percent-decoded.
    pub fn path_param(&self, name: &str) -> Option<String> {
        self.0.path_param(name)
    }

    /// First value of a header field; the name is compared without case.
    pub fn header(&self, name: &str) -> Option<Vec<u8>> {
        self.0.header(name)
    }

    /// First value of a header field as text; none too when it is not UTF-8.
    pub fn header_str(&self, name: &str) -> Option<String> {
        self.0
            .header(name)
            .and_then(|value| String::from_utf8(value).ok())
    }

    /// All values of a header field, in order.
    pub fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
        self.0.header_values(name)
    }

    /// All header fields in one call.
    pub fn headers(&self) -> Vec<Header> {
        self.0.headers()
    }

    /// Replaces all values of a field by one.
    ///
    /// # Errors
    /// The field cannot be set, or the phase is too late.
    pub fn set_header(&self, name: &str, value: impl AsRef<[u8]>) -> Result<(), String> {
        self.0.set_header(name, value.as_ref())
    }

    /// Adds a field line.
    ///
    /// # Errors
    /// The field cannot be set, or the phase is too late.
    pub fn append_header(&self, name: &str, value: impl AsRef<[u8]>) -> Result<(), String> {
        self.0.append_header(name, value.as_ref())
    }

    /// Removes all lines of a field.
    ///
    /// # Errors
    /// The field cannot be removed, or the phase is too late.
    pub fn remove_header(&self, name: &str) -> Result<(), String> {
        self.0.remove_header(name)
    }

    /// The whole head as types of the `http` crate, for code that already works with those. Costs a call per part.
    ///
    /// # Errors
    /// The head has no form in the `http` crate; the gateway does not let such a head in.
    pub fn to_http(&self) -> Result<http::request::Parts, http::Error> {
        let (path, query) = (self.path(), self.query());
        let target = if query.is_empty() {
            path
        } else {
            format!("{path}?{query}")
        };
        let uri = http::Uri::builder()
            .scheme(self.scheme().as_str())
            .authority(self.authority())
            .path_and_query(target)
            .build()?;
        let version = match self.version().as_str() {
            "HTTP/1.0" => http::Version::HTTP_10,
            "HTTP/2.0" => http::Version::HTTP_2,
            "HTTP/3.0" => http::Version::HTTP_3,
            _ => http::Version::HTTP_11,
        };
        let builder = http::Request::builder()
            .method(self.method().as_str())
            .uri(uri)
            .version(version);
        let builder = self
            .headers()
            .into_iter()
            .fold(builder, |builder, field| builder.header(field.name, field.value));
        Ok(builder.body(())?.into_parts().0)
    }
}

/// The response of the upstream (or of a plugin, or of the gateway) plus the edits made so far.
///
/// Setters fail as those of [`RequestHead`] do.
#[derive(Debug, RefCast)]
#[repr(transparent)]
pub struct ResponseHead(pub(crate) host::ResponseHead);

impl ResponseHead {
    /// Status code, 100 to 599.
    pub fn status(&self) -> u16 {
        self.0.status()
    }

    /// Changes the status.
    ///
    /// # Errors
    /// The status is not within 200 to 599, or the phase is too late.
    pub fn set_status(&self, status: u16) -> Result<(), String> {
        self.0.set_status(status)
    }

    /// First value of a header field; the name is compared without case.
    pub fn header(&self, name: &str) -> Option<Vec<u8>> {
        self.0.header(name)
    }

    /// First value of a header field as text; none too when it is not UTF-8.
    pub fn header_str(&self, name: &str) -> Option<String> {
        self.0
            .header(name)
            .and_then(|value| String::from_utf8(value).ok())
    }

    /// All values of a header field, in order.
    pub fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
        self.0.header_values(name)
    }

    /// All header fields in one call.
    pub fn headers(&self) -> Vec<Header> {
        self.0.headers()
    }

    /// Replaces all values of a field by one.
    ///
    /// # Errors
    /// The field cannot be set, or the phase is too late.
    pub fn set_header(&self, name: &str, value: impl AsRef<[u8]>) -> Result<(), String> {
        self.0.set_header(name, value.as_ref())
    }

    /// Adds a field line.
    ///
    /// # Errors
    /// The field cannot be set, or the phase is too late.
    pub fn append_header(&self, name: &str, value: impl AsRef<[u8]>) -> Result<(), String> {
        self.0.append_header(name, value.as_ref())
    }

    /// Removes all lines of a field.
    ///
    /// # Errors
    /// The field cannot be removed, or the phase is too late.
    pub fn remove_header(&self, name: &str) -> Result<(), String> {
        self.0.remove_header(name)
    }

    /// The whole head as types of the `http` crate.
    ///
    /// # Errors
    /// The head has no form in the `http` crate; the gateway does not let such a head in.
    pub fn to_http(&self) -> Result<http::response::Parts, http::Error> {
        let builder = http::Response::builder().status(self.status());
        let builder = self
            .headers()
            .into_iter()
            .fold(builder, |builder, field| builder.header(field.name, field.value));
        Ok(builder.body(())?.into_parts().0)
    }
}

/// What the gateway knows about the exchange, and the context that the plugins of one chain share.
#[derive(Debug, RefCast)]
#[repr(transparent)]
pub struct Exchange(pub(crate) host::Exchange);

impl Exchange {
    /// Request id: unique, also in the access log and in the gateway's error bodies.
    pub fn request_id(&self) -> String {
        self.0.request_id()
    }

    /// Name of the matched route.
    pub fn route(&self) -> String {
        self.0.route()
    }

    /// Path pattern of the matched route, e.g. `/pets/{id}`.
    pub fn route_pattern(&self) -> String {
        self.0.route_pattern()
    }

    /// The client's connection.
    pub fn peer(&self) -> Peer {
        self.0.peer()
    }

    /// Reads an entry of the context, of any namespace (`gateway` is what the gateway itself knows).
    pub fn get(&self, namespace: &str, key: &str) -> Option<ContextValue> {
        self.0.get(namespace, key)
    }

    /// What the route's API tells callers apart by, and keeps decisions by, such as `$request.header.Authorization`; empty where it says nothing.
    pub fn identity_sources(&self) -> Vec<String> {
        let told = self.get("gateway", "identity-sources");
        let told = told.and_then(|told| told.to_json());
        told.and_then(|told| serde_json::from_value(told).ok())
            .unwrap_or_default()
    }

    /// A decision that depends on some sources (`$request.header.authorization`, `$request.querystring.token`): without its time to live where the route's API
    /// keeps decisions, but not by all of these. What is kept by something else would go for callers with other credentials.
    #[must_use]
    pub fn kept_by(&self, sources: impl IntoIterator<Item = String>, mut decision: Decision) -> Decision {
        let ttl = match &mut decision {
            Decision::Allow(allowed) => &mut allowed.ttl_seconds,
            Decision::Deny(denied) => &mut denied.ttl_seconds,
            Decision::Respond(_) => return decision,
        };
        if ttl.is_some() && !self.keeps_by(sources) {
            *ttl = None;
        }
        decision
    }

    /// Whether the route's API keeps decisions by all of these sources, or says nothing.
    fn keeps_by(&self, sources: impl IntoIterator<Item = String>) -> bool {
        let told = self.identity_sources().into_iter();
        // REST APIs write `method.` in place of `$`
        let told: Vec<String> = told
            .map(|one| match one.strip_prefix("method.") {
                Some(rest) => format!("${rest}"),
                None => one,
            })
            .collect();
        let is_told = |source: String| {
            // names of fields are compared without case
            let is_field = source.starts_with("$request.header.");
            told.iter()
                .any(|one| *one == source || (is_field && one.eq_ignore_ascii_case(&source)))
        };
        told.is_empty() || sources.into_iter().all(is_told)
    }

    /// Writes an entry into this plugin's own namespace.
    ///
    /// # Errors
    /// A limit was hit (the text names it), or `json` does not parse.
    pub fn set(&self, key: &str, value: impl Into<ContextValue>) -> Result<(), String> {
        self.0.set(key, &value.into())
    }

    /// All entries of all namespaces.
    pub fn entries(&self) -> Vec<ContextEntry> {
        self.0.entries()
    }

    /// The principal that an authorizer of the chain established.
    pub fn principal(&self) -> Option<String> {
        self.0.principal()
    }
}

fn tuples(pairs: Vec<Pair>) -> Vec<(String, String)> {
    pairs.into_iter().map(|pair| (pair.name, pair.value)).collect()
}
