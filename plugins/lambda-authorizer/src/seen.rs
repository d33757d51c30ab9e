//! A request as the function is told of it, without anything of the gateway's types.

use serde_json::{Map, Value};

use edgeward_sigv4::Timestamp;

use crate::source::Source;

/// A request and what the gateway knows about it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Method, e.g. `GET`.
    pub method: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Host and optional port that the client asked for.
    pub authority: String,
    /// Path within the API, percent-encoded.
    pub path: String,
    /// Raw query without `?`.
    pub query: String,
    /// Query parameters, decoded, in order.
    pub query_params: Vec<(String, String)>,
    /// Path parameters, decoded.
    pub path_params: Vec<(String, String)>,
    /// Header fields in order of arrival, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Address of the client.
    pub client: String,
    /// The client's certificate, DER.
    pub certificate: Option<Vec<u8>>,
    /// The route belongs to an API: policies are judged.
    pub is_api: bool,
    /// Variables of the context.
    pub context: Map<String, Value>,
    /// Variables of the stage.
    pub stage_variables: Map<String, Value>,
    /// What the API tells callers apart by, and keeps decisions by; empty where it says nothing.
    pub sources: Vec<Source>,
}

impl Seen {
    /// Whether a decision that depends on some sources may be kept: it is where the API keeps it by all of them, or says nothing.
    #[must_use]
    pub fn is_kept_by(&self, sources: &[Source]) -> bool {
        self.sources.is_empty() || sources.iter().all(|source| self.sources.contains(source))
    }

    /// All values of a header field, in order.
    pub fn header_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let fields = self.headers.iter();
        fields
            .filter(move |(one, _)| one == name)
            .map(|(_, value)| value.as_slice())
    }

    /// A variable of the context as text, by its dotted name.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<String> {
        let (first, rest) = name.split_once('.').map_or((name, None), |(a, b)| (a, Some(b)));
        let mut value = self.context.get(first)?;
        for step in rest.into_iter().flat_map(|rest| rest.split('.')) {
            value = value.as_object()?.get(step)?;
        }
        scalar(value)
    }

    /// A variable of the context, or an empty text.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        self.variable(name).unwrap_or_default()
    }

    /// What the context does not have and is known otherwise. `account` is that of the configuration.
    pub fn fill(&mut self, account: &str, known: &Known, now_ms: u64) {
        let host = self.authority.rsplit_once(':');
        let host = host.filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
        let host = host.map_or(self.authority.as_str(), |(host, _)| host).to_owned();
        let prefix = host.split('.').next().unwrap_or_default().to_owned();
        let agent = self.header_values("user-agent").last().map(lossy);
        let identity = [("sourceIp", Some(self.client.clone())), ("userAgent", agent)];
        let members = [
            ("accountId", account.to_owned()),
            ("apiId", part_of_arn(&known.route)),
            ("domainName", host),
            ("domainPrefix", prefix),
            ("extendedRequestId", known.request_id.clone()),
            ("httpMethod", self.method.clone()),
            ("path", self.path.clone()),
            ("protocol", known.version.clone()),
            ("requestId", known.request_id.clone()),
            ("requestTime", common_log_time(now_ms)),
            ("requestTimeEpoch", now_ms.to_string()),
            ("resourcePath", known.pattern.clone()),
            ("routeKey", format!("{} {}", self.method, known.pattern)),
            ("stage", "$default".to_owned()),
        ];
        for (name, value) in members {
            self.context.entry(name).or_insert(Value::String(value));
        }
        let place = self
            .context
            .entry("identity")
            .or_insert_with(|| Map::new().into());
        if let Some(place) = place.as_object_mut() {
            for (name, value) in identity {
                if let (Some(value), None) = (value, place.get(name)) {
                    place.insert(name.to_owned(), Value::String(value));
                }
            }
        }
    }
}

/// What the exchange knows besides.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Request id.
    pub request_id: String,
    /// Name of the route.
    pub route: String,
    /// Path pattern of the route.
    pub pattern: String,
    /// HTTP version, e.g. `HTTP/1.1`.
    pub version: String,
}

/// A name with what no part of an ARN has replaced.
fn part_of_arn(name: &str) -> String {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    name.chars()
        .map(|letter| if allowed(letter) { letter } else { '-' })
        .collect()
}

/// Bytes of a field as text.
#[must_use]
pub fn lossy(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

/// A scalar as text; none for null, objects and arrays.
#[must_use]
pub fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// `09/Apr/2015:12:34:56 +0000`
fn common_log_time(now_ms: u64) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    // yyyymmddThhmmssZ
    let basic = Timestamp(now_ms / 1000).basic();
    let part = |from: usize, to: usize| basic.get(from..to).unwrap_or_default();
    let month = part(4, 6)
        .parse::<usize>()
        .ok()
        .and_then(|month| month.checked_sub(1));
    let month = month
        .and_then(|month| MONTHS.get(month))
        .copied()
        .unwrap_or_default();
    format!(
        "{}/{month}/{}:{}:{}:{} +0000",
        part(6, 8),
        part(0, 4),
        part(9, 11),
        part(11, 13),
        part(13, 15)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_written_as_in_the_common_log_format() {
        assert_eq!(common_log_time(1_428_582_896_000), "09/Apr/2015:12:34:56 +0000");
        assert_eq!(common_log_time(0), "01/Jan/1970:00:00:00 +0000");
    }

    #[test]
    fn names_of_routes_cannot_widen_an_arn() {
        assert_eq!(part_of_arn("pets"), "pets");
        assert_eq!(part_of_arn("/a:*/{b}?"), "-a----b--");
    }

    #[test]
    fn the_gateway_is_believed_and_gaps_are_filled() {
        let mut seen = Seen {
            method: "GET".into(),
            authority: "api.test:8443".into(),
            path: "/pets".into(),
            client: "192.0.2.1".into(),
            headers: vec![("user-agent".into(), b"curl".to_vec())],
            ..Seen::default()
        };
        let context = json!({"apiId": "shop", "stage": "prod", "identity": {"sourceIp": "192.0.2.7"}});
        seen.context = context.as_object().unwrap().clone();
        let known = Known {
            request_id: "r".into(),
            route: "route".into(),
            pattern: "/pets".into(),
            version: "HTTP/1.1".into(),
        };
        seen.fill("42", &known, 0);
        for (name, value) in [
            ("apiId", "shop"),
            ("stage", "prod"),
            ("accountId", "42"),
            ("domainName", "api.test"),
            ("domainPrefix", "api"),
            ("identity.sourceIp", "192.0.2.7"),
            ("identity.userAgent", "curl"),
            ("requestId", "r"),
            ("routeKey", "GET /pets"),
        ] {
            assert_eq!(seen.text(name), value, "{name}");
        }
        assert_eq!(seen.variable("identity"), None);
        assert_eq!(seen.variable("stage.x"), None);
    }
}
