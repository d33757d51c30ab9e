//! What templates see of the exchange, asked of the gateway.

use crate::environment::{Environment, Pairs};
use edgeward_sdk::{Exchange, RequestHead};
use serde_json::{Map, Value};

/// Fields that AWS takes away before anything is mapped.
const UNSEEN: [&str; 12] = [
    "connection",
    "content-length",
    "content-md5",
    "expect",
    "max-forwards",
    "proxy-authenticate",
    "server",
    "te",
    "transfer-encoding",
    "trailer",
    "upgrade",
    "www-authenticate",
];
/// Namespace of what the gateway itself knows.
const GATEWAY: &str = "gateway";

/// The request as it was before the templates changed it.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Method.
    pub method: String,
    /// `Accept`
    pub accept: Option<String>,
    /// `Content-Type`
    pub content_type: Option<String>,
    uri_path: String,
    authority: String,
    version: String,
    user_agent: Option<String>,
    path: Pairs,
    querystring: Pairs,
    header: Pairs,
}

impl Seen {
    /// Looks at a request.
    pub fn of(request: &RequestHead) -> Self {
        let header = request.headers().into_iter();
        let header = header
            .filter(|field| !UNSEEN.contains(&field.name.as_str()))
            .map(|field| (field.name, String::from_utf8_lossy(&field.value).into_owned()))
            .collect();
        Self {
            method: request.method(),
            accept: request.header_str("accept"),
            content_type: request.header_str("content-type"),
            uri_path: request.path(),
            authority: request.authority(),
            version: request.version(),
            user_agent: request.header_str("user-agent"),
            path: request.path_params(),
            querystring: request.query_params(),
            header,
        }
    }

    /// What templates see now.
    pub fn environment(&self, exchange: &Exchange, claims_from: Option<&str>) -> Environment {
        Environment {
            path: self.path.clone(),
            querystring: self.querystring.clone(),
            header: self.header.clone(),
            context: self.context(exchange, claims_from),
            stage_variables: object(exchange, GATEWAY, "stage-variables").unwrap_or_default(),
        }
    }

    /// What the gateway says, and what it leaves out and is known here.
    fn context(&self, exchange: &Exchange, claims_from: Option<&str>) -> Map<String, Value> {
        let mut context = object(exchange, GATEWAY, "context").unwrap_or_default();
        let host = self.authority.rsplit_once(':');
        let host = host.filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
        let host = host.map_or(self.authority.as_str(), |(host, _)| host);
        fill(
            &mut context,
            [
                ("requestId", Some(exchange.request_id())),
                ("httpMethod", Some(self.method.clone())),
                ("path", Some(self.uri_path.clone())),
                ("resourcePath", Some(exchange.route_pattern())),
                ("protocol", Some(self.version.clone())),
                ("domainName", Some(host.to_owned())),
            ],
        );
        let identity = [
            ("sourceIp", Some(exchange.peer().client_address)),
            ("userAgent", self.user_agent.clone()),
        ];
        if let Some(members) = member(&mut context, "identity") {
            fill(members, identity);
        }
        let claims = claims(exchange, claims_from);
        let principal = exchange.principal();
        if (claims.is_some() || principal.is_some())
            && let Some(members) = member(&mut context, "authorizer")
        {
            fill(members, [("principalId", principal)]);
            if let (Some(claims), false) = (claims, members.contains_key("claims")) {
                members.insert("claims".to_owned(), Value::Object(claims));
            }
        }
        context
    }
}

fn fill<const N: usize>(members: &mut Map<String, Value>, known: [(&str, Option<String>); N]) {
    for (name, value) in known {
        if let (Some(value), None | Some(Value::Null)) = (value, members.get(name)) {
            members.insert(name.to_owned(), Value::String(value));
        }
    }
}

/// An object within an object, made if it is not there; none where there is something else.
fn member<'a>(members: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    let value = members.entry(name).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut()
}

fn object(exchange: &Exchange, namespace: &str, key: &str) -> Option<Map<String, Value>> {
    match exchange.get(namespace, key)?.to_json()? {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

/// Claims that an authorizer left.
fn claims(exchange: &Exchange, claims_from: Option<&str>) -> Option<Map<String, Value>> {
    match claims_from {
        Some(namespace) => object(exchange, namespace, "claims"),
        None => exchange
            .entries()
            .into_iter()
            .filter(|entry| entry.key == "claims")
            .find_map(|entry| match entry.value.to_json()? {
                Value::Object(members) => Some(members),
                _ => None,
            }),
    }
}
