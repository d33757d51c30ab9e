//! What policies see of a request, as the host tells it.

use serde_json::Value;

/// A request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Who is asking, as an authorizer has said.
    pub principal: Option<String>,
    /// Facts about the principal; none: `null`.
    pub claims: Value,
    /// Method.
    pub method: String,
    /// Name of the route.
    pub route: String,
    /// Path, normalised and percent-encoded.
    pub path: String,
    /// Host in lower case, without port.
    pub host: String,
    /// Path parameters, decoded.
    pub params: Vec<(String, String)>,
    /// Those query parameters that the configuration names, decoded.
    pub query: Vec<(String, String)>,
    /// Those header fields that the configuration names.
    pub headers: Vec<(String, String)>,
    /// Address of the client.
    pub address: String,
    /// The client came over TLS.
    pub tls: bool,
    /// Its `user-agent`.
    pub user_agent: Option<String>,
    /// Milliseconds since 1970.
    pub now_ms: u64,
}

/// Why a request is refused before any policy is asked. The texts are for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unasked {
    /// Nobody has said whose it is.
    Nobody,
    /// It is not clear what it says: 400. The second text is for the client.
    Unclear(String, String),
    /// It is nothing that the schema knows of.
    Unknown(String),
    /// What should be known is not: somebody has to look.
    Broken(String),
}
