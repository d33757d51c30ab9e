//! The values of an exchange that mappings and templates name.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use edgeward_core::{
    api::{context, mapping::Facts},
    normalize::parse_query,
    reject::{Reject, RejectCode},
    route::decode_param,
};
use http::{HeaderMap, StatusCode, Version};

use super::{Call, access, voice};
use crate::finish::Finish;

/// Variables of principals of IAM.
const PRINCIPAL: [&str; 5] = [
    "identity.accessKey",
    "identity.accountId",
    "identity.caller",
    "identity.user",
    "identity.userArn",
];

/// Whether a variable has its value from an authorizer.
pub(super) fn is_said(name: &str) -> bool {
    name.starts_with("authorizer.") || PRINCIPAL.contains(&name)
}

/// Whether a text may name such a variable.
pub(super) fn names_said(text: &str) -> bool {
    let is_end = |rest: &str| !rest.starts_with(|letter: char| letter.is_ascii_alphanumeric());
    let names = |name: &str| {
        text.match_indices(name)
            .any(|(at, _)| is_end(&text[at + name.len()..]))
    };
    text.contains("authorizer.") || PRINCIPAL.into_iter().any(names)
}

/// What is known of an exchange at some point.
pub(super) struct Known<'a> {
    pub(super) finish: &'a Finish,
    pub(super) call: &'a Call,
    /// The request's fields.
    pub(super) headers: Option<&'a HeaderMap>,
    pub(super) query: Option<&'a str>,
    pub(super) body: &'a [u8],
    pub(super) response: Option<(&'a HeaderMap, &'a [u8])>,
    /// What authorizers said.
    pub(super) authorizer: &'a BTreeMap<String, String>,
    pub(super) error: Option<&'a Reject>,
    /// What the client gets, where that is known.
    pub(super) status: Option<StatusCode>,
}

impl<'a> Known<'a> {
    /// The same of an exchange that has its API.
    ///
    /// # Errors
    /// It has none: a defect.
    pub(super) fn of(finish: &'a Finish) -> Result<Self, Reject> {
        let call = finish.call.as_deref();
        call.map(|call| Self::new(finish, call))
            .ok_or_else(|| Reject::new(RejectCode::Internal, "a route of an API without its API"))
    }

    /// Nothing but who the exchange is of.
    pub(super) fn new(finish: &'a Finish, call: &'a Call) -> Self {
        static NOTHING: BTreeMap<String, String> = BTreeMap::new();
        Self {
            finish,
            call,
            headers: None,
            query: None,
            body: &[],
            response: None,
            authorizer: &NOTHING,
            error: None,
            status: None,
        }
    }
}

impl Known<'_> {
    /// What is said of a principal of IAM, where the route's authorizer is one for these.
    fn principal(&self, fact: &str) -> Option<String> {
        let gate = super::gate(self.finish)?;
        gate.is_iam().then(|| self.authorizer.get(fact).cloned())?
    }

    /// When the request came, since 1970.
    pub(super) fn began(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.saturating_sub(self.finish.started.elapsed())
    }

    /// The variables that plugins are told of, as a tree; those of a principal where an authorizer has said who calls.
    pub(super) fn told(&self) -> serde_json::Value {
        let mut tree = serde_json::Map::new();
        for name in super::TOLD.into_iter().chain(PRINCIPAL) {
            let Some(value) = self.context(name) else { continue };
            match name.split_once('.') {
                None => drop(tree.insert(name.to_owned(), value.into())),
                Some((outer, inner)) => {
                    let entry = tree.entry(outer).or_insert_with(|| serde_json::json!({}));
                    if let Some(entry) = entry.as_object_mut() {
                        entry.insert(inner.to_owned(), value.into());
                    }
                }
            }
        }
        // what ARNs are made of, which AWS has no variables for
        let mut parts = self.call.arm.ground.home.prefix().split(':').skip(1);
        for name in ["partition", "service", "region"] {
            if let Some(part) = parts.next().filter(|_part| name != "service") {
                tree.insert(name.to_owned(), part.into());
            }
        }
        tree.insert("methodArn".to_owned(), access::method_arn(self).as_str().into());
        tree.into()
    }
}

fn texts(headers: Option<&HeaderMap>, name: &str) -> Vec<String> {
    let values = headers.into_iter().flat_map(|headers| headers.get_all(name));
    values
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect()
}

impl Facts for Known<'_> {
    fn request_headers(&self, name: &str) -> Vec<String> {
        texts(self.headers, name)
    }

    fn query(&self, name: &str) -> Vec<String> {
        let pairs = parse_query(self.query.unwrap_or_default());
        pairs
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.into_owned())
            .collect()
    }

    fn path_parameter(&self, name: &str) -> Option<String> {
        let raw = self.call.params.get(&self.call.path, name)?;
        Some(String::from_utf8_lossy(&decode_param(raw)).into_owned())
    }

    fn path(&self) -> String {
        self.call.path.clone()
    }

    fn request_body(&self) -> &[u8] {
        self.body
    }

    fn response_headers(&self, name: &str) -> Vec<String> {
        texts(self.response.map(|(headers, _)| headers), name)
    }

    fn response_body(&self) -> &[u8] {
        self.response.map_or(&[], |(_, body)| body)
    }

    fn context(&self, name: &str) -> Option<String> {
        let Self { finish, call, .. } = self;
        let arm = &call.arm;
        let route = finish.route();
        let host = || finish.host.split(':').next().unwrap_or_default().to_owned();
        Some(match name {
            "requestId" | "extendedRequestId" => finish.request_id.clone(),
            "httpMethod" => finish.method.to_string(),
            "path" => finish.path.clone(),
            "protocol" => protocol(finish.version).to_owned(),
            "resourcePath" => route?.info.pattern.clone(),
            "routeKey" => route?.info.name.clone(),
            "operationName" => route?.api.as_ref()?.operation.clone()?,
            "stage" => arm.stage.to_string(),
            "apiId" => arm.api.to_string(),
            "accountId" => arm.ground.home.account().to_owned(),
            "deploymentId" => arm.deployment.to_string(),
            "domainName" => host(),
            "domainPrefix" => host().split('.').next().unwrap_or_default().to_owned(),
            "customDomain.basePathMatched" => call.base_path.clone()?,
            "identity.sourceIp" => finish.client?.to_string(),
            "identity.userAgent" => texts(self.headers, "user-agent").pop()?,
            "requestTime" => clf(self.began()),
            "requestTimeEpoch" => self.began().as_millis().to_string(),
            "isCanaryRequest" => arm.is_canary?.to_string(),
            "error.message" => voice::message(self.error?),
            "error.messageString" => voice::message_string(self.error?),
            "error.responseType" => voice::kind(self.error?).name().to_owned(),
            "error.validationErrorString" => {
                let about = |reject: &&Reject| reject.code == RejectCode::BadRequestBody;
                self.error.filter(about)?.cause.clone()?
            }
            "status" => self.status?.as_u16().to_string(),
            "identity.accountId" | "identity.userArn" | "identity.accessKey" => {
                self.principal(name.strip_prefix("identity.")?)?
            }
            "identity.caller" | "identity.user" => self.principal("userId")?,
            _ => context::said(name.strip_prefix("authorizer.")?, |name| {
                self.authorizer.get(name).cloned()
            })?,
        })
    }

    fn stage_variable(&self, name: &str) -> Option<String> {
        self.call.arm.variables.get(name).cloned()
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

/// `09/Apr/2015:12:34:56 +0000`, as the common log format has it.
fn clf(since_epoch: Duration) -> String {
    // httpdate writes `Thu, 09 Apr 2015 12:34:56 GMT`
    let text = httpdate::fmt_http_date(UNIX_EPOCH + since_epoch);
    let words: Vec<&str> = text.split(' ').collect();
    match &*words {
        [_, day, month, year, time, _] => format!("{day}/{month}/{year}:{time} +0000"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_in_logs() {
        assert_eq!(
            clf(Duration::from_secs(1_428_582_896)),
            "09/Apr/2015:12:34:56 +0000"
        );
    }
}
