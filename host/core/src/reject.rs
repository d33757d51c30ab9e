//! The one table of reasons for which the gateway answers itself (`responseType`). It feeds error bodies, logs and metrics.
//! Building the response is the proxy's (`respond.rs`).

use std::fmt;

/// Who is responsible for a reject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The client sent something that cannot be served.
    Client,
    /// A plugin or a policy refused, or a plugin failed.
    Plugin,
    /// The upstream failed.
    Upstream,
    /// The gateway itself.
    Gateway,
}

macro_rules! rejects {
    ($($variant:ident $name:literal $status:literal $origin:ident $title:literal $meaning:literal;)*) => {
        /// Reason of a response that the gateway makes itself.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum RejectCode {
            $(#[doc = $meaning] $variant,)*
        }

        impl RejectCode {
            /// Every reason, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its `responseType`, e.g. `UPSTREAM_TIMEOUT`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
            /// Default status code.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }
            /// Who is responsible.
            #[must_use]
            pub const fn origin(self) -> Origin {
                match self { $(Self::$variant => Origin::$origin,)* }
            }
            /// `title` of the problem document (RFC 9457 section 3.1.3): the same text for every occurrence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
            /// What it means and what to do, for docs/errors.md.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

rejects! {
    BadRequest "BAD_REQUEST" 400 Client "Bad Request" "The request is not valid HTTP: request target, host or framing. The detail names the part.";
    Misdirected "MISDIRECTED" 421 Client "Misdirected Request" "The connection was opened for another server name (SNI), and the host asked for or that name has a rule of its own for client certificates (`tls.domains`). Clients open a connection of its own then.";
    RequestTimeout "REQUEST_TIMEOUT" 408 Client "Request Timeout" "The client did not send its head (`limits.head-timeout`) or its body (`limits.body-timeout`) in time.";
    RequestTooLarge "REQUEST_TOO_LARGE" 413 Client "Content Too Large" "The request body is larger than `limits.body` or the route's `body-limit`, or than what a plugin buffers with `over: reject`.";
    BadRequestParameters "BAD_REQUEST_PARAMETERS" 400 Client "Bad Request" "Parameters that the route requires are missing or blank, or one cannot be put into the integration's path. The detail names them.";
    BadRequestBody "BAD_REQUEST_BODY" 400 Client "Bad Request" "The request body is not what the route's model says. The access log has the reason.";
    UnsupportedMediaType "UNSUPPORTED_MEDIA_TYPE" 415 Client "Unsupported Media Type" "The integration has no template for the request's media type, and does not pass other bodies.";
    UriTooLong "URI_TOO_LONG" 414 Client "URI Too Long" "The request target is longer than `limits.uri`.";
    HeadTooLarge "HEAD_TOO_LARGE" 431 Client "Request Header Fields Too Large" "The request head has more fields than `limits.header-count` or is larger than `limits.head`.";
    RouteNotFound "ROUTE_NOT_FOUND" 404 Client "Not Found" "No route matches host, path and header conditions.";
    MethodNotAllowed "METHOD_NOT_ALLOWED" 405 Client "Method Not Allowed" "Routes match the path, but none this method; `Allow` lists the others.";
    UpgradeRequired "UPGRADE_REQUIRED" 426 Client "Upgrade Required" "The client asks for another version of WebSocket than 13; `Sec-WebSocket-Version` names that.";
    NotImplemented "NOT_IMPLEMENTED" 501 Client "Not Implemented" "An extended CONNECT (RFC 8441) for another protocol than `websocket`, or to a route without `websocket: true`.";
    Unauthorized "UNAUTHORIZED" 401 Plugin "Unauthorized" "An authorizer found no valid credentials.";
    AccessDenied "ACCESS_DENIED" 403 Plugin "Forbidden" "An authorizer recognised the caller and refused.";
    MissingAuthenticationToken "MISSING_AUTHENTICATION_TOKEN" 403 Plugin "Forbidden" "An authorizer of an API in the profile `apigw` wants a signed request, and this one has no signature.";
    InvalidSignature "INVALID_SIGNATURE" 403 Plugin "Forbidden" "An authorizer of an API in the profile `apigw` found that the request's signature cannot be read, does not hold, or is of a key that nobody knows.";
    ExpiredToken "EXPIRED_TOKEN" 403 Plugin "Forbidden" "An authorizer of an API in the profile `apigw` found that the key that the request is signed with has ended.";
    PolicyDenied "POLICY_DENIED" 403 Gateway "Forbidden" "A policy of the API or of the caller denies the call, or none of those that have to allow it does. `edgeward policy explain` shows the deciding statement.";
    WafFiltered "WAF_FILTERED" 403 Plugin "Forbidden" "An inspecting plugin (WAF) blocked the request.";
    AuthorizerFailure "AUTHORIZER_FAILURE" 500 Plugin "Internal Server Error" "An authorizer failed (trap, budget, breaker open) and its `on-error` is `closed`.";
    AuthorizerConfiguration "AUTHORIZER_CONFIGURATION" 500 Plugin "Internal Server Error" "An authorizer answered with something that is no valid decision: a bad status, field or policy, or a policy where there is no API.";
    PluginFailure "PLUGIN_FAILURE" 500 Plugin "Internal Server Error" "A plugin failed (trap, budget, breaker open) and its `on-error` is `closed`.";
    PluginTimeout "PLUGIN_TIMEOUT" 504 Plugin "Gateway Timeout" "A plugin used up its wall time, usually waiting for an outgoing call.";
    PluginInvalidAnswer "PLUGIN_INVALID_ANSWER" 500 Plugin "Internal Server Error" "A plugin answered with something that is no valid response (status outside 200 to 599, invalid field).";
    Overloaded "OVERLOADED" 503 Gateway "Service Unavailable" "No plugin instance was free: more exchanges run than the instance pool holds.";
    ResponseTooLarge "RESPONSE_TOO_LARGE" 502 Upstream "Bad Gateway" "The upstream's body is larger than what a plugin buffers with `over: reject`.";
    NoHealthyUpstream "NO_HEALTHY_UPSTREAM" 503 Upstream "Service Unavailable" "The upstream has no endpoint: its names do not resolve.";
    UpstreamConnect "UPSTREAM_CONNECT" 502 Upstream "Bad Gateway" "No connection to the upstream could be made (refused, unreachable).";
    UpstreamTls "UPSTREAM_TLS" 502 Upstream "Bad Gateway" "The TLS handshake with the upstream failed: its certificate is not trusted or of another name, or it speaks no TLS.";
    UpstreamConnectTimeout "UPSTREAM_CONNECT_TIMEOUT" 504 Upstream "Gateway Timeout" "Connecting took longer than `connect-timeout`.";
    UpstreamTimeout "UPSTREAM_TIMEOUT" 504 Upstream "Gateway Timeout" "The upstream sent no response head within `response-timeout`.";
    UpstreamFailure "UPSTREAM_FAILURE" 502 Upstream "Bad Gateway" "The upstream closed the connection or answered with something that is not HTTP.";
    DeadlineExceeded "DEADLINE_EXCEEDED" 504 Client "Gateway Timeout" "A gRPC call did not end within the `grpc-timeout` that its client gave it. The client reads `grpc-status: 4`.";
    ApiConfigurationError "API_CONFIGURATION_ERROR" 500 Gateway "Internal Server Error" "The API is not defined for this case: no integration response takes the status, a MOCK integration's template gives no status.";
    Internal "INTERNAL" 500 Gateway "Internal Server Error" "A defect in the gateway; the log has an error line with the same request id.";
}

/// A decision to answer in the gateway's own name.
#[derive(Clone, Debug)]
pub struct Reject {
    /// Reason.
    pub code: RejectCode,
    /// Status, when it differs from the reason's own (e.g. an authorizer's 403).
    pub status: u16,
    /// What happened, shown to the client: never secrets or internals.
    pub detail: String,
    /// Extra header fields, e.g. `www-authenticate` or `allow`.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// What happened, for the log only.
    pub cause: Option<String>,
}

impl Reject {
    /// A reject with the reason's own status.
    pub fn new(code: RejectCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            status: code.status(),
            detail: detail.into(),
            headers: Vec::new(),
            cause: None,
        }
    }

    /// The same with a cause for the log.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.code.name(), self.status, self.detail)?;
        if let Some(cause) = &self.cause {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

/// Text of docs/errors.md.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "# Error responses\n\nEvery response the gateway makes itself (but to gRPC calls, which end with a `grpc-status`) is a problem document (RFC 9457, `application/problem+json`) with the members `type`,\n`title`, `status`, `detail`, `responseType` and `requestId`. `responseType` is one of these; the access log (`response_type`) and\nthe metric `edgeward_rejects_total` carry the same name.\n\n| responseType | status | origin | meaning |\n|---|---|---|---|\n",
    );
    for code in RejectCode::ALL {
        let origin = format!("{:?}", code.origin()).to_lowercase();
        text += &format!(
            "| `{}` | {} | {origin} | {} |\n",
            code.name(),
            code.status(),
            code.meaning()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_statuses_are_errors() {
        let mut names: Vec<_> = RejectCode::ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RejectCode::ALL.len());
        assert!(
            RejectCode::ALL
                .iter()
                .all(|code| (400..600).contains(&code.status()))
        );
    }
}
