//! Checked configuration: what every request is checked against. Built once in `init`; every problem is reported at once.

use std::collections::BTreeSet;

use edgeward_sdk::config::Problems;
use edgeward_sigv4::{Credential, encode};

use crate::{
    config::{self, ApiKind, Config, HeaderNames, Invoke, PayloadFormat, Type},
    source::Source,
};

/// Longest address of a function in bytes.
const URL_LIMIT: usize = 2048;
/// Most identity sources.
const SOURCES_LIMIT: usize = 20;

/// Checked configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the function is told.
    pub kind: Type,
    /// Form of it.
    pub payload_format: PayloadFormat,
    /// Kind of API that the function was written for.
    pub api: ApiKind,
    /// The function answers `isAuthorized`.
    pub simple_responses: bool,
    /// The function.
    pub function: Function,
    /// Field of the token, name in lower case; none: the one that the API says.
    pub token_header: Option<String>,
    /// What a token must look like.
    pub validation: Option<String>,
    /// What names the caller.
    pub sources: Vec<Source>,
    /// How names of header fields are written.
    pub header_names: HeaderNames,
    /// Partition of ARNs.
    pub partition: String,
    /// Region of ARNs.
    pub region: String,
    /// Account of ARNs.
    pub account: String,
    /// Time a decision may be reused, in seconds.
    pub ttl_seconds: u32,
    /// Time limit of a call.
    pub timeout_ms: u32,
    /// Member of `context` that names the caller.
    pub principal_from: Option<String>,
}

/// A function, its address ready.
#[derive(Clone, Debug)]
pub enum Function {
    /// Behind the Invoke API.
    Invoke {
        /// Name, for the log.
        name: String,
        /// Address of its invocations.
        url: String,
        /// Signs calls.
        credentials: Option<Credentials>,
    },
    /// Takes events as they are.
    Url {
        /// Address.
        url: String,
        /// Name of the secret that is sent.
        bearer_secret: Option<String>,
    },
}

/// Credentials; secrets by name.
pub use config::Credentials;

impl Function {
    /// How the log calls it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Invoke { name, .. } => format!("function {name:?}"),
            // a query may have a key in it
            Self::Url { url, .. } => format!("function {:?}", url.split('?').next().unwrap_or_default()),
        }
    }

    /// Where it is called.
    #[must_use]
    pub fn url(&self) -> &str {
        match self {
            Self::Invoke { url, .. } | Self::Url { url, .. } => url,
        }
    }
}

fn address(problems: &mut Problems, key: &str, url: &str, plain: bool) {
    problems.https(key, url, "/?:", plain, "function.allow-plain-http");
    let wrong = |byte: u8| !byte.is_ascii_graphic() || byte == b'#' || byte == b'@';
    if url.len() > URL_LIMIT || url.bytes().any(wrong) {
        problems.push(format!(
            "{key}: longer than {URL_LIMIT} bytes, or with a user, a fragment or characters that no URL has"
        ));
    }
}

fn function(problems: &mut Problems, function: &config::Function) -> Option<Function> {
    let plain = function.allow_plain_http;
    match (&function.invoke, &function.url) {
        (Some(invoke), None) => Some(invoked(problems, invoke, plain)),
        (None, Some(url)) => {
            address(problems, "function.url.address", &url.address, plain);
            Some(Function::Url {
                url: url.address.clone(),
                bearer_secret: url.bearer_secret.clone(),
            })
        }
        _ => {
            problems.push("function: exactly one of invoke and url is needed");
            None
        }
    }
}

fn invoked(problems: &mut Problems, invoke: &Invoke, plain: bool) -> Function {
    let endpoint = invoke.endpoint.strip_suffix('/').unwrap_or(&invoke.endpoint);
    address(problems, "function.invoke.endpoint", endpoint, plain);
    let after = endpoint.split_once("://").map_or("", |(_, rest)| rest);
    if after.contains(['/', '?']) {
        problems.push("function.invoke.endpoint: has a path or a query, which the Invoke API adds");
    }
    let parts = [
        ("name", Some(&invoke.name), 170, ":-_."),
        ("qualifier", invoke.qualifier.as_ref(), 128, "-_$"),
    ];
    for (key, text, limit, more) in parts {
        let allowed = |byte: char| byte.is_ascii_alphanumeric() || more.contains(byte);
        if text.is_some_and(|text| text.is_empty() || text.len() > limit || !text.chars().all(allowed)) {
            problems.push(format!(
                "function.invoke.{key}: is not 1 to {limit} letters, digits and characters of {more:?}"
            ));
        }
    }
    if let Some(credentials) = &invoke.credentials {
        if !Credential::is_access_key_id(&credentials.access_key_id) {
            problems.push("function.invoke.credentials.access-key-id: is not 1 to 128 letters, digits, '.', '_' and '-'");
        }
        arn_part(
            problems,
            "function.invoke.credentials.region",
            &credentials.region,
        );
    }
    let name = encode(&invoke.name);
    let qualifier = invoke.qualifier.as_ref();
    let query = qualifier.map_or(String::new(), |one| format!("?Qualifier={}", encode(one)));
    Function::Invoke {
        name: invoke.name.clone(),
        url: format!("{endpoint}/2015-03-31/functions/{name}/invocations{query}"),
        credentials: invoke.credentials.clone(),
    }
}

fn arn_part(problems: &mut Problems, key: &str, text: &str) {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !(1..=64).contains(&text.len()) || !text.bytes().all(allowed) {
        problems.push(format!(
            "{key}: {text:?} is not 1 to 64 letters, digits, '-', '_' and '.'"
        ));
    }
}

fn forms(problems: &mut Problems, config: &Config, api: ApiKind) {
    let v2 = config.payload_format == PayloadFormat::V2;
    if config.kind == Type::Token {
        if v2 || api == ApiKind::Http {
            problems.push("type: token exists for REST APIs with payload-format 1.0 only");
        }
        if !config.identity_sources.is_empty() {
            problems.push("identity-sources: makes sense with type request only; say token.header");
        }
    } else if config.token.is_some() {
        problems.push("token: makes sense with type token only; say identity-sources");
    }
    if v2 && api == ApiKind::Rest {
        problems.push("payload-format: 2.0 exists for HTTP APIs only");
    }
    if config.simple_responses && !v2 {
        problems.push("simple-responses: needs payload-format 2.0");
    }
    if config.principal_from.is_some() && !config.simple_responses {
        problems
            .push("principal-from: makes sense with simple-responses only; a policy comes with principalId");
    }
}

fn sources(problems: &mut Problems, config: &Config) -> Vec<Source> {
    if config.identity_sources.len() > SOURCES_LIMIT {
        problems.push(format!("identity-sources: more than {SOURCES_LIMIT}"));
    }
    let mut sources = Vec::new();
    for (index, text) in config.identity_sources.iter().enumerate() {
        match Source::parse(text) {
            Ok(source) => sources.push(source),
            Err(error) => problems.push(format!("identity-sources[{index}]: {error}")),
        }
    }
    sources
}

impl Settings {
    /// Checks a configuration.
    ///
    /// # Errors
    /// All problems, separated by `; `, each with the path of the key.
    pub fn new(config: Config) -> Result<Self, String> {
        let mut problems = Problems::default();
        let usual = match config.payload_format {
            PayloadFormat::V1 => ApiKind::Rest,
            PayloadFormat::V2 => ApiKind::Http,
        };
        let api = config.api.unwrap_or(usual);
        let function = function(&mut problems, &config.function);
        forms(&mut problems, &config, api);
        let sources = sources(&mut problems, &config);
        let token = config.token.as_ref().and_then(|token| token.header.as_ref());
        let token_header = token.map(|header| header.to_ascii_lowercase());
        if let Some(header) = &token_header
            && Source::parse(&format!("$request.header.{header}")).is_err()
        {
            problems.push(format!("token.header: {header:?} is no name of a field"));
        }
        arn_part(&mut problems, "partition", &config.partition);
        arn_part(&mut problems, "region", &config.region);
        arn_part(&mut problems, "account-id", &config.account_id);
        problems.range("ttl-seconds", config.ttl_seconds, 0, 3600);
        problems.range("timeout-ms", config.timeout_ms, 100, 29_000);
        let Some(function) = function.filter(|_| problems.is_empty()) else {
            return Err(problems.to_string());
        };
        Ok(Self {
            kind: config.kind,
            payload_format: config.payload_format,
            api,
            simple_responses: config.simple_responses,
            function,
            token_header,
            validation: config.token.and_then(|token| token.validation),
            sources,
            header_names: config.header_names,
            partition: config.partition,
            region: config.region,
            account: config.account_id,
            ttl_seconds: config.ttl_seconds,
            timeout_ms: config.timeout_ms,
            principal_from: config.principal_from,
        })
    }

    /// Capabilities that this configuration needs.
    #[must_use]
    pub fn capabilities(&self) -> BTreeSet<&'static str> {
        let mut names = BTreeSet::from(["http"]);
        let secret = match &self.function {
            Function::Invoke { credentials, .. } => credentials.is_some(),
            Function::Url { bearer_secret, .. } => bearer_secret.is_some(),
        };
        if secret {
            names.insert("secret");
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn settings(extra: Value) -> Result<Settings, String> {
        let mut config = json!({"function": {"url": {"address": "https://f.test/auth"}}});
        let members = config.as_object_mut().unwrap();
        members.extend(extra.as_object().unwrap().clone());
        Settings::new(serde_json::from_value(config).unwrap())
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let settings = settings(json!({})).unwrap();
        assert_eq!((settings.ttl_seconds, settings.timeout_ms), (3600, 4000));
        assert_eq!((settings.kind, settings.api), (Type::Request, ApiKind::Rest));
        assert_eq!(settings.header_names, HeaderNames::Title);
        assert_eq!(settings.capabilities().into_iter().collect::<Vec<_>>(), ["http"]);
    }

    #[test]
    fn the_address_of_invocations_is_that_of_the_invoke_api() {
        let name = "arn:aws:lambda:eu-central-1:123456789012:function:auth";
        let invoke = json!({"endpoint": "https://lambda.test/", "name": name, "qualifier": "$LATEST",
            "credentials": {"region": "eu-central-1", "access-key-id": "AKID", "secret": "s"}});
        let settings = settings(json!({"function": {"invoke": invoke}})).unwrap();
        assert_eq!(
            settings.function.url(),
            "https://lambda.test/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-central-1%3A123456789012%3Afunction%3Aauth/invocations?Qualifier=%24LATEST"
        );
        let names: Vec<_> = settings.capabilities().into_iter().collect();
        assert_eq!(names, ["http", "secret"]);
    }

    #[test]
    fn mistakes_are_named_with_their_path() {
        let invoke = |extra: Value| {
            let mut invoke = json!({"endpoint": "https://l.test", "name": "f"});
            let members = invoke.as_object_mut().unwrap();
            members.extend(extra.as_object().unwrap().clone());
            json!({"function": {"invoke": invoke}})
        };
        for (extra, wanted) in [
            (json!({"function": {}}), "config.function: exactly one of"),
            (
                json!({"function": {"url": {"address": "http://f/"}}}),
                "function.url.address: \"http://f/\" is not https://",
            ),
            (
                json!({"function": {"url": {"address": "https:///"}}}),
                "has no host",
            ),
            (
                json!({"function": {"url": {"address": "ftp://f"}}}),
                "is no https:// URL",
            ),
            (
                json!({"function": {"url": {"address": "https://u@f/"}}}),
                "with a user",
            ),
            (
                invoke(json!({"endpoint": "https://l.test/x"})),
                "endpoint: has a path",
            ),
            (invoke(json!({"name": "a/b"})), "function.invoke.name"),
            (invoke(json!({"qualifier": ""})), "function.invoke.qualifier"),
            (
                invoke(json!({"credentials": {"region": "", "access-key-id": "a b", "secret": "s"}})),
                "credentials.access-key-id",
            ),
            (
                json!({"type": "token", "payload-format": "2.0"}),
                "type: token exists for REST APIs",
            ),
            (
                json!({"type": "token", "identity-sources": ["$request.header.a"]}),
                "identity-sources: makes sense",
            ),
            (json!({"token": {}}), "token: makes sense"),
            (
                json!({"payload-format": "2.0", "api": "rest"}),
                "2.0 exists for HTTP APIs",
            ),
            (json!({"simple-responses": true}), "simple-responses: needs"),
            (json!({"principal-from": "x"}), "principal-from: makes sense"),
            (json!({"identity-sources": ["x"]}), "identity-sources[0]: \"x\""),
            (
                json!({"type": "token", "token": {"header": "a b"}}),
                "token.header: \"a b\"",
            ),
            (json!({"region": "eu/1"}), "region: \"eu/1\""),
            (json!({"account-id": "*"}), "account-id: \"*\""),
            (
                json!({"ttl-seconds": 3601}),
                "ttl-seconds: 3601 is outside 0 to 3600",
            ),
            (
                json!({"timeout-ms": 99}),
                "timeout-ms: 99 is outside 100 to 29000",
            ),
        ] {
            let error = settings(extra.clone()).unwrap_err();
            assert!(error.contains(wanted), "{extra}: {error}");
        }
    }
}
